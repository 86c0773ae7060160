//! Enrolment: one route on a listener of its own, where a machine with a join file becomes a device of the site, and
//! where a device whose certificate expired comes back under its old id. Ids are given here and nowhere else.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::sync::Semaphore;

use super::{access_points, point_names};
use crate::{
    clock,
    db::{
        Database, DbError,
        devices::{self, Admission, DeviceRow},
        tokens::{self, Consumed},
    },
    transport::peer::turned_away,
    trust::{
        ca::{CertificateAuthority, Grant},
        identity::Role,
        keys::TrustedKeys,
        names::ServerNames,
    },
    wire::{
        enrol::{
            ENROL_PATH, ENROL_REQUEST_BYTES_MAX, Endpoints, EnrolAnswer, EnrolRequest, HOSTNAME_BYTES_MAX, RenewAnswer,
            RenewRequest,
        },
        turned_away::TurnedAway,
    },
};

/// Enrolments at the same time at most: each costs signatures and a durable write.
const ENROLMENTS_MAX: usize = 8;
/// Pause after a refused secret, so that guessing is slow whatever the number of connections.
const REFUSAL_PAUSE: Duration = Duration::from_millis(500);
/// A name of a distribution point or access point is a Kubernetes name.
const NAME_CHARS_MAX: usize = 50;

/// Admits devices.
#[derive(Clone)]
pub(super) struct Enrolment {
    /// The site database.
    pub database: Database,
    /// Signs device certificates.
    pub authority: Arc<CertificateAuthority>,
    /// The site's id.
    pub site_id: String,
    /// Its name, which its built-in points have too.
    pub site_name: String,
    /// The policy epoch.
    pub epoch: u64,
    /// Keys that devices trust.
    pub signing_keys: TrustedKeys,
    /// Where devices go next.
    pub endpoints: Endpoints,
    /// Life of the certificates it gives.
    pub lifetime: Duration,
    /// Bounds the work.
    pub permits: Arc<Semaphore>,
}

/// Why a machine was not admitted; what it is told.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("this device is turned away: {0}")]
    TurnedAway(TurnedAway),
    #[error("the site cannot admit anybody now; try again later")]
    Unavailable,
}

impl From<DbError> for Refused {
    fn from(error: DbError) -> Self {
        tracing::error!(%error, "enrolment failed");
        Self::Unavailable
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = match self {
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TurnedAway(why) => return turned_away(why),
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, self.to_string()).into_response()
    }
}

