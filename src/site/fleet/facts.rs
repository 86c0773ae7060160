//! Facts for an explanation, from the watches, the last evaluation and the site database.

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;

use super::{Late, Parts};
use crate::{
    api::advertisement::Advertisement,
    apiserver::failure::Failure,
    content::digest::Digest,
    controller::{advertisement::template, package::obstacle},
    db::{
        Connection, DbError,
        devices::{self, DeviceRow},
        inventory, leaves, locations, records, status,
    },
    model::{identity::ObjectName, reason::Reason},
    plan::{
        behind::{Answered, Behind, behind},
        clause::false_parts,
        offer::{OfferTemplate, Outcome},
        query::{ClientFacts, Query},
        why::{Clause, Facts, NoRecord, PointFacts, PolicyFacts, RecordFacts, RunFacts},
    },
    trust::identity::Role,
    wire::{inventory::Inventory, record::PackageRecord},
};

/// What the database knows.
#[derive(Default)]
struct Rows {
    client: Option<DeviceRow>,
    inventory: Inventory,
    record: Option<PackageRecord>,
    points: Vec<PointFacts>,
    published_ms: Option<i64>,
    status: Option<status::StatusRow>,
    /// Version of the record that is offered.
    offered: Option<u64>,
    /// What the client has answered for of the program.
    answered: Option<Answered>,
}

/// Everything that is known of an advertisement and a client.
pub(super) async fn gather(
    parts: &Parts,
    advertisement: ObjectName,
    client: String,
    now: Timestamp,
) -> Result<Result<Facts, DbError>, Failure> {
    let late = parts.late()?;
    let namespace = &advertisement.namespace;
    let object = late.stores.advertisements.get(&ObjectRef::new(&advertisement.name).within(namespace));
    let program =
        object.as_ref().and_then(|one| late.stores.programs.get(&ObjectRef::new(&one.spec.program).within(namespace)));
    let package = program.as_ref().map(|one| ObjectName::new(namespace, &one.spec.package_ref));
    let declared =
        package.as_ref().and_then(|package| late.stores.packages.get(&ObjectRef::new(&package.name).within(namespace)));
    let obstacle = declared.as_ref().and_then(|package| obstacle(package));
    let offer = object.as_deref().map(template);
    let evaluated = late.evaluated.borrow().compiled.outcomes.get(&advertisement).cloned();
    let outcome = outcome(offer.as_ref(), evaluated);
    let offer = offer.and_then(Result::ok);
    let wanted = Wanted {
        client: client.clone(),
        advertisement: advertisement.clone(),
        package: package.clone(),
        record: match outcome {
            Some(Outcome::Offered { record, .. }) => Some(record),
            _ => None,
        },
        program: object.as_ref().map(|object| object.spec.program.clone()),
        token: offer.as_ref().and_then(|offer| offer.rerun_token.clone()),
    };
    let rows = match parts.database.read(move |connection| read(connection, &wanted)).await {
        Ok(rows) => rows,
        Err(error) => return Ok(Err(error)),
    };
    let clause = clause(late, object.as_deref(), &advertisement, &client, &rows);
    let behind = offer.as_ref().and_then(|offer| unanswered(offer, &rows, now));
    let time = |ms: i64| Timestamp::from_millisecond(ms).ok();
    let record = match (rows.record, &object, package) {
        (Some(record), _, _) => Ok(RecordFacts {
            has_program: object.as_ref().is_some_and(|object| record.program(&object.spec.program).is_some()),
            has_content: record.content.is_some(),
            source_version: record.source_version,
            package: record.package,
            obstacle,
        }),
        (None, None, _) => Err(NoRecord::Nothing),
        (None, Some(object), None) => Err(NoRecord::NoProgram { program: object.spec.program.clone() }),
        (None, _, Some(package)) if declared.is_none() => Err(NoRecord::NoPackage { package: package.name }),
        (None, _, Some(package)) => Err(NoRecord::NoneYet { package: package.name, obstacle }),
    };
    Ok(Ok(Facts {
        clause,
        record,
        points: rows.points,
        outcome,
        policy: PolicyFacts {
            published: rows.published_ms.and_then(time),
            last_seen: rows.client.as_ref().and_then(|row| time(row.last_seen_ms)),
            spoken: rows.status.is_some(),
            behind,
        },
        run: rows.status.zip(offer).map(|(row, offer)| run(row, offer)),
        advertisement,
        client,
    }))
}

/// What became of the advertisement: one that cannot be read is not evaluated at all, and somebody has to correct it.
fn outcome(offer: Option<&Result<OfferTemplate, String>>, evaluated: Option<Outcome>) -> Option<Outcome> {
    match offer {
        Some(Err(text)) => Some(Outcome::Stalled(Reason::InvalidSpec, text.clone())),
        _ => evaluated,
    }
}

/// What is asked of the database.
struct Wanted {
    client: String,
    advertisement: ObjectName,
    package: Option<ObjectName>,
    /// The record that is offered.
    record: Option<Digest>,
    program: Option<String>,
    /// The rerun token with which it is offered.
    token: Option<String>,
}

