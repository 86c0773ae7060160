//! Keeps the certificate of a distribution point or access point fresh: renewed at half of its life, exchanged by the old
//! key once it lapsed. What uses it is told and swaps it while it runs.

use std::{path::Path, time::Duration};

use super::{
    client::{Listener, Timeouts},
    session::{Session, SessionError},
};
use crate::{
    clock,
    trust::identity::Role,
    wire::{
        access::RENEW_PATH,
        enrol::{RenewAnswer, RenewRequest},
    },
};

/// Longest pause between two looks, so that a clock that was set is noticed.
const LOOK: Duration = Duration::from_secs(3600);
/// Pause after a renewal that failed, doubled up to [`LOOK`]; half a life is long.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// Time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Renews until it is dropped; `swap` puts each new session to use.
pub async fn keep(
    mut session: Session,
    state: &Path,
    role: Role,
    advertised_names: &[String],
    swap: impl Fn(&Session) -> Result<(), SessionError>,
) {
    let mut retry = RETRY_FIRST;
    loop {
        let pause = match renew_if_due(&session, state, role, advertised_names).await {
            Ok((renewed, pause)) => {
                retry = RETRY_FIRST;
                if let Some(renewed) = renewed {
                    if let Err(error) = swap(&renewed) {
                        tracing::error!(%error, "the renewed certificate cannot be used");
                    }
                    session = renewed;
                }
                pause.min(LOOK)
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate was not renewed; trying again");
                retry = (retry * 2).min(LOOK);
                retry
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The renewed session if it was time, and how long it is until it is time again.
async fn renew_if_due(
    session: &Session,
    state: &Path,
    role: Role,
    advertised_names: &[String],
) -> Result<(Option<Session>, Duration), SessionError> {
    let (renew_after, not_after) = session.renewal()?;
    let now = clock::now();
    if now < renew_after {
        // Not before: a timer that is early by a millisecond must not spin.
        let pause = Duration::try_from(renew_after.duration_since(now)).unwrap_or_default();
        return Ok((None, pause + Duration::from_millis(10)));
    }
    let renewed = if now >= not_after {
        session.rejoin(state, role, advertised_names).await?
    } else {
        let csr_pem = Session::key(state)?.csr_pem()?;
        let request = RenewRequest { csr_pem, advertised_names: advertised_names.to_vec() };
        let http = session.http(state, Listener::Site, Timeouts::default())?;
        let answer = ask(&http, &session.endpoints.site_url, &request).await?;
        let renewed =
            Session { certificate_pem: answer.certificate_pem, endpoints: answer.endpoints, ..session.clone() };
        renewed.check_renewed(session, now)?;
        renewed.save(state)?;
        renewed
    };
    let (next, _) = renewed.renewal()?;
    tracing::info!(%next, "the certificate was renewed");
    let pause = Duration::try_from(next.duration_since(now)).unwrap_or_default();
    Ok((Some(renewed), pause))
}

async fn ask(http: &reqwest::Client, site_url: &str, request: &RenewRequest) -> Result<RenewAnswer, SessionError> {
    let unreachable = |error| SessionError::Unreachable(site_url.to_owned(), error);
    let sent = http.post(format!("{site_url}{RENEW_PATH}")).timeout(REQUEST_TIMEOUT).json(request).send();
    let answer = sent.await.map_err(unreachable)?;
    if !answer.status().is_success() {
        return Err(SessionError::Refused(answer.text().await.unwrap_or_default().trim().to_owned()));
    }
    answer.json().await.map_err(unreachable)
}
