//! What people type: one file per verb. Here the words are told apart, errors shown and the exit code chosen.

mod agent;
mod apiserver;
mod cap;
mod clients;
mod cluster;
mod completion;
mod connection;
mod crds;
mod demo;
mod dp;
mod messages;
mod point;
mod release;
mod show;
mod site;
mod status;
mod sync;
mod token;
mod up;
pub mod validate;
mod why;

use std::{io, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

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
    Site(site::Site),
    Agent(agent::Agent),
    Dp(dp::DpVerb),
    Cap(cap::CapVerb),
    Status(status::Status),
    Messages(messages::Messages),
    Clients(clients::Clients),
    Why(why::Why),
    Log(why::Log),
    Token(token::Token),
    Sync(sync::Sync),
    Validate(validate::Args),
    Apiserver(apiserver::Apiserver),
    Crds(crds::Crds),
    Release(release::Release),
    Completion(completion::Completion),
}

/// Runs what argv asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::telemetry::init(&cli.log);
    let out = &mut io::stdout();
    let done = match cli.verb {
        Verb::Demo(verb) => verb.run().map(|()| 0),
        Verb::Up(verb) => verb.run().map(|()| 0),
        Verb::Site(verb) => verb.run().map(|()| 0),
        Verb::Agent(verb) => verb.run(out).map(|()| 0),
        Verb::Dp(verb) => verb.run().map(|()| 0),
        Verb::Cap(verb) => verb.run().map(|()| 0),
        Verb::Status(verb) => verb.run(out),
        Verb::Messages(verb) => verb.run(out),
        Verb::Clients(verb) => verb.run(out),
        Verb::Why(verb) => verb.run(out),
        Verb::Log(verb) => verb.run(out),
        Verb::Token(verb) => verb.run(out),
        Verb::Sync(verb) => verb.run(out),
        Verb::Validate(args) => validate::run(&args, out),
        Verb::Apiserver(verb) => verb.run().map(|()| 0),
        Verb::Crds(verb) => verb.run(out),
        Verb::Release(verb) => verb.run(out),
        Verb::Completion(verb) => verb.run(Cli::command(), out),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever reads our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the place where errors are shown to people")]
            {
                eprintln!("waybill: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_output = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.root_cause().downcast_ref::<io::Error>().is_some() && error.chain().any(of_output)
}
