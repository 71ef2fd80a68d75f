//! Sockets in the file system, and those that have a name and no file.
//!
//! A file outlives the process that bound it. Such a one is replaced; one that somebody has bound, whether they listen
//! yet or not, and whatever is no socket, is left alone. Nothing is made or judged for good under a name that others use: a
//! socket gets its name when it listens, and a file is deleted after it has been moved aside.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{BACKLOG, Refusal};

/// Whoever may write the file may connect: the gateway's user and group.
const MODE: u32 = 0o660;

/// Bytes of the longest path: the kernel takes 107, and [`aside`] adds to it.
const LONGEST: usize = 107 - SUFFIX;
/// Of a name that nobody else uses: a dot and characters.
const SUFFIX: usize = 7;

/// The file of a bound socket. It goes with this, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Makes the file of a socket at a path of its own connectable for [`MODE`], and knows it again.
    fn prepare(path: PathBuf) -> io::Result<Self> {
        // The file is held, so that a link that is put in its place is not followed.
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path)?;
        fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(MODE))?;
        let metadata = file.metadata()?;
        Ok(Self { identity: (metadata.dev(), metadata.ino()), path })
    }

    fn is_at(&self, path: &Path) -> Result<(), Refusal> {
        let metadata = fs::symlink_metadata(path).map_err(|error| refusal(&error))?;
        if (metadata.dev(), metadata.ino()) == self.identity { Ok(()) } else { Err(Refusal::InUse) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = remove(&self.path, |path| self.is_at(path));
    }
}

/// Binds and listens, in the place of a file that nobody has bound any more.
pub(super) fn bind(name: &str) -> Result<(UnixListener, Option<SocketFile>), Refusal> {
    if is_abstract(name) {
        let socket = bound(name)?;
        socket.listen(BACKLOG).map_err(|error| refusal(&error))?;
        return Ok((socket.into(), None));
    }
    let (socket, file) = bind_aside(name)?;
    socket.listen(BACKLOG).map_err(|error| refusal(&error))?;
    let path = Path::new(name);
    let mut linked = fs::hard_link(&file.path, path);
    if linked.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
        // Of two gateways that both look at a dead file, one must not move the other's aside.
        let _one_at_a_time = lock_directory(path)?;
        remove(path, vacant)?;
        linked = fs::hard_link(&file.path, path);
    }
    linked.map_err(|error| refusal(&error))?;
    let named = SocketFile { path: path.to_owned(), identity: file.identity };
    Ok((socket.into(), Some(named)))
}

/// Whether [`bind`] could be done. Nothing changes at the path.
pub(super) fn probe(name: &str) -> Result<(), Refusal> {
    if is_abstract(name) {
        return bound(name).map(drop);
    }
    address(name).map_err(|error| refusal(&error))?;
    vacant(Path::new(name))?;
    bind_aside(name).map(drop)
}

/// A socket beside the path, in a file that nobody knows.
fn bind_aside(path: &str) -> Result<(Socket, SocketFile), Refusal> {
    if path.len() > LONGEST {
        return Err(Refusal::Other(format!("its path has more than {LONGEST} bytes")));
    }
    let aside = aside(path);
    let socket = bound(&aside)?;
    let file = SocketFile::prepare(aside.into()).map_err(|error| Refusal::Other(error.to_string()))?;
    Ok((socket, file))
}

fn bound(name: &str) -> Result<Socket, Refusal> {
    let bound = open(Type::STREAM).and_then(|socket| socket.bind(&address(name)?).map(|()| socket));
    bound.map_err(|error| refusal(&error))
}

/// A name in the same directory that nobody else uses.
fn aside(path: &str) -> String {
    let characters = (1..SUFFIX).map(|_| fastrand::lowercase());
    format!("{path}.{}", characters.collect::<String>())
}

/// Keeps other gateways from replacing a file in the directory as long as it lives.
fn lock_directory(path: &Path) -> Result<File, Refusal> {
    let directory = File::open(path.parent().unwrap_or(path)).map_err(|error| refusal(&error))?;
    // Not waited for, since whoever may read the directory can lock it.
    directory.try_lock().map_err(|_| Refusal::InUse)?;
    Ok(directory)
}

/// Deletes what is at a path if it may go. Whatever has come there since it was looked at is given back.
fn remove(path: &Path, may_go: impl Fn(&Path) -> Result<(), Refusal>) -> Result<(), Refusal> {
    may_go(path)?;
    let aside = PathBuf::from(aside(&path.to_string_lossy()));
    let rename = |from: &Path, to: &Path| renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    match rename(path, &aside).map_err(io::Error::from) {
        // Somebody else has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        moved => moved.map_err(|error| refusal(&error))?,
    }
    if let Err(refusal) = may_go(&aside) {
        let _ = rename(&aside, path);
        return Err(refusal);
    }
    fs::remove_file(&aside).map_err(|error| refusal(&error))
}

/// Whether nothing is there, or a socket that nobody has bound any more.
fn vacant(path: &Path) -> Result<(), Refusal> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(|error| refusal(&error))?,
    };
    if !metadata.file_type().is_socket() {
        return Err(Refusal::NoSocket);
    }
    // One of the same type would be refused alike where nobody has bound it and where nobody listens yet. One of another
    // type is told that there is a socket, and that it is of the wrong type.
    let connected = open(Type::DGRAM).and_then(|socket| socket.connect(&SockAddr::unix(path)?));
    match connected {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        // Of whatever type, or without the permission to ask: somebody is taken to be there.
        _ => Err(Refusal::InUse),
    }
}

