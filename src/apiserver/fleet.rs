//! The fleet group: resources whose rows live elsewhere (the site database), served through the same discovery,
//! authorization, tables and refusals. There is no watch, and nothing is kept here.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    answer::Answer,
    body,
    call::Call,
    failure::Failure,
    kinds::{Column, Kind, Nature, Scale},
    metadata::NameRule,
    negotiate::Form,
    patch,
    schema::Schema,
    table::{self, Include},
};

/// Group and version of everything served this way.
pub const GROUP: &str = "fleet.waybill.dev";
/// See [`GROUP`].
pub const VERSION: &str = "v1alpha1";

/// Rows of one page when the client sets no limit: a fleet has millions.
pub const PAGE_ROWS: u32 = 500;

/// Most rows of one page, whatever the client asks for.
pub const PAGE_ROWS_MAX: u32 = 5000;

/// One resource of the fleet group.
#[derive(Debug, Clone)]
pub struct FleetResource {
    /// `Client`.
    pub kind: String,
    /// `clients`.
    pub plural: String,
    /// What kubectl also takes for the plural.
    pub short_names: Vec<String>,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
    /// Of `get`, `list`, `create`, `delete`, `patch`; anything else is a mistake that opening the server refuses.
    pub verbs: &'static [&'static str],
    /// An openAPIV3Schema, as in a CRD.
    pub schema: Value,
    /// What `kubectl get` shows beside the name.
    pub columns: Vec<FleetColumn>,
}

/// One printer column.
#[derive(Debug, Clone)]
pub struct FleetColumn {
    /// Its heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Where its value is: `.status.state`.
    pub json_path: String,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i64,
}

/// What is asked of the resources.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetRequest {
    /// The resource's plural.
    pub plural: String,
    /// Namespace of the path; empty means all, or a cluster-scoped resource.
    pub namespace: String,
    /// Who asks, for actions that record who did them.
    pub user: Caller,
    /// What is to be done.
    pub verb: FleetVerb,
}

/// Who asks, as a record of an action names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub name: String,
    /// What the cluster's API server calls the token that was shown: its audit log says who had that made. Empty if it says
    /// nothing.
    pub credential: String,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.credential.as_str() {
            "" => f.write_str(&self.name),
            credential => write!(f, "{} ({credential})", self.name),
        }
    }
}

