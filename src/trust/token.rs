//! Join secrets: how one is made, what a site keeps of it, and whether one that is shown may be used. Counting uses is
//! up to the site database, which stores the record.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::identity::Role;
use super::keys::KeyError;
use crate::content::Digest;

/// How long a join file may be used unless told otherwise.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// One token for a whole roll-out of a large site; more would be a password.
pub const MAX_TOKEN_USES: u32 = 100_000;
/// 256 bits: cannot be guessed, so it needs no slow hash.
const SECRET_BYTES: usize = 32;

/// What a joining machine shows to prove that it was invited. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JoinSecret(String);

impl JoinSecret {
    /// Makes a new secret of 256 random bits, in base64url.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if the system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Crypto { doing: "make a join secret" })?;
        Ok(Self(BASE64.encode(bytes)))
    }

    /// What the site keeps: whoever reads its database cannot join with it.
    #[must_use]
    pub fn stored_hash(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The text, for a signature over it. Not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret")
    }
}

/// What a site keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// [`JoinSecret::stored_hash`]; also the key under which it is found.
    pub hash: Digest,
    /// What machines that join with it become.
    pub role: Role,
    /// Until when it may be used.
    pub expires: Timestamp,
    /// How often it may still be used.
    pub uses_left: u32,
}

/// Why a machine may not join. The texts go to whoever holds the secret, so they may say what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No such token.
    #[error("the join secret is unknown here: the join file is of another site, or the token was deleted")]
    Unknown,
    /// Too late.
    #[error("the join file has expired: make a new one with `waybill token create`")]
    Expired,
    /// Used up.
    #[error("the join file has been used as often as it allows: make a new one with `waybill token create`")]
    UsedUp,
    /// Another role.
    #[error("the join file is for role {granted}, not {asked}")]
    WrongRole {
        /// What the token grants.
        granted: Role,
        /// What was asked for.
        asked: Role,
    },
}

/// Whether a machine that shows `secret` may join as `asked` at `now`. Whoever does not know the secret learns nothing
/// else, neither from the answer nor from how long it takes.
///
/// # Errors
/// [`TokenError`], the first reason that applies.
pub fn check(token: &StoredToken, secret: &JoinSecret, asked: Role, now: Timestamp) -> Result<(), TokenError> {
    if !bool::from(token.hash.as_bytes().ct_eq(secret.stored_hash().as_bytes())) {
        return Err(TokenError::Unknown);
    }
    if now >= token.expires {
        return Err(TokenError::Expired);
    }
    if token.role != asked {
        return Err(TokenError::WrongRole { granted: token.role, asked });
    }
    if token.uses_left == 0 {
        return Err(TokenError::UsedUp);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_opens_for_its_secret_role_time_and_uses_only() {
        let (secret, other) = (JoinSecret::generate().unwrap(), JoinSecret::generate().unwrap());
        let token = StoredToken { hash: secret.stored_hash(), role: Role::Client, expires: at(100), uses_left: 1 };
        let used = StoredToken { uses_left: 0, ..token.clone() };
        assert_eq!(check(&token, &secret, Role::Client, at(99)), Ok(()));
        assert_eq!(check(&token, &other, Role::Client, at(99)), Err(TokenError::Unknown));
        assert_eq!(check(&used, &other, Role::Dp, at(100)), Err(TokenError::Unknown), "says nothing to a stranger");
        assert_eq!(check(&token, &secret, Role::Client, at(100)), Err(TokenError::Expired));
        assert_eq!(check(&used, &secret, Role::Client, at(99)), Err(TokenError::UsedUp));
        let wrong = TokenError::WrongRole { granted: Role::Client, asked: Role::Dp };
        assert_eq!(check(&token, &secret, Role::Dp, at(99)), Err(wrong));
    }

    #[test]
    fn secrets_are_long_and_never_shown() {
        let secret = JoinSecret::generate().unwrap();
        assert_eq!(secret.expose().len(), 43, "256 bits in base64url");
        assert_eq!(format!("{secret:?}"), "JoinSecret");
        assert_eq!(serde_json::to_string(&secret).unwrap(), format!("\"{}\"", secret.expose()));
    }
}
