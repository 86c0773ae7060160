//! Where things stand: a client with an advertisement, a package version on a distribution point, a job.

use serde::{Deserialize, Serialize};

/// Where one client stands with one advertisement. Ordered roughly by progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RunState {
    /// Targeted; the client has said nothing yet.
    NoStatus,
    /// The client has received the offer (10002). It does not mean that the program will run.
    Accepted,
    /// The client does not meet the program's platform or disk space (10018).
    Rejected,
    /// The advertisement expired before the program started (10019).
    Expired,
    /// The program ran before under another occurrence or advertisement and its rule forbids another run.
    WillNotRerun,
    /// Waiting for a time, a dependency, content or a user; the message's reason says which.
    Waiting,
    /// Fetching and verifying content.
    Downloading,
    /// The program was started (10005).
    Running,
    /// Failed before; another attempt is due.
    Retrying,
    /// The offer was withdrawn before the program started.
    Cancelled,
    /// The program could not be prepared or started (10003).
    PrepareFailed,
    /// Content did not match its digest on any distribution point (10057).
    ContentMismatch,
    /// The program ran longer than its maximum run time and was stopped (10021).
    TimedOut,
    /// The program ended with a code that is not one of its success codes (10006).
    Failed,
    /// The program was started and nobody knows how it ended; it does not run again by itself.
    Unknown,
    /// The program succeeded (10008).
    Succeeded,
}

impl RunState {
    /// Every state, in order.
    pub const ALL: [Self; 16] = [
        Self::NoStatus,
        Self::Accepted,
        Self::Rejected,
        Self::Expired,
        Self::WillNotRerun,
        Self::Waiting,
        Self::Downloading,
        Self::Running,
        Self::Retrying,
        Self::Cancelled,
        Self::PrepareFailed,
        Self::ContentMismatch,
        Self::TimedOut,
        Self::Failed,
        Self::Unknown,
        Self::Succeeded,
    ];

    /// The name used in APIs, tables and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoStatus => "NoStatus",
            Self::Accepted => "Accepted",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
            Self::WillNotRerun => "WillNotRerun",
            Self::Waiting => "Waiting",
            Self::Downloading => "Downloading",
            Self::Running => "Running",
            Self::Retrying => "Retrying",
            Self::Cancelled => "Cancelled",
            Self::PrepareFailed => "PrepareFailed",
            Self::ContentMismatch => "ContentMismatch",
            Self::TimedOut => "TimedOut",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
            Self::Succeeded => "Succeeded",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether this state is a failure for the summaries.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::PrepareFailed | Self::ContentMismatch | Self::TimedOut | Self::Failed | Self::Unknown)
    }
}

/// How a finished run ended, as the client's history keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunOutcome {
    /// One of the program's success codes.
    Succeeded,
    /// Another exit code, a signal, a timeout, or it could not be started.
    Failed,
    /// Started, end unknown. Never runs again by itself.
    Unknown,
}

/// State of a package version on a distribution point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LocationState {
    /// Complete, verified and served.
    Installed,
    /// To be copied.
    InstallPending,
    /// A copy failed and will be tried again.
    InstallRetrying,
    /// The distribution point gave up until something changes.
    InstallFailed,
    /// To be removed.
    RemovalPending,
    /// A removal failed and will be tried again.
    RemovalRetrying,
    /// The distribution point gave up on the removal.
    RemovalFailed,
    /// Removed, as the distribution point reported.
    Removed,
    /// Given up by the administrator's removal policy; the content may still lie there.
    Abandoned,
}

impl LocationState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Installed,
        Self::InstallPending,
        Self::InstallRetrying,
        Self::InstallFailed,
        Self::RemovalPending,
        Self::RemovalRetrying,
        Self::RemovalFailed,
        Self::Removed,
        Self::Abandoned,
    ];

    /// The name used in APIs, tables and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "Installed",
            Self::InstallPending => "InstallPending",
            Self::InstallRetrying => "InstallRetrying",
            Self::InstallFailed => "InstallFailed",
            Self::RemovalPending => "RemovalPending",
            Self::RemovalRetrying => "RemovalRetrying",
            Self::RemovalFailed => "RemovalFailed",
            Self::Removed => "Removed",
            Self::Abandoned => "Abandoned",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
