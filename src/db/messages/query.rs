//! Reading messages back: filters, newest first, page by page.

use rusqlite::{Connection, Row, params_from_iter, types::Value};

use super::{rank, severity};
use crate::{
    db::{
        DbError,
        column::{json, parsed, parsed_opt, reason},
    },
    model::{
        identity::ObjectName,
        message::{Component, MessageType, Severity, StatusMessage},
        state::RunState,
    },
};

/// Messages in one page at most; with outputs of programs a page is some megabytes.
pub const PAGE_MAX: usize = 500;

/// Which messages; every field that is set narrows the choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// From this sender, by id.
    pub sender: Option<String>,
    /// From this system, as the component summary names it.
    pub system: Option<String>,
    /// From this component.
    pub component: Option<Component>,
    /// So bad or worse.
    pub at_least: Option<Severity>,
    /// With this number.
    pub message_id: Option<u16>,
    /// About this client, by id.
    pub client: Option<String>,
    /// About this advertisement.
    pub advertisement: Option<ObjectName>,
    /// About this package.
    pub package: Option<ObjectName>,
    /// Received then or later, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Stored before the message with this id: the last one of the page before.
    pub before_id: Option<i64>,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Grows in the order of arrival; never used again.
    pub id: i64,
    /// Who sent it: a device's id, or the site.
    pub sender: String,
    /// The system it counts for.
    pub system: String,
    /// The client concerned.
    pub client: Option<String>,
    /// When it arrived, Unix milliseconds.
    pub received_ms: i64,
    /// What it says.
    pub message: StatusMessage,
}

impl MessageFilter {
    /// The conditions and their values, in the same order.
    fn conditions(&self) -> (Vec<&'static str>, Vec<Value>) {
        let text = |value: &Option<String>| value.clone().map(Value::from);
        let name = |value: &Option<ObjectName>| value.as_ref().map(|name| Value::from(name.to_string()));
        [
            ("sender = ?", text(&self.sender)),
            ("system = ?", text(&self.system)),
            ("component = ?", self.component.map(|component| Value::from(component.as_str().to_owned()))),
            ("severity >= ?", self.at_least.map(|severity| Value::from(rank(severity)))),
            ("message_id = ?", self.message_id.map(|id| Value::from(i64::from(id)))),
            ("client = ?", text(&self.client)),
            ("advertisement = ?", name(&self.advertisement)),
            ("package = ?", name(&self.package)),
            ("received_ms >= ?", self.since_ms.map(Value::from)),
            ("id < ?", self.before_id.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(condition, value)| Some((condition, value?)))
        .unzip()
    }
}

/// The newest messages that the filter lets through; at most `limit`, at most [`PAGE_MAX`].
///
/// # Errors
/// If the database cannot be read.
pub fn query(connection: &Connection, filter: &MessageFilter, limit: usize) -> Result<Vec<MessageRow>, DbError> {
    let (conditions, mut values) = filter.conditions();
    let conditions = if conditions.is_empty() { "1 = 1".to_owned() } else { conditions.join(" AND ") };
    values.push(Value::from(i64::try_from(limit.min(PAGE_MAX)).unwrap_or(0)));
    let mut statement =
        connection.prepare_cached(&format!("SELECT * FROM messages WHERE {conditions} ORDER BY id DESC LIMIT ?"))?;
    let rows = statement.query_map(params_from_iter(values), from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    Ok(MessageRow {
        id: row.get("id")?,
        sender: row.get("sender")?,
        system: row.get("system")?,
        client: row.get("client")?,
        received_ms: row.get("received_ms")?,
        message: StatusMessage {
            time_ms: row.get("time_ms")?,
            severity: severity(row.get("severity")?),
            message_type: parsed(row, "type", MessageType::parse)?,
            component: parsed(row, "component", Component::parse)?,
            message_id: row.get("message_id")?,
            text: row.get("text")?,
            reason: reason(row, "reason")?,
            state: parsed_opt(row, "state", RunState::parse)?,
            attributes: json(row, "attributes")?,
        },
    })
}
