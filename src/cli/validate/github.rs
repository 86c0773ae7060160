//! Annotations of GitHub Actions: one workflow command a finding, which the runner shows at its line of the pull request.

use std::{
    io::{self, Write},
    path::Path,
};

use super::report::{counted, in_repository};
use crate::gitops::{
    diagnostic::Severity,
    validate::{Finding, Report},
};

/// Writes the annotations, and the sum for whoever reads the step's log. A note asks nobody for anything, and gets none.
pub(super) fn annotate(report: &Report, directory: &Path, out: &mut impl Write) -> io::Result<()> {
    for finding in &report.findings {
        match finding.diagnostic.severity {
            Severity::Error => writeln!(out, "{}", command("error", finding, directory))?,
            Severity::Warning => writeln!(out, "{}", command("warning", finding, directory))?,
            Severity::Note => {}
        }
    }
    writeln!(out, "{}", counted(report))
}

fn command(word: &str, finding: &Finding, directory: &Path) -> String {
    let one = &finding.diagnostic;
    let file = in_repository(directory, &one.file);
    // A place that has no line is the whole file, which is annotated at its head.
    let place = format!("line={},col={}", one.line.max(1), one.column.max(1));
    let (file, message) = (property(&file.display().to_string()), data(&one.message));
    format!("::{word} file={file},{place},title=waybill {}::{message}", finding.rule.name())
}

/// What the runner reads back after `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// What it reads back between `=` and `,`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitops::{
        diagnostic::{Diagnostic, Place},
        validate::Rule,
    };

    fn annotated(diagnostic: Diagnostic) -> String {
        let report = Report { objects: 1, findings: vec![Finding { rule: Rule::Schema, diagnostic }] };
        let mut out = Vec::new();
        annotate(&report, Path::new("./fleet"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_finding_is_one_command_whatever_its_text_holds() {
        let place = Place { line: 6, column: 3 };
        assert_eq!(
            annotated(Diagnostic::placed(Severity::Error, "a:b,c%.yaml", place, "100 %:\nno `x`, no ::error::")),
            "::error file=fleet/a%3Ab%2Cc%25.yaml,line=6,col=3,title=waybill schema::100 %25:%0Ano `x`, no ::error::\n\
             1 object, 1 error, 0 warnings\n"
        );
    }

    #[test]
    fn a_whole_file_is_annotated_at_its_head_and_a_note_is_not() {
        let warned = annotated(Diagnostic::of_file(Severity::Warning, "a.yaml", "odd"));
        assert!(warned.starts_with("::warning file=fleet/a.yaml,line=1,col=1,title=waybill schema::odd\n"), "{warned}");
        let noted = annotated(Diagnostic::of_file(Severity::Note, "a.yaml", "somebody else's"));
        assert_eq!(noted, "1 object, 0 errors, 0 warnings\n");
    }
}
