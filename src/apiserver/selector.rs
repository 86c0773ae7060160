//! Label and field selectors of list, watch and delete-collection requests.

use super::failure::Failure;
use serde_json::Value;

/// A parsed `labelSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector;

impl LabelSelector {
    /// Parses the query parameter; empty selects everything.
    pub fn parse(_text: &str) -> Result<Self, Failure> {
        Ok(Self)
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        true
    }

    /// Whether an object's `metadata.labels` fit.
    pub fn matches(&self, _object: &Value) -> bool {
        true
    }
}

/// A parsed `fieldSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector;

impl FieldSelector {
    /// Parses the query parameter; `supported` are the kind's selectable fields (`metadata.name`, `spec.mode`).
    pub fn parse(_text: &str, _supported: &[&str]) -> Result<Self, Failure> {
        Ok(Self)
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        true
    }

    /// The one name it demands, if it demands `metadata.name=`.
    pub fn name(&self) -> Option<&str> {
        None
    }

    /// Whether the object's fields fit; a missing field counts as empty.
    pub fn matches(&self, _object: &Value) -> bool {
        true
    }
}
