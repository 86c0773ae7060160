//! The limits of a running site's listeners, at the limit and on both sides of it: a table a listener. Limits that are
//! quicker to reach on a small one (connections, times, rates) are tested where they are made, in `transport::tests`.

use std::{fs, net::SocketAddr};

use rustls::version::TLS13;
use serde_json::{Value, json};
use waybill::{
    model::message::{Component, MessageType, Severity, StatusMessage},
    site::Endpoints,
    transport::{
        client::{Listener, Timeouts, enrolment_client},
        limits::Limits,
        session::Session,
    },
    trust::{device::DeviceKey, token::JoinSecret},
    wire::{
        access::{BAD_CONTENT_BYTES_MAX, BAD_CONTENT_PATH, INVENTORY_PATH, STATUS_PATH},
        enrol::{ENROL_PATH, ENROL_REQUEST_BYTES_MAX, HOSTNAME_BYTES_MAX},
        inventory::SIGNED_INVENTORY_BYTES_MAX,
        status::{
            BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, MESSAGE_BYTES_MAX, Outcome, Receipt, STATUS_PURPOSE, SignedBatch,
            StatusBatch,
        },
    },
};

use super::probe::{Caller, get_with_head};
use crate::world::World;

/// The client's own session, key and connection.
struct Client {
    session: Session,
    key: DeviceKey,
    http: reqwest::Client,
}

impl Client {
    fn of(world: &World) -> Self {
        let state = world.path("client");
        let session: Session = serde_json::from_slice(&fs::read(state.join("session.json")).unwrap()).unwrap();
        let http = session.http(&state, Listener::Site, Timeouts::default()).unwrap();
        Self { key: Session::key(&state).unwrap(), session, http }
    }

    /// Status of an answer to a body of exactly this length: the text, and then blanks, which JSON allows.
    async fn post(&self, path: &str, text: &str, bytes: usize) -> (u16, String) {
        post(&self.http, &format!("{}{path}", self.session.endpoints.site_url), text, bytes).await
    }

    fn batch(&self, outbox: &str, messages: Vec<(u64, StatusMessage)>) -> String {
        let batch = StatusBatch { sender: self.session.id.clone(), outbox: outbox.into(), messages };
        let batch = serde_json::to_string(&batch).unwrap();
        let signature = self.key.sign(STATUS_PURPOSE, batch.as_bytes()).unwrap();
        let signed = SignedBatch { batch, signature, certificate: self.session.certificate_pem.clone() };
        serde_json::to_string(&signed).unwrap()
    }

    /// What becomes of a batch of these messages.
    async fn outcome(&self, outbox: &str, messages: Vec<StatusMessage>) -> Outcome {
        let batch = self.batch(outbox, (1..).zip(messages).collect());
        let (status, text) = self.post(STATUS_PATH, &batch, batch.len()).await;
        assert_eq!(status, 200, "{text}");
        let envelope: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_str::<Receipt>(envelope["payload"].as_str().unwrap()).unwrap().outcome
    }
}

