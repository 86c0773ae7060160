//! The heart: one request in, one answer out. Authenticates, routes, authorizes, and hands on to the verbs.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Response, header, request::Parts};

use super::{
    access::{Action, Authority, User, is_public},
    answer::{self, Answer, Style},
    body,
    call::{Call, Server, not_this_method},
    delegated::bearer,
    delete,
    failure::Failure,
    impersonation,
    kinds::{Kind, Nature},
    negotiate::{self, Form},
    options::Query,
    pages,
    path::{self, Request, Route},
    read, review,
    selector::FieldSelector,
    watch, write,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Server {
    /// Answers one request of `user`; `None` is a caller without a certificate.
    pub(super) async fn handle<B>(self: &Arc<Server>, user: Option<User>, request: http::Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let query = Query::new(parts.uri.query().unwrap_or_default());
        let style = Style::of(&parts, &query);
        match self.answer(user, &parts, &query, body).await {
            Ok(answer) => answer.into_response(style),
            Err(failure) => answer::refusal(&failure, style),
        }
    }

    async fn answer<B>(
        self: &Arc<Server>,
        user: Option<User>,
        parts: &Parts,
        query: &Query,
        body: B,
    ) -> Result<Answer, Failure>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Some(decoded) = path::decoded(parts.uri.path()) else { return Ok(Answer::no_such_page()) };
        let watching = query.flag("watch");
        let selected = FieldSelector::parse(query.get("fieldSelector"), &["metadata.name"]).ok();
        let name = selected.as_ref().and_then(FieldSelector::name);
        let route = path::route(&parts.method, &decoded, watching, name);
        let user = match (&self.authority, user) {
            (Authority::Own(_), Some(user)) => impersonation::spoken_for(user, &parts.headers)?,
            // a token that is nobody's: only certificates are known here
            (Authority::Own(_), None) if bearer(answer::text(&parts.headers, header::AUTHORIZATION)).is_some() => {
                return Err(Failure::unauthorized());
            }
            (Authority::Own(_), None) => User::anonymous(),
            (Authority::Cluster(cluster), shown) => match &self.front_proxy {
                Some(proxy) => {
                    let proxy = proxy.borrow().clone();
                    let user = shown.and_then(|shown| proxy.handed_on(&shown, &parts.headers));
                    user.ok_or_else(Failure::unauthorized)?
                }
                None => {
                    let user = cluster.user(&parts.headers).await?.unwrap_or_else(User::anonymous);
                    impersonation::speaks_for_itself(user, &parts.headers)?
                }
            },
        };
        match route {
            Route::Other(page) => {
                let verb = parts.method.as_str().to_lowercase();
                let open = verb == "get" && is_public(&page);
                if !open && !self.authority.allows_path(&user, &verb, &page).await? {
                    let why = format!("User {:?} cannot {verb} path {page:?}", user.name);
                    return Err(Failure::plain(403, "Forbidden", format!("forbidden: {why}")).with_causes(vec![]));
                }
                pages::answer(self, parts, query, &page).await
            }
            Route::Resource(request) => self.resource(&user, request, parts, query, body).await,
        }
    }

    async fn resource<B>(
        self: &Arc<Server>,
        user: &User,
        request: Request,
        parts: &Parts,
        query: &Query,
        body: B,
    ) -> Result<Answer, Failure>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if !self.authority.allows(user, action(&request)).await? {
            return Err(forbidden(user, &request));
        }
        let Some(kind) = self.kinds.find(&request.group, &request.version, &request.resource) else {
            return Ok(Answer::no_such_page());
        };
        if let Some(why) = unspeakable(&request.name) {
            return Err(Failure::bad_request(format!("Name parameter invalid: {:?}: {why}", request.name)));
        }
        if !place_exists(kind, &request) {
            let unknown_part = kind.is_custom() && !request.subresource.is_empty();
            let built_in_part = !kind.is_custom() && !request.subresource.is_empty() && !request.trailing;
            return match unknown_part {
                true => Err(Failure::not_found(&kind.group, &kind.plural, &request.name)),
                false if built_in_part => Err(Failure::no_such_resource()),
                false => Ok(Answer::no_such_page()),
            };
        }
        if let Some(refused) = verb_fault(kind, &request) {
            return Err(refused);
        }
        let accept = answer::text(&parts.headers, header::ACCEPT);
        let form = negotiate::form(accept, forms(&request))?;
        let call = Call { server: self, kind, user, request, query, parts, form };
        if let Nature::Fleet(index) = kind.nature {
            return super::fleet::answer(&call, index, body::collect(body).await?).await;
        }
        match call.request.verb {
            "get" => read::get(&call).await,
            "list" => read::list(&call).await,
            "watch" => watch::open(&call),
            "create" if kind.nature == Nature::Review => review::answer(&call, &body::collect(body).await?),
            "create" => write::create(&call, &body::collect(body).await?).await,
            "update" => write::replace(&call, &body::collect(body).await?).await,
            "patch" => write::patch(&call, &body::collect(body).await?).await,
            "delete" => delete::one(&call, &body::collect(body).await?).await,
            _ => delete::collection(&call, &body::collect(body).await?).await,
        }
    }
}

