//! One group of requests on one server: fills in variables, sends, and digests what comes back into what is compared.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    normal::{Normal, sort_resources},
    planted::Planted,
    script::Request,
    wire::{Endpoint, Line, Received, Sent},
};

/// A request that is not answered by then fails the test.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a watch is read if the request does not say.
const WATCH_SECONDS: u64 = 4;
/// So much of a text that is no JSON is compared.
const TEXT_MAX: usize = 2000;

static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{([^}]*)\}").unwrap());

/// An answer as it is compared: `code`, `reason`, `message`, `details`, `type`, `warnings`, `object`, `managedFields`, `events`.
pub(super) type Answer = Map<String, Value>;

/// A server playing one group.
pub(super) struct Player {
    line: Line,
    normal: Normal,
    known: BTreeMap<String, String>,
    planted: Option<Planted>,
}

impl Player {
    /// `namespace` is the group's own on this server.
    pub(super) fn new(endpoint: Endpoint, namespace: &str, planted: Option<Planted>) -> Player {
        let group = "/apis/content.example.dev/v1";
        let waybill = format!("/apis/{}/{}", waybill::api::GROUP, waybill::api::VERSION);
        let now = waybill::clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let known = [
            ("ns", namespace.to_owned()),
            ("now", now),
            ("group", group.to_owned()),
            ("programs", format!("{group}/namespaces/{namespace}/programs")),
            ("packages", format!("{group}/namespaces/{namespace}/packages")),
            ("core", format!("/api/v1/namespaces/{namespace}")),
            ("waybill", waybill.clone()),
            ("ours", format!("{waybill}/namespaces/{namespace}")),
        ];
        let known = known.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Player { line: Line::new(endpoint), normal: Normal::default(), known, planted }
    }

    /// Creates the namespace of the group.
    pub(super) async fn prepare(&mut self) {
        let name = self.known["ns"].clone();
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string();
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        let sent = Sent {
            method: "POST".into(),
            target: "/api/v1/namespaces".into(),
            headers,
            body: Some(body.into_bytes().into()),
        };
        let answer = self.line.call(&sent).await;
        assert_eq!(answer.code, 201, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// The answers to a request, and to those sent while its watch was open, each with its id.
    pub(super) async fn play(&mut self, request: &Request) -> Vec<(String, Answer)> {
        let played = timeout(ANSWER_LIMIT, async {
            if request.watch { self.watch(request).await } else { vec![(request.id.clone(), self.one(request).await)] }
        });
        played
            .await
            .unwrap_or_else(|_| panic!("{}: no answer to {} {}", self.known["ns"], request.method, request.path))
    }

    async fn one(&mut self, request: &Request) -> Answer {
        let mut received = self.line.call(&self.sent(request)).await;
        if let Some(planted) = self.planted {
            planted.spoil(&mut received);
        }
        self.digest(request, &received)
    }

    async fn watch(&mut self, request: &Request) -> Vec<(String, Answer)> {
        let answer = self.line.endpoint().open(&self.sent(request)).await;
        let (parts, mut body) = answer.into_parts();
        let mut inner = Vec::new();
        for nested in &request.during {
            inner.extend(Box::pin(self.play(nested)).await);
        }
        let end = Instant::now() + Duration::from_secs(request.seconds.unwrap_or(WATCH_SECONDS));
        let (mut bytes, mut ended) = (Vec::new(), false);
        let wanted = request.events.unwrap_or(usize::MAX);
        while !ended && bytes.iter().filter(|byte| **byte == b'\n').count() < wanted {
            match timeout_at(end, body.frame()).await {
                Ok(Some(frame)) => bytes.extend(frame.unwrap().into_data().unwrap_or_default()),
                Ok(None) => ended = true,
                Err(_) => break,
            }
        }
        let code = parts.status.as_u16();
        let mut received = Received { code, headers: parts.headers, body: bytes };
        if let Some(planted) = self.planted {
            planted.spoil(&mut received);
        }
        let answer = match code {
            200 => self.stream(&received, wanted, ended),
            _ => self.digest(request, &received),
        };
        inner.insert(0, (request.id.clone(), answer));
        inner
    }

    fn stream(&self, received: &Received, wanted: usize, ended: bool) -> Answer {
        let text = String::from_utf8_lossy(&received.body);
        // inside a stream versions are compared with each other only
        let mut fresh = Normal::default();
        let lines = text.lines().filter(|line| !line.trim().is_empty()).take(wanted);
        let mut events: Vec<Value> =
            lines.map(|line| fresh.value(&serde_json::from_str(line).unwrap_or_else(|_| line.into()))).collect();
        if !ended && events.len() < wanted {
            events.push(json!({"type": "the stream did not end"}));
        }
        let fields = [("code", json!(received.code)), ("type", kind(&received.headers)), ("events", events.into())];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn digest(&mut self, request: &Request, received: &Received) -> Answer {
        let mut answer = Answer::new();
        answer.insert("code".into(), received.code.into());
        answer.insert("type".into(), kind(&received.headers));
        let warnings = received.headers.get_all("warning").iter();
        let warnings: Vec<Value> =
            warnings.map(|warning| self.normal.text(&String::from_utf8_lossy(warning.as_bytes())).into()).collect();
        answer.insert("warnings".into(), warnings.into());
        let Ok(mut object) = serde_json::from_slice::<Value>(&received.body) else {
            // a text has no pointers to keep
            let text = if request.keep.is_empty() { String::from_utf8_lossy(&received.body) } else { "".into() };
            let text = self.normal.text(&text).chars().take(TEXT_MAX).collect::<String>();
            answer.insert("object".into(), text.into());
            return answer;
        };
        sort_resources(&mut object);
        for (name, pointer) in &request.capture {
            if let Some(text) = look(&object, pointer).as_str() {
                self.known.insert(name.clone(), text.to_owned());
            }
        }
        let failed = object["kind"] == "Status" && object["status"] == "Failure";
        if !request.keep.is_empty() && !failed {
            object = request.keep.iter().map(|pointer| (pointer.clone(), look(&object, pointer))).collect();
        }
        let mut object = self.normal.value(&object);
        if failed {
            take_failure(&mut object, &mut answer);
        } else if let Some(managed) =
            object.get_mut("metadata").and_then(|m| m.as_object_mut()?.remove("managedFields"))
        {
            answer.insert("managedFields".into(), managed);
        }
        answer.insert("object".into(), object);
        answer
    }

    fn sent(&self, request: &Request) -> Sent {
        let mut target = self.fill(&request.path);
        if !request.query.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(request.query.iter().map(|(name, value)| (name, self.fill(value))));
            target = format!("{target}?{}", query.finish());
        }
        let mut headers: BTreeMap<String, String> =
            [("User-Agent", "differ/1"), ("Accept", "application/json")].map(|(n, v)| (n.into(), v.into())).into();
        let body = match (&request.body, &request.raw) {
            (Some(body), _) => Some(self.filled(body).to_string()),
            (None, raw) => raw.as_ref().map(|raw| self.fill(raw)),
        };
        if body.is_some() {
            headers.insert("Content-Type".into(), "application/json".into());
        }
        headers.extend(request.headers.iter().map(|(name, value)| (name.clone(), self.fill(value))));
        let body = body.map(|body| body.into_bytes().into());
        Sent { method: request.method.clone(), target, headers: headers.into_iter().collect(), body }
    }

    fn fill(&self, text: &str) -> String {
        let known = |name: &str| self.known.get(name).cloned().unwrap_or_else(|| format!("unset-{name}"));
        let value = |found: &Captures<'_>| match found[1].split_once(':') {
            Some(("fill", count)) => "x".repeat(count.parse().unwrap()),
            Some(("old", token)) => aged(&known(token)),
            _ => known(&found[1]),
        };
        VARIABLE.replace_all(text, value).into_owned()
    }

    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill(text).into(),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => fields.iter().map(|(n, v)| (self.fill(n), self.filled(v))).collect(),
            other => other.clone(),
        }
    }
}

