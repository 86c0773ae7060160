//! Log output, set up once per process. Does not decide what is logged where: call sites do.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// Writes log lines to standard error at the level of `filter` (for instance `info` or `waybill=debug,warn`).
///
/// A second call in one process changes nothing, so that tests may call it freely.
pub fn init(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // Colours are for eyes: in a file or a journal they would be noise between the words.
    let lines = lines.with_ansi(stderr().is_terminal());
    // A log that cannot be written (full disk, closed pipe) is lost in silence: the complaint about it would panic.
    let _ = lines.log_internal_errors(false).try_init();
}
