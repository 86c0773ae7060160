//! Status messages: stored once, folded into status rows and summaries in the same transaction, deleted by age. What a
//! sender may claim is decided here: its own status, as the component it is.

use rusqlite::Connection;

use super::{
    Change, DbError, Tx,
    column::signed,
    copies,
    outbox::{self, Gap},
    status, summaries,
};
use crate::{
    metrics,
    model::{
        identity::ObjectName,
        message::{self, Component, MessageType, Severity, StatusMessage},
        reason::Reason,
    },
    trust::identity::Role,
    wire::status::BATCH_MESSAGES_MAX,
};

pub use query::{MessageFilter, MessageRow, PAGE_MAX, query};
pub use retention::{RETENTION_STEP, expire};

mod limits;
mod query;
mod retention;

/// The system that stands for all clients in the component summary: ten thousand rows would tell nobody anything.
pub const CLIENTS: &str = "clients";
/// Attribute key of local messages: the client concerned, by id.
pub const CLIENT: &str = "client";

/// Who sent a batch, from the certificate of whoever signed it.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its role; decides which component it may speak as.
    pub role: Role,
    /// Its name: the system in summaries, except for clients.
    pub name: &'a str,
    /// The system name of this site, for what the status manager itself has to say.
    pub site: &'a str,
}

impl<'a> Sender<'a> {
    fn system(&self) -> &'a str {
        if self.role == Role::Client { CLIENTS } else { self.name }
    }

    const fn component(&self) -> Component {
        match self.role {
            Role::Client => Component::ClientAgent,
            Role::Dp => Component::DistributionPoint,
            Role::Cap => Component::ClientAccessPoint,
        }
    }
}

/// What a stored message is filed under.
struct Origin<'a> {
    sender: &'a str,
    system: &'a str,
    client: Option<&'a str>,
    /// Number of the outbox and sequence number in it; `None` for local messages.
    place: Option<(i64, u64)>,
    received_ms: i64,
}

/// Stores those messages of a sender's outbox that were not stored before, and folds them into status and summaries.
/// Gives the number up to which the sender may forget, once this is committed.
///
/// A gap is no reason to wait: a sender offers its oldest messages first, so what is missing it no longer has. The
/// gap is noted in a message, and should it be filled after all, that is stored too.
///
/// # Errors
/// [`DbError::Limit`] beyond `BATCH_MESSAGES_MAX`; [`DbError::NotFound`] if the client was deleted meanwhile.
pub fn store_batch(
    tx: &mut Tx,
    sender: &Sender<'_>,
    outbox: &str,
    messages: &[(u64, StatusMessage)],
    received_ms: i64,
) -> Result<u64, DbError> {
    if messages.len() > BATCH_MESSAGES_MAX {
        return Err(DbError::Limit { what: "messages in one batch", limit: BATCH_MESSAGES_MAX as u64 });
    }
    limits::check_outbox(outbox)?;
    if sender.role == Role::Client && super::devices::get(tx, sender.id)?.is_none() {
        return Err(DbError::NotFound(format!("client {}", sender.id)));
    }
    let mut received = outbox::open(tx, sender.id, outbox, received_ms)?;
    let mut ordered: Vec<_> = messages.iter().filter(|(seq, _)| *seq <= limits::SEQUENCE_MAX).collect();
    ordered.sort_by_key(|(seq, _)| *seq);
    let (mut taken, mut known) = (0, None);
    for (seq, message) in ordered {
        let (wanted, gap) = outbox::admit(tx, &mut received, *seq)?;
        if let Some(gap) = gap {
            note_gap(tx, sender, gap, received_ms)?;
        }
        if wanted {
            store_one(tx, sender, (received.number, *seq), message, received_ms)?;
            taken += 1;
        } else {
            known = Some((*seq, message));
        }
    }
    // The last one that was known already says whether it is the same that was stored.
    if let (Some((seq, message)), Role::Client) = (known, sender.role)
        && copies::differs(tx, sender.id, (received.number, seq), &as_stored(sender, message))?
    {
        copies::note(tx, sender.id, sender.site, received_ms)?;
    }
    outbox::close(tx, &received)?;
    metrics::status_messages(taken);
    Ok(received.high_water)
}

/// Stores what a component of this process has to say. `system` is the site's name.
///
/// # Errors
/// If the database cannot be written.
pub fn store_local(tx: &mut Tx, system: &str, message: &StatusMessage, received_ms: i64) -> Result<(), DbError> {
    let client = message.attributes.get(CLIENT).cloned();
    let origin = Origin { sender: system, system, client: client.as_deref(), place: None, received_ms };
    insert(tx, &origin, &limits::within(message))
}

