//! What people type: one file per verb. Here the words are told apart, errors shown and the exit code chosen. The verbs that ask a
//! running site are those of the kubectl plugin too, by another way.

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
mod forward;
mod in_cluster;
mod log;
mod messages;
mod out;
mod plugin;
mod point;
mod reach;
mod release;
mod show;
mod site;
mod status;
mod sync;
mod token;
mod up;
pub mod validate;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::{
    connection::{InNamespace, Site},
    out::Out,
};
use crate::{
    telemetry::{self, Filter},
    transport::kubernetes::in_words,
};

/// Software distribution for fleets of machines, declared in git
#[derive(Debug, Parser)]
#[command(
    name = "waybill",
    version,
    after_help = "Begin with `waybill demo`, or serve a directory of your own with `waybill up DIRECTORY`"
)]
struct Cli {
    /// What to log, as `info` or `waybill=debug,warn`
    #[arg(long, global = true, value_name = "FILTER", default_value = "info", display_order = LAST)]
    log: Filter,
    #[command(subcommand)]
    verb: Verb,
}

/// Place of what every verb has, after its own options and before the help.
const LAST: usize = 900;

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Demo),
    Up(up::Up),
    Site(site::Site),
    Agent(agent::Agent),
    Dp(dp::DpVerb),
    Cap(cap::CapVerb),
    Status(status::Status<Site>),
    Messages(messages::Messages<Site>),
    Clients(clients::Clients<Site>),
    Why(why::Why<InNamespace>),
    Log(why::Log<InNamespace>),
    Token(token::Token<Site>),
    Sync(sync::Sync<Site>),
    Validate(validate::Args),
    Apiserver(apiserver::Apiserver),
    Crds(crds::Crds),
    Release(release::Release),
    Reach(reach::Reach),
    Completion(completion::Completion),
}

/// Runs what argv asks for.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = plugin::called() {
        return code;
    }
    let cli = Cli::parse();
    telemetry::init(&cli.log);
    let mut out = Out::new();
    let done = run(cli.verb, &mut out);
    conclude(done, out, "waybill")
}

/// What is left of the output is written, and an error shown in the name of the program.
fn conclude(done: anyhow::Result<u8>, mut out: Out, program: &str) -> ExitCode {
    match done.and_then(|code| Ok(out.finish().map(|()| code)?)) {
        Ok(code) => ExitCode::from(code),
        Err(error) if out::is_reader_gone(&error) => ExitCode::from(out::READER_GONE),
        Err(error) => {
            out::tell(&format!("{program}: {}", in_words(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb, out: &mut Out) -> anyhow::Result<u8> {
    match verb {
        Verb::Demo(verb) => verb.run(out).map(|()| 0),
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
        Verb::Reach(verb) => verb.run(out),
        Verb::Completion(verb) => verb.run(Cli::command(), "waybill", out),
    }
}