async fn post(http: &reqwest::Client, url: &str, text: &str, bytes: usize) -> (u16, String) {
    assert!(text.len() <= bytes, "{} bytes of text", text.len());
    let answer = http
        .post(url)
        .header("content-type", "application/json")
        .body(text.to_owned() + &" ".repeat(bytes - text.len()));
    let answer = answer.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A message whose JSON is of exactly this length.
fn message(bytes: usize) -> StatusMessage {
    let mut message = StatusMessage {
        time_ms: 1_800_000_000_000,
        severity: Severity::Informational,
        message_type: MessageType::Detail,
        component: Component::ClientAgent,
        message_id: 1,
        text: "x".into(),
        reason: None,
        state: None,
        attributes: [("output".to_owned(), String::new())].into(),
    };
    let missing = bytes - serde_json::to_vec(&message).unwrap().len();
    message.attributes.insert("output".into(), "x".repeat(missing));
    message
}

#[test]
fn listeners_of_a_site_take_what_they_say_and_not_a_byte_more() {
    let mut world = World::new();
    world.start("site");
    world.join(&["client"]);
    world.until("the client joins", |world| world.path("client/session.json").exists());
    let endpoints: Endpoints = serde_json::from_slice(&fs::read(world.path("site/endpoints.json")).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    heads(&world, &endpoints);
    runtime.block_on(enrolment(&endpoints));
    runtime.block_on(devices(&Client::of(&world)));
}

/// Heads of requests, at every listener with TLS.
fn heads(world: &World, endpoints: &Endpoints) {
    let Limits { header_fields_max, header_bytes_max, .. } = Limits::default();
    let bytes = header_bytes_max as usize;
    let client = Caller::of_state(&world.path("client"));
    for (url, caller) in
        [(&endpoints.device_url, Some(&client)), (&endpoints.enrolment_url, None), (&endpoints.api_url, None)]
    {
        let addr: SocketAddr = url.split_once("://").unwrap().1.parse().unwrap();
        for (fields, taken) in
            [(header_fields_max - 1, true), (header_fields_max, true), (header_fields_max + 1, false)]
        {
            let head: String = (2..fields).map(|number| format!("x-{number}: 1\r\n")).collect();
            let answer = get_with_head(addr, caller, &[&TLS13], "/nowhere", &head);
            let refused = answer.as_deref().is_none_or(|answer| answer.starts_with("HTTP/1.1 431"));
            assert_eq!(refused, !taken, "{url}: {fields} fields: {answer:?}");
        }
        // The library reads in pieces, so between once and twice the limit it depends on how they arrive.
        for (length, taken) in [(bytes - 200, true), (2 * bytes, false)] {
            let head = format!("x: {}\r\n", "v".repeat(length));
            let answer = get_with_head(addr, caller, &[&TLS13], "/nowhere", &head);
            let refused = answer.as_deref().is_none_or(|answer| answer.starts_with("HTTP/1.1 431"));
            assert_eq!(refused, !taken, "{url}: a head of {length} bytes");
        }
    }
}

async fn enrolment(endpoints: &Endpoints) {
    let http = enrolment_client(endpoints.ca_sha256, Timeouts::default()).unwrap();
    let url = format!("{}{ENROL_PATH}", endpoints.enrolment_url);
    let csr_pem = DeviceKey::generate().unwrap().csr_pem().unwrap();
    let request = |hostname_bytes: usize| {
        let secret = JoinSecret::generate().unwrap();
        let hostname = "h".repeat(hostname_bytes);
        json!({"secret": secret, "role": "client", "csrPem": csr_pem, "hostname": hostname, "advertisedNames": [], "rejoin": null})
            .to_string()
    };
    let limit = ENROL_REQUEST_BYTES_MAX;
    for (bytes, status) in [(limit - 1, 403), (limit, 403), (limit + 1, 413)] {
        assert_eq!(post(&http, &url, &request(10), bytes).await.0, status, "{bytes} bytes");
    }
    let limit = HOSTNAME_BYTES_MAX;
    for (bytes, status) in [(0, 422), (1, 403), (limit - 1, 403), (limit, 403), (limit + 1, 422)] {
        let request = request(bytes);
        assert_eq!(post(&http, &url, &request, request.len()).await.0, status, "a host name of {bytes} bytes");
    }
}

async fn devices(client: &Client) {
    // Bodies, route by route; what is in them is refused for another reason.
    let status = client.batch("bodies", vec![]);
    let bodies = [
        (STATUS_PATH, 2 * BATCH_BYTES_MAX + (64 << 10), status.as_str(), 200),
        (INVENTORY_PATH, SIGNED_INVENTORY_BYTES_MAX, "{}", 422),
        (BAD_CONTENT_PATH, BAD_CONTENT_BYTES_MAX, "{}", 422),
    ];
    for (path, limit, text, taken) in bodies {
        for (bytes, expected) in [(limit - 1, taken), (limit, taken), (limit + 1, 413)] {
            let (status, answer) = client.post(path, text, bytes).await;
            assert_eq!(status, expected, "{path}, {bytes} bytes: {answer}");
        }
    }
    // Messages of one batch.
    let limit = BATCH_MESSAGES_MAX;
    for (count, stored) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        let outcome = client.outcome(&format!("count-{count}"), vec![message(300); count]).await;
        let through = count as u64;
        assert_eq!(outcome == Outcome::Stored { through }, stored, "{count} messages: {outcome:?}");
    }
    // Bytes of one message: what is too long is cut and stored, so that it holds up nothing behind it.
    for bytes in [MESSAGE_BYTES_MAX - 1, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX + 1] {
        let outcome = client.outcome(&format!("bytes-{bytes}"), vec![message(bytes)]).await;
        assert_eq!(outcome, Outcome::Stored { through: 1 }, "a message of {bytes} bytes");
    }
}
