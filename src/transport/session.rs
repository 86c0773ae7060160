//! Who this machine is to its site: joined once with a join file, then kept in the state directory. Agents,
//! distribution points and access points all join this way; what they do afterwards is not decided here.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    content::{Digest, durable},
    transport::{
        answer::AnswerError,
        client::{ClientError, Listener, Timeouts, device_client},
        enrolment::{enrol, enrol_patiently},
        fault::Fault,
        invitation, kept,
    },
    trust::{
        device::DeviceKey,
        identity::{self, PeerIdentity, Role},
        keys::{KeyError, TrustedKeys},
        secret_file::SecretFileError,
        token::JoinSecret,
    },
    wire::{
        enrol::{Endpoints, EnrolAnswer, EnrolError, EnrolRequest, JoinFile},
        turned_away::TurnedAway,
    },
};

/// Why this machine is not a device of the site.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no session and no join file.
    #[error("{0} has not joined a site; create a join file with 'waybill token create' and give it with --join")]
    NotJoined(PathBuf),
    /// A key or certificate cannot be read or stored.
    #[error("the identity in {0} cannot be read or stored")]
    Secret(PathBuf, #[source] SecretFileError),
    /// A key cannot be made or used.
    #[error("the device key cannot be used")]
    Key(#[from] KeyError),
    /// A file of the identity is damaged, or gone while the others are there.
    #[error(
        "{0} is damaged or missing; bring it back from a backup, or start once with --join and a new join file, with which this \
         machine joins as a new device and keeps the damaged files beside, named .damaged"
    )]
    Damaged(PathBuf),
    /// TLS cannot be set up.
    #[error("the connection cannot be set up")]
    Client(#[from] ClientError),
    /// The enrolment listener cannot be reached.
    #[error("the site's enrolment at {0} cannot be reached")]
    Unreachable(String, #[source] Fault),
    /// The site's answer was cut off, too long or no answer.
    #[error("the site's answer cannot be read")]
    Unusable(#[source] AnswerError),
    /// The site refused.
    #[error("the site refused: {0}")]
    Refused(String),
    /// The site knows this device, or knew it, and lets it in no more.
    #[error("the site turns this machine away: {0}")]
    TurnedAway(TurnedAway),
    /// The join file is of another site than the one that this state belongs to.
    #[error(
        "{} belongs to site {here} and this join file is of site {there}; give each site a state directory of its own",
        state.display()
    )]
    OtherSite {
        /// The state directory.
        state: PathBuf,
        /// The id of its site.
        here: String,
        /// The id of the file's site.
        there: String,
    },
    /// The answer does not fit the join file.
    #[error("the site's answer cannot be believed")]
    Answer(#[from] EnrolError),
    /// The join file is for another role.
    #[error("this join file is for a {file}, not for a {wanted}; create one for this role")]
    Role {
        /// The file's.
        file: Role,
        /// What this process is.
        wanted: Role,
    },
}

/// What a device knows of itself and its site.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The id that the site gave.
    pub id: String,
    /// What people call it, if the site said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The site's id.
    pub site_id: String,
    /// The device's certificate chain, PEM.
    pub certificate_pem: String,
    /// Certificate of the device authority, PEM.
    pub ca_pem: String,
    /// Keys that policy and records are signed with.
    pub keys: TrustedKeys,
    /// Where to go.
    pub endpoints: Endpoints,
    /// Where a lapsed certificate is exchanged.
    pub enrolment_url: String,
    /// The epoch of the site's policy when this device joined: no lower one is accepted.
    #[serde(default)]
    pub epoch: u64,
    /// What the secret of the last join file was that this machine has seen, hashed: another one may be meant to be used.
    #[serde(default)]
    pub joined_with: Option<Digest>,
}

impl Session {
    pub(super) fn path(state: &Path) -> PathBuf {
        state.join("session.json")
    }

    pub(super) fn key_path(state: &Path) -> PathBuf {
        state.join("device.key")
    }

