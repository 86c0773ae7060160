//! Why something is not done yet, or failed: one list, used alike in conditions, events, messages, metrics and `why`.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why something stands where it stands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name used in conditions, events, messages and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What the reason means, for people.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii_start(),)+ }
            }
        }
    };
}

reasons! {
    // --- done ---
    /// The control plane has converged.
    Succeeded,
    /// Suspended by its own spec or by its site's.
    Suspended,

    // --- under way ---
    /// Work is under way.
    Progressing,
    /// The last try failed; another follows by itself.
    ProgressingWithRetry,
    /// The start time lies ahead.
    WaitingForStart,
    /// No distribution point of the site holds the content yet.
    WaitingForContent,
    /// The package has no record yet.
    WaitingForRecord,
    /// The next assignment lies ahead.
    WaitingForAssignment,
    /// Another program has to succeed first.
    WaitingForDependency,
    /// A user has to start it.
    WaitingForUser,
    /// The client has not fetched the current policy yet.
    WaitingForPolicy,
    /// Not enough distribution points hold the content yet.
    WaitingForDistributionPoints,
    /// Failed; runs again at a later assignment, with a new source version or with a changed program.
    WaitingAfterFailure,
    /// Another attempt is due after a pause.
    Retrying,

    // --- needs somebody ---
    /// The object contradicts itself.
    InvalidSpec,
    /// A named object does not exist.
    ReferenceNotFound,
    /// The advertisement contradicts its program.
    ProgramConflict,
    /// The query is not valid or failed.
    QueryFailed,
    /// The Site grants the namespace no client.
    NamespaceNotGranted,
    /// More clients would be reached than the Site grants the namespace at once.
    TooManyClients,
    /// The Site does not let programs of the namespace run as this user.
    RunAsNotGranted,
    /// The package source is missing or cannot be read.
    SourceUnavailable,
    /// The package source lies outside every permitted source root.
    SourceNotPermitted,
    /// The package source holds an entry that cannot be distributed.
    SourceRefused,
    /// The package source changed while it was read.
    SourceChanged,
    /// A limit was exceeded.
    LimitExceeded,
    /// Removing so much at once needs an acknowledgement.
    PruneGuard,
    /// Some manifests could not be applied.
    ManifestsInvalid,
    /// The last copy of the content is gone; it is being restored or has to be.
    ContentLost,
    /// This object belongs to another site.
    NotThisSite,
    /// This is the last copy under a live advertisement; force the removal or withdraw the advertisement.
    LastCopy,
    /// Removal waits for distribution points that have not confirmed.
    RemovalPending,
    /// A disk is full.
    DiskFull,
    /// A distribution point cannot be reached.
    Unreachable,
    /// Client agents of this site are switched off.
    AgentDisabled,

    // --- on the client ---
    /// The client's platform is not one of the program's.
    PlatformMismatch,
    /// The client lacks the disk space that the program asks for.
    InsufficientDiskSpace,
    /// The program is disabled.
    ProgramDisabled,
    /// The advertisement is suspended: no new starts.
    AdvertisementSuspended,
    /// The advertisement expired.
    AdvertisementExpired,
    /// The advertisement no longer targets this client.
    OfferWithdrawn,
    /// The program already ran here and its rule forbids another run.
    AlreadyRan,
    /// The dependency failed.
    DependencyFailed,
    /// Bytes do not match their digest.
    DigestMismatch,
    /// No distribution point delivered the content.
    NoContentSource,
    /// The program file does not exist in the package or may not be used.
    ProgramNotFound,
    /// The agent's configuration does not allow this command or user.
    NotAllowed,
    /// The program could not be started.
    StartFailed,
    /// The program ended with a code that is not a success code, or by a signal.
    ExitCode,
    /// The program exceeded its maximum run time.
    MaxRuntimeExceeded,
    /// The supervisor vanished between start and end of the program.
    SupervisorLost,
    /// The local journal is damaged.
    JournalDamaged,
    /// The client was blocked by an administrator.
    Blocked,
    /// A signature or proof did not verify.
    SignatureInvalid,
    /// Policy older than what the client already holds was offered.
    PolicyRollback,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_explained() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| reason.explanation().ends_with('.')));
    }
}
