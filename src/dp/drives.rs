//! The drives of a distribution point as its assignment names them: opened, opened again when they change or come back,
//! and measured for reports.

use std::{
    fs::DirBuilder,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    content::{ContentError, DriveConfig, Publisher, drive::NO_WAYBILL_ON_DRIVE},
    model::causes::chain,
    wire::points::{DriveReport, DriveSpec},
};

/// The drives. Whoever opens them anew makes sure that nobody works with the old ones.
#[derive(Debug)]
pub(super) struct Drives {
    /// Used when no drive is named.
    own: PathBuf,
    open: RwLock<Open>,
}

#[derive(Debug)]
struct Open {
    specs: Option<Vec<DriveSpec>>,
    publisher: Option<Arc<Publisher>>,
    trouble: Option<String>,
    /// Which directory was at each drive's path just before it was opened.
    places: Vec<Option<Place>>,
}

/// A directory, whatever its name is: device and inode.
type Place = (u64, u64);

impl Drives {
    /// None is open yet.
    pub(super) fn new(own: PathBuf) -> Self {
        Self { own, open: RwLock::new(Open { specs: None, publisher: None, trouble: None, places: Vec::new() }) }
    }

    /// Whether these are not the drives that are open, or some of them could not be opened.
    pub(super) fn need_opening(&self, specs: &[DriveSpec]) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.specs.as_deref() != Some(specs) || !open.are_all() || self.are_others(&open)
    }

    /// Whether every drive that is named is open.
    pub(super) fn are_sound(&self) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.specs.is_none() || open.are_all()
    }

    /// Whether other directories are at the drives' paths than when they were opened, or none where one was, or one where
    /// none was.
    pub(super) fn have_moved(&self) -> bool {
        self.are_others(&self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn are_others(&self, open: &Open) -> bool {
        open.specs.as_deref().is_some_and(|specs| places(&self.paths(specs)) != open.places)
    }

    fn paths(&self, specs: &[DriveSpec]) -> Vec<PathBuf> {
        if specs.is_empty() {
            vec![self.own.clone()]
        } else {
            specs.iter().map(|spec| spec.path.clone().into()).collect()
        }
    }

    /// Whether other drives are named than before.
    pub(super) fn differ(&self, specs: &[DriveSpec]) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).specs.as_deref() != Some(specs)
    }

    /// Opens these drives in place of those before. What cannot be opened is tried again later. Whether others can be used
    /// than before.
    pub(super) fn open(&self, specs: &[DriveSpec]) -> bool {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let (known, before) =
            (open.specs.is_some(), open.usable(&self.paths(open.specs.as_deref().unwrap_or_default())));
        let trouble_before = open.trouble.take();
        // Made if it is missing, and looked at before it is opened: one that comes in between is noticed later.
        let configs = self.configs(specs);
        open.places = places(&self.paths(specs));
        // The lock of a drive is free only after the old one has let go of it.
        open.publisher = None;
        open.specs = Some(specs.to_vec());
        let opened = configs.and_then(Publisher::open);
        match opened {
            Ok(publisher) => {
                for (path, error) in publisher.unusable() {
                    tracing::warn!(drive = %path.display(), error = %chain(error), "a drive cannot be used");
                }
                (open.publisher, open.trouble) = (Some(Arc::new(publisher)), None);
            }
            Err(error) => {
                let trouble = chain(&error);
                if trouble_before.as_ref() != Some(&trouble) {
                    tracing::warn!(error = %trouble, "no drive can be used");
                }
                open.trouble = Some(trouble);
            }
        }
        !known || before != open.usable(&self.paths(specs))
    }

    fn configs(&self, specs: &[DriveSpec]) -> Result<Vec<DriveConfig>, ContentError> {
        if !specs.is_empty() {
            let config =
                |spec: &DriveSpec| DriveConfig { path: spec.path.clone().into(), reserve_bytes: spec.reserve_bytes };
            return Ok(specs.iter().map(config).collect());
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.own);
        made.map_err(ContentError::io("make", &self.own))?;
        Ok(vec![DriveConfig { path: self.own.clone(), reserve_bytes: 0 }])
    }

    /// The drives that are open, or why none is.
    pub(super) fn publisher(&self) -> Result<Arc<Publisher>, String> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let trouble = || open.trouble.clone().unwrap_or_else(|| "no drive is open yet".to_owned());
        open.publisher.clone().ok_or_else(trouble)
    }

    /// The most bytes that a drive has left above its reserve.
    pub(super) fn most_available_bytes(&self) -> u64 {
        let rooms = self.publisher().ok().and_then(|publisher| publisher.room().ok()).unwrap_or_default();
        rooms.iter().filter(|room| !room.is_left_out).map(|room| room.available_bytes).max().unwrap_or(0)
    }

    /// The drives as the site is told.
    pub(super) fn reports(&self) -> Vec<DriveReport> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let configs = self.configs(open.specs.as_deref().unwrap_or_default()).unwrap_or_default();
        let is_open = |path: &Path| {
            open.publisher
                .as_ref()
                .is_some_and(|publisher| publisher.unusable().iter().all(|(unusable, _)| unusable != path))
        };
        configs.iter().map(|config| measure(&config.path, is_open(&config.path))).collect()
    }
}

impl Open {
    fn are_all(&self) -> bool {
        self.publisher.as_ref().is_some_and(|publisher| publisher.unusable().is_empty())
    }

    /// Those of these drives that are open, as the directories that they were when they were opened.
    fn usable(&self, paths: &[PathBuf]) -> Vec<(PathBuf, Place)> {
        let Some(publisher) = &self.publisher else { return Vec::new() };
        let is_open = |path: &Path| publisher.unusable().iter().all(|(unusable, _)| unusable != path);
        let open = paths.iter().zip(&self.places).filter(|(path, _)| is_open(path));
        open.filter_map(|(path, place)| Some((path.clone(), (*place)?))).collect()
    }
}

fn places(paths: &[PathBuf]) -> Vec<Option<Place>> {
    let place = |path: &PathBuf| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    paths.iter().map(place).collect()
}

fn measure(path: &Path, is_open: bool) -> DriveReport {
    let (free_bytes, total_bytes) = rustix::fs::statvfs(path).map_or((0, 0), |stat| {
        (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize))
    });
    let is_left_out = path.join(NO_WAYBILL_ON_DRIVE).symlink_metadata().is_ok();
    let usable = is_open && !is_left_out && total_bytes > 0;
    DriveReport { path: path.display().to_string(), free_bytes, total_bytes, usable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_that_goes_or_comes_or_is_replaced_is_noticed_and_said_to_be_another() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("drive");
        let specs = [DriveSpec { path: path.display().to_string(), reserve_bytes: 0 }];
        let drives = Drives::new(scratch.path().join("own"));
        assert!(!drives.have_moved() && drives.are_sound(), "none is named yet");
        assert!(drives.open(&specs), "nothing was known of it");
        assert!(!drives.have_moved() && !drives.are_sound());
        assert!(!drives.open(&specs), "it is not there, as before");
        for _ in 0..2 {
            std::fs::create_dir(&path).unwrap();
            assert!(drives.have_moved() && drives.need_opening(&specs));
            assert!(drives.open(&specs));
            assert!(!drives.have_moved() && !drives.need_opening(&specs) && drives.are_sound());
            assert!(!drives.open(&specs), "the same one");
            std::fs::remove_dir_all(&path).unwrap();
            assert!(drives.have_moved() && drives.need_opening(&specs));
            assert!(drives.open(&specs) && drives.publisher().is_err());
        }
    }
}
