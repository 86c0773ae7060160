//! The work on one version, off the runtime's threads: copy, verify and repair, remove. Each brings the record, what is
//! remembered and the messages to the same state, in an order that a kill at any instant leaves harmless.

use std::{
    collections::HashSet,
    io::{self, Read},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    catalog::{Record, Wanted},
    engine::Shared,
    messages::About,
    store::{Notes, StoreError},
    task::Task,
};
use crate::{
    clock,
    content::{ContentError, Digest, Entry, Fault, FaultKind, Publisher, VersionKey},
    model::{causes::chain, reason::Reason, state::LocationState},
    wire::points::VersionRef,
};

/// First pause after a failure, doubled up to the longest.
const RETRY_FIRST_MS: i64 = 1_000;
/// Longest pause: a source or a disk that is well again is noticed within five minutes.
const RETRY_MAX_MS: i64 = 5 * 60 * 1_000;
/// Failures in a row after which copying is given up until something changes: SMS's own number of retries.
const FAILURES_MAX: u32 = 100;

/// Faults of one look that are told one by one; of more the site hears how many there are.
const FAULTS_TOLD_MAX: usize = 10;

/// Why a piece of work failed.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Drives(String),
    #[error("the manifest cannot be fetched")]
    Manifest(#[source] io::Error),
}

impl WorkError {
    fn reason(&self) -> Reason {
        match self {
            Self::Content(ContentError::NoDrive { .. } | ContentError::Full(_)) => Reason::DiskFull,
            Self::Content(ContentError::Corrupt { .. }) => Reason::DigestMismatch,
            Self::Content(ContentError::Fetch { .. }) | Self::Manifest(_) => Reason::Unreachable,
            Self::Content(ContentError::Name(_) | ContentError::Manifest { .. }) => Reason::SourceRefused,
            Self::Content(_) | Self::Store(_) | Self::Drives(_) => Reason::Retrying,
        }
    }

    /// Whether trying again cannot help.
    fn is_final(&self) -> bool {
        matches!(self, Self::Content(ContentError::Name(_) | ContentError::Manifest { .. }))
    }
}

/// Does it, and leaves the outcome in the catalog.
pub(super) fn run(shared: &Shared, task: Task, version: &VersionRef, wanted: &Wanted, cancelled: &AtomicBool) {
    let work = Work { shared, version, cancelled };
    let done = match (task, wanted) {
        (Task::Remove, _) => work.remove(wanted),
        (Task::Copy, Wanted::Hold { resend_token, check }) => work.copy(resend_token.as_deref(), *check),
        (_, Wanted::Hold { resend_token, check }) => work.verify(resend_token.as_deref(), *check),
        _ => Ok(()),
    };
    if let Err(error) = done
        && !cancelled.load(Ordering::Relaxed)
    {
        work.failed(task, &error);
    }
}

struct Work<'a> {
    shared: &'a Shared,
    version: &'a VersionRef,
    cancelled: &'a AtomicBool,
}

