//! The sizes a site is built for, with a bound so loose that only work growing with the square of them exceeds it.

use std::time::{Duration, Instant};

use super::{
    devices, fixtures,
    fixtures::NOW,
    jobs::{self, JobSpec},
    leaves,
    locations::{self, Hold},
    messages, points, records, report, status, summaries,
};
use crate::{
    content::digest::Digest,
    model::{
        identity::ObjectName,
        state::{LocationState, RunState},
    },
    trust::{envelope::Envelope, identity::Role},
    wire::{
        points::{PointReport, VersionReport},
        record::PackageRecord,
    },
};

/// Unoptimised code on a busy machine needs a few seconds.
const BOUND: Duration = Duration::from_secs(60);
const PACKAGES: usize = 1_000;
/// A third of the fleet one site is built for: enough to show what grows too fast, at debug speed.
const CLIENTS: usize = 3_000;

#[test]
fn a_thousand_packages_on_two_points() {
    let begun = Instant::now();
    let mut tx = fixtures::scratch();
    for number in 0..PACKAGES {
        let package = ObjectName::new("default", format!("package-{number}"));
        let content = Digest::of(&number.to_le_bytes());
        let record = PackageRecord {
            site: "s1".into(),
            namespace: package.namespace.clone(),
            package: package.name.clone(),
            source_version: 1,
            content: Some(content),
            size_bytes: 1,
            programs: Vec::new(),
        };
        let payload = String::from_utf8(record.encode().unwrap()).unwrap();
        records::publish(&mut tx, &Envelope { payload, signatures: Vec::new() }, NOW).unwrap();
        let points =
            ["dp-1", "dp-2"].map(|point| Hold { point: point.into(), source_version: 1, content, resend_token: None });
        locations::want(&mut tx, &package, &points, NOW).unwrap();
        let specs = ["dp-1", "dp-2"].map(|point| JobSpec {
            namespace: package.namespace.clone(),
            distribution: package.name.clone(),
            package: package.name.clone(),
            source_version: 1,
            content: Some(content),
            point: point.into(),
            resend_token: None,
            advertisement: None,
            priority: jobs::Priority::Normal,
            start_after_ms: None,
            send: false,
        });
        jobs::set(&mut tx, &package.namespace, &package.name, &specs, NOW).unwrap();
    }
    for point in ["dp-1", "dp-2"] {
        let installed = |row: locations::LocationRow| VersionReport {
            version: row.version,
            state: LocationState::Installed,
            detail: None,
            path: None,
            verified_at_ms: Some(NOW),
            resend_token: None,
            check: 0,
        };
        let report = PointReport {
            assignment: "1".into(),
            url: format!("https://{point}"),
            drives: Vec::new(),
            versions: locations::wanted_of(&tx, point).unwrap().into_iter().map(installed).collect(),
            messages: Vec::new(),
            outbox: "o".into(),
        };
        assert!(report::take(&mut tx, point, point, &report, NOW).unwrap().changed);
        let changes = tx.total_changes();
        assert!(!report::take(&mut tx, point, point, &report, NOW).unwrap().changed);
        assert_eq!(tx.total_changes(), changes + 1, "a heartbeat writes the time it came and nothing else");
    }
    assert_eq!(records::offerable(&tx).unwrap().len(), PACKAGES);
    assert_eq!(points::all_holders(&tx).unwrap().len(), PACKAGES);
    let unfinished = jobs::page(&tx, None, "", jobs::PAGE_MAX).unwrap();
    assert!(unfinished.iter().all(|job| job.state == jobs::PhaseState::Complete));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

#[test]
fn thousands_of_clients() {
    let begun = Instant::now();
    let mut tx = fixtures::scratch();
    let ids: Vec<String> = (0..CLIENTS).map(|number| format!("client-{number:05}")).collect();
    let story = [RunState::Accepted, RunState::Running, RunState::Succeeded];
    let batch: Vec<_> = (1..).zip(story.map(|state| fixtures::message("editor", state))).collect();
    for id in &ids {
        fixtures::client(&mut tx, id);
        messages::store_batch(&mut tx, &fixtures::sender(id), "o", &batch, NOW).unwrap();
    }
    let bodies: Vec<_> = ids.iter().map(|id| (id.clone(), Digest::of(b"body"))).collect();
    leaves::assign(&mut tx, &bodies, NOW).unwrap();
    let changes = tx.total_changes();
    leaves::assign(&mut tx, &bodies, NOW + 1).unwrap();
    assert_eq!(tx.total_changes(), changes, "unchanged policy writes nothing");

    let editor = ObjectName::new("default", "editor");
    assert_eq!(summaries::client_states(&tx, &editor).unwrap(), [(RunState::Succeeded, CLIENTS as u64)].into());
    assert_eq!(status::states(&tx, &editor, Some("again")).unwrap().len(), CLIENTS);
    assert_eq!(devices::all(&tx, Role::Client).unwrap().len(), CLIENTS);
    let mut gone = 0;
    while let step @ 1.. = messages::expire(&mut tx, NOW + 1).unwrap() {
        gone += step;
    }
    assert_eq!(gone, 3 * CLIENTS);
    assert_eq!(summaries::message_counts(&tx, &editor).unwrap().started, CLIENTS as u64);
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}
