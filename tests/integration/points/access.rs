//! Who may fetch what from a distribution point, and how: ranges and entity tags.

use waybill::{
    trust::identity::Role,
    wire::access::{DP_FILE_PATH, DP_MANIFEST_PATH},
};

use super::{DECLARED, file_in, get_as, manifest_of, path_of, session, url_of};
use crate::world::{HEAD, World};

/// A package without a program, on every point; `spec` is added to its spec.
fn package(world: &World, name: &str, spec: &str) {
    world.write(&format!("packages/{name}/data.txt"), format!("0123456789 of {name}"));
    world.write(
        &format!("{name}.yaml"),
        format!(
            "{HEAD}: Package\nmetadata: {{name: {name}}}\nspec: {{source: {{directory: {{path: packages/{name}}}}}{spec}}}\n---\n\
             {HEAD}: Distribution\nmetadata: {{name: {name}}}\nspec: {{package: {name}, distributionPoints: {{all: {{}}}}}}\n"
        ),
    );
}

/// What a point answers to a client that asks for the package's manifest and for its file.
fn answers(world: &World, client: &str, point: &str, package: &str) -> (u16, u16) {
    let content = world.ask("GET", &format!("{DECLARED}/packages/{package}"), None)["status"]["digest"].clone();
    let content = content.as_str().unwrap();
    let file = file_in(&manifest_of(&path_of(world, package, 1, point)), "data.txt");
    let url = url_of(world, point);
    let manifest = get_as(world, client, Role::Dp, &format!("{url}{DP_MANIFEST_PATH}/{content}"), &[]);
    let file = get_as(world, client, Role::Dp, &format!("{url}{DP_FILE_PATH}/{content}/{file}"), &[]);
    if file.0 == 200 {
        assert_eq!(file.2, format!("0123456789 of {package}").as_bytes());
    }
    (manifest.0, file.0)
}

#[test]
fn content_is_for_clients_whose_offer_names_it_and_for_the_collections_it_names() {
    const YES: (u16, u16) = (200, 200);
    const NO: (u16, u16) = (403, 403);
    let mut world = World::new();
    package(&world, "offered", "");
    package(&world, "unoffered", "");
    package(&world, "open", ", access: {collections: [seconds]}");
    world.start("site");
    world.join(&["dp", "client", "client-2"]);
    let (first, second) = (session(&world, "client").id, session(&world, "client-2").id);
    world.write(
        "offer.yaml",
        format!(
            "{HEAD}: Program\nmetadata: {{name: offered}}\nspec: {{packageRef: offered, argv: [/bin/sh, -c, 'true']}}\n---\n\
             {HEAD}: Collection\nmetadata: {{name: firsts}}\nspec: {{clients: [{first}]}}\n---\n\
             {HEAD}: Collection\nmetadata: {{name: seconds}}\nspec: {{clients: [{second}]}}\n---\n\
             {HEAD}: Advertisement\nmetadata: {{name: offered}}\nspec: {{program: offered, collection: firsts, userMayStart: true}}\n"
        ),
    );
    for point in ["dp", "main"] {
        for package in ["offered", "unoffered", "open"] {
            world.until("it is there", |world| {
                super::locations(world, package).contains(&(point.into(), 1, "Installed".into()))
            });
        }
        world.until("the offer is known there", |world| answers(world, "client", point, "offered") == YES);
        world.until("the collection is known there", |world| answers(world, "client-2", point, "open") == YES);
        assert_eq!(answers(&world, "client", point, "unoffered"), NO, "{point}");
        assert_eq!(answers(&world, "client", point, "open"), NO, "{point}");
        assert_eq!(answers(&world, "client-2", point, "offered"), NO, "{point}");
        assert_eq!(answers(&world, "client-2", point, "unoffered"), NO, "{point}");
    }
    parts_and_tags(&world);

    // No longer offered, no longer theirs.
    world.take_out("offer.yaml");
    for point in ["dp", "main"] {
        world.until("the withdrawal is known there", |world| answers(world, "client", point, "offered") == NO);
        world.until("and that of the collection", |world| answers(world, "client-2", point, "open") == NO);
    }
}

