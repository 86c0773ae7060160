//! From a CustomResourceDefinition document to a [`Kind`].

use serde_json::{Map, Value};

use super::{BadDefinition, CUSTOM_VERBS, Column, Kind, Nature, SELECTABLE, Scale};
use crate::apiserver::{metadata::NameRule, schema::Schema};

/// Reads one CRD document; it must have exactly one version, as conversion between versions is not served.
pub(super) fn kind(crd: &Value) -> Result<Kind, BadDefinition> {
    let name = crd["metadata"]["name"].as_str().unwrap_or("(without a name)").to_owned();
    let bad = |reason: String| BadDefinition { name: name.clone(), reason };
    let spec = &crd["spec"];
    let text = |at: &Value, what: &str| -> Result<String, BadDefinition> {
        at.as_str().map(str::to_owned).ok_or_else(|| bad(format!("{what} is missing; generate the document again")))
    };
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let served: Vec<&Value> = versions.iter().filter(|v| v["served"] == true).collect();
    let [version] = served[..] else {
        return Err(bad(format!("it serves {} versions; this server takes exactly one", served.len())));
    };
    let group = text(&spec["group"], "spec.group")?;
    let names = &spec["names"];
    let plural = text(&names["plural"], "spec.names.plural")?;
    let kind = text(&names["kind"], "spec.names.kind")?;
    let raw = &version["schema"]["openAPIV3Schema"];
    let schema = Schema::new(raw).map_err(|e| bad(format!("schema: {e}")))?;
    let fields = version["selectableFields"].as_array().into_iter().flatten();
    let own = fields.filter_map(|f| f["jsonPath"].as_str()).map(|p| p.trim_start_matches('.').to_owned());
    Ok(Kind {
        list_kind: names["listKind"].as_str().map_or_else(|| format!("{kind}List"), str::to_owned),
        singular: names["singular"].as_str().map_or_else(|| kind.to_lowercase(), str::to_owned),
        short_names: strings(&names["shortNames"]),
        categories: strings(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        status_subresource: version["subresources"]["status"].is_object(),
        resource: format!("{plural}.{group}").into(),
        columns: columns(&version["additionalPrinterColumns"]),
        selectable: SELECTABLE.map(str::to_owned).into_iter().chain(own).collect(),
        version: text(&version["name"], "spec.versions[].name")?,
        scale: Scale::of(&version["subresources"]["scale"]),
        verbs: CUSTOM_VERBS,
        names: NameRule::Subdomain,
        nature: Nature::Custom,
        open_api: raw.clone(),
        definitions: Map::new(),
        group,
        kind,
        plural,
        schema,
    })
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Printer columns; a kind that declares none shows its age.
fn columns(declared: &Value) -> Vec<Column> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let columns = declared.as_array().into_iter().flatten().map(|c| Column {
        name: text(&c["name"]),
        kind: text(&c["type"]),
        format: text(&c["format"]),
        description: match c["description"].as_str() {
            Some(d) if !d.is_empty() => d.to_owned(),
            _ => format!("Custom resource definition column (in JSONPath format): {}", text(&c["jsonPath"])),
        },
        json_path: text(&c["jsonPath"]),
        priority: c["priority"].as_i64().unwrap_or(0),
    });
    let columns: Vec<Column> = columns.collect();
    if !columns.is_empty() {
        return columns;
    }
    vec![Column {
        name: "Age".into(),
        kind: "date".into(),
        format: String::new(),
        description: AGE.into(),
        json_path: ".metadata.creationTimestamp".into(),
        priority: 0,
    }]
}

/// What `kubectl explain` of a table says of an age.
pub(super) const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was \
    created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set \
    this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for \
    lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// What it says of a name.
pub(in super::super) const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some \
    resources may allow a client to request the generation of an appropriate name automatically. Name is primarily \
    intended for creation idempotence and configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