impl Enrolment {
    /// How many machines may be admitted at the same time.
    #[must_use]
    pub(super) fn permits() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(ENROLMENTS_MAX))
    }

    /// The one route.
    pub(super) fn router(self) -> Router {
        Router::new()
            .route(ENROL_PATH, post(enrol).layer(DefaultBodyLimit::max(ENROL_REQUEST_BYTES_MAX)))
            .with_state(self)
    }

    async fn enrol(&self, request: EnrolRequest) -> Result<EnrolAnswer, Refused> {
        let hostname = request.hostname.clone();
        if hostname.is_empty() || hostname.len() > HOSTNAME_BYTES_MAX || hostname.contains(char::is_control) {
            return Err(Refused::Invalid("the host name is empty, too long or not printable".into()));
        }
        let old = request
            .proven_identity(self.authority.certificate_der())
            .map_err(|error| Refused::Forbidden(error.to_string()))?;
        let names = names(request.role, &request.advertised_names)?;
        if let Some(old) = old {
            return self.rejoin(&old.id, &request, &names).await;
        }
        self.admit(&request, &names).await
    }

    /// Takes one use of the token and admits the device in one transaction: a failed join costs no use.
    async fn admit(&self, request: &EnrolRequest, names: &ServerNames) -> Result<EnrolAnswer, Refused> {
        let (hash, role, now_ms) = (request.secret.stored_hash(), request.role, clock::now_unix_ms());
        let known = self.database.read(move |connection| tokens::get(connection, &hash)).await?;
        let name = known.and_then(|token| token.name).unwrap_or_else(|| name_from(&request.hostname));
        let id = match role {
            Role::Client => format!("c-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]),
            Role::Dp | Role::Cap => point_names::id_of(role, &name),
        };
        if let Some(why) = point_names::builtin(&self.site_name, role, &name) {
            return Err(Refused::Forbidden(format!("{why} with `waybill token create --name`")));
        }
        let (certificate, not_after_ms) = self.issue(role, &id, &request.csr_pem, names)?;
        let called = (role != Role::Client).then(|| name.clone());
        let row = DeviceRow {
            name: if role == Role::Client { id.clone() } else { name },
            id: id.clone(),
            role,
            hostname: request.hostname.clone(),
            labels: std::collections::BTreeMap::new(),
            blocked: false,
            certificate: certificate.clone(),
            not_after_ms,
            joined_at_ms: now_ms,
            last_seen_ms: now_ms,
            agent_version: String::new(),
        };
        let consumed = self
            .database
            .write(move |tx| {
                let consumed = tokens::consume(tx, &hash, role, now_ms)?;
                if let Consumed::Accepted(token) = &consumed {
                    devices::join(tx, &DeviceRow { labels: token.labels.clone(), ..row })?;
                }
                Ok(consumed)
            })
            .await
            .map_err(|error| match error {
                DbError::Conflict(text) => Refused::Forbidden(format!("{text}; create a join file with another name")),
                other => other.into(),
            })?;
        let text = match consumed {
            Consumed::Accepted(_) => return self.answer(id, called, certificate).await,
            Consumed::WrongRole(role) => format!("this join file is for a {role}; create one for this role"),
            Consumed::Expired => "this join file has expired; create another".to_owned(),
            Consumed::UsedUp => "this join file was used up; create another".to_owned(),
            Consumed::Unknown => "this join file is not known here; create another".to_owned(),
        };
        Err(Refused::Forbidden(text))
    }

    async fn rejoin(&self, id: &str, request: &EnrolRequest, names: &ServerNames) -> Result<EnrolAnswer, Refused> {
        let wanted = id.to_owned();
        let called = match self.database.read(move |connection| devices::admission(connection, &wanted)).await? {
            Admission::Admitted(row) if row.role == request.role => (row.role != Role::Client).then_some(row.name),
            Admission::Blocked(_) => return Err(Refused::TurnedAway(TurnedAway::Blocked)),
            _ => return Err(Refused::TurnedAway(TurnedAway::Deleted)),
        };
        let (certificate, not_after_ms) = self.issue(request.role, id, &request.csr_pem, names)?;
        let (wanted, pem, now_ms) = (id.to_owned(), certificate.clone(), clock::now_unix_ms());
        self.database.write(move |tx| devices::rejoin(tx, &wanted, &pem, not_after_ms, now_ms)).await?;
        self.answer(id.to_owned(), called, certificate).await
    }

    /// Renews the certificate of a device that is connected with it.
    ///
    /// # Errors
    /// The HTTP answer that says why not.
    pub(super) async fn renew(&self, role: Role, id: &str, request: &RenewRequest) -> Result<RenewAnswer, Response> {
        let renewed = async {
            let names = names(role, &request.advertised_names)?;
            let (certificate, not_after_ms) = self.issue(role, id, &request.csr_pem, &names)?;
            let (wanted, pem) = (id.to_owned(), certificate.clone());
            self.database.write(move |tx| devices::renew(tx, &wanted, &pem, not_after_ms)).await?;
            Ok::<_, Refused>(RenewAnswer { certificate_pem: certificate, endpoints: self.endpoints().await? })
        };
        renewed.await.map_err(IntoResponse::into_response)
    }

    fn issue(&self, role: Role, id: &str, csr_pem: &str, names: &ServerNames) -> Result<(String, i64), Refused> {
        let grant = Grant { site_id: &self.site_id, role, id, names, lifetime: self.lifetime };
        let issued = self
            .authority
            .issue_identity(csr_pem, &grant, clock::now())
            .map_err(|error| Refused::Invalid(error.to_string()))?;
        Ok((issued.chain_pem, issued.not_after.as_millisecond()))
    }

    async fn answer(&self, id: String, name: Option<String>, certificate_pem: String) -> Result<EnrolAnswer, Refused> {
        Ok(EnrolAnswer {
            id,
            name,
            certificate_pem,
            ca_pem: self.authority.certificate_pem().to_owned(),
            site_id: self.site_id.clone(),
            signing_keys: self.signing_keys.clone(),
            endpoints: self.endpoints().await?,
            epoch: self.epoch,
        })
    }

    /// The addresses as they are now, with all access points.
    async fn endpoints(&self) -> Result<Endpoints, DbError> {
        let cap_urls = access_points::urls(&self.database, &self.endpoints.site_url).await?;
        Ok(Endpoints { cap_urls, ..self.endpoints.clone() })
    }
}

fn names(role: Role, advertised: &[String]) -> Result<ServerNames, Refused> {
    let advertised = if role.serves_clients() { advertised } else { &[] };
    ServerNames::parse(advertised).map_err(|error| Refused::Invalid(error.to_string()))
}

/// A Kubernetes name made from a host name: its first label, in lower case, anything odd replaced.
fn name_from(hostname: &str) -> String {
    let label = hostname.split('.').next().unwrap_or_default().to_lowercase();
    let plain: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(NAME_CHARS_MAX).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "point".to_owned() } else { plain.to_owned() }
}

async fn enrol(State(enrolment): State<Enrolment>, body: Bytes) -> Response {
    let Ok(_permit) = enrolment.permits.try_acquire() else { return Refused::Unavailable.into_response() };
    let request: EnrolRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return Refused::Invalid(format!("the request cannot be read: {error}")).into_response(),
    };
    match enrolment.enrol(request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => {
            if matches!(refused, Refused::Forbidden(_) | Refused::TurnedAway(_)) {
                tokio::time::sleep(REFUSAL_PAUSE).await;
            }
            refused.into_response()
        }
    }
}
