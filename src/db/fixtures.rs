//! A scratch database for the unit tests of this module.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{
    Tx,
    devices::{self, DeviceRow},
    messages::Sender,
    schema,
};
use crate::{
    model::{
        message::{self, Component, MessageType, Severity, StatusMessage},
        state::RunState,
    },
    trust::identity::Role,
};

/// Milliseconds at which the scratch site was made.
pub(super) const NOW: i64 = 1_700_000_000_000;

/// A fresh database in memory, as the writer sees it.
pub(super) fn scratch() -> Tx {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::prepare(&mut connection, "memory".as_ref(), NOW).unwrap();
    Tx::new(connection)
}

/// A device row with a certificate of thirty days.
pub(super) fn device(id: &str, role: Role, name: &str) -> DeviceRow {
    DeviceRow {
        id: id.into(),
        role,
        name: name.into(),
        hostname: String::new(),
        labels: BTreeMap::new(),
        blocked: false,
        certificate: "first".into(),
        not_after_ms: NOW + 30 * 86_400_000,
        joined_at_ms: NOW,
        last_seen_ms: NOW,
        agent_version: String::new(),
    }
}

/// Lets a client of this id join.
pub(super) fn client(tx: &mut Tx, id: &str) {
    devices::join(tx, &device(id, Role::Client, id)).unwrap();
}

/// A message of a client about the advertisement `default/NAME`.
pub(super) fn message(advertisement: &str, state: RunState) -> StatusMessage {
    StatusMessage {
        time_ms: NOW,
        severity: if state.is_failure() { Severity::Error } else { Severity::Informational },
        message_type: MessageType::Milestone,
        component: Component::ClientAgent,
        message_id: 10_002,
        text: state.as_str().into(),
        reason: None,
        state: Some(state),
        attributes: BTreeMap::from([(message::ADVERTISEMENT.to_owned(), format!("default/{advertisement}"))]),
    }
}

/// The client of this id as a sender.
pub(super) fn sender(id: &str) -> Sender<'_> {
    Sender { id, role: Role::Client, name: id, site: "hq" }
}
