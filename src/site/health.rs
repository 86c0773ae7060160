//! Health and metrics of a site server: for the machine it runs on, without a certificate, and without a word about what
//! the site's machines and software are called.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

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
pub(super) fn router(database: Database) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(shown))
        .with_state(database)
}

async fn shown(State(database): State<Database>) -> Response {
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
