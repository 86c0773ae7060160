//! Plain types everyone shares: identities, schedules, reasons, states. Serde only; no I/O, no clock.

pub mod causes;
pub mod duration;
pub mod identity;
pub mod message;
pub mod platform;
pub mod quantity;
pub mod reason;
pub mod schedule;
pub mod state;
pub mod words;
