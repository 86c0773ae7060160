//! The site database: SQLite through rusqlite, and the only place with SQL of the site. One module a topic; their
//! functions take a [`Tx`] to write or a connection to read, and give typed rows. Decides nothing about distribution.

pub mod copies;
pub mod devices;
pub mod inventory;
pub mod jobs;
pub mod kept;
pub mod leaves;
pub mod locations;
pub mod messages;
pub mod outbox;
pub mod points;
pub mod records;
pub mod report;
pub mod site;
pub mod status;
pub mod summaries;
pub mod sweep;
pub mod tokens;
pub mod undeclared;
pub mod versions;

mod change;
mod column;
mod database;
mod error;
mod schema;
mod writer;

pub use change::Change;
pub use database::Database;
pub use error::DbError;
pub use rusqlite::Connection;
pub use writer::Tx;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod scale_tests;