#[test]
fn content_stays_readable_for_a_program_that_runs_after_its_offer_is_gone() {
    const YES: (u16, u16) = (200, 200);
    const NO: (u16, u16) = (403, 403);
    let mut world = World::new();
    package(&world, "long", "");
    package(&world, "other", "");
    world.start("site");
    world.join(&["dp", "client", "client-2"]);
    let end = world.path("end");
    let offer = |clients: &str| {
        let wait = format!(
            "echo started >> {}; until test -e {}; do sleep 0.1; done",
            world.path("lines").display(),
            end.display()
        );
        format!(
            "{HEAD}: Program\nmetadata: {{name: long}}\nspec: {{packageRef: long, argv: [/bin/sh, -c, '{wait}']}}\n---\n\
             {HEAD}: Collection\nmetadata: {{name: some}}\nspec: {{clients: [{clients}]}}\n---\n\
             {HEAD}: Advertisement\nmetadata: {{name: long}}\n\
             spec: {{program: long, collection: some, assignments: [{{asSoonAsPossible: {{}}}}]}}\n---\n\
             {HEAD}: Program\nmetadata: {{name: other}}\nspec: {{packageRef: other, argv: [/bin/sh, -c, 'true']}}\n---\n\
             {HEAD}: Advertisement\nmetadata: {{name: other}}\nspec: {{program: other, collection: some, userMayStart: true}}\n"
        )
    };
    let (first, second) = (session(&world, "client").id, session(&world, "client-2").id);
    world.write("offer.yaml", offer(&format!("{first}, {second}")));
    world.until("it runs on both", |world| world.lines().get("started") == Some(&2));
    let status = |world: &World, client: &str| {
        world.ask(
            "GET",
            &format!("/apis/fleet.waybill.dev/v1alpha1/namespaces/default/clientstatuses/long.{client}"),
            None,
        )["status"]["state"]
            .clone()
    };
    world.until("the site knows", |world| [&first, &second].iter().all(|id| status(world, id) == "Running"));
    // Of what is no longer offered, the one that still runs it may read on, and nothing else.
    for point in ["dp", "main"] {
        world.until("it is there", |world| {
            let there = |package| super::locations(world, package).contains(&(point.into(), 1, "Installed".into()));
            there("long") && there("other") && answers(world, "client", point, "other") == YES
        });
    }
    world.write("offer.yaml", offer(&second));
    for point in ["dp", "main"] {
        world.until("the withdrawal is known there", |world| answers(world, "client", point, "other") == NO);
        assert_eq!(answers(&world, "client", point, "long"), YES, "{point}");
        assert_eq!(answers(&world, "client-2", point, "long"), YES, "{point}");
    }
    std::fs::write(&end, "").unwrap();
    world.until("the run has ended", |world| status(world, &first) == "Succeeded");
    for point in ["dp", "main"] {
        world.until("nothing is left to read for", |world| answers(world, "client", point, "long") == NO);
        assert_eq!(answers(&world, "client-2", point, "long"), YES, "{point}: it is offered still");
    }
}

/// Parts of a file, and what did not change.
fn parts_and_tags(world: &World) {
    let manifest = manifest_of(&path_of(world, "offered", 1, "dp"));
    let file = file_in(&manifest, "data.txt");
    let files = format!("{}{DP_FILE_PATH}/{}", url_of(world, "dp"), manifest.digest());
    let get = |headers: &[(&str, &str)]| get_as(world, "client", Role::Dp, &format!("{files}/{file}"), headers);
    let (status, headers, whole) = get(&[]);
    let tag = headers["etag"].to_str().unwrap().to_owned();
    assert_eq!((status, tag.trim_matches('"')), (200, file.to_string().as_str()));
    assert_eq!((headers["accept-ranges"].to_str().unwrap(), headers["content-length"].len()), ("bytes", 2));

    let (status, headers, part) = get(&[("range", "bytes=3-6")]);
    assert_eq!((status, part.as_slice()), (206, &whole[3..7]));
    assert_eq!(headers["content-range"].to_str().unwrap(), format!("bytes 3-6/{}", whole.len()));
    assert_eq!(get(&[("range", "bytes=15-")]).2, &whole[15..]);
    assert_eq!(get(&[("range", "bytes=-4"), ("if-range", &tag)]).2, &whole[whole.len() - 4..]);
    let (status, headers, _) = get(&[("range", "bytes=999-")]);
    assert_eq!((status, headers["content-range"].to_str().unwrap()), (416, "bytes */21"));
    let (status, _, body) = get(&[("if-none-match", &tag)]);
    assert_eq!((status, body.len()), (304, 0));
    // A range of another version's file would be a mixture.
    let (status, _, body) = get(&[("range", "bytes=3-6"), ("if-range", "\"sha256:0\"")]);
    assert_eq!((status, body), (200, whole));
    let other = format!("{files}/{}", manifest.digest());
    assert_eq!(get_as(world, "client", Role::Dp, &other, &[]).0, 404, "no file of this version");
}
