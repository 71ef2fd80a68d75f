//! What stands behind the gateway: the real httpbin, and a small server that says what it saw.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use crate::program::target;

/// The real httpbin under gunicorn, one for all tests of this process.
#[must_use]
pub fn httpbin() -> SocketAddr {
    static SHARED: OnceLock<SocketAddr> = OnceLock::new();
    *SHARED.get_or_init(|| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::free_port()));
        let tools = target().join("test-tools");
        let python = tools.join("venv/bin/python");
        assert!(python.is_file(), "there is no {}; `make test` makes it", python.display());
        crate::guard::until_exit(r#""$@" & httpbin=$!; cat; kill $httpbin; wait"#, |shell| {
            let log = std::fs::File::create(tools.join("httpbin.log")).expect("target/test-tools can be written");
            shell.arg(python).args(["-m", "gunicorn", "--bind", &address.to_string(), "--worker-class", "gthread"]);
            // Connections outlive a pause of a test; what happens to a stale one is tested with a Backend.
            shell.args(["--threads", "16", "--keep-alive", "75", "httpbin:app"]);
            shell.stdout(Stdio::null()).stderr(log);
        });
        crate::eventually(|| {
            let mut connection = TcpStream::connect(address).map_err(|e| format!("httpbin at {address}: {e}"))?;
            let mut answer = String::new();
            write!(connection, "GET /status/418 HTTP/1.1\r\nhost: httpbin\r\nconnection: close\r\n\r\n")
                .and_then(|()| connection.read_to_string(&mut answer))
                .map_err(|e| format!("httpbin at {address}: {e}"))?;
            if answer.starts_with("HTTP/1.1 418") { Ok(()) } else { Err(format!("httpbin answered {answer}")) }
        });
        address
    })
}

/// A small HTTP/1.1 server:
///
/// | request | answer |
/// |---|---|
/// | `/hello` | 200, `Hello version: v1, instance: NAME`, as the task's helloworld |
/// | `/status/N` | N |
/// | `/head` | 200, the request's head as it came in |
/// | `/bytes/N` | 200, N bytes, [`Backend::bytes`] |
/// | `/echo` | 200, the request's body, each piece as it comes |
/// | `/held` | 200, `first`, and after [`Backend::release`] `second` |
/// | `/upgrade` | 101 to whatever is asked for, and every byte comes back; without the wish 426 |
/// | `/unsteady/N` | 503 N times, then 200, and so on |
/// | `/drops/N` | the connection is closed without an answer N times, then 200, and so on |
/// | `/sleeps/N` | 200 after 5 seconds N times, then at once, and so on |
/// | `/once` | 200, and the connection is closed without a word: a stale one for whoever keeps it |
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    progress: Arc<Progress>,
}

/// What a test and its backend tell each other while a request is in flight.
#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    connections: u64,
    received: u64,
    released: bool,
    heads: VecDeque<String>,
    failures: HashMap<String, u64>,
}

/// Heads that a backend remembers.
const MOST_HEADS: usize = 64;

impl Progress {
    fn saw(&self, head: &str) {
        let heads = &mut self.state.lock().expect("nobody panics with it").heads;
        if heads.len() == MOST_HEADS {
            heads.pop_front();
        }
        heads.push_back(head.to_owned());
    }

    /// Whether a path that fails so many times fails now.
    fn fails(&self, path: &str, times: u64) -> bool {
        let mut state = self.state.lock().expect("nobody panics with it");
        let failures = state.failures.entry(path.to_owned()).or_default();
        *failures = if *failures < times { *failures + 1 } else { 0 };
        *failures > 0
    }
}

impl Backend {
    /// Serves on 127.0.0.1 as long as this process lives.
    #[must_use]
    pub fn start(instance: &str) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), instance).expect("127.0.0.1 is everywhere")
    }

    /// Serves on an address.
    ///
    /// # Errors
    /// When this machine does not have the address.
    pub fn start_on(address: IpAddr, instance: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let instance: Arc<str> = instance.into();
        let progress = Arc::<Progress>::default();
        let backend = Self { address, progress: Arc::clone(&progress) };
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                progress.state.lock().expect("nobody panics with it").connections += 1;
                let (instance, progress) = (Arc::clone(&instance), Arc::clone(&progress));
                // An error here is the peer's business: the test sees it on its side.
                std::thread::spawn(move || drop(serve(&connection, &instance, &progress)));
            }
        });
        Ok(backend)
    }

    /// How many bytes of request bodies have come in, of unfinished ones too.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.progress.state.lock().expect("nobody panics with it").received
    }

    /// The heads of the last requests, oldest first.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.progress.state.lock().expect("nobody panics with it").heads.iter().cloned().collect()
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.progress.state.lock().expect("nobody panics with it").connections
    }

    /// Lets the rest of `/held` go.
    pub fn release(&self) {
        self.progress.state.lock().expect("nobody panics with it").released = true;
        self.progress.changed.notify_all();
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `/bytes/N` sends: no piece of it looks like another nearby, so that nothing can be lost or swapped unseen.
    pub fn bytes(length: usize) -> impl Iterator<Item = u8> {
        (0..length).map(|at| u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).expect("one byte is left"))
    }
}

