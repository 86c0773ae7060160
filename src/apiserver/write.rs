//! Create, replace and patch: what a request's body means, and the loop that computes it again after a lost race.
//! What becomes of an object on its way into the store is `admit`'s business.

use std::sync::Arc;

use serde_json::Value;

use super::{
    admit::{self, Fields, Outcome},
    answer::Answer,
    body::{self, Decoded},
    call::Call,
    failure::Failure,
    fields::{self, Writer},
    identity,
    kinds::{Nature, from_stored, to_stored},
    last_applied, metadata,
    options::{self, Validation, WriteOptions},
    patch,
    read::{place, show},
    schema::Scope,
    store::{Effect, Key, Object, Refusal, Write, version_of},
    strategic,
};

/// Times a write is computed again because another one came first. Each round some write succeeds, so this is reached
/// only by a storm of writers on one object.
const ATTEMPTS: usize = 1000;

/// Times a name is made up again because it is taken.
const NAME_ATTEMPTS: usize = 7;

/// POST of a new object.
pub(super) async fn create(call: &Call<'_>, bytes: &[u8]) -> Result<Answer, Failure> {
    let decoded = body::decode(call.kind, call.content_type(), bytes)?;
    let options = options::read(call.query, "CreateOptions", false)?;
    if !call.kind.is_custom() {
        identity::check_version(call, &decoded.object)?;
    }
    let mut warnings = vec![];
    let object = admit::fields(call, decoded, &options, Fields::Body, &mut warnings)?;
    match create_decoded(call, object, &options, &mut warnings).await {
        Ok(answer) => Ok(answer.warning(warnings)),
        Err(refused) => Err(refused.warned(warnings)),
    }
}

