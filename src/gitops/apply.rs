//! The writes of a sync, one API call each: apply an object, delete an object, create a namespace. Does not decide which.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{
        DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
        ValidationDirective,
    },
    core::Status,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    complaints,
    hints::hinted,
    kinds::{Kind, ObjectKey},
    load::Loaded,
};

/// The field manager of git sync: owns exactly the fields that files set.
pub const FIELD_MANAGER: &str = "waybill-sync";
/// Label on every object that a sync owns; its value names the sync.
pub const SYNC_LABEL: &str = "waybill.dev/sync";
/// Annotation: the file that declares the object.
pub const FILE_ANNOTATION: &str = "waybill.dev/sync-file";
/// Annotation: the revision that last changed the object.
pub const REVISION_ANNOTATION: &str = "waybill.dev/sync-revision";

/// Longest wait for one API call.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server refused or could not be reached.
    #[error("the API call failed")]
    Api(#[source] kube::Error),
    /// No answer in time.
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
}

impl WriteError {
    /// The server's own answer, if it gave one.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// Whether the server refused the object itself, so that trying again soon is useless.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.code, 400 | 403 | 405 | 422))
    }

    /// Whether the object or its namespace is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }
}

/// The object as it is applied: the manifest, and who applies it from where.
#[must_use]
pub fn desired(loaded: &Loaded, sync: &str, revision: &str) -> Value {
    let mut object = loaded.object.clone();
    let mut set = |map: &str, entries: &[(&str, &str)]| {
        let place = &mut object["metadata"][map];
        if !place.is_object() {
            *place = json!({});
        }
        for (key, value) in entries {
            place[*key] = json!(value);
        }
    };
    set("labels", &[(SYNC_LABEL, sync)]);
    set("annotations", &[(FILE_ANNOTATION, &loaded.file), (REVISION_ANNOTATION, revision)]);
    object
}

/// Applies an object server-side. What the file sets is the file's: other managers lose these fields.
pub async fn apply(client: &Client, kind: &Kind, key: &ObjectKey, object: &Value) -> Result<DynamicObject, WriteError> {
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply(FIELD_MANAGER).force()
    };
    call(api(client, kind, key).patch(&key.name, &params, &Patch::Apply(object))).await
}

/// Deletes an object if it is still the same one. An object that is gone already is fine.
pub async fn delete(client: &Client, kind: &Kind, key: &ObjectKey, uid: &str) -> Result<(), WriteError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match call(api(client, kind, key).delete(&key.name, &params)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Creates a namespace if it is not there. Namespaces are never deleted: they may hold objects of others.
pub async fn ensure_namespace(client: &Client, name: &str) -> Result<(), WriteError> {
    let api: Api<Namespace> = Api::all(client.clone());
    if call(api.get_opt(name)).await?.is_some() {
        return Ok(());
    }
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    match call(
        api.create(&PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }, &namespace),
    )
    .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.status().is_some_and(|status| status.code == 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The fields a refusal of `object` complains of, each with the complaint; one without a field if it names none. `schema` is
/// that of its kind.
#[must_use]
pub fn complaints(error: &WriteError, schema: &Value, object: &Value) -> Vec<(String, String)> {
    let Some(status) = error.status() else {
        return vec![(String::new(), crate::model::causes::chain(error))];
    };
    let causes = status.details.iter().flat_map(|details| &details.causes).filter(|cause| !cause.field.is_empty());
    let causes: Vec<_> = causes.map(|cause| (cause.field.clone(), cause.message.clone())).collect();
    if causes.is_empty() {
        return vec![(mentioned_field(&status.message), hinted(status.message.clone()))];
    }
    complaints::in_words(schema, object, causes)
}

/// The first field path in a sentence such as `.spec.sorce: field not declared in schema`.
fn mentioned_field(sentence: &str) -> String {
    let word = sentence
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | ',' | ';'))
        .map(|word| word.trim_start_matches('.').trim_end_matches([':', '.']))
        .find(|word| ["spec.", "metadata."].iter().any(|start| word.starts_with(start)));
    word.unwrap_or_default().to_owned()
}

fn api(client: &Client, kind: &Kind, key: &ObjectKey) -> Api<DynamicObject> {
    match &key.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind.resource),
        None => Api::all_with(client.clone(), &kind.resource),
    }
}

async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    timeout(CALL_TIMEOUT, request).await.map_err(|_| WriteError::Timeout)?.map_err(WriteError::Api)
}
