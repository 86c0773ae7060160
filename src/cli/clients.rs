//! `waybill clients`: who has joined, and what an administrator does with them.

use std::io::Write;

use anyhow::{Result, bail};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    connection::{Way, asked, block_on, client_id, find_client, fleet, list, no_client, said},
    out::tell,
    show::{Output, Table, cell, on_terminal},
};

/// List, block, unblock, delete and label clients
// Options before a verb would be those of the list: nobody shall believe that they are the verb's.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Clients<W: Way> {
    #[command(subcommand)]
    verb: Option<Verb<W>>,
    /// How the list is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    site: W,
}

#[derive(Debug, clap::Subcommand)]
enum Verb<W: Way> {
    /// List all clients, as without a verb
    List(Listed<W>),
    /// Refuse a client's connections and offer it nothing
    Block(Named<W>),
    /// Take a block back
    Unblock(Named<W>),
    /// Forget a client; it has to join anew
    Delete(Named<W>),
    /// Set labels (KEY=VALUE) and remove labels (KEY-)
    Label(Label<W>),
}

#[derive(Debug, clap::Args)]
struct Listed<W: Way> {
    /// How the list is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    site: W,
}

#[derive(Debug, clap::Args)]
struct Named<W: Way> {
    /// The client's id, or its host name if no other has it; also the name of a distribution point or access point
    client: String,
    #[command(flatten)]
    site: W,
}

#[derive(Debug, clap::Args)]
struct Label<W: Way> {
    /// The client's id, or its host name if no other has it
    client: String,
    /// KEY=VALUE sets a label, KEY- removes it
    #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = label_or_removal)]
    labels: Vec<(String, Option<String>)>,
    #[command(flatten)]
    site: W,
}

/// More clients than a site admits.
const ROWS_MAX: usize = 200_000;

/// Reads `key=value`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("'{text}' is no label; write for instance ring=pilot"))
}

fn label_or_removal(text: &str) -> Result<(String, Option<String>), String> {
    match text.strip_suffix('-').filter(|key| !key.is_empty() && !key.contains('=')) {
        Some(key) => Ok((key.to_owned(), None)),
        None => label(text).map(|(key, value)| (key, Some(value))),
    }
}

impl<W: Way> Clients<W> {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            match self.verb {
                None => show(&self.site, self.output, out).await,
                Some(Verb::List(verb)) => show(&verb.site, verb.output, out).await,
                Some(Verb::Block(named)) => act("block", &named, out).await,
                Some(Verb::Unblock(named)) => act("unblock", &named, out).await,
                Some(Verb::Delete(named)) => act("delete", &named, out).await,
                Some(Verb::Label(verb)) => verb.run(out).await,
            }
        })
    }
}

async fn show<W: Way>(site: &W, output: Output, out: &mut impl Write) -> Result<u8> {
    let client = site.rows().await?;
    let clients = list(&fleet(&client, "Client", None), "", ROWS_MAX).await?;
    if output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&clients)?)?;
        return Ok(0);
    }
    if clients.is_empty() {
        let state = site.option();
        tell(&format!(
            "no client has joined yet; invite one with `{} token create --role client{state} > join.json`, and start \
             it with `waybill agent run --join join.json --state DIR`",
            W::PROGRAM
        ));
    }
    let mut table = Table::new(&["ID", "HOSTNAME", "OS", "AGENT", "BLOCKED", "COPIED", "LAST SEEN", "LABELS"]);
    for one in &clients {
        let status = &one.data["status"];
        let labels: Vec<String> = one.labels().iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut cells = vec![one.name_any()];
        cells.extend(
            ["hostname", "os", "agentVersion", "blocked", "copied", "lastSeen"].map(|member| cell(status, member)),
        );
        cells.push(labels.join(","));
        table.row(cells);
    }
    table.write(out, on_terminal())?;
    Ok(0)
}

async fn act<W: Way>(action: &str, named: &Named<W>, out: &mut impl Write) -> Result<u8> {
    let client = named.site.rows().await?;
    // Points are no rows of the list; the site knows them by name.
    let id = find_client::<W>(&client, &named.client).await?.unwrap_or_else(|| named.client.clone());
    let status = match asked(&client, "ClientAction", None, json!({"action": action, "client": id})).await {
        Err(kube::Error::Api(status)) if status.code == 404 => bail!(no_client::<W>(&named.client)),
        other => other.map_err(said)?,
    };
    writeln!(out, "{}", cell(&status, "text"))?;
    Ok(0)
}

impl<W: Way> Label<W> {
    async fn run(self, out: &mut impl Write) -> Result<u8> {
        let client = self.site.changing_rows().await?;
        let id = client_id::<W>(&client, &self.client).await?;
        let clients = fleet(&client, "Client", None);
        let before = clients.get(&id).await.map_err(said)?;
        let missing: Vec<&str> = self
            .labels
            .iter()
            .filter(|(key, value)| value.is_none() && !before.labels().contains_key(key))
            .map(|(key, _)| key.as_str())
            .collect();
        if !missing.is_empty() {
            bail!("{id} has no label {}; nothing was changed", missing.join(", "));
        }
        let labels: Value = self.labels.into_iter().map(|(key, value)| (key, json!(value))).collect();
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        let after = clients.patch(&id, &PatchParams::default(), &patch).await.map_err(said)?;
        let labels: Vec<String> = after.labels().iter().map(|(key, value)| format!("{key}={value}")).collect();
        let shown = if labels.is_empty() { "no labels".to_owned() } else { labels.join(",") };
        writeln!(out, "{id}: {shown}")?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed() {
        assert_eq!(label_or_removal("ring=pilot"), Ok(("ring".into(), Some("pilot".into()))));
        assert_eq!(label_or_removal("ring-"), Ok(("ring".into(), None)));
        assert_eq!(label_or_removal("a=b-"), Ok(("a".into(), Some("b-".into()))));
        assert!(label_or_removal("ring").is_err() && label("=x").is_err());
    }
}
