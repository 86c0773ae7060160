//! What is to be done with one version now, and if nothing, when to look again. A pure function of what the site wants,
//! what is here and the time.

use super::catalog::{Record, Wanted};
use crate::model::state::LocationState;

/// Something to do with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Take it off the drives.
    Remove,
    /// Verify and repair now: a client complained, or an administrator asked for the content again.
    Check,
    /// Copy it here.
    Copy,
    /// Verify and repair, because it is time.
    Scrub,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Now, this.
    Now(Task),
    /// Look again at this time, Unix milliseconds.
    At(i64),
    /// Not until something changes.
    Idle,
}

/// How a point scrubs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scrubbing {
    /// Time between two scrubs of a version.
    pub(super) interval_ms: i64,
    /// When a scrub of everything was last asked for; what was verified before is due.
    pub(super) asked_ms: i64,
}

/// Content that nobody assigned is kept so long after it was found: the site sees it in reports meanwhile, and may be
/// about to assign it (it rebuilds its ledger from them after a loss).
pub(super) const UNASSIGNED_MS: i64 = 10 * 60 * 1000;

/// A version that was found sound is not suspected again for so long: what keeps it from being served is something else.
const SUSPICION_MS: i64 = 5_000;

/// Decides. A version that is worked on is nobody's business here.
pub(super) fn due(wanted: &Wanted, record: &Record, scrubbing: Scrubbing, now_ms: i64) -> Due {
    let when = |task, at_ms: i64| if at_ms <= now_ms { Due::Now(task) } else { Due::At(at_ms) };
    match wanted {
        Wanted::Remove if record.state == LocationState::Removed => Due::Idle,
        Wanted::Remove => when(Task::Remove, record.retry_at_ms),
        Wanted::Nobody { since_ms } => when(Task::Remove, (since_ms + UNASSIGNED_MS).max(record.retry_at_ms)),
        Wanted::Hold { .. } if record.state == LocationState::InstallFailed => Due::Idle,
        Wanted::Hold { .. } if !record.is_here() => when(Task::Copy, record.retry_at_ms),
        Wanted::Hold { resend_token, check } => {
            let notes = &record.notes;
            let is_asked = *check > notes.check || (resend_token.is_some() && *resend_token != notes.resend_token);
            if is_asked || record.state != LocationState::Installed {
                return when(Task::Check, record.retry_at_ms);
            }
            let verified_ms = notes.verified_at_ms.unwrap_or(0);
            if record.is_suspect {
                return when(Task::Check, record.retry_at_ms.max(verified_ms + SUSPICION_MS));
            }
            let scrub_ms = if verified_ms <= scrubbing.asked_ms { 0 } else { verified_ms + scrubbing.interval_ms };
            when(Task::Scrub, scrub_ms.max(record.retry_at_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dp::store::Notes;

    const NOW: i64 = 1_000_000_000;
    const DAILY: Scrubbing = Scrubbing { interval_ms: 86_400_000, asked_ms: 0 };

    fn record(state: LocationState) -> Record {
        let path = (state == LocationState::Installed).then(|| "/d/x".into());
        let notes = Notes { verified_at_ms: Some(NOW - 1_000), ..Notes::default() };
        Record { state, path, notes, ..Record::default() }
    }

    fn hold(resend_token: Option<&str>, check: u64) -> Wanted {
        Wanted::Hold { resend_token: resend_token.map(str::to_owned), check }
    }

    #[test]
    fn copying_checking_scrubbing_and_removing_have_their_times() {
        use LocationState::{InstallFailed, InstallPending, InstallRetrying, Installed, RemovalPending, Removed};
        let installed = record(Installed);
        let next = NOW - 1_000 + DAILY.interval_ms;
        let due = |wanted: &Wanted, record: &Record| due(wanted, record, DAILY, NOW);
        assert_eq!(due(&hold(None, 0), &record(InstallPending)), Due::Now(Task::Copy));
        assert_eq!(due(&hold(None, 0), &record(InstallFailed)), Due::Idle);
        let later = Record { retry_at_ms: NOW + 5, ..record(InstallRetrying) };
        assert_eq!(due(&hold(None, 0), &later), Due::At(NOW + 5));
        assert_eq!(due(&hold(None, 0), &installed), Due::At(next));
        assert_eq!(due(&hold(None, 1), &installed), Due::Now(Task::Check));
        assert_eq!(due(&hold(Some("t"), 0), &installed), Due::Now(Task::Check));
        assert_eq!(due(&Wanted::Remove, &installed), Due::Now(Task::Remove));
        assert_eq!(due(&Wanted::Remove, &record(RemovalPending)), Due::Now(Task::Remove), "nothing there is confirmed");
        assert_eq!(due(&Wanted::Remove, &record(Removed)), Due::Idle);
    }

    #[test]
    fn a_scrub_that_was_asked_for_comes_once() {
        let installed = record(LocationState::Installed);
        let asked = Scrubbing { asked_ms: NOW - 500, ..DAILY };
        assert_eq!(due(&hold(None, 0), &installed, asked, NOW), Due::Now(Task::Scrub));
        let asked_before = Scrubbing { asked_ms: NOW - 2_000, ..DAILY };
        assert!(matches!(due(&hold(None, 0), &installed, asked_before, NOW), Due::At(_)));
    }

    #[test]
    fn what_could_not_be_served_is_verified_but_not_over_and_over() {
        let suspect = Record { is_suspect: true, ..record(LocationState::Installed) };
        let verified_ms = NOW - 1_000;
        assert_eq!(due(&hold(None, 0), &suspect, DAILY, NOW), Due::At(verified_ms + SUSPICION_MS));
        assert_eq!(due(&hold(None, 0), &suspect, DAILY, verified_ms + SUSPICION_MS), Due::Now(Task::Check));
    }

    #[test]
    fn what_nobody_assigned_is_kept_for_a_while() {
        let installed = record(LocationState::Installed);
        let young = Wanted::Nobody { since_ms: NOW - 1 };
        assert_eq!(due(&young, &installed, DAILY, NOW), Due::At(NOW - 1 + UNASSIGNED_MS));
        let old = Wanted::Nobody { since_ms: NOW - UNASSIGNED_MS };
        assert_eq!(due(&old, &installed, DAILY, NOW), Due::Now(Task::Remove));
    }
}
