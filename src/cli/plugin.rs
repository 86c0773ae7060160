//! The same verbs as a plugin of kubectl: called `kubectl-waybill`, the program reaches a site through a cluster instead of by a
//! state directory; called `kubectl_complete-waybill`, it tells kubectl what may come next on the command line.

use std::{env, ffi::OsString, path::Path, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use super::{
    LAST, clients, completion, conclude, in_cluster::InCluster, messages, out::Out, release, status, sync, token,
    validate, why,
};
use crate::telemetry::{self, Filter};

/// Name of the program as a plugin.
const PLUGIN: &str = "kubectl-waybill";
/// Name under which kubectl asks for completions.
const COMPLETION: &str = "kubectl_complete-waybill";

/// The fleet of a Waybill site in this cluster: who is in it, what became of what is declared, invitations
#[derive(Debug, Parser)]
#[command(
    name = PLUGIN,
    bin_name = "kubectl waybill",
    version,
    after_help = "What is declared is kubectl's own: `kubectl get waybill`, `kubectl explain advertisement`"
)]
struct Cli {
    /// What to log, as `info` or `waybill=debug,warn`
    #[arg(long, global = true, value_name = "FILTER", default_value = "info", display_order = LAST)]
    log: Filter,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::Status<InCluster>),
    Messages(messages::Messages<InCluster>),
    Clients(clients::Clients<InCluster>),
    Why(why::Why<InCluster>),
    Log(why::Log<InCluster>),
    Token(token::Token<InCluster>),
    Sync(sync::Sync<InCluster>),
    Release(release::Release),
    Validate(validate::Args),
    Completion(completion::Completion),
}

/// Runs as a plugin if that is what the program was called as.
pub(super) fn called() -> Option<ExitCode> {
    let mut words = env::args_os();
    let own = words.next()?;
    match Path::new(&own).file_name()?.to_str()? {
        PLUGIN => Some(main()),
        COMPLETION => Some(complete(words.collect())),
        _ => None,
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(&cli.log);
    let mut out = Out::new();
    let done = run(cli.verb, &mut out);
    conclude(done, out, "kubectl waybill")
}

fn run(verb: Verb, out: &mut Out) -> anyhow::Result<u8> {
    match verb {
        Verb::Status(verb) => verb.run(out),
        Verb::Messages(verb) => verb.run(out),
        Verb::Clients(verb) => verb.run(out),
        Verb::Why(verb) => verb.run(out),
        Verb::Log(verb) => verb.run(out),
        Verb::Token(verb) => verb.run(out),
        Verb::Sync(verb) => verb.run(out),
        Verb::Release(verb) => verb.run(out),
        Verb::Validate(args) => validate::run(&args, out),
        Verb::Completion(verb) => verb.run(Cli::command(), PLUGIN, out),
    }
}

fn complete(words: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut out = Out::new();
    let done = completion::next_words(Cli::command(), &words, &mut out);
    conclude(done, out, COMPLETION)
}
