//! What a committed transaction changed, told to everyone who derives something from it. A hint to read again, never
//! the data itself: a receiver that lagged reads everything again.

use crate::model::identity::ObjectName;

/// A topic that changed, with the row's id where receivers can use it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Site id, epoch, or whether the database takes writes.
    Site,
    /// Enrolment tokens.
    Tokens,
    /// This client, distribution point or client access point joined, was blocked, unblocked or deleted.
    Devices(String),
    /// The labels of this client.
    Labels(String),
    /// The inventory of this client.
    Inventory(String),
    /// The address or drives that this distribution point reports.
    Points(String),
    /// What distribution points hold or should hold of this package.
    Locations(ObjectName),
    /// The source versions of this package.
    Versions(ObjectName),
    /// The package records of this package.
    Records(ObjectName),
    /// Distribution jobs.
    Jobs,
    /// Status messages were stored.
    Messages,
    /// Where clients stand with this advertisement.
    Status(ObjectName),
}
