//! Why a client has not run what is advertised, or that it has: the walk clause, record, content, offer, policy, run. The
//! first step that is not done is the answer. It only explains; membership, offers and runs are decided elsewhere.

mod run;

use jiff::Timestamp;

pub use self::run::RunFacts;
use super::{
    behind::Behind,
    grants::Refusal,
    offer::{Obstacle, Outcome},
};
use crate::model::{identity::ObjectName, reason::Reason, state::LocationState};

/// How one step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Done.
    Ok,
    /// Comes by itself, or waits for a time.
    Waiting,
    /// Somebody has to do something.
    Failed,
    /// Nobody can tell.
    Unknown,
}

impl Standing {
    /// The name used in the API and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// One step of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `clause`, `record`, `content`, `offer`, `policy` or `run`.
    pub name: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// Why it is not done, from the one list.
    pub reason: Option<Reason>,
    /// The same for people, with the remedy where there is one.
    pub text: String,
}

/// What the collection says of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// There is no such advertisement.
    NoAdvertisement,
    /// No such client has joined.
    NoClient,
    /// The client is blocked: it is offered nothing.
    Blocked,
    /// The advertisement's collection does not exist.
    NoCollection {
        /// Its name.
        collection: String,
    },
    /// The collection's query is not valid.
    InvalidQuery {
        /// Its name.
        collection: String,
        /// What is wrong with the query.
        text: String,
    },
    /// The client is a member.
    Member {
        /// The collection.
        collection: String,
        /// A direct rule names it.
        direct: bool,
    },
    /// The client is a member, but the Site lets the namespace not reach it.
    NotGranted {
        /// The collection.
        collection: String,
        /// Why it is not reached.
        refusal: Refusal,
    },
    /// The client is no member.
    NotMember {
        /// The collection.
        collection: String,
        /// Clients that are named directly.
        direct: usize,
        /// Parts of the query that are false for this client, in order; empty without a query.
        false_parts: Vec<String>,
        /// How the query failed on this client.
        failure: Option<String>,
        /// Whether the collection is suspended and keeps the members it had.
        suspended: bool,
    },
}

/// Why no record holds the advertised program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRecord {
    /// No advertisement names a program.
    Nothing,
    /// The program does not exist.
    NoProgram {
        /// Its name.
        program: String,
    },
    /// The program's package does not exist.
    NoPackage {
        /// Its name.
        package: String,
    },
    /// The package has no record; what it says itself keeps it from one.
    NoneYet {
        /// Its name.
        package: String,
        /// What keeps it; `None` while it is only on its way.
        obstacle: Option<Obstacle>,
    },
}

/// The newest record of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFacts {
    /// The package's name.
    pub package: String,
    /// Its source version.
    pub source_version: u64,
    /// Whether the record holds the advertised program.
    pub has_program: bool,
    /// Whether the package has files.
    pub has_content: bool,
    /// What keeps the package from a newer one.
    pub obstacle: Option<Obstacle>,
}

/// One distribution point that holds or should hold the record's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointFacts {
    /// Its name.
    pub point: String,
    /// Where the content stands there.
    pub state: LocationState,
    /// What holds it up.
    pub detail: Option<String>,
}

/// Whether the client knows its current policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// When the client's current policy was made; `None` before the first.
    pub published: Option<Timestamp>,
    /// When the client was heard of last; `None` if it never was.
    pub last_seen: Option<Timestamp>,
    /// Whether it has said something about this advertisement.
    pub spoken: bool,
    /// What it is due to run and has said nothing of.
    pub behind: Option<Behind>,
}

/// Everything the walk looks at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The advertisement.
    pub advertisement: ObjectName,
    /// The client's id.
    pub client: String,
    /// What the collection says of the client.
    pub clause: Clause,
    /// The newest record of the advertised program's package.
    pub record: Result<RecordFacts, NoRecord>,
    /// Where that record's content is.
    pub points: Vec<PointFacts>,
    /// What the offer manager made of the advertisement.
    pub outcome: Option<Outcome>,
    /// Whether the client knows.
    pub policy: PolicyFacts,
    /// Where the client stands; `None` if it has said nothing.
    pub run: Option<RunFacts>,
}