/// What the client has yet to answer, if the site was not told otherwise.
fn unanswered(offer: &OfferTemplate, rows: &Rows, now: Timestamp) -> Option<Behind> {
    let (status, offered, answered) = (rows.status.as_ref()?, rows.offered?, rows.answered?);
    behind(offer, status.state, answered, offered, now)
}

fn read(connection: &Connection, wanted: &Wanted) -> Result<Rows, DbError> {
    let Wanted { client, advertisement, package, record, program, token } = wanted;
    let answered =
        |program: &String| status::answered(connection, client, &advertisement.namespace, program, token.as_deref());
    let mut rows = Rows {
        client: devices::get(connection, client)?.filter(|row| row.role == Role::Client),
        inventory: inventory::get(connection, client)?.unwrap_or_default(),
        // A leaf's version is the time at which its body was made, unless the clock went back.
        published_ms: leaves::get(connection, client)?.and_then(|leaf| i64::try_from(leaf.version).ok()),
        status: status::get(connection, client, advertisement)?,
        offered: record
            .map(|record| records::get(connection, &record))
            .transpose()?
            .flatten()
            .map(|row| row.source_version),
        answered: program.as_ref().map(answered).transpose()?,
        ..Rows::default()
    };
    let Some(package) = package else { return Ok(rows) };
    let current = records::current(connection, package)?;
    rows.record = current.and_then(|row| PackageRecord::decode(row.envelope.payload.as_bytes()).ok());
    let version = rows.record.as_ref().map(|record| record.source_version);
    rows.points = locations::of_package(connection, package)?
        .into_iter()
        .filter(|row| row.wanted == locations::Wanted::Hold && Some(row.version.source_version) == version)
        .map(|row| PointFacts { point: row.point, state: row.state, detail: row.detail })
        .collect();
    Ok(rows)
}

fn clause(late: &Late, advertisement: Option<&Advertisement>, name: &ObjectName, client: &str, rows: &Rows) -> Clause {
    let Some(advertisement) = advertisement else { return Clause::NoAdvertisement };
    let Some(device) = &rows.client else { return Clause::NoClient };
    if device.blocked {
        return Clause::Blocked;
    }
    let collection = advertisement.spec.collection.clone();
    let reference = ObjectRef::new(&collection).within(&name.namespace);
    let Some(object) = late.stores.collections.get(&reference) else { return Clause::NoCollection { collection } };
    let direct = object.spec.clients.iter().any(|one| one == client);
    let evaluated = late.evaluated.borrow().clone();
    match evaluated.memberships.get(&ObjectName::new(&name.namespace, &collection)) {
        Some(Err(text)) => return Clause::InvalidQuery { collection, text: text.clone() },
        Some(Ok(membership)) if membership.members.contains(client) => {
            let reach = evaluated.granted.of(&name.namespace).and_then(|reach| reach.admit(client));
            let refused = reach.and_then(|()| evaluated.targets(&name.namespace, &membership.members)).err();
            return match refused {
                Some(refusal) => Clause::NotGranted { collection, refusal },
                None => Clause::Member { collection, direct },
            };
        }
        Some(Ok(_)) | None => {}
    }
    let facts = ClientFacts { id: device.id.clone(), labels: device.labels.clone(), inventory: rows.inventory.clone() };
    let query = object.spec.query.as_deref();
    let selects = query.and_then(|query| Query::compile(query).ok()).map(|query| query.selects(&facts));
    Clause::NotMember {
        collection,
        direct: object.spec.clients.len(),
        // True for it now, and yet no member: it is about to be evaluated, or the collection is suspended.
        false_parts: match selects {
            Some(Ok(false)) => query.map(|query| false_parts(query, &facts)).unwrap_or_default(),
            _ => Vec::new(),
        },
        failure: selects.and_then(Result::err),
        suspended: object.spec.suspend,
    }
}

fn run(row: status::StatusRow, offer: OfferTemplate) -> RunFacts {
    RunFacts {
        state: row.state,
        reason: row.reason,
        text: row.text,
        exit_code: row.exit_code,
        source_version: row.source_version,
        rerun: offer.rerun,
        assignments: offer.assignments,
        expires: offer.expires,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::advertisement::{AdvertisementSpec, AssignmentSpec};

    #[test]
    fn an_advertisement_that_cannot_be_read_waits_for_nobody_but_its_author() {
        // As it may have been stored before a rule refused it.
        let mut object = Advertisement::new(
            "a",
            serde_json::from_value::<AdvertisementSpec>(serde_json::json!({"program": "p", "collection": "c"}))
                .unwrap(),
        );
        object.spec.assignments = vec![AssignmentSpec::At("9999-12-31T23:59:59Z".into())];
        let Some(Outcome::Stalled(Reason::InvalidSpec, text)) = outcome(Some(&template(&object)), None) else {
            panic!("it is not stalled");
        };
        assert!(text.contains("at '9999-12-31T23:59:59Z' is no instant"), "{text}");
        object.spec.assignments.clear();
        let waiting = Outcome::Waiting(Reason::WaitingForRecord);
        assert_eq!(outcome(Some(&template(&object)), Some(waiting.clone())), Some(waiting));
    }
}
