//! The `waybill` binary. It hands argv to the command line and nothing more.

fn main() {}
