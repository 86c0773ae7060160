//! Reconciles `Collection`: reports the membership that the offer manager keeps.

use std::time::Duration;

use kube::{Api, ResourceExt};

use super::{Reconciled, context::Context, error::Error, report::Report};
use crate::{
    api::{collection::Collection, conditions::Readiness},
    content::digest::Digest,
    model::{identity::ObjectName, reason::Reason},
    plan::{membership::Membership, query::Query},
};

/// The offer manager nudges a new collection as soon as it has looked at it; this is the fallback.
const EVALUATION_WAIT: Duration = Duration::from_secs(5);

impl Reconciled for Collection {
    fn api(client: &kube::Client, namespace: Option<&str>) -> Api<Self> {
        Api::namespaced(client.clone(), namespace.unwrap_or_default())
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        ctx.reevaluate.notify_one();
        let query = self.spec.query.as_deref().map(Query::compile).transpose();
        let query = query.map_err(|error| Error::stalled(Reason::QueryFailed, error.to_string()))?;
        let name = ObjectName::new(self.namespace().unwrap_or_default(), self.name_any());
        let evaluated = ctx.evaluated.borrow().clone();
        match evaluated.memberships.get(&name) {
            Some(Ok(membership)) => {
                let direct = &self.spec.clients;
                let asked = evaluated.compiled.bodies.keys().filter(|client| !direct.contains(client)).count();
                Ok(report(self, membership, asked, &query.map(|query| query.unknown_fields()).unwrap_or_default()))
            }
            Some(Err(text)) => Err(Error::stalled(Reason::QueryFailed, text.clone())),
            None if self.status.as_ref().is_none_or(|status| status.observed.conditions.is_empty()) => {
                Err(Error::Deferred { after: EVALUATION_WAIT })
            }
            None => Ok(Report::new(Readiness::Progressing(Reason::Progressing, "not evaluated yet".into()))),
        }
    }
}

/// `asked` is how many clients the query was held against: those that are no direct members.
fn report(collection: &Collection, membership: &Membership, asked: usize, unknown_fields: &[String]) -> Report {
    let count = membership.members.len();
    let text = match (&membership.failures, collection.spec.suspend) {
        (_, true) => format!("suspended with {count} members"),
        (Some((failed, first)), false) if *failed >= asked => {
            format!("{count} members; the query fails on every client, on {failed} of {failed}, first: {first}")
        }
        (Some((failed, first)), false) => {
            format!("{count} members; the query failed on {failed} clients, first: {first}")
        }
        (None, false) => format!("{count} members"),
    };
    let text = [text].iter().chain(unknown_fields).cloned().collect::<Vec<_>>().join("; ");
    let readiness = match &membership.failures {
        _ if collection.spec.suspend => Readiness::Ready(Reason::Suspended, text),
        // Nobody is a member by it, whatever it was meant to say.
        Some((failed, _)) if *failed >= asked => Readiness::Stalled(Reason::QueryFailed, text),
        _ => Readiness::Ready(Reason::Succeeded, text),
    };
    Report::new(readiness).field("memberCount", count).field("membershipHash", membership_hash(membership))
}

/// Equal exactly when the members are.
fn membership_hash(membership: &Membership) -> String {
    let mut bytes = Vec::new();
    for member in &membership.members {
        bytes.extend_from_slice(member.as_bytes());
        bytes.push(b'\n');
    }
    Digest::of(&bytes).short().to_owned()
}
