//! One writer: beside a cluster an instance acts only while it holds the site's Lease, and with an epoch above every one before.
//! What it may is decided in [`crate::plan::tenure`]; an instance that lost its Lease ends. Embedded sites do without.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep, timeout};

use super::error::SiteError;
use crate::{
    api::FIELD_MANAGER,
    clock,
    plan::tenure::{LeaseFacts, LeaseMove, RENEWALS, lease_move},
    transport::kubernetes::in_words,
};

/// Pause after a request that failed, and between looks at somebody else's Lease.
const LOOK: Duration = Duration::from_secs(2);

/// Whether this instance may act. Clones are one.
#[derive(Clone)]
pub(super) struct Tenure(Option<Arc<Mutex<Instant>>>);

impl Tenure {
    /// Of the only process there can be.
    pub(super) const fn unlimited() -> Self {
        Self(None)
    }

    /// One that has not begun.
    fn none_yet() -> Self {
        Self(Some(Arc::new(Mutex::new(Instant::now()))))
    }

    /// Whether this instance may act at this moment. Time counts while the process is stopped.
    pub(super) fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|until| Instant::now() < *until.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lasts_until(&self, end: Instant) {
        if let Some(until) = &self.0 {
            *until.lock().unwrap_or_else(PoisonError::into_inner) = end;
        }
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenure").field(&self.holds()).finish()
    }
}

/// Lets requests of devices through while the tenure lasts. Also looked at once the work is done: what a successor may not know
/// of is not acknowledged.
pub(super) async fn guard(State(tenure): State<Tenure>, request: Request, next: Next) -> Response {
    let over =
        || (StatusCode::SERVICE_UNAVAILABLE, "this instance of the site server may not act any more").into_response();
    if !tenure.holds() {
        return over();
    }
    let answer = next.run(request).await;
    if tenure.holds() { answer } else { over() }
}

/// The site's Lease, held.
#[derive(Clone)]
pub(super) struct Holder {
    leases: Api<Lease>,
    name: String,
    me: String,
    /// How long it lasts without a renewal.
    lasts: Duration,
    tenure: Tenure,
}

impl Holder {
    /// Takes the Lease of the site, in the client's namespace; waits for another instance to be over.
    pub(super) async fn acquire(client: &Client, site: &str, lasts: Duration) -> Result<Self, SiteError> {
        let name = format!("waybill-site-{site}");
        // A copy of a volume has the same site id: only the process tells two instances apart.
        let me = uuid::Uuid::new_v4().to_string();
        let leases = Api::default_namespaced(client.clone());
        let holder = Self { leases, name, me, lasts, tenure: Tenure::none_yet() };
        let mut seen: Option<(Option<String>, Instant)> = None;
        let mut told = false;
        loop {
            let asked = Instant::now();
            let lease = outlast(|| holder.leases.get_opt(&holder.name)).await.map_err(lease_failed)?;
            let version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            if seen.as_ref().is_none_or(|(known, _)| *known != version) {
                seen = Some((version, asked));
            }
            let since = seen.as_ref().map_or(asked, |(_, since)| *since);
            let facts = lease.as_ref().map(|lease| facts(lease, asked.duration_since(since)));
            match lease_move(&holder.me, facts.as_ref()) {
                LeaseMove::Take => match holder.write(lease.as_ref(), true).await {
                    Ok(()) => {
                        holder.tenure.lasts_until(asked + holder.lasts);
                        return Ok(holder);
                    }
                    // Somebody was faster.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) if passes(&error) => sleep(LOOK).await,
                    Err(error) => return Err(lease_failed(error)),
                },
                LeaseMove::Wait(at_most) => {
                    if !told {
                        let holder = facts.and_then(|facts| facts.holder).unwrap_or_default();
                        tracing::warn!(%holder, "another instance serves this site; waiting until it ends or is silent");
                        told = true;
                    }
                    sleep(at_most.min(LOOK)).await;
                }
            }
        }
    }

    /// What depends on it.
    pub(super) fn tenure(&self) -> Tenure {
        self.tenure.clone()
    }

