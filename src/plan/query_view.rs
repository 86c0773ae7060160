//! A client as queries see it, field by field, and how large each field is. What is made of it is `query`'s business.

use std::collections::BTreeMap;

use cel::{SerializationError, Value, to_value};
use serde::Serialize;

use super::{
    query::ClientFacts,
    query_cost::{Part, Sizes, text_weight},
};
use crate::wire::inventory::Disk;

/// The client as queries see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientView<'a> {
    id: &'a str,
    labels: &'a BTreeMap<String, String>,
    hostname: &'a str,
    os: OsView<'a>,
    arch: &'a str,
    kernel: &'a str,
    agent_version: &'a str,
    cpus: u32,
    memory_bytes: u64,
    disks: &'a [Disk],
    addresses: &'a [String],
    packages: &'a BTreeMap<String, String>,
    facts: &'a BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct OsView<'a> {
    name: &'a str,
    distribution: &'a str,
    version: &'a str,
}

impl<'a> ClientView<'a> {
    pub(super) fn of(client: &'a ClientFacts) -> Self {
        let inventory = &client.inventory;
        let platform = &inventory.platform;
        let text = |value: &'a Option<String>| value.as_deref().unwrap_or_default();
        Self {
            id: &client.id,
            labels: &client.labels,
            hostname: &inventory.hostname,
            os: OsView {
                name: text(&platform.os),
                distribution: text(&platform.distribution),
                version: text(&platform.version),
            },
            arch: text(&platform.arch),
            kernel: &inventory.kernel,
            agent_version: &inventory.agent_version,
            cpus: inventory.cpus,
            memory_bytes: inventory.memory_bytes,
            disks: &inventory.disks,
            addresses: &inventory.addresses,
            packages: &inventory.packages,
            facts: &inventory.facts,
        }
    }

    /// One of its fields, by the name that queries call it.
    pub(super) fn field(&self, name: &str) -> Result<Value, SerializationError> {
        match name {
            "id" => to_value(self.id),
            "labels" => to_value(self.labels),
            "hostname" => to_value(self.hostname),
            "os" => to_value(&self.os),
            "arch" => to_value(self.arch),
            "kernel" => to_value(self.kernel),
            "agentVersion" => to_value(self.agent_version),
            "cpus" => to_value(self.cpus),
            "memoryBytes" => to_value(self.memory_bytes),
            "disks" => to_value(self.disks),
            "addresses" => to_value(self.addresses),
            "packages" => to_value(self.packages),
            _ => to_value(self.facts),
        }
    }
}

/// How large its fields are.
pub(super) fn sizes(client: &ClientFacts) -> Sizes {
    let inventory = &client.inventory;
    let mut sizes = Sizes::default();
    for (name, version) in &inventory.packages {
        sizes.packages.add(text_weight(name) + text_weight(version));
    }
    for (name, value) in &client.labels {
        sizes.labels.add(text_weight(name) + text_weight(value));
    }
    inventory.addresses.iter().for_each(|address| sizes.addresses.add(text_weight(address)));
    inventory.disks.iter().for_each(|disk| sizes.disks.add(3 + text_weight(&disk.mount)));
    for (name, fact) in &inventory.facts {
        let (values, weight) = measured(fact);
        let Part { length, weight: before, .. } = sizes.facts;
        let weight = before + weight + text_weight(name);
        sizes.facts = Part { length: length + 1 + values, weight, heaviest: weight };
    }
    let texts = [&client.id, &inventory.hostname, &inventory.kernel, &inventory.agent_version];
    sizes.rest = 4 + texts.into_iter().map(|text| text_weight(text)).max().unwrap_or_default();
    sizes
}

/// Values at any depth, and what they weigh.
fn measured(fact: &serde_json::Value) -> (u64, u64) {
    let sum = |(count, weight): (u64, u64), (one, heavy): (u64, u64)| (count + one, weight + heavy);
    match fact {
        serde_json::Value::Array(items) => items.iter().map(measured).fold((1, 1), sum),
        serde_json::Value::Object(members) => {
            let each = members.iter().map(|(name, value)| sum(measured(value), (0, text_weight(name))));
            each.fold((1, 1), sum)
        }
        serde_json::Value::String(text) => (1, text_weight(text)),
        _ => (1, 1),
    }
}
