//! Package sources and the commands that programs take from them, said of offline as the server and the clients would say it.
//! The look at a source is handed in, so that it is the one that the server takes. Opens nothing itself.

use std::collections::BTreeMap;

use super::{
    contradictions::spec,
    diagnostic::{Diagnostic, Severity},
    kinds::ObjectKey,
    load::{Loaded, Manifests},
};
use crate::{
    api::{
        package::{PackageSpec, Source},
        program::ProgramSpec,
    },
    content::path::{SafePath, names_system_directory},
    wire::record::in_package,
};

/// Endings by which an argument is taken for a file of the package.
const FILE_ENDINGS: &[&str] = &["deb", "rpm", "sh", "py", "pl", "tar", "tgz", "gz", "xz", "zst", "zip", "run"];

/// What a look at a source directory gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Its files, and whether each is executable.
    Files(BTreeMap<SafePath, bool>),
    /// The server would not take it, and why.
    Refused(String),
    /// Nobody can say from here, and why.
    Unknown(String),
    /// It lies where the site runs, as the caller knows.
    Elsewhere(String),
}

/// The faults of the packages' sources, and of the commands that lie in them.
pub(crate) fn check(manifests: &Manifests, look: &dyn Fn(&str) -> Look) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut sources: BTreeMap<&ObjectKey, BTreeMap<SafePath, bool>> = BTreeMap::new();
    for package in manifests.objects.iter().filter(|object| object.key.kind == "Package") {
        let field = "spec.source.directory.path";
        match source(package).map(|path| look(&path)) {
            Some(Look::Files(files)) => drop(sources.insert(&package.key, files)),
            Some(Look::Refused(why)) => found.push(package.diagnose(Severity::Error, field, why)),
            Some(Look::Unknown(why)) => found.push(package.diagnose(Severity::Warning, field, why)),
            Some(Look::Elsewhere(why)) => found.push(package.diagnose(Severity::Note, field, why)),
            None => {}
        }
    }
    for program in manifests.objects.iter().filter(|object| object.key.kind == "Program") {
        let Some(spec) = spec::<ProgramSpec>(program) else { continue };
        let package = ObjectKey { kind: "Package".to_owned(), name: spec.package_ref.clone(), ..program.key.clone() };
        let Some(files) = sources.get(&package) else { continue };
        let command = command(&spec, files).map(|why| program.diagnose(Severity::Error, "spec.argv[0]", why));
        let arguments = arguments(&spec, files).map(|(index, why)| {
            // Only the program knows what its arguments mean.
            program.diagnose(Severity::Warning, &format!("spec.argv[{index}]"), why)
        });
        let arguments: Vec<Diagnostic> = arguments.collect();
        let cwd = directory(&spec, files).map(|why| program.diagnose(Severity::Error, "spec.cwd", why));
        found.extend(command.into_iter().chain(arguments).chain(cwd));
    }
    found
}

/// The directory that the server would read now. What is suspended is not read; what belongs to the system is refused by its
/// name already.
fn source(package: &Loaded) -> Option<String> {
    match spec::<PackageSpec>(package)? {
        PackageSpec { suspend: false, source: Source::Directory(directory), .. } => {
            (!names_system_directory(directory.path.as_ref())).then_some(directory.path)
        }
        _ => None,
    }
}

/// Why clients would not start the command.
fn command(program: &ProgramSpec, files: &BTreeMap<SafePath, bool>) -> Option<String> {
    let word = program.argv.first().filter(|word| !word.is_empty() && !word.starts_with('/'))?;
    let package = &program.package_ref;
    match in_package(word).parse::<SafePath>() {
        Err(error) => Some(format!("`{word}` can be no file of package `{package}`: {error}")),
        Ok(path) => match files.get(&path) {
            Some(true) => None,
            Some(false) => {
                Some(format!("`{word}` is not executable: `chmod +x` it in the source of package `{package}`"))
            }
            None => Some(missing(word, &path, package, files)),
        },
    }
}

/// Arguments that look like files of the package and are not there: the package that dpkg is to install, or the script of an
/// interpreter. A program without files of its own to look in, `cwd`, is not judged.
fn arguments<'a>(
    program: &'a ProgramSpec,
    files: &'a BTreeMap<SafePath, bool>,
) -> impl Iterator<Item = (usize, String)> + 'a {
    let of_machine = program.cwd.is_none() && program.argv.first().is_some_and(|word| word.starts_with('/'));
    let words = program.argv.iter().enumerate().skip(1).filter(move |_| of_machine);
    words.filter(|(_, word)| !word.contains(char::is_whitespace)).filter_map(|(index, word)| {
        let path: SafePath = in_package(word).parse().ok()?;
        let (_, ending) = word.rsplit_once('.')?;
        (FILE_ENDINGS.contains(&ending) && !files.contains_key(&path)).then(|| {
            let package = &program.package_ref;
            (
                index,
                format!(
                    "`{word}` is not in the source of package `{package}`: put it there, if it is a file of the package"
                ),
            )
        })
    })
}

