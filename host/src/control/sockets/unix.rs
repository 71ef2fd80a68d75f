//! Sockets in the file system, and those that have a name and no file.
//!
//! A file outlives the process that bound it. Such a one is replaced; one that somebody listens on, and whatever is no
//! socket, is left alone.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{BACKLOG, Refusal};

/// Whoever may write the file may connect: the gateway's user and group.
const MODE: u32 = 0o660;

/// The file of a bound socket. It goes with this, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn at(path: &str) -> Self {
        let path = PathBuf::from(path);
        Self { identity: identity(&path), path }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Binds and listens, in the place of a file that nobody listens on any more.
pub(super) fn bind(name: &str) -> Result<(UnixListener, Option<SocketFile>), Refusal> {
    let socket = open().map_err(|error| refusal(&error))?;
    let address = address(name).map_err(|error| refusal(&error))?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != ErrorKind::AddrInUse || is_abstract(name) {
            return Err(refusal(&error));
        }
        vacant(name)?;
        fs::remove_file(name).and_then(|()| socket.bind(&address)).map_err(|error| refusal(&error))?;
    }
    let file = (!is_abstract(name)).then(|| SocketFile::at(name));
    if file.is_some() {
        // Nobody can connect before it listens.
        fs::set_permissions(name, fs::Permissions::from_mode(MODE)).map_err(|error| refusal(&error))?;
    }
    socket.listen(BACKLOG).map_err(|error| refusal(&error))?;
    Ok((socket.into(), file))
}

/// Whether [`bind`] could be done. A file that it would replace stays.
pub(super) fn probe(name: &str) -> Result<(), Refusal> {
    if !is_abstract(name) && fs::symlink_metadata(name).is_ok() {
        return vacant(name);
    }
    bind(name).map(drop)
}

/// Whether the file is a socket that nobody listens on.
fn vacant(path: &str) -> Result<(), Refusal> {
    let metadata = fs::symlink_metadata(path).map_err(|error| refusal(&error))?;
    if !metadata.file_type().is_socket() {
        return Err(Refusal::NoSocket);
    }
    let connected = open().and_then(|socket| socket.connect(&address(path)?));
    match connected {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        // Without the permission to ask, or with a queue that is full, somebody is taken to be there.
        _ => Err(Refusal::InUse),
    }
}

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn address(name: &str) -> io::Result<SockAddr> {
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
        ErrorKind::AddrInUse => Refusal::InUse,
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
