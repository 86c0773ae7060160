//! Which clients are offered what: those of the collection that the namespace may reach. An offer becomes visible only once
//! its content is on a distribution point of the site, and clients move from one package record to the next as a whole. It
//! does not sign or publish.

use std::collections::{BTreeMap, BTreeSet};

use super::grants::{Granted, Refusal};
use crate::{
    content::digest::Digest,
    model::{identity::ObjectName, reason::Reason, schedule::Rerun},
    wire::{
        policy::{AgentConfig, Offer, PolicyBody},
        record::PackageRecord,
    },
};

/// A package's records and where the site stands with them.
#[derive(Clone, Debug, Default)]
pub struct PackageFacts {
    /// The records that may still be offered, newest first, each with whether its content is on a distribution point
    /// of the site (or it has none).
    pub records: Vec<RecordFacts>,
    /// The record that clients were offered last.
    pub offered: Option<Digest>,
    /// What keeps the package from its next record; `None` while nothing is known to.
    pub obstacle: Option<Obstacle>,
}

/// What a package itself says keeps it from a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Why.
    pub reason: Reason,
    /// The same for people, with the remedy.
    pub text: String,
    /// Whether somebody has to change something; otherwise it passes, or somebody wants it so.
    pub needs_somebody: bool,
}

/// One record.
#[derive(Clone, Debug)]
pub struct RecordFacts {
    /// Its digest.
    pub digest: Digest,
    /// Its content.
    pub record: PackageRecord,
    /// Whether a client can fetch its content at this site.
    pub available: bool,
}

/// Which record of a package clients are offered.
#[derive(Clone, Debug)]
pub enum Choice<'a> {
    /// This one; `lost` when its content was there and is gone, which does not revoke the offer.
    Offer {
        /// The record.
        record: &'a RecordFacts,
        /// Whether its last copy is gone.
        lost: bool,
    },
    /// None yet.
    Wait(Reason),
    /// None, and none will come before somebody acts.
    Blocked(&'a Obstacle),
}

/// Chooses the newest record whose content is there; while none newer is, the one offered before stays.
#[must_use]
pub fn choose(facts: &PackageFacts) -> Choice<'_> {
    if let Some(record) = facts.records.iter().find(|record| record.available) {
        let older_than_offered = facts.offered.as_ref().is_some_and(|offered| {
            let position = |digest: &Digest| facts.records.iter().position(|one| one.digest == *digest);
            position(offered).is_some_and(|offered| Some(offered) < position(&record.digest))
        });
        if !older_than_offered {
            return Choice::Offer { record, lost: false };
        }
    }
    let kept = facts.offered.as_ref().and_then(|offered| facts.records.iter().find(|one| one.digest == *offered));
    match (kept, facts.records.is_empty()) {
        (Some(record), _) => Choice::Offer { record, lost: true },
        (None, true) => match &facts.obstacle {
            Some(obstacle) if obstacle.needs_somebody => Choice::Blocked(obstacle),
            Some(obstacle) => Choice::Wait(obstacle.reason),
            None => Choice::Wait(Reason::WaitingForRecord),
        },
        (None, false) => Choice::Wait(Reason::WaitingForContent),
    }
}

/// An advertisement whose fields are read, before references are followed.
#[derive(Clone, Debug)]
pub struct AdvertisementFacts {
    /// Everything of the offer that comes from the advertisement alone; program and record are filled in here.
    pub template: OfferTemplate,
    /// The package its program belongs to; `None` when the program does not exist.
    pub package: Option<String>,
    /// Members of its collection; `None` when the collection does not exist or cannot be evaluated.
    pub members: Option<BTreeSet<String>>,
}

/// The part of an offer that an advertisement says.
#[derive(Clone, Debug)]
pub struct OfferTemplate {
    /// The advertisement.
    pub name: ObjectName,
    /// The program's name.
    pub program: String,
    /// Earliest visibility.
    pub start: Option<jiff::Timestamp>,
    /// Latest start.
    pub expires: Option<jiff::Timestamp>,
    /// Assignments.
    pub assignments: Vec<crate::model::schedule::Assignment>,
    /// Whether users may start it.
    pub user_may_start: bool,
    /// Rerun rule.
    pub rerun: Rerun,
    /// Rerun token.
    pub rerun_token: Option<String>,
    /// No new starts.
    pub suspended: bool,
}

