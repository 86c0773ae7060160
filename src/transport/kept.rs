//! What a state directory holds of a device's identity: all of it, nothing yet, or something that cannot be used, by name. It
//! is read here and set aside; what follows from that is the session's.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::session::{Session, SessionError};
use crate::trust::{
    device::DeviceKey,
    identity,
    keys::KeyError,
    secret_file::{self, SecretFileError},
};

/// Damaged files of one name that are kept at most.
const ASIDE_MAX: u32 = 100;

/// What is there.
#[derive(Default)]
pub(super) struct Kept {
    /// Nothing if this machine has not joined.
    pub(super) session: Option<Session>,
    /// There if it has, and perhaps of a try to join.
    pub(super) key: Option<DeviceKey>,
}

/// Reads it.
///
/// # Errors
/// [`SessionError::Damaged`] with the file, or what the file system says.
pub(super) fn read(state: &Path) -> Result<Kept, SessionError> {
    let path = Session::path(state);
    let damaged = || SessionError::Damaged(path.clone());
    let text = match secret_file::read(&path) {
        Ok(text) => text,
        Err(SecretFileError::TooLarge { .. } | SecretFileError::NotText { .. }) => return Err(damaged()),
        Err(error) => return Err(SessionError::Secret(path, error)),
    };
    let key = key(state)?;
    let Some(text) = text else { return Ok(Kept { key, ..Kept::default() }) };
    let session: Session = serde_json::from_str(&text).map_err(|_| damaged())?;
    for pem in [&session.certificate_pem, &session.ca_pem] {
        identity::certificates(pem).map_err(|_| damaged())?;
    }
    session.renewal().map_err(|_| damaged())?;
    if key.is_none() {
        return Err(SessionError::Damaged(Session::key_path(state)));
    }
    Ok(Kept { session: Some(session), key })
}

/// The device's key; `None` if there is none.
///
/// # Errors
/// As [`read`].
pub(super) fn key(state: &Path) -> Result<Option<DeviceKey>, SessionError> {
    let path = Session::key_path(state);
    DeviceKey::load(&path).map_err(|error| match error {
        KeyError::NotAPrivateKey { .. }
        | KeyError::File(SecretFileError::TooLarge { .. } | SecretFileError::NotText { .. }) => {
            SessionError::Damaged(path)
        }
        KeyError::File(error) => SessionError::Secret(path, error),
        other => other.into(),
    })
}

/// Gives a file another name beside it, that nothing has yet, so that somebody may still look at it. Nothing to do if it is gone.
///
/// # Errors
/// Whatever the file system says.
pub(super) fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let first = path.with_added_extension("damaged");
    let others = (2..=ASIDE_MAX).map(|number| path.with_added_extension(format!("damaged-{number}")));
    for aside in std::iter::once(first).chain(others) {
        // A link, unlike a rename, takes no other file's place.
        match fs::hard_link(path, &aside) {
            Ok(()) => return fs::remove_file(path).map(|()| Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("{ASIDE_MAX} damaged files of its name lie beside it; remove them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named_and_nothing_is_taken_for_a_new_machine() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path();
        assert!(matches!(read(state), Ok(Kept { session: None, key: None })));
        DeviceKey::load_or_create(&Session::key_path(state)).unwrap();
        assert!(matches!(read(state), Ok(Kept { session: None, key: Some(_) })));
        let named = |expected: &str| match read(state) {
            Err(SessionError::Damaged(path)) => assert_eq!(path, state.join(expected)),
            other => panic!("{expected}: {:?}", other.map(|_| ()).map_err(|error| error.to_string())),
        };
        for bytes in [&b""[..], b"{", b"{}", b"\xff\xfe", &vec![b'x'; 70_000]] {
            crate::content::durable::replace(&Session::path(state), bytes, 0o600).unwrap();
            named("session.json");
        }
        fs::remove_file(Session::path(state)).unwrap();
        for bytes in [&b""[..], b"no key", b"\xff\xfe"] {
            crate::content::durable::replace(&Session::key_path(state), bytes, 0o600).unwrap();
            named("device.key");
        }
    }

    #[test]
    fn what_is_set_aside_is_kept_under_a_name_of_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("session.json");
        for content in ["one", "two"] {
            fs::write(&path, content).unwrap();
            let aside = set_aside(&path).unwrap().unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), content);
            assert!(!path.exists());
        }
        assert_eq!(set_aside(&path).unwrap(), None);
        assert_eq!(fs::read_to_string(scratch.path().join("session.json.damaged")).unwrap(), "one");
        assert_eq!(fs::read_to_string(scratch.path().join("session.json.damaged-2")).unwrap(), "two");
    }
}
