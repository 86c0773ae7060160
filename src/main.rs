//! The `waybill` binary. It bounds what its allocator keeps, and hands argv to the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    waybill::allocator::return_what_is_free();
    waybill::cli::main()
}
