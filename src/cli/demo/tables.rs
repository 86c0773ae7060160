//! What the demo ends with: where every package lies, where every client stands, and the four status summaries.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::Value;

use super::observe::Observer;
use crate::cli::out::Out;

/// Shows all of them.
///
/// # Errors
/// If the API does not answer, or standard output cannot be written.
pub(super) async fn show(observer: &Observer, out: &mut Out) -> Result<()> {
    let view = observer.look().await?;
    let locations = observer.rows("ContentLocation", "contentlocations").await?;
    out.say("\nPackages on distribution points")?;
    out.say(&pivot("package", &locations, "package", "distributionPoint", |row| {
        format!("{} {}", row["sourceVersion"], word(row, "state"))
    }))?;
    let statuses = observer.rows("ClientStatus", "clientstatuses").await?;
    out.say("\nClients and advertisements")?;
    out.say(&pivot("client", &statuses, "client", "advertisement", |row| word(row, "state")))?;

    out.say("\nPackage status summary")?;
    let mut table = plain(&["package", "version", "targeted", "installed", "pending", "retrying", "failed"]);
    for (name, status) in &view.packages {
        let on = status.distribution.clone().unwrap_or_default();
        let version = status.source_version.unwrap_or(0);
        let counts = [version, on.targeted, on.installed, on.pending, on.retrying, on.failed];
        table.add_row([name.clone()].into_iter().chain(counts.map(|count| count.to_string())));
    }
    out.say(&table.to_string())?;

    out.say("\nAdvertisement status summary")?;
    let mut table = plain(&["advertisement", "targeted", "succeeded", "running", "failed", "received", "started"]);
    for (name, status) in &view.advertisements {
        let (clients, messages) =
            (status.clients.clone().unwrap_or_default(), status.messages.clone().unwrap_or_default());
        let counts =
            [clients.targeted, clients.succeeded, clients.running, clients.failed, messages.received, messages.started];
        table.add_row([name.clone()].into_iter().chain(counts.map(|count| count.to_string())));
    }
    out.say(&table.to_string())?;

    out.say("\nComponent status summary")?;
    let mut table = plain(&["component", "system", "state", "informational", "warnings", "errors"]);
    for one in &view.site.components {
        let counts = [one.informational, one.warnings, one.errors].map(|count| count.to_string());
        let words = [one.component.clone(), one.system.clone(), one.state.clone()];
        table.add_row(words.into_iter().chain(counts));
    }
    out.say(&table.to_string())?;

    out.say("\nSite system status summary")?;
    let mut table = plain(&["system", "role", "state", "available", "free GiB"]);
    for one in &view.site.systems {
        let (available, free) = (if one.available { "yes" } else { "no" }, (one.free_kib >> 20).to_string());
        table.add_row([one.system.as_str(), &one.role, &one.state, available, &free]);
    }
    out.say(&table.to_string())?;
    Ok(())
}

fn plain(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(headings.iter().copied());
    table
}

/// A table with a line for every `down` and a column for every `across`. A cell holds the last row that belongs there:
/// rows come in order of version.
fn pivot(corner: &str, rows: &[Value], down: &str, across: &str, cell: impl Fn(&Value) -> String) -> String {
    let columns: BTreeSet<String> = rows.iter().map(|row| word(row, across)).collect();
    let mut lines: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut rows: Vec<&Value> = rows.iter().collect();
    rows.sort_by_key(|row| row["sourceVersion"].as_i64());
    for row in rows {
        lines.entry(word(row, down)).or_default().insert(word(row, across), cell(row));
    }
    let mut table = plain(&[]);
    table.set_header([corner.to_owned()].into_iter().chain(columns.iter().cloned()));
    for (name, cells) in &lines {
        let cells = columns.iter().map(|column| cells.get(column).cloned().unwrap_or_default());
        table.add_row([name.clone()].into_iter().chain(cells));
    }
    table.to_string()
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
        let table = pivot("package", &rows, "package", "distributionPoint", |row| word(row, "state"));
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["package", "x", "y"]), "{table}");
        assert!(lines.contains(&vec!["a", "InstallPending"]), "{table}");
        assert!(lines.contains(&vec!["b", "Installed"]), "{table}");
    }
}
