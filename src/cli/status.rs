//! `waybill status`: the whole site on a page: git sync, packages on distribution points, advertisements on clients, and
//! the four summaries.

use std::{collections::BTreeMap, io::Write};

use anyhow::Result;
use kube::{Api, Client, Resource, ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use super::{
    connection::{Way, block_on, fleet, list},
    show::{Output, Table, cell, escaped, escaped_lines, on_terminal},
};
use crate::{
    api::{
        advertisement::Advertisement,
        collection::Collection,
        conditions::{Observed, needs_somebody},
        distribution::Distribution,
        package::Package,
        program::Program,
        site::Site,
    },
    model::reason::Reason,
};

/// Objects of one kind that are shown.
const ROWS_MAX: usize = 10_000;

/// Show the site: sync, packages, advertisements, summaries
#[derive(Debug, clap::Args)]
pub(super) struct Status<W: Way> {
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    site: W,
}

impl<W: Way> Status<W> {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            let page = gather(&self.site.objects().await?, &self.site.rows().await?).await?;
            match self.output {
                Output::Json => writeln!(out, "{page:#}")?,
                Output::Table => write(&page, out)?,
            }
            Ok(0)
        })
    }
}

/// Everything that is shown, as JSON.
async fn gather(client: &Client, rows: &Client) -> Result<Value> {
    let sites = list(&Api::<Site>::all(client.clone()), "", ROWS_MAX).await?;
    let packages = list(&Api::<Package>::all(client.clone()), "", ROWS_MAX).await?;
    let advertisements = list(&Api::<Advertisement>::all(client.clone()), "", ROWS_MAX).await?;
    let programs = list(&Api::<Program>::all(client.clone()), "", ROWS_MAX).await?;
    let distributions = list(&Api::<Distribution>::all(client.clone()), "", ROWS_MAX).await?;
    let collections = list(&Api::<Collection>::all(client.clone()), "", ROWS_MAX).await?;
    let locations = list(&fleet(rows, "ContentLocation", None), "", ROWS_MAX).await?;
    let copied = list(&fleet(rows, "Client", None), "status.copied=true", ROWS_MAX).await?;
    let copied: Vec<Value> =
        copied.iter().map(|one| json!({"name": one.name_any(), "hostname": one.data["status"]["hostname"]})).collect();
    let mut waiting = Vec::new();
    add_waiting(&mut waiting, &packages, |one| Some(&one.status.as_ref()?.observed));
    add_waiting(&mut waiting, &programs, |one| Some(&one.status.as_ref()?.observed));
    add_waiting(&mut waiting, &distributions, |one| Some(&one.status.as_ref()?.observed));
    add_waiting(&mut waiting, &collections, |one| Some(&one.status.as_ref()?.observed));
    add_waiting(&mut waiting, &advertisements, |one| Some(&one.status.as_ref()?.observed));
    let packages: Vec<Value> = packages
        .iter()
        .map(|one| {
            let status = json!(one.status);
            json!({"namespace": one.namespace(), "name": one.name_any(), "sourceVersion": status["sourceVersion"],
                "ready": ready(&status), "text": held_up(&status), "points": points(one, &locations), "distribution": status["distribution"]})
        })
        .collect();
    let advertisements: Vec<Value> = advertisements
        .iter()
        .map(|one| {
            let status = json!(one.status);
            json!({"namespace": one.namespace(), "name": one.name_any(), "ready": ready(&status),
                "text": held_up(&status), "health": status["health"], "clients": status["clients"], "messages": status["messages"]})
        })
        .collect();
    let sites: Vec<Value> = sites
        .iter()
        .map(|one| {
            let status = json!(one.status);
            json!({"name": one.name_any(), "ready": ready(&status), "reason": ready_condition(&status).map(|one| cell(one, "reason")),
                "text": own_trouble(&status), "health": status["health"],
                "clients": status["clients"], "syncs": status["fleet"].is_null(), "sync": status["sync"],
                "components": status["components"], "systems": status["systems"]})
        })
        .collect();
    Ok(
        json!({"sites": sites, "heldUp": waiting, "packages": packages, "advertisements": advertisements, "copiedClients": copied}),
    )
}

/// Adds those of one kind that are not ready, and whether they wait for somebody.
fn add_waiting<K>(waiting: &mut Vec<Value>, objects: &[K], observed: impl Fn(&K) -> Option<&Observed>)
where
    K: Resource<DynamicType = ()>,
{
    for object in objects {
        let Some(observed) = observed(object) else { continue };
        let ready = observed.conditions.iter().find(|one| one.type_ == "Ready" && one.status != "True");
        waiting.extend(ready.map(|ready| {
            json!({"kind": K::kind(&()), "namespace": object.namespace(), "name": object.name_any(), "reason": ready.reason,
                "text": ready.message, "needsSomebody": needs_somebody(&observed.conditions).is_some()})
        }));
    }
}

