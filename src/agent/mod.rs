//! The client: polls for policy, fetches content, runs programs once, reports what happened.

pub mod config;
pub mod content;
pub mod engine;
pub mod inventory;
mod job;
pub mod link;
pub mod messages;
pub mod policy;
pub mod run;
pub mod session;
pub mod store;

/// Why the agent cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent's database failed.
    #[error("the agent's state failed")]
    Store(#[from] store::StoreError),
    /// The journal of runs failed.
    #[error("the journal of runs failed")]
    Journal(#[source] std::io::Error),
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
    State(std::path::PathBuf, #[source] std::io::Error),
}
