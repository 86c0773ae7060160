//! What a distribution point is told to hold and what it holds, in memory. The drives are the truth about what is there
//! and the site's assignment about what should be; this brings both together and does no I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{store::Notes, task::Scrubbing};
use crate::{
    content::Digest,
    model::{identity::ObjectName, state::LocationState},
    wire::points::{Assignment, SCRUB_INTERVAL_MIN, VersionRef, VersionReport},
};

/// What the site wants with a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Hold it.
    Hold {
        /// See `wire::points::Hold`.
        resend_token: Option<String>,
        /// See `wire::points::Hold`.
        check: u64,
    },
    /// Remove it and say so.
    Remove,
    /// It is on a drive, and the site does not speak of it.
    Nobody {
        /// Since when, Unix milliseconds.
        since_ms: i64,
    },
}

/// Where one version stands here.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) state: LocationState,
    pub(super) detail: Option<String>,
    /// Its directory, if it is published.
    pub(super) path: Option<String>,
    pub(super) notes: Notes,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Not before, Unix milliseconds.
    pub(super) retry_at_ms: i64,
    /// It failed for want of space while the best drive had so many bytes.
    pub(super) full_at_bytes: Option<u64>,
    /// Files that are known to be wrong; not served until they are repaired.
    pub(super) bad: HashSet<Digest>,
    /// Something of it could not be served: it is verified before its time.
    pub(super) is_suspect: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            state: LocationState::InstallPending,
            detail: None,
            path: None,
            notes: Notes::default(),
            failures: 0,
            retry_at_ms: 0,
            full_at_bytes: None,
            bad: HashSet::new(),
            is_suspect: false,
        }
    }
}

impl Record {
    /// Whether it lies on a drive.
    pub(super) fn is_here(&self) -> bool {
        self.path.is_some()
    }

    /// Puts failures behind it.
    pub(super) fn retry_now(&mut self) {
        self.retry_at_ms = 0;
        self.failures = 0;
        self.full_at_bytes = None;
        if self.state == LocationState::InstallFailed {
            self.state = LocationState::InstallRetrying;
        }
    }
}

/// A running job; one for a package at a time, so that versions that share files do not race.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) version: VersionRef,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// Everything a point knows.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) assignment: Option<Assignment>,
    pub(super) wanted: HashMap<VersionRef, Wanted>,
    readers: HashMap<Digest, BTreeSet<String>>,
    pub(super) records: BTreeMap<VersionRef, Record>,
    pub(super) busy: HashMap<ObjectName, Job>,
    /// When a scrub of everything was last asked for, Unix milliseconds.
    pub(super) scrub_asked_ms: i64,
}

impl Catalog {
    /// Takes over what the site wants. `found` is what lies on the drives, if they were looked at anew.
    /// Gives the versions that are neither wanted nor there: nothing of them need be remembered.
    pub(super) fn assign(
        &mut self,
        assignment: Assignment,
        found: Option<BTreeMap<VersionRef, String>>,
        now_ms: i64,
    ) -> Vec<VersionRef> {
        let before = std::mem::take(&mut self.wanted);
        // What failed is tried anew when something about it changed, not whenever anything did.
        let are_other_drives = found.is_some();
        let is_news = |version: &VersionRef, wanted: &Wanted| are_other_drives || before.get(version) != Some(wanted);
        if let Some(found) = found {
            for (version, record) in &mut self.records {
                record.path = found.get(version).cloned();
                if record.path.is_none() && record.state == LocationState::Installed {
                    record.state = LocationState::InstallPending;
                }
            }
            for (version, path) in found {
                self.records.entry(version).or_insert_with(|| Record {
                    state: LocationState::Installed,
                    path: Some(path),
                    ..Record::default()
                });
            }
        }
        self.readers.clear();
        for hold in &assignment.hold {
            let wanted = Wanted::Hold { resend_token: hold.resend_token.clone(), check: hold.check };
            self.readers.entry(hold.version.content).or_default().extend(hold.readers.iter().cloned());
            let record = self.records.entry(hold.version.clone()).or_default();
            if !is_installing(record.state) {
                let here = record.is_here();
                record.state = if here { LocationState::Installed } else { LocationState::InstallPending };
                record.detail = None;
            }
            if is_news(&hold.version, &wanted) {
                record.retry_now();
            }
            self.wanted.insert(hold.version.clone(), wanted);
        }
        for version in &assignment.remove {
            let record = self.records.entry(version.clone()).or_default();
            if is_installing(record.state) {
                record.state = LocationState::RemovalPending;
                record.detail = None;
            }
            if is_news(version, &Wanted::Remove) {
                record.retry_now();
            }
            self.wanted.insert(version.clone(), Wanted::Remove);
        }
        self.assignment = Some(assignment);
        let mut gone = Vec::new();
        for (version, record) in &self.records {
            if self.wanted.contains_key(version) {
                continue;
            }
            if !record.is_here() {
                gone.push(version.clone());
                continue;
            }
            let since_ms = match before.get(version) {
                Some(Wanted::Nobody { since_ms }) => *since_ms,
                _ => now_ms,
            };
            self.wanted.insert(version.clone(), Wanted::Nobody { since_ms });
        }
        self.records.retain(|version, _| self.wanted.contains_key(version));
        self.cancel(|version, wanted| !matches!(wanted.get(version), Some(Wanted::Hold { .. })));
        gone
    }

