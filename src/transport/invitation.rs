//! A join file that is given to a machine that has joined before. While the site knows the machine, the file is not needed
//! and not used up; once the site has deleted it, the machine joins anew under a new id. A blocked machine stays blocked.

use std::{fs, path::Path};

use super::{
    kept,
    session::{Session, SessionError},
};
use crate::{
    trust::{device::DeviceKey, identity::Role},
    wire::{enrol::JoinFile, turned_away::TurnedAway},
};

/// The session to go on with: the present one, or a new one if the site has deleted this machine. The site's word for that
/// comes from its own enrolment listener, under the authority that both the session and the join file pin.
///
/// # Errors
/// [`SessionError`], each with the remedy.
pub(super) async fn take(
    session: Session,
    state: &Path,
    join: &JoinFile,
    role: Role,
    advertised_names: &[String],
) -> Result<Session, SessionError> {
    check_role(join, role)?;
    if join.ca_sha256 != session.authority()? || join.site != session.site_id {
        let state = state.to_owned();
        return Err(SessionError::OtherSite { state, here: session.site_id, there: join.site.clone() });
    }
    match session.rejoin_at(&join.url, state, role, advertised_names).await {
        Ok(session) => {
            tracing::info!(name = %session.name(), "this machine has joined already; the join file is not needed and not used up");
            let session = Session { joined_with: Some(join.secret.stored_hash()), ..session };
            session.save(state)?;
            Ok(session)
        }
        Err(SessionError::TurnedAway(TurnedAway::Deleted)) => {
            tracing::warn!(name = %session.name(), "the site has deleted this machine; it joins anew with the join file");
            join_anew(state, join, role, advertised_names).await
        }
        Err(error @ (SessionError::TurnedAway(TurnedAway::Blocked) | SessionError::Unreachable(..))) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(name = %session.name(), error, "the join file is not used; going on as before");
            session.still_good(state, role, advertised_names).await
        }
        Err(error) => Err(error),
    }
}

/// Refuses a join file of another role.
pub(super) fn check_role(join: &JoinFile, role: Role) -> Result<(), SessionError> {
    if join.role == role { Ok(()) } else { Err(SessionError::Role { file: join.role, wanted: role }) }
}

/// Joins anew in place of an identity of which a file, `damaged`, cannot be used. What is there is set aside once the site has
/// given a new one.
///
/// # Errors
/// [`SessionError`], each with the remedy; everything is as it was then.
pub(super) async fn replace_damaged(
    damaged: &Path,
    state: &Path,
    join: &JoinFile,
    role: Role,
    advertised_names: &[String],
) -> Result<Session, SessionError> {
    check_role(join, role)?;
    tracing::warn!(file = %damaged.display(), "damaged or missing; this machine joins anew with the join file");
    let key = DeviceKey::generate()?;
    let session = Session::ask_to_join(&key, join, role, advertised_names).await?;
    for path in [Session::path(state), Session::key_path(state)] {
        if let Some(aside) = kept::set_aside(&path).map_err(|source| SessionError::unwritten(&path, source))? {
            tracing::info!(file = %aside.display(), "kept");
        }
    }
    key.save(&Session::key_path(state))?;
    session.save(state)?;
    tracing::info!(id = %session.id, "joined anew; the site still lists this machine under its old id");
    Ok(session)
}

/// A new id and a new key: whatever holds the old ones stays out. Nothing of the old identity goes before the site has
/// given the new one.
async fn join_anew(
    state: &Path,
    join: &JoinFile,
    role: Role,
    advertised_names: &[String],
) -> Result<Session, SessionError> {
    let key = DeviceKey::generate()?;
    let session = Session::ask_to_join(&key, join, role, advertised_names).await?;
    // A crash from here on leaves a machine that has not joined, never a key with another's certificate.
    let path = Session::path(state);
    fs::remove_file(&path).map_err(|source| SessionError::unwritten(&path, source))?;
    key.save(&Session::key_path(state))?;
    session.save(state)?;
    tracing::info!(name = %session.name(), "joined anew");
    Ok(session)
}