    /// The session in `state`, or a new one by joining. A lapsed certificate is exchanged for one of the same id; what a
    /// join file does that was not seen before is told in `invitation`.
    ///
    /// # Errors
    /// [`SessionError`], each with the remedy.
    pub async fn open(
        state: &Path,
        join: Option<&JoinFile>,
        role: Role,
        advertised_names: &[String],
    ) -> Result<Self, SessionError> {
        let kept = match (kept::read(state), join) {
            (Err(SessionError::Damaged(path)), Some(join)) => {
                return invitation::replace_damaged(&path, state, join, role, advertised_names).await;
            }
            (kept, _) => kept?,
        };
        match (kept.session, join) {
            (Some(session), Some(join)) if session.joined_with != Some(join.secret.stored_hash()) => {
                invitation::take(session, state, join, role, advertised_names).await
            }
            (Some(session), _) => session.still_good(state, role, advertised_names).await,
            (None, None) => Err(SessionError::NotJoined(state.to_owned())),
            (None, Some(join)) => {
                invitation::check_role(join, role)?;
                let key = match kept.key {
                    Some(key) => key,
                    None => DeviceKey::load_or_create(&Self::key_path(state))?,
                };
                let session = Self::ask_to_join(&key, join, role, advertised_names).await?;
                session.save(state)?;
                Ok(session)
            }
        }
    }

    /// This session, with a new certificate if the present one has lapsed.
    pub(super) async fn still_good(
        self,
        state: &Path,
        role: Role,
        advertised_names: &[String],
    ) -> Result<Self, SessionError> {
        let (_, not_after) = self.renewal()?;
        if not_after > clock::now() {
            return Ok(self);
        }
        match self.rejoin(state, role, advertised_names).await {
            // An administrator may let it back: whoever keeps the certificate fresh asks again and again.
            Err(SessionError::TurnedAway(why @ TurnedAway::Blocked)) => {
                tracing::warn!(id = %self.id, "the certificate has lapsed, and the site turns this machine away: {why}");
                Ok(self)
            }
            other => other,
        }
    }

    /// A session of a machine that holds `key`, not stored yet.
    pub(super) async fn ask_to_join(
        key: &DeviceKey,
        join: &JoinFile,
        role: Role,
        advertised_names: &[String],
    ) -> Result<Self, SessionError> {
        let request = EnrolRequest {
            secret: join.secret.clone(),
            role,
            csr_pem: key.csr_pem()?,
            hostname: hostname(),
            advertised_names: advertised_names.to_vec(),
            rejoin: None,
        };
        let answer = enrol_patiently(join, &request).await?;
        answer.check(join, clock::now())?;
        Ok(Self::of(answer, join.url.clone(), Some(join.secret.stored_hash())))
    }

    /// Comes back under the old id, which the old key proves. No secret is needed: see `site::enrol`.
    pub async fn rejoin(&self, state: &Path, role: Role, advertised_names: &[String]) -> Result<Self, SessionError> {
        self.rejoin_at(&self.enrolment_url, state, role, advertised_names).await
    }

    /// As [`Session::rejoin`], at the enrolment listener of this URL.
    pub(super) async fn rejoin_at(
        &self,
        url: &str,
        state: &Path,
        role: Role,
        advertised_names: &[String],
    ) -> Result<Self, SessionError> {
        let old = Self::key(state)?;
        let request = EnrolRequest {
            secret: JoinSecret::generate()?,
            role,
            csr_pem: old.csr_pem()?,
            hostname: hostname(),
            advertised_names: advertised_names.to_vec(),
            rejoin: None,
        };
        let request = request.rejoining(&old, &self.certificate_pem)?;
        let pinned = self.authority()?;
        let answer = enrol(url, pinned, &request).await?;
        let expected = JoinFile {
            url: url.to_owned(),
            ca_sha256: pinned,
            secret: request.secret,
            role,
            site: self.site_id.clone(),
            expires: clock::now(),
        };
        let identity = answer.check(&expected, clock::now())?;
        if identity.id != self.id {
            return Err(SessionError::Refused(format!("it gave another id, {}", identity.id)));
        }
        // The keys that this device accepts were settled when it joined with a join file.
        let answer = EnrolAnswer { signing_keys: self.keys.clone(), epoch: self.epoch.max(answer.epoch), ..answer };
        let session = Self::of(answer, url.to_owned(), self.joined_with);
        session.save(state)?;
        Ok(session)
    }

