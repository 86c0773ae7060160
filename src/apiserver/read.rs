//! Get and list: the present, a page of a snapshot, or an older version as far as the log reaches.

use std::time::Duration;

use base64::{
    DecodeError, Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    answer::Answer,
    call::Call,
    failure::{Cause, Failure},
    kinds::{Kind, selector_to_stored, served},
    negotiate::Form,
    options::Query,
    selector::{FieldSelector, LabelSelector},
    shown,
    store::{Key, Object},
    table::{self, Include},
};

/// How long a read waits for a version that is still to come.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// What a list, a watch or a collection's deletion selects.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(super) fn read(kind: &Kind, query: &Query) -> Result<Selection, Failure> {
        let known: Vec<&str> = kind.selectable.iter().map(String::as_str).collect();
        let fields = selector_to_stored(kind, query.get("fieldSelector"));
        Ok(Selection {
            labels: LabelSelector::parse(query.get("labelSelector"))?,
            fields: FieldSelector::parse(&fields, &known).map_err(|refused| naming_fields(kind, refused))?,
        })
    }

    /// Whether a stored object is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }

    fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }
}

/// Of a built-in kind the real server names the fields when another is asked for.
fn naming_fields(kind: &Kind, mut refused: Failure) -> Failure {
    if let (false, Some(field)) = (kind.is_custom(), refused.message.strip_prefix("field label not supported: ")) {
        let known: Vec<String> = kind.selectable.iter().map(|name| format!("{name:?}")).collect();
        refused.message = format!("{field:?} is not a known field selector: only {}", known.join(", "));
    }
    refused
}

/// A list as it is answered: what was found, and where to go on.
pub(super) struct Page {
    pub(super) items: Vec<Object>,
    revision: u64,
    token: String,
    remaining: Option<usize>,
}

/// Where the next page starts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Token {
    v: String,
    /// Version of the snapshot; -1 for "whatever is there now".
    rv: i64,
    /// The first key of the page.
    start: String,
}

/// GET of one object.
pub(super) async fn get(call: &Call<'_>) -> Result<Answer, Failure> {
    let version = call.query.get("resourceVersion");
    let asked = version.parse::<u64>();
    if !version.is_empty() && asked.is_err() {
        return Err(Failure::internal(broken_version(version)));
    }
    wait_for(call, asked.unwrap_or(0)).await?;
    let key = Key::new(&call.kind.resource, place(call), &call.request.name);
    let object = call.server.store.get(&key).ok_or_else(|| call.not_found())?;
    show(call, 200, &object)
}

/// One stored object in the form the client wants.
pub(super) fn show(call: &Call<'_>, code: u16, object: &Object) -> Result<Answer, Failure> {
    match call.form {
        Form::Table => {
            let include = Include::parse(call.query.get("includeObject"))?;
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let rows = std::slice::from_ref(object);
            Answer::json(code, &table::table(call.kind, metadata, rows, include, crate::clock::now()))
        }
        Form::Metadata => Answer::json(code, &table::partial(object)),
        _ => Answer::json(code, &served(call.kind, object)),
    }
}

/// The namespace in which the call's objects lie; empty for cluster-scoped kinds.
pub(super) fn place<'a>(call: &'a Call<'_>) -> &'a str {
    if call.kind.namespaced { &call.request.namespace } else { "" }
}

/// GET of a collection.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, Failure> {
    let page = page(call).await?;
    show_list(call, &page)
}

/// Finds a page of objects as the query asks.
pub(super) async fn page(call: &Call<'_>) -> Result<Page, Failure> {
    let query = call.query;
    let selection = Selection::read(call.kind, query)?;
    let (store, resource, namespace) = (&call.server.store, &call.kind.resource, place(call));
    let limit = usize::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(0);
    let (version, matching, token) =
        (query.get("resourceVersion"), query.get("resourceVersionMatch"), query.get("continue"));
    check_match(version, matching, token)?;
    query.number("timeoutSeconds")?;
    if query.has("sendInitialEvents") {
        let why = "sendInitialEvents is forbidden for list";
        return Err(Failure::invalid_options("ListOptions", vec![Cause::forbidden("sendInitialEvents", why)]));
    }
    let number = |text: &str| match text {
        "" => Ok(0),
        text => text.parse::<u64>().map_err(|_| bad_version(text)),
    };
    let asked = number(version)?;
    let mut start = String::new();
    let (revision, all) = if !token.is_empty() {
        let token = open_token(token)?;
        if asked != 0 {
            return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
        }
        start = token.start;
        match u64::try_from(token.rv) {
            Ok(revision) => {
                let old = store.list_at(resource, namespace, revision).map_err(|_| token_expired(&start))?;
                (revision, old)
            }
            Err(_) => store.list(resource, namespace),
        }
    } else if matching == "Exact" || (asked > 0 && limit > 0 && matching.is_empty()) {
        wait_for(call, asked).await?;
        let too_old = |_| Failure::expired("The resourceVersion for the provided list is too old.");
        (asked, store.list_at(resource, namespace, asked).map_err(too_old)?)
    } else {
        wait_for(call, asked).await?;
        store.list(resource, namespace)
    };
    // version 0 means "anything you have at hand", and then all of it
    let limit = if version == "0" { 0 } else { limit };
    Ok(cut(all, &start, limit, revision, &selection))
}