/// Every step, in order; only the first of an advertisement that is not there.
#[must_use]
pub fn explain(facts: &Facts, now: Timestamp) -> Vec<Step> {
    if facts.clause == Clause::NoAdvertisement {
        return vec![clause(&facts.clause, &facts.client)];
    }
    vec![
        clause(&facts.clause, &facts.client),
        record(&facts.record),
        content(facts),
        offer(facts.outcome.as_ref()),
        policy(&facts.policy),
        run::step_of(facts.run.as_ref(), facts.policy.behind.as_ref(), now),
    ]
}

/// The first step that is not done; the last one if all are.
#[must_use]
pub fn answer(steps: &[Step]) -> Option<&Step> {
    steps.iter().find(|step| step.standing != Standing::Ok).or(steps.last())
}

fn step(name: &'static str, standing: Standing, reason: Option<Reason>, text: String) -> Step {
    Step { name, standing, reason, text }
}

fn clause(clause: &Clause, client: &str) -> Step {
    let failed = |reason, text| step("clause", Standing::Failed, Some(reason), text);
    match clause {
        Clause::NoAdvertisement => failed(Reason::ReferenceNotFound, "there is no such advertisement".into()),
        Clause::NoClient => {
            failed(Reason::ReferenceNotFound, format!("no client {client} has joined; `waybill clients` lists them"))
        }
        Clause::Blocked => failed(
            Reason::Blocked,
            format!(
                "client {client} is blocked and is offered nothing; `waybill clients unblock {client}` lets it back"
            ),
        ),
        Clause::NoCollection { collection } => {
            failed(Reason::ReferenceNotFound, format!("collection {collection} does not exist"))
        }
        Clause::InvalidQuery { collection, text } => {
            failed(Reason::QueryFailed, format!("the query of collection {collection} is not valid: {text}"))
        }
        Clause::Member { collection, direct } => {
            let rule = if *direct { "it is named in spec.clients" } else { "its query is true for it" };
            step("clause", Standing::Ok, None, format!("member of collection {collection}: {rule}"))
        }
        Clause::NotGranted { collection, refusal } => {
            failed(refusal.reason, format!("member of collection {collection}, but {}", refusal.text))
        }
        Clause::NotMember { collection, direct, false_parts, failure, suspended } => {
            let named = match direct {
                0 => "no client is named in spec.clients".to_owned(),
                1 => "the one client in spec.clients is another".to_owned(),
                many => format!("none of the {many} clients in spec.clients is it"),
            };
            let query = match (failure, false_parts.as_slice()) {
                (Some(failure), _) => format!("; its query fails on this client: {failure}"),
                (None, []) => String::new(),
                (None, parts) => format!("; false in its query: {}", parts.join(" and ")),
            };
            let kept = if *suspended { "; the collection is suspended and keeps the members it had" } else { "" };
            failed(Reason::OfferWithdrawn, format!("not a member of collection {collection}: {named}{query}{kept}"))
        }
    }
}

fn record(record: &Result<RecordFacts, NoRecord>) -> Step {
    let waiting = |text| step("record", Standing::Waiting, Some(Reason::WaitingForRecord), text);
    let missing = |text| step("record", Standing::Failed, Some(Reason::ReferenceNotFound), text);
    match record {
        Err(NoRecord::Nothing) => step("record", Standing::Unknown, None, "no advertisement names a program".into()),
        Err(NoRecord::NoProgram { program }) => missing(format!("program {program} does not exist")),
        Err(NoRecord::NoPackage { package }) => missing(format!("package {package} does not exist")),
        Err(NoRecord::NoneYet { package, obstacle: None }) => waiting(format!("package {package} has no record yet")),
        Err(NoRecord::NoneYet { package, obstacle: Some(obstacle) }) => {
            let standing = if obstacle.needs_somebody { Standing::Failed } else { Standing::Waiting };
            let text = format!("package {package} has no record: {}", obstacle.text);
            step("record", standing, Some(obstacle.reason), text)
        }
        Ok(record) if !record.has_program => waiting(format!(
            "version {} of package {} does not hold the program yet; its next record will",
            record.source_version, record.package
        )),
        Ok(record) => {
            let newer = match &record.obstacle {
                Some(obstacle) if obstacle.needs_somebody => {
                    format!("; nothing newer comes ({}): {}", obstacle.reason.as_str(), obstacle.text)
                }
                _ => String::new(),
            };
            let text = format!("version {} of package {} is recorded{newer}", record.source_version, record.package);
            step("record", Standing::Ok, None, text)
        }
    }
}