    /// Renews the Lease until it is lost: taken by another instance, or not renewed in time.
    pub(super) async fn keep(&self) {
        let often = self.lasts / RENEWALS;
        let mut pause = often;
        while self.tenure.holds() {
            sleep(pause).await;
            let asked = Instant::now();
            pause = match timeout(often, self.renew()).await {
                Ok(Ok(true)) => {
                    self.tenure.lasts_until(asked + self.lasts);
                    often
                }
                Ok(Ok(false)) => {
                    if !self.tenure.holds() {
                        break;
                    }
                    self.tenure.lasts_until(asked);
                    tracing::error!("another instance has taken over this site");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = in_words(&error), "the site's Lease was not renewed; trying again");
                    LOOK.min(often)
                }
                Err(_) => {
                    tracing::warn!("the API server did not answer in time; the site's Lease was not renewed");
                    LOOK.min(often)
                }
            };
        }
        tracing::error!("the site's Lease ran out");
    }

    /// Whether the Lease is still ours, and longer so. A tenure that is over is not taken up again.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let is_ours =
            lease.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref()) == Some(&self.me);
        if !is_ours || !self.tenure.holds() {
            return Ok(false);
        }
        match self.write(lease.as_ref(), true).await {
            // It changed under our hands: the next look says whose it is.
            Err(kube::Error::Api(status)) if status.code == 409 => Box::pin(self.renew()).await,
            other => other.map(|()| true),
        }
    }

    /// Gives the Lease back, so that the next instance need not wait. Called once nothing acts any more.
    pub(super) async fn give_back(&self) {
        self.tenure.lasts_until(Instant::now());
        let given = async {
            let lease = self.leases.get_opt(&self.name).await?;
            let holder = lease.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
            if holder == Some(&self.me) { self.write(lease.as_ref(), false).await } else { Ok(()) }
        };
        if !matches!(timeout(LOOK, given).await, Ok(Ok(()))) {
            tracing::warn!(
                "the site's Lease was not given back; the next instance waits {} s for it",
                self.lasts.as_secs()
            );
        }
    }

    /// Writes the Lease over the version that was read: held by us, or by nobody.
    async fn write(&self, over: Option<&Lease>, held: bool) -> Result<(), kube::Error> {
        let before = over.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let now = MicroTime(clock::now());
        let is_new = before.holder_identity.as_deref() != Some(&self.me);
        let transitions = before.lease_transitions.unwrap_or(0) + i32::from(is_new && over.is_some());
        let spec = LeaseSpec {
            holder_identity: held.then(|| self.me.clone()),
            lease_duration_seconds: i32::try_from(self.lasts.as_secs()).ok(),
            acquire_time: if is_new { Some(now.clone()) } else { before.acquire_time.clone() },
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..before
        };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match over {
            Some(lease) => {
                let lease = Lease { spec: Some(spec), ..lease.clone() };
                self.leases.replace(&self.name, &params, &lease).await.map(drop)
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                self.leases.create(&params, &Lease { metadata, spec: Some(spec) }).await.map(drop)
            }
        }
    }
}

fn facts(lease: &Lease, unchanged: Duration) -> LeaseFacts {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    LeaseFacts {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds.unwrap_or(0)),
        unchanged,
    }
}

/// Asks again until the server answers, or refuses for a reason that does not pass. What is asked may have been done before.
pub(super) async fn outlast<T, F>(ask: impl Fn() -> F + Send) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>> + Send,
{
    let mut told = false;
    loop {
        match ask().await {
            Err(error) if passes(&error) => {
                if !told {
                    tracing::warn!(
                        error = in_words(&error),
                        "the API server does not answer; asked again until it does"
                    );
                    told = true;
                }
                sleep(LOOK).await;
            }
            answered => return answered,
        }
    }
}

/// Whether the server, or the way to it, may be well again without anybody doing something about this site.
pub(super) fn passes(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

fn lease_failed(error: kube::Error) -> SiteError {
    SiteError::Lease(Box::new(error))
}
