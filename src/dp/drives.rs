//! The drives of a distribution point as its assignment names them: opened, opened again when they change or come back,
//! and measured for reports.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    content::{ContentError, DriveConfig, Publisher, drive::NO_WAYBILL_ON_DRIVE},
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
}

impl Drives {
    /// None is open yet.
    pub(super) fn new(own: PathBuf) -> Self {
        Self { own, open: RwLock::new(Open { specs: None, publisher: None, trouble: None }) }
    }

    /// Whether these are not the drives that are open, or some of them could not be opened.
    pub(super) fn need_opening(&self, specs: &[DriveSpec]) -> bool {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let are_all = open.publisher.as_ref().is_some_and(|publisher| publisher.unusable().is_empty());
        open.specs.as_deref() != Some(specs) || !are_all
    }

    /// Whether other drives are named than before.
    pub(super) fn differ(&self, specs: &[DriveSpec]) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).specs.as_deref() != Some(specs)
    }

    /// Opens these drives in place of those before. What cannot be opened is tried again later.
    pub(super) fn open(&self, specs: &[DriveSpec]) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // The lock of a drive is free only after the old one has let go of it.
        open.publisher = None;
        open.specs = Some(specs.to_vec());
        let opened = self.configs(specs).and_then(Publisher::open);
        match opened {
            Ok(publisher) => {
                for (path, error) in publisher.unusable() {
                    tracing::warn!(drive = %path.display(), error = %chain(error), "a drive cannot be used");
                }
                (open.publisher, open.trouble) = (Some(Arc::new(publisher)), None);
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "no drive can be used");
                open.trouble = Some(chain(&error));
            }
        }
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

fn measure(path: &Path, is_open: bool) -> DriveReport {
    let (free_bytes, total_bytes) = rustix::fs::statvfs(path).map_or((0, 0), |stat| {
        (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize))
    });
    let is_left_out = path.join(NO_WAYBILL_ON_DRIVE).symlink_metadata().is_ok();
    let usable = is_open && !is_left_out && total_bytes > 0;
    DriveReport { path: path.display().to_string(), free_bytes, total_bytes, usable }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
