//! What the client wants to be answered with: JSON, and inside it the object, a Table or metadata alone.
//! YAML, protobuf and CBOR answers are not made; a client that accepts nothing else gets 406.

use super::failure::Failure;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Object,
    Table,
    /// One `PartialObjectMetadata`.
    Metadata,
    /// A `PartialObjectMetadataList`.
    MetadataList,
    /// Aggregated discovery.
    Discovery,
}

const JSON: &[&str] = &["application/json"];

struct Clause {
    media: String,
    quality: f32,
    as_kind: String,
    group: String,
    version: String,
}

/// The first form, in the client's order, that this server has among `possible`.
pub(super) fn form(accept: &str, possible: &[Form]) -> Result<Form, Failure> {
    if accept.trim().is_empty() {
        return Ok(Form::Object);
    }
    let mut clauses: Vec<Clause> = accept.split(',').map(clause).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
        .iter()
        .filter(|c| matches!(c.media.as_str(), "application/json" | "*/*" | "application/*"))
        .find_map(|c| asked(c).filter(|f| *f == Form::Object || possible.contains(f)))
        .ok_or_else(|| Failure::not_acceptable(JSON))
}

fn clause(text: &str) -> Clause {
    let mut parts = text.split(';').map(str::trim);
    let mut clause = Clause {
        media: parts.next().unwrap_or_default().to_owned(),
        quality: 1.0,
        as_kind: String::new(),
        group: String::new(),
        version: String::new(),
    };
    for (key, value) in parts.filter_map(|p| p.split_once('=')) {
        match key.trim() {
            "q" => clause.quality = value.parse().unwrap_or(1.0),
            "as" => clause.as_kind = value.to_owned(),
            "g" => clause.group = value.to_owned(),
            "v" => clause.version = value.to_owned(),
            _ => {}
        }
    }
    clause
}

fn asked(c: &Clause) -> Option<Form> {
    match (c.as_kind.as_str(), c.group.as_str(), c.version.as_str()) {
        ("", ..) => Some(Form::Object),
        ("Table", "meta.k8s.io", "v1") => Some(Form::Table),
        ("PartialObjectMetadata", "meta.k8s.io", "v1") => Some(Form::Metadata),
        ("PartialObjectMetadataList", "meta.k8s.io", "v1") => Some(Form::MetadataList),
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Some(Form::Discovery),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_form_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,\
            application/json";
        assert_eq!(form(kubectl, &[Form::Table]).unwrap(), Form::Table);
        assert_eq!(form(kubectl, &[]).unwrap(), Form::Object);
        assert_eq!(form("application/vnd.kubernetes.protobuf, application/json", &[]).unwrap(), Form::Object);
        assert_eq!(form("", &[]).unwrap(), Form::Object);
        for refused in ["application/yaml", "text/html", "application/json;as=Table;v=v9;g=meta.k8s.io"] {
            assert_eq!(form(refused, &[Form::Table]).unwrap_err().code, 406);
        }
    }
}
