//! The `headroom` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    headroom::cli::main()
}
