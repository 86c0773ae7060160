//! What namespaces may reach where nobody says it: the Site that `waybill up` makes by itself grants all of them every client,
//! as whoever serves a directory of their own means it. Once, and never beside a tree that declares the Site. Beside a
//! cluster nothing is granted by itself.

use std::time::Duration;

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    api::{FIRST_GRANT_ANNOTATION, site::Site},
    gitops::{self, state::RevisionState},
    plan::grants::{self, EVERY_NAMESPACE, first_grant},
    transport::kubernetes::in_words,
};

/// Tries before the revision is served without.
const TRIES_MAX: u32 = 5;
/// Time between them.
const PAUSE: Duration = Duration::from_secs(1);

/// Gives it.
pub(super) struct FirstGrant {
    /// Git sync's: what it grants goes when the tree declares the Site.
    pub(super) client: kube::Client,
    /// The site's name.
    pub(super) site: String,
}

impl FirstGrant {
    /// To be asked about every state of the sync before it is in force. Answers the version of the Site if it was written.
    pub(super) async fn give(&self, state: &RevisionState) -> Option<u64> {
        // Who cannot read the tree cannot tell what it declares.
        if state.problem.is_some() || state.revision.is_empty() {
            return None;
        }
        for _ in 0..TRIES_MAX {
            match self.given(state.own_site.declared).await {
                Ok(version) => return version,
                Err(error) => {
                    tracing::warn!(error = in_words(&error), "the Site could not be looked at or written; tried again")
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::error!("the Site grants no namespace a client; add `name: \"*\"` to its spec.namespaces");
        None
    }

    async fn given(&self, is_declared: bool) -> Result<Option<u64>, kube::Error> {
        let sites: Api<Site> = Api::all(self.client.clone());
        let site = sites.get_opt(&self.site).await?;
        let asked = site.as_ref().is_some_and(|site| site.annotations().contains_key(FIRST_GRANT_ANNOTATION));
        let has_grants = site.is_some_and(|site| !site.spec.namespaces.is_empty());
        let (note, spec) = match first_grant(is_declared, asked, has_grants) {
            grants::FirstGrant::Nothing => return Ok(None),
            grants::FirstGrant::Note => ("none", json!({})),
            grants::FirstGrant::Everything => (EVERY_NAMESPACE, json!({"namespaces": [{"name": EVERY_NAMESPACE}]})),
        };
        let body = json!({
            "apiVersion": Site::api_version(&()),
            "kind": Site::kind(&()),
            "metadata": {"name": self.site, "annotations": {FIRST_GRANT_ANNOTATION: note}},
            "spec": spec,
        });
        let params = PatchParams::apply(gitops::apply::FIELD_MANAGER).force();
        let site = sites.patch(&self.site, &params, &Patch::Apply(&body)).await?;
        Ok(site.resource_version().and_then(|version| version.parse().ok()))
    }
}
