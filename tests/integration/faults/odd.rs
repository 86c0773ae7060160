//! Odd content on its whole way: from a directory through the library and two points to a program that looks at it.

use std::{fs, path::Path};

use super::setting;
use crate::world::{HEAD, World};

/// Files besides the odd ones in the suite's short form; `WAYBILL_TEST_FILES` names another number, such as 10000.
const SHORT_FILES: u64 = 1_000;
/// Folders in the deep tree: with the longest names more would be refused as too long a path.
const DEPTH: usize = 40;

fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn odd_names_many_files_and_none_at_all_reach_the_program() {
    let many_files = usize::try_from(setting("WAYBILL_TEST_FILES").unwrap_or(SHORT_FILES)).unwrap();
    let mut world = World::new();
    let lines = world.path("lines");
    let long = format!("{}x", "é".repeat(127));
    assert_eq!(long.len(), 255);
    let deep = vec!["deep"; DEPTH].join("/");
    let odd = [
        ("with  two spaces/and a tail ⛄ ünïcödé.txt".to_owned(), "snow"),
        ("日本語/ファイル".to_owned(), "paper"),
        (format!("long/{long}"), "long"),
        (format!("{deep}/end"), "deep"),
        ("empty file".to_owned(), ""),
        ("-n *?[a]$HOME'\"&;|".to_owned(), "shell"),
    ];
    for (name, text) in &odd {
        world.write(&format!("packages/odd/{name}"), text);
    }
    let many = world.path("fleet/packages/odd/many");
    for file in 0..many_files {
        let folder = many.join((file / 100).to_string());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file.to_string()), file.to_string()).unwrap();
    }
    let mut checks = format!("test \"$(find . -type f | wc -l)\" = {}\n", many_files + odd.len() + 1);
    for (name, text) in &odd {
        let quoted = name.replace('\'', "'\\''");
        checks.push_str(&format!("test \"$(cat './{quoted}')\" = '{text}'\n"));
    }
    checks.push_str(&format!("test \"$(cat many/7/777)\" = 777\necho odd >> '{0}' && sync '{0}'", lines.display()));
    world.write("packages/odd/install.sh", format!("#!/bin/sh\nset -e\n{checks}\n"));
    world.declare("odd");
    world.advertise("odd");

    fs::create_dir_all(world.path("fleet/packages/empty")).unwrap();
    world.write(
        "empty.yaml",
        format!(
            "{HEAD}: Package\nmetadata: {{name: empty}}\nspec: {{source: {{directory: {{path: packages/empty}}}}}}\n---\n\
             {HEAD}: Program\nmetadata: {{name: empty}}\nspec: {{packageRef: empty, argv: [/bin/sh, -c, \
             'test -z \"$(ls -A \"$WAYBILL_CONTENT\")\" && echo empty >> \"{}\"']}}\n---\n\
             {HEAD}: Distribution\nmetadata: {{name: empty}}\nspec: {{package: empty, distributionPoints: {{all: {{}}}}}}\n",
            lines.display()
        ),
    );
    world.advertise("empty");
    world.up();
    // In steps, for all of it may take longer than one step is given.
    world.until("the site's point holds it", |world| world.published("site", "odd"));
    for part in 1..=4 {
        let enough = many_files * part / 4;
        world
            .until(&format!("the client fetched {enough} files"), |world| files(&world.path("client/cache")) >= enough);
    }
    world.until("both programs ran", |world| world.lines().len() == 2);
    assert_eq!(world.lines(), [("empty".to_owned(), 1), ("odd".to_owned(), 1)].into());
    world.until("the other point holds it", |world| world.published("dp", "odd"));
}
