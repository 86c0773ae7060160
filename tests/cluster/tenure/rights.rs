//! The site of a test may what the chart gives its account and nothing else: whatever a test does to it, it was refused nothing and
//! read no Secret. The node's tests say the same of pods.

use std::thread;

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::{Api, Client, api::DeleteParams};

use super::site::Place;
use crate::{api_level::audit, chart, require};

/// Gives the site's account its rights.
pub(super) async fn give(client: &Client) {
    let helm = require::program("helm").expect("the chart says what the site may: helm renders it");
    chart::give(client, &chart::rendered(&helm), "waybill", &chart::SITE).await;
}

impl Place {
    /// A place whose test takes rights away.
    pub(crate) fn that_may_be_refused(mut self) -> Self {
        self.refusals_are_meant = true;
        self
    }

    /// Takes the site's rights away, all but what it has in its own namespace.
    pub(crate) fn take_rights_away(&self) {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        self.runtime.block_on(bindings.delete("waybill:default:waybill", &DeleteParams::default())).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() || self.refusals_are_meant {
            return;
        }
        let requests = audit::requests(&self.directory);
        let refused = audit::out_of_line(requests.iter().filter(|request| request.user == chart::SITE.name));
        assert!(refused.is_empty(), "{refused:#?}");
    }
}
