//! `statusmessages`: what every part of the site said, newest first.

use serde_json::{Value, json};

use super::{
    Parts, failed,
    listing::Listing,
    not_served,
    shape::{column, instant, number, object, observed, text, texts, time, wide},
};
use crate::{
    apiserver::{
        failure::Failure,
        fleet::{FleetAnswer, FleetRequest, FleetResource, FleetVerb, GROUP},
    },
    db::messages::{self, MessageFilter, MessageRow, PAGE_MAX},
    model::{
        identity::ObjectName,
        message::{ADVERTISEMENT, Component, PACKAGE, Severity},
    },
};

pub(super) const PLURAL: &str = "statusmessages";
const KIND: &str = "StatusMessage";

pub(super) fn resource() -> FleetResource {
    let status = [
        ("severity", text("Informational, Warning or Error.")),
        ("type", text("Milestone, Detail or Audit.")),
        ("component", text("The part of the system that speaks.")),
        ("system", text("The site, distribution point or access point that it counts for; `clients` for all clients.")),
        ("messageID", number("The number that SMS gave this message, where it had one.")),
        ("text", text("The message itself.")),
        ("reason", text("Why, from the one list of reasons.")),
        ("state", text("Where it leaves the client with the advertisement.")),
        ("client", text("The client concerned, by id.")),
        ("advertisement", text("The advertisement concerned, as namespace/name.")),
        ("package", text("The package concerned, as namespace/name.")),
        ("attributes", texts("What else it says.")),
        ("time", instant("When it happened, by the sender's clock.")),
        ("receivedAt", instant("When this site stored it.")),
    ];
    FleetResource {
        kind: KIND.into(),
        plural: PLURAL.into(),
        short_names: vec!["msg".into()],
        namespaced: false,
        verbs: &["get", "list"],
        schema: observed("What a part of the site or a client said: what happened, where, to what.", &status),
        columns: vec![
            column("Severity", "string", ".status.severity"),
            column("Component", "string", ".status.component"),
            column("ID", "integer", ".status.messageID"),
            column("Client", "string", ".status.client"),
            wide("Advertisement", "string", ".status.advertisement"),
            wide("Reason", "string", ".status.reason"),
            column("Text", "string", ".status.text"),
            column("Age", "date", ".status.receivedAt"),
        ],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    match request.verb {
        FleetVerb::Get { name } => {
            let missing = || Failure::not_found(GROUP, PLURAL, &name);
            let id: i64 = name.parse().map_err(|_| missing())?;
            let filter = MessageFilter { before_id: id.checked_add(1), ..MessageFilter::default() };
            let found = parts.database.read(move |connection| messages::query(connection, &filter, 1)).await;
            let row = found.map_err(failed)?.into_iter().find(|row| row.id == id).ok_or_else(missing)?;
            Ok(FleetAnswer::Object(shown(&row)))
        }
        FleetVerb::List { label_selector, field_selector, limit, start } => {
            let fields = [
                "severity",
                "type",
                "component",
                "system",
                "messageID",
                "reason",
                "state",
                "client",
                "advertisement",
                "package",
            ];
            list(parts, Listing::parse(&label_selector, &field_selector, limit, start, &fields)?).await
        }
        _ => Err(not_served(&request)),
    }
}

async fn list(parts: &Parts, listing: Listing) -> Result<FleetAnswer, Failure> {
    let first = listing.place(|mark| mark.parse::<i64>().ok())?;
    let object_name = |field| listing.demanded(field).as_deref().and_then(ObjectName::parse);
    let filter = MessageFilter {
        system: listing.demanded("system"),
        component: listing.demanded("component").as_deref().and_then(Component::parse),
        at_least: listing.demanded("severity").as_deref().and_then(Severity::parse),
        message_id: listing.demanded("messageID").and_then(|id| id.parse().ok()),
        client: listing.demanded("client"),
        advertisement: object_name("advertisement"),
        package: object_name("package"),
        ..MessageFilter::default()
    };
    parts
        .database
        .read(move |connection| {
            let page = |before: Option<&i64>| {
                messages::query(connection, &MessageFilter { before_id: before.copied(), ..filter.clone() }, PAGE_MAX)
            };
            listing.collect(first, page, |row| row.id, ToString::to_string, shown)
        })
        .await
        .map_err(failed)
}

fn shown(row: &MessageRow) -> Value {
    let message = &row.message;
    let status = json!({
        "severity": message.severity.as_str(),
        "type": message.message_type.as_str(),
        "component": message.component.as_str(),
        "system": row.system,
        "messageID": (message.message_id != 0).then_some(message.message_id),
        "text": message.text,
        "reason": message.reason.map(crate::model::reason::Reason::as_str),
        "state": message.state.map(crate::model::state::RunState::as_str),
        "client": row.client,
        "advertisement": message.attributes.get(ADVERTISEMENT),
        "package": message.attributes.get(PACKAGE),
        "attributes": (!message.attributes.is_empty()).then_some(&message.attributes),
        "time": time(message.time_ms),
        "receivedAt": time(row.received_ms),
    });
    object(KIND, "", &row.id.to_string(), row.received_ms, status)
}
