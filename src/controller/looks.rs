//! Which package sources were read, where, and with what result, so that a source is read again when something says that
//! it may have changed, and not whenever its package is looked at. Forgotten with the process: the first look reads.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::context::SourceFailure;
use crate::{content::digest::Digest, model::identity::ObjectName};

/// What one reading depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// What names the bytes there.
    pub(super) at: At,
    /// The reconcile request of that time; a new one asks for a new reading.
    pub(super) requested: Option<String>,
}

/// What a reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This content.
    Content(Digest),
    /// Nothing that can be distributed, until somebody changes something.
    Refused(SourceFailure),
}

/// What names the bytes of a directory, as far as anything does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Its place alone.
    Place(PathBuf),
    /// All that it holds, by one name, wherever in whatever export of a commit it lies.
    Tree(String),
}

#[derive(Default)]
struct Known {
    /// Grows with every word of a change.
    words: u64,
    packages: HashMap<ObjectName, Source>,
}

#[derive(Default)]
struct Source {
    changed_at_word: u64,
    last: Option<(Asked, Found, Timestamp)>,
}

/// The last reading of every package's source.
#[derive(Default)]
pub struct SourceLooks(Mutex<Known>);

/// When a reading began, among the words of changes.
#[derive(Clone, Copy)]
pub(super) struct Begun(u64);

impl SourceLooks {
    /// The source of this package may have changed.
    pub fn changed(&self, package: &ObjectName) {
        self.with(|known| {
            known.words += 1;
            let words = known.words;
            *known.packages.entry(package.clone()).or_default() = Source { changed_at_word: words, last: None };
        });
    }

    /// The package is gone.
    pub(super) fn forget(&self, package: &ObjectName) {
        self.with(|known| known.packages.remove(package));
    }

    /// To be asked before a reading.
    pub(super) fn begin(&self) -> Begun {
        self.with(|known| Begun(known.words))
    }

    /// A reading ended. If a change was told since it began, it may have seen half of it, and does not count.
    pub(super) fn keep(&self, package: &ObjectName, begun: Begun, asked: Asked, found: Found, now: Timestamp) {
        self.with(|known| {
            let entry = known.packages.entry(package.clone()).or_default();
            if entry.changed_at_word <= begun.0 {
                entry.last = Some((asked, found, now));
            }
        });
    }

    /// What a reading now would find, as the last one did: nothing told of a change since, and it is younger than `age`.
    pub(super) fn known(&self, package: &ObjectName, asked: &Asked, now: Timestamp, age: Duration) -> Option<Found> {
        self.with(|known| {
            let (last, found, at) = known.packages.get(package)?.last.as_ref()?;
            // A clock that went back makes no reading younger.
            let elapsed = Duration::try_from(now.duration_since(*at));
            (last == asked && elapsed.is_ok_and(|elapsed| elapsed < age)).then(|| found.clone())
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Known) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reason::Reason;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_reading_counts_until_a_word_of_change_another_place_or_its_age() {
        let (looks, package, now) =
            (SourceLooks::default(), ObjectName::new("default", "editor"), Timestamp::UNIX_EPOCH);
        let asked = Asked { at: At::Place("/fleet/packages/editor".into()), requested: None };
        let failure = SourceFailure { reason: Reason::SourceRefused, text: "a device".to_owned(), passes: false };
        for found in [Found::Content(Digest::of(b"one")), Found::Refused(failure)] {
            looks.forget(&package);
            let known = |asked: &Asked, now| looks.known(&package, asked, now, HOUR);
            assert_eq!(known(&asked, now), None);
            looks.keep(&package, looks.begin(), asked.clone(), found.clone(), now);
            assert_eq!(known(&asked, now), Some(found.clone()));
            for other in [
                Asked { at: At::Place("/other/packages/editor".into()), ..asked.clone() },
                Asked { at: At::Tree("1".into()), ..asked.clone() },
                Asked { requested: Some("now".into()), ..asked.clone() },
            ] {
                assert_eq!(known(&other, now), None, "{other:?}");
            }
            assert_eq!(known(&asked, now + HOUR), None);
            assert_eq!(known(&asked, now - HOUR), None);

            // Told in the middle of a reading.
            let begun = looks.begin();
            looks.changed(&package);
            looks.keep(&package, begun, asked.clone(), found.clone(), now);
            assert_eq!(known(&asked, now), None);
            looks.keep(&package, looks.begin(), asked.clone(), found.clone(), now);
            assert_eq!(known(&asked, now), Some(found));
        }
        looks.forget(&package);
        assert_eq!(looks.known(&package, &asked, now, HOUR), None);
    }
}
