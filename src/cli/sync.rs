//! `waybill sync acknowledge`: allows the removals of a revision that git sync holds back.

use std::io::Write;

use anyhow::Result;

use super::connection::{Way, block_on};
use crate::gitops::acknowledge::acknowledge;

/// Allow git sync what it holds back
#[derive(Debug, clap::Args)]
pub(super) struct Sync<W: Way> {
    #[command(subcommand)]
    verb: Verb<W>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb<W: Way> {
    /// Allow the removals of a revision that is held back; `waybill status` shows which one and what it removes
    Acknowledge(Acknowledge<W>),
}

#[derive(Debug, clap::Args)]
struct Acknowledge<W: Way> {
    /// The revision, or its first 7 or more digits
    revision: String,
    #[command(flatten)]
    site: W,
}

impl<W: Way> Sync<W> {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// If nothing is held back, or something else is.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        let Verb::Acknowledge(Acknowledge { revision, site }) = self.verb;
        block_on(async {
            let client = site.objects().await?;
            let full = acknowledge(&client, &revision).await?;
            writeln!(out, "the removals of revision {full} are allowed")?;
            Ok(0)
        })
    }
}
