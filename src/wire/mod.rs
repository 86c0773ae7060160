//! Messages between Waybill's processes, versioned, encode and decode side by side. No I/O.

pub mod access;
pub mod enrol;
pub mod inventory;
pub mod points;
pub mod policy;
pub mod record;
pub mod status;
pub mod turned_away;
