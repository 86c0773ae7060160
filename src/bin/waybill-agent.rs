//! The slim client agent: the same code as `waybill agent`, without what only servers need.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use waybill::agent::run;

/// The Waybill client agent.
#[derive(Parser)]
#[command(name = "waybill-agent", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Stand over one run; started by the agent only.
    #[command(hide = true)]
    Supervise(run::SuperviseArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Supervise(args) => run::supervise(&args, &["supervise"]),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