/// The verb with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetVerb {
    /// One object.
    Get {
        /// Its name.
        name: String,
    },
    /// A page of objects.
    List {
        /// As in the query; empty selects all.
        label_selector: String,
        /// As in the query; empty selects all.
        field_selector: String,
        /// Most rows wanted, 1 to [`PAGE_ROWS_MAX`].
        limit: u32,
        /// A former page's `next`, or empty.
        start: String,
    },
    /// An action: the object asks, the answer carries a status.
    Create {
        /// The checked body.
        body: Value,
        /// Nothing may be done.
        dry_run: bool,
    },
    /// Takes one object away.
    Delete {
        /// Its name.
        name: String,
        /// Nothing may be done.
        dry_run: bool,
    },
    /// Sets `metadata.labels` to exactly these.
    SetLabels {
        /// The object's name.
        name: String,
        /// All labels it is to have.
        labels: Value,
        /// Nothing may be done.
        dry_run: bool,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetAnswer {
    /// One object: with apiVersion, kind and metadata. For a deletion, as it last was.
    Object(Value),
    /// A page.
    List {
        /// Its objects.
        items: Vec<Value>,
        /// Where the next page starts; empty if this was the last.
        next: String,
        /// How many are left, if that is known cheaply.
        remaining: Option<u64>,
    },
}

/// The function behind the fleet group.
pub type FleetCall = Arc<dyn Fn(FleetRequest) -> BoxFuture<'static, Result<FleetAnswer, Failure>> + Send + Sync>;

/// Resources and what answers for them.
#[derive(Clone)]
pub struct Fleet {
    /// The resources, in discovery's order.
    pub resources: Vec<FleetResource>,
    /// Answers every request for them.
    pub call: FleetCall,
}

impl Fleet {
    /// The same resources, answered only while `holds` says so.
    #[must_use]
    pub fn only_while(self, holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let (holds, inner) = (Arc::new(holds), self.call);
        let call: FleetCall = Arc::new(move |request| {
            let (holds, answer) = (holds.clone(), inner(request));
            let over =
                || Failure::plain(503, "ServiceUnavailable", "this instance of the site server may not act any more");
            Box::pin(async move {
                if !holds() {
                    return Err(over());
                }
                let answer = answer.await;
                if holds() { answer } else { Err(over()) }
            })
        });
        Self { resources: self.resources, call }
    }

    /// The same resources without the verbs that take away or change: whatever a cluster does to all of its resources by itself,
    /// it does not do to these.
    pub(super) fn reading_and_asking(self) -> Self {
        let narrowed = |mut resource: FleetResource| {
            let harmless = |verb: &&str| matches!(*verb, "get" | "list" | "create");
            // Harmless ones come first; if they did not, fewer would be served.
            let count = resource.verbs.iter().take_while(|verb| harmless(verb)).count();
            resource.verbs = &resource.verbs[..count];
            resource
        };
        Self { resources: self.resources.into_iter().map(narrowed).collect(), call: self.call }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("resources", &self.resources).finish_non_exhaustive()
    }
}

/// The resources as kinds, for discovery and routing.
pub(super) fn kinds(fleet: &Fleet) -> Result<Vec<Kind>, (String, String)> {
    fleet.resources.iter().enumerate().map(|(n, r)| kind(n, r).map_err(|why| (r.plural.clone(), why))).collect()
}

fn kind(index: usize, r: &FleetResource) -> Result<Kind, String> {
    const VERBS: &[&str] = &["get", "list", "create", "delete", "patch"];
    if let Some(verb) = r.verbs.iter().find(|v| !VERBS.contains(v)) {
        return Err(format!("the verb {verb} is not served in this group"));
    }
    let columns = r.columns.iter().map(|c| Column {
        name: c.name.clone(),
        kind: c.kind.clone(),
        format: String::new(),
        description: String::new(),
        json_path: c.json_path.clone(),
        priority: c.priority,
    });
    Ok(Kind {
        group: GROUP.into(),
        version: VERSION.into(),
        list_kind: format!("{}List", r.kind),
        singular: r.kind.to_lowercase(),
        kind: r.kind.clone(),
        plural: r.plural.clone(),
        short_names: r.short_names.clone(),
        categories: vec![],
        namespaced: r.namespaced,
        status_subresource: false,
        resource: format!("{}.{GROUP}", r.plural).into(),
        schema: Schema::new(&r.schema).map_err(|e| e.to_string())?,
        open_api: r.schema.clone(),
        definitions: serde_json::Map::new(),
        columns: columns.collect(),
        selectable: vec![],
        verbs: r.verbs,
        names: NameRule::Subdomain,
        scale: Scale::default(),
        nature: Nature::Fleet(index),
    })
}

/// Answers a request for a fleet resource.
pub(super) async fn answer(call: &Call<'_>, _index: usize, bytes: Bytes) -> Result<Answer, Failure> {
    let Some(fleet) = &call.server.fleet else { return Err(call.not_found()) };
    let verb = verb(call, fleet, &bytes).await?;
    let deletes = matches!(verb, FleetVerb::Delete { .. });
    let code = if matches!(verb, FleetVerb::Create { .. }) { 201 } else { 200 };
    match ask(call, fleet, verb).await? {
        FleetAnswer::Object(object) if deletes => super::delete::gone(call.kind, &object),
        FleetAnswer::Object(object) => super::read::show(call, code, &Arc::new(object)),
        FleetAnswer::List { items, next, remaining } => list(call, items, &next, remaining),
    }
}

async fn ask(call: &Call<'_>, fleet: &Fleet, verb: FleetVerb) -> Result<FleetAnswer, Failure> {
    (fleet.call)(FleetRequest {
        plural: call.kind.plural.clone(),
        namespace: call.request.namespace.clone(),
        user: Caller { name: call.user.name.clone(), credential: call.user.token_id().to_owned() },
        verb,
    })
    .await
}

async fn verb(call: &Call<'_>, fleet: &Fleet, bytes: &[u8]) -> Result<FleetVerb, Failure> {
    let (name, query) = (call.request.name.clone(), call.query);
    let dry_run = query.all("dryRun").any(|r| r == "All");
    Ok(match call.request.verb {
        "get" => FleetVerb::Get { name },
        "list" => FleetVerb::List {
            label_selector: query.get("labelSelector").into(),
            field_selector: query.get("fieldSelector").into(),
            limit: match query.number("limit")?.and_then(|n| u32::try_from(n).ok()) {
                None | Some(0) => PAGE_ROWS,
                Some(n) => n.min(PAGE_ROWS_MAX),
            },
            start: query.get("continue").into(),
        },
        "create" => FleetVerb::Create { body: created(call, bytes)?, dry_run },
        "delete" => FleetVerb::Delete { name, dry_run },
        _ => FleetVerb::SetLabels { labels: labels(call, fleet, bytes).await?, name, dry_run },
    })
}

fn created(call: &Call<'_>, bytes: &[u8]) -> Result<Value, Failure> {
    let mut object = body::decode(call.kind, call.content_type(), bytes)?.object;
    super::identity::check_version(call, &object)?;
    super::identity::check_namespace(call, &object)?;
    let unknown = call.kind.schema.prune(&mut object);
    if let Some(field) = unknown.first() {
        return Err(Failure::bad_request(format!(
            "{0} in version {VERSION:?} cannot be handled as a {0}: strict decoding error: unknown field {field:?}",
            call.kind.kind
        )));
    }
    call.kind.schema.default(&mut object);
    let causes = call.kind.schema.validate(&object, None, super::schema::Scope::Main);
    match causes.is_empty() {
        true => Ok(object),
        false => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            Err(Failure::invalid(GROUP, &call.kind.kind, &name, causes))
        }
    }
}

