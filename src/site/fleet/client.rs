//! `clients`: machines that joined, with the labels that administrators set on them. Labels can be changed, a client can
//! be deleted; everything else is what was observed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Parts, audit, failed,
    listing::Listing,
    not_served,
    shape::{column, instant, object, observed, text, texts, time, truth, wide},
};
use crate::{
    apiserver::{
        failure::Failure,
        fleet::{Caller, FleetAnswer, FleetRequest, FleetResource, FleetVerb, GROUP},
        metadata::{self, NameRule},
    },
    clock,
    db::{
        Connection, DbError, copies,
        devices::{self, DeviceRow, PAGE_MAX},
        inventory,
        messages::CLIENT,
    },
    trust::identity::Role,
    wire::inventory::Inventory,
};

pub(super) const PLURAL: &str = "clients";
const KIND: &str = "Client";

pub(super) fn resource() -> FleetResource {
    let status = [
        ("hostname", text("What the machine calls itself; a label for people, no identity.")),
        ("os", text("Its operating system: distribution and version where it said so.")),
        ("architecture", text("Its processor architecture.")),
        ("agentVersion", text("The version of its agent.")),
        ("copied", truth("Two machines report as this client: its state was copied. Noticed within the last week.")),
        ("blocked", truth("An administrator refuses its connections; it is offered nothing.")),
        ("joinedAt", instant("When it joined last.")),
        ("lastSeen", instant("When it was heard of last, to the minute.")),
        ("certificateExpires", instant("End of its certificate.")),
        ("packages", texts("Software that it reports, with versions; in single objects only.")),
    ];
    FleetResource {
        kind: KIND.into(),
        plural: PLURAL.into(),
        short_names: vec![],
        namespaced: false,
        verbs: &["get", "list", "patch", "delete"],
        schema: observed("A machine that joined and runs what is advertised to it.", &status),
        columns: vec![
            column("Hostname", "string", ".status.hostname"),
            column("OS", "string", ".status.os"),
            column("Agent", "string", ".status.agentVersion"),
            column("Blocked", "boolean", ".status.blocked"),
            column("Copied", "boolean", ".status.copied"),
            column("Seen", "date", ".status.lastSeen"),
            wide("Labels", "string", ".metadata.labels"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    match request.verb {
        FleetVerb::Get { name } => get(parts, &name).await.map(FleetAnswer::Object),
        FleetVerb::List { label_selector, field_selector, limit, start } => {
            let fields = ["hostname", "os", "architecture", "agentVersion", "blocked", "copied"];
            list(parts, Listing::parse(&label_selector, &field_selector, limit, start, &fields)?).await
        }
        FleetVerb::Delete { name, dry_run } => {
            let last = get(parts, &name).await?;
            if !dry_run {
                let (site, user, now_ms) = (parts.site.name.clone(), request.user, clock::now_unix_ms());
                parts
                    .database
                    .write(move |tx| {
                        devices::delete(tx, &name, now_ms)?;
                        let about = vec![(CLIENT.to_owned(), name.clone())];
                        audit(tx, &site, &user, &format!("deleted client {name}"), about, now_ms)
                    })
                    .await
                    .map_err(failed)?;
            }
            Ok(FleetAnswer::Object(last))
        }
        FleetVerb::SetLabels { name, labels, dry_run } => {
            set_labels(parts, request.user, name, &labels, dry_run).await.map(FleetAnswer::Object)
        }
        FleetVerb::Create { .. } => Err(not_served(&request)),
    }
}

/// What is known of a client.
struct Found {
    row: DeviceRow,
    inventory: Inventory,
    copied: bool,
}

impl Found {
    fn of(connection: &Connection, row: DeviceRow) -> Result<Self, DbError> {
        let inventory = inventory::get(connection, &row.id)?.unwrap_or_default();
        let copied = copies::is_copied(connection, &row.id, clock::now_unix_ms())?;
        Ok(Self { row, inventory, copied })
    }
}

async fn get(parts: &Parts, name: &str) -> Result<Value, Failure> {
    let wanted = name.to_owned();
    let found = parts
        .database
        .read(move |connection| {
            let row = devices::get(connection, &wanted)?.filter(|row| row.role == Role::Client);
            row.map(|row| Found::of(connection, row)).transpose()
        })
        .await
        .map_err(failed)?;
    let Some(found) = found else { return Err(Failure::not_found(GROUP, PLURAL, name)) };
    let mut client = shown(&found);
    if !found.inventory.packages.is_empty() {
        client["status"]["packages"] = json!(found.inventory.packages);
    }
    Ok(client)
}

async fn list(parts: &Parts, listing: Listing) -> Result<FleetAnswer, Failure> {
    let first = listing.place(|mark| Some(mark.to_owned()))?;
    // Few, and asked for by everybody who looks at the whole site.
    let only_copied = listing.demanded("copied").as_deref() == Some("true");
    parts
        .database
        .read(move |connection| {
            let page = |after: Option<&String>| -> Result<Vec<Found>, DbError> {
                let after = after.map_or("", String::as_str);
                let rows = if only_copied {
                    let ids = copies::page(connection, after, PAGE_MAX, clock::now_unix_ms())?;
                    let rows = ids.iter().map(|id| devices::get(connection, id)).collect::<Result<Vec<_>, _>>()?;
                    rows.into_iter().flatten().collect()
                } else {
                    devices::page(connection, Role::Client, after, PAGE_MAX)?
                };
                rows.into_iter().map(|row| Found::of(connection, row)).collect()
            };
            listing.collect(first, page, |found| found.row.id.clone(), Clone::clone, shown)
        })
        .await
        .map_err(failed)
}

async fn set_labels(
    parts: &Parts,
    user: Caller,
    name: String,
    labels: &Value,
    dry_run: bool,
) -> Result<Value, Failure> {
    let labels = checked_labels(KIND, &name, labels)?;
    if dry_run {
        let mut object = get(parts, &name).await?;
        object["metadata"]["labels"] = json!(labels);
        return Ok(object);
    }
    let (site, wanted, now_ms) = (parts.site.name.clone(), name.clone(), clock::now_unix_ms());
    parts
        .database
        .write(move |tx| {
            if devices::set_labels(tx, &wanted, &labels)? {
                let about = vec![(CLIENT.to_owned(), wanted.clone())];
                let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                audit(tx, &site, &user, &format!("labelled client {wanted}: {}", pairs.join(",")), about, now_ms)?;
            }
            Ok(())
        })
        .await
        .map_err(|error| match error {
            DbError::NotFound(_) => Failure::not_found(GROUP, PLURAL, &name),
            other => failed(other),
        })?;
    get(parts, &name).await
}

/// Labels as Kubernetes allows them.
pub(super) fn checked_labels(kind: &str, name: &str, labels: &Value) -> Result<BTreeMap<String, String>, Failure> {
    let carrier = json!({"metadata": {"name": "x", "labels": labels}});
    let causes = metadata::validate(&carrier, NameRule::Subdomain, false);
    if !causes.is_empty() {
        return Err(Failure::invalid(GROUP, kind, name, causes));
    }
    let pairs = labels.as_object().into_iter().flatten();
    Ok(pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
}

fn shown(found: &Found) -> Value {
    let Found { row, inventory, copied } = found;
    let platform = &inventory.platform;
    let os = [platform.distribution.as_ref().or(platform.os.as_ref()), platform.version.as_ref()];
    let os: Vec<&str> = os.into_iter().flatten().map(String::as_str).collect();
    let status = json!({
        "hostname": row.hostname,
        "os": (!os.is_empty()).then(|| os.join(" ")),
        "architecture": platform.arch,
        "agentVersion": row.agent_version,
        "blocked": row.blocked,
        "copied": copied,
        "joinedAt": time(row.joined_at_ms),
        "lastSeen": time(row.last_seen_ms),
        "certificateExpires": time(row.not_after_ms),
    });
    let mut object = object(KIND, "", &row.id, row.joined_at_ms, status);
    if !row.labels.is_empty() {
        object["metadata"]["labels"] = json!(row.labels);
    }
    object
}