fn content(facts: &Facts) -> Step {
    let Ok(record) = &facts.record else {
        return step("content", Standing::Unknown, None, "there is no record that names content".into());
    };
    if !record.has_content {
        return step("content", Standing::Ok, None, "the package has no files".into());
    }
    let holding: Vec<&str> = facts
        .points
        .iter()
        .filter(|point| point.state == LocationState::Installed)
        .map(|point| point.point.as_str())
        .collect();
    if !holding.is_empty() {
        return step("content", Standing::Ok, None, format!("on distribution point {}", holding.join(", ")));
    }
    let version = record.source_version;
    if matches!(facts.outcome, Some(Outcome::Offered { lost: true, .. })) {
        let text = format!("no distribution point holds version {version} any more; clients that have it go on");
        return step("content", Standing::Failed, Some(Reason::ContentLost), text);
    }
    let wanted: Vec<String> = facts
        .points
        .iter()
        .map(|point| match &point.detail {
            Some(detail) => format!("{} {} ({detail})", point.point, point.state.as_str()),
            None => format!("{} {}", point.point, point.state.as_str()),
        })
        .collect();
    if wanted.is_empty() {
        let text = format!("no Distribution brings version {version} to a distribution point");
        return step("content", Standing::Failed, Some(Reason::WaitingForContent), text);
    }
    let text = format!("no distribution point holds version {version} yet: {}", wanted.join(", "));
    let gave_up = facts.points.iter().all(|point| point.state == LocationState::InstallFailed);
    let standing = if gave_up { Standing::Failed } else { Standing::Waiting };
    step("content", standing, Some(Reason::WaitingForContent), text)
}

fn offer(outcome: Option<&Outcome>) -> Step {
    match outcome {
        None => step(
            "offer",
            Standing::Waiting,
            Some(Reason::Progressing),
            "the advertisement was not looked at yet".into(),
        ),
        Some(Outcome::Offered { members, .. }) => {
            step("offer", Standing::Ok, None, format!("offered to {members} clients"))
        }
        Some(Outcome::Waiting(reason)) => {
            step("offer", Standing::Waiting, Some(*reason), format!("not offered yet: {}", reason.explanation()))
        }
        Some(Outcome::Stalled(reason, text)) => {
            step("offer", Standing::Failed, Some(*reason), format!("not offered: {text}"))
        }
    }
}

fn policy(policy: &PolicyFacts) -> Step {
    let done = |text| step("policy", Standing::Ok, None, text);
    let waiting = |text| step("policy", Standing::Waiting, Some(Reason::WaitingForPolicy), text);
    match (policy.published, policy.last_seen) {
        (Some(published), Some(seen)) if seen < published => match &policy.behind {
            Some(Behind::Version { offered, answered }) => waiting(format!(
                "the client was heard of last at {seen:.0}: the site offers version {offered} since, the client's last \
                 answer is of version {answered}; is it switched off?"
            )),
            Some(Behind::Token(token)) => waiting(format!(
                "the client was heard of last at {seen:.0}: the site offers rerunToken {token} since, and the client has not \
                 answered that offer yet; is it switched off?"
            )),
            None if policy.spoken => {
                done(format!("the client has answered the offer; it was heard of last at {seen:.0}"))
            }
            None => waiting(format!(
                "the client was heard of last at {seen:.0}, before its policy of {published:.0}; is it switched off?"
            )),
        },
        (Some(_), Some(seen)) if policy.spoken && policy.behind.is_none() => {
            done(format!("the client has answered the offer; it was heard of last at {seen:.0}"))
        }
        (Some(_), Some(seen)) => done(format!("the client was heard of at {seen:.0}, after its policy was made")),
        _ if policy.spoken => done("the client has answered the offer".into()),
        (None, _) => waiting("no policy was made for this client yet".into()),
        (Some(_), None) => waiting("the client has never been heard of since it joined".into()),
    }
}

#[cfg(test)]
mod tests;
