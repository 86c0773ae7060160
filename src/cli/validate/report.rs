//! The result of a check for people and for programs, and where its files stand as seen from the directory that the verb was
//! started in. Checks nothing.

use std::{
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use serde_json::json;

use super::{Args, Output, github, sarif};
use crate::gitops::{diagnostic::Severity, validate::Report};

/// Writes the report as `args` asks for it.
pub(super) fn write(args: &Args, report: &Report, out: &mut impl Write) -> io::Result<()> {
    match args.output {
        Output::Text => text(report, out),
        Output::Json => json(report, out),
        Output::Sarif => writeln!(out, "{:#}", sarif::log(report, &args.directory)),
        Output::Github => github::annotate(report, &args.directory, out),
    }
}

fn text(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{}", finding.diagnostic)?;
    }
    writeln!(out, "{}", counted(report))
}

fn json(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let result = json!({
        "objects": report.objects,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "diagnostics": report.findings,
    });
    writeln!(out, "{result:#}")
}

/// The last line for people.
pub(super) fn counted(report: &Report) -> String {
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let counted = [(report.objects, "object"), (errors, "error"), (warnings, "warning")];
    counted.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" })).join(", ")
}

/// A file of the tree as a forge knows it: what CI checks it names from the top of the repository, where the step runs.
pub(super) fn in_repository(directory: &Path, file: &str) -> PathBuf {
    let whole = directory.join(file);
    let plain: PathBuf = whole.components().filter(|part| *part != Component::CurDir).collect();
    if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_where_the_step_runs() {
        for (directory, file, expected) in [
            (".", "a/b.yaml", "a/b.yaml"),
            ("./fleet/", "b.yaml", "fleet/b.yaml"),
            ("fleet", ".", "fleet"),
            (".", ".", "."),
            ("/repo/fleet", "b.yaml", "/repo/fleet/b.yaml"),
            ("../fleet", "b.yaml", "../fleet/b.yaml"),
        ] {
            assert_eq!(in_repository(Path::new(directory), file), Path::new(expected), "{directory} {file}");
        }
    }
}
