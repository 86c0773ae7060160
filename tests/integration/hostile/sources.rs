//! Packages of what must never be one: the system's directories, the site's own state, what lies around it, and what only
//! looks like a package's directory. The site says `Stalled` with the reason, and goes on with the others.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::world::{HEAD, World};

/// A package by name, its source, and what its condition says.
fn cases(world: &World) -> Vec<(&'static str, String, &'static str)> {
    let at = |name: &str| world.path(name).to_str().unwrap().to_owned();
    vec![
        ("etc", "/etc".into(), "belongs to the operating system"),
        ("below-usr", "/usr/bin/.".into(), "belongs to the operating system"),
        ("root", "/".into(), "contains directories of the operating system"),
        ("state", at("site"), "is the site server's own state"),
        ("keys", at("site/keys"), "is the site server's own state"),
        ("around", at(""), "contains the site server's state directory"),
        ("upwards", "packages/../../site".into(), "is beneath no source root"),
        ("link", "packages/link".into(), "is a symbolic link or is reached through one"),
        ("link-inside", "packages/links".into(), "a symbolic link"),
    ]
}

#[test]
fn what_must_never_be_a_package_is_stalled_with_the_reason() {
    let mut world = World::new();
    world.package("tool", 1);
    world.write("packages/links/file", "x");
    symlink("/etc", world.path("fleet/packages/link")).unwrap();
    symlink("/etc/passwd", world.path("fleet/packages/links/passwd")).unwrap();
    let cases = cases(&world);
    for (name, path, _) in &cases {
        world.write(
            &format!("{name}.yaml"),
            format!(
                "{HEAD}: Package\nmetadata: {{name: {name}}}\nspec: {{source: {{directory: {{path: '{path}'}}}}}}\n"
            ),
        );
    }
    let listen = format!("127.0.0.1:{}", world.port());
    world.start_as("site", &["up", "fleet", "--state", "site", "--listen", &listen, "--source-root", "/"]);
    world.until("the site is up", |world| world.path("site/endpoints.json").exists());
    let conditions = |world: &World, name: &str| -> Vec<Value> {
        let path = format!("/apis/waybill.dev/v1alpha1/namespaces/default/packages/{name}");
        world.ask("GET", &path, None)["status"]["conditions"].as_array().cloned().unwrap_or_default()
    };
    let holds = |world: &World, name: &str, kind: &str| {
        conditions(world, name).into_iter().find(|one| one["type"] == kind && one["status"] == "True")
    };
    world.until("the others go on", |world| holds(world, "tool", "Ready").is_some());
    for (name, path, why) in &cases {
        world.until(name, |world| {
            holds(world, name, "Stalled").is_some() || holds(world, name, "Reconciling").is_some()
        });
        // A link on the way looks like a directory that is not there yet, and is looked at again.
        let said = holds(&world, name, "Stalled").or_else(|| holds(&world, name, "Reconciling")).unwrap();
        let text = said["message"].as_str().unwrap();
        assert!(text.contains(why), "{path}: {said}");
        assert_eq!(said["type"] == "Stalled", *name != "link", "{path}: {said}");
    }
}
