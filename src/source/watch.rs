//! Notices that package sources may have changed, soon after they did. A notice is a hint: whoever takes it reads the
//! source itself. Where the kernel gives no notices, sources are read at their interval only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// A source is read once nothing happened in it for this long: `cp -r` is done by then.
const QUIET: Duration = Duration::from_millis(100);
/// A source that never comes to rest is read after this time anyway.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// Device and inode: another directory in the same place needs another watch.
type Identity = (u64, u64);

/// Watches directories, each with everything beneath it.
pub struct SourceWatch {
    watches: Mutex<Watches>,
    touched: Arc<Touched>,
}

/// What is watched.
struct Watches {
    watcher: Option<RecommendedWatcher>,
    /// What is watched, or could not be.
    watched: BTreeMap<PathBuf, Identity>,
    /// What was read since this process started: as many as there ever were sources.
    read: BTreeSet<PathBuf>,
}

/// What the kernel's notices leave.
#[derive(Default)]
struct Touched {
    sets: Mutex<Sets>,
    told: Notify,
}

#[derive(Default)]
struct Sets {
    watched: BTreeSet<PathBuf>,
    touched: BTreeSet<PathBuf>,
}

impl Touched {
    fn with<T>(&self, f: impl FnOnce(&mut Sets) -> T) -> T {
        f(&mut self.sets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_in(&self, event: notify::Result<Event>) {
        let touched = self.with(|sets| {
            let before = sets.touched.len();
            match event {
                // Reading is no change, and every source is read.
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => return false,
                Ok(event) if !event.need_rescan() => {
                    let inside = |path: &PathBuf| {
                        path.ancestors().find(|above| sets.watched.contains(*above)).map(Path::to_path_buf)
                    };
                    let found: Vec<PathBuf> = event.paths.iter().filter_map(inside).collect();
                    let any = !found.is_empty();
                    sets.touched.extend(found);
                    return any;
                }
                // Notices were lost: all of them may have changed.
                _ => sets.touched.extend(sets.watched.clone()),
            }
            sets.touched.len() > before
        });
        if touched {
            self.told.notify_one();
        }
    }
}

impl SourceWatch {
    /// Watches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let touched = Arc::<Touched>::default();
        let told = touched.clone();
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(move |event| told.take_in(event), config);
        let watcher = watcher.inspect_err(
            |error| tracing::warn!(%error, "the kernel gives no notices; package sources are read at their interval"),
        );
        let watches = Watches { watcher: watcher.ok(), watched: BTreeMap::new(), read: BTreeSet::new() };
        Self { watches: Mutex::new(watches), touched }
    }

    /// Watches exactly these directories from now on. One that was read before it was watched, or another one in the same
    /// place, counts as changed: what happened to it meanwhile went unnoticed. One that nobody has read yet does not:
    /// whoever reads it begins with [`SourceWatch::begin_reading`].
    pub fn follow(&self, wanted: &BTreeSet<PathBuf>) {
        let mut watches = self.watches();
        let gone: Vec<PathBuf> = watches.watched.keys().filter(|path| !wanted.contains(*path)).cloned().collect();
        gone.iter().for_each(|path| watches.forget(path, &self.touched));
        for path in wanted {
            if watches.look_at(path, &self.touched) && watches.read.contains(path) {
                self.touched.with(|sets| sets.touched.insert(path.clone()));
                self.touched.told.notify_one();
            }
        }
    }

    /// To be called before a source is read: from now on its changes are noticed, so that nothing between this reading and
    /// the next is missed.
    pub fn begin_reading(&self, path: &Path) {
        let mut watches = self.watches();
        watches.look_at(path, &self.touched);
        watches.read.insert(path.to_owned());
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for changes and gives the directories they are in, after they had time to come to rest. A wait that is
    /// dropped loses nothing.
    pub async fn next(&self) -> BTreeSet<PathBuf> {
        while self.touched.with(|sets| sets.touched.is_empty()) {
            self.touched.told.notified().await;
        }
        let until = Instant::now() + QUIET_MAX;
        while Instant::now() < until && timeout(QUIET, self.touched.told.notified()).await.is_ok() {}
        self.touched.with(|sets| std::mem::take(&mut sets.touched))
    }
}

impl Watches {
    /// Watches a directory if it is there; whether that is new, or another directory than before.
    fn look_at(&mut self, path: &Path, touched: &Touched) -> bool {
        let now = fs::metadata(path).ok().map(|at| (at.dev(), at.ino()));
        if now == self.watched.get(path).copied() {
            return false;
        }
        self.forget(path, touched);
        let Some(identity) = now else { return false };
        self.watched.insert(path.to_owned(), identity);
        touched.with(|sets| sets.watched.insert(path.to_owned()));
        let Some(watcher) = &mut self.watcher else { return true };
        if let Err(error) = watcher.watch(path, RecursiveMode::Recursive) {
            tracing::warn!(source = %path.display(), %error, "no notices of changes; the source is read at its interval");
        }
        true
    }

    fn forget(&mut self, path: &Path, touched: &Touched) {
        if self.watched.remove(path).is_some() {
            touched.with(|sets| sets.watched.remove(path));
            // Fails if the directory is gone, and its watch with it.
            let _ = self.watcher.as_mut().map(|watcher| watcher.unwatch(path));
        }
    }
}

impl Default for SourceWatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;

    /// Longest wait for a notice.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn changed(watch: &SourceWatch) -> BTreeSet<PathBuf> {
        timeout(PATIENCE, watch.next()).await.expect("nobody noticed")
    }

