//! The socket of local users: what is offered to this machine, start it, what ran. One request a connection, a line of
//! JSON each way; who asks comes from the kernel and nowhere else. Decides nothing: a start is a request to the engine.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream as BlockingStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::{
    AgentError,
    guests::Guests,
    outbox::Request as StartRequest,
    policy::Policy,
    shared::Shared,
    store::Standing,
    view::{POLICY, View},
};
use crate::{
    clock,
    content::private,
    model::{reason::Reason, schedule::Assignment, state::RunState},
    plan::run::PastRun,
    wire::policy::Offer,
};

/// A request is a verb and a name.
const REQUEST_BYTES_MAX: u64 = 4 << 10;
/// An answer is a list of offers or runs.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Time for a request to come: whoever connects has it ready.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for an answer to be taken, or to be waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Runs that history shows at most.
const HISTORY_MAX: u32 = 200;
/// Pause before the socket is tried again.
const BIND_RETRY: Duration = Duration::from_secs(60);

/// What a local user may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// What is offered to this machine.
    Offers,
    /// Start the program of this advertisement: `namespace/name`, or `name` if only one is called so.
    Start {
        /// The advertisement.
        advertisement: String,
    },
    /// What ran here, the newest first.
    History,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// To [`Request::Offers`].
    Offers(Vec<OfferView>),
    /// To [`Request::Start`]: it will be started.
    Started(String),
    /// To [`Request::History`].
    History(Vec<PastRun>),
    /// No, and why.
    Refused(String),
}

