//! Callers of a server that stands beside a cluster: who they are and what they may do is asked of the cluster's API server,
//! by TokenReview and SubjectAccessReview. Its answers are believed for a moment; nothing is decided here.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

use super::{
    access::{Action, User},
    failure::Failure,
};
use crate::{content::digest::Digest, transport::kubernetes::in_words};

/// Whom a token must be meant for: one that was made for the API server itself, or for another service, is not taken.
pub const AUDIENCE: &str = "waybill";
/// How long an answer is believed; as long as the API server's own services do.
const BELIEVED: Duration = Duration::from_secs(10);
/// Answers remembered at most; then all are asked anew.
const ANSWERS_MAX: usize = 4_096;
/// Longest wait for an answer.
const ASKED_MAX: Duration = Duration::from_secs(10);

/// Asks a cluster's API server about callers.
pub(super) struct Delegated {
    client: Client,
    users: Answers<Digest, Option<User>>,
    permissions: Answers<Question, bool>,
}

/// Whether this user may do this.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    user: User,
    /// Verb, group, resource, subresource, namespace and name; or verb and path.
    what: Vec<String>,
}

impl Delegated {
    pub(super) fn new(client: Client) -> Self {
        Self { client, users: Answers::default(), permissions: Answers::default() }
    }

    /// The caller by the bearer token in the headers; `None` if there is none.
    pub(super) async fn user(&self, headers: &HeaderMap) -> Result<Option<User>, Failure> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let Some(token) = value.to_str().ok().and_then(bearer) else { return Err(Failure::unauthorized()) };
        let key = Digest::of(token.as_bytes());
        let known = match self.users.get(&key) {
            Some(known) => known,
            None => {
                let user = self.review(token).await?;
                self.users.put(key, user.clone());
                user
            }
        };
        known.map(Some).ok_or_else(Failure::unauthorized)
    }

    async fn review(&self, token: &str) -> Result<Option<User>, Failure> {
        let audiences = Some(vec![AUDIENCE.to_owned()]);
        let spec = TokenReviewSpec { token: token.to_owned(), audiences };
        let asked = self.ask(&TokenReview { spec, ..TokenReview::default() }).await?;
        let Some(status) = asked.status.filter(|status| status.authenticated == Some(true)) else { return Ok(None) };
        // A server that does not know of audiences names none.
        let is_for_us = status.audiences.iter().flatten().any(|one| one == AUDIENCE);
        Ok(status.user.filter(|_| is_for_us).map(user))
    }

    /// Whether the user may do this to a resource.
    pub(super) async fn allows(&self, user: &User, action: Action<'_>) -> Result<bool, Failure> {
        let Action { verb, group, resource, subresource, namespace, name } = action;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let attributes = ResourceAttributes {
            verb: text(verb),
            group: text(group),
            resource: text(resource),
            subresource: text(subresource),
            namespace: text(namespace),
            name: text(name),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec { resource_attributes: Some(attributes), ..subject(user) };
        self.permitted(user, &[verb, group, resource, subresource, namespace, name], spec).await
    }

    /// Whether the user may use this path outside the resources.
    pub(super) async fn allows_path(&self, user: &User, verb: &str, path: &str) -> Result<bool, Failure> {
        let attributes = NonResourceAttributes { verb: Some(verb.to_owned()), path: Some(path.to_owned()) };
        let spec = SubjectAccessReviewSpec { non_resource_attributes: Some(attributes), ..subject(user) };
        self.permitted(user, &[verb, path], spec).await
    }

    async fn permitted(&self, user: &User, what: &[&str], spec: SubjectAccessReviewSpec) -> Result<bool, Failure> {
        let what = what.iter().map(|word| (*word).to_owned()).collect();
        let question = Question { user: user.clone(), what };
        if let Some(known) = self.permissions.get(&question) {
            return Ok(known);
        }
        let asked = self.ask(&SubjectAccessReview { spec, ..SubjectAccessReview::default() }).await?;
        let allowed = asked.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        self.permissions.put(question, allowed);
        Ok(allowed)
    }

    async fn ask<K>(&self, review: &K) -> Result<K, Failure>
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope>
            + k8s_openapi::Resource
            + serde::Serialize
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let params = PostParams::default();
        let asked = tokio::time::timeout(ASKED_MAX, api.create(&params, review)).await;
        let unasked = |why: String| {
            tracing::warn!(%why, review = K::KIND, "the API server could not be asked about a caller");
            Failure::plain(
                503,
                "ServiceUnavailable",
                "the cluster's API server cannot be asked who you are and what you may do; try again",
            )
        };
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unasked(in_words(&error))),
            Err(_) => Err(unasked(format!("no answer in {} s", ASKED_MAX.as_secs()))),
        }
    }
}

/// The token of an Authorization header; the scheme's name is written as anybody likes.
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn user(info: UserInfo) -> User {
    User {
        name: info.username.unwrap_or_default(),
        groups: info.groups.unwrap_or_default(),
        credential: String::new(),
        uid: info.uid.unwrap_or_default(),
        extra: info.extra.unwrap_or_default(),
    }
}

fn subject(user: &User) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        groups: Some(user.groups.clone()),
        uid: (!user.uid.is_empty()).then(|| user.uid.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
        ..SubjectAccessReviewSpec::default()
    }
}

/// Answers of the last moment.
struct Answers<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(since, _)| since.elapsed() < BELIEVED).map(|(_, answer)| answer.clone())
    }

    fn put(&self, key: K, answer: V) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ANSWERS_MAX {
            known.retain(|_, (since, _)| since.elapsed() < BELIEVED);
        }
        if known.len() >= ANSWERS_MAX {
            known.clear();
        }
        known.insert(key, (Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_from_a_bearer_header_and_from_no_other() {
        assert_eq!((bearer("Bearer abc"), bearer("bearer  abc ")), (Some("abc"), Some("abc")));
        for other in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(other), None, "{other}");
        }
    }

    #[test]
    fn no_more_answers_are_kept_than_that() {
        let answers = Answers::default();
        for question in 0..=ANSWERS_MAX {
            answers.put(question, question);
        }
        assert!(answers.0.lock().unwrap().len() <= ANSWERS_MAX);
        assert_eq!(answers.get(&ANSWERS_MAX), Some(ANSWERS_MAX), "the newest is there");
    }
}