fn open(kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn address(name: &str) -> io::Result<SockAddr> {
    // The kernel would end a path there.
    if name.contains('\0') {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a NUL is in its name"));
    }
    match name.strip_prefix('@') {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(name),
    }
}

fn is_abstract(name: &str) -> bool {
    name.starts_with('@')
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::AddrInUse | ErrorKind::AlreadyExists => Refusal::InUse,
        ErrorKind::NotFound => Refusal::NoDirectory,
        ErrorKind::PermissionDenied => Refusal::NoPermission,
        _ => Refusal::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_a_dead_process_left_is_replaced_and_what_a_living_one_has_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s").to_str().unwrap().to_owned();
        // Nobody removes the file of this one.
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(probe(&path), Ok(()));
        assert!(fs::exists(&path).unwrap(), "what is only tried out changes nothing");
        let (listener, file) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        UnixStream::connect(&path).unwrap();
        assert_eq!((probe(&path), bind(&path).err()), (Err(Refusal::InUse), Some(Refusal::InUse)));
        UnixStream::connect(&path).unwrap();
        drop((listener, file));
        assert!(!fs::exists(&path).unwrap(), "the file goes with the socket");
        assert_eq!(probe(&path), Ok(()));
        assert!(!fs::exists(&path).unwrap());
    }

    #[test]
    fn anothers_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s").to_str().unwrap().to_owned();
        fs::write(&path, "precious").unwrap();
        assert_eq!((probe(&path), bind(&path).err()), (Err(Refusal::NoSocket), Some(Refusal::NoSocket)));
        fs::remove_file(&path).unwrap();
        let bound = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(fs::exists(&path).unwrap());
        let nowhere = directory.path().join("none/s").to_str().unwrap().to_owned();
        assert_eq!(bind(&nowhere).err(), Some(Refusal::NoDirectory));
    }

    fn names_in(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn one_that_is_bound_and_does_not_listen_yet_is_not_dead() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let name = path.to_str().unwrap();
        for kind in [Type::STREAM, Type::SEQPACKET, Type::DGRAM] {
            let other = open(kind).unwrap();
            other.bind(&address(name).unwrap()).unwrap();
            assert_eq!((probe(name), bind(name).err()), (Err(Refusal::InUse), Some(Refusal::InUse)), "{kind:?}");
            assert_eq!(names_in(directory.path()), ["s"], "nothing else is left");
            drop(other);
            let bound = bind(name).unwrap();
            assert_eq!(names_in(directory.path()), ["s"]);
            drop(bound);
        }
    }

    #[test]
    fn of_many_that_bind_at_once_one_has_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let name = path.to_str().unwrap();
        for _ in 0..50 {
            drop(UnixListener::bind(name).unwrap());
            let bound = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(|| (probe(name), bind(name)).1.ok())).collect();
                all.into_iter().filter_map(|one| one.join().unwrap()).collect::<Vec<_>>()
            });
            let [(listener, _)] = &bound[..] else { panic!("{} have it", bound.len()) };
            UnixStream::connect(name).unwrap();
            listener.accept().unwrap();
            drop(bound);
            assert!(names_in(directory.path()).is_empty());
        }
    }

    #[test]
    fn what_came_after_the_look_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let living = std::cell::OnceCell::new();
        let refused = remove(&path, |at| {
            let judged = vacant(at);
            if at == path {
                fs::remove_file(&path).unwrap();
                living.set(UnixListener::bind(&path).unwrap()).unwrap();
            }
            judged
        });
        assert_eq!(refused, Err(Refusal::InUse));
        UnixStream::connect(&path).unwrap();
        assert_eq!(names_in(directory.path()), ["s"]);
    }

    #[test]
    fn a_dead_file_stays_while_another_gateway_replaces_one_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let lock = lock_directory(&path).unwrap();
        assert_eq!(bind(path.to_str().unwrap()).err(), Some(Refusal::InUse));
        drop(lock);
        bind(path.to_str().unwrap()).unwrap();
    }

    #[test]
    fn a_link_to_a_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("f"), directory.path().join("l"));
        fs::write(&file, "precious").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(SocketFile::prepare(link.clone()).is_err());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(bind(link.to_str().unwrap()).err(), Some(Refusal::NoSocket));
    }

    #[test]
    fn names_that_are_bound_elsewhere_or_nowhere_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s\0b");
        for name in [path.to_str().unwrap(), "@sekisho\0b"] {
            let refused = Refusal::Other("a NUL is in its name".to_owned());
            assert_eq!((probe(name), bind(name).err()), (Err(refused.clone()), Some(refused)));
        }
        assert!(names_in(directory.path()).is_empty());
        let file = |length| format!("{}/{}", directory.path().display(), "s".repeat(length));
        let length = LONGEST - file(0).len();
        bind(&file(length)).unwrap();
        assert!(matches!(bind(&file(length + 1)), Err(Refusal::Other(said)) if said.contains("100 bytes")));
    }

    #[test]
    fn a_name_without_a_file_is_free_again_when_its_socket_is_closed() {
        let name = format!("@sekisho-test-{}", std::process::id());
        let (listener, file) = bind(&name).unwrap();
        assert!(file.is_none());
        assert_eq!(probe(&name), Err(Refusal::InUse));
        drop(listener);
        assert_eq!(probe(&name), Ok(()));
    }
}
