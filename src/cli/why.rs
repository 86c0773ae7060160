//! `waybill why` and `waybill log`: why a client has not run what is advertised, and everything it said about it.

use std::io::Write;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    connection::{Way, ask, block_on, client_id, find_client, fleet, no_client, said},
    log, messages,
    show::{Output, Table, cell, escaped, on_terminal},
};

/// An advertisement and a client.
#[derive(Debug, clap::Args)]
struct Pair<W: Way> {
    /// The advertisement, as NAME or NAMESPACE/NAME
    advertisement: String,
    /// The client's id, or its host name if no other has it
    client: String,
    #[command(flatten)]
    site: W,
}

/// Explain why a client has not run what is advertised, or that it has; exit code 1 if somebody has to act
#[derive(Debug, clap::Args)]
pub(super) struct Why<W: Way> {
    #[command(flatten)]
    pair: Pair<W>,
    /// How the explanation is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Show every message of a client about an advertisement, and the output of its last run
#[derive(Debug, clap::Args)]
pub(super) struct Log<W: Way> {
    #[command(flatten)]
    pair: Pair<W>,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Messages of one client about one advertisement that are shown: the newest.
const MESSAGES_MAX: usize = 5_000;

impl<W: Way> Pair<W> {
    /// Namespace and name of the advertisement.
    async fn advertisement(&self) -> Result<(String, String)> {
        Ok(match self.advertisement.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (self.site.namespace().await?, self.advertisement.clone()),
        })
    }
}

impl<W: Way> Why<W> {
    /// Runs the verb; answers the exit code: 0 if all is done or comes by itself, 1 if not.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            let client = self.pair.site.rows().await?;
            let id = client_id::<W>(&client, &self.pair.client).await?;
            let (namespace, advertisement) = self.pair.advertisement().await?;
            let spec = json!({"advertisement": advertisement, "client": id});
            let status = ask(&client, "Explanation", Some(&namespace), spec).await?;
            match self.output {
                Output::Json => writeln!(out, "{status:#}")?,
                Output::Table => table(&status, out)?,
            }
            Ok(u8::from(matches!(status["standing"].as_str(), Some("failed" | "unknown"))))
        })
    }
}

fn table(status: &Value, out: &mut impl Write) -> Result<()> {
    let mut table = Table::new(&["STEP", "STANDING", "REASON", "WHAT"]);
    for step in status["steps"].as_array().into_iter().flatten() {
        table.row(["step", "standing", "reason", "text"].map(|member| cell(step, member)));
    }
    table.write(out, on_terminal())?;
    let reason = cell(status, "reason");
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    writeln!(
        out,
        "\n{}: {}{reason}: {}",
        cell(status, "step"),
        cell(status, "standing"),
        escaped(&cell(status, "text"))
    )?;
    Ok(())
}

impl<W: Way> Log<W> {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            let (namespace, advertisement) = self.pair.advertisement().await?;
            let Pair { client: given, site, .. } = self.pair;
            let client = site.rows().await?;
            let known = find_client::<W>(&client, &given).await?;
            // A client that was deleted since still has said what it said.
            let id = known.as_deref().unwrap_or(&given);
            let selector =
                messages::selector(&[("advertisement", &format!("{namespace}/{advertisement}")), ("client", id)]);
            let said_of_it = messages::newest(&client, &selector, MESSAGES_MAX).await?;
            let row = match &known {
                Some(id) => {
                    let statuses = fleet(&client, "ClientStatus", Some(&namespace));
                    statuses.get_opt(&format!("{advertisement}.{id}")).await.map_err(said)?
                }
                None => None,
            };
            if known.is_none() && said_of_it.is_empty() {
                bail!(no_client::<W>(&given));
            }
            if row.is_none() && said_of_it.is_empty() {
                messages::check_advertisement(&client, &namespace, &advertisement).await?;
            }
            match self.output {
                Output::Json => {
                    let status = row.as_ref().map(|row| &row.data["status"]);
                    writeln!(out, "{:#}", json!({"messages": said_of_it, "status": status}))?;
                }
                Output::Table => log::write(&advertisement, id, &said_of_it, row.as_ref(), out)?,
            }
            Ok(u8::from(row.is_none()))
        })
    }
}
