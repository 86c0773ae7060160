//! What is left of objects that are not declared any more: where clients stand with an advertisement, and jobs under way. It is
//! forgotten a while later, so that an object that comes back by then finds it; what is declared the caller says.

use std::collections::{BTreeMap, BTreeSet};

use super::{DbError, Tx, jobs, kept, status};
use crate::model::identity::ObjectName;

/// Topic of when each advertisement was first found missing.
const MISSING_SINCE: &str = "undeclaredAdvertisements";

/// What is declared now.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Advertisements.
    pub advertisements: BTreeSet<ObjectName>,
    /// Distributions.
    pub distributions: BTreeSet<ObjectName>,
    /// Packages.
    pub packages: BTreeSet<ObjectName>,
}

/// Forgets the rows and counts of advertisements that have been missing for `retention_ms`, and cancels the unfinished jobs of
/// Distributions and packages that are missing: as finished ones they are listed for their usual time. Gives how many of both.
///
/// # Errors
/// If the database cannot be written.
pub fn forget(tx: &mut Tx, declared: &Declared, now_ms: i64, retention_ms: i64) -> Result<usize, DbError> {
    let cancelled = jobs::cancel_orphans(tx, now_ms, |distribution, package| {
        !declared.distributions.contains(distribution) || !declared.packages.contains(package)
    })?;
    let before: BTreeMap<String, i64> =
        kept::get(tx, MISSING_SINCE)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let (mut missing, mut forgotten) = (BTreeMap::new(), 0);
    for name in status::advertisements(tx)?.difference(&declared.advertisements) {
        let since = before.get(&name.to_string()).copied().unwrap_or(now_ms);
        if now_ms - since >= retention_ms {
            status::forget_advertisement(tx, name)?;
            forgotten += 1;
        } else {
            missing.insert(name.to_string(), since);
        }
    }
    if missing != before {
        kept::put(tx, MISSING_SINCE, &serde_json::to_string(&missing)?)?;
    }
    Ok(cancelled + forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        content::digest::Digest,
        db::{
            fixtures::{NOW, client, message, scratch, sender},
            jobs::{JobSpec, PhaseState, Priority},
            messages, summaries,
        },
        model::state::RunState,
    };

    const RETENTION_MS: i64 = 1_000;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("default", name)
    }

    fn declared(advertisements: &[&str]) -> Declared {
        Declared { advertisements: advertisements.iter().map(|one| name(one)).collect(), ..Declared::default() }
    }

    #[test]
    fn a_deleted_advertisement_is_forgotten_unless_it_comes_back() {
        let mut tx = scratch();
        client(&mut tx, "c1");
        let batch = [(1, message("editor", RunState::Succeeded)), (2, message("viewer", RunState::Failed))];
        messages::store_batch(&mut tx, &sender("c1"), "o", &batch, NOW).unwrap();
        let rows = |tx: &Tx| status::of_client(tx, "c1").unwrap().into_iter().map(|row| row.advertisement.name);
        let left = |tx: &Tx| rows(tx).collect::<Vec<_>>();
        forget(&mut tx, &declared(&["editor"]), NOW, RETENTION_MS).unwrap();
        forget(&mut tx, &declared(&["editor", "viewer"]), NOW + 500, RETENTION_MS).unwrap();
        forget(&mut tx, &declared(&["editor"]), NOW + 900, RETENTION_MS).unwrap();
        forget(&mut tx, &declared(&["editor"]), NOW + 1_800, RETENTION_MS).unwrap();
        assert_eq!(left(&tx), ["editor", "viewer"], "it was away twice, each time for less");
        assert_eq!(forget(&mut tx, &declared(&["editor"]), NOW + 1_900, RETENTION_MS).unwrap(), 1);
        assert_eq!(left(&tx), ["editor"]);
        assert_eq!(summaries::message_counts(&tx, &name("viewer")).unwrap(), summaries::MessageCounts::default());
        let changes = tx.total_changes();
        assert_eq!(forget(&mut tx, &declared(&["editor"]), NOW + 9_000, RETENTION_MS).unwrap(), 0);
        assert_eq!(tx.total_changes(), changes, "nothing is written when nothing is missing");
    }

    #[test]
    fn jobs_of_what_is_gone_end_and_go() {
        let mut tx = scratch();
        let job = |distribution: &str, package: &str| JobSpec {
            namespace: "default".into(),
            distribution: distribution.into(),
            package: package.into(),
            source_version: 1,
            content: Some(Digest::of(b"x")),
            point: "main".into(),
            resend_token: None,
            advertisement: None,
            priority: Priority::Normal,
            start_after_ms: None,
            send: false,
        };
        let jobs = [job("kept", "p"), job("gone", "p"), job("without", "lost")];
        for one in &jobs {
            jobs::set(&mut tx, "default", &one.distribution, std::slice::from_ref(one), NOW).unwrap();
        }
        let declared = Declared {
            distributions: [name("kept"), name("without")].into(),
            packages: [name("p")].into(),
            ..Declared::default()
        };
        assert_eq!(forget(&mut tx, &declared, NOW, RETENTION_MS).unwrap(), 2);
        assert_eq!(forget(&mut tx, &declared, NOW + 1, RETENTION_MS).unwrap(), 0);
        let row = |tx: &Tx, spec: &JobSpec| jobs::get(tx, &spec.id()).unwrap();
        let [kept, gone, without] = &jobs;
        assert_eq!(row(&tx, kept).unwrap().state, PhaseState::Pending);
        for spec in [gone, without] {
            let ended = row(&tx, spec).unwrap();
            assert_eq!((ended.state, ended.finished_ms), (PhaseState::Cancelled, Some(NOW)));
            assert!(ended.detail.unwrap().contains("was deleted"));
        }
        jobs::forget_finished(&mut tx, NOW + 1).unwrap();
        assert!(row(&tx, gone).is_none() && row(&tx, kept).is_some());
    }
}
