//! Conditions after kstatus: `Ready`, and `Reconciling` or `Stalled` only when True, never both.
//! Pure: the time of a transition is an argument.

use jiff::Timestamp;
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use crate::model::reason::Reason;

/// What the status of every kind begins with.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The last reconcile-now request that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Ready, Reconciling, Stalled and others.
    #[serde(default)]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How far the control plane is with an object. It alone decides Ready, Reconciling and Stalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Converged.
    Ready(Reason, String),
    /// Working, or waiting for something that comes by itself.
    Progressing(Reason, String),
    /// Somebody has to change something.
    Stalled(Reason, String),
}

impl Readiness {
    /// The reason behind it.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Ready(reason, _) | Self::Progressing(reason, _) | Self::Stalled(reason, _) => *reason,
        }
    }

    /// The sentence behind it.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Ready(_, message) | Self::Progressing(_, message) | Self::Stalled(_, message) => message,
        }
    }
}

/// The conditions that say `readiness` of `generation`, transition times carried over from `before` where the status
/// did not change. Conditions of other types in `before` are dropped: pass them in `extra`.
#[must_use]
pub fn conditions(
    readiness: &Readiness,
    extra: &[(&str, bool, Reason, String)],
    generation: i64,
    before: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let make = |kind: &str, status: &str, reason: &str, message: &str| Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: truncate(message),
        observed_generation: Some(generation),
        last_transition_time: before
            .iter()
            .find(|old| old.type_ == kind && old.status == status)
            .map_or_else(|| Time(whole_seconds(now)), |old| old.last_transition_time.clone()),
    };
    let (reason, message) = (readiness.reason().as_str(), readiness.message());
    let mut all = match readiness {
        Readiness::Ready(..) => vec![make("Ready", "True", reason, message)],
        Readiness::Progressing(..) => {
            vec![make("Ready", "Unknown", reason, message), make("Reconciling", "True", reason, message)]
        }
        Readiness::Stalled(..) => {
            vec![make("Ready", "False", reason, message), make("Stalled", "True", reason, message)]
        }
    };
    all.extend(extra.iter().map(|(kind, holds, reason, message)| {
        make(kind, if *holds { "True" } else { "False" }, reason.as_str(), message)
    }));
    all
}

/// The condition Ready, if it says that no further try helps before somebody has done something.
#[must_use]
pub fn needs_somebody(conditions: &[Condition]) -> Option<&Condition> {
    // These are tried again all the same, without any prospect.
    let hopeless = [Reason::SourceUnavailable, Reason::DiskFull].map(Reason::as_str);
    let ready = conditions.iter().find(|one| one.type_ == "Ready")?;
    (ready.status == "False" || ready.status != "True" && hopeless.contains(&ready.reason.as_str())).then_some(ready)
}

/// Times on the wire carry whole seconds; comparing finer ones would make every status differ from its own echo.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The API server refuses longer messages; what matters stands first.
fn truncate(message: &str) -> String {
    const MESSAGE_CHARS_MAX: usize = 1_024;
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Gives `status` the default `{observedGeneration: -1}`, so that a fresh object reads as in progress, not as current.
pub(super) fn default_observed_generation(crd: &mut CustomResourceDefinition) {
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
            status.nullable = None;
        }
    }
}

/// Takes the defaults of the fields of `spec` out of the schema; the server knows them. It makes the object where there is none,
/// and who makes an object owns the defaults that the API server puts into it: nobody else could apply these fields without a
/// conflict. Whoever takes out all that was applied leaves `{}`, which the API server would otherwise call missing.
pub(super) fn without_defaults(crd: &mut CustomResourceDefinition) {
    let schemas =
        crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for spec in schemas.filter_map(|schema| schema.properties.as_mut()?.get_mut("spec")) {
        spec.default = Some(JSON(serde_json::json!({})));
        for field in spec.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
            field.default = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_reconciling_and_stalled_together_and_times_move_only_with_status() {
        let (one, two) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());
        let first = conditions(&Readiness::Progressing(Reason::Progressing, "a".into()), &[], 1, &[], one);
        assert_eq!(
            first.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect::<Vec<_>>(),
            [("Ready", "Unknown"), ("Reconciling", "True")]
        );
        let second = conditions(&Readiness::Progressing(Reason::Retrying, "b".into()), &[], 2, &first, two);
        assert_eq!(second[0].last_transition_time.0, one);
        let third = conditions(&Readiness::Stalled(Reason::InvalidSpec, "c".into()), &[], 2, &second, two);
        assert_eq!(third.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(), ["Ready", "Stalled"]);
        assert_eq!(third[0].last_transition_time.0, two);

        assert_eq!(needs_somebody(&second), None, "it goes on by itself");
        assert_eq!(needs_somebody(&third), Some(&third[0]));
        let full = conditions(&Readiness::Progressing(Reason::DiskFull, "d".into()), &[], 2, &third, two);
        assert_eq!(needs_somebody(&full), Some(&full[0]));
        let done = conditions(&Readiness::Ready(Reason::Succeeded, "e".into()), &[], 2, &full, two);
        assert_eq!(needs_somebody(&done), None);
    }
}