fn missing(word: &str, path: &SafePath, package: &str, files: &BTreeMap<SafePath, bool>) -> String {
    // A command of the machine that was written without its path, or a file that lies somewhere else in the package.
    let name = path.components().next_back().unwrap_or_default();
    let elsewhere = files.keys().find(|file| file.components().next_back() == Some(name));
    match elsewhere {
        Some(elsewhere) => format!("`{word}` is not in the source of package `{package}`, but `{elsewhere}` is"),
        None => format!(
            "`{word}` is not in the source of package `{package}`; a command of the machine needs its whole path, as /bin/{name}"
        ),
    }
}

/// Why clients would not find the directory to start in.
fn directory(program: &ProgramSpec, files: &BTreeMap<SafePath, bool>) -> Option<String> {
    let cwd = program.cwd.as_deref()?;
    let path: SafePath = cwd.parse().ok()?;
    let exists = files.keys().any(|file| file.ancestors().any(|above| above == path.as_str()));
    (!exists).then(|| format!("`{cwd}` is no directory with files in the source of package `{}`", program.package_ref))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitops::{kinds::Kinds, load::load};

    const PACKAGE: &str = "\
apiVersion: waybill.dev/v1alpha1
kind: Package
metadata: {name: office}
spec: {source: {directory: {path: src}}}
---
";

    fn program(spec: &str) -> String {
        format!(
            "{PACKAGE}apiVersion: waybill.dev/v1alpha1\nkind: Program\nmetadata: {{name: install}}\nspec: {{packageRef: office, {spec}}}\n"
        )
    }

    fn found(text: &str, look: &dyn Fn(&str) -> Look) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.yaml"), text).unwrap();
        let manifests = load(root.path(), &Kinds::of(&crate::api::crds())).unwrap();
        let first = |one: &Diagnostic| one.to_string().lines().next().unwrap_or_default().to_owned();
        check(&manifests, look).iter().map(first).collect()
    }

    fn files(_: &str) -> Look {
        let files = [("install.sh", true), ("bin/setup", true), ("readme", false)];
        Look::Files(files.into_iter().map(|(path, executable)| (path.parse().unwrap(), executable)).collect())
    }

    #[test]
    fn a_command_lies_in_its_package_and_is_executable() {
        for good in ["[install.sh]", "[./install.sh, x]", "[bin/setup]", "[/bin/sh, -c, x]"] {
            assert_eq!(found(&program(&format!("argv: {good}")), &files), Vec::<String>::new(), "{good}");
        }
        for (argv, expected) in [
            ("[instal.sh]", "a.yaml:9:35: `instal.sh` is not in the source of package `office`; a command"),
            ("[setup]", "a.yaml:9:35: `setup` is not in the source of package `office`, but `bin/setup` is"),
            ("[readme]", "a.yaml:9:35: `readme` is not executable: `chmod +x`"),
            ("[a//b]", "a.yaml:9:35: `a//b` can be no file of package `office`"),
        ] {
            let found = found(&program(&format!("argv: {argv}")), &files);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{argv}: {found:?}");
        }
    }

    #[test]
    fn an_argument_that_looks_like_a_file_of_the_package_is_warned_of() {
        for (argv, expected) in [
            (
                "[/usr/bin/dpkg, --install, nano.deb]",
                "a.yaml:9:61: warning: `nano.deb` is not in the source of package `office`",
            ),
            ("[/bin/sh, ./instal.sh, x]", "a.yaml:9:44: warning: `./instal.sh` is not in"),
        ] {
            let found = found(&program(&format!("argv: {argv}")), &files);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{argv}: {found:?}");
        }
        for argv in [
            "[/bin/sh, install.sh]",
            "[/bin/sh, -c, echo a.sh b.sh]",
            "[/usr/bin/dpkg, --purge, libfoo1.2, example.com]",
            "[/bin/sh, /opt/other.sh]",
            "[install.sh, out.tar]",
        ] {
            assert_eq!(found(&program(&format!("argv: {argv}")), &files), Vec::<String>::new(), "{argv}");
        }
        let inside = "argv: [/bin/sh, setup.sh], cwd: bin";
        assert_eq!(found(&program(inside), &files), Vec::<String>::new(), "it looks in another directory");
    }

    #[test]
    fn the_directory_to_start_in_is_one_of_the_package() {
        assert_eq!(found(&program("argv: [/bin/sh], cwd: bin"), &files), Vec::<String>::new());
        let found = found(&program("argv: [/bin/sh], cwd: lib"), &files);
        assert!(found.len() == 1 && found[0].contains("`lib` is no directory"), "{found:?}");
    }

    #[test]
    fn a_source_that_is_refused_is_said_once_and_nothing_is_said_of_its_commands() {
        let refused = |path: &str| Look::Refused(format!("the source {path:?} does not exist"));
        assert_eq!(found(&program("argv: [install.sh]"), &refused), ["a.yaml:4:29: the source \"src\" does not exist"]);
        let unknown = |_: &str| Look::Unknown("elsewhere".to_owned());
        assert_eq!(found(&program("argv: [install.sh]"), &unknown), ["a.yaml:4:29: warning: elsewhere"]);
        let suspended = program("argv: [install.sh]").replace("spec: {source", "spec: {suspend: true, source");
        assert_eq!(found(&suspended, &refused), Vec::<String>::new());
        let system = program("argv: [install.sh]").replace("path: src", "path: /etc");
        assert_eq!(found(&system, &refused), Vec::<String>::new(), "contradictions say that");
    }
}
