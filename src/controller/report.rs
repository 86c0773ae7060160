//! Writes status: the last step of every reconcile, also of a failed one. Writes nothing when nothing changed, and
//! emits an event when readiness turns.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};

use super::{Reconciled, context::Context, error::Error};
use crate::{
    api::{
        FIELD_MANAGER,
        conditions::{Readiness, conditions, needs_somebody},
        reconcile_requested,
    },
    clock,
    model::reason::Reason,
};

/// What a reconcile found out.
#[derive(Clone, Debug)]
pub struct Report {
    /// How far the control plane is with the object.
    pub readiness: Readiness,
    /// Further conditions: type, whether it holds, reason, message.
    pub conditions: Vec<(&'static str, bool, Reason, String)>,
    /// The kind's own status fields, complete: a field left out is removed.
    pub fields: Map<String, Value>,
    /// When to look again without an event.
    pub next: Option<Duration>,
}

impl Report {
    /// A report without fields of the kind's own.
    #[must_use]
    pub fn new(readiness: Readiness) -> Self {
        Self { readiness, conditions: Vec::new(), fields: Map::new(), next: None }
    }

    /// Adds a field if there is a value for it.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.fields.insert(name.to_owned(), value);
        }
        self
    }
}

/// The kind's own fields of the present status: a failed reconcile keeps what was known.
pub(super) fn present_fields<K: Reconciled>(object: &K) -> Map<String, Value> {
    let mut status = status_of(object);
    for common in ["conditions", "observedGeneration", "lastHandledReconcileAt"] {
        status.remove(common);
    }
    status
}

/// Whether the object's status says that it waits for somebody, for this reason and with this sentence.
pub(super) fn says<K: Reconciled>(object: &K, reason: Reason, text: &str) -> bool {
    let conditions = status_of(object).remove("conditions");
    let before: Vec<Condition> = conditions.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    // The sentence may have been cut.
    needs_somebody(&before).is_some_and(|one| one.reason == reason.as_str() && text.starts_with(&one.message))
}

fn status_of<K: Reconciled>(object: &K) -> Map<String, Value> {
    let value = serde_json::to_value(object).unwrap_or_default();
    value.get("status").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Writes the status if it differs from the present one. Returns how long a mere refresh of numbers was put off.
pub(super) async fn write<K: Reconciled>(
    object: &K,
    report: &Report,
    ctx: &Context,
) -> Result<Option<Duration>, Error> {
    let present = status_of(object);
    let before: Vec<Condition> =
        present.get("conditions").and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default();
    let uid = object.uid().unwrap_or_default();
    // The object as the watch shows it: the site, which counts such objects, sees the same.
    if ctx.pace.turns(&uid, needs_somebody(&before).is_some()) {
        ctx.nudges.site(&ctx.site.name);
    }
    let generation = object.meta().generation.unwrap_or(0);
    let after = conditions(&report.readiness, &report.conditions, generation, &before, clock::now());
    let mut status = report.fields.clone();
    status.insert("observedGeneration".into(), generation.into());
    if let Some(token) = reconcile_requested(object.meta()) {
        status.insert("lastHandledReconcileAt".into(), token.into());
    }
    status.insert("conditions".into(), json!(after));
    if Value::Object(status.clone()) == Value::Object(present.clone()) {
        return Ok(None);
    }
    let uid = object.uid().unwrap_or_default();
    let turned = transition(&before, &after);
    let urgent = turned
        || present.get("observedGeneration") != status.get("observedGeneration")
        || present.get("lastHandledReconcileAt") != status.get("lastHandledReconcileAt");
    if !urgent && let Some(wait) = ctx.pace.refresh_in(&uid) {
        return Ok(Some(wait));
    }
    let api: Api<K> = K::api(&ctx.client, object.namespace().as_deref());
    let meta = json!({ "name": object.name_any(), "namespace": object.namespace() });
    let body = json!({ "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": meta, "status": status });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&object.name_any(), &params, &Patch::Apply(&body)).await {
        Ok(_) => {}
        // Gone meanwhile: nothing is left to report on.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(error) => return Err(Error::api("write status")(error)),
    }
    ctx.pace.written(&uid);
    if turned {
        ctx.events.tell(&ctx.client, object.object_ref(&()), &report.readiness).await;
    }
    Ok(None)
}

/// Whether `Ready` turned, in status or reason.
fn transition(before: &[Condition], after: &[Condition]) -> bool {
    let ready = |all: &[Condition]| {
        all.iter().find(|one| one.type_ == "Ready").map(|one| (one.status.clone(), one.reason.clone()))
    };
    ready(before) != ready(after)
}
