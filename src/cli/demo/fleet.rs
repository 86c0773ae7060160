//! What the demo declares: manifests and package sources, act by act. Every program notes in its machine's `installed`
//! file that it ran, which is the truth that the demo is checked against.

use std::path::Path;

use super::scratch::{NOBODY, is_root};

/// The clients of the pilot ring.
pub(super) const PILOTS: [&str; 2] = ["kiosk-1", "kiosk-2"];
/// The other clients.
pub(super) const OTHERS: [&str; 3] = ["kiosk-3", "kiosk-4", "kiosk-5"];
/// All packages at first; the last one is removed in the end.
pub(super) const PACKAGES: [&str; 3] = ["runtime", "greeter", "notice"];
/// The distribution points: the site's own, and the second.
pub(super) const POINTS: [&str; 2] = ["main", "branch"];

/// Name and text of files below the repository.
pub(super) type Files = Vec<(String, String)>;

/// The first commit: two packages, one of which needs the other, for the pilot ring; and a notice.
pub(super) fn first(root: &Path) -> Files {
    let mut files = vec![
        file(
            "collections.yaml",
            format!("{}---\n{}", collection("everybody", "true"), collection("pilot", PILOT_QUERY)),
        ),
        file("front-desk.yaml", collection("front-desk", PILOT_QUERY)),
    ];
    files.extend(package(root, "runtime", None));
    files.extend(package(root, "greeter", Some("runtime")));
    files.extend(package(root, "notice", None));
    files.push(source("runtime", "1", "echo 'greet() { echo \"Hello, $1.\"; }' > \"$machine/greet.sh\"\n"));
    files.push(greeter("1"));
    files.push(source("notice", "1", "echo 'Closed on Sundays.' > \"$machine/notice\"\n"));
    files.push(advertisement("greeter", "pilot"));
    files.push(advertisement("notice", "front-desk"));
    files
}

/// The greeter for everybody.
pub(super) fn widened() -> Files {
    vec![advertisement("greeter", "everybody")]
}

/// A new version of the greeter, and more clients in the collection of the notice.
pub(super) fn changed() -> Files {
    vec![greeter("2"), file("front-desk.yaml", collection("front-desk", "true"))]
}

/// What belongs to the notice: all of it goes in one commit.
pub(super) const REMOVED: [&str; 3] = ["notice.yaml", "notice-advertisement.yaml", "packages/notice"];

/// What a client has to have run at an act's end, each once. `act` 1 to 3 as told.
pub(super) fn expected(client: &str, act: u8) -> Vec<String> {
    let pilot = PILOTS.contains(&client);
    let mut lines = Vec::new();
    if pilot || act >= 2 {
        lines.extend(["runtime 1", "greeter 1"]);
    }
    if pilot || act >= 3 {
        lines.push("notice 1");
    }
    if act >= 3 {
        lines.push("greeter 2");
    }
    lines.sort_unstable();
    lines.into_iter().map(str::to_owned).collect()
}

const PILOT_QUERY: &str = "client.labels[\"ring\"] == \"pilot\"";
const HEAD: &str = "apiVersion: waybill.dev/v1alpha1\nkind";

fn file(path: &str, text: String) -> (String, String) {
    (path.to_owned(), text)
}

fn collection(name: &str, query: &str) -> String {
    format!("{HEAD}: Collection\nmetadata: {{name: {name}}}\nspec:\n  query: '{query}'\n")
}

fn package(root: &Path, name: &str, needs: Option<&str>) -> Files {
    let run_as = if is_root() { format!("  runAs: {NOBODY}\n") } else { String::new() };
    let needs = needs.map(|needs| format!("  dependsOn: {{program: {needs}-install}}\n")).unwrap_or_default();
    let root = root.display();
    let text = format!(
        "{HEAD}: Package\nmetadata: {{name: {name}}}\nspec:\n  source: {{directory: {{path: packages/{name}}}}}\n---\n\
         {HEAD}: Program\nmetadata: {{name: {name}-install}}\nspec:\n  packageRef: {name}\n  argv: [install.sh]\n\
         \x20 maxRuntime: 1m\n{run_as}{needs}  env:\n    - {{name: DEMO, value: '{root}'}}\n---\n\
         {HEAD}: Distribution\nmetadata: {{name: {name}}}\nspec:\n  package: {name}\n  distributionPoints: {{all: {{}}}}\n"
    );
    vec![file(&format!("{name}.yaml"), text)]
}

fn advertisement(name: &str, collection: &str) -> (String, String) {
    let text = format!(
        "{HEAD}: Advertisement\nmetadata: {{name: {name}}}\nspec:\n  program: {name}-install\n\
         \x20 collection: {collection}\n  assignments: [{{asSoonAsPossible: {{}}}}]\n  rerun: OncePerVersion\n"
    );
    file(&format!("{name}-advertisement.yaml"), text)
}

fn greeter(version: &str) -> (String, String) {
    let body = format!(
        "test -e \"$machine/greet.sh\" || {{ echo 'the runtime is missing'; exit 1; }}\n\
         printf '#!/bin/sh\\n. \"%s/greet.sh\"\\ngreet \"world, from version {version}\"\\n' \"$machine\" > \"$machine/greeter\"\n\
         sh \"$machine/greeter\"\n"
    );
    source("greeter", version, &body)
}

/// A package's install script. Which client it runs on is told by where the agent keeps content.
fn source(package: &str, version: &str, body: &str) -> (String, String) {
    let text = format!(
        "#!/bin/sh\n# Installs {package} {version}.\nset -eu\nclient=${{WAYBILL_CONTENT#\"$DEMO/clients/\"}}\n\
         machine=$DEMO/machines/${{client%%/*}}\n{body}echo '{package} {version}' >> \"$machine/installed\"\nsync \"$machine/installed\"\n"
    );
    file(&format!("packages/{package}/install.sh"), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::scratch::Scratch;

    #[test]
    fn what_the_demo_declares_is_valid_in_every_act() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(Some(root.path().join("demo"))).unwrap();
        let repository = scratch.path("repository");
        for files in [first(scratch.root()), widened(), changed()] {
            scratch.write(&files).unwrap();
            assert_eq!(validated(&repository), 0);
        }
        for gone in REMOVED {
            scratch.take_out(gone).unwrap();
        }
        assert_eq!(validated(&repository), 0);
    }

    fn validated(root: &Path) -> u8 {
        use clap::Parser;
        #[derive(Parser)]
        struct Words {
            #[command(flatten)]
            args: crate::cli::validate::Args,
        }
        let words = Words::parse_from(["validate", root.to_str().unwrap()]);
        let mut out = Vec::new();
        let code = crate::cli::validate::run(&words.args, &mut out).unwrap();
        assert_eq!(code, 0, "{}", String::from_utf8(out).unwrap());
        code
    }

    #[test]
    fn clients_are_expected_to_run_each_version_once() {
        assert_eq!(expected("kiosk-1", 1), ["greeter 1", "notice 1", "runtime 1"]);
        assert_eq!(expected("kiosk-4", 1), Vec::<String>::new());
        assert_eq!(expected("kiosk-4", 2), ["greeter 1", "runtime 1"]);
        assert_eq!(expected("kiosk-4", 3), expected("kiosk-1", 3));
    }
}
