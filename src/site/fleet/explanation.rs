//! `explanations`: why a client has not run what is advertised, or that it has. The walk is decided in
//! [`crate::plan::why`]; the facts are gathered in [`super::facts`].

use serde_json::{Value, json};

use super::{
    Parts, facts, failed, not_served,
    shape::{asked, name, reviewed, text},
};
use crate::{
    apiserver::{
        failure::Failure,
        fleet::{FleetAnswer, FleetRequest, FleetResource, FleetVerb},
    },
    clock,
    model::{identity::ObjectName, reason::Reason},
    plan::why::{self, Step},
};

pub(super) const PLURAL: &str = "explanations";

pub(super) fn resource() -> FleetResource {
    let step = json!({"type": "object", "properties": {
        "step": text("clause, record, content, offer, policy or run."),
        "standing": text("ok, waiting, failed or unknown."),
        "reason": text("Why it is not done, from the one list of reasons."),
        "text": text("The same for people."),
    }});
    let status = [
        ("standing", text("How the first step stands that is not done; ok if all are.")),
        ("step", text("That step.")),
        ("reason", text("Its reason.")),
        ("text", text("Its text: the answer.")),
        ("steps", json!({"type": "array", "description": "Every step, in order.", "items": step})),
    ];
    FleetResource {
        kind: "Explanation".into(),
        plural: PLURAL.into(),
        short_names: vec![],
        namespaced: true,
        verbs: &["create"],
        schema: asked(
            "Why a client has not run what is advertised, or that it has.",
            &["advertisement", "client"],
            &[("advertisement", name("The advertisement.")), ("client", name("The client, by id."))],
            &status,
        ),
        columns: vec![],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    let FleetVerb::Create { body, .. } = request.verb else { return Err(not_served(&request)) };
    let word = |field: &str| body["spec"][field].as_str().unwrap_or_default().to_owned();
    let advertisement = ObjectName::new(request.namespace, word("advertisement"));
    let now = clock::now();
    let facts = facts::gather(parts, advertisement, word("client"), now).await?.map_err(failed)?;
    let steps = why::explain(&facts, now);
    let status = why::answer(&steps).map(|answer| {
        let mut status = shown(answer);
        status["steps"] = steps.iter().map(shown).collect();
        status
    });
    Ok(FleetAnswer::Object(reviewed(body, status.unwrap_or_default())))
}

fn shown(step: &Step) -> Value {
    let mut shown = json!({"step": step.name, "standing": step.standing.as_str(), "text": step.text});
    if let Some(reason) = step.reason {
        shown["reason"] = json!(Reason::as_str(reason));
    }
    shown
}