/// A server's own continue token, made one of a version that it has long forgotten. What else is in it is the server's business.
fn aged(token: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_else(|error| panic!("{token}: {error}"));
    let mut inside: Value = serde_json::from_slice(&bytes).unwrap();
    inside["rv"] = 2.into();
    URL_SAFE_NO_PAD.encode(inside.to_string())
}

fn kind(headers: &HeaderMap) -> Value {
    headers.get("content-type").map_or(Value::Null, |kind| String::from_utf8_lossy(kind.as_bytes()).into())
}

/// Moves what a failure says from the object into aspects of their own.
fn take_failure(object: &mut Value, answer: &mut Answer) {
    let Some(status) = object.as_object_mut() else { return };
    for aspect in ["reason", "message", "details"] {
        let mut value = status.remove(aspect).unwrap_or_default();
        if let Some(causes) = value.get_mut("causes").and_then(Value::as_array_mut) {
            causes.sort_by_key(ToString::to_string);
        }
        answer.insert(aspect.to_owned(), value);
    }
}

/// A JSON pointer; a step `*` collects the rest of the way for every element.
fn look(value: &Value, pointer: &str) -> Value {
    let (head, rest) = pointer.trim_start_matches('/').split_once('/').unwrap_or((pointer.trim_start_matches('/'), ""));
    if head.is_empty() {
        return value.clone();
    }
    let head = head.replace("~1", "/").replace("~0", "~");
    match value {
        Value::Array(items) if head == "*" => items.iter().map(|item| look(item, rest)).collect(),
        Value::Object(fields) if head == "*" => fields.values().map(|field| look(field, rest)).collect(),
        Value::Array(items) => {
            head.parse::<usize>().ok().and_then(|at| items.get(at)).map_or(Value::Null, |v| look(v, rest))
        }
        Value::Object(fields) => fields.get(&head).map_or(Value::Null, |field| look(field, rest)),
        _ => Value::Null,
    }
}
