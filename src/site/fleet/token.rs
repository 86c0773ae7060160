//! `enrolmenttokens`: invitations for machines. Creating one answers the join file, once; only its secret's hash is kept.
//! Listed without the secret, deleted to revoke.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Parts, audit,
    client::checked_labels,
    failed,
    listing::Listing,
    not_served,
    shape::{asked, column, instant, number, object, reviewed, text, texts, time, wide},
};
use crate::{
    apiserver::{
        failure::{Cause, Failure},
        fleet::{Caller, FleetAnswer, FleetRequest, FleetResource, FleetVerb, GROUP},
        metadata::{self, NameRule},
    },
    clock,
    db::tokens::{self, TokenRow},
    model::duration::{self, Span},
    site::point_names,
    trust::{
        identity::Role,
        token::{DEFAULT_TOKEN_LIFETIME, JoinSecret, MAX_TOKEN_USES},
    },
    wire::enrol::JoinFile,
};

pub(super) const PLURAL: &str = "enrolmenttokens";
const KIND: &str = "EnrolmentToken";

pub(super) fn resource() -> FleetResource {
    let role = json!({"type": "string", "enum": ["client", "dp", "cap"], "description": "What joins with it."});
    let uses = json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_TOKEN_USES, "default": 1,
        "description": "How many may join with it."});
    let expires = json!({"type": "string", "pattern": duration::PATTERN, "maxLength": 64, "default": "24h",
        "description": "How long it may be used, at most 24h."});
    let point = json!({"type": "string", "maxLength": 50,
        "description": "The name of the distribution point or access point that joins; without one, its host name."});
    let spec = [
        ("role", role),
        ("name", point),
        ("uses", uses),
        ("expiresIn", expires),
        ("labels", texts("Labels that clients get when they join.")),
    ];
    let join_file = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "description": "What a machine joins with. Contains the secret; answered once, at creation."});
    let status = [
        ("joinFile", join_file),
        ("token", text("The name under which it is listed and revoked.")),
        ("usesLeft", number("How many may still join.")),
        ("expires", instant("Refused from then on.")),
    ];
    FleetResource {
        kind: KIND.into(),
        plural: PLURAL.into(),
        short_names: vec![],
        namespaced: false,
        verbs: &["create", "get", "list", "delete"],
        schema: asked("An invitation for machines to join the site.", &["role"], &spec, &status),
        columns: vec![
            column("Role", "string", ".spec.role"),
            column("For", "string", ".spec.name"),
            column("Uses left", "integer", ".status.usesLeft"),
            column("Expires", "string", ".status.expires"),
            wide("Labels", "string", ".spec.labels"),
            column("Age", "date", ".metadata.creationTimestamp"),
        ],
    }
}

