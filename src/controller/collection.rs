//! Reconciles `Collection`: reports the membership that the offer manager keeps.

use kube::{Api, ResourceExt};

use super::{Reconciled, context::Context, error::Error, report::Report};
use crate::{
    api::{collection::Collection, conditions::Readiness},
    content::digest::Digest,
    model::{identity::ObjectName, reason::Reason},
    plan::membership::{Membership, Query},
};

impl Reconciled for Collection {
    fn api(client: &kube::Client, namespace: Option<&str>) -> Api<Self> {
        Api::namespaced(client.clone(), namespace.unwrap_or_default())
    }

    async fn reconcile(&self, ctx: &Context) -> Result<Report, Error> {
        ctx.reevaluate.notify_one();
        if let Some(query) = &self.spec.query {
            Query::compile(query).map_err(|error| Error::stalled(Reason::QueryFailed, error.to_string()))?;
        }
        let name = ObjectName::new(self.namespace().unwrap_or_default(), self.name_any());
        let evaluated = ctx.evaluated.borrow().clone();
        match evaluated.memberships.get(&name) {
            Some(Ok(membership)) => Ok(report(self, membership)),
            Some(Err(text)) => Err(Error::stalled(Reason::QueryFailed, text.clone())),
            // The offer manager nudges this collection as soon as it has looked at it.
            None => Ok(Report::new(Readiness::Progressing(Reason::Progressing, "not evaluated yet".into()))),
        }
    }
}

fn report(collection: &Collection, membership: &Membership) -> Report {
    let count = membership.members.len();
    let text = match (&membership.failures, collection.spec.suspend) {
        (_, true) => format!("suspended with {count} members"),
        (Some((failed, first)), false) => {
            format!("{count} members; the query failed on {failed} clients, first: {first}")
        }
        (None, false) => format!("{count} members"),
    };
    let reason = if collection.spec.suspend { Reason::Suspended } else { Reason::Succeeded };
    Report::new(Readiness::Ready(reason, text))
        .field("memberCount", count)
        .field("membershipHash", membership_hash(membership))
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
