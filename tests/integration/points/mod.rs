//! Distribution points and client access points as real processes: copies, damage, drives, removal, and what becomes of
//! them when their site or its database is gone.

mod loss;

use serde_json::Value;

use crate::world::World;

/// The fleet's own resources of the namespace that tests use.
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