async fn create_decoded(
    call: &Call<'_>,
    object: Value,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Answer, Failure> {
    identity::check_version(call, &object)?;
    identity::check_namespace(call, &object)?;
    let object = insert(call, object, options, false, warnings).await?;
    show(call, 201, &object)
}

/// Stores a new object. `applied` objects come with their managed fields.
async fn insert(
    call: &Call<'_>,
    object: Value,
    options: &WriteOptions,
    applied: bool,
    warnings: &mut Vec<String>,
) -> Result<Object, Failure> {
    let kind = call.kind;
    let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    let generated = !prefix.is_empty() && object["metadata"]["name"].as_str().is_none_or(str::is_empty);
    for attempt in 1.. {
        let now = admit::now();
        let writer = writer(call, options, &now);
        let name = generated.then(|| admit::made_up_name(&prefix));
        let (new, more) = admit::new_object(call, object.clone(), name, (!applied).then_some(writer))?;
        let name = new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = Key::new(&kind.resource, place(call), &name);
        let taken = || match call.server.store.get(&key) {
            Some(o) if o["metadata"]["deletionTimestamp"].is_string() => {
                let mut failure = Failure::already_exists(&kind.group, &kind.plural, &name);
                failure.message = format!("object is being deleted: {}", failure.message);
                failure
            }
            _ => Failure::already_exists(&kind.group, &kind.plural, &name),
        };
        if options.dry_run {
            warnings.extend(more);
            return if call.server.store.get(&key).is_some() { Err(taken()) } else { Ok(Arc::new(new)) };
        }
        let effect = Effect::Put(to_stored(kind, new));
        let write = Write { key: key.clone(), expected: None, effect, within: admit::place_of(call) };
        match call.server.store.write(write).await {
            Ok(object) => {
                warnings.extend(more);
                return Ok(object);
            }
            Err(Refusal::Raced) if generated && attempt < NAME_ATTEMPTS => {}
            Err(Refusal::Raced) => return Err(taken()),
            Err(Refusal::NoPlace) => return Err(admit::no_place(call, &name)),
            Err(e @ Refusal::Disk(_)) => return Err(Failure::internal(e.to_string())),
        }
    }
    Err(Failure::internal("no name was found"))
}

/// PUT.
pub(super) async fn replace(call: &Call<'_>, bytes: &[u8]) -> Result<Answer, Failure> {
    let decoded = body::decode(call.kind, call.content_type(), bytes)?;
    let options = options::read(call.query, "UpdateOptions", false)?;
    if !call.kind.is_custom() {
        identity::check_version(call, &decoded.object)?;
    }
    let mut warnings = vec![];
    let object = admit::fields(call, decoded, &options, Fields::Body, &mut warnings)?;
    match replace_decoded(call, object, &options, &mut warnings).await {
        Ok(answer) => Ok(answer.warning(warnings)),
        Err(refused) => Err(refused.warned(warnings)),
    }
}

async fn replace_decoded(
    call: &Call<'_>,
    object: Value,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Answer, Failure> {
    identity::check_version(call, &object)?;
    identity::check_namespace(call, &object)?;
    identity::check_name(call, &object)?;
    if call.kind.nature == Nature::Namespace && call.request.subresource == "finalize" {
        return super::namespaces::finalize(call, &object).await;
    }
    let creates = matches!(call.kind.nature, Nature::Lease | Nature::Event | Nature::NewEvent);
    if creates && call.server.store.get(&key(call)).is_none() {
        let object = insert(call, object, options, false, warnings).await?;
        return show(call, 201, &object);
    }
    let changed = change(call, options, warnings, |live, _| {
        identity::check_uid(call, &object, live)?;
        Ok((object.clone(), false))
    });
    show(call, 200, &changed.await?)
}

/// PATCH of each type.
pub(super) async fn patch(call: &Call<'_>, bytes: &[u8]) -> Result<Answer, Failure> {
    let content_type = call.content_type().split(';').next().unwrap_or_default().trim();
    match content_type {
        "application/apply-patch+yaml" => apply(call, bytes).await,
        "application/merge-patch+json" => {
            let options = options::read(call.query, "PatchOptions", false)?;
            patched(call, &options, body::duplicates(bytes), |live| patch::merge_patch(live, bytes)).await
        }
        "application/json-patch+json" => {
            let options = options::read(call.query, "PatchOptions", false)?;
            patched(call, &options, vec![], |live| patch::json_patch(live, bytes)).await
        }
        // kubectl edits built-in kinds so; without lists that merge by key the two patches mean the same
        "application/strategic-merge-patch+json" if !call.kind.is_custom() => {
            let options = options::read(call.query, "PatchOptions", false)?;
            let patched = patched(call, &options, vec![], |live| strategic::patch(live, bytes)).await;
            patched.map_err(|refused| strategic::retold(refused, bytes))
        }
        _ => {
            let mut types =
                vec!["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
            if !call.kind.is_custom() {
                types.insert(2, "application/strategic-merge-patch+json");
            }
            Err(Failure::unsupported_media_type(&types))
        }
    }
}

async fn patched(
    call: &Call<'_>,
    options: &WriteOptions,
    duplicates: Vec<String>,
    compute: impl Fn(&Value) -> Result<Value, Failure>,
) -> Result<Answer, Failure> {
    let mut warnings = vec![];
    let object = change(call, options, &mut warnings, |live, warnings| {
        let object = compute(live)?;
        identity::check_patched_version(call, &object)?;
        let decoded = Decoded { object, duplicates: duplicates.clone() };
        let object = admit::fields(call, decoded, options, Fields::Patched, warnings)?;
        identity::check_namespace(call, &object)?;
        identity::check_name(call, &object)?;
        Ok((object, false))
    })
    .await?;
    Ok(show(call, 200, &object)?.warning(warnings))
}

/// Server-side apply.
async fn apply(call: &Call<'_>, bytes: &[u8]) -> Result<Answer, Failure> {
    let options = options::read(call.query, "PatchOptions", true)?;
    let decoded = body::decode_apply(bytes)?;
    if options.validation == Validation::Strict && !decoded.duplicates.is_empty() {
        let list: Vec<String> = decoded.duplicates.iter().map(|d| format!("duplicate field {d:?}")).collect();
        return Err(Failure::bad_request(format!("error decoding YAML: {}", list.join(", "))));
    }
    let mut warnings =
        if options.validation == Validation::Warn { admit::duplicate_warnings(&decoded.duplicates) } else { vec![] };
    let applied = decoded.object;
    identity::check_applied(call, &applied)?;
    let now = admit::now();
    let writer = writer(call, &options, &now);
    for _ in 0..ATTEMPTS {
        if call.server.store.get(&key(call)).is_some() {
            let object = change(call, &options, &mut warnings, |live, _| {
                Ok((merged(call, Some(live), &applied, writer, options.force)?, true))
            })
            .await;
            match object {
                Err(f) if f.code == 404 => continue,
                other => return Ok(show(call, 200, &other?)?.warning(warnings)),
            }
        }
        if !call.request.subresource.is_empty() {
            return Err(call.not_found());
        }
        identity::check_name(call, &applied)?;
        identity::check_applied_uid(call, &applied)?;
        let mut object = merged(call, None, &applied, writer, options.force)?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        match insert(call, object, &options, true, &mut warnings).await {
            // somebody else made it meanwhile: then this is a change
            Err(f) if f.reason == "AlreadyExists" && !options.dry_run => {}
            other => return Ok(show(call, 201, &other?)?.warning(warnings)),
        }
    }
    Err(Failure::stale(&call.kind.group, &call.kind.plural, &call.request.name))
}

/// The object after an apply, its metadata as a typed decoder leaves it.
fn merged(
    call: &Call<'_>,
    live: Option<&Value>,
    applied: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, Failure> {
    let mut object = fields::apply(&call.kind.schema, live, applied, writer, force)?;
    last_applied::keep(&mut object, applied, writer.manager);
    metadata::decode(&mut object).map_err(|why| admit::undecodable(call.kind, &why))?;
    Ok(object)
}

fn key(call: &Call<'_>) -> Key {
    Key::new(&call.kind.resource, place(call), &call.request.name)
}

/// Who writes in this call, at `now`.
pub(super) fn writer<'a>(call: &'a Call<'_>, options: &'a WriteOptions, now: &'a str) -> Writer<'a> {
    Writer {
        manager: fields::manager_of(&options.manager, call.user_agent()),
        subresource: &call.request.subresource,
        api_version: match call.kind.group.as_str() {
            "" => &call.kind.version,
            _ => call.group_version(),
        },
        now,
        status_subresource: call.kind.status_subresource,
    }
}

/// Changes a stored object: computes the new one from the live one, admits and stores it, and starts again if another
/// write came first. `compute` answers the object and whether it carries its managed fields already.
pub(super) async fn change(
    call: &Call<'_>,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
    compute: impl Fn(&Value, &mut Vec<String>) -> Result<(Value, bool), Failure>,
) -> Result<Object, Failure> {
    let (kind, key) = (call.kind, key(call));
    let scope = if call.request.subresource == "status" { Scope::Status } else { Scope::Main };
    let now = admit::now();
    for _ in 0..ATTEMPTS {
        let stored = call.server.store.get(&key).ok_or_else(|| call.not_found())?;
        let live = from_stored(kind, (*stored).clone());
        let mut warned = vec![];
        let admitted = compute(&live, &mut warned).and_then(|(new, owned)| {
            let writer = (!owned).then(|| writer(call, options, &now));
            admit::changed_object(call, new, &live, scope, writer)
        });
        let (outcome, more) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return Err(refused.warned(warned)),
        };
        warned.extend(more);
        let (effect, answer) = match outcome {
            Outcome::Same => {
                warnings.extend(warned);
                return Ok(stored);
            }
            Outcome::Put(object) => {
                let object = to_stored(kind, object);
                (Effect::Put(object.clone()), object)
            }
            // the change itself is answered, but never stored
            Outcome::Gone(object) => (Effect::Remove, to_stored(kind, object)),
        };
        if options.dry_run {
            warnings.extend(warned);
            return Ok(Arc::new(answer));
        }
        let ends = matches!(effect, Effect::Remove);
        let write = Write { key: key.clone(), expected: Some(version_of(&stored)), effect, within: None };
        match call.server.store.write(write).await {
            Ok(object) => {
                warnings.extend(warned);
                return Ok(if ends { Arc::new(answer) } else { object });
            }
            Err(Refusal::Raced) => {}
            Err(e) => return Err(Failure::internal(e.to_string())),
        }
    }
    Err(Failure::stale(&kind.group, &kind.plural, &call.request.name))
}
