//! `clientstatuses`: where every client stands with every advertisement, targets that have said nothing included. Named
//! ADVERTISEMENT.CLIENT, in the advertisement's namespace.

use std::collections::{BTreeMap, BTreeSet};

use kube::{ResourceExt, runtime::reflector::ObjectRef};
use serde_json::{Value, json};

use super::{
    Late, Parts, failed,
    listing::Listing,
    not_served,
    shape::{column, instant, number, object, observed, text, time, truth, wide},
};
use crate::{
    apiserver::{
        failure::Failure,
        fleet::{FleetAnswer, FleetRequest, FleetResource, FleetVerb, GROUP},
    },
    clock,
    db::{
        Connection, DbError,
        status::{self, StatusRow},
    },
    model::{identity::ObjectName, reason::Reason, state::RunState},
};

pub(super) const PLURAL: &str = "clientstatuses";
const KIND: &str = "ClientStatus";

pub(super) fn resource() -> FleetResource {
    let status = [
        ("advertisement", text("The advertisement.")),
        ("client", text("The client, by id.")),
        (
            "targeted",
            truth(
                "Whether the advertisement reaches the client now: a member of its collection that the Site grants the namespace.",
            ),
        ),
        ("state", text("Where it stands; NoStatus if it has said nothing.")),
        ("reason", text("Why, from the one list of reasons.")),
        ("text", text("The client's own words.")),
        ("program", text("The program.")),
        ("sourceVersion", number("Source version of its last run or attempt.")),
        ("exitCode", number("How its last run ended, if it ended by itself.")),
        ("attempts", number("How often it was started.")),
        ("user", text("The local user who started it last, if one did.")),
        ("output", text("The end of the last run's output, as far as the client sent it; in single objects only.")),
        ("since", instant("When it came to stand there, by the client's clock.")),
        ("receivedAt", instant("When this site learnt of it.")),
        ("acceptedAt", instant("When the client accepted the offer last, by its clock.")),
    ];
    FleetResource {
        kind: KIND.into(),
        plural: PLURAL.into(),
        short_names: vec!["cst".into()],
        namespaced: true,
        verbs: &["get", "list"],
        schema: observed("Where one client stands with one advertisement.", &status),
        columns: vec![
            column("Advertisement", "string", ".status.advertisement"),
            column("Client", "string", ".status.client"),
            column("State", "string", ".status.state"),
            column("Reason", "string", ".status.reason"),
            column("Exit", "integer", ".status.exitCode"),
            column("Version", "integer", ".status.sourceVersion"),
            column("Since", "date", ".status.since"),
            wide("Attempts", "integer", ".status.attempts"),
            wide("Text", "string", ".status.text"),
        ],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    let late = parts.late()?;
    match request.verb {
        FleetVerb::Get { name } => {
            let missing = || Failure::not_found(GROUP, PLURAL, &name);
            // Ids of clients have no dots.
            let (advertisement, client) = name.rsplit_once('.').ok_or_else(missing)?;
            let advertisement = ObjectName::new(&request.namespace, advertisement);
            let targeted = targets(late, &advertisement).contains(client);
            let (wanted, id) = (advertisement.clone(), client.to_owned());
            let read = parts.database.read(move |connection| status::get(connection, &id, &wanted)).await;
            match read.map_err(failed)? {
                Some(row) => Ok(FleetAnswer::Object(shown(&row, targeted))),
                None if targeted => Ok(FleetAnswer::Object(shown(&silent(&advertisement, client), true))),
                None => Err(missing()),
            }
        }
        FleetVerb::List { label_selector, field_selector, limit, start } => {
            let fields = ["advertisement", "client", "targeted", "state", "reason", "program", "sourceVersion"];
            let listing = Listing::parse(&label_selector, &field_selector, limit, start, &fields)?;
            list(parts, late, &request.namespace, listing).await
        }
        _ => Err(not_served(&request)),
    }
}

/// Where a listing stands: the last row's advertisement and client.
type Place = (ObjectName, String);

async fn list(parts: &Parts, late: &Late, namespace: &str, listing: Listing) -> Result<FleetAnswer, Failure> {
    let first: Option<Place> = listing.place(|mark| serde_json::from_str(mark).ok())?;
    let (advertisement, client) = (listing.demanded("advertisement"), listing.demanded("client"));
    let targeted: BTreeMap<ObjectName, BTreeSet<String>> = late
        .stores
        .advertisements
        .state()
        .iter()
        .map(|one| ObjectName::new(one.namespace().unwrap_or_default(), one.name_any()))
        .filter(|name| namespace.is_empty() || name.namespace == namespace)
        .filter(|name| advertisement.as_ref().is_none_or(|wanted| name.name == *wanted))
        .map(|name| (name.clone(), targets(late, &name)))
        .collect();
    parts
        .database
        .read(move |connection| {
            // A page is what is left of the next advertisement that has anything left.
            let page = |after: Option<&Place>| -> Result<Vec<(StatusRow, bool)>, DbError> {
                for (name, targets) in &targeted {
                    if after.is_some_and(|(done, _)| name < done) {
                        continue;
                    }
                    let mut rows = rows(connection, name, targets, client.as_deref())?;
                    if let Some((_, last)) = after.filter(|(done, _)| done == name) {
                        rows.retain(|(row, _)| row.client > *last);
                    }
                    if !rows.is_empty() {
                        return Ok(rows);
                    }
                }
                Ok(Vec::new())
            };
            let place = |(row, _): &(StatusRow, bool)| (row.advertisement.clone(), row.client.clone());
            let mark = |place: &Place| json!(place).to_string();
            listing.collect(first, page, place, mark, |(row, targeted)| shown(row, *targeted))
        })
        .await
        .map_err(failed)
}

/// The clients that the advertisement reaches now, as its own count says.
fn targets(late: &Late, advertisement: &ObjectName) -> BTreeSet<String> {
    let reference = ObjectRef::new(&advertisement.name).within(&advertisement.namespace);
    let object = late.stores.advertisements.get(&reference);
    let evaluated = late.evaluated.borrow();
    object.map(|object| evaluated.targeted(advertisement, &object.spec.collection)).unwrap_or_default()
}

/// Rows of an advertisement by client, silent targets included; of one client if `only` names it.
fn rows(
    connection: &Connection,
    advertisement: &ObjectName,
    targets: &BTreeSet<String>,
    only: Option<&str>,
) -> Result<Vec<(StatusRow, bool)>, DbError> {
    let said = match only {
        Some(client) => status::get(connection, client, advertisement)?.into_iter().collect(),
        None => status::of_advertisement(connection, advertisement)?,
    };
    let mut rows: BTreeMap<String, StatusRow> = said.into_iter().map(|row| (row.client.clone(), row)).collect();
    for target in targets.iter().filter(|target| only.is_none_or(|client| client == target.as_str())) {
        rows.entry(target.clone()).or_insert_with(|| silent(advertisement, target));
    }
    Ok(rows
        .into_values()
        .map(|row| {
            let targeted = targets.contains(&row.client);
            (StatusRow { output: None, ..row }, targeted)
        })
        .collect())
}

/// A target that has said nothing.
fn silent(advertisement: &ObjectName, client: &str) -> StatusRow {
    StatusRow {
        client: client.to_owned(),
        advertisement: advertisement.clone(),
        state: RunState::NoStatus,
        reason: None,
        text: String::new(),
        time_ms: 0,
        received_ms: 0,
        accepted_ms: None,
        program: None,
        source_version: None,
        exit_code: None,
        attempts: 0,
        user: None,
        output: None,
        rerun_tokens: None,
    }
}

fn shown(row: &StatusRow, targeted: bool) -> Value {
    let spoken = row.received_ms != 0;
    let status = json!({
        "advertisement": row.advertisement.name,
        "client": row.client,
        "targeted": targeted,
        "state": row.state.as_str(),
        "reason": row.reason.map(Reason::as_str),
        "text": (!row.text.is_empty()).then_some(&row.text),
        "program": row.program,
        "sourceVersion": row.source_version,
        "exitCode": row.exit_code,
        "attempts": row.attempts,
        "user": row.user,
        "output": row.output,
        "since": spoken.then(|| time(row.time_ms)),
        "receivedAt": spoken.then(|| time(row.received_ms)),
        "acceptedAt": row.accepted_ms.map(time),
    });
    let name = format!("{}.{}", row.advertisement.name, row.client);
    let created_ms = if spoken { row.received_ms } else { clock::now_unix_ms() };
    object(KIND, &row.advertisement.namespace, &name, created_ms, status)
}