    #[tokio::test]
    async fn a_change_names_the_source_it_is_in_and_a_look_is_no_change() {
        let scratch = tempfile::tempdir().unwrap();
        let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
        fs::create_dir_all(one.join("deep/er")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(one.join("deep/er/file"), "1").unwrap();
        let watch = SourceWatch::new();
        watch.begin_reading(&one);
        watch.follow(&[one.clone(), other.clone()].into());
        assert!(timeout(QUIET_MAX, watch.next()).await.is_err(), "what is new is read, and not for its watch again");
        watch.begin_reading(&other);

        fs::read(one.join("deep/er/file")).unwrap();
        assert!(timeout(QUIET_MAX, watch.next()).await.is_err(), "a look");
        for change in [
            &(|| fs::write(one.join("deep/er/file"), "2").unwrap()) as &dyn Fn(),
            &|| fs::create_dir_all(one.join("new/er")).unwrap(),
            &|| fs::remove_file(one.join("deep/er/file")).unwrap(),
        ] {
            change();
            assert_eq!(changed(&watch).await, [one.clone()].into());
        }
        watch.follow(&[one.clone()].into());
        fs::write(other.join("file"), "1").unwrap();
        assert!(timeout(QUIET_MAX, watch.next()).await.is_err(), "nobody asks for it any more");
    }

    #[tokio::test]
    async fn another_directory_in_the_same_place_is_a_change_and_is_watched() {
        let scratch = tempfile::tempdir().unwrap();
        let (place, next) = (scratch.path().join("place"), scratch.path().join("next"));
        fs::create_dir_all(&place).unwrap();
        fs::create_dir_all(&next).unwrap();
        let watch = SourceWatch::new();
        let wanted = [place.clone()].into();
        watch.begin_reading(&place);
        watch.follow(&wanted);
        // Not watched for a while.
        watch.follow(&BTreeSet::new());
        watch.follow(&wanted);
        assert_eq!(changed(&watch).await, wanted);
        renameat_with(CWD, &next, CWD, &place, RenameFlags::EXCHANGE).unwrap();
        watch.follow(&wanted);
        assert_eq!(changed(&watch).await, wanted);
        fs::write(place.join("file"), "1").unwrap();
        assert_eq!(changed(&watch).await, wanted);
        fs::remove_dir_all(&place).unwrap();
        watch.follow(&wanted);
        fs::create_dir(&place).unwrap();
        watch.follow(&wanted);
        assert_eq!(changed(&watch).await, wanted);
    }
}
