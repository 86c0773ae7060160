//! Health and metrics of a site server: for the machine it runs on, without a certificate, and without a word about what
//! the site's machines and software are called.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::vitals::{Check, Vitals};
use crate::{
    clock,
    db::{Database, DbError, devices::SILENCE_MS_MAX, summaries::site_systems},
    metrics,
    plan::summary::Health,
    trust::identity::Role,
};

/// States of a site system, by their worst; all of them are shown, also those that nobody is in.
const STATES: [(Health, &str); 3] = [(Health::Ok, "ok"), (Health::Warning, "warning"), (Health::Critical, "critical")];

/// The routes.
pub(super) fn router(vitals: Vitals) -> Router {
    let healthz = async |State(vitals): State<Vitals>, query: RawQuery| page("healthz", &vitals.liveness(), query);
    let readyz = async |State(vitals): State<Vitals>, query: RawQuery| page("readyz", &vitals.readiness().await, query);
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(shown))
        .with_state(vitals)
}

/// `ok`, or a line for each check: of one that fails always, of all with `?verbose`, as the Kubernetes API server does it.
fn page(name: &str, checks: &[Check], RawQuery(query): RawQuery) -> Response {
    let passed = checks.iter().all(|(_, outcome)| outcome.is_ok());
    let is_verbose = query.is_some_and(|query| query.split('&').any(|term| term.split('=').next() == Some("verbose")));
    if passed && !is_verbose {
        return "ok\n".into_response();
    }
    let mut text: String = checks
        .iter()
        .map(|(check, outcome)| match outcome {
            Ok(()) => format!("[+]{check} ok\n"),
            Err(why) => format!("[-]{check} failed: {why}\n"),
        })
        .collect();
    text.push_str(&format!("{name} check {}\n", if passed { "passed" } else { "failed" }));
    (if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text).into_response()
}

async fn shown(State(vitals): State<Vitals>) -> Response {
    // One that does not act yet has nothing to count.
    let Some(database) = vitals.database() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let text = match count_systems(&database).await {
        Ok(()) => metrics::text().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be shown");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Distribution points and access points by the worst that is known of each.
async fn count_systems(database: &Database) -> Result<(), DbError> {
    let now_ms = clock::now_unix_ms();
    let systems = database.read(move |connection| site_systems(connection, now_ms, SILENCE_MS_MAX)).await?;
    let mut worst: BTreeMap<(String, Role), Health> = BTreeMap::new();
    for one in systems {
        let known = worst.entry((one.system, one.role)).or_insert(one.health);
        *known = (*known).max(one.health);
    }
    for role in [Role::Dp, Role::Cap] {
        for (health, state) in STATES {
            let count = worst.iter().filter(|((_, of), is)| *of == role && **is == health).count();
            metrics::site_systems(if role == Role::Dp { "dp" } else { "cap" }, state, count);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn said(checks: &[Check], query: Option<&str>) -> (u16, String) {
        let (parts, body) = page("readyz", checks, RawQuery(query.map(str::to_owned))).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_is_not_well_is_said_a_line_a_check() {
        let well = [("lease", Ok(())), ("database", Ok(()))];
        assert_eq!(said(&well, None).await, (200, "ok\n".into()));
        let all = "[+]lease ok\n[+]database ok\nreadyz check passed\n";
        for query in ["verbose", "verbose=true", "a=b&verbose"] {
            assert_eq!(said(&well, Some(query)).await, (200, all.into()));
        }
        let ill = [("lease", Ok(())), ("database", Err("it is locked".into()))];
        let told = "[+]lease ok\n[-]database failed: it is locked\nreadyz check failed\n";
        assert_eq!(said(&ill, None).await, (503, told.into()));
    }
}
