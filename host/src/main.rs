//! The `sekisho` command. Exit codes: 0 all is well, 1 something failed or was found, 2 the command line is wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    sekisho::cli::main()
}
