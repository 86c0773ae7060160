//! The phases of a job, their states, and what they add up to. Pure.

/// A part of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Content travels to the site.
    Send = 0,
    /// Content is copied to the distribution point and verified there.
    Distribute = 1,
    /// The program runs on clients.
    Run = 2,
}

/// Where a phase, or a whole job, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseState {
    /// The job has no such phase.
    None,
    /// Not begun.
    Pending,
    /// Under way.
    Active,
    /// Failed and tried again.
    Retrying,
    /// Done.
    Complete,
    /// Not wanted any more.
    Cancelled,
    /// Given up until something changes.
    Failed,
}

impl PhaseState {
    const ALL: [Self; 7] =
        [Self::None, Self::Pending, Self::Active, Self::Retrying, Self::Complete, Self::Cancelled, Self::Failed];

    /// The name used in APIs, tables and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Retrying => "Retrying",
            Self::Complete => "Complete",
            Self::Cancelled => "Cancelled",
            Self::Failed => "Failed",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Which of several jobs goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before the others.
    High,
    /// As usual.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

impl Priority {
    /// The name used in APIs, tables and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "High",
            Self::Normal => "Normal",
            Self::Low => "Low",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::High, Self::Normal, Self::Low].into_iter().find(|priority| priority.as_str() == text)
    }
}

/// What the phases of a job add up to: the worst of them, complete only when all are.
#[must_use]
pub fn overall(phases: [PhaseState; 3]) -> PhaseState {
    let any = |state| phases.contains(&state);
    let begun = any(PhaseState::Active) || any(PhaseState::Complete);
    if any(PhaseState::Cancelled) {
        PhaseState::Cancelled
    } else if any(PhaseState::Failed) {
        PhaseState::Failed
    } else if any(PhaseState::Retrying) {
        PhaseState::Retrying
    } else if any(PhaseState::Pending) || any(PhaseState::Active) {
        if begun { PhaseState::Active } else { PhaseState::Pending }
    } else {
        PhaseState::Complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_complete_when_every_phase_is() {
        use PhaseState::{Active, Cancelled, Complete, Failed, None, Pending, Retrying};
        for (phases, whole) in [
            ([None, Pending, None], Pending),
            ([Pending, Pending, Pending], Pending),
            ([Complete, Pending, Pending], Active),
            ([None, Active, Pending], Active),
            ([None, Retrying, Pending], Retrying),
            ([None, Failed, Pending], Failed),
            ([None, Complete, Pending], Active),
            ([None, Complete, None], Complete),
            ([Complete, Cancelled, None], Cancelled),
        ] {
            assert_eq!(overall(phases), whole, "{phases:?}");
        }
        assert!(PhaseState::ALL.iter().all(|state| PhaseState::parse(state.as_str()) == Some(*state)));
    }
}
