//! `waybill token`: invitations for machines. The join file goes to standard output and nowhere else.

use std::io::{self, Write};

use anyhow::{Result, anyhow};
use kube::{Client, ResourceExt, api::DeleteParams};
use serde_json::{Value, json};

use super::{
    connection::{Way, ask, block_on, fleet, list, said},
    out::tell,
    show::{Output, Table, cell, on_terminal},
};
use crate::model::duration::Span;

/// Invite machines: create, list and revoke enrolment tokens
#[derive(Debug, clap::Args)]
pub(super) struct Token<W: Way> {
    #[command(subcommand)]
    verb: Verb<W>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb<W: Way> {
    /// Make an invitation and print its join file, which nobody else should read: the secret in it is shown only now
    Create(Create<W>),
    /// List invitations and how often each may still be used, without their secrets
    List(List<W>),
    /// Take an invitation back
    Revoke(Revoke<W>),
}

#[derive(Debug, clap::Args)]
struct Create<W: Way> {
    /// What joins with it
    #[arg(long, value_name = "ROLE", value_parser = ["client", "dp", "cap"])]
    role: String,
    /// Name of the distribution point or access point that joins; without one, its host name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many machines may join with it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// How long it may be used, at most 24h
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = super::messages::span)]
    expires: Span,
    /// Label that clients get when they join; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::clients::label)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    site: W,
}

#[derive(Debug, clap::Args)]
struct List<W: Way> {
    /// How the list is written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    site: W,
}

#[derive(Debug, clap::Args)]
struct Revoke<W: Way> {
    /// The token's name, as `waybill token list` shows it
    name: String,
    #[command(flatten)]
    site: W,
}

/// More tokens than a site keeps.
const ROWS_MAX: usize = 10_000;

impl<W: Way> Token<W> {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        match self.verb {
            Verb::Create(verb) => block_on(verb.run(out)),
            Verb::List(verb) => block_on(verb.run(out)),
            Verb::Revoke(verb) => block_on(verb.run(out)),
        }
    }
}

impl<W: Way> Create<W> {
    async fn run(self, out: &mut impl Write) -> Result<u8> {
        let client = self.site.rows().await?;
        let mut spec = json!({"role": self.role, "uses": self.uses, "expiresIn": self.expires.to_string()});
        if let Some(name) = &self.name {
            spec["name"] = json!(name);
        }
        if !self.label.is_empty() {
            spec["labels"] = self.label.into_iter().map(|(key, value)| (key, json!(value))).collect::<Value>();
        }
        let status = ask(&client, "EnrolmentToken", None, spec).await?;
        let name = cell(&status, "token");
        if let Err(error) = writeln!(out, "{:#}", status["joinFile"]).and_then(|()| out.flush()) {
            return Err(take_back::<W>(&client, &name, &error).await);
        }
        let (uses, expires) = (cell(&status, "usesLeft"), cell(&status, "expires"));
        tell(&format!("{name} is good for {uses} until {expires}; keep the join file secret."));
        Ok(0)
    }
}

/// An invitation that nobody saw whole must not stay: its secret may lie in half of a file. The error says what became of it.
async fn take_back<W: Way>(client: &Client, name: &str, unwritten: &io::Error) -> anyhow::Error {
    let why = std::error::Error::source(unwritten).map_or_else(|| unwritten.to_string(), ToString::to_string);
    let told = format!("the join file could not be written ({why})");
    match fleet(client, "EnrolmentToken", None).delete(name, &DeleteParams::default()).await {
        Ok(_) => anyhow!("{told}, so {name} was revoked; make room or write elsewhere, and create another"),
        Err(error) => said(error).context(format!(
            "{told}, and {name} could not be revoked; do it with `{} token revoke {name}`",
            W::PROGRAM
        )),
    }
}

impl<W: Way> List<W> {
    async fn run(self, out: &mut impl Write) -> Result<u8> {
        let client = self.site.rows().await?;
        let tokens = list(&fleet(&client, "EnrolmentToken", None), "", ROWS_MAX).await?;
        if self.output == Output::Json {
            writeln!(out, "{}", serde_json::to_string_pretty(&tokens)?)?;
            return Ok(0);
        }
        if tokens.is_empty() {
            let state = self.site.option();
            tell(&format!(
                "nobody is invited; `{} token create --role client{state} > join.json` invites a client, the roles dp \
                 and cap invite points",
                W::PROGRAM
            ));
        }
        let mut table = Table::new(&["NAME", "ROLE", "FOR", "USES LEFT", "EXPIRES"]);
        for token in tokens {
            let (spec, status) = (&token.data["spec"], &token.data["status"]);
            table.row([
                token.name_any(),
                cell(spec, "role"),
                cell(spec, "name"),
                cell(status, "usesLeft"),
                cell(status, "expires"),
            ]);
        }
        table.write(out, on_terminal())?;
        Ok(0)
    }
}

impl<W: Way> Revoke<W> {
    async fn run(self, out: &mut impl Write) -> Result<u8> {
        let client = self.site.changing_rows().await?;
        let tokens = fleet(&client, "EnrolmentToken", None);
        tokens.delete(&self.name, &DeleteParams::default()).await.map_err(said)?;
        writeln!(out, "{} is revoked", self.name)?;
        Ok(0)
    }
}