fn ready_condition(status: &Value) -> Option<&Value> {
    status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready")
}

/// What keeps an object from being ready, in its own words.
fn held_up(status: &Value) -> Option<String> {
    ready_condition(status).filter(|ready| ready["status"] != "True").map(|ready| cell(ready, "message"))
}

/// What keeps a site from being ready, but what git sync says: that stands beside its revision.
fn own_trouble(status: &Value) -> Option<String> {
    let of_sync = [Reason::ManifestsInvalid, Reason::PruneGuard].map(Reason::as_str);
    held_up(status).filter(|_| !of_sync.contains(&ready(status).as_str()))
}

/// The condition Ready as one word or the reason why not.
fn ready(status: &Value) -> String {
    match ready_condition(status) {
        None => "Unknown".to_owned(),
        Some(ready) if ready["status"] == "True" => "True".to_owned(),
        Some(ready) => cell(ready, "reason"),
    }
}

/// Each distribution point with the versions that it holds or is to hold.
fn points(package: &Package, locations: &[DynamicObject]) -> BTreeMap<String, Vec<String>> {
    let mut points: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for location in locations {
        let status = &location.data["status"];
        let own = location.namespace() == package.namespace() && cell(status, "package") == package.name_any();
        if own && !matches!(status["state"].as_str(), Some("Removed" | "Abandoned")) {
            let version = format!("{} {}", cell(status, "sourceVersion"), cell(status, "state"));
            points.entry(cell(status, "distributionPoint")).or_default().push(version);
        }
    }
    points
}

fn rows<'a>(of: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    of[member].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn write(page: &Value, out: &mut impl Write) -> Result<()> {
    for site in rows(page, "sites") {
        let (sync, health) = (&site["sync"], cell(site, "health"));
        let name = cell(site, "name");
        writeln!(
            out,
            "Site {name}: ready {}, health {health}, {} clients{}",
            cell(site, "ready"),
            cell(site, "clients"),
            for_somebody(page),
        )?;
        match cell(sync, "revision").as_str() {
            // In a cluster manifests are applied by others.
            "" if site["syncs"] == false => {}
            "" => writeln!(out, "No revision of the manifests is applied yet")?,
            revision => writeln!(out, "Revision {}, {} objects", escaped(revision), cell(sync, "objects"))?,
        }
        // A problem has several lines: what is wrong where, the line of the file, a mark beneath it.
        for problem in rows(sync, "problems").filter_map(Value::as_str) {
            writeln!(out, "  {}", escaped_lines(problem).replace('\n', "\n  "))?;
        }
        if let Some(held) = sync["heldRevision"].as_str() {
            writeln!(out, "Held back: revision {held} would remove")?;
            for removal in rows(sync, "heldRemovals") {
                writeln!(out, "  {}", escaped(removal.as_str().unwrap_or_default()))?;
            }
            writeln!(out, "  allow it with `waybill sync acknowledge {held}`")?;
        }
    }
    let held = held(page);
    if !held.is_empty() {
        section(out, "Held up", held)?;
    }
    for one in rows(page, "copiedClients") {
        writeln!(
            out,
            "\nTwo machines report as client {} ({}), or its state went back: `waybill messages --component Security` says what to do",
            escaped(&cell(one, "name")),
            escaped(&cell(one, "hostname")),
        )?;
    }
    section(out, "Packages", packages(page))?;
    section(out, "Package summary: distribution points", package_summary(page))?;
    section(out, "Advertisements: clients", advertisements(page))?;
    section(out, "Advertisement summary: messages", message_summary(page))?;
    let members = ["component", "system", "state", "informational", "warnings", "errors"];
    let header = ["COMPONENT", "SYSTEM", "STATE", "INFORMATIONAL", "WARNINGS", "ERRORS"];
    section(out, "Component summary", summary(page, "components", &header, members))?;
    let members = ["system", "role", "state", "storage", "freeKib", "totalKib"];
    let header = ["SYSTEM", "ROLE", "STATE", "STORAGE", "FREE KIB", "TOTAL KIB"];
    section(out, "Site system summary", summary(page, "systems", &header, members))
}

fn section(out: &mut impl Write, title: &str, table: Table) -> Result<()> {
    writeln!(out, "\n{title}")?;
    Ok(table.write(out, on_terminal())?)
}

fn named(object: &Value) -> String {
    format!("{}/{}", cell(object, "namespace"), cell(object, "name"))
}

/// How many objects wait for somebody, for those who read the first line alone.
fn for_somebody(page: &Value) -> String {
    match rows(page, "heldUp").filter(|one| one["needsSomebody"] == true).count() {
        0 => String::new(),
        1 => ", 1 object is held up".to_owned(),
        more => format!(", {more} objects are held up"),
    }
}

