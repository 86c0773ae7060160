//! Which package sources were read, where, and with what result, so that a source is read again when something says that
//! it may have changed, and not whenever its package is looked at. Forgotten with the process: the first look reads.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{content::digest::Digest, model::identity::ObjectName};

/// What one reading depended on, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// What named the bytes there.
    pub(super) at: At,
    /// The reconcile request of that time; a new one asks for a new reading.
    pub(super) requested: Option<String>,
    /// What was found.
    pub(super) content: Digest,
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
    look: Option<(Look, Timestamp)>,
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
            *known.packages.entry(package.clone()).or_default() = Source { changed_at_word: words, look: None };
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
    pub(super) fn keep(&self, package: &ObjectName, begun: Begun, look: Look, now: Timestamp) {
        self.with(|known| {
            let entry = known.packages.entry(package.clone()).or_default();
            if entry.changed_at_word <= begun.0 {
                entry.look = Some((look, now));
            }
        });
    }

    /// Whether a reading now would find what the last one found: nothing told of a change, and it is younger than `age`.
    pub(super) fn holds(&self, package: &ObjectName, look: &Look, now: Timestamp, age: Duration) -> bool {
        self.with(|known| {
            let last = known.packages.get(package).and_then(|entry| entry.look.as_ref());
            last.is_some_and(|(last, at)| {
                // A clock that went back makes no reading younger.
                let elapsed = Duration::try_from(now.duration_since(*at));
                last == look && elapsed.is_ok_and(|elapsed| elapsed < age)
            })
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Known) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_reading_counts_until_a_word_of_change_another_place_or_its_age() {
        let (looks, package, now) =
            (SourceLooks::default(), ObjectName::new("default", "editor"), Timestamp::UNIX_EPOCH);
        let look =
            Look { at: At::Place("/fleet/packages/editor".into()), requested: None, content: Digest::of(b"one") };
        assert!(!looks.holds(&package, &look, now, HOUR));
        looks.keep(&package, looks.begin(), look.clone(), now);
        assert!(looks.holds(&package, &look, now, HOUR));
        for other in [
            Look { at: At::Place("/other/packages/editor".into()), ..look.clone() },
            Look { at: At::Tree("1".into()), ..look.clone() },
            Look { requested: Some("now".into()), ..look.clone() },
            Look { content: Digest::of(b"restored"), ..look.clone() },
        ] {
            assert!(!looks.holds(&package, &other, now, HOUR), "{other:?}");
        }
        assert!(!looks.holds(&package, &look, now + HOUR, HOUR));
        assert!(!looks.holds(&package, &look, now - HOUR, HOUR));

        // Told in the middle of a reading.
        let begun = looks.begin();
        looks.changed(&package);
        looks.keep(&package, begun, look.clone(), now);
        assert!(!looks.holds(&package, &look, now, HOUR));
        looks.keep(&package, looks.begin(), look.clone(), now);
        assert!(looks.holds(&package, &look, now, HOUR));
        looks.forget(&package);
        assert!(!looks.holds(&package, &look, now, HOUR));
    }
}
