//! Runs of programs as real processes: `waybill-agent supervise` over real files.

mod crash;
mod endings;
pub(crate) mod full_disk;
mod refusals;
mod setting;
mod timeout;
