//! What joins the site of a test: machines and further distribution points, as processes, each with an invitation that was had as a
//! user of a cluster has it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Child,
};

use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount, rbac::v1::ClusterRoleBinding};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::site::{Instance, Place, spawn};

/// What names the person who invites the machine.
const OWNER: &str = "owner";

impl Place {
    /// A machine that joins through the switch, with labels; it ends when this is dropped.
    pub(crate) fn join(&self, site: &Instance<'_>, name: &str, labels: &Value) -> Agent {
        self.join_with(&self.runtime.block_on(self.join_file(site, labels)), name)
    }

    /// As [`Place::join`], with an invitation that was had elsewhere.
    pub(crate) fn join_with(&self, file: &Value, name: &str) -> Agent {
        let join = format!("{name}.json");
        for (name, content) in [(&*join, file.to_string()), ("agent.json", r#"{"allowRoot": true}"#.into())] {
            fs::write(self.directory.join(name), content).unwrap();
            fs::set_permissions(self.directory.join(name), Permissions::from_mode(0o600)).unwrap();
        }
        let words = ["agent", "run", "--join", &join, "--state", name, "--config", "agent.json"];
        Agent(spawn(self, name, &words))
    }

    /// A further distribution point of this name, which joins through the switch, or comes back; it ends when this is dropped.
    pub(crate) fn point(&self, site: &Instance<'_>, name: &str) -> Agent {
        let file = self.directory.join(format!("{name}.json"));
        if !file.exists() {
            let invited = self.runtime.block_on(self.invitation(site, json!({"role": "dp", "name": name})));
            fs::write(&file, invited.to_string()).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        }
        let join = format!("{name}.json");
        Agent(spawn(self, name, &["dp", "--join", &join, "--state", name, "--listen", "127.0.0.4:0"]))
    }

    /// An invitation of a client with labels, had as a cluster's user has it: with a token that was made for the site.
    async fn join_file(&self, site: &Instance<'_>, labels: &Value) -> Value {
        self.invitation(site, json!({"role": "client", "labels": labels})).await
    }

    async fn invitation(&self, site: &Instance<'_>, spec: Value) -> Value {
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client.clone());
        let account = json!({"metadata": {"name": OWNER}});
        let made = accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await;
        let is_new = made.is_ok();
        let binding = json!({"metadata": {"name": OWNER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": OWNER, "namespace": "default"}]});
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        if is_new {
            bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
        }
        let invite = async |audience: &str| {
            let asked: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [audience]}})).unwrap();
            let token = accounts.create_token_request(OWNER, &PostParams::default(), &asked).await.unwrap();
            let mut config = Config::new(site.endpoints()["apiUrl"].as_str().unwrap().parse().unwrap());
            config.accept_invalid_certs = true;
            config.auth_info.token = token.status.unwrap().token.map(Into::into);
            let tokens =
                ApiResource::from_gvk(&GroupVersionKind::gvk("fleet.waybill.dev", "v1alpha1", "EnrolmentToken"));
            let tokens: Api<DynamicObject> = Api::all_with(Client::try_from(config).unwrap(), &tokens);
            let invitation = json!({"apiVersion": "fleet.waybill.dev/v1alpha1", "kind": "EnrolmentToken", "metadata": {},
                "spec": spec});
            tokens.create(&PostParams::default(), &serde_json::from_value(invitation).unwrap()).await
        };
        let refused = invite("another-service").await.unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 401), "not made for the site: {refused}");
        invite("waybill").await.unwrap().data["status"]["joinFile"].clone()
    }
}

/// A machine's agent.
pub(crate) struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
