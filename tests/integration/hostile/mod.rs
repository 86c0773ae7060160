//! Never open: what strangers, other devices and dishonest servers get from real processes, which is nothing.

mod cap;
mod devices;
mod dp;
mod limits;
mod lives;
mod modes;
mod ports;
pub(crate) mod probe;
mod sources;
