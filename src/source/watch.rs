//! Notices that package sources may have changed, soon after they did. A notice is a hint: whoever takes it reads the
//! source itself. Where the kernel gives no notices, sources are read at their interval only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    watcher: Option<RecommendedWatcher>,
    /// What is watched, or could not be.
    watched: BTreeMap<PathBuf, Identity>,
    touched: Arc<Touched>,
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
        Self { watcher: watcher.ok(), watched: BTreeMap::new(), touched }
    }

    /// Watches exactly these directories from now on. One that is new, or another one in the same place, counts as
    /// changed: what happened to it before went unnoticed.
    pub fn follow(&mut self, wanted: &BTreeSet<PathBuf>) {
        let gone: Vec<PathBuf> = self.watched.keys().filter(|path| !wanted.contains(*path)).cloned().collect();
        gone.iter().for_each(|path| self.forget(path));
        for path in wanted {
            let now = fs::metadata(path).ok().map(|at| (at.dev(), at.ino()));
            if now == self.watched.get(path).copied() {
                continue;
            }
            self.forget(path);
            let Some(identity) = now else { continue };
            self.watched.insert(path.clone(), identity);
            self.touched.with(|sets| {
                sets.watched.insert(path.clone());
                sets.touched.insert(path.clone());
            });
            self.touched.told.notify_one();
            let Some(watcher) = &mut self.watcher else { continue };
            if let Err(error) = watcher.watch(path, RecursiveMode::Recursive) {
                tracing::warn!(source = %path.display(), %error, "no notices of changes; the source is read at its interval");
            }
        }
    }

    fn forget(&mut self, path: &Path) {
        if self.watched.remove(path).is_some() {
            self.touched.with(|sets| sets.watched.remove(path));
            // Fails if the directory is gone, and its watch with it.
            let _ = self.watcher.as_mut().map(|watcher| watcher.unwatch(path));
        }
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
        let mut watch = SourceWatch::new();
        watch.follow(&[one.clone(), other.clone()].into());
        assert_eq!(changed(&watch).await, [one.clone(), other.clone()].into(), "what is new is read");

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
        let mut watch = SourceWatch::new();
        let wanted = [place.clone()].into();
        watch.follow(&wanted);
        changed(&watch).await;
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