/// What became of an advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Offered to so many clients.
    Offered {
        /// How many.
        members: usize,
        /// The record of the package.
        record: Digest,
        /// Whether the content's last copy is gone.
        lost: bool,
    },
    /// Comes by itself.
    Waiting(Reason),
    /// Somebody has to change something; never offered meanwhile.
    Stalled(Reason, String),
}

/// The result of a compilation.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// Each client with the body it gets, by client id.
    pub bodies: BTreeMap<String, PolicyBody>,
    /// What became of each advertisement.
    pub outcomes: BTreeMap<ObjectName, Outcome>,
    /// The record now offered of each package that is offered at all.
    pub offered: BTreeMap<ObjectName, Digest>,
    /// Who may fetch what: content digest to client ids.
    pub readers: BTreeMap<Digest, BTreeSet<String>>,
    /// What each advertisement that is offered makes its members read: its own content and that of its dependencies.
    pub contents: BTreeMap<ObjectName, BTreeSet<Digest>>,
}

impl Compiled {
    /// Every record that some client's policy names.
    #[must_use]
    pub fn named_records(&self) -> BTreeSet<Digest> {
        let of = |body: &PolicyBody| {
            body.offers.iter().map(|offer| offer.record).chain(body.dependencies.iter().copied()).collect::<Vec<_>>()
        };
        self.bodies.values().flat_map(of).collect()
    }
}

/// Compiles what every client of the site is offered. Poisonous advertisements are left out with a reason; the others
/// do not notice.
#[must_use]
pub fn compile(
    clients: &BTreeSet<String>,
    advertisements: &[AdvertisementFacts],
    packages: &BTreeMap<ObjectName, PackageFacts>,
    granted: &Granted,
    config: &AgentConfig,
) -> Compiled {
    let empty = PolicyBody { config: config.clone(), ..PolicyBody::default() };
    let mut compiled = Compiled {
        bodies: clients.iter().map(|client| (client.clone(), empty.clone())).collect(),
        ..Compiled::default()
    };
    for advertisement in advertisements {
        let outcome = match resolve(advertisement, clients, packages, granted) {
            Ok(resolved) => place(&mut compiled, &advertisement.template, resolved),
            Err(outcome) => outcome,
        };
        compiled.outcomes.insert(advertisement.template.name.clone(), outcome);
    }
    for body in compiled.bodies.values_mut() {
        body.offers.sort_by(|a, b| a.advertisement.cmp(&b.advertisement));
        body.dependencies.sort();
        body.dependencies.dedup();
    }
    compiled
}

impl From<Refusal> for Outcome {
    fn from(Refusal { reason, text }: Refusal) -> Self {
        Self::Stalled(reason, text)
    }
}

/// An advertisement with its references followed.
struct Resolved<'a> {
    targets: BTreeSet<String>,
    package: ObjectName,
    record: &'a RecordFacts,
    lost: bool,
    /// Packages of programs that this one depends on, whole chain.
    dependencies: Vec<(ObjectName, &'a RecordFacts)>,
}

