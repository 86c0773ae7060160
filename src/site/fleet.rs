//! The fleet group's resources, answered from the site database: what was observed (clients, messages, statuses, jobs,
//! locations) and what is asked for (tokens, actions, explanations, checks). One file a resource; nothing is decided here.

mod action;
mod check;
mod client;
mod client_status;
mod explanation;
mod facts;
mod job;
mod listing;
mod location;
mod message;
mod shape;
mod token;

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use tokio::sync::watch;

use crate::{
    apiserver::{
        failure::Failure,
        fleet::{Caller, Fleet, FleetAnswer, FleetRequest, FleetVerb, GROUP},
    },
    content::digest::Digest,
    controller::context::{Evaluated, SiteIdentity, Stores},
    db::{Database, DbError, Tx, messages},
    model::message::{Component, MessageType, Severity, StatusMessage, USER},
};

/// What the fleet group is answered from.
#[derive(Clone)]
pub struct Parts {
    /// The site database.
    pub database: Database,
    /// Who this site is.
    pub site: SiteIdentity,
    /// What exists only once the Kubernetes API does; until then some requests are told to come again.
    pub late: Arc<OnceLock<Late>>,
}

/// What exists only once the Kubernetes API and the listeners do.
pub struct Late {
    /// The Kubernetes API as the watches see it.
    pub stores: Stores,
    /// Memberships and offers.
    pub evaluated: watch::Receiver<Arc<Evaluated>>,
    /// Base URL of the enrolment listener, for join files.
    pub enrolment_url: String,
    /// Digest of the device authority's certificate, for join files.
    pub ca_sha256: Digest,
}

impl Parts {
    fn late(&self) -> Result<&Late, Failure> {
        self.late.get().ok_or_else(|| {
            Failure::plain(503, "ServiceUnavailable", "the site is still starting; try again in a moment")
        })
    }
}

/// The group's resources and what answers for them.
#[must_use]
pub fn fleet(parts: Parts) -> Fleet {
    let resources = vec![
        client::resource(),
        client_status::resource(),
        message::resource(),
        job::resource(),
        location::resource(),
        token::resource(),
        action::resource(),
        explanation::resource(),
        check::resource(),
    ];
    let parts = Arc::new(parts);
    let call = move |request: FleetRequest| {
        let parts = parts.clone();
        async move { answer(&parts, request).await }.boxed()
    };
    Fleet { resources, call: Arc::new(call) }
}

async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    match request.plural.as_str() {
        client::PLURAL => client::answer(parts, request).await,
        client_status::PLURAL => client_status::answer(parts, request).await,
        message::PLURAL => message::answer(parts, request).await,
        job::PLURAL => job::answer(parts, request).await,
        location::PLURAL => location::answer(parts, request).await,
        token::PLURAL => token::answer(parts, request).await,
        action::PLURAL => action::answer(parts, request).await,
        explanation::PLURAL => explanation::answer(parts, request).await,
        check::PLURAL => check::answer(parts, request).await,
        _ => Err(Failure::plain(404, "NotFound", "the server could not find the requested resource")),
    }
}

/// A verb that the resource does not have; discovery does not offer it either.
fn not_served(request: &FleetRequest) -> Failure {
    let verb = match request.verb {
        FleetVerb::Get { .. } => "get",
        FleetVerb::List { .. } => "list",
        FleetVerb::Create { .. } => "create",
        FleetVerb::Delete { .. } => "delete",
        FleetVerb::SetLabels { .. } => "patch",
    };
    Failure::method_not_allowed(GROUP, &request.plural, verb)
}

/// What the database could not do, as a refusal.
fn failed(error: DbError) -> Failure {
    match error {
        DbError::Limit { .. } => Failure::plain(422, "Invalid", error.to_string()),
        DbError::Conflict(_) => Failure::plain(409, "Conflict", error.to_string()),
        DbError::NotFound(_) => Failure::plain(404, "NotFound", error.to_string()),
        other => {
            tracing::error!(error = %other, "the fleet API could not use the site database");
            Failure::internal(other.to_string())
        }
    }
}

/// Notes what an administrator did. `about` are further attributes.
fn audit(
    tx: &mut Tx,
    site: &str,
    user: &Caller,
    text: &str,
    about: Vec<(String, String)>,
    now_ms: i64,
) -> Result<(), DbError> {
    let message = StatusMessage {
        time_ms: now_ms,
        severity: Severity::Informational,
        message_type: MessageType::Audit,
        component: Component::Security,
        message_id: 0,
        text: format!("{user} {text}"),
        reason: None,
        state: None,
        attributes: about.into_iter().chain([(USER.to_owned(), user.name.clone())]).collect(),
    };
    messages::store_local(tx, site, &message, now_ms)
}
