//! Hints that something in a directory has changed, so that it is looked at at once instead of with the next look.
//!
//! Only hints: whoever takes them looks for himself, and looks now and then without any, as notification misses what
//! happens on network file systems, behind links to elsewhere, and while a directory is not watched yet.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Directories that are watched; the kernel has a limit for each user, and what is beyond is looked at.
const MOST_WATCHED: usize = 1024;

/// Watches directories.
#[derive(Debug)]
pub struct Hints {
    kernel: Arc<OwnedFd>,
    watched: BTreeMap<PathBuf, i32>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A hint was given and not taken yet.
    given: AtomicBool,
    /// Something happened, which may be half of a change.
    stirred: AtomicBool,
    ended: AtomicBool,
}

impl Hints {
    /// Begins to watch, for now nothing. `hint` is called on a thread of its own, once until [`Hints::take`].
    ///
    /// # Errors
    /// When the kernel gives no watch, or there can be no thread.
    pub fn start(hint: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let kernel = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let state = Arc::<State>::default();
        let (reading, known) = (Arc::clone(&kernel), Arc::clone(&state));
        std::thread::Builder::new().name("file-hints".to_owned()).spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = Reader::new(&*reading, &mut buffer);
            loop {
                let event = match events.next() {
                    Ok(event) => event.events(),
                    Err(Errno::INTR) => continue,
                    Err(error) => return tracing::warn!(%error, "changes of files are noticed late"),
                };
                if known.ended.load(Ordering::Relaxed) {
                    return;
                }
                known.stirred.store(true, Ordering::Release);
                // A file that was only just created or written to is going to be closed by its writer.
                let half = event.contains(ReadFlags::CREATE) && !event.contains(ReadFlags::ISDIR);
                let half = half || event.contains(ReadFlags::MODIFY);
                let telling = !half && !event.contains(ReadFlags::IGNORED);
                if telling && !known.given.swap(true, Ordering::AcqRel) {
                    hint();
                }
            }
        })?;
        Ok(Self { kernel, watched: BTreeMap::new(), state })
    }

    /// Whoever looks says so first: what changes from now on is another hint. Whether there was one.
    pub fn take(&self) -> bool {
        self.state.given.swap(false, Ordering::AcqRel)
    }

    /// Whether anything happened since this was last asked, half of a change or a whole one.
    pub fn is_stirred(&self) -> bool {
        self.state.given.store(false, Ordering::Release);
        self.state.stirred.swap(false, Ordering::AcqRel)
    }

    /// Watches these directories and no others. One that was replaced under its name is watched anew.
    pub fn watch(&mut self, directories: &BTreeSet<PathBuf>) {
        self.watched.retain(|path, watch| {
            let stays = directories.contains(path);
            if !stays {
                // The kernel has forgotten it already if the directory is gone.
                let _ = inotify::remove_watch(&*self.kernel, *watch);
            }
            stays
        });
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for path in directories.iter().take(MOST_WATCHED) {
            let Ok(watch) = inotify::add_watch(&*self.kernel, path, what) else { continue };
            if let Some(before) = self.watched.insert(path.clone(), watch)
                && before != watch
                && !self.watched.values().any(|other| *other == before)
            {
                let _ = inotify::remove_watch(&*self.kernel, before);
            }
        }
    }
}

impl Drop for Hints {
    /// An event wakes the thread, which then sees that it is over.
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        if let Ok(watch) = inotify::add_watch(&*self.kernel, "/", WatchFlags::ONLYDIR | WatchFlags::DELETE_SELF) {
            let _ = inotify::remove_watch(&*self.kernel, watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_changes_in_a_watched_directory_is_told_once_until_it_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let (hint, hinted) = mpsc::channel();
        let mut hints = Hints::start(move || _ = hint.send(())).unwrap();
        let comes = |within| hinted.recv_timeout(Duration::from_millis(within)).is_ok();
        hints.watch(&BTreeSet::from([root.path().to_owned()]));
        assert!(!comes(50));
        std::fs::write(root.path().join("a"), "1").unwrap();
        assert!(comes(5000));
        std::fs::write(root.path().join("a"), "2").unwrap();
        assert!(!comes(50), "one is enough");
        hints.take();
        std::fs::write(root.path().join("b"), "1").unwrap();
        assert!(comes(5000));
        hints.take();
        // Whatever is left of the writing.
        while comes(50) {
            hints.take();
        }
        std::os::unix::fs::symlink("a", root.path().join("..next")).unwrap();
        std::fs::rename(root.path().join("..next"), root.path().join("..data")).unwrap();
        assert!(comes(5000), "a link that is swapped");
        hints.take();
        hints.watch(&BTreeSet::new());
        while comes(50) {
            hints.take();
        }
        std::fs::write(root.path().join("c"), "1").unwrap();
        assert!(!comes(50), "nobody asked any more");
    }

    #[test]
    fn a_directory_that_was_replaced_is_watched_anew() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("d");
        std::fs::create_dir(&directory).unwrap();
        let (hint, hinted) = mpsc::channel();
        let mut hints = Hints::start(move || _ = hint.send(())).unwrap();
        let watched = BTreeSet::from([directory.clone()]);
        hints.watch(&watched);
        std::fs::rename(&directory, root.path().join("old")).unwrap();
        std::fs::create_dir(&directory).unwrap();
        hints.watch(&watched);
        while hinted.recv_timeout(Duration::from_millis(50)).is_ok() {
            hints.take();
        }
        std::fs::write(directory.join("a"), "1").unwrap();
        assert!(hinted.recv_timeout(Duration::from_secs(5)).is_ok());
    }

    #[test]
    fn its_thread_ends_with_it() {
        let (alive, gone) = mpsc::channel::<()>();
        drop(Hints::start(move || _ = alive.send(())).unwrap());
        assert_eq!(gone.recv_timeout(Duration::from_secs(5)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
