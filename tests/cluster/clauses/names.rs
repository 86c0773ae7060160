//! How the kinds are called and listed: short names that nobody else has, one category, and columns that tell the story.

use std::collections::BTreeMap;

use serde_json::Value;

use super::KINDS;
use crate::api_level::{ADMIN, RealApi};

/// What a table of each kind shows besides `Name` and before `Age`, without `-o wide`.
const COLUMNS: [(&str, &[&str]); 8] = [
    ("Site", &["Ready", "Health", "Held up", "Clients"]),
    ("DistributionPoint", &["Ready", "Packages", "Pending", "URL"]),
    ("ClientAgentConfig", &["Ready", "Enabled", "Poll"]),
    ("Package", &["Ready", "Version", "Installed", "Targeted"]),
    ("Program", &["Ready", "Package", "Disabled"]),
    ("Distribution", &["Ready", "Package", "Version", "Installed", "Targeted"]),
    ("Collection", &["Ready", "Members"]),
    ("Advertisement", &["Ready", "Program", "Collection", "Targeted", "Succeeded", "Failed"]),
];

#[tokio::test]
async fn kinds_are_of_one_category_with_short_names_that_nobody_else_has() {
    let Some(api) = RealApi::start() else { return };
    let client = api.client(&ADMIN, "default").await;
    let mut meant: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lists = vec![client.list_core_api_resources("v1").await.unwrap()];
    for group in client.list_api_groups().await.unwrap().groups {
        // The fixtures' own kinds are made to collide.
        for version in group.versions.iter().filter(|_| !group.name.ends_with("example.dev")) {
            lists.push(client.list_api_group_resources(&version.group_version).await.unwrap());
        }
    }
    let mut ours = Vec::new();
    for list in &lists {
        let is_ours = list.group_version == "waybill.dev/v1alpha1";
        for resource in list.resources.iter().filter(|resource| !resource.name.contains('/')) {
            let mut names = resource.short_names.clone().unwrap_or_default();
            names.extend([resource.name.clone(), resource.singular_name.clone()]);
            names.into_iter().filter(|name| !name.is_empty()).for_each(|name| {
                let of = format!("{}/{}", list.group_version, resource.name);
                meant.entry(name).or_default().push(of);
            });
            if is_ours {
                ours.push(resource.kind.clone());
                assert_eq!(resource.categories, Some(vec!["waybill".to_owned()]), "{}", resource.name);
            }
        }
    }
    ours.sort();
    let mut expected = KINDS.map(|(kind, _)| kind);
    expected.sort_unstable();
    assert_eq!(ours, expected);
    let doubly: Vec<_> =
        meant.iter().filter(|(_, of)| of.len() > 1 && of.iter().any(|one| one.starts_with("waybill.dev/"))).collect();
    assert!(doubly.is_empty(), "{doubly:?}");
}

#[tokio::test]
async fn a_table_begins_with_ready_ends_with_age_and_is_wide_with_the_sentence() {
    let Some(api) = RealApi::start() else { return };
    let client = api.client(&ADMIN, "default").await;
    for (kind, shown) in COLUMNS {
        let path = format!("/apis/waybill.dev/v1alpha1/{}s", kind.to_lowercase());
        let request = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        let table: Value = client.request(request.body(Vec::new()).unwrap()).await.unwrap();
        let columns = table["columnDefinitions"].as_array().unwrap();
        let name = |column: &Value| column["name"].as_str().unwrap().to_owned();
        let narrow: Vec<String> = columns.iter().filter(|column| column["priority"] == 0).map(name).collect();
        assert_eq!(narrow[..2], ["Name", "Ready"], "{kind}");
        assert_eq!(narrow.last().unwrap(), "Age", "{kind}");
        for expected in shown {
            assert!(narrow.iter().any(|column| column == expected), "{kind}: {expected} is not in {narrow:?}");
        }
        let wide: Vec<String> = columns.iter().filter(|column| column["priority"] == 1).map(name).collect();
        assert!(wide.contains(&"Status".to_owned()), "{kind}: {wide:?}");
        let undescribed: Vec<String> =
            columns.iter().filter(|column| column["type"].as_str().is_none_or(str::is_empty)).map(name).collect();
        assert!(undescribed.is_empty(), "{kind}: {undescribed:?}");
    }
}
