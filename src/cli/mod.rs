//! What people type: one file per verb. Here the words are told apart, errors shown and the exit code chosen.

mod agent;
mod apiserver;
mod cap;
mod demo;
mod dp;
mod point;
mod up;
pub mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Software distribution for fleets of machines, declared in git
#[derive(Debug, Parser)]
#[command(name = "waybill", version)]
struct Cli {
    /// What to log, as `info` or `waybill=debug,warn`
    #[arg(long, global = true, value_name = "FILTER", default_value = "info")]
    log: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Demo),
    Up(up::Up),
    Agent(agent::Agent),
    Dp(dp::DpVerb),
    Cap(cap::CapVerb),
    Apiserver(apiserver::Apiserver),
    Validate(validate::Args),
}

/// Runs what argv asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::telemetry::init(&cli.log);
    let done = match cli.verb {
        Verb::Demo(verb) => verb.run().map(|()| 0),
        Verb::Up(verb) => verb.run().map(|()| 0),
        Verb::Agent(verb) => verb.run(&mut std::io::stdout()).map(|()| 0),
        Verb::Dp(verb) => verb.run().map(|()| 0),
        Verb::Cap(verb) => verb.run().map(|()| 0),
        Verb::Apiserver(verb) => verb.run().map(|()| 0),
        Verb::Validate(args) => validate::run(&args, &mut std::io::stdout().lock()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the place where errors are shown to people")]
            {
                eprintln!("waybill: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
