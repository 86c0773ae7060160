//! Health and metrics of a site server: for the machine it runs on, without a certificate, and without a word about what
//! the site's machines and software are called.

use std::{collections::BTreeMap, path::PathBuf};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    apiserver::ApiServer,
    clock,
    db::{Database, DbError, devices::SILENCE_MS_MAX, summaries::site_systems},
    metrics,
    plan::summary::Health,
    trust::identity::Role,
};

/// States of a site system, by their worst; all of them are shown, also those that nobody is in.
const STATES: [(Health, &str); 3] = [(Health::Ok, "ok"), (Health::Warning, "warning"), (Health::Critical, "critical")];

/// With less free than this, the next write may be the one that is refused.
const FREE_BYTES_MIN: u64 = 1 << 20;

/// What health is told of.
#[derive(Clone)]
pub(super) struct Watched {
    /// The site database.
    pub(super) database: Database,
    /// The embedded API, whose objects lie beside it; none beside a cluster.
    pub(super) api: Option<ApiServer>,
    /// The directory they lie in.
    pub(super) state: PathBuf,
}

/// The routes.
pub(super) fn router(watched: Watched) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(shown))
        .with_state(watched)
}

/// A site that cannot write still answers, and is no better off if it is started anew: it is alive, but not ready.
async fn ready(State(watched): State<Watched>) -> Response {
    let why = reasons(&watched).await;
    if why.is_empty() {
        return "ok\n".into_response();
    }
    let lines: String = why.iter().map(|reason| format!("not ok: {reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn reasons(watched: &Watched) -> Vec<String> {
    let mut why = Vec::new();
    let free = rustix::fs::statvfs(&watched.state).map(|volume| volume.f_bavail.saturating_mul(volume.f_frsize));
    if free.is_ok_and(|bytes| bytes < FREE_BYTES_MIN) {
        why.push("the disk of the state directory is full".to_owned());
    }
    if let Some(api) = &watched.api
        && let Err(error) = api.writable().await
    {
        why.push(error);
    }
    if let Err(error) = watched.database.writable().await {
        why.push(format!("the site database refuses writes: {:#}", anyhow::Error::from(error)));
    }
    why
}

async fn shown(State(Watched { database, .. }): State<Watched>) -> Response {
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
