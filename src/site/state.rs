//! The site's state directory: who it belongs to, what lies where, and that only one process uses it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::content::{
    anchor::{Anchor, Lost},
    durable,
    private::{self, NotPrivate},
};

/// Version of the directory's layout that this program writes.
const SCHEMA: u32 = 1;
/// Oldest program version, by its [`SCHEMA`], that can still open what this one writes.
const MIN_READER: u32 = 1;
/// The file that says so.
const MARKER: &str = "state.json";
/// What the marker says the directory is.
const KIND: &str = "waybill-site";
/// The key by which clients and points know the site's word.
pub(super) const SITE_KEY: &str = "keys/site.key";
/// The authority of everybody's certificates.
const DEVICES_KEY: &str = "devices/ca.pem";
/// What a site goes on without, and what that means.
const LOST_WITH: [(&str, &str); 2] = [
    ("site.db", "every client and point: they have to join anew; what distribution points report is taken back"),
    ("api.db", "every object that no manifest declares"),
];
/// The name of a site that nobody named.
pub(super) const FIRST_SITE: &str = "main";

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system refused.
    #[error("the state directory {0} cannot be used")]
    Io(PathBuf, #[source] io::Error),
    /// Others could reach into it.
    #[error("the state directory cannot be used")]
    NotPrivate(#[from] NotPrivate),
    /// Another process has it.
    #[error("the state directory {0} is in use by another process; stop that one, or give another --state")]
    InUse(PathBuf),
    /// It belongs to something else.
    #[error("{0} belongs to another kind of process (it says '{1}'); give another --state")]
    Foreign(PathBuf, String),
    /// It is not empty and not ours.
    #[error("{0} is not empty and has no {MARKER}; give an empty directory as --state")]
    NotOurs(PathBuf),
    /// A newer program wrote it.
    #[error(
        "{path} was written by a newer version (layout {schema}, readable from {min_reader}); this one knows {SCHEMA}: upgrade it"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its layout.
        schema: u32,
        /// The oldest version that can read it.
        min_reader: u32,
    },
    /// It is another site's.
    #[error(
        "{path} is the state of site '{kept}', not of '{asked}'; leave --site (in the chart site.name) as it was, or give another --state"
    )]
    OtherSite {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        kept: String,
        /// Which site was to be started.
        asked: String,
    },
    /// Keys that the site had are gone.
    #[error(
        "{0} is gone, and no client or point believes a site with another one: bring the file back from a backup of the state \
         directory, or begin a new site with another --state, which everything then has to join"
    )]
    KeysGone(PathBuf),
    /// The marker cannot be read.
    #[error("{0} is damaged; restore it from a backup")]
    Damaged(PathBuf),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    kind: String,
    schema: u32,
    min_reader: u32,
    /// The name of the site, which never changes; for states of sites only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    /// Whether the site has its keys: from then on it is never given others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_keys: bool,
}

/// An opened state directory. Dropping it lets another process in.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    marker: Marker,
    anchor: Anchor,
    _lock: File,
}

impl StateDirectory {
    /// Opens or makes the directory, mode 0700, for this process alone. It belongs to the site it was first opened for, or to
    /// `main` if that was not named.
    ///
    /// # Errors
    /// [`StateError`], each with the remedy.
    pub fn open(path: &Path, site: Option<&str>) -> Result<Self, StateError> {
        let opened = Self::open_for(path, KIND, Some(site))?;
        opened.is_whole()?;
        Ok(opened)
    }

    /// Whether what a site that was here before cannot do without is still there; says aloud what it lost besides.
    fn is_whole(&self) -> Result<(), StateError> {
        if !self.marker.has_keys {
            return Ok(());
        }
        if let Some(gone) =
            [SITE_KEY, DEVICES_KEY].map(|file| self.path.join(file)).into_iter().find(|path| !path.exists())
        {
            return Err(StateError::KeysGone(gone));
        }
        for (file, lost) in LOST_WITH {
            if !self.path.join(file).exists() {
                tracing::warn!("{} is gone, and with it {lost}", self.path.join(file).display());
            }
        }
        Ok(())
    }

    /// As [`StateDirectory::open`] for another kind of process, such as a distribution point.
    ///
    /// # Errors
    /// [`StateError`], each with the remedy.
    pub fn open_as(path: &Path, kind: &str) -> Result<Self, StateError> {
        Self::open_for(path, kind, None)
    }

    fn open_for(path: &Path, kind: &str, asked: Option<Option<&str>>) -> Result<Self, StateError> {
        let path = private::make(path)?;
        let failed = |error| StateError::Io(path.clone(), error);
        let (kept, has_keys) = check(&path, kind)?.map_or((None, false), |marker| (marker.site, marker.has_keys));
        let site = asked.map(|asked| site_name(&path, kept, asked)).transpose()?;
        private::close(&path)?;
        let lock = path.join("lock");
        durable::prepare_private(&lock).map_err(failed)?;
        let lock = File::open(lock).map_err(failed)?;
        let anchor = Anchor::of(&path.join("lock"), &lock).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StateError::InUse(path.clone()))?;
        let marker = Marker { kind: kind.to_owned(), schema: SCHEMA, min_reader: MIN_READER, site, has_keys };
        let opened = Self { path, marker, anchor, _lock: lock };
        opened.mark()?;
        Ok(opened)
    }

    fn mark(&self) -> Result<(), StateError> {
        let text = serde_json::to_vec(&self.marker).unwrap_or_default();
        let marker = self.path.join(MARKER);
        // On a full disk nothing is written that is there.
        if fs::read(&marker).ok().as_deref() != Some(&*text) {
            durable::replace(&marker, &text, 0o600).map_err(|error| StateError::Io(self.path.clone(), error))?;
        }
        Ok(())
    }

    /// Notes that the site has its keys.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn keep_keys(&mut self) -> Result<(), StateError> {
        self.marker.has_keys = true;
        self.mark()
    }

    /// The site it belongs to; empty for other processes' directories.
    #[must_use]
    pub fn site(&self) -> &str {
        self.marker.site.as_deref().unwrap_or_default()
    }

    /// Waits until the directory is not the one that was opened any more: removed, or another one in its place.
    pub async fn lost(&self) -> Lost {
        self.anchor.lost().await
    }

    /// A file or directory in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The site of a state: the one it was made for. One whose marker does not say yet takes the name that is asked for.
