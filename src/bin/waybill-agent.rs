//! The slim client agent: the same code as `waybill agent`, without what only servers need.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use waybill::{
    agent::{
        self, run, shown,
        socket::{self, Answer, Request},
    },
    allocator,
    telemetry::{self, Filter},
};

/// The exit code when nobody reads the output any more: what a shell says of a program that SIGPIPE ended.
const READER_GONE: u8 = 128 + 13;

/// The Waybill client agent
#[derive(Parser)]
#[command(name = "waybill-agent", version)]
struct Arguments {
    /// What to log, as `info` or `waybill=debug,warn`
    #[arg(long, global = true, value_name = "FILTER", default_value = "info", display_order = 900)]
    log: Filter,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
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

#[derive(clap::Args)]
struct Look {
    #[command(flatten)]
    agent: agent::SocketArgs,
    /// How to show it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Aligned columns
    Table,
    /// JSON
    Json,
}

fn main() -> ExitCode {
    allocator::return_what_is_free();
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        // First of all: no thread may exist when a stage changes its user.
        Verb::Supervise(args) => run::supervise(&args, &["supervise"]).map(|()| String::new()),
        Verb::Run(args) => {
            telemetry::init(&arguments.log);
            agent::run_until_signalled(args, &["supervise"]).map(|()| String::new())
        }
        Verb::Offers(look) => ask(&look.agent.path(), &Request::Offers, look.output),
        Verb::History(look) => ask(&look.agent.path(), &Request::History, look.output),
        Verb::Start { name, agent } => ask(&agent.path(), &Request::Start { advertisement: name }, Output::Table),
    };
    let failed = match done {
        Ok(text) => {
            let mut out = io::stdout();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::from(READER_GONE),
                Err(error) => anyhow::Error::new(error).context("standard output cannot be written"),
            }
        }
        Err(error) => error,
    };
    // One that nobody can read is lost.
    let _ = writeln!(io::stderr(), "waybill-agent: {failed:#}");
    ExitCode::FAILURE
}

fn ask(socket: &Path, request: &Request, output: Output) -> anyhow::Result<String> {
    let answer = socket::ask(socket, request)?;
    if output == Output::Json {
        return Ok(format!("{}\n", agent::shown::json(answer)?));
    }
    if let Some(nothing) = shown::nothing(&answer) {
        let _ = writeln!(io::stderr(), "{nothing}");
    }
    Ok(match answer {
        Answer::Offers(offers) => {
            shown::columns(&shown::OFFER_HEADS, &offers.iter().map(shown::offer_row).collect::<Vec<_>>())
        }
        Answer::History(runs) => {
            shown::columns(&shown::RUN_HEADS, &runs.iter().map(shown::run_row).collect::<Vec<_>>())
        }
        Answer::Started(name) => format!("{name} will be started\n"),
        Answer::Refused(why) => anyhow::bail!("{why}"),
    })
}
