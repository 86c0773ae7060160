//! The client: polls for policy, fetches content, runs programs once, reports what happened.
//!
//! [`run()`] assembles it: `poll` believes and keeps policy, `engine` looks at it through `view` and starts a `job` for
//! what is due, `run` supervises, `finish` writes history and says what happened, `sender` delivers that. [`socket`] is
//! the way of local users.

pub mod config;
pub mod content;
pub mod engine;
pub mod inventory;
pub mod link;
pub mod messages;
pub mod outbox;
pub mod policy;
pub mod run;
pub mod shared;
pub mod shown;
pub mod socket;
pub use crate::transport::session;
pub mod store;

mod attempts;
mod finish;
mod guests;
mod job;
mod narrate;
mod owner;
mod past;
mod place;
mod poll;
mod sender;
mod start;
mod unchanged;
mod upkeep;
mod view;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use self::start::{RunArgs, SocketArgs, run_until_signalled};
use self::{
    attempts::Attempts, config::LocalConfig, content::Cache, link::Link, run::Launcher, session::Session,
    shared::Shared, store::Store,
};
use crate::{
    content::{
        anchor::{Anchor, Lost},
        private::NotPrivate,
    },
    trust::identity::Role,
    wire::enrol::JoinFile,
};

/// Where an agent keeps its state unless it is told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/waybill/agent";
/// Where the owner's configuration is unless it is told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/waybill/agent.json";
/// The agent's database, in its state directory.
const DATABASE: &str = "agent.db";

/// Why the agent cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent's database failed.
    #[error("the agent's state failed")]
    Store(#[from] store::StoreError),
    /// The journal of runs failed.
    #[error("the journal of runs failed")]
    Journal(#[source] io::Error),
    /// A signed record says something that cannot be.
    #[error("the package record is not usable: {0}")]
    Record(String),
    /// The identity.
    #[error("this machine has no usable identity")]
    Session(#[from] session::SessionError),
    /// The owner's configuration.
    #[error("the agent's configuration is not usable")]
    Config(#[from] config::ConfigError),
    /// The state directory.
    #[error("the state directory {0} cannot be used")]
    State(PathBuf, #[source] io::Error),
    /// Others could reach into the state directory.
    #[error("the state directory cannot be used")]
    NotPrivate(#[from] NotPrivate),
    /// The directory is another process's.
    #[error("{0} is the state of another kind of process (it says '{1}'); give the agent a --state of its own")]
    Foreign(PathBuf, String),
    /// The directory is not empty and no agent's.
    #[error("{0} is not empty and holds no agent's state; give an empty directory as --state")]
    NotOurs(PathBuf),
    /// Another agent uses it.
    #[error("another agent is running on {0}; give each agent a state directory of its own with --state")]
    Busy(PathBuf),
    /// Its files are not those at their paths any more.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// Signals cannot be taken.
    #[error("the agent cannot take signals")]
    Signals(#[source] io::Error),
    /// A part of the agent ended by itself, which is a defect.
    #[error("a part of the agent ended")]
    Ended(#[source] Option<tokio::task::JoinError>),
}

/// What an agent is started with.
pub struct Options {
    /// State directory; made if it does not exist.
    pub state: PathBuf,
    /// How to join, if this machine has not joined yet.
    pub join: Option<JoinFile>,
    /// The owner's configuration.
    pub config: LocalConfig,
    /// The socket of local users.
    pub socket: PathBuf,
    /// How supervisors are started.
    pub launcher: Launcher,
}

/// The socket that belongs to a state directory unless an agent is told otherwise: beside it, because nobody but the
/// agent's user may reach into it.
#[must_use]
pub fn default_socket(state: &Path) -> PathBuf {
    state.with_added_extension("sock")
}

/// Runs a client until `shutdown`. Programs under way go on without it and are taken up by the next agent.
///
/// SIGHUP makes it poll and read its inventory at once.
///
/// # Errors
/// [`AgentError`], before anything is started; afterwards only if a part of the agent breaks.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), AgentError> {
    let Options { state, join, config, socket, launcher } = options;
    let (state, lock) = place::open(&state)?;
    let store = Store::open(&state.join(DATABASE))?;
    let anchors = place::anchors(&state, &lock)?;
    let opened = tokio::select! {
        opened = Session::open(&state, join.as_ref(), Role::Client, &[]) => opened?,
        () = shutdown.cancelled() => return Ok(()),
    };
    if let Some(dropped) = store.take_over(&opened.id)? {
        tracing::warn!(
            client = %opened.id, dropped,
            "this machine is a new client of its site: it keeps what ran here, and messages of the old client are dropped"
        );
    }
    let shared = Arc::new(assemble(state, anchors, config, launcher, store, opened)?);
    // Before anything is decided, history must say what the journal proves.
    finish::recover(&shared).await?;
    upkeep::after_run(&shared);
    let session = shared.session();
    tracing::info!(client = %session.id, site = %session.site_id, "the agent runs");

    let mut hangup = signal(SignalKind::hangup()).map_err(AgentError::Signals)?;
    let mut parts = JoinSet::new();
    parts.spawn(poll::run(shared.clone()));
    parts.spawn(engine::run(shared.clone()));
    parts.spawn(sender::run(shared.clone()));
    parts.spawn(upkeep::send_inventory(shared.clone()));
    parts.spawn(upkeep::renew_certificate(shared.clone()));
    parts.spawn(upkeep::tidy_regularly(shared.clone()));
    parts.spawn(socket::serve(shared.clone(), socket));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            lost = shared.lost() => return Err(lost.into()),
            ended = parts.join_next() => return Err(AgentError::Ended(ended.and_then(Result::err))),
            _ = hangup.recv() => {
                shared.poll.notify_one();
                shared.inventory.notify_one();
            }
        }
    }
}

fn assemble(
    state: PathBuf,
    anchors: [Anchor; 2],
    config: LocalConfig,
    launcher: Launcher,
    store: Store,
    session: Session,
) -> Result<Shared, AgentError> {
    let mut urls = session.endpoints.cap_urls.clone();
    if let Some(policy) = store.get::<policy::Policy>(view::POLICY)? {
        urls.extend(policy.body.config.access_points);
    }
    let link = Link::new(upkeep::link_client(&session, &state)?, Vec::new());
    link.add_urls(&urls);
    let cache = Cache::open(&state, upkeep::content_client(&session, &state)?)
        .map_err(|error| AgentError::State(state.join("cache"), error))?;
    Ok(Shared {
        config,
        store,
        tidying: Mutex::default(),
        distrusted: Mutex::default(),
        link,
        cache,
        key: Session::key(&state)?,
        session: Mutex::new(Arc::new(session)),
        state,
        anchors,
        launcher,
        lost: Notify::new(),
        wake: Notify::new(),
        outbox: Notify::new(),
        poll: Notify::new(),
        inventory: Notify::new(),
        programs: Attempts::default(),
        records: Attempts::default(),
    })
}
