//! The expressions for Flux, evaluated on the recorded objects by cel-go, which Flux has in it and nothing else speaks for. No
//! program of it can be had without writing one, but the API server has it too: a policy answers with what the expressions say.

#[path = "../../integration/health/expressions.rs"]
mod expressions;
#[allow(dead_code, reason = "shared by the test binaries; none uses all of it")]
#[path = "../../integration/health/recorded.rs"]
mod recorded;

use std::time::Duration;

use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::expressions::Expressions;
use crate::api_level::{ADMIN, RealApi};

/// Longest wait until definitions and policies are in force.
const LIMIT: Duration = Duration::from_secs(60);
const GROUP: &str = "health.example.com";

/// An expression that gives what Flux would conclude. In Flux the members of an object are variables, which a list of one makes here.
fn conclusion(of: &Expressions) -> String {
    let [one, two, three] = &of.in_order;
    let chosen = [one, two, three]
        .into_iter()
        .rev()
        .fold("'InProgress'".to_owned(), |otherwise, (says, holds)| format!("(({holds}) ? '{says}' : {otherwise})"));
    let within = |inner: String, member: &str| format!("[object.spec.{member}].map({member}, {inner})");
    let chosen = within(within(chosen, "status"), "metadata");
    format!("{chosen}[0][0]")
}

async fn create<K>(client: &Client, object: Value)
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
}

/// A kind that takes any object as its spec.
async fn define_probes(client: &Client) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}});
    let object = json!({"metadata": {"name": format!("probes.{GROUP}")}, "spec": {"group": GROUP, "scope": "Cluster",
        "names": {"plural": "probes", "singular": "probe", "kind": "Probe"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    create::<CustomResourceDefinition>(client, object).await;
}

/// Refuses every probe of the kind, in the words of the expressions.
async fn answer_with(client: &Client, of: &Expressions) {
    let name = format!("health-{}", of.kind.to_lowercase());
    let rule = json!({"apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["probes"]});
    let policy = json!({"metadata": {"name": name}, "spec": {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "kind", "expression": format!("object.spec.kind == '{}'", of.kind)}],
        "validations": [{"expression": "false", "messageExpression": conclusion(of)}]}});
    create::<ValidatingAdmissionPolicy>(client, policy).await;
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    create::<ValidatingAdmissionPolicyBinding>(client, binding).await;
}

/// What is said of an object, once the policies are in force.
async fn concluded(probes: &Api<DynamicObject>, resource: &ApiResource, object: &Value) -> String {
    let mut probe = DynamicObject::new("probe", resource);
    probe.data = json!({"spec": object});
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let end = Instant::now() + LIMIT;
    loop {
        match probes.create(&dry_run, &probe).await {
            Err(kube::Error::Api(status)) if status.message.contains("denied request: ") => {
                return status.message.rsplit("denied request: ").next().unwrap().to_owned();
            }
            other => assert!(Instant::now() < end, "no policy speaks: {other:?}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn the_cel_of_flux_sees_every_object_as_it_is() {
    let Some(api) = RealApi::start() else { return };
    let client = api.client(&ADMIN, "default").await;
    define_probes(&client).await;
    for of in expressions::expressions() {
        answer_with(&client, &of).await;
    }
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", "Probe"));
    let probes: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    for one in recorded::all() {
        let said = concluded(&probes, &resource, &one.object).await;
        assert_eq!(said, one.state.in_flux(), "{:?} {:#}", one.state, one.object);
    }
}
