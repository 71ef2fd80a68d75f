//! Programs, run to their end.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may run; curl gives up earlier by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it was called.
    pub command: String,
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: String,
}

impl Finished {
    /// Runs a command to its end with nothing on its standard input.
    #[track_caller]
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        Self::with_input(command, &[])
    }

    /// Runs a command to its end with `input` on its standard input.
    #[track_caller]
    #[must_use]
    pub fn with_input(command: &mut Command, input: &[u8]) -> Self {
        let line = line(command);
        let mut child = command
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {line}: {e}"));
        let (stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (status, printed, said) = std::thread::scope(|scope| {
            if let Some(mut stdin) = stdin {
                // A program may end without having read everything.
                scope.spawn(move || drop(stdin.write_all(input)));
            }
            let printed = scope.spawn(move || read_all(stdout.as_mut().expect("it is a pipe")));
            let said = scope.spawn(move || read_all(stderr.as_mut().expect("it is a pipe")));
            let status = ended_within(&mut child, LIMIT);
            if status.is_none() {
                _ = child.kill();
                _ = child.wait();
            }
            (status, printed.join().expect("reading"), said.join().expect("reading"))
        });
        let finished = Self {
            command: line,
            code: status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: printed,
            stderr: String::from_utf8_lossy(&said).into_owned(),
        };
        assert!(status.is_some(), "it did not end within {LIMIT:?}\n{finished}");
        finished
    }

    /// Panics unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{self}");
        self
    }

    /// What it printed, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Panics unless all of it is said, on either stream.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        let said = format!("{}{}", self.text(), self.stderr);
        for part in parts {
            assert!(said.contains(part), "says nothing of {part:?}\n{self}");
        }
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n{}{}exit code {}", self.command, self.text(), self.stderr, self.code)
    }
}

fn read_all(pipe: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    _ = pipe.read_to_end(&mut bytes);
    bytes
}

/// Waits for a program's end; none when it runs on.
pub(crate) fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait().expect("a child can be waited for") {
            None if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(2)),
            status => return status,
        }
    }
}

/// A command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// The repository that this test was built from.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is inside the repository")
}

/// The folder into which cargo built this test.
pub(crate) fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its program");
    // target/debug/deps/e2e-… -> target
    test.ancestors().nth(3).expect("cargo puts tests three folders deep").to_owned()
}

/// The gateway: `SEKISHO_BIN`, or the one built beside this test.
#[must_use]
pub fn program() -> PathBuf {
    let program = std::env::var_os("SEKISHO_BIN").map_or_else(|| target().join("debug/sekisho"), PathBuf::from);
    assert!(program.is_file(), "there is no {}; `make test` builds it first", program.display());
    program
}

/// `sekisho` with arguments, run to its end.
#[track_caller]
#[must_use]
pub fn sekisho<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    Finished::of(Command::new(program()).args(arguments))
}

/// A plugin as `make plugins` built it.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    let file = target().join("plugins").join(name).with_extension("wasm");
    assert!(file.is_file(), "there is no {}; `make plugins` builds it", file.display());
    file
}

/// A plugin of `tests/misbehaving/`: a crate that `scripts/plugins.sh tests` built, or a component written by hand.
#[must_use]
pub fn misbehaving(name: &str) -> Vec<u8> {
    let by_hand = repository().join("tests/misbehaving").join(name).with_extension("wat");
    if by_hand.is_file() {
        wat::parse_file(&by_hand).unwrap_or_else(|e| panic!("{e}"))
    } else {
        let built = plugin(&format!("misbehaving-{name}"));
        std::fs::read(&built).unwrap_or_else(|e| panic!("{}: {e}", built.display()))
    }
}