impl Work<'_> {
    fn about(&self) -> About<'_> {
        About { point: &self.shared.name, version: self.version, now_ms: clock::now_unix_ms() }
    }

    fn key(&self) -> Result<VersionKey, ContentError> {
        let VersionRef { package, source_version, content } = self.version;
        VersionKey::new(&package.namespace, &package.name, *source_version, *content)
    }

    fn publisher(&self) -> Result<std::sync::Arc<Publisher>, WorkError> {
        self.shared.drives.publisher().map_err(WorkError::Drives)
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        self.shared.update(self.version, change);
    }

    fn notes(&self) -> Notes {
        self.shared.catalog().records.get(self.version).map(|record| record.notes.clone()).unwrap_or_default()
    }

    /// The bytes of an entry from the site, until the job is cancelled.
    fn fetch(&self, entry: &Entry, offset_bytes: u64) -> io::Result<Box<dyn Read>> {
        self.check_cancelled()?;
        self.shared.site.open_file(&entry.digest, offset_bytes)
    }

    fn check_cancelled(&self) -> io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("it is no longer wanted"));
        }
        Ok(())
    }

    fn copy(&self, resend_token: Option<&str>, check: u64) -> Result<(), WorkError> {
        let key = self.key()?;
        let publisher = self.publisher()?;
        let mut notes = self.notes();
        if !notes.begun {
            notes.begun = true;
            self.shared.store.note(self.version, &notes, &[self.about().begins()])?;
            self.update(|record| record.notes = notes.clone());
        }
        let manifest = self.shared.site.manifest(&self.version.content).map_err(WorkError::Manifest)?;
        let started_ms = clock::now_unix_ms();
        let published = publisher.publish(&key, &manifest, &|entry, offset| self.fetch(entry, offset))?;
        let path = published.path.display().to_string();
        let notes = Notes {
            verified_at_ms: Some(started_ms),
            resend_token: resend_token.map(str::to_owned),
            check,
            ..Notes::default()
        };
        self.shared.store.note(self.version, &notes, &[self.about().installed(&path)])?;
        self.update(|record| {
            *record = Record { state: LocationState::Installed, path: Some(path), notes, ..Record::default() };
        });
        Ok(())
    }

    /// Verifies every byte and puts right what is wrong. The site hears of each fault before it is repaired, and once:
    /// a kill in between finds the fault again and knows that it was told.
    fn verify(&self, resend_token: Option<&str>, check: u64) -> Result<(), WorkError> {
        let key = self.key()?;
        let publisher = self.publisher()?;
        let started_ms = clock::now_unix_ms();
        let mut notes = self.notes();
        let is_resend = resend_token.is_some() && resend_token != notes.resend_token.as_deref();
        let faults = match publisher.verify(&key) {
            Err(ContentError::NotPublished(_)) => {
                // Its manifest is gone or damaged; copying again keeps what is sound.
                let lost = Fault { path: format!("{}.json", key.relative_path()).into(), kind: FaultKind::Missing };
                self.tell(&mut notes, &[lost])?;
                notes = Notes { begun: true, ..notes };
                self.shared.store.note(self.version, &notes, &[])?;
                self.update(|record| {
                    *record = Record { notes, ..Record::default() };
                });
                return Ok(());
            }
            verified => verified?,
        };
        if self.shared.drives.have_moved() {
            return Err(WorkError::Drives(
                "a drive was removed or replaced; what is there now is looked at anew".into(),
            ));
        }
        if !faults.is_empty() {
            self.tell(&mut notes, &faults)?;
            let bad = self.bad_files(&publisher, &key, &faults)?;
            self.update(|record| record.bad = bad);
            let repaired = publisher.repair(&key, &|entry, offset| self.fetch(entry, offset))?;
            self.tell(&mut notes, &repaired)?;
        }
        let mut messages = Vec::new();
        if !notes.faults.is_empty() {
            messages.push(self.about().repaired(notes.faults.len()));
        }
        let path = publisher.version(&key)?.0.display().to_string();
        if is_resend {
            messages.extend([self.about().begins(), self.about().installed(&path)]);
        }
        let notes = Notes {
            verified_at_ms: Some(started_ms),
            resend_token: resend_token.map(str::to_owned).or(notes.resend_token),
            check: check.max(notes.check),
            ..Notes::default()
        };
        self.shared.store.note(self.version, &notes, &messages)?;
        self.update(|record| {
            *record = Record { state: LocationState::Installed, path: Some(path), notes, ..Record::default() };
        });
        Ok(())
    }

    /// Queues a message for each fault that was not told yet, or one for all if they are many.
    fn tell(&self, notes: &mut Notes, faults: &[Fault]) -> Result<(), WorkError> {
        let news: Vec<_> = faults.iter().filter(|fault| !notes.knows(fault)).collect();
        if news.is_empty() {
            return Ok(());
        }
        let messages: Vec<_> = if news.len() > FAULTS_TOLD_MAX {
            vec![self.about().faults(news[0], news.len())]
        } else {
            news.iter().map(|fault| self.about().fault(fault)).collect()
        };
        notes.faults.extend(news.iter().map(|fault| (fault.path.clone(), fault.kind)));
        self.shared.store.note(self.version, notes, &messages)?;
        self.update(|record| record.notes = notes.clone());
        Ok(())
    }

    fn bad_files(
        &self,
        publisher: &Publisher,
        key: &VersionKey,
        faults: &[Fault],
    ) -> Result<HashSet<Digest>, WorkError> {
        let (_, manifest) = publisher.version(key)?;
        let places: HashSet<_> = faults.iter().map(|fault| fault.path.as_path()).collect();
        let bad = manifest.entries().iter().filter(|entry| places.contains(entry.path.as_path()));
        Ok(bad.map(|entry| entry.digest).collect())
    }

    fn remove(&self, wanted: &Wanted) -> Result<(), WorkError> {
        let publisher = self.publisher()?;
        if let Some((path, error)) = publisher.unusable().first() {
            let (path, why) = (path.display(), chain(error));
            return Err(WorkError::Drives(format!("the drive {path} may hold it and cannot be used: {why}")));
        }
        let was_there = publisher.remove(&self.key()?)?;
        let messages = if was_there { vec![self.about().removed()] } else { Vec::new() };
        self.shared.store.forget(self.version, &messages)?;
        if *wanted == Wanted::Remove {
            self.update(|record| *record = Record { state: LocationState::Removed, ..Record::default() });
        } else {
            self.shared.drop_record(self.version);
        }
        Ok(())
    }

    /// Notes the failure and when to try again. Told once for each row of failures, and once more when given up.
    fn failed(&self, task: Task, error: &WorkError) {
        let (why, reason) = (chain(error), error.reason());
        let now_ms = clock::now_unix_ms();
        tracing::warn!(package = %self.version.package, version = self.version.source_version, error = %why, "{task:?} failed");
        let full_at_bytes = (reason == Reason::DiskFull).then(|| self.shared.drives.most_available_bytes());
        let mut news = None;
        self.update(|record| {
            record.failures += 1;
            let doublings = record.failures.min(20) - 1;
            record.retry_at_ms = now_ms + (RETRY_FIRST_MS << doublings).min(RETRY_MAX_MS);
            record.full_at_bytes = full_at_bytes;
            record.detail = Some(format!("{}: {why}", reason.as_str()));
            let gives_up = task == Task::Copy && (error.is_final() || record.failures >= FAILURES_MAX);
            record.state = match task {
                Task::Remove => LocationState::RemovalRetrying,
                _ if gives_up => LocationState::InstallFailed,
                _ => LocationState::InstallRetrying,
            };
            let about = self.about();
            news = match task {
                Task::Remove if record.failures == 1 => Some(about.removal_failed(&why)),
                Task::Remove => None,
                _ if gives_up => Some(about.gave_up(reason, &why)),
                _ if record.failures == 1 => Some(about.copy_failed(reason, &why)),
                _ => None,
            }
            .map(|message| (record.notes.clone(), message));
        });
        if let Some((notes, message)) = news
            && let Err(error) = self.shared.store.note(self.version, &notes, &[message])
        {
            tracing::error!(error = %chain(&error), "a status message could not be kept");
        }
    }
}
