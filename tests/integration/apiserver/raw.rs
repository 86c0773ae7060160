//! Requests as they go over the wire, for what no typed client sends: method, path, headers and body in, code and body out.

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

/// One user's wire to a server.
pub(super) struct Wire {
    client: kube::Client,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) warnings: Vec<String>,
    pub(super) text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Reason and message of a refusal.
    pub(super) fn refusal(&self) -> (String, String) {
        let status = self.json();
        let word = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
        (word("reason"), word("message"))
    }
}

impl Wire {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Sends a request with one header beside `Accept: application/json`; a header of the same name replaces that.
    pub(super) async fn send(&self, method: &str, path: &str, header: (&str, &str), body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !header.0.eq_ignore_ascii_case("accept") {
            request = request.header("Accept", "application/json");
        }
        let request = request.header(header.0, header.1).body(Body::from(body.as_bytes().to_vec())).unwrap();
        let answer = self.client.send(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let warnings = parts.headers.get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { code: parts.status.as_u16(), warnings, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, ("Accept", "application/json"), "").await
    }

    /// Creates an object in the collection at `path`.
    pub(super) async fn post(&self, path: &str, object: &Value) -> Answer {
        self.send("POST", path, ("Content-Type", "application/json"), &object.to_string()).await
    }
}
