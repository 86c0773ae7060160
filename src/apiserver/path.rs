//! From method and path to what is asked for: a resource request, or a path outside the resources.

use http::Method;

/// A request as authorization and routing see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: &'static str,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) resource: String,
    pub(super) name: String,
    pub(super) subresource: String,
    /// More path than any resource has.
    pub(super) trailing: bool,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Resource(Request),
    /// Discovery, schemas, health; decoded, without a slash at the end.
    Other(String),
}

/// Subresources of a namespace itself, which otherwise read as kinds inside it.
const OF_NAMESPACES: &[&str] = &["status", "finalize"];

/// Reads a decoded path. `watching` is the query's `watch`, `selected` the name that a field selector demands.
pub(super) fn route(method: &Method, path: &str, watching: bool, selected: Option<&str>) -> Route {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts[..] {
        ["api", version, ref rest @ ..] if !rest.is_empty() => ("", version, rest),
        ["apis", group, version, ref rest @ ..] if !rest.is_empty() => (group, version, rest),
        _ => return Route::Other(format!("/{}", path.trim_matches('/'))),
    };
    let (old_watch, rest) = match rest {
        ["watch", more @ ..] if !more.is_empty() => (true, more),
        _ => (false, rest),
    };
    let mut request = Request { group: group.into(), version: version.into(), ..Request::default() };
    let rest = match rest {
        ["namespaces", namespace, more @ ..] => {
            request.namespace = (*namespace).into();
            let inside = !more.is_empty() && !OF_NAMESPACES.contains(&more[0]);
            if inside { more } else { rest }
        }
        _ => rest,
    };
    let part = |n: usize| rest.get(n).map_or(String::new(), |s| (*s).to_owned());
    (request.resource, request.name, request.subresource) = (part(0), part(1), part(2));
    request.trailing = rest.len() > 3;
    request.verb = verb(method, request.name.is_empty(), watching || old_watch);
    if old_watch {
        request.verb = "watch";
    }
    if matches!(request.verb, "list" | "watch" | "deletecollection") && request.name.is_empty() {
        request.name = selected.unwrap_or_default().to_owned();
    }
    Route::Resource(request)
}

fn verb(method: &Method, collection: bool, watching: bool) -> &'static str {
    match (method.as_str(), collection) {
        ("POST", _) => "create",
        ("GET" | "HEAD", true) if watching => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "",
    }
}

/// Decodes `%XX`; a path that is then no UTF-8 is none of ours.
pub(super) fn decoded(path: &str) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(method: &str, path: &str) -> Request {
        match route(&Method::from_bytes(method.as_bytes()).unwrap(), path, false, None) {
            Route::Resource(r) => r,
            Route::Other(p) => panic!("{p} is no resource"),
        }
    }

    #[test]
    fn paths_are_read_as_the_real_server_reads_them() {
        let r = resource("GET", "/apis/waybill.dev/v1/namespaces/ns/packages/a/status");
        assert_eq!(
            (r.verb, &*r.namespace, &*r.resource, &*r.name, &*r.subresource),
            ("get", "ns", "packages", "a", "status")
        );
        let r = resource("DELETE", "/api/v1/namespaces/ns");
        assert_eq!((r.verb, &*r.resource, &*r.name), ("delete", "namespaces", "ns"));
        let r = resource("PUT", "/api/v1/namespaces/ns/finalize");
        assert_eq!((&*r.resource, &*r.subresource), ("namespaces", "finalize"));
        assert_eq!(resource("GET", "/api/v1/watch/namespaces/ns/events").verb, "watch");
        assert_eq!(resource("DELETE", "/api/v1/namespaces/ns/events").verb, "deletecollection");
        assert_eq!(
            route(&Method::GET, "/apis/waybill.dev/v1/", false, None),
            Route::Other("/apis/waybill.dev/v1".into())
        );
        assert_eq!(decoded("/a/%61").as_deref(), Some("/a/a"));
        assert_eq!(decoded("/%f"), None);
    }
}