fn resolve<'a>(
    advertisement: &AdvertisementFacts,
    clients: &BTreeSet<String>,
    packages: &'a BTreeMap<ObjectName, PackageFacts>,
    granted: &Granted,
) -> Result<Resolved<'a>, Outcome> {
    let template = &advertisement.template;
    let namespace = &template.name.namespace;
    let missing = |what: &str| Outcome::Stalled(Reason::ReferenceNotFound, what.to_owned());
    let blocked = |package: &ObjectName, obstacle: &Obstacle| {
        Outcome::Stalled(obstacle.reason, format!("package '{}' has no record: {}", package.name, obstacle.text))
    };
    let reach = granted.of(namespace)?;
    let Some(package) = &advertisement.package else {
        return Err(missing(&format!("program '{}' does not exist in namespace {namespace}", template.program)));
    };
    let Some(members) = &advertisement.members else {
        return Err(missing(&format!("the collection of {} does not exist or has an invalid query", template.name)));
    };
    let targets = reach.targets(members.intersection(clients))?;
    let package = ObjectName::new(namespace.clone(), package.clone());
    let Some(facts) = packages.get(&package) else {
        return Err(missing(&format!("package '{}' does not exist in namespace {namespace}", package.name)));
    };
    let (record, lost) = match choose(facts) {
        Choice::Offer { record, lost } => (record, lost),
        Choice::Wait(reason) => return Err(Outcome::Waiting(reason)),
        Choice::Blocked(obstacle) => return Err(blocked(&package, obstacle)),
    };
    // A program younger than the offered record comes with the next one.
    let Some(mut program) = record.record.program(&template.program) else {
        return Err(Outcome::Waiting(Reason::WaitingForRecord));
    };
    if template.rerun == Rerun::OncePerVersion && record.record.content.is_none() {
        let text = format!(
            "rerun OncePerVersion contradicts package '{}', which has no files and so no versions",
            package.name
        );
        return Err(Outcome::Stalled(Reason::ProgramConflict, text));
    }
    reach.may_run(&program.name, program.run_as.as_deref())?;
    let mut dependencies = Vec::new();
    let mut seen = BTreeSet::from([(package.name.clone(), program.name.clone())]);
    while let Some(dependency) = &program.depends_on {
        if !seen.insert((dependency.package.clone(), dependency.program.clone())) {
            let text = format!("program '{}' depends on itself", dependency.program);
            return Err(Outcome::Stalled(Reason::ProgramConflict, text));
        }
        let name = ObjectName::new(namespace.clone(), dependency.package.clone());
        let next = match packages.get(&name).map(choose) {
            Some(Choice::Offer { record, .. }) => record,
            Some(Choice::Wait(reason)) => return Err(Outcome::Waiting(reason)),
            Some(Choice::Blocked(obstacle)) => return Err(blocked(&name, obstacle)),
            None => return Err(missing(&format!("package '{}', on which it depends, does not exist", name.name))),
        };
        let Some(needed) = next.record.program(&dependency.program) else {
            return Err(missing(&format!("program '{}', on which it depends, does not exist", dependency.program)));
        };
        reach.may_run(&needed.name, needed.run_as.as_deref())?;
        program = needed;
        dependencies.push((name, next));
    }
    Ok(Resolved { targets, package, record, lost, dependencies })
}

fn place(compiled: &mut Compiled, template: &OfferTemplate, resolved: Resolved<'_>) -> Outcome {
    let offer = Offer {
        advertisement: template.name.clone(),
        program: resolved.record.record.identity(&template.program),
        record: resolved.record.digest,
        start: template.start,
        expires: template.expires,
        assignments: template.assignments.clone(),
        user_may_start: template.user_may_start,
        rerun: template.rerun,
        rerun_token: template.rerun_token.clone(),
        suspended: template.suspended,
    };
    let records = || resolved.dependencies.iter().map(|(_, record)| *record).chain([resolved.record]);
    let contents: BTreeSet<Digest> = records().filter_map(|record| record.record.content).collect();
    let members = resolved.targets.len();
    for client in &resolved.targets {
        let Some(body) = compiled.bodies.get_mut(client) else { continue };
        body.offers.push(offer.clone());
        body.dependencies.extend(resolved.dependencies.iter().map(|(_, record)| record.digest));
        for content in &contents {
            compiled.readers.entry(*content).or_default().insert(client.clone());
        }
    }
    compiled.contents.insert(template.name.clone(), contents);
    for (name, record) in resolved.dependencies.into_iter().chain([(resolved.package, resolved.record)]) {
        compiled.offered.insert(name, record.digest);
    }
    Outcome::Offered { members, record: offer.record, lost: resolved.lost }
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
