//! Watches: the present if asked for, then every change as the watcher's selector sees it, with bookmarks.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    answer::Answer,
    call::Call,
    failure::{Cause, Failure},
    kinds::{Kind, served},
    negotiate::Form,
    read::{Selection, broken_version, place},
    store::{EventType, Object, Store},
    table::{self, Include},
};

/// How long a watch lasts that does not say: the real server takes 30 to 60 minutes at random.
const TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// Longest watch; a client that wants more opens another one.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often a watcher that allows it learns how far it has come.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// How long before its end a watch tells how far it has come.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With the present objects; `marked` tells when they have all been sent.
    Present { marked: bool },
    /// With what is committed from now on.
    Now,
    /// With what came after this version.
    After(u64),
}

struct Watch {
    store: Arc<Store>,
    kind: Arc<Kind>,
    namespace: String,
    selection: Selection,
    start: Start,
    bookmarks: bool,
    timeout: Duration,
    face: Face,
}

/// How objects are shown in this watch.
struct Face {
    form: Form,
    include: Include,
    /// Whether the table's columns have been sent.
    headed: bool,
}

/// Opens a watch; what is wrong with the request is refused, what is wrong with the version is told in the stream.
pub(super) fn open(call: &Call<'_>) -> Result<Answer, Failure> {
    let query = call.query;
    let bookmarks = query.flag("allowWatchBookmarks");
    let version = query.get("resourceVersion");
    let asked = match version {
        "" => 0,
        text => text.parse::<u64>().map_err(|_| Failure::internal(broken_version(text)))?,
    };
    // a negative time is over at once
    let seconds = query.number("timeoutSeconds")?.filter(|s| *s != 0).map(|s| u64::try_from(s).unwrap_or(0));
    if !query.get("continue").is_empty() {
        // the real server names this field
        let why = "resourceVersionMatch is forbidden when continue is provided";
        return Err(Failure::invalid_options("ListOptions", vec![Cause::forbidden("resourceVersionMatch", why)]));
    }
    let initial = initial_events(query)?;
    let start = match (initial, asked) {
        (Some(true), _) => Start::Present { marked: bookmarks },
        (Some(false), 0) => Start::Now,
        (None, 0) => Start::Present { marked: bookmarks && version == "0" },
        (_, n) => Start::After(n),
    };
    let watch = Watch {
        store: call.server.store.clone(),
        kind: call.kind.clone(),
        namespace: place(call).to_owned(),
        selection: Selection::read(call.kind, query)?,
        start,
        bookmarks,
        timeout: seconds.map_or(TIMEOUT, Duration::from_secs).min(TIMEOUT_MAX),
        face: Face { form: call.form, include: Include::parse(query.get("includeObject"))?, headed: false },
    };
    Ok(Answer::Stream(Body::from_stream(run(watch))))
}

fn initial_events(query: &super::options::Query) -> Result<Option<bool>, Failure> {
    let matching = query.get("resourceVersionMatch");
    let wanted = query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents"));
    let mut causes = vec![];
    match (wanted, matching) {
        (None, "") | (Some(_), "NotOlderThan") => return Ok(wanted),
        (None, other) => {
            causes.push(Cause::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
            if other != "NotOlderThan" {
                let known = ["\"NotOlderThan\"".to_owned()];
                causes.push(Cause::not_supported("resourceVersionMatch", &json!(other), &known));
            }
        }
        (Some(_), "") => causes.push(Cause::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        (Some(_), other) => {
            causes.push(Cause::forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
            let known = ["\"NotOlderThan\"".to_owned()];
            causes.push(Cause::not_supported("resourceVersionMatch", &json!(other), &known));
        }
    }
    Err(Failure::invalid_options("ListOptions", causes))
}

fn run(mut watch: Watch) -> impl futures::Stream<Item = Result<Bytes, Infallible>> + Send {
    async_stream::stream! {
        if watch.timeout.is_zero() {
            return;
        }
        let mut revisions = watch.store.revisions();
        let opened = Instant::now();
        let mut end = pin!(tokio::time::sleep_until(opened + watch.timeout));
        let mut nearly = pin!(tokio::time::sleep_until(opened + watch.timeout.saturating_sub(LAST_BOOKMARK)));
        let mut told_end = !watch.bookmarks || watch.timeout <= LAST_BOOKMARK;
        let mut beat = tokio::time::interval_at(opened + BOOKMARK_EVERY, BOOKMARK_EVERY);
        let mut at = match watch.start {
            Start::After(revision) => revision,
            Start::Now => watch.store.revision(),
            Start::Present { marked } => {
                let (revision, objects) = watch.store.list(&watch.kind.resource, &watch.namespace);
                for (_, object) in &objects {
                    if watch.selection.matches(object) {
                        yield Ok(watch.line("ADDED", object));
                    }
                }
                if marked {
                    yield Ok(watch.bookmark(revision, true));
                }
                revision
            }
        };
        loop {
            revisions.borrow_and_update();
            match watch.store.changes(&watch.kind.resource, at) {
                Ok((revision, changes)) => {
                    // a watch from a version still to come stays silent until then
                    at = at.max(revision);
                    for change in changes {
                        let Some(event) = change.event(&watch.namespace, |o| watch.selection.matches(o)) else { continue };
                        yield Ok(watch.line(word(event.kind), &event.object));
                    }
                }
                Err(old) => {
                    let message = format!("too old resource version: {at} ({})", old.oldest);
                    yield Ok(frame("ERROR", &Failure::expired(message).to_status()));
                    return;
                }
            }
            tokio::select! {
                more = revisions.changed() => if more.is_err() { return },
                () = &mut end => return,
                () = &mut nearly, if !told_end => {
                    told_end = true;
                    yield Ok(watch.bookmark(at, false));
                }
                _ = beat.tick(), if watch.bookmarks => yield Ok(watch.bookmark(at, false)),
            }
        }
    }
}

fn word(kind: EventType) -> &'static str {
    match kind {
        EventType::Added => "ADDED",
        EventType::Modified => "MODIFIED",
        EventType::Deleted => "DELETED",
    }
}

fn frame(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({"type": kind, "object": object}).to_string().into_bytes();
    line.push(b'\n');
    line.into()
}

impl Watch {
    fn line(&mut self, kind: &str, object: &Object) -> Bytes {
        frame(kind, &self.face.show(&self.kind, object))
    }

    /// How far the watch has come; `first` ends the initial events.
    fn bookmark(&mut self, revision: u64, first: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if first {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mark = json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata});
        self.line("BOOKMARK", &Arc::new(mark))
    }
}

impl Face {
    fn show(&mut self, kind: &Kind, object: &Object) -> Value {
        match self.form {
            Form::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let rows = std::slice::from_ref(object);
                let mut table = table::table(kind, metadata, rows, self.include, crate::clock::now());
                if std::mem::replace(&mut self.headed, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
            Form::Metadata | Form::MetadataList => table::partial(object),
            _ => (*served(kind, object)).clone(),
        }
    }
}
