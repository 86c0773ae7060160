//! `contentlocations`: every version of a package that a distribution point holds, should hold or should remove. Named
//! PACKAGE.VERSION.POINT.

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
    db::{
        DbError,
        locations::{self, LocationRow, PAGE_MAX, Wanted},
    },
    model::identity::ObjectName,
};

pub(super) const PLURAL: &str = "contentlocations";
const KIND: &str = "ContentLocation";

pub(super) fn resource() -> FleetResource {
    let status = [
        ("package", text("The package.")),
        ("sourceVersion", number("Its version.")),
        ("content", text("Digest of that version's manifest.")),
        ("distributionPoint", text("The distribution point.")),
        ("wanted", text("Hold or Remove.")),
        ("state", text("Where it stands.")),
        ("detail", text("Why it is not where it should be.")),
        ("path", text("The directory it is published in, on the distribution point.")),
        ("verifiedAt", instant("When all its bytes were last verified.")),
        ("changedAt", instant("When its state changed last.")),
    ];
    FleetResource {
        kind: KIND.into(),
        plural: PLURAL.into(),
        short_names: vec![],
        namespaced: true,
        verbs: &["get", "list"],
        schema: observed("One package version on one distribution point.", &status),
        columns: vec![
            column("Package", "string", ".status.package"),
            column("Version", "integer", ".status.sourceVersion"),
            column("Point", "string", ".status.distributionPoint"),
            column("State", "string", ".status.state"),
            column("Verified", "date", ".status.verifiedAt"),
            wide("Content", "string", ".status.content"),
            wide("Path", "string", ".status.path"),
            wide("Detail", "string", ".status.detail"),
        ],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    match request.verb {
        FleetVerb::Get { name } => get(parts, request.namespace, name).await,
        FleetVerb::List { label_selector, field_selector, limit, start } => {
            let fields = ["package", "sourceVersion", "distributionPoint", "content", "wanted", "state"];
            let listing = Listing::parse(&label_selector, &field_selector, limit, start, &fields)?;
            list(parts, request.namespace, listing).await
        }
        _ => Err(not_served(&request)),
    }
}

async fn get(parts: &Parts, namespace: String, name: String) -> Result<FleetAnswer, Failure> {
    let wanted = name.clone();
    let found = parts
        .database
        .read(move |connection| {
            // Names of packages and points may have dots as well: every cut is tried.
            for (cut, _) in wanted.match_indices('.') {
                let package = ObjectName::new(&namespace, &wanted[..cut]);
                let rows = locations::of_package(connection, &package)?;
                if let Some(row) = rows.into_iter().find(|row| name_of(row) == wanted) {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })
        .await
        .map_err(failed)?;
    found.map(|row| FleetAnswer::Object(shown(&row))).ok_or_else(|| Failure::not_found(GROUP, PLURAL, &name))
}

/// Where a listing stands: package, version and point of the last row.
type Place = (ObjectName, u64, String);

async fn list(parts: &Parts, namespace: String, listing: Listing) -> Result<FleetAnswer, Failure> {
    let first: Option<Place> = listing.place(|mark| serde_json::from_str(mark).ok())?;
    parts
        .database
        .read(move |connection| {
            let namespace = Some(namespace.as_str()).filter(|one| !one.is_empty());
            let page = |after: Option<&Place>| -> Result<_, DbError> {
                let after = after.map(|(package, version, point)| (package, *version, point.as_str()));
                locations::page(connection, namespace, after, PAGE_MAX)
            };
            let place =
                |row: &LocationRow| (row.version.package.clone(), row.version.source_version, row.point.clone());
            listing.collect(first, page, place, |place| json!(place).to_string(), shown)
        })
        .await
        .map_err(failed)
}

pub(super) fn name_of(row: &LocationRow) -> String {
    format!("{}.{}.{}", row.version.package.name, row.version.source_version, row.point)
}

fn shown(row: &LocationRow) -> Value {
    let status = json!({
        "package": row.version.package.name,
        "sourceVersion": row.version.source_version,
        "content": row.version.content.to_string(),
        "distributionPoint": row.point,
        "wanted": match row.wanted { Wanted::Hold => "Hold", Wanted::Remove => "Remove" },
        "state": row.state.as_str(),
        "detail": row.detail,
        "path": row.path,
        "verifiedAt": row.verified_at_ms.map(time),
        "changedAt": time(row.updated_ms),
    });
    object(KIND, &row.version.package.namespace, &name_of(row), row.created_ms, status)
}