fn site_name(path: &Path, kept: Option<String>, asked: Option<&str>) -> Result<String, StateError> {
    match (kept, asked) {
        (Some(kept), Some(asked)) if kept != asked => {
            Err(StateError::OtherSite { path: path.to_owned(), kept, asked: asked.to_owned() })
        }
        (Some(kept), _) => Ok(kept),
        (None, asked) => Ok(asked.unwrap_or(FIRST_SITE).to_owned()),
    }
}

/// Whether the directory may be opened; what it says of itself, if it is not new.
fn check(path: &Path, kind: &str) -> Result<Option<Marker>, StateError> {
    let file = path.join(MARKER);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(path).map_err(|error| StateError::Io(path.to_owned(), error))?;
            // A lock file alone is what a start that was killed at once leaves behind.
            let foreign = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lock"));
            return if foreign { Err(StateError::NotOurs(path.to_owned())) } else { Ok(None) };
        }
        Err(error) => return Err(StateError::Io(file, error)),
    };
    let marker: Marker = serde_json::from_slice(&text).map_err(|_| StateError::Damaged(file))?;
    if marker.kind != kind {
        return Err(StateError::Foreign(path.to_owned(), marker.kind));
    }
    if marker.min_reader > SCHEMA {
        let (schema, min_reader) = (marker.schema, marker.min_reader);
        return Err(StateError::Newer { path: path.to_owned(), schema, min_reader });
    }
    Ok(Some(marker))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_site_is_never_given_other_keys_than_it_had() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        // A start that ended before there were keys.
        drop(StateDirectory::open(&path, None).unwrap());
        let mut state = StateDirectory::open(&path, None).unwrap();
        for key in [SITE_KEY, DEVICES_KEY] {
            fs::create_dir(path.join(key).parent().unwrap()).unwrap();
            fs::write(path.join(key), "key").unwrap();
        }
        state.keep_keys().unwrap();
        drop(state);
        drop(StateDirectory::open(&path, None).unwrap());
        for key in [SITE_KEY, DEVICES_KEY] {
            fs::remove_file(path.join(key)).unwrap();
            let refused = StateDirectory::open(&path, None).unwrap_err();
            assert!(matches!(&refused, StateError::KeysGone(gone) if gone.ends_with(key)), "{refused}");
            fs::write(path.join(key), "key").unwrap();
        }
    }

    #[test]
    fn one_process_at_a_time_and_only_our_own_layout() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        let first = StateDirectory::open(&path, None).unwrap();
        assert!(matches!(StateDirectory::open(&path, None), Err(StateError::InUse(_))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(first);
        StateDirectory::open(&path, None).unwrap();

        fs::write(path.join(MARKER), r#"{"kind":"waybill-site","schema":9,"minReader":9}"#).unwrap();
        let error = StateDirectory::open(&path, None).unwrap_err();
        assert!(error.to_string().contains("upgrade"), "{error}");
        fs::write(path.join(MARKER), r#"{"kind":"waybill-site","schema":9,"minReader":1}"#).unwrap();
        StateDirectory::open(&path, None).unwrap();
        fs::write(path.join(MARKER), r#"{"kind":"other","schema":1,"minReader":1}"#).unwrap();
        assert!(matches!(StateDirectory::open(&path, None), Err(StateError::Foreign(..))));
        fs::write(path.join(MARKER), "{").unwrap();
        assert!(matches!(StateDirectory::open(&path, None), Err(StateError::Damaged(_))));

        let foreign = scratch.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("precious"), "x").unwrap();
        assert!(matches!(StateDirectory::open(&foreign, None), Err(StateError::NotOurs(_))));
    }

    #[test]
    fn a_state_belongs_to_the_site_that_it_was_made_for() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        let opened = |site: Option<&str>| StateDirectory::open(&path, site).map(|state| state.site().to_owned());
        assert_eq!(opened(Some("north")).unwrap(), "north");
        assert_eq!(opened(None).unwrap(), "north", "the name need not be given again");
        let refused = opened(Some("other")).unwrap_err().to_string();
        assert!(refused.contains("is the state of site 'north', not of 'other'; leave --site"), "{refused}");

        // As a version before this one left it.
        fs::write(path.join(MARKER), r#"{"kind":"waybill-site","schema":1,"minReader":1}"#).unwrap();
        assert_eq!(opened(None).unwrap(), FIRST_SITE);
        assert!(opened(Some("north")).is_err());
    }
}