/// An offer as a local user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferView {
    /// `namespace/name`.
    pub advertisement: String,
    /// The package.
    pub package: String,
    /// The program.
    pub program: String,
    /// Where it stands.
    pub state: RunState,
    /// Why.
    pub reason: Reason,
    /// The reason in words.
    pub explanation: String,
    /// When it is next due or tried again.
    pub next: Option<Timestamp>,
    /// When it is no longer offered.
    pub expires: Option<Timestamp>,
    /// Whether it must run.
    pub assigned: bool,
    /// Whether local users may start it.
    pub user_may_start: bool,
}

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent listens on {0}; is it running, and is this its --socket?")]
    Connect(PathBuf, #[source] io::Error),
    /// The connection broke.
    #[error("the agent did not answer")]
    Broken(#[source] io::Error),
    /// The answer is none.
    #[error("the agent's answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
}

/// Asks the agent behind `socket`. Blocks.
///
/// # Errors
/// [`AskError`].
pub fn ask(socket: &Path, request: &Request) -> Result<Answer, AskError> {
    let mut stream = BlockingStream::connect(socket).map_err(|error| AskError::Connect(socket.to_owned(), error))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let mut exchange = || -> io::Result<String> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        match stream.write_all(&line) {
            // An agent that refuses a connection says why at once, and does not wait for what is asked.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
        let mut answer = String::new();
        BufReader::new((&stream).take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
        Ok(answer)
    };
    Ok(serde_json::from_str(&exchange().map_err(AskError::Broken)?)?)
}

/// Serves the socket until the task is dropped. Without a socket the agent still does all it is told by its site.
pub(super) async fn serve(shared: Arc<Shared>, path: PathBuf) {
    let listener = loop {
        match bind(&path) {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::error!("local users cannot reach the agent: {:#}", anyhow::Error::from(error));
                tokio::time::sleep(BIND_RETRY).await;
            }
        }
    };
    let guests = Guests::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => receive(&shared, &guests, stream),
            Err(error) => {
                tracing::warn!(%error, "a local user's connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers one connection in a task of its own, or turns it away if its user has too many.
fn receive(shared: &Arc<Shared>, guests: &Guests, stream: UnixStream) {
    let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { return };
    let Some(guest) = guests.enter(uid) else {
        let answer = Answer::Refused("too many connections of this user are open; try again".to_owned());
        // Whoever does not take it is not waited for.
        let _ = serde_json::to_vec(&answer).map(|bytes| stream.try_write(&[&bytes[..], b"\n"].concat()));
        return;
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        if !matches!(tokio::time::timeout(TIMEOUT, connection(&shared, stream, uid)).await, Ok(Ok(()))) {
            tracing::debug!("a local user's connection broke off");
        }
        drop(guest);
    });
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
enum BindError {
    /// Something else lies there.
    #[error("{path} is {what} of user {owner}; remove it, or choose another place with --socket")]
    Occupied { path: PathBuf, what: &'static str, owner: u32 },
    /// The system refused.
    #[error("no socket can be made at {0}; choose another place with --socket")]
    Refused(PathBuf, #[source] io::Error),
}

/// Only the owner of the state directory's lock comes here, so a socket of its own that lies there is a dead agent's.
fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |error| BindError::Refused(path.to_owned(), error);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    if let Ok(metadata) = fs::symlink_metadata(path) {
        let kind = metadata.file_type();
        if !kind.is_socket() || !private::is_ours(&metadata) {
            let what = match kind {
                kind if kind.is_symlink() => "a symbolic link",
                kind if kind.is_dir() => "a directory",
                kind if kind.is_socket() => "a socket",
                _ => "a file",
            };
            return Err(BindError::Occupied { path: path.to_owned(), what, owner: metadata.uid() });
        }
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

async fn connection(shared: &Shared, stream: UnixStream, uid: u32) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(shared, &request, uid).unwrap_or_else(|error| {
            tracing::error!(error = %format!("{:#}", anyhow::Error::from(error)), "a local user was not answered");
            Answer::Refused("the agent's state failed; see its log".to_owned())
        }),
        Err(error) => Answer::Refused(format!("the request cannot be read: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    write.shutdown().await
}

fn answer(shared: &Shared, request: &Request, uid: u32) -> Result<Answer, AgentError> {
    Ok(match request {
        Request::Offers => Answer::Offers(offers(shared)?),
        Request::History => Answer::History(shared.store.latest_runs(HISTORY_MAX)?),
        Request::Start { advertisement } => start(shared, advertisement, uid)?,
    })
}

fn offers(shared: &Shared) -> Result<Vec<OfferView>, AgentError> {
    let Some(view) = View::load(shared, clock::now())? else { return Ok(Vec::new()) };
    let visible = view.policy.body.offers.iter().filter(|offer| view.is_visible(offer));
    visible.map(|offer| show(shared, offer, view.now)).collect()
}

fn show(shared: &Shared, offer: &Offer, now: Timestamp) -> Result<OfferView, AgentError> {
    let advertisement = offer.advertisement.to_string();
    let accepted = Standing { state: RunState::Accepted, reason: Reason::Progressing };
    let standing = shared.store.standing(&advertisement)?.unwrap_or(accepted);
    let assigned = offer.assignments.iter().filter_map(|assignment| match assignment {
        Assignment::At(at) => Some(*at),
        Assignment::AsSoonAsPossible => None,
    });
    let rest = shared.programs.rest(&offer.program).map(|rest| rest.until);
    Ok(OfferView {
        advertisement,
        package: offer.program.package.clone(),
        program: offer.program.program.clone(),
        state: standing.state,
        reason: standing.reason,
        explanation: explanation(&standing).to_owned(),
        next: assigned.chain(rest).filter(|at| *at > now).min(),
        expires: offer.expires,
        assigned: !offer.assignments.is_empty(),
        user_may_start: offer.user_may_start,
    })
}

/// Where an offer stands, in words for who uses the machine.
fn explanation(standing: &Standing) -> &'static str {
    match (standing.state, standing.reason) {
        (RunState::Succeeded, Reason::Succeeded) => "The program succeeded on this machine.",
        (RunState::Succeeded, Reason::AlreadyRan) => "The program succeeded on this machine before this offer came.",
        (RunState::Accepted, _) => "The offer was received.",
        (RunState::Running, _) => "The program runs.",
        (_, reason) => reason.explanation(),
    }
}

fn start(shared: &Shared, name: &str, uid: u32) -> Result<Answer, AgentError> {
    let refuse = |text: String| Ok(Answer::Refused(text));
    let now = clock::now();
    let Some(policy) = shared.store.get::<Policy>(POLICY)? else {
        return refuse("this machine has no policy from its site yet".to_owned());
    };
    let visible = |offer: &&Offer| {
        offer.start.is_none_or(|start| start <= now) && offer.expires.is_none_or(|expires| expires > now)
    };
    let called = |offer: &&Offer| offer.advertisement.to_string() == name || offer.advertisement.name == name;
    let found: Vec<_> = policy.body.offers.iter().filter(visible).filter(called).collect();
    let offer = match found[..] {
        [] => return refuse(format!("nothing called {name} is offered to this machine")),
        [offer] => offer,
        _ => return refuse(format!("several offers are called {name}; write namespace/name")),
    };
    if !offer.user_may_start {
        return refuse(format!("{} is not for users to start; it runs when it is due", offer.advertisement));
    }
    if offer.suspended {
        return refuse(format!("{} is suspended by its administrator", offer.advertisement));
    }
    let running = shared.store.history(&offer.program)?.iter().any(|run| run.outcome.is_none());
    if running || shared.programs.is_busy(&offer.program) {
        return refuse(format!("{} is being started or runs already", offer.advertisement));
    }
    let request = StartRequest {
        id: uuid::Uuid::new_v4().simple().to_string(),
        advertisement: offer.advertisement.to_string(),
        user: user_name(uid),
    };
    if !shared.store.put_request(&request, now)? {
        return refuse(format!("{} was asked for already and will be started", offer.advertisement));
    }
    tracing::info!(advertisement = %offer.advertisement, user = %request.user, "a local user starts a program");
    shared.wake.notify_one();
    Ok(Answer::Started(offer.advertisement.to_string()))
}

/// The user's name and id: names can be given again, ids tell who it was.
fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    });
    entry.map_or_else(|| format!("uid {uid}"), |name| format!("{name} ({uid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_on_the_machine_is_told_as_one() {
        let of = |state, reason| explanation(&Standing { state, reason });
        assert!(of(RunState::Succeeded, Reason::Succeeded).contains("succeeded on this machine"));
        assert!(of(RunState::Accepted, Reason::Succeeded).contains("received"));
        assert_eq!(of(RunState::Failed, Reason::ExitCode), Reason::ExitCode.explanation());
    }

    #[tokio::test]
    async fn what_lies_at_the_sockets_place_is_named_and_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.sock");
        let refusal = || bind(&path).unwrap_err().to_string();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(refusal().contains("agent.sock is a symbolic link of user"), "{}", refusal());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(refusal().contains("is a file of user") && refusal().contains("--socket"), "{}", refusal());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        drop(bind(&path).unwrap());
        bind(&path).expect("a dead agent's socket is no obstacle");
    }
}
