//! `waybill why` and `waybill log`: why a client has not run what is advertised, and everything it said about it.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    connection::{Site, ask, block_on, client_id, fleet, said},
    messages,
    show::{Output, Table, cell, escaped, escaped_lines, on_terminal},
};

/// An advertisement and a client.
#[derive(Debug, clap::Args)]
struct Pair {
    /// The advertisement
    advertisement: String,
    /// The client's id, or its host name if no other has it
    client: String,
    /// The advertisement's namespace
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    #[command(flatten)]
    site: Site,
}

/// Explain why a client has not run what is advertised, or that it has; exit code 1 if somebody has to act
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    #[command(flatten)]
    pair: Pair,
    /// How the explanation is written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Show every message of a client about an advertisement, and the output of its last run
#[derive(Debug, clap::Args)]
pub(super) struct Log {
    #[command(flatten)]
    pair: Pair,
}

/// Messages of one client about one advertisement that are shown: the newest.
const MESSAGES_MAX: usize = 5_000;

impl Why {
    /// Runs the verb; answers the exit code: 0 if all is done or comes by itself, 1 if not.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            let client = self.pair.site.client().await?;
            let id = client_id(&client, &self.pair.client).await?;
            let spec = json!({"advertisement": self.pair.advertisement, "client": id});
            let status = ask(&client, "Explanation", Some(&self.pair.namespace), spec).await?;
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

impl Log {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            let Pair { advertisement, client: given, namespace, site } = self.pair;
            let client = site.client().await?;
            let id = client_id(&client, &given).await?;
            let selector = format!("status.advertisement={namespace}/{advertisement},status.client={id}");
            for message in messages::newest(&client, &selector, MESSAGES_MAX).await? {
                writeln!(out, "{}", messages::line(&message))?;
            }
            let statuses = fleet(&client, "ClientStatus", Some(&namespace));
            let Some(row) = statuses.get_opt(&format!("{advertisement}.{id}")).await.map_err(said)? else {
                writeln!(out, "\n{id} is no target of {advertisement} and has said nothing about it")?;
                return Ok(1);
            };
            let status = &row.data["status"];
            let exit = status["exitCode"].as_i64().map_or_else(String::new, |code| format!(", exit code {code}"));
            writeln!(out, "\n{}{exit}", cell(status, "state"))?;
            match status["output"].as_str() {
                Some(output) => writeln!(out, "\nOutput of the last run:\n{}", escaped_lines(output))?,
                None => writeln!(out, "The client sent no output (ClientAgentConfig reportOutput).")?,
            }
            Ok(0)
        })
    }
}