struct Head {
    text: String,
    path: String,
    body: Body,
}

impl Head {
    /// A path that fails so many times.
    fn failing(&self) -> Option<(&str, u64)> {
        let (how, times) = self.path.rsplit_once('/')?;
        matches!(how, "/drops" | "/unsteady" | "/sleeps").then_some((how, times.parse().ok()?))
    }

    fn header(&self, name: &str) -> Option<String> {
        let mut headers = self.text.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }
}

enum Body {
    None,
    Length(u64),
    Chunked,
}

fn serve(stream: &TcpStream, instance: &str, progress: &Progress) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = BufWriter::new(stream);
    while let Some(head) = read_head(&mut reader)? {
        progress.saw(&head.text);
        if head.text.to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n") {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            writer.flush()?;
        }
        if head.path == "/upgrade"
            && let Some(protocol) = head.header("upgrade")
        {
            let connection = head.header("connection").unwrap_or_default();
            write!(writer, "HTTP/1.1 101 -\r\nconnection: {connection}\r\nupgrade: {protocol}\r\n\r\n")?;
            writer.flush()?;
            return io::copy(&mut reader, &mut &*stream).map(drop);
        }
        if head.path == "/echo" {
            writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            writer.flush()?;
            each_piece(&head.body, &mut reader, |piece| {
                write!(writer, "{:x}\r\n", piece.len())?;
                writer.write_all(piece)?;
                writer.write_all(b"\r\n")?;
                writer.flush()
            })?;
            writer.write_all(b"0\r\n\r\n")?;
        } else {
            each_piece(&head.body, &mut reader, |piece| {
                progress.state.lock().expect("nobody panics with it").received += piece.len() as u64;
                Ok(())
            })?;
            if head.path == "/held" {
                writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nfirst")?;
                writer.flush()?;
                let state = progress.state.lock().expect("nobody panics with it");
                drop(progress.changed.wait_while(state, |state| !state.released));
                writer.write_all(b"second")?;
            } else if let Some((how, times)) = head.failing() {
                match (how, progress.fails(&head.path, times)) {
                    ("/drops", true) => return Ok(()),
                    ("/unsteady", true) => writer.write_all(b"HTTP/1.1 503 -\r\ncontent-length: 0\r\n\r\n")?,
                    (_, fails) => {
                        if fails {
                            std::thread::sleep(Duration::from_secs(5));
                        }
                        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
                    }
                }
            } else {
                answer(&head, instance, &mut writer)?;
            }
        }
        writer.flush()?;
        if head.path == "/once" {
            return Ok(());
        }
    }
    Ok(())
}

fn answer(head: &Head, instance: &str, writer: &mut impl Write) -> io::Result<()> {
    let mut send = |status: u16, body: &[u8]| {
        write!(writer, "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nx-instance: {instance}\r\n\r\n", body.len())?;
        writer.write_all(body)
    };
    let path = head.path.split('?').next().unwrap_or_default();
    match path.rsplit_once('/') {
        Some(("", "hello")) => send(200, format!("Hello version: v1, instance: {instance}\n").as_bytes()),
        Some(("", "head")) => send(200, head.text.as_bytes()),
        Some(("", "once")) => send(200, b"once\n"),
        Some(("", "upgrade")) => send(426, b""),
        Some(("/status", status)) => send(status.parse().unwrap_or(500), b""),
        Some(("/bytes", length)) => {
            let length = length.parse().unwrap_or(0);
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
            let bytes: Vec<u8> = Backend::bytes(length).collect();
            writer.write_all(&bytes)
        }
        _ => send(404, b""),
    }
}

/// The next request's head; none when the client has hung up.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if reader.read_line(&mut text)? == 0 {
            return Ok(None);
        }
    }
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut head = Head { text, path, body: Body::None };
    head.body = match (head.header("transfer-encoding"), head.header("content-length")) {
        (Some(_), _) => Body::Chunked,
        (None, Some(length)) => Body::Length(length.parse().map_err(io::Error::other)?),
        (None, None) => Body::None,
    };
    Ok(Some(head))
}

/// Reads a body to its end and hands on what arrives, when it arrives.
fn each_piece(body: &Body, reader: &mut impl BufRead, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut read = |reader: &mut dyn BufRead, mut left: u64| -> io::Result<()> {
        while left > 0 {
            let available = reader.fill_buf()?;
            if available.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&available[..length])?;
            reader.consume(length);
            left -= length as u64;
        }
        Ok(())
    };
    match body {
        Body::None => Ok(()),
        Body::Length(length) => read(reader, *length),
        Body::Chunked => loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            read(reader, size)?;
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}
