//! Who calls the real API: users by certificate, their kubeconfigs and clients.

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use super::{Authority, RealApi};

/// A user, as a certificate names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) group: Option<&'static str>,
}

/// May everything, by the ClusterRole `cluster-admin`; called as the embedded API calls its own.
pub(crate) const ADMIN: User = User { name: "waybill:admin", group: Some("waybill:admins") };
/// May everything without any role: sets the server up.
pub(crate) const ROOT: User = User { name: "test:root", group: Some("system:masters") };
/// Reads everything but Secrets, by the ClusterRole `waybill:viewer`.
pub(crate) const VIEWER: User = User { name: "waybill:viewer", group: Some("waybill:viewers") };
/// Git sync; may what the ClusterRole `waybill:sync` grants.
pub(crate) const SYNC: User = User { name: "waybill:sync", group: None };
/// As whom the API server calls servers of aggregated APIs; issued by an authority of its own.
pub(crate) const FRONT_PROXY: User = User { name: "front-proxy-client", group: None };
/// Collects what owners leave behind.
pub(crate) const CONTROLLER_MANAGER: User = User { name: "system:kube-controller-manager", group: None };

impl Authority {
    /// A kubeconfig of `user` for the server at `url`, with `namespace` as the default one. JSON is YAML.
    pub(crate) fn kubeconfig(&self, url: &str, user: &User, namespace: &str) -> String {
        let issued = self.user(user).unwrap();
        let encode = |pem: &str| STANDARD.encode(pem);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url,
                "certificate-authority-data": encode(&self.certificate_pem)}}],
            "users": [{"name": user.name, "user": {"client-certificate-data": encode(&issued.certificate_pem),
                "client-key-data": encode(&issued.key_pem)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user.name, "namespace": namespace}}],
        });
        format!("{config:#}\n")
    }
}

impl RealApi {
    /// A kubeconfig of `user` with `namespace` as the default one.
    pub(crate) fn kubeconfig(&self, user: &User, namespace: &str) -> String {
        self.authority.kubeconfig(&self.url, user, namespace)
    }

    /// The same as a file that goes with the server.
    pub(crate) fn kubeconfig_file(&self, user: &User, namespace: &str) -> PathBuf {
        // a colon would be a list to kubectl
        let path = self.directory.join(format!("{}-{namespace}.kubeconfig", user.name.replace(':', "-")));
        std::fs::write(&path, self.kubeconfig(user, namespace)).unwrap();
        path
    }

    /// A client of `user`, in the runtime that calls this.
    pub(crate) async fn client(&self, user: &User, namespace: &str) -> kube::Client {
        waybill::transport::install_crypto();
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(user, namespace)).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }
}