/// Why a name cannot be part of any path.
fn unspeakable(name: &str) -> Option<&'static str> {
    match name {
        "." => Some("may not be '.'"),
        ".." => Some("may not be '..'"),
        name if name.contains('%') => Some("may not contain '%'"),
        _ => None,
    }
}

/// The forms in which a verb's answer can be had.
fn forms(request: &Request) -> &'static [Form] {
    match request.verb {
        "list" | "watch" | "deletecollection" => &[Form::Table, Form::Metadata, Form::MetadataList],
        _ => &[Form::Table, Form::Metadata],
    }
}

/// Whether the path exists for the kind: its scope, and the subresources it has.
fn place_exists(kind: &Kind, request: &Request) -> bool {
    let everywhere = matches!(request.verb, "list" | "watch") && request.subresource.is_empty();
    let placed = if kind.namespaced { !request.namespace.is_empty() || everywhere } else { of_cluster(kind, request) };
    let subresource = match request.subresource.as_str() {
        "" => true,
        "status" => kind.status_subresource,
        "finalize" => kind.nature == Nature::Namespace,
        _ => false,
    };
    placed && subresource && !request.trailing
}

/// `namespaces/x` reads as a namespace of itself; other cluster-scoped kinds lie in none.
fn of_cluster(kind: &Kind, request: &Request) -> bool {
    kind.nature == Nature::Namespace || request.namespace.is_empty()
}

fn verb_fault(kind: &Kind, request: &Request) -> Option<Failure> {
    let unsupported = || Failure::method_not_allowed(&kind.group, &kind.plural, request.verb);
    let on_subresource = matches!(request.verb, "get" | "update" | "patch");
    if !kind.verbs.contains(&request.verb) || (!request.subresource.is_empty() && !on_subresource) {
        return Some(if kind.is_custom() { unsupported() } else { not_this_method() });
    }
    let unnamed = request.name.is_empty() && matches!(request.verb, "update" | "patch");
    unnamed.then(|| Failure::bad_request("name must be provided"))
}

fn action(request: &Request) -> Action<'_> {
    Action {
        verb: request.verb,
        group: &request.group,
        resource: &request.resource,
        subresource: &request.subresource,
        namespace: &request.namespace,
        name: &request.name,
    }
}

fn forbidden(user: &User, r: &Request) -> Failure {
    let resource =
        if r.subresource.is_empty() { r.resource.clone() } else { format!("{}/{}", r.resource, r.subresource) };
    let place = match r.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let why =
        format!("User {:?} cannot {} resource {resource:?} in API group {:?} {place}", user.name, r.verb, r.group);
    Failure::forbidden(&r.group, &r.resource, &r.name, &why)
}
