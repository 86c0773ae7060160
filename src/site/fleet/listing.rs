//! A listing: selectors, a limit, a place to start; and how pages of rows become pages of objects that the selectors let
//! through. What is asked of the database is each resource's business.

use serde_json::Value;

use crate::{
    apiserver::{
        failure::Failure,
        fleet::FleetAnswer,
        selector::{FieldSelector, LabelSelector},
    },
    db::DbError,
};

/// A listing's selectors, limit and start.
pub(super) struct Listing {
    labels: LabelSelector,
    fields: FieldSelector,
    limit: usize,
    start: String,
}

impl Listing {
    /// Parses a list request. `fields` are members of `status` that can be selected by, as `status.state` or `state`.
    pub(super) fn parse(
        labels: &str,
        selected: &str,
        limit: u32,
        start: String,
        fields: &[&str],
    ) -> Result<Self, Failure> {
        let mut supported = vec!["metadata.name".to_owned(), "metadata.namespace".to_owned()];
        supported.extend(fields.iter().flat_map(|field| [(*field).to_owned(), format!("status.{field}")]));
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        Ok(Self {
            labels: LabelSelector::parse(labels)?,
            fields: FieldSelector::parse(selected, &supported)?,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            start,
        })
    }

    /// The one value that a member of `status` must have, for the database to look only there.
    pub(super) fn demanded(&self, field: &str) -> Option<String> {
        self.fields.value(field).or_else(|| self.fields.value(&format!("status.{field}"))).map(str::to_owned)
    }

    /// Where to start, read by `read`; `None` at the beginning.
    pub(super) fn place<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Failure> {
        if self.start.is_empty() {
            return Ok(None);
        }
        let invalid = || Failure::bad_request("continue key is not valid: it is of another server or another list");
        read(&self.start).map(Some).ok_or_else(invalid)
    }

    fn selects(&self, object: &Value) -> bool {
        if !self.labels.matches(object) {
            return false;
        }
        if self.fields.is_everything() {
            return true;
        }
        let mut flat = object["status"].clone();
        flat["status"] = object["status"].clone();
        flat["metadata"] = object["metadata"].clone();
        self.fields.matches(&flat)
    }

    /// Reads pages by `page`, each after the place that it is given, until one is empty or enough was found. `place` says
    /// where a row stands, `mark` writes that for the next request, `object` makes a row an object.
    pub(super) fn collect<R, K>(
        &self,
        first: Option<K>,
        mut page: impl FnMut(Option<&K>) -> Result<Vec<R>, DbError>,
        place: impl Fn(&R) -> K,
        mark: impl Fn(&K) -> String,
        object: impl Fn(&R) -> Value,
    ) -> Result<FleetAnswer, DbError> {
        let (mut items, mut last) = (Vec::new(), first);
        loop {
            let rows = page(last.as_ref())?;
            if rows.is_empty() {
                return Ok(FleetAnswer::List { items, next: String::new(), remaining: None });
            }
            for row in rows {
                let found = object(&row);
                if self.selects(&found) {
                    if items.len() == self.limit {
                        let next = last.as_ref().map(&mark).unwrap_or_default();
                        return Ok(FleetAnswer::List { items, next, remaining: None });
                    }
                    items.push(found);
                }
                last = Some(place(&row));
            }
        }
    }
}
