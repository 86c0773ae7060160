//! The requests of the differential test, as the files of `requests/` hold them: JSON lines. README.md beside this file says
//! what each field means.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;

/// A group of requests: one namespace of its own and fresh variables.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) requests: Vec<Request>,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// What it is called within its group.
    pub(super) id: String,
    #[allow(dead_code, reason = "for whoever reads the file")]
    title: String,
    pub(super) method: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) query: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// The body as JSON …
    #[serde(default, deserialize_with = "present")]
    pub(super) body: Option<Value>,
    /// … or as text.
    pub(super) raw: Option<String>,
    /// Variables for later requests of the group, by JSON pointer into the answer.
    #[serde(default)]
    pub(super) capture: BTreeMap<String, String>,
    /// Where given, only these pointers of a good answer are compared.
    #[serde(default)]
    pub(super) keep: Vec<String>,
    #[serde(default)]
    pub(super) watch: bool,
    /// Sent while the watch is open.
    #[serde(default)]
    pub(super) during: Vec<Request>,
    /// How long a watch is read at most; and after how many events it is left.
    pub(super) seconds: Option<u64>,
    pub(super) events: Option<usize>,
    /// The reference forgets its past before this request, as it does by itself every five minutes.
    #[serde(default)]
    pub(super) compact: bool,
}

/// A body of `null` is a body.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// All groups, in the order of the files.
pub(super) fn groups() -> Vec<Group> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/differential/requests");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| read(&std::fs::read_to_string(file).unwrap())).collect()
}

fn read(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match value["group"].as_str() {
            Some(name) => groups.push(Group { name: name.to_owned(), requests: Vec::new() }),
            None => {
                let request = serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {line}"));
                groups.last_mut().expect("a group comes before its requests").requests.push(request);
            }
        }
    }
    groups
}
