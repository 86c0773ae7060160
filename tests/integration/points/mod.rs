//! Distribution points and client access points as real processes: copies, damage, drives, access, removal, and what becomes
//! of them when their site or its database is gone.

mod access;
mod caps;
mod copy;
mod damage;
mod drives;
mod loss;
mod offers;
mod removal;

use std::{
    fs,
    path::{Path, PathBuf},
};

use reqwest::header::HeaderMap;
use serde_json::Value;
use waybill::{
    content::{Digest, Manifest},
    transport::{
        client::{Listener, Timeouts},
        session::Session,
    },
    trust::identity::Role,
};

use crate::world::World;

/// What is declared in the namespace that tests use.
const DECLARED: &str = "/apis/waybill.dev/v1alpha1/namespaces/default";
/// What belongs to no namespace.
const CLUSTER: &str = "/apis/waybill.dev/v1alpha1";
/// The fleet's own resources.
const FLEET: &str = "/apis/fleet.waybill.dev/v1alpha1";

/// Every version on every point: point, version and state, in order.
fn locations(world: &World, package: &str) -> Vec<(String, u64, String)> {
    let rows = world.list(&format!("{FLEET}/namespaces/default/contentlocations?limit=1000"));
    let text = |row: &Value, field: &str| row["status"][field].as_str().unwrap_or_default().to_owned();
    let rows = rows.iter().filter(|row| row["status"]["package"] == package).map(|row| {
        (text(row, "distributionPoint"), row["status"]["sourceVersion"].as_u64().unwrap(), text(row, "state"))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    rows
}

/// Whether exactly these versions are complete on these points, and nothing else is known of the package.
fn installed(world: &World, package: &str, wanted: &[(&str, u64)]) -> bool {
    let wanted: Vec<_> =
        wanted.iter().map(|(point, version)| ((*point).to_owned(), *version, "Installed".to_owned())).collect();
    locations(world, package) == wanted
}

/// Where a point says that it keeps a version.
fn path_of(world: &World, package: &str, version: u64, point: &str) -> PathBuf {
    let row = format!("{FLEET}/namespaces/default/contentlocations/{package}.{version}.{point}");
    PathBuf::from(world.ask("GET", &row, None)["status"]["path"].as_str().unwrap())
}

/// Numbers and texts of what `system` said with these numbers, the oldest first.
fn said(world: &World, system: &str, numbers: &[u64]) -> Vec<(u64, String)> {
    let rows = world.list(&format!("{FLEET}/statusmessages?fieldSelector=system={system}&limit=1000"));
    let of = |row: &Value| {
        (
            row["status"]["messageID"].as_u64().unwrap_or(0),
            row["status"]["text"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let mut messages: Vec<_> = rows.iter().map(of).filter(|(number, _)| numbers.contains(number)).collect();
    messages.reverse();
    messages
}

/// The advertisement's state on a client.
fn standing(world: &World, advertisement: &str, client: &str) -> String {
    let id = session(world, client).id;
    let row = world.ask("GET", &format!("{FLEET}/namespaces/default/clientstatuses/{advertisement}.{id}"), None);
    row["status"]["state"].as_str().unwrap_or_default().to_owned()
}

/// Changes the spec of a distribution point that nobody declared in a file.
fn configure(world: &World, point: &str, spec: Value) {
    let path = format!("{CLUSTER}/distributionpoints/{point}");
    world.until("the point has an object", |world| !world.ask("GET", &path, None).is_null());
    world.ask("PATCH", &path, Some(&serde_json::json!({ "spec": spec })));
}

/// Where clients reach a distribution point.
fn url_of(world: &World, point: &str) -> String {
    let object = world.ask("GET", &format!("{CLUSTER}/distributionpoints/{point}"), None);
    object["status"]["url"].as_str().unwrap().to_owned()
}

/// Who a process is, from its state directory.
fn session(world: &World, name: &str) -> Session {
    let file = world.path(name).join("session.json");
    world.until("it has joined", |_| file.exists());
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Whether a client's or point's process has joined.
fn has_joined(world: &World, name: &str) -> bool {
    world.path(name).join("session.json").exists()
}

/// What a listener of the site, or of that role, answers to a client process's own certificate.
fn get_as(world: &World, name: &str, role: Role, url: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let http = session(world, name).http(&world.path(name), Listener::SiteOr(role), Timeouts::default()).unwrap();
    world.runtime().block_on(async {
        let mut request = http.get(url);
        for (header, value) in headers {
            request = request.header(*header, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.bytes().await.unwrap().to_vec())
    })
}

/// The manifest of a published version, which lies beside its directory.
fn manifest_of(directory: &Path) -> Manifest {
    let mut beside = directory.as_os_str().to_owned();
    beside.push(".json");
    Manifest::decode(&fs::read(beside).unwrap()).unwrap()
}

/// The digest of the file of this name in a manifest.
fn file_in(manifest: &Manifest, name: &str) -> Digest {
    manifest.entries().iter().find(|entry| entry.path.to_string() == name).unwrap().digest
}
