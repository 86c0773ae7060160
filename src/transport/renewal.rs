//! Keeps a device's certificate fresh: renewed at half of its life, exchanged by the old key once it lapsed. What uses it
//! is told and swaps it while it runs.

use std::{path::Path, time::Duration};

use super::{
    answer,
    backoff::Backoff,
    client::{Listener, Timeouts},
    session::{Session, SessionError},
};
use crate::{
    clock,
    trust::identity::{Role, until},
    wire::{
        access::RENEW_PATH,
        enrol::{ENROL_ANSWER_BYTES_MAX, RenewAnswer, RenewRequest},
    },
};

/// Longest pause between two looks, so that a clock that was set, and a machine that slept, are noticed.
const LOOK: Duration = Duration::from_secs(600);
/// Time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Renews until it is dropped; `swap` puts each new session to use.
pub async fn keep(
    mut session: Session,
    state: &Path,
    role: Role,
    advertised_names: &[String],
    swap: impl Fn(&Session) -> Result<(), SessionError> + Send,
) {
    let mut backoff = Backoff::default();
    loop {
        let due = session.renewal().map(|(renew_after, _)| until(renew_after, clock::now()));
        let renewed = match due {
            Ok(pause) if pause.is_zero() => renew(&session, state, role, advertised_names).await,
            Ok(pause) => {
                backoff.reset();
                tokio::time::sleep(pause.min(LOOK)).await;
                continue;
            }
            Err(error) => Err(error),
        };
        let done = renewed.and_then(|renewed| {
            tracing::info!(id = %renewed.id, "the certificate was renewed");
            session = renewed;
            swap(&session)
        });
        if let Err(error) = done {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(%error, "the certificate was not renewed or cannot be used; trying again");
        }
        // Also when it worked: a certificate that is due at once, from a site whose clock is wrong, must not spin.
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn renew(
    session: &Session,
    state: &Path,
    role: Role,
    advertised_names: &[String],
) -> Result<Session, SessionError> {
    let now = clock::now();
    let (_, not_after) = session.renewal()?;
    if now >= not_after {
        return session.rejoin(state, role, advertised_names).await;
    }
    let csr_pem = Session::key(state)?.csr_pem()?;
    let request = RenewRequest { csr_pem, advertised_names: advertised_names.to_vec() };
    let http = session.http(state, Listener::Site, Timeouts::default())?;
    let answer = ask(&http, &session.endpoints.site_url, &request).await?;
    let renewed = Session { certificate_pem: answer.certificate_pem, endpoints: answer.endpoints, ..session.clone() };
    renewed.check_renewed(session, now)?;
    renewed.save(state)?;
    Ok(renewed)
}

async fn ask(http: &reqwest::Client, site_url: &str, request: &RenewRequest) -> Result<RenewAnswer, SessionError> {
    let sent = http.post(format!("{site_url}{RENEW_PATH}")).timeout(REQUEST_TIMEOUT).json(request).send();
    let answer = sent.await.map_err(|error| SessionError::Unreachable(site_url.to_owned(), error))?;
    if let Some(why) = answer::turned_away(&answer) {
        return Err(SessionError::TurnedAway(why));
    }
    if !answer.status().is_success() {
        return Err(SessionError::Refused(answer::refusal(answer).await));
    }
    answer::json(answer, ENROL_ANSWER_BYTES_MAX).await.map_err(SessionError::Unusable)
}