    /// Asks running copies to end.
    pub(super) fn cancel(&self, which: impl Fn(&VersionRef, &HashMap<VersionRef, Wanted>) -> bool) {
        for job in self.busy.values().filter(|job| which(&job.version, &self.wanted)) {
            job.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// How versions are scrubbed.
    pub(super) fn scrubbing(&self) -> Scrubbing {
        let interval =
            self.assignment.as_ref().map(|assignment| assignment.scrub_interval.max(SCRUB_INTERVAL_MIN).as_duration());
        let interval_ms = interval
            .map_or(i64::MAX / 2, |interval| i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 2));
        Scrubbing { interval_ms, asked_ms: self.scrub_asked_ms }
    }

    /// Whether this client may read this content.
    pub(super) fn may_read(&self, client: &str, content: &Digest) -> bool {
        self.readers.get(content).is_some_and(|readers| readers.contains(client))
    }

    /// The directory of a version with this content that is complete and wanted.
    pub(super) fn served(&self, content: &Digest) -> Option<&str> {
        let mut held = self.records.iter().filter(|(version, record)| {
            version.content == *content
                && record.state == LocationState::Installed
                && matches!(self.wanted.get(version), Some(Wanted::Hold { .. }))
        });
        held.find_map(|(_, record)| record.path.as_deref())
    }

    /// Whether a file is under repair somewhere: versions share files.
    pub(super) fn is_bad(&self, file: &Digest) -> bool {
        self.records.values().any(|record| record.bad.contains(file))
    }

    /// Something of this content could not be served.
    pub(super) fn suspect(&mut self, content: &Digest) {
        let of_content = self.records.iter_mut().filter(|(version, _)| version.content == *content);
        of_content.for_each(|(_, record)| record.is_suspect = true);
    }

    /// Every version, as the site is told.
    pub(super) fn reports(&self) -> Vec<VersionReport> {
        let report = |(version, record): (&VersionRef, &Record)| VersionReport {
            version: version.clone(),
            state: record.state,
            detail: record.detail.clone(),
            path: record.path.clone(),
            verified_at_ms: record.notes.verified_at_ms,
            resend_token: record.notes.resend_token.clone(),
            check: record.notes.check,
        };
        self.records.iter().map(report).collect()
    }
}

const fn is_installing(state: LocationState) -> bool {
    use LocationState::{InstallFailed, InstallPending, InstallRetrying, Installed};
    matches!(state, Installed | InstallPending | InstallRetrying | InstallFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::duration::Span, wire::points::Hold};

    fn version(number: u64) -> VersionRef {
        VersionRef {
            package: ObjectName::new("apps", "editor"),
            source_version: number,
            content: Digest::of(&number.to_le_bytes()),
        }
    }

    fn assignment(hold: &[u64], remove: &[u64]) -> Assignment {
        let hold = hold.iter().map(|number| Hold {
            version: version(*number),
            resend_token: None,
            check: 0,
            readers: vec![format!("c-{number}")],
        });
        Assignment {
            epoch: 1,
            version: "v".into(),
            drives: Vec::new(),
            scrub_interval: Span::from_secs(60),
            scrub_token: None,
            hold: hold.collect(),
            remove: remove.iter().map(|number| version(*number)).collect(),
        }
    }

    fn found(numbers: &[u64]) -> Option<BTreeMap<VersionRef, String>> {
        Some(numbers.iter().map(|number| (version(*number), format!("/d/{number}"))).collect())
    }

    #[test]
    fn what_is_on_the_drives_and_what_is_wanted_come_together() {
        let mut catalog = Catalog::default();
        catalog.assign(assignment(&[1, 2], &[3, 4]), found(&[1, 3, 5]), 10);
        let state = |catalog: &Catalog, number| catalog.records[&version(number)].state;
        assert_eq!(state(&catalog, 1), LocationState::Installed);
        assert_eq!(state(&catalog, 2), LocationState::InstallPending);
        assert_eq!(state(&catalog, 3), LocationState::RemovalPending);
        assert_eq!(state(&catalog, 4), LocationState::RemovalPending);
        assert_eq!(catalog.wanted[&version(5)], Wanted::Nobody { since_ms: 10 });
        assert_eq!(catalog.served(&version(1).content), Some("/d/1"));
        assert_eq!(catalog.served(&version(2).content), None, "not there yet");
        assert_eq!(catalog.served(&version(3).content), None, "to be removed");
        assert!(catalog.may_read("c-1", &version(1).content) && !catalog.may_read("c-2", &version(1).content));

        let gone = catalog.assign(assignment(&[1, 3], &[]), None, 20);
        assert_eq!(gone, [version(2), version(4)]);
        assert_eq!(state(&catalog, 3), LocationState::Installed, "wanted again before it was removed");
        assert_eq!(catalog.wanted[&version(5)], Wanted::Nobody { since_ms: 10 }, "the first time counts");

        catalog.assign(assignment(&[1], &[]), found(&[]), 30);
        assert_eq!(state(&catalog, 1), LocationState::InstallPending, "the drive is gone");
    }

    #[test]
    fn a_scrub_takes_its_time_whatever_the_site_says() {
        let mut catalog = Catalog::default();
        for (seconds, interval_ms) in [(0, 60_000), (59, 60_000), (61, 61_000)] {
            let scrub_interval = Span::from_secs(seconds);
            catalog.assign(Assignment { scrub_interval, ..assignment(&[1], &[]) }, None, 10);
            assert_eq!(catalog.scrubbing().interval_ms, interval_ms);
        }
    }

    #[test]
    fn a_failure_is_put_behind_when_something_about_it_changed_and_not_by_anything_else() {
        let mut catalog = Catalog::default();
        catalog.assign(assignment(&[1], &[2]), found(&[2]), 10);
        let fail = |catalog: &mut Catalog| catalog.records.values_mut().for_each(|record| record.failures = 3);
        let failures = |catalog: &Catalog, number| catalog.records[&version(number)].failures;
        fail(&mut catalog);
        catalog.assign(assignment(&[1, 3], &[2]), None, 20);
        assert_eq!((failures(&catalog, 1), failures(&catalog, 2), failures(&catalog, 3)), (3, 3, 0));
        let mut asked = assignment(&[1], &[2]);
        asked.hold[0].resend_token = Some("again".into());
        catalog.assign(asked.clone(), None, 30);
        assert_eq!((failures(&catalog, 1), failures(&catalog, 2)), (0, 3));
        fail(&mut catalog);
        catalog.assign(asked, found(&[2]), 40);
        assert_eq!((failures(&catalog, 1), failures(&catalog, 2)), (0, 0), "other drives");
    }
}
