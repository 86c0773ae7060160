//! `distributionjobs`: what a Distribution makes of one package version and one point, with the phases Send, Distribute
//! and Run.

use serde_json::{Value, json};

use super::{
    Parts, failed,
    listing::Listing,
    not_served,
    shape::{column, instant, number, object, observed, text, time, wide},
};
use crate::{
    apiserver::{
        failure::Failure,
        fleet::{FleetAnswer, FleetRequest, FleetResource, FleetVerb, GROUP},
    },
    db::jobs::{self, JobRow, PAGE_MAX},
};

pub(super) const PLURAL: &str = "distributionjobs";
const KIND: &str = "DistributionJob";

pub(super) fn resource() -> FleetResource {
    let status = [
        ("distribution", text("The Distribution it comes from.")),
        ("package", text("The package.")),
        ("sourceVersion", number("The version to bring.")),
        ("content", text("Digest of that version's manifest.")),
        ("distributionPoint", text("Where it is brought to.")),
        ("advertisement", text("The advertisement that runs it, if the job has a Run phase.")),
        ("priority", text("High, Normal or Low.")),
        ("send", text("Sending to another site; None inside one.")),
        ("distribute", text("Copying to the distribution point and verifying there.")),
        ("run", text("Running on clients; None without an advertisement.")),
        ("state", text("All phases together.")),
        ("detail", text("What holds it up.")),
        ("startAfter", instant("Not before, by the server's clock.")),
        ("finishedAt", instant("When it was complete or cancelled.")),
    ];
    FleetResource {
        kind: KIND.into(),
        plural: PLURAL.into(),
        short_names: vec![],
        namespaced: true,
        verbs: &["get", "list"],
        schema: observed("One package version on its way to one distribution point.", &status),
        columns: vec![
            column("Package", "string", ".status.package"),
            column("Version", "integer", ".status.sourceVersion"),
            column("Point", "string", ".status.distributionPoint"),
            column("Send", "string", ".status.send"),
            column("Distribute", "string", ".status.distribute"),
            column("Run", "string", ".status.run"),
            column("State", "string", ".status.state"),
            wide("Detail", "string", ".status.detail"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    let namespace = request.namespace.clone();
    match request.verb {
        FleetVerb::Get { name } => {
            let wanted = name.clone();
            let found = parts.database.read(move |connection| jobs::get(connection, &wanted)).await.map_err(failed)?;
            let row = found.filter(|row| row.spec.namespace == namespace);
            row.map(|row| FleetAnswer::Object(shown(&row))).ok_or_else(|| Failure::not_found(GROUP, PLURAL, &name))
        }
        FleetVerb::List { label_selector, field_selector, limit, start } => {
            let fields = [
                "distribution",
                "package",
                "sourceVersion",
                "distributionPoint",
                "advertisement",
                "state",
                "distribute",
            ];
            let listing = Listing::parse(&label_selector, &field_selector, limit, start, &fields)?;
            let first = listing.place(|mark| Some(mark.to_owned()))?;
            parts
                .database
                .read(move |connection| {
                    let namespace = Some(namespace.as_str()).filter(|one| !one.is_empty());
                    let page = |after: Option<&String>| {
                        jobs::page(connection, namespace, after.map_or("", String::as_str), PAGE_MAX)
                    };
                    listing.collect(first, page, |row| row.id.clone(), Clone::clone, shown)
                })
                .await
                .map_err(failed)
        }
        _ => Err(not_served(&request)),
    }
}

fn shown(row: &JobRow) -> Value {
    let spec = &row.spec;
    let status = json!({
        "distribution": spec.distribution,
        "package": spec.package,
        "sourceVersion": spec.source_version,
        "content": spec.content.map(|content| content.to_string()),
        "distributionPoint": spec.point,
        "advertisement": spec.advertisement,
        "priority": spec.priority.as_str(),
        "send": row.send_state.as_str(),
        "distribute": row.distribute.as_str(),
        "run": row.run.as_str(),
        "state": row.state.as_str(),
        "detail": row.detail,
        "startAfter": spec.start_after_ms.map(time),
        "finishedAt": row.finished_ms.map(time),
    });
    object(KIND, &spec.namespace, &row.id, row.created_ms, status)
}
