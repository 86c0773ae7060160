//! Messages between Waybill's processes, versioned, encode and decode side by side. No I/O.

pub mod policy;
