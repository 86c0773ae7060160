//! `clientactions`: blocks, unblocks or deletes a device. Acts at once, for the listeners follow the database; says who did
//! it in an audit message; is not kept.

use serde_json::{Value, json};

use super::{
    Parts, audit, failed, not_served,
    shape::{asked, name, reviewed, text, truth},
};
use crate::{
    apiserver::{
        failure::Failure,
        fleet::{Caller, FleetAnswer, FleetRequest, FleetResource, FleetVerb, GROUP},
    },
    clock,
    db::{devices, messages::CLIENT},
    trust::identity::Role,
};

pub(super) const PLURAL: &str = "clientactions";

pub(super) fn resource() -> FleetResource {
    let action = json!({"type": "string", "enum": ["block", "unblock", "delete"],
        "description": "block refuses its connections and offers it nothing; unblock takes that back; delete forgets it: \
                        it has to join anew."});
    let client = name("The client, by id, or the distribution point or access point, by name.");
    let status = [("changed", truth("Whether anything changed.")), ("text", text("What was done."))];
    FleetResource {
        kind: "ClientAction".into(),
        plural: PLURAL.into(),
        short_names: vec![],
        namespaced: false,
        verbs: &["create"],
        schema: asked(
            "Blocks, unblocks or deletes a client.",
            &["action", "client"],
            &[("action", action), ("client", client)],
            &status,
        ),
        columns: vec![],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    match request.verb {
        FleetVerb::Create { body, dry_run } => act(parts, request.user, body, dry_run).await,
        _ => Err(not_served(&request)),
    }
}

async fn act(parts: &Parts, user: Caller, body: Value, dry_run: bool) -> Result<FleetAnswer, Failure> {
    let word = |field: &str| body["spec"][field].as_str().unwrap_or_default().to_owned();
    let (action, id) = (word("action"), word("client"));
    let (site, now_ms, wanted) = (parts.site.name.clone(), clock::now_unix_ms(), id.clone());
    let done = parts
        .database
        .write(move |tx| {
            // A distribution point's id is its name; an access point's is another, for both may have one name.
            let row = match devices::get(tx, &wanted)? {
                None => devices::by_name(tx, Role::Cap, &wanted)?,
                row => row,
            };
            let Some(row) = row else { return Ok(None) };
            let wanted = row.id.clone();
            let would_change = match action.as_str() {
                "block" => !row.blocked,
                "unblock" => row.blocked,
                _ => true,
            };
            let done = match action.as_str() {
                "block" => "blocked",
                "unblock" => "unblocked",
                _ => "deleted",
            };
            let named = if row.role == Role::Client { &wanted } else { &row.name };
            let text = format!("{done} {} {named}", row.role);
            if dry_run || !would_change {
                return Ok(Some((would_change, text)));
            }
            match action.as_str() {
                "block" => devices::set_blocked(tx, &wanted, true)?,
                "unblock" => devices::set_blocked(tx, &wanted, false)?,
                _ => devices::delete(tx, &wanted, now_ms)?,
            };
            let about = if row.role == Role::Client { vec![(CLIENT.to_owned(), wanted.clone())] } else { vec![] };
            audit(tx, &site, &user, &text, about, now_ms)?;
            Ok(Some((true, text)))
        })
        .await
        .map_err(failed)?;
    let Some((changed, text)) = done else { return Err(Failure::not_found(GROUP, super::client::PLURAL, &id)) };
    let text = if changed { text } else { format!("{text} before; nothing changed") };
    Ok(FleetAnswer::Object(reviewed(body, json!({"changed": changed, "text": text}))))
}
