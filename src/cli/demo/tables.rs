//! What the demo ends with: where every package lies, where every client stands, and the four status summaries.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Value;

use super::observe::Observer;
use crate::cli::{
    out::Out,
    show::{Table, on_terminal},
};

/// Shows all of them.
///
/// # Errors
/// If the API does not answer, or standard output cannot be written.
pub(super) async fn show(observer: &Observer, out: &mut Out) -> Result<()> {
    let view = observer.look().await?;
    let locations = observer.rows("ContentLocation", "contentlocations").await?;
    let points = pivot("PACKAGE", &locations, "package", "distributionPoint", |row| {
        format!("{} {}", row["sourceVersion"], word(row, "state"))
    });
    section(out, "Packages on distribution points", &points)?;
    let statuses = observer.rows("ClientStatus", "clientstatuses").await?;
    let clients = pivot("CLIENT", &statuses, "client", "advertisement", |row| word(row, "state"));
    section(out, "Clients and advertisements", &clients)?;

    let mut table = Table::new(&["PACKAGE", "VERSION", "TARGETED", "INSTALLED", "PENDING", "RETRYING", "FAILED"]);
    for (name, status) in &view.packages {
        let on = status.distribution.clone().unwrap_or_default();
        let version = status.source_version.unwrap_or(0);
        let counts = [version, on.targeted, on.installed, on.pending, on.retrying, on.failed];
        table.row([name.clone()].into_iter().chain(counts.map(|count| count.to_string())));
    }
    section(out, "Package status summary", &table)?;

    let mut table = Table::new(&["ADVERTISEMENT", "TARGETED", "SUCCEEDED", "RUNNING", "FAILED", "RECEIVED", "STARTED"]);
    for (name, status) in &view.advertisements {
        let (clients, messages) =
            (status.clients.clone().unwrap_or_default(), status.messages.clone().unwrap_or_default());
        let counts =
            [clients.targeted, clients.succeeded, clients.running, clients.failed, messages.received, messages.started];
        table.row([name.clone()].into_iter().chain(counts.map(|count| count.to_string())));
    }
    section(out, "Advertisement status summary", &table)?;

    let mut table = Table::new(&["COMPONENT", "SYSTEM", "STATE", "INFORMATIONAL", "WARNINGS", "ERRORS"]);
    for one in &view.site.components {
        let counts = [one.informational, one.warnings, one.errors].map(|count| count.to_string());
        let words = [one.component.clone(), one.system.clone(), one.state.clone()];
        table.row(words.into_iter().chain(counts));
    }
    section(out, "Component status summary", &table)?;

    let mut table = Table::new(&["SYSTEM", "ROLE", "STATE", "AVAILABLE", "FREE GIB"]);
    for one in &view.site.systems {
        let available = if one.available { "yes" } else { "no" };
        let free = if one.storage.is_empty() { String::new() } else { (one.free_kib >> 20).to_string() };
        table.row([one.system.as_str(), &one.role, &one.state, available, &free].map(str::to_owned));
    }
    section(out, "Site system status summary", &table)
}

fn section(out: &mut Out, title: &str, table: &Table) -> Result<()> {
    out.say(&format!("\n{title}"))?;
    Ok(table.write(out, on_terminal())?)
}

/// A table with a line for every `down` and a column for every `across`. A cell holds the last row that belongs there:
/// rows come in order of version.
fn pivot(corner: &str, rows: &[Value], down: &str, across: &str, cell: impl Fn(&Value) -> String) -> Table {
    let columns: BTreeSet<String> = rows.iter().map(|row| word(row, across)).collect();
    let mut lines: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut rows: Vec<&Value> = rows.iter().collect();
    rows.sort_by_key(|row| row["sourceVersion"].as_i64());
    for row in rows {
        lines.entry(word(row, down)).or_default().insert(word(row, across), cell(row));
    }
    let heads: Vec<&str> = std::iter::once(corner).chain(columns.iter().map(String::as_str)).collect();
    let mut table = Table::new(&heads);
    for (name, cells) in &lines {
        let cells = columns.iter().map(|column| cells.get(column).cloned().unwrap_or_default());
        table.row([name.clone()].into_iter().chain(cells));
    }
    table
}

fn word(row: &Value, member: &str) -> String {
    row[member].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_become_lines_and_columns_and_the_newest_version_wins() {
        let row = |package: &str, point: &str, version: u64, state: &str| json!({"package": package, "distributionPoint": point, "sourceVersion": version, "state": state});
        let rows = [row("a", "x", 2, "InstallPending"), row("a", "x", 1, "Installed"), row("b", "y", 1, "Installed")];
        let table = pivot("PACKAGE", &rows, "package", "distributionPoint", |row| word(row, "state"));
        let mut shown = Vec::new();
        table.write(&mut shown, false).unwrap();
        let expected = "PACKAGE  x               y\na        InstallPending  -\nb        -               Installed\n";
        assert_eq!(String::from_utf8(shown).unwrap(), expected);
    }
}
