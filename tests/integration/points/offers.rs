//! What access points tell clients, and when.

use std::thread;

use serde_json::Value;
use waybill::{
    trust::identity::Role,
    wire::{access::POLICY_PATH, policy::PolicyAnswer},
};

use super::{get_as, has_joined, session, standing};
use crate::world::{HEAD, SILENCE, World};

/// What an access point answers to a poll: the status, the entity tag, and the policy's body if there is one.
pub(super) fn poll(world: &World, client: &str, url: &str, tag: Option<&str>) -> (u16, String, Value) {
    let headers: Vec<_> = tag.map(|tag| ("if-none-match", tag)).into_iter().collect();
    let (status, headers, body) = get_as(world, client, Role::Cap, &format!("{url}{POLICY_PATH}"), &headers);
    let tag = headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
    let policy = serde_json::from_slice::<PolicyAnswer>(&body).ok();
    (status, tag, policy.map(|policy| serde_json::from_str(&policy.body).unwrap()).unwrap_or_default())
}

/// The advertisements that an access point offers to a client.
pub(super) fn offered(world: &World, client: &str, url: &str) -> Vec<String> {
    let (_, _, body) = poll(world, client, url, None);
    let offers = body["offers"].as_array().cloned().unwrap_or_default();
    offers.iter().map(|offer| offer["advertisement"]["name"].as_str().unwrap().to_owned()).collect()
}

/// The addresses of all access points, the site's own first.
pub(super) fn access_points(world: &World, client: &str) -> Vec<String> {
    let (_, _, body) = poll(world, client, &world.site_url(), None);
    let urls = body["config"]["accessPoints"].as_array().cloned().unwrap_or_default();
    urls.iter().map(|url| url.as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_offer_is_visible_only_once_its_content_is_on_a_point_and_a_poll_without_news_is_a_304() {
    let mut world = World::new();
    world.start("site");
    world.join(&["dp", "cap-2", "client"]);
    world.until("both access points are known", |world| {
        has_joined(world, "client") && has_joined(world, "dp") && access_points(world, "client").len() == 2
    });
    let urls = access_points(&world, "client");
    // The only point of the package is off.
    world.stop("dp");
    world.script("tool", 1, "");
    world.write(
        "tool.yaml",
        format!(
            "{HEAD}: Package\nmetadata: {{name: tool}}\nspec: {{source: {{directory: {{path: packages/tool}}}}}}\n---\n\
             {HEAD}: Program\nmetadata: {{name: tool}}\nspec: {{packageRef: tool, argv: [install.sh]}}\n---\n\
             {HEAD}: Distribution\nmetadata: {{name: tool}}\nspec: {{package: tool, distributionPoints: {{names: [dp]}}}}\n"
        ),
    );
    world.advertise("tool");
    world.until("the client is targeted", |world| standing(world, "tool", "client") == "NoStatus");
    thread::sleep(SILENCE);
    for url in &urls {
        assert!(offered(&world, "client", url).is_empty(), "{url}");
        let (status, tag, _) = poll(&world, "client", url, None);
        assert_eq!((status, poll(&world, "client", url, Some(&tag)).0), (200, 304), "{url}");
    }
    world.start("dp");
    for url in &urls {
        world.until("it is offered", |world| offered(world, "client", url) == ["tool"]);
    }
    world.until("it runs", |world| standing(world, "tool", "client") == "Succeeded");
    assert_eq!(world.lines(), [("tool 1".to_owned(), 1)].into());
    assert_eq!(session(&world, "cap-2").id, "cap-2", "named as it was invited");
}