/// A patch may change labels and nothing else.
async fn labels(call: &Call<'_>, fleet: &Fleet, bytes: &[u8]) -> Result<Value, Failure> {
    let FleetAnswer::Object(live) = ask(call, fleet, FleetVerb::Get { name: call.request.name.clone() }).await? else {
        return Err(call.not_found());
    };
    let new = match call.content_type().split(';').next().unwrap_or_default() {
        "application/merge-patch+json" => patch::merge_patch(&live, bytes)?,
        "application/json-patch+json" => patch::json_patch(&live, bytes)?,
        _ => {
            let types = ["application/json-patch+json", "application/merge-patch+json"];
            return Err(Failure::unsupported_media_type(&types));
        }
    };
    let without = |o: &Value| {
        let mut o = o.clone();
        if let Some(metadata) = o["metadata"].as_object_mut() {
            metadata.remove("labels");
        }
        o
    };
    if without(&live) != without(&new) {
        let why = "only metadata.labels can be changed; the rest is what was observed";
        return Err(Failure::forbidden(GROUP, &call.kind.plural, &call.request.name, why));
    }
    Ok(new["metadata"]["labels"].clone())
}

fn list(call: &Call<'_>, items: Vec<Value>, next: &str, remaining: Option<u64>) -> Result<Answer, Failure> {
    let mut metadata = json!({"resourceVersion": "", "continue": next});
    if let Some(count) = remaining.filter(|_| !next.is_empty()) {
        metadata["remainingItemCount"] = json!(count);
    }
    match call.form {
        Form::Table => {
            let include = Include::parse(call.query.get("includeObject"))?;
            let items: Vec<_> = items.into_iter().map(Arc::new).collect();
            Answer::json(200, &table::table(call.kind, metadata, &items, include, crate::clock::now()))
        }
        Form::MetadataList => {
            let items: Vec<Value> = items.iter().map(table::partial).collect();
            Answer::json(
                200,
                &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata, "items": items}),
            )
        }
        _ => Answer::json(
            200,
            &json!({"kind": call.kind.list_kind, "apiVersion": call.kind.api_version(),
            "metadata": metadata, "items": items}),
        ),
    }
}
