//! Who sent a request, as handlers see it, and the guard that lets only certain roles to a route.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;

use crate::trust::identity::{PeerIdentity, Role, UserIdentity};
use crate::wire::turned_away::{TURNED_AWAY_HEADER, TurnedAway};

/// The sender of a request. An extension of every request, and an extractor of handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is, as its certificate says.
    pub identity: Identity,
    /// Where it called from; not an identity.
    pub addr: SocketAddr,
}

/// What a caller's certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A client, DP or CAP of the site.
    Device(PeerIdentity),
    /// A user of the Kubernetes API.
    User(UserIdentity),
    /// Nobody in particular: the caller showed no certificate, or was not asked for one.
    Anonymous,
}

impl Identity {
    /// Whether the caller's certificate has expired, which ends its connection.
    pub(super) fn expired(&self, now: Timestamp) -> bool {
        match self {
            Self::Device(device) => device.expired(now),
            Self::User(user) => user.expired(now),
            Self::Anonymous => false,
        }
    }

    /// The device, if it is one.
    pub(super) fn device(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Device(device) => Some(device),
            Self::User(_) | Self::Anonymous => None,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| forbidden("this listener does not say who calls"))
    }
}

/// Gives the device to handlers behind [`require_role`]; 403 for anybody else.
impl<S: Sync> FromRequestParts<S> for PeerIdentity {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let device = parts.extensions.get::<Peer>().and_then(|peer| peer.identity.device());
        device.cloned().ok_or_else(|| forbidden("this route is for devices with a certificate"))
    }
}

/// Lets only devices of these roles to the routes of `routes`; 403 for everybody else.
pub fn require_role<S: Clone + Send + Sync + 'static>(roles: &'static [Role], routes: Router<S>) -> Router<S> {
    routes.route_layer(from_fn_with_state(roles, check_role))
}

async fn check_role(
    State(roles): State<&'static [Role]>,
    request: Request,
    next: Next,
) -> Result<Response, Infallible> {
    let device = request.extensions().get::<Peer>().and_then(|peer| peer.identity.device());
    Ok(match device {
        Some(device) if roles.contains(&device.role) => next.run(request).await,
        Some(device) => forbidden(&format!("this route is not for role {}", device.role)),
        None => forbidden("this route is for devices with a certificate"),
    })
}

/// Refuses a device for what it is, and says so in a way that it can tell from any other refusal.
pub fn turned_away(why: TurnedAway) -> Response {
    (StatusCode::FORBIDDEN, [(TURNED_AWAY_HEADER, why.as_str())], format!("this device is turned away: {why}\n"))
        .into_response()
}

pub(super) fn forbidden(why: &str) -> Response {
    (StatusCode::FORBIDDEN, format!("{why}\n")).into_response()
}
