//! Answers to questions about the caller: may I, what may I, who am I. Nothing is stored.

use serde_json::{Value, json};

use super::{
    access::{Access, Action, Authority, User},
    admit,
    answer::Answer,
    body,
    call::Call,
    failure::{Cause, Failure},
    fields, identity, kinds, options, write,
};

/// POST of a review: the question comes back with its answer as status.
pub(super) fn answer(call: &Call<'_>, bytes: &[u8]) -> Result<Answer, Failure> {
    let mut review = body::decode(call.kind, call.content_type(), bytes)?.object;
    identity::check_version(call, &review)?;
    // Beside a cluster reviews are the cluster's to answer: none of these kinds is served there.
    let Authority::Own(access) = &call.server.authority else { return Err(call.not_found()) };
    review["status"] = match call.kind.kind.as_str() {
        "SelfSubjectAccessReview" => access_status(access, call.user, &review["spec"])?,
        "SelfSubjectRulesReview" => {
            if review["spec"]["namespace"].as_str().is_none_or(str::is_empty) {
                return Err(Failure::bad_request("no namespace on request"));
            }
            let rules = access.rules_status(call.user);
            review["spec"] = json!({});
            rules
        }
        _ => json!({"userInfo": user_info(call.user)}),
    };
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    let now = admit::now();
    if call.kind.kind == "SelfSubjectReview" {
        review["metadata"]["creationTimestamp"] = json!(now);
    } else {
        own(call, &mut review, &now)?;
    }
    Answer::json(201, &review)
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    let mut extra = user.extra.clone();
    if !user.credential.is_empty() {
        extra.insert("authentication.kubernetes.io/credential-id".into(), vec![user.credential.clone()]);
    }
    if !extra.is_empty() {
        info["extra"] = json!(extra);
    }
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    info
}

/// Records the asker as manager of the question; the answer is nobody's.
fn own(call: &Call<'_>, review: &mut Value, now: &str) -> Result<(), Failure> {
    let options = options::read(call.query, "CreateOptions", false)?;
    let status = review.as_object_mut().and_then(|r| r.remove("status"));
    let writer = write::writer(call, &options, now);
    fields::track_update(&call.kind.schema, None, review, writer);
    kinds::disown_given(call.kind, review);
    review["status"] = status.unwrap_or_default();
    Ok(())
}

fn access_status(access: &Access, user: &User, spec: &Value) -> Result<Value, Failure> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |v: &'_ Value, name: &str| v[name].as_str().unwrap_or_default().to_owned();
    let allowed = match (resource.is_object(), path.is_object()) {
        (true, false) => {
            let [verb, group, name, sub, namespace, plural] =
                ["verb", "group", "name", "subresource", "namespace", "resource"].map(|n| text(resource, n));
            let action = Action {
                verb: &verb,
                group: &group,
                resource: &plural,
                subresource: &sub,
                namespace: &namespace,
                name: &name,
            };
            access.allows(user, action)
        }
        (false, true) => access.allows_path(user, &text(path, "verb"), &text(path, "path")),
        (true, true) => {
            // shown as the type without JSON names that it is inside the real server
            let shown = json!({"Path": text(path, "path"), "Verb": text(path, "verb")});
            let why = "cannot be specified in combination with resourceAttributes";
            let cause = Cause::invalid("spec.nonResourceAttributes", &shown, why);
            return Err(Failure::invalid("authorization.k8s.io", "", "", vec![cause]));
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let cause = Cause::invalid("spec.resourceAttributes", resource, why);
            return Err(Failure::invalid("authorization.k8s.io", "", "", vec![cause]));
        }
    };
    Ok(json!({"allowed": allowed}))
}
