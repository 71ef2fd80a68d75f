//! The `sekisho` command. Exit codes: 0 all is well, 1 something failed or was found, 2 the command line is wrong.

use std::process::ExitCode;

/// The C library's leaves holes of what a request needs between what its connection keeps, which costs an idle connection
/// more than twice the memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sekisho::cli::main()
}