    fn of(answer: EnrolAnswer, enrolment_url: String, joined_with: Option<Digest>) -> Self {
        Self {
            id: answer.id,
            name: answer.name,
            site_id: answer.site_id,
            certificate_pem: answer.certificate_pem,
            ca_pem: answer.ca_pem,
            keys: answer.signing_keys,
            endpoints: answer.endpoints,
            enrolment_url,
            epoch: answer.epoch,
            joined_with,
        }
    }

    /// What people call this device: at the site, in its messages and in its log.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// Digest of the authority's certificate, as join files pin it.
    pub(super) fn authority(&self) -> Result<Digest, SessionError> {
        let authority = identity::certificates(&self.ca_pem).map_err(ClientError::from)?;
        Ok(Digest::of(&authority[0]))
    }

    /// Keeps the session, for instance with a renewed certificate.
    ///
    /// # Errors
    /// [`SessionError::Secret`].
    pub fn save(&self, state: &Path) -> Result<(), SessionError> {
        let path = Self::path(state);
        let text = serde_json::to_vec(self).map_err(|_| SessionError::Damaged(path.clone()))?;
        durable::replace(&path, &text, 0o600).map_err(|source| SessionError::unwritten(&path, source))
    }

    /// The device's key.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn key(state: &Path) -> Result<DeviceKey, SessionError> {
        kept::key(state)?.ok_or_else(|| SessionError::Damaged(Self::key_path(state)))
    }

    /// An HTTP client with this device's certificate for `listener`.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn http(&self, state: &Path, listener: Listener, timeouts: Timeouts) -> Result<reqwest::Client, SessionError> {
        let key = Self::key(state)?;
        Ok(device_client(&key, &self.certificate_pem, &self.ca_pem, listener, timeouts)?)
    }

    /// Checks that a renewed session is still this device of this site, with the same key.
    ///
    /// # Errors
    /// [`SessionError::Refused`] or a certificate that is none.
    pub fn check_renewed(&self, before: &Self, now: Timestamp) -> Result<(), SessionError> {
        let chain = identity::certificates(&self.certificate_pem).map_err(ClientError::from)?;
        let authority = identity::certificates(&self.ca_pem).map_err(ClientError::from)?;
        let identity = PeerIdentity::verified(&chain[0], &authority[0], now).map_err(ClientError::from)?;
        if identity.id != before.id || identity.site_id != before.site_id {
            return Err(SessionError::Refused(format!("it renewed the certificate for another id, {}", identity.id)));
        }
        Ok(())
    }

    /// When the present certificate should be exchanged for the next one, and when it ends.
    ///
    /// # Errors
    /// [`SessionError::Client`] if the stored certificate is none.
    pub fn renewal(&self) -> Result<(Timestamp, Timestamp), SessionError> {
        let chain = identity::certificates(&self.certificate_pem).map_err(ClientError::from)?;
        let (not_before, not_after) = identity::lifetime(&chain[0]).map_err(ClientError::from)?;
        Ok((identity::renew_after(not_before, not_after), not_after))
    }
}

impl SessionError {
    pub(super) fn unwritten(path: &Path, source: std::io::Error) -> Self {
        Self::Secret(path.to_owned(), SecretFileError::Write { path: path.to_owned(), source })
    }
}

/// What this machine calls itself.
#[must_use]
pub fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
