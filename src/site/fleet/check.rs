//! `contentchecks`: asks distribution points to verify and repair a package's content now instead of at their next scrub.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Parts, audit, failed, not_served,
    shape::{asked, name, number, reviewed},
};
use crate::{
    apiserver::{
        failure::Failure,
        fleet::{Caller, FleetAnswer, FleetRequest, FleetResource, FleetVerb, GROUP},
    },
    clock,
    db::locations::{self, Wanted},
    model::{identity::ObjectName, message::PACKAGE},
};

pub(super) const PLURAL: &str = "contentchecks";

pub(super) fn resource() -> FleetResource {
    let spec = [
        ("package", name("The package.")),
        ("sourceVersion", number("Only this version; without it, every version that is to be held.")),
        ("distributionPoint", name("Only this distribution point; without it, all.")),
    ];
    let asked_of = json!({"type": "array", "items": {"type": "string"},
        "description": "Names of the content locations that are verified now; `verifiedAt` there says when it was done."});
    FleetResource {
        kind: "ContentCheck".into(),
        plural: PLURAL.into(),
        short_names: vec![],
        namespaced: true,
        verbs: &["create"],
        schema: asked(
            "Asks distribution points to verify a package's content now.",
            &["package"],
            &spec,
            &[("asked", asked_of)],
        ),
        columns: vec![],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    match request.verb {
        FleetVerb::Create { body, dry_run } => check(parts, &request.namespace, request.user, body, dry_run).await,
        _ => Err(not_served(&request)),
    }
}

async fn check(
    parts: &Parts,
    namespace: &str,
    user: Caller,
    body: Value,
    dry_run: bool,
) -> Result<FleetAnswer, Failure> {
    let package = ObjectName::new(namespace, body["spec"]["package"].as_str().unwrap_or_default());
    let version = body["spec"]["sourceVersion"].as_u64();
    let point = body["spec"]["distributionPoint"].as_str().map(str::to_owned);
    let (site, wanted, now_ms) = (parts.site.name.clone(), package.clone(), clock::now_unix_ms());
    let asked = parts
        .database
        .write(move |tx| {
            let mut rows = locations::of_package(tx, &wanted)?;
            rows.retain(|row| {
                row.wanted == Wanted::Hold
                    && version.is_none_or(|version| row.version.source_version == version)
                    && point.as_ref().is_none_or(|point| row.point == *point)
            });
            if !dry_run && !rows.is_empty() {
                // Versions of equal content are one request.
                let contents: BTreeSet<_> = rows.iter().map(|row| (row.point.clone(), row.version.content)).collect();
                for (point, content) in &contents {
                    locations::request_check(tx, point, content)?;
                }
                let text = format!("asked for a check of {} copies of package {wanted}", rows.len());
                audit(tx, &site, &user, &text, vec![(PACKAGE.to_owned(), wanted.to_string())], now_ms)?;
            }
            Ok(rows)
        })
        .await
        .map_err(failed)?;
    if asked.is_empty() {
        return Err(Failure::not_found(GROUP, super::location::PLURAL, &package.name));
    }
    let names: Vec<String> = asked.iter().map(super::location::name_of).collect();
    Ok(FleetAnswer::Object(reviewed(body, json!({"asked": names}))))
}
