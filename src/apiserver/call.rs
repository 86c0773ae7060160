//! What one request carries on its way to a verb, and what all requests share. Routing is `server`, the verbs have files of
//! their own.

use std::sync::Arc;

use http::{header, request::Parts};

use super::{
    access::{Authority, User},
    answer,
    failure::Failure,
    fleet::Fleet,
    front_proxy::Believed,
    kinds::{Kind, Kinds},
    negotiate::Form,
    options::Query,
    path::Request,
    store::Store,
};

/// Everything that requests share.
pub(super) struct Server {
    pub(super) store: Arc<Store>,
    pub(super) kinds: Kinds,
    pub(super) authority: Authority,
    pub(super) fleet: Option<Fleet>,
    /// Where callers are handed on by a cluster's API server, and come no other way: whom to believe.
    pub(super) front_proxy: Option<Believed>,
}

/// One resource request on its way.
pub(super) struct Call<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) kind: &'a Arc<Kind>,
    pub(super) user: &'a User,
    pub(super) request: Request,
    pub(super) query: &'a Query,
    pub(super) parts: &'a Parts,
    pub(super) form: Form,
}

impl Call<'_> {
    pub(super) fn content_type(&self) -> &str {
        answer::text(&self.parts.headers, header::CONTENT_TYPE)
    }

    /// `group/version`, as the path has it.
    pub(super) fn group_version(&self) -> &str {
        let path = self.parts.uri.path().trim_matches('/');
        let start = "apis/".len();
        let end = path.match_indices('/').nth(2).map_or(path.len(), |(at, _)| at);
        path.get(start..end).unwrap_or_default()
    }

    pub(super) fn user_agent(&self) -> &str {
        answer::text(&self.parts.headers, header::USER_AGENT)
    }

    /// 404 of the object that the path names.
    pub(super) fn not_found(&self) -> Failure {
        Failure::not_found(&self.kind.group, &self.kind.plural, &self.request.name)
    }
}

/// 405 as the paths of built-in kinds give it.
pub(super) fn not_this_method() -> Failure {
    Failure::plain(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        .with_causes(vec![])
}
