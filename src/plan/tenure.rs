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
    /// The pod that it ran in, as `namespace/name`, if it says so.
    pub pod: Option<String>,
}

/// The site's object names another database: an empty or another volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "site '{site}' is served from the database {recorded}{pod}, and the state directory holds {own}: mount the volume that holds \
     {recorded}; uninstall this one, if that server lives; or start once with --adopt (in the chart site.adopt), which makes {own} \
     the site's database: then all clients and points have to join anew, and the other server ends"
)]
pub struct OtherDatabase {
    /// The name of the site.
    pub site: String,
    /// The id that its object names.
    pub recorded: String,
    /// The pod that served it last, in words.
    pub pod: String,
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
            let pod = in_parentheses(recorded.pod.as_deref());
            Err(OtherDatabase { site: site.to_owned(), recorded: recorded.site_id.clone(), pod, own: own.to_owned() })
        }
    }
}

fn in_parentheses(pod: Option<&str>) -> String {
    pod.map(|pod| format!(" (pod {pod})")).unwrap_or_default()
}

/// Another database was made the site's while this one served it: two servers would undo each other's work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another server has taken over this site, with epoch {epoch} above {own}: this one ends")]
pub struct Displaced {
    /// What the site's object says.
    pub epoch: u64,
    /// What this instance serves with.
    pub own: u64,
}

/// Whether an instance that serves with the epoch `own` may go on, by what the site's object says now. Lower epochs are of those
/// that do not know yet.
///
/// # Errors
/// If there is a higher one.
pub const fn still_ours(own: u64, recorded: u64) -> Result<(), Displaced> {
    if recorded > own { Err(Displaced { epoch: recorded, own }) } else { Ok(()) }
}

/// A Site object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFacts {
    /// Its name.
    pub name: String,
    /// The database that serves it, as its status says; nothing if nobody does.
    pub site_id: Option<String>,
    /// The pod that serves it, as `namespace/name`, if it says so.
    pub pod: Option<String>,
    /// When it was made, and what tells those of one second apart.
    pub made: (i64, String),
}

/// Another server has this cluster: two would undo each other's work for ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this cluster is served as site '{other}'{pod}, and one cluster has one site: uninstall this one; or, if that server is gone \
     for good, `kubectl delete site {other}`"
)]
pub struct SecondSite {
    /// The name of the other one.
    pub other: String,
    /// Its pod, in words.
    pub pod: String,
}

/// Whether this site is the cluster's only one that is served; of two that began at once the older one is.
///
/// # Errors
/// If there is another one.
pub fn only_site(name: &str, own: &str, sites: &[SiteFacts]) -> Result<(), SecondSite> {
    let mine = sites.iter().find(|site| site.name == name);
    let other = sites.iter().filter(|site| site.name != name).find(|site| {
        let is_served = site.site_id.as_ref().is_some_and(|id| id != own);
        is_served && mine.is_none_or(|mine| site.made < mine.made)
    });
    let Some(other) = other else { return Ok(()) };
    let pod = in_parentheses(other.pod.as_deref());
    Err(SecondSite { other: other.name.clone(), pod })
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
        let recorded = Recorded { site_id: "old".into(), epoch: 7, pod: Some("a/waybill-0".into()) };
        assert_eq!(epoch_floor("main", "old", None, false), Ok(0));
        assert_eq!(epoch_floor("main", "old", Some(&recorded), false), Ok(7));
        assert_eq!(epoch_floor("main", "new", Some(&recorded), true), Ok(7), "above what the other one has said");
        let refused = epoch_floor("main", "new", Some(&recorded), false).unwrap_err().to_string();
        for expected in ["mount the volume that holds old", "--adopt", "site.adopt", "old (pod a/waybill-0)"] {
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn who_was_displaced_ends_and_who_displaced_goes_on() {
        assert!(still_ours(7, 8).unwrap_err().to_string().contains("epoch 8 above 7"));
        assert_eq!(still_ours(7, 7), Ok(()));
        assert_eq!(still_ours(8, 7), Ok(()), "the other one wrote once more before it knew");
    }

    #[test]
    fn a_cluster_has_one_site_and_of_two_the_older_one() {
        let site = |name: &str, id: Option<&str>, made: i64| SiteFacts {
            name: name.into(),
            site_id: id.map(Into::into),
            pod: Some(format!("{name}/waybill-0")),
            made: (made, name.into()),
        };
        let main = site("main", Some("a"), 1);
        assert_eq!(only_site("main", "a", std::slice::from_ref(&main)), Ok(()));
        let refused = only_site("second", "b", std::slice::from_ref(&main)).unwrap_err().to_string();
        for expected in ["as site 'main' (pod main/waybill-0)", "uninstall this one", "kubectl delete site main"] {
            assert!(refused.contains(expected), "{refused}");
        }
        // Both are there: the first one goes on, the second one ends.
        let both = [main, site("second", Some("b"), 2)];
        assert_eq!(only_site("main", "a", &both), Ok(()));
        assert!(only_site("second", "b", &both).is_err());
        // What nobody serves, or this very database under its earlier name, is in nobody's way.
        assert_eq!(only_site("second", "b", &[site("main", None, 1)]), Ok(()));
        assert_eq!(only_site("second", "b", &[site("main", Some("b"), 1)]), Ok(()));
    }
}
