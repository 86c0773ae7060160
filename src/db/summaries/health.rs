//! OK, Warning or Critical: the thresholds of the summaries (domain.md §2.5). Pure.

/// Free storage below which a site system shows Warning.
pub const STORAGE_WARNING_BYTES: u64 = 10 << 30;
/// Free storage below which a site system shows Critical.
pub const STORAGE_CRITICAL_BYTES: u64 = 5 << 30;
/// Informational messages from which on a component shows Warning and Critical.
const INFORMATIONAL: (u64, u64) = (2_000, 5_000);
/// Warnings from which on a component shows Warning and Critical.
const WARNINGS: (u64, u64) = (10, 50);
/// Errors from which on a component shows Warning and Critical.
const ERRORS: (u64, u64) = (1, 5);

/// The indicator of a summary. Ordered: a greater one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Below every threshold.
    Ok,
    /// Somebody should look.
    Warning,
    /// Somebody has to act.
    Critical,
}

impl Health {
    /// The name used in status and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }
}

/// What a component's counts amount to: the worst of the three.
#[must_use]
pub fn component_health(informational: u64, warnings: u64, errors: u64) -> Health {
    [(informational, INFORMATIONAL), (warnings, WARNINGS), (errors, ERRORS)]
        .into_iter()
        .map(|(number, (warning, critical))| match number {
            _ if number >= critical => Health::Critical,
            _ if number >= warning => Health::Warning,
            _ => Health::Ok,
        })
        .max()
        .unwrap_or(Health::Ok)
}

/// What free storage amounts to.
#[must_use]
pub const fn storage_health(free_bytes: u64) -> Health {
    match free_bytes {
        ..STORAGE_CRITICAL_BYTES => Health::Critical,
        STORAGE_CRITICAL_BYTES..STORAGE_WARNING_BYTES => Health::Warning,
        STORAGE_WARNING_BYTES.. => Health::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_hold_at_their_edges() {
        for (counts, health) in [
            ((1_999, 9, 0), Health::Ok),
            ((2_000, 0, 0), Health::Warning),
            ((5_000, 0, 0), Health::Critical),
            ((0, 10, 0), Health::Warning),
            ((0, 50, 0), Health::Critical),
            ((0, 0, 1), Health::Warning),
            ((0, 0, 4), Health::Warning),
            ((0, 0, 5), Health::Critical),
        ] {
            assert_eq!(component_health(counts.0, counts.1, counts.2), health, "{counts:?}");
        }
        let around = |bytes| (storage_health(bytes - 1), storage_health(bytes));
        assert_eq!(around(STORAGE_CRITICAL_BYTES), (Health::Critical, Health::Warning));
        assert_eq!(around(STORAGE_WARNING_BYTES), (Health::Warning, Health::Ok));
    }
}
