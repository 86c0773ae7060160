//! The real server under test, as the suites of the embedded API see theirs: one for all of them, and a namespace for each.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::api_level::{ADMIN, RealApi, VIEWER};

/// The fixture kind most tests use.
pub(super) fn programs() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("content.example.dev", "v1", "Program"))
}

pub(super) fn program(name: &str, spec: Value) -> DynamicObject {
    serde_json::from_value(json!({"apiVersion": "content.example.dev/v1", "kind": "Program",
        "metadata": {"name": name}, "spec": spec}))
    .unwrap()
}

/// The shared server, and a namespace of it for the calling test alone.
pub(super) struct Served {
    api: &'static RealApi,
    namespace: String,
    directory: PathBuf,
}

impl Served {
    /// `None` where nobody asked for the real server.
    pub(super) async fn start() -> Option<Served> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let api = RealApi::shared()?;
        let namespace = format!("suite-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = api.directory().join(&namespace);
        std::fs::create_dir(&directory).unwrap();
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(api.client(&ADMIN, &namespace).await);
        namespaces.create(&PostParams::default(), &object).await.unwrap();
        Some(Served { api, namespace, directory })
    }

    /// It always listens.
    pub(super) async fn listening() -> Option<Served> {
        Served::start().await
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.api.kubeconfig_file(&ADMIN, &self.namespace)
    }

    pub(super) fn viewers_kubeconfig(&self) -> PathBuf {
        self.api.kubeconfig_file(&VIEWER, &self.namespace)
    }

    pub(super) async fn admin(&self) -> Client {
        self.api.client(&ADMIN, &self.namespace).await
    }

    pub(super) async fn programs(&self) -> Api<DynamicObject> {
        Api::default_namespaced_with(self.admin().await, &programs())
    }

    pub(super) fn path(&self, plural: &str) -> String {
        format!("/apis/content.example.dev/v1/namespaces/{}/{plural}", self.namespace)
    }

    pub(super) fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.namespace)
    }

    pub(super) fn collects(&self) -> bool {
        self.api.collects()
    }
}
