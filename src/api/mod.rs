//! The Kubernetes kinds of group `waybill.dev`, one file each, and their conditions. A field is here only once its
//! behaviour is built: none is ever accepted and ignored.

#![allow(clippy::duplicated_attributes, reason = "printcolumn is written once per column")]
#![allow(unreachable_pub, reason = "the derive of kube repeats the struct inside a function")]

pub mod advertisement;
pub mod client_agent_config;
pub mod collection;
pub mod conditions;
pub mod distribution;
pub mod distribution_point;
pub mod json_schema;
pub mod package;
pub mod program;
pub mod site;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of everything that is authored.
pub const GROUP: &str = "waybill.dev";
/// The version of the group.
pub const VERSION: &str = "v1alpha1";
/// The group served from the site database.
pub const FLEET_GROUP: &str = "fleet.waybill.dev";
/// The field manager of the controllers; they own status, finalizers and nothing else.
pub const FIELD_MANAGER: &str = "waybill";
/// The finalizer that holds a package until its content is gone from every reported location.
pub const CONTENT_FINALIZER: &str = "waybill.dev/content";
/// Reconcile-now annotation: any change of its value triggers; echoed in `status.lastHandledReconcileAt`.
pub const RECONCILE_ANNOTATION: &str = "waybill.dev/reconcile-at";
/// Flux's reconcile-now annotation, honoured alike.
pub const FLUX_RECONCILE_ANNOTATION: &str = "reconcile.fluxcd.io/requestedAt";
/// On a Package: remove its content although it is the last copy under a live advertisement.
pub const FORCE_REMOVAL_ANNOTATION: &str = "waybill.dev/force-removal";
/// Where `kubectl apply` keeps a copy of all that it was given.
pub const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// On the Site that `waybill up` made by itself: what it granted then. It is asked once, whatever is granted later.
pub const FIRST_GRANT_ANNOTATION: &str = "waybill.dev/first-grant";
/// On the Site: acknowledges the revision whose removals the prune guard holds back.
pub const ACKNOWLEDGE_PRUNE_ANNOTATION: &str = "waybill.dev/acknowledge-prune";

/// The definitions of every kind, as committed under `crds/`, in alphabetical order of their names.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    // These two the server makes where there is none.
    let (mut point, mut site) = (distribution_point::DistributionPoint::crd(), site::Site::crd());
    conditions::without_defaults(&mut point);
    conditions::without_defaults(&mut site);
    let mut crds = vec![
        advertisement::Advertisement::crd(),
        client_agent_config::ClientAgentConfig::crd(),
        collection::Collection::crd(),
        distribution::Distribution::crd(),
        point,
        package::Package::crd(),
        program::Program::crd(),
        site,
    ];
    for crd in &mut crds {
        conditions::default_observed_generation(crd);
    }
    crds
}

/// The value of the reconcile-now annotation on `meta`: our own, else Flux's.
#[must_use]
pub fn reconcile_requested(meta: &kube::api::ObjectMeta) -> Option<&str> {
    let annotations = meta.annotations.as_ref()?;
    annotations.get(RECONCILE_ANNOTATION).or_else(|| annotations.get(FLUX_RECONCILE_ANNOTATION)).map(String::as_str)
}

/// Schemas shared by several kinds.
pub(crate) mod schema {
    use schemars::{Schema, SchemaGenerator, json_schema};

    use crate::{
        model::duration::Span,
        wire::{points::SCRUB_INTERVAL_MIN, policy::POLL_INTERVAL_MIN, record::RUNTIME_MIN},
    };

    /// Instants from here on cannot be told in every time zone.
    const INSTANT_END: &str = "9999-12-30T00:00:00Z";

    /// A duration such as `90m`.
    pub(crate) fn span(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": crate::model::duration::PATTERN, "maxLength": 64 })
    }

    /// The same, of at least so long. Instead of it one that is shorter and was stored before counts as the least. The rule is a
    /// pattern: what is no duration at all, or longer than CEL's go, would be complained of in words that help nobody.
    fn span_of_at_least(least: Span, pattern: &str) -> Schema {
        json_schema!({
            "type": "string", "pattern": crate::model::duration::PATTERN, "maxLength": 64,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{pattern}')"), "message": format!("it must be at least {least}")
            }]
        })
    }

    /// How long a program may run.
    pub(crate) fn runtime(_: &mut SchemaGenerator) -> Schema {
        span_of_at_least(RUNTIME_MIN, ANY_SECOND)
    }

    /// Time between polls.
    pub(crate) fn poll_interval(_: &mut SchemaGenerator) -> Schema {
        span_of_at_least(POLL_INTERVAL_MIN, ANY_MINUTE)
    }

    /// Time between scrubs.
    pub(crate) fn scrub_interval(_: &mut SchemaGenerator) -> Schema {
        span_of_at_least(SCRUB_INTERVAL_MIN, ANY_MINUTE)
    }

    /// Is in every duration of a second or more.
    const ANY_SECOND: &str = "[1-9]";

    /// Hours, minutes or at least sixty seconds.
    const ANY_MINUTE: &str = "[1-9][0-9]*[hm]|([6-9][0-9]|[1-9][0-9]{2,})s";

    /// A text that is handed to a program: the kernel ends it at the first NUL.
    pub(crate) const NO_NUL: &str = r"^[^\x00]*$";

    /// A size such as `500Mi`.
    pub(crate) fn size(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": crate::model::quantity::PATTERN, "maxLength": 16 })
    }

    /// An instant with its offset, RFC 3339.
    pub(crate) fn instant(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "date-time", "maxLength": 64,
            "x-kubernetes-validations": [{
                "rule": format!("timestamp(self) < timestamp('{INSTANT_END}')"),
                "message": format!("it must be before {INSTANT_END}")
            }]
        })
    }

    /// An instant that the site itself tells.
    pub(crate) fn told_instant(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
    }

    /// A set of object names.
    pub(crate) fn names(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array", "minItems": 1, "maxItems": 1000, "x-kubernetes-list-type": "set",
            "items": { "type": "string", "minLength": 1, "maxLength": 253 }
        })
    }

    /// Conditions as Kubernetes knows them, keyed by type.
    pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "maxItems": 16,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                "properties": {
                    "type": { "type": "string", "maxLength": 316, "description": "What the condition is about." },
                    "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
                    "reason": { "type": "string", "maxLength": 1024, "description": "Why, in one word." },
                    "message": { "type": "string", "maxLength": 32768, "description": "Why, for people." },
                    "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0, "description": "The generation this was said of." },
                    "lastTransitionTime": { "type": "string", "format": "date-time", "description": "When the status last changed." }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
