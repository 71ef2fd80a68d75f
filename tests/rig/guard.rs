//! Things shared by all tests of a process, which must end with it. Nothing drops a static, so a shell holds each: its
//! standard input is a pipe from this process, and its end, however it comes, is the sign to clean up.

use std::process::{Command, Stdio};

/// Runs `script` with the arguments `$1`, `$2`, … in a shell whose standard input ends with this process.
pub(crate) fn until_exit(script: &str, set_up: impl FnOnce(&mut Command)) {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "guard"]);
    set_up(&mut shell);
    let shell = shell.stdin(Stdio::piped()).spawn().expect("sh is everywhere");
    std::mem::forget(shell);
}
