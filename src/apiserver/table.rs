//! `meta.k8s.io/v1` Tables and PartialObjectMetadata: what `kubectl get` shows, and what metadata-only clients read.

use jiff::Timestamp;
use jsonpath_rust::JsonPath;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    kinds::{Column, Kind, NAME, Nature, served},
    store::Object,
};

/// How much of each object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Reads the query parameter `includeObject`.
    pub(super) fn parse(text: &str) -> Result<Include, Failure> {
        match text {
            "" | "Metadata" => Ok(Include::Metadata),
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            other => Err(Failure::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            ))),
        }
    }
}

/// A table of stored objects. `metadata` is the list's, or the object's version for a single one.
pub(super) fn table(kind: &Kind, metadata: Value, objects: &[Object], include: Include, now: Timestamp) -> Value {
    let rows: Vec<Value> = objects.iter().map(|o| row(kind, o, include, now)).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns(kind), "rows": rows})
}

fn columns(kind: &Kind) -> Vec<Value> {
    let definition = |c: &Column| json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority});
    let name = Column {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: NAME.into(),
        json_path: String::new(),
        priority: 0,
    };
    let own = kind.columns.iter();
    match kind.columns.first() {
        Some(first) if first.json_path.is_empty() => own.map(definition).collect(),
        _ => std::iter::once(&name).chain(own).map(definition).collect(),
    }
}

fn row(kind: &Kind, object: &Object, include: Include, now: Timestamp) -> Value {
    let built_in = kind.columns.first().is_some_and(|c| c.json_path.is_empty());
    let cells = if built_in {
        built_in_cells(kind, object, now)
    } else {
        let own = kind.columns.iter().map(|c| cell(c, object, now));
        std::iter::once(object["metadata"]["name"].clone()).chain(own).collect()
    };
    let shown = match include {
        Include::None => Value::Null,
        Include::Metadata => partial(object),
        Include::Object => (*served(kind, object)).clone(),
    };
    json!({"cells": cells, "object": shown})
}

/// The object's metadata alone.
pub(super) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// The first hit of a column's path, as the column's type shows it.
fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let path = format!("${}", column.json_path);
    let Some(hit) = object.query(&path).ok().and_then(|hits| hits.first().map(|v| (*v).clone())) else {
        return Value::Null;
    };
    match (column.kind.as_str(), &hit) {
        ("date", Value::String(text)) => text.parse().map_or_else(|_| "<invalid>".to_owned(), |t| age(t, now)).into(),
        ("string", Value::String(_)) => hit,
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(_)) | ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => hit,
        _ => Value::Null,
    }
}

fn built_in_cells(kind: &Kind, o: &Value, now: Timestamp) -> Vec<Value> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let since = |v: &Value| v.as_str().and_then(|t| t.parse().ok()).map_or("<unknown>".to_owned(), |t| age(t, now));
    let name = text(&o["metadata"]["name"]);
    let created = since(&o["metadata"]["creationTimestamp"]);
    let members = |field: &str| o[field].as_object().map_or(0, serde_json::Map::len);
    match kind.nature {
        Nature::Namespace => vec![json!(name), o["status"]["phase"].clone(), json!(created)],
        Nature::Secret => vec![json!(name), o["type"].clone(), json!(members("data")), json!(created)],
        Nature::ConfigMap => vec![json!(name), json!(members("data") + members("binaryData")), json!(created)],
        Nature::Lease => vec![json!(name), json!(text(&o["spec"]["holderIdentity"])), json!(created)],
        Nature::Definition => vec![json!(name), o["metadata"]["creationTimestamp"].clone()],
        Nature::Event | Nature::NewEvent => event_cells(o, now),
        _ => vec![json!(name), json!(created)],
    }
}

/// Cells of an event in its stored form.
fn event_cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let first_of = |values: &[&Value]| values.iter().find_map(|v| v.as_str()).and_then(|t| t.parse().ok());
    let ago = |t: Option<Timestamp>| t.map_or("<unknown>".to_owned(), |t| age(t, now));
    let first = ago(first_of(&[&o["firstTimestamp"], &o["eventTime"]]));
    let last =
        first_of(&[&o["series"]["lastObservedTime"], &o["lastTimestamp"]]).map_or(first.clone(), |t| age(t, now));
    let involved = &o["involvedObject"];
    let object = format!("{}/{}", text(&involved["kind"]).to_lowercase(), text(&involved["name"]));
    let source = match (text(&o["source"]["component"]), text(&o["source"]["host"])) {
        (c, _) if c.is_empty() => text(&o["reportingComponent"]),
        (c, h) if h.is_empty() => c,
        (c, h) => format!("{c}, {h}"),
    };
    let count = o["series"]["count"].as_i64().or(o["count"].as_i64()).unwrap_or(1).max(1);
    vec![
        json!(last),
        json!(text(&o["type"])),
        json!(text(&o["reason"])),
        json!(object),
        json!(text(&involved["fieldPath"])),
        json!(source),
        json!(text(&o["message"]).trim()),
        json!(first),
        json!(count),
        json!(text(&o["metadata"]["name"])),
    ]
}

/// An age as kubectl shows it: two units at most, coarser as it grows. A time that is still to come is `<invalid>`.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        // clocks of client and server may differ a little
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10800 => format!("{minutes}m"),
        10800..28800 => two(hours, "h", minutes % 60, "m"),
        28800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        let at = |s: i64| age(Timestamp::from_second(0).unwrap(), Timestamp::from_second(s).unwrap());
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (700, "11m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (30_000, "8h"),
            (180_000, "2d2h"),
            (700_000, "8d"),
            (70_000_000, "2y80d"),
            (-5, "<invalid>"),
        ];
        for (seconds, shown) in cases {
            assert_eq!(at(seconds), shown);
        }
    }
}
