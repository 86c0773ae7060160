//! `waybill completion`: a script that completes verbs and options in a shell.

use std::io::Write;

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;

/// Write a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Writes the script for the whole command line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn run(&self, mut command: Command, out: &mut impl Write) -> Result<u8> {
        // The generator panics on a closed pipe: it writes into memory first.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "waybill", &mut script);
        out.write_all(&script)?;
        Ok(0)
    }
}
