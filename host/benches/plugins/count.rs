//! Machine instructions of the native plugins, counted by valgrind's callgrind within one run of a case. Time in the
//! kernel is not in them.

use std::path::Path;
use std::process::Command;

use crate::{Meter, cases};

/// Runs the native cases under callgrind and prints what each took.
pub(crate) fn start() {
    let directory = tempfile::tempdir().expect("a directory");
    let dumps = directory.path().join("dump");
    let child = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args(["toggle-collect", "dump-after"].map(|option| format!("--{option}=plugins::count::counted_run")))
        .arg(format!("--callgrind-out-file={}", dumps.display()))
        .arg(std::env::current_exe().expect("this program has a path"))
        .arg("counted")
        .output()
        .expect("valgrind is installed");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    for (number, line) in (1..).zip(String::from_utf8_lossy(&child.stdout).lines()) {
        let (case, calls) = line.rsplit_once(' ').expect("a case and how often it ran");
        let calls: u64 = calls.parse().expect("a number");
        println!("{case:60} {:>12} instructions", total(&dumps.with_extension(number.to_string())) / calls);
    }
}

/// Under valgrind: runs each case once to warm it up, then counted.
pub(crate) fn run() {
    cases::native(&mut Counter);
}

fn total(dump: &Path) -> u64 {
    let text = std::fs::read_to_string(dump).expect("a dump for each case");
    let line = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    line.and_then(|total| total.trim().parse().ok()).expect("a dump has a total")
}

struct Counter;

impl Meter for Counter {
    fn measure(&mut self, case: &str, calls: u32, run: &mut dyn FnMut()) {
        run();
        counted_run(calls, run);
        println!("{case} {calls}");
    }
}

/// Callgrind looks for this name.
#[inline(never)]
fn counted_run(calls: u32, run: &mut dyn FnMut()) {
    for _ in 0..calls {
        run();
    }
}
