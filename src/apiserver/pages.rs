//! Paths outside the resources: discovery, schemas, health and version.

use http::{header, request::Parts};
use serde_json::{Value, json};

use super::{
    answer::{self, Answer},
    call::{Server, not_this_method},
    discovery,
    failure::Failure,
    kinds::Kinds,
    negotiate::{self, Form},
    openapi,
    options::Query,
};

/// The Kubernetes version whose behaviour is served, as clients compare it with their own.
const MINOR: u32 = 36;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The check whether writes are taken.
const STORE: &str = "store";

/// The checks behind the health paths. What else could fail has failed at start.
const CHECKS: &[&str] = &["ping", STORE];

/// GET of a path outside the resources.
pub(super) async fn answer(server: &Server, parts: &Parts, query: &Query, page: &str) -> Result<Answer, Failure> {
    let segments: Vec<&str> = page.trim_matches('/').split('/').collect();
    let kinds = &server.kinds;
    if !matches!(parts.method.as_str(), "GET" | "HEAD") && is_for_reading(kinds, &segments) {
        return Err(not_this_method());
    }
    // documents of discovery are JSON alone, however they are asked for
    if matches!(segments[0], "api" | "apis") && segments.len() > 1 {
        negotiate::form(answer::text(&parts.headers, header::ACCEPT), &[])?;
    }
    match segments[..] {
        ["healthz" | "livez" | "readyz", ref check @ ..] => {
            // Who is alive without being able to write is not restarted for it.
            let refused = if segments[0] == "readyz" { server.store.writable().await.err() } else { None };
            Ok(health(segments[0], check, query, refused.is_some()))
        }
        ["version"] => Answer::json(200, &version()),
        ["api"] | ["apis"] => discovered(server, parts, segments[0] == "api"),
        ["api", "v1"] => found(discovery::resources(kinds, "", "v1")),
        ["apis", group] => found(discovery::group(kinds, group)),
        ["apis", group, version] => found(discovery::resources(kinds, group, version)),
        ["openapi", "v3"] => Ok(Answer::json(200, &openapi::index(kinds))?.typed(answer::TEXT)),
        ["openapi", "v3", ref rest @ ..] => match openapi::document(kinds, &rest.join("/")) {
            Some(document) => Answer::json(200, &document),
            None => Ok(Answer::Text { code: 404, body: String::new() }),
        },
        [""] => Answer::json(200, &json!({"paths": paths(server)})),
        _ => Ok(Answer::no_such_page()),
    }
}

/// Whether a page takes no other method than GET. The others, as with the real server, do not look at it.
fn is_for_reading(kinds: &Kinds, segments: &[&str]) -> bool {
    match segments {
        ["version"] | ["api", ..] => true,
        ["apis", group, version] => {
            kinds.iter().any(|kind| kind.group == *group && kind.version == *version && !kind.is_custom())
        }
        _ => false,
    }
}

fn found(document: Option<Value>) -> Result<Answer, Failure> {
    document.map_or_else(|| Ok(Answer::no_such_page()), |d| Answer::json(200, &d))
}

fn discovered(server: &Server, parts: &Parts, core: bool) -> Result<Answer, Failure> {
    let accept = answer::text(&parts.headers, header::ACCEPT);
    match negotiate::form(accept, &[Form::Discovery])? {
        Form::Discovery => Ok(Answer::json(200, &discovery::aggregated(&server.kinds, core))?.typed(AGGREGATED)),
        _ if core => {
            let here = answer::text(&parts.headers, header::HOST);
            Answer::json(
                200,
                &json!({"kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": here}]}),
            )
        }
        _ => Answer::json(200, &discovery::groups(&server.kinds)),
    }
}

fn version() -> Value {
    json!({"major": "1", "minor": MINOR.to_string(), "gitVersion": format!("v1.{MINOR}.0+waybill-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, arch())})
}

/// The processor's name as Kubernetes has it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// As the real server tells of its own checks; why one fails is in the log, and not for whoever asks.
fn health(name: &str, check: &[&str], query: &Query, refuses_writes: bool) -> Answer {
    let is_excluded = |check: &str| query.all("exclude").any(|excluded| excluded == check);
    let fails = |check: &str| refuses_writes && check == STORE && !is_excluded(check);
    match check {
        [] if query.has("verbose") || fails(STORE) => {
            let mut body = String::new();
            for check in CHECKS {
                let state = if is_excluded(check) { "excluded: ok" } else { "ok" };
                let line = if fails(check) {
                    format!("[-]{check} failed: reason withheld\n")
                } else {
                    format!("[+]{check} {state}\n")
                };
                body.push_str(&line);
            }
            match fails(STORE) {
                true => Answer::Text { code: 500, body: format!("{body}{name} check failed\n") },
                false => Answer::Text { code: 200, body: format!("{body}{name} check passed\n") },
            }
        }
        [] => Answer::Text { code: 200, body: "ok".into() },
        [one] if fails(one) => {
            Answer::Text { code: 500, body: format!("internal server error: {one} failed: reason withheld\n") }
        }
        [one] if CHECKS.contains(one) => Answer::Text { code: 200, body: "ok".into() },
        _ => Answer::no_such_page(),
    }
}

fn paths(server: &Server) -> Vec<String> {
    let mut paths: Vec<String> =
        ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(str::to_owned).to_vec();
    for (group, version) in server.kinds.group_versions() {
        match group {
            "" => paths.push(format!("/api/{version}")),
            group => paths.extend([format!("/apis/{group}"), format!("/apis/{group}/{version}")]),
        }
    }
    paths.sort();
    paths.dedup();
    paths
}