fn cut(all: Vec<(String, Object)>, start: &str, limit: usize, revision: u64, selection: &Selection) -> Page {
    let from = all.partition_point(|(path, _)| path.as_str() < start);
    let mut rest = all.into_iter().skip(from);
    let limit = if limit == 0 { usize::MAX } else { limit };
    let (mut items, mut last) = (vec![], String::new());
    while items.len() < limit {
        let Some((path, object)) = rest.next() else { break };
        if selection.matches(&object) {
            items.push(object);
        }
        last = path;
    }
    // whether more of them is selected is not looked at: as with the real server, a last page may be empty
    let left = rest.count();
    if left == 0 {
        return Page { items, revision, token: String::new(), remaining: None };
    }
    let token = make_token(i64::try_from(revision).unwrap_or(-1), format!("{last}\0"));
    Page { items, revision, token, remaining: selection.is_everything().then_some(left) }
}

/// A page in the form the client wants.
pub(super) fn show_list(call: &Call<'_>, page: &Page) -> Result<Answer, Failure> {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if call.kind.is_custom() || !page.token.is_empty() {
        metadata["continue"] = json!(page.token);
    }
    if let Some(count) = page.remaining {
        metadata["remainingItemCount"] = json!(count);
    }
    if matches!(call.form, Form::Table | Form::MetadataList)
        && page.token.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("continue");
    }
    match call.form {
        Form::Table => {
            let include = Include::parse(call.query.get("includeObject"))?;
            Answer::json(200, &table::table(call.kind, metadata, &page.items, include, crate::clock::now()))
        }
        Form::Metadata => Err(Failure::not_acceptable_form(
            "you requested PartialObjectMetadata, but the requested object is a list (*unstructured.UnstructuredList)",
        )),
        Form::MetadataList => {
            let items: Vec<Value> = page.items.iter().map(|o| table::partial(o)).collect();
            Answer::json(
                200,
                &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata, "items": items}),
            )
        }
        _ => Answer::json(
            200,
            &List {
                kind: &call.kind.list_kind,
                api_version: call.kind.api_version(),
                metadata,
                items: page.items.iter().map(|o| served(call.kind, o)).collect(),
            },
        ),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: String,
    items: Vec<Object>,
    kind: &'a str,
    metadata: Value,
}

fn make_token(rv: i64, start: String) -> String {
    let token = Token { v: TOKEN_VERSION.into(), rv, start };
    TOKEN_TEXT.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// The alphabet of tokens. Bits left over at the end are nobody's fault: the real server does not look at them.
const TOKEN_TEXT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Layout of the tokens that are understood.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";

fn open_token(text: &str) -> Result<Token, Failure> {
    let invalid = |why: &str| Failure::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = TOKEN_TEXT.decode(text.trim_end_matches('=')).map_err(|e| {
        let at = match e {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(length) => length - length % 4,
            DecodeError::InvalidPadding => text.len(),
        };
        invalid(&format!("illegal base64 data at input byte {at}"))
    })?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|e| invalid(&shown::json_fault(&bytes, &e)))?;
    match () {
        () if token.v != TOKEN_VERSION => {
            Err(invalid(&format!("server does not recognize this encoded version {}", token.v)))
        }
        () if token.rv == 0 => {
            Err(invalid(&format!("incorrect encoded start resourceVersion (version {TOKEN_VERSION})")))
        }
        () if token.start.is_empty() => Err(invalid(&format!("encoded start key empty (version {TOKEN_VERSION})"))),
        () => Ok(token),
    }
}

fn token_expired(start: &str) -> Failure {
    let mut failure = Failure::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    failure.continue_token = Some(make_token(-1, start.to_owned()));
    failure
}

fn bad_version(text: &str) -> Failure {
    Failure::bad_request(format!("invalid resource version: {}", broken_version(text)))
}

/// What is said of a version that is no number.
pub(super) fn broken_version(text: &str) -> String {
    format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
}

/// Refuses combinations of version, match and token that mean nothing.
fn check_match(version: &str, matching: &str, token: &str) -> Result<(), Failure> {
    let field = "resourceVersionMatch";
    let mut causes = vec![];
    if !matching.is_empty() {
        if version.is_empty() {
            causes
                .push(Cause::forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !token.is_empty() {
            causes.push(Cause::forbidden(field, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !["Exact", "NotOlderThan"].contains(&matching) {
            let known = ["Exact", "NotOlderThan", ""].map(|s| format!("{s:?}"));
            causes.push(Cause::not_supported(field, &json!(matching), &known));
        }
        if matching == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden(field, why));
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(Failure::invalid_options("ListOptions", causes)) }
}

/// Waits a little until `revision` has been reached.
async fn wait_for(call: &Call<'_>, revision: u64) -> Result<(), Failure> {
    let mut revisions = call.server.store.revisions();
    let reached = tokio::time::timeout(FUTURE_WAIT, revisions.wait_for(|now| *now >= revision)).await;
    if matches!(reached, Ok(Ok(_))) {
        return Ok(());
    }
    let current = call.server.store.revision();
    let mut failure =
        Failure::timeout(format!("Timeout: Too large resource version: {revision}, current: {current}"), 1);
    failure = failure.with_causes(vec![Cause {
        reason: "ResourceVersionTooLarge",
        field: String::new(),
        message: "Too large resource version".into(),
    }]);
    Err(failure)
}
