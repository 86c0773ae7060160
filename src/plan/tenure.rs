//! Whether an instance of a site server may act: whose the Lease is, whose database the site's object names, and with which
//! epoch it begins. Only instances beside a cluster ask; an embedded site has one process by its lock.

use std::time::Duration;

/// A holder that did not renew for so long is over, by its own clock and by that of whoever waits.
pub const LEASE: Duration = Duration::from_secs(40);
/// The holder renews it so many times while it lasts. Not more: each renewal is a write.
pub const RENEWALS: u32 = 4;

/// A Lease as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseFacts {
    /// Who has it; nobody, if it was given back.
    pub holder: Option<String>,
    /// How long it lasts without a renewal, as its holder said.
    pub duration: Duration,
    /// For how long it has been seen without any change. Clocks of two machines are never compared.
    pub unchanged: Duration,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseMove {
    /// Take it, with the version that was seen: one of several who try gets it.
    Take,
    /// Somebody else has it: look again after so long at the latest.
    Wait(Duration),
}

/// What `me`, who does not act yet, does about a Lease.
#[must_use]
pub fn lease_move(me: &str, lease: Option<&LeaseFacts>) -> LeaseMove {
    match lease {
        Some(LeaseFacts { holder: Some(holder), duration, unchanged }) if holder != me && unchanged < duration => {
            LeaseMove::Wait(*duration - *unchanged)
        }
        _ => LeaseMove::Take,
    }
}

/// What the site's object says of the database that served it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The database's id.
    pub site_id: String,
    /// The epoch it served with.
    pub epoch: u64,
}

/// The site's object names another database: an empty or another volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "site '{site}' is served from the database {recorded}, and the state directory holds {own}: mount the volume that holds \
     {recorded}, or start once with --adopt, which makes {own} the site's database: then all clients and points have to join anew"
)]
pub struct OtherDatabase {
    /// The name of the site.
    pub site: String,
    /// The id that its object names.
    pub recorded: String,
    /// The id of the present database.
    pub own: String,
}

/// What every epoch of this tenure has to be above.
///
/// # Errors
/// If the object names another database and that one is not to be adopted.
pub fn epoch_floor(site: &str, own: &str, recorded: Option<&Recorded>, adopt: bool) -> Result<u64, OtherDatabase> {
    match recorded {
        None => Ok(0),
        Some(recorded) if recorded.site_id == own || adopt => Ok(recorded.epoch),
        Some(recorded) => {
            Err(OtherDatabase { site: site.to_owned(), recorded: recorded.site_id.clone(), own: own.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, unchanged_secs: u64) -> LeaseFacts {
        LeaseFacts {
            holder: holder.map(str::to_owned),
            duration: LEASE,
            unchanged: Duration::from_secs(unchanged_secs),
        }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_has_it_any_more() {
        let over = LEASE.as_secs();
        assert_eq!(lease_move("a", None), LeaseMove::Take);
        assert_eq!(lease_move("a", Some(&lease(None, 0))), LeaseMove::Take, "given back");
        assert_eq!(lease_move("a", Some(&lease(Some("a"), 0))), LeaseMove::Take, "our own");
        assert_eq!(lease_move("a", Some(&lease(Some("b"), 0))), LeaseMove::Wait(LEASE));
        assert_eq!(lease_move("a", Some(&lease(Some("b"), over - 1))), LeaseMove::Wait(Duration::from_secs(1)));
        assert_eq!(lease_move("a", Some(&lease(Some("b"), over))), LeaseMove::Take, "not renewed");
    }

    #[test]
    fn another_database_is_refused_with_both_ways_out_unless_it_is_adopted() {
        let recorded = Recorded { site_id: "old".into(), epoch: 7 };
        assert_eq!(epoch_floor("main", "old", None, false), Ok(0));
        assert_eq!(epoch_floor("main", "old", Some(&recorded), false), Ok(7));
        assert_eq!(epoch_floor("main", "new", Some(&recorded), true), Ok(7), "above what the other one has said");
        let refused = epoch_floor("main", "new", Some(&recorded), false).unwrap_err().to_string();
        assert!(refused.contains("mount the volume that holds old") && refused.contains("--adopt"), "{refused}");
    }
}
