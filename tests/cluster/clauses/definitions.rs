//! Definitions of an earlier version in a cluster with a later program: what they do not know is dropped by the API server, so it is
//! said, with the remedy, and everything else goes on.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt, api::PostParams};
use serde_json::Value;

use super::condition;
use crate::{
    api_level::{ADMIN, RealApi},
    previous,
    tenure::site::{Instance, Place},
};

/// As the earlier release brought them.
async fn put_earlier_ones(definitions: &Api<CustomResourceDefinition>) {
    for file in std::fs::read_dir(previous::fixture("chart/crds")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut earlier: CustomResourceDefinition = serde_yaml::from_str(&text).unwrap();
        let name = earlier.name_any();
        earlier.metadata = definitions.get(&name).await.unwrap().metadata;
        definitions.replace(&name, &PostParams::default(), &earlier).await.unwrap();
    }
}

#[test]
fn definitions_of_an_earlier_release_are_named_with_what_they_lack_and_the_rest_goes_on() {
    let Some(api) = RealApi::start() else { return };
    let place = Place::new(&api);
    place.source(1);
    let definitions: Api<CustomResourceDefinition> = Api::all(place.block_on(api.client(&ADMIN, "default")));
    place.block_on(put_earlier_ones(&definitions));
    // The API server shows new schemas a moment later than it obeys them, and nothing of the group while it puts them together.
    let shows_grants = || {
        let client = place.block_on(api.client(&ADMIN, "default"));
        let request = http::Request::get("/openapi/v3/apis/waybill.dev/v1alpha1").body(Vec::new()).unwrap();
        let document: Value = place.block_on(client.request(request)).ok()?;
        let spec = document.pointer("/components/schemas/dev.waybill.v1alpha1.Site/properties/spec/properties")?;
        Some(spec.get("namespaces").is_some())
    };
    place.until("the earlier ones are shown", || shows_grants() == Some(false));

    let mut site = Instance::start(&place, "first", &[]);
    site.until_it_serves();
    let said = site.log();
    let lacks =
        "the cluster's definition sites.waybill.dev is older than this program and lacks v1alpha1 spec.namespaces";
    assert!(said.contains(lacks) && said.contains("waybill crds apply"), "{said}");
    assert_eq!(said.matches("is older than this program").count(), 1, "{said}");
    place.switch_to(&site);
    place.offer();
    let _agent = place.join(&site, "client", &serde_json::json!({}));
    place.until("all but the grant is as declared", || {
        condition(&place.object("Package", "tool"), "Ready", "status") == "True"
            && condition(&place.object("Advertisement", "tool"), "Ready", "reason") == "NamespaceNotGranted"
    });
    // Brought to this version, nothing has to be started again; the next start finds nothing to say.
    let applied =
        place.verb(&["crds", "apply", "--kubeconfig", api.kubeconfig_file(&ADMIN, "default").to_str().unwrap()]);
    assert!(applied.contains("sites.waybill.dev: brought to this version"), "{applied}");
    place.until("the present ones are shown", || shows_grants() == Some(true));
    // Watches that began before are told in the words of then, until the API server has ended them.
    std::thread::sleep(std::time::Duration::from_secs(6));
    place.declare();
    place.until_lines(&["ran 1"]);
    place.until("the site's own status is written", || {
        condition(&place.object("Site", "main"), "Ready", "status") == "True"
    });
    site.signal(rustix::process::Signal::TERM);
    assert_eq!(site.exit_code(), Some(0));
    let mut site = Instance::start(&place, "first", &[]);
    site.until_it_serves();
    assert!(!site.log().contains("is older than this program"), "{}", site.log());
}