/// Whatever is not ready, with its reason and the remedy.
fn held(page: &Value) -> Table {
    let mut table = Table::new(&["KIND", "NAME", "REASON", "WHAT"]);
    for one in rows(page, "sites").filter(|one| one["text"].is_string()) {
        table.row(["Site".to_owned(), cell(one, "name"), cell(one, "reason"), cell(one, "text")]);
    }
    for one in rows(page, "heldUp") {
        table.row([cell(one, "kind"), named(one), cell(one, "reason"), cell(one, "text")]);
    }
    table
}

fn packages(page: &Value) -> Table {
    let mut table = Table::new(&["PACKAGE", "VERSION", "READY", "DISTRIBUTION POINT", "HOLDS"]);
    for package in rows(page, "packages") {
        let own = [named(package), cell(package, "sourceVersion"), cell(package, "ready")];
        let points = package["points"].as_object().filter(|points| !points.is_empty());
        for (point, versions) in points.into_iter().flatten() {
            let versions: Vec<&str> = versions.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            table.row(own.clone().into_iter().chain([point.clone(), versions.join(", ")]));
        }
        if points.is_none() {
            table.row(own.into_iter().chain([String::new(), String::new()]));
        }
    }
    table
}

fn package_summary(page: &Value) -> Table {
    let members = ["targeted", "installed", "pending", "retrying", "failed", "removing"];
    let mut table = Table::new(&["PACKAGE", "TARGETED", "INSTALLED", "PENDING", "RETRYING", "FAILED", "REMOVING"]);
    for package in rows(page, "packages") {
        table.row([named(package)].into_iter().chain(members.map(|member| cell(&package["distribution"], member))));
    }
    table
}

fn advertisements(page: &Value) -> Table {
    let members = ["targeted", "noStatus", "waiting", "running", "succeeded", "failed", "unknown", "notRunning"];
    let mut table = Table::new(&[
        "ADVERTISEMENT",
        "READY",
        "HEALTH",
        "TARGETED",
        "NO STATUS",
        "WAITING",
        "RUNNING",
        "SUCCEEDED",
        "FAILED",
        "UNKNOWN",
        "NOT RUNNING",
    ]);
    for one in rows(page, "advertisements") {
        let own = [named(one), cell(one, "ready"), cell(one, "health")];
        table.row(own.into_iter().chain(members.map(|member| cell(&one["clients"], member))));
    }
    table
}

fn message_summary(page: &Value) -> Table {
    let members = ["received", "failedToStart", "started", "succeeded", "failed"];
    let mut table = Table::new(&["ADVERTISEMENT", "RECEIVED", "FAILED TO START", "STARTED", "SUCCEEDED", "FAILED"]);
    for one in rows(page, "advertisements") {
        table.row([named(one)].into_iter().chain(members.map(|member| cell(&one["messages"], member))));
    }
    table
}

fn summary(page: &Value, list: &str, header: &[&'static str], members: [&str; 6]) -> Table {
    let mut table = Table::new(header);
    for row in rows(page, "sites").flat_map(|site| rows(site, list)) {
        // An access point has no storage that counts; that nothing of it is free would be a lie.
        let none = row["storage"] == "";
        table
            .row(members.map(|member| if none && member.ends_with("Kib") { String::new() } else { cell(row, member) }));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_that_somebody_has_to_act() {
        let site = json!([{"name": "main", "ready": "True", "health": "Critical", "clients": 3}]);
        let held = |name: &str, needs_somebody: bool| {
            json!({"kind": "Package", "namespace": "default", "name": name, "reason": "SourceRefused", "text": "x",
                "needsSomebody": needs_somebody})
        };
        let first = |held_up: Value| {
            let mut out = Vec::new();
            write(&json!({"sites": site, "heldUp": held_up}), &mut out).unwrap();
            String::from_utf8(out).unwrap().lines().next().unwrap().to_owned()
        };
        let sound = "Site main: ready True, health Critical, 3 clients";
        assert_eq!(first(json!([held("under-way", false)])), sound);
        let held_up = json!([held("a", true), held("b", false), held("c", true)]);
        assert_eq!(first(held_up), format!("{sound}, 2 objects are held up"));
    }

    #[test]
    fn a_problem_is_shown_with_its_lines_and_its_mark_in_place() {
        let problem = "a.yaml:6:3: there is no field `spec.sorce`\n 6 |   sorce: \u{1b}[2J\n   |   ^";
        let page = json!({"sites": [{"name": "main", "sync": {"revision": "r1", "objects": 2, "problems": [problem]}},
            {"name": "new", "sync": {"problems": ["x"]}, "systems": [{"system": "cap-2", "storage": "", "freeKib": 0}]}]});
        let mut out = Vec::new();
        write(&page, &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        let expected = "Revision r1, 2 objects\n  a.yaml:6:3: there is no field `spec.sorce`\n   6 |   sorce: \\u{1b}[2J\n     |   ^\n";
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.lines().any(|line| line.contains("cap-2") && line.contains('0')), "{shown}");
        assert!(shown.contains("No revision of the manifests is applied yet\n  x\n"), "{shown}");
    }
}
