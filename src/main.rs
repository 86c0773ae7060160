//! The `waybill` binary. It hands argv to the command line and nothing more.

use std::process::ExitCode;

fn main() -> ExitCode {
    waybill::cli::main()
}
