//! `waybill agent`: the client agent, and what local users ask of it. The slim `waybill-agent` has the same verbs.

use std::io::{IsTerminal, Write};

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};

use super::out::tell;
use crate::agent::{
    self, run, shown,
    socket::{self, Answer, Request},
};

/// Run this machine's client agent, or ask it
#[derive(Debug, clap::Args)]
pub(super) struct Agent {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the client agent until the process is asked to stop
    Run(agent::RunArgs),
    /// List what is offered to this machine
    Offers(Look),
    /// Start an offered program
    Start {
        /// The advertisement, as `namespace/name` or `name`
        name: String,
        #[command(flatten)]
        agent: agent::SocketArgs,
    },
    /// List what ran on this machine
    History(Look),
    /// Stand over one run; started by the agent only
    #[command(hide = true)]
    Supervise(run::SuperviseArgs),
}

#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    agent: agent::SocketArgs,
    /// How to show it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table
    Table,
    /// JSON
    Json,
}

impl Agent {
    /// Does what the verb says. No thread may exist yet: a stage changes its user.
    ///
    /// # Errors
    /// If the agent cannot run, cannot be reached, or refuses.
    pub(super) fn run(self, out: &mut impl Write) -> Result<()> {
        match self.verb {
            Verb::Supervise(args) => run::supervise(&args, &["agent", "supervise"]),
            Verb::Run(args) => agent::run_until_signalled(args, &["agent", "supervise"]),
            Verb::Offers(look) => look.show(&Request::Offers, out),
            Verb::History(look) => look.show(&Request::History, out),
            Verb::Start { name, agent } => match socket::ask(&agent.path(), &Request::Start { advertisement: name })? {
                Answer::Refused(why) => bail!("{why}"),
                answer => Ok(writeln!(out, "{} will be started", shown::json(answer)?.trim_matches('"'))?),
            },
        }
    }
}

impl Look {
    fn show(self, request: &Request, out: &mut impl Write) -> Result<()> {
        let answer = socket::ask(&self.agent.path(), request)?;
        if self.output == Output::Json {
            return Ok(writeln!(out, "{}", shown::json(answer)?)?);
        }
        if let Some(nothing) = shown::nothing(&answer) {
            tell(nothing);
        }
        let text = match answer {
            Answer::Offers(offers) => {
                table(shown::OFFER_HEADS, &offers.iter().map(shown::offer_row).collect::<Vec<_>>())
            }
            Answer::History(runs) => table(shown::RUN_HEADS, &runs.iter().map(shown::run_row).collect::<Vec<_>>()),
            Answer::Started(name) => name,
            Answer::Refused(why) => bail!("{why}"),
        };
        Ok(out.write_all(text.as_bytes())?)
    }
}

/// A table for a terminal; plain columns for everything else, so that other programs can read them.
fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    if !std::io::stdout().is_terminal() {
        return shown::columns(&heads, rows);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(heads);
    for row in rows {
        table.add_row(row.iter());
    }
    format!("{table}\n")
}