/// The message in its limits, as what its sender is.
fn as_stored(sender: &Sender<'_>, message: &StatusMessage) -> StatusMessage {
    let mut message = limits::within(message);
    if message.component != sender.component() {
        // Kept as a claim, so that nothing is lost, but it counts for nobody else and moves no status.
        let claimed = message.component.as_str();
        message.text = format!("Sent as component {claimed}, which this sender is not: {}", message.text);
        message.component = sender.component();
        message.severity = Severity::Warning;
        message.state = None;
    }
    message
}

fn store_one(
    tx: &mut Tx,
    sender: &Sender<'_>,
    place: (i64, u64),
    message: &StatusMessage,
    received_ms: i64,
) -> Result<(), DbError> {
    let message = as_stored(sender, message);
    let client = (sender.role == Role::Client).then_some(sender.id);
    let origin = Origin { sender: sender.id, system: sender.system(), client, place: Some(place), received_ms };
    insert(tx, &origin, &message)?;
    let advertisement = message.attributes.get(message::ADVERTISEMENT).and_then(|name| ObjectName::parse(name));
    if let (Some(client), Some(advertisement), Some(state)) = (client, advertisement, message.state) {
        // What ran before the offer came was counted then, or for another advertisement.
        if message.reason != Some(Reason::AlreadyRan) {
            summaries::count_advertisement(tx, &advertisement, state, 1)?;
        }
        status::fold(tx, client, &advertisement, state, &message, place, received_ms)?;
    }
    Ok(())
}

fn note_gap(tx: &mut Tx, sender: &Sender<'_>, gap: Gap, received_ms: i64) -> Result<(), DbError> {
    let (role, id) = (sender.role, sender.id);
    let missing = match gap.last - gap.first {
        0 => format!("Status message {} of {role} {id} is missing", gap.first),
        _ => format!("Status messages {} to {} of {role} {id} are missing", gap.first, gap.last),
    };
    let mut attributes = std::collections::BTreeMap::new();
    if role == Role::Client {
        attributes.insert(CLIENT.to_owned(), id.to_owned());
    }
    let message = StatusMessage {
        time_ms: received_ms,
        severity: Severity::Warning,
        message_type: MessageType::Detail,
        component: Component::StatusManager,
        message_id: 0,
        text: format!("{missing}: the sender dropped what was of no consequence, or lost a part of its outbox."),
        reason: None,
        state: None,
        attributes,
    };
    store_local(tx, sender.site, &message, received_ms)
}

fn insert(tx: &mut Tx, origin: &Origin<'_>, message: &StatusMessage) -> Result<(), DbError> {
    let advertisement = message.attributes.get(message::ADVERTISEMENT).filter(|name| ObjectName::parse(name).is_some());
    let package = message.attributes.get(message::PACKAGE).filter(|name| ObjectName::parse(name).is_some());
    tx.prepare_cached(
        "INSERT INTO messages (sender, system, outbox, seq, received_ms, time_ms, severity, type, component,
             message_id, text, reason, state, client, advertisement, package, attributes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(rusqlite::params![
        origin.sender,
        origin.system,
        origin.place.map(|(outbox, _)| outbox),
        origin.place.map(|(_, seq)| signed(seq)),
        origin.received_ms,
        message.time_ms,
        rank(message.severity),
        message.message_type.as_str(),
        message.component.as_str(),
        message.message_id,
        message.text,
        message.reason.map(crate::model::reason::Reason::as_str),
        message.state.map(crate::model::state::RunState::as_str),
        origin.client,
        advertisement,
        package,
        serde_json::to_string(&message.attributes)?,
    ])?;
    summaries::count_component(tx, origin.system, message.component.as_str(), message.severity, 1)?;
    tx.touch(Change::Messages);
    Ok(())
}

/// The severity as it is stored: a greater number is worse.
const fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Informational => 1,
        Severity::Warning => 2,
        Severity::Error => 3,
    }
}

/// Reads what [`rank`] wrote.
fn severity(rank: i64) -> Severity {
    match rank {
        1 => Severity::Informational,
        2 => Severity::Warning,
        _ => Severity::Error,
    }
}

/// How many messages are stored.
///
/// # Errors
/// If the database cannot be read.
pub fn number(connection: &Connection) -> Result<u64, DbError> {
    let mut statement = connection.prepare_cached("SELECT count(*) AS number FROM messages")?;
    Ok(statement.query_row((), |row| super::column::count(row, "number"))?)
}

#[cfg(test)]
mod tests;
