//! Whether a cluster's definitions of our kinds have all that this version knows: what they lack the API server drops, from what
//! users declare and from what this site reports. Asked once at the start, of what everybody may read; only says what is wrong.

use std::{collections::BTreeMap, time::Duration};

use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    api::{self, GROUP},
    plan::definitions::missing,
    transport::kubernetes::in_words,
};

/// A server that takes longer is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// While definitions are being applied the server shows nothing of their group for a moment: it is asked so often, so far apart.
const LOOKS: usize = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Says in the log which definitions are older than this program, and the remedy.
pub(super) async fn look(client: &kube::Client) {
    match timeout(ANSWER_MAX, behind(client)).await {
        Ok(Ok(behind)) => {
            for (definition, missing) in behind {
                tracing::error!(
                    "the cluster's definition {definition} is older than this program and lacks {}: what is written there is \
                     dropped; apply it (`waybill crds apply`)",
                    missing.join(", ")
                );
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(error = in_words(&error), "the definitions of our kinds could not be looked at")
        }
        Err(_) => tracing::debug!("the definitions of our kinds were not shown in time"),
    }
}

/// What the cluster's definitions lack, by their names. One that is missing as a whole is for its watch to tell.
async fn behind(client: &kube::Client) -> Result<BTreeMap<String, Vec<String>>, kube::Error> {
    let mut looks = 1;
    loop {
        let request = http::Request::get(format!("/openapi/v3/apis/{GROUP}/v1alpha1")).body(Vec::new());
        match client.request(request.map_err(kube::Error::HttpError)?).await {
            Ok(document) => return Ok(compare(&document)),
            Err(kube::Error::Api(refused)) if refused.code == 404 && looks < LOOKS => {
                looks += 1;
                sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn compare(document: &Value) -> BTreeMap<String, Vec<String>> {
    let mut behind = BTreeMap::new();
    for ours in api::crds() {
        let Ok(mut known) = serde_json::to_value(&ours) else { continue };
        let component = format!("dev.waybill.v1alpha1.{}", ours.spec.names.kind);
        let Some(schema) = document.pointer(&format!("/components/schemas/{component}")) else { continue };
        // What can be selected does not stand there, and what belongs to every kind stands there only.
        known["spec"]["versions"][0]["selectableFields"] = Value::Null;
        let live = json!({"spec": {"versions": [{"name": "v1alpha1", "served": true,
            "schema": {"openAPIV3Schema": schema}}]}});
        let lacks = missing(&live, &known);
        if !lacks.is_empty() {
            behind.insert(ours.name_any(), lacks);
        }
    }
    behind
}
