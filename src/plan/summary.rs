//! When a summary says OK, Warning or Critical. States, not counters reset at midnight.

/// How a component, system or advertisement is. Ordered: a greater one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Nothing to do.
    Ok,
    /// Somebody should look.
    Warning,
    /// Somebody has to do something.
    Critical,
}

impl Health {
    /// The name used in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }

    /// Reads the name back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ok, Self::Warning, Self::Critical].into_iter().find(|one| one.as_str() == text)
    }
}

/// Share of failed clients, in percent, from which an advertisement is worth a look.
const WARNING_PERCENT: usize = 1;
/// And from which it is not going to succeed: Configuration Manager's gate of 95 %.
const CRITICAL_PERCENT: usize = 5;

/// Health of an advertisement by distinct clients. One that is `stalled` reaches nobody until somebody acts.
#[must_use]
pub const fn advertisement_health(targeted: usize, failed: usize, stalled: bool) -> Health {
    if stalled {
        Health::Critical
    } else if failed == 0 {
        Health::Ok
    } else if failed * 100 >= targeted * CRITICAL_PERCENT {
        Health::Critical
    } else if failed * 100 >= targeted * WARNING_PERCENT {
        Health::Warning
    } else {
        Health::Ok
    }
}

/// Messages of each severity from which a component is in Warning and in Critical.
const INFORMATIONAL: (u64, u64) = (2_000, 5_000);
const WARNINGS: (u64, u64) = (10, 50);
const ERRORS: (u64, u64) = (1, 5);
/// Free bytes below which a drive is in Warning and in Critical, if it is large enough for that to mean anything.
const FREE_BYTES: (u64, u64) = (10 << 30, 5 << 30);
/// The same as parts of all of it: of a drive below 100 GiB less counts.
const FREE_PARTS: (u64, u64) = (10, 20);
/// Steps in which free space is shown, as parts of the drive, and at most: the status of an idle site must not change.
const SHOWN_PARTS: u64 = 64;
/// See [`SHOWN_PARTS`].
const SHOWN_STEP_KIB_MAX: u64 = 1 << 20;

/// Health of a component by the messages it sent within retention. Informational messages do not count against
/// clients: a healthy fleet sends many.
#[must_use]
pub fn component_health(informational: u64, warnings: u64, errors: u64) -> Health {
    let judge = |count: u64, (warning, critical): (u64, u64)| {
        if count >= critical {
            Health::Critical
        } else if count >= warning {
            Health::Warning
        } else {
            Health::Ok
        }
    };
    judge(informational, INFORMATIONAL).max(judge(warnings, WARNINGS)).max(judge(errors, ERRORS))
}

/// Health of a drive by its free space and its size.
#[must_use]
pub fn storage_health(free_bytes: u64, total_bytes: u64) -> Health {
    if free_bytes < FREE_BYTES.1.min(total_bytes / FREE_PARTS.1) {
        Health::Critical
    } else if free_bytes < FREE_BYTES.0.min(total_bytes / FREE_PARTS.0) {
        Health::Warning
    } else {
        Health::Ok
    }
}

/// Free KiB of a drive as they are shown: rounded down, in steps that fit its size.
#[must_use]
pub fn shown_free_kib(free_bytes: u64, total_bytes: u64) -> u64 {
    let step_kib = (total_bytes / 1024 / SHOWN_PARTS).clamp(1, SHOWN_STEP_KIB_MAX);
    free_bytes / 1024 / step_kib * step_kib
}

/// Health of a site system: not heard of is critical, little space on `storage` (free and all bytes) is bad.
#[must_use]
pub fn system_health(available: bool, storage: Option<(u64, u64)>) -> Health {
    match (available, storage) {
        // A drive without any bytes is not there.
        (false, _) | (true, Some((_, 0))) => Health::Critical,
        (true, Some((free_bytes, total_bytes))) => storage_health(free_bytes, total_bytes),
        (true, None) => Health::Ok,
    }
}

/// Health of what is declared: of the objects that wait for somebody, those of which nothing gets to any client, and the others.
#[must_use]
pub const fn declared_health(reaches_nobody: usize, others: usize) -> Health {
    if reaches_nobody > 0 {
        Health::Critical
    } else if others > 0 {
        Health::Warning
    } else {
        Health::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_the_source() {
        assert_eq!(component_health(1_999, 9, 0), Health::Ok);
        assert_eq!(component_health(2_000, 0, 0), Health::Warning);
        assert_eq!(component_health(0, 10, 0), Health::Warning);
        assert_eq!(component_health(0, 0, 1), Health::Warning);
        assert_eq!(component_health(0, 0, 5), Health::Critical);
        let large = |free_bytes| Some((free_bytes, 1 << 40));
        assert_eq!(system_health(true, large(20 << 30)), Health::Ok);
        assert_eq!(system_health(true, large(9 << 30)), Health::Warning);
        assert_eq!(system_health(true, large(4 << 30)), Health::Critical);
        assert_eq!(system_health(false, large(20 << 30)), Health::Critical);
        assert_eq!(system_health(true, None), Health::Ok);
        assert_eq!(system_health(true, Some((0, 0))), Health::Critical);
        assert_eq!(advertisement_health(1_000, 9, false), Health::Ok);
        assert_eq!(advertisement_health(1_000, 10, false), Health::Warning);
        assert_eq!(advertisement_health(1_000, 50, false), Health::Critical);
        assert_eq!(advertisement_health(1_000, 0, true), Health::Critical);
        assert_eq!(declared_health(0, 0), Health::Ok);
        assert_eq!(declared_health(0, 1), Health::Warning);
        assert_eq!(declared_health(1, 0), Health::Critical);
    }

    #[test]
    fn a_small_drive_is_judged_by_its_size_and_shown_as_it_is() {
        const MIB: u64 = 1 << 20;
        assert_eq!(storage_health(7 * MIB, 24 * MIB), Health::Ok);
        assert_eq!(storage_health(2 * MIB, 24 * MIB), Health::Warning);
        assert_eq!(storage_health(MIB, 24 * MIB), Health::Critical);
        assert_eq!(storage_health(0, 0), Health::Ok, "nothing is known of it");
        assert_eq!(shown_free_kib(7 * MIB + 500 * 1024, 24 * MIB), 19 * 384, "in steps of 384 KiB");
        assert_eq!(shown_free_kib(7 * (1 << 30) + 5, 1 << 40), 7 << 20, "GiB by GiB");
        assert_eq!(shown_free_kib(900, 1_000), 0);
    }
}