pub(super) async fn answer(parts: &Parts, request: FleetRequest) -> Result<FleetAnswer, Failure> {
    match request.verb {
        FleetVerb::Create { body, dry_run } => create(parts, request.user, body, dry_run).await,
        FleetVerb::Get { name } => find(parts, &name).await.map(|row| FleetAnswer::Object(shown(&row))),
        FleetVerb::Delete { name, dry_run } => {
            let row = find(parts, &name).await?;
            let last = shown(&row);
            if !dry_run {
                let (site, user, now_ms) = (parts.site.name.clone(), request.user, clock::now_unix_ms());
                let gone = parts.database.write(move |tx| {
                    tokens::delete(tx, &row.hash)?;
                    audit(tx, &site, &user, &format!("revoked enrolment token {}", name_of(&row)), vec![], now_ms)
                });
                gone.await.map_err(failed)?;
            }
            Ok(FleetAnswer::Object(last))
        }
        FleetVerb::List { label_selector, field_selector, limit, start } => {
            let listing = Listing::parse(&label_selector, &field_selector, limit, start, &[])?;
            let first = listing.place(|mark| Some(mark.to_owned()))?;
            parts
                .database
                .read(move |connection| {
                    // Bounded by the limit on tokens: one page.
                    let all = tokens::list(connection)?;
                    let page = |after: Option<&String>| {
                        let done = after.and_then(|after| all.iter().position(|row| name_of(row) == *after));
                        Ok(match (after, done) {
                            (None, _) => all.clone(),
                            (Some(_), Some(done)) => all[done + 1..].to_vec(),
                            (Some(_), None) => Vec::new(),
                        })
                    };
                    listing.collect(first, page, name_of, Clone::clone, shown)
                })
                .await
                .map_err(failed)
        }
        FleetVerb::SetLabels { .. } => Err(not_served(&request)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    role: Role,
    name: Option<String>,
    uses: u32,
    expires_in: Span,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

async fn create(parts: &Parts, user: Caller, body: Value, dry_run: bool) -> Result<FleetAnswer, Failure> {
    let spec = checked(&body)?;
    if let Some(name) = spec.name.clone() {
        let (site, role, wanted) = (parts.site.name.clone(), spec.role, name.clone());
        let taken = parts.database.read(move |connection| point_names::taken(connection, &site, role, &wanted)).await;
        if let Some(why) = taken.map_err(failed)? {
            return Err(Failure::invalid(GROUP, KIND, "", vec![Cause::invalid("spec.name", &json!(name), why)]));
        }
    }
    let late = parts.late()?;
    let now = clock::now();
    let expires = Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .saturating_add(spec.expires_in.as_duration())
        .unwrap_or(now);
    let secret = JoinSecret::generate().map_err(|error| Failure::internal(error.to_string()))?;
    let row = TokenRow {
        hash: secret.stored_hash(),
        role: spec.role,
        name: spec.name,
        labels: spec.labels,
        uses_left: spec.uses,
        expires_ms: expires.as_millisecond(),
        created_ms: now.as_millisecond(),
    };
    let join = JoinFile {
        url: late.enrolment_url.clone(),
        ca_sha256: late.ca_sha256,
        secret,
        role: row.role,
        site: parts.site.id.clone(),
        expires,
    };
    let mut status = json!({"usesLeft": row.uses_left, "expires": time(row.expires_ms)});
    if !dry_run {
        status["token"] = json!(name_of(&row));
        status["joinFile"] = json!(join);
        let site = parts.site.name.clone();
        let stored = parts.database.write(move |tx| {
            tokens::create(tx, &row)?;
            let what = format!("created enrolment token {} for {} {}", name_of(&row), row.uses_left, row.role);
            audit(tx, &site, &user, &what, vec![], row.created_ms)
        });
        stored.await.map_err(failed)?;
    }
    Ok(FleetAnswer::Object(reviewed(body, status)))
}

/// What the schema cannot say.
fn checked(body: &Value) -> Result<Spec, Failure> {
    let refused = |causes| Failure::invalid(GROUP, KIND, body["metadata"]["name"].as_str().unwrap_or_default(), causes);
    let spec: Spec = serde_json::from_value(body["spec"].clone())
        .map_err(|error| refused(vec![Cause::invalid("spec", &body["spec"], error.to_string())]))?;
    let mut causes = Vec::new();
    let life = spec.expires_in.as_duration();
    if life > DEFAULT_TOKEN_LIFETIME || life.is_zero() {
        causes.push(Cause::invalid("spec.expiresIn", &body["spec"]["expiresIn"], "must be more than 0s, at most 24h"));
    }
    if let Some(name) = &spec.name {
        let carrier = json!({"metadata": {"name": name}});
        let wrong = metadata::validate(&carrier, NameRule::Subdomain, false);
        causes.extend(wrong.into_iter().map(|cause| Cause { field: "spec.name".into(), ..cause }));
        if spec.role == Role::Client {
            causes.push(Cause::forbidden("spec.name", "the server names clients"));
        }
        if spec.uses > 1 {
            causes.push(Cause::invalid("spec.uses", &json!(spec.uses), "must be 1 with spec.name, which is unique"));
        }
    }
    if spec.role != Role::Client && !spec.labels.is_empty() {
        causes.push(Cause::forbidden("spec.labels", "only clients have labels"));
    }
    if !causes.is_empty() {
        return Err(refused(causes));
    }
    checked_labels(KIND, "", &json!(spec.labels))?;
    Ok(spec)
}

async fn find(parts: &Parts, name: &str) -> Result<TokenRow, Failure> {
    let all = parts.database.read(tokens::list).await.map_err(failed)?;
    all.into_iter().find(|row| name_of(row) == name).ok_or_else(|| Failure::not_found(GROUP, PLURAL, name))
}

/// Made of the hash, which is not the secret.
fn name_of(row: &TokenRow) -> String {
    format!("token-{}", row.hash.short())
}

fn shown(row: &TokenRow) -> Value {
    let status = json!({"usesLeft": row.uses_left, "expires": time(row.expires_ms)});
    let mut object = object(KIND, "", &name_of(row), row.created_ms, status);
    object["spec"] = json!({"role": row.role.as_str()});
    if let Some(name) = &row.name {
        object["spec"]["name"] = json!(name);
    }
    if !row.labels.is_empty() {
        object["spec"]["labels"] = json!(row.labels);
    }
    object
}
