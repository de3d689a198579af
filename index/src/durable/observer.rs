//! A seam through which tests see, delay, fail or end every change to the disk.
//!
//! Crash safety is a claim about each single step: this fsync, that rename.
//! Every change that this crate makes to the disk passes through [`around`], so
//! that a test can stop the world at any of them and look at what is left. Where
//! nobody observes, which is always outside of tests, a step costs one relaxed
//! load of a counter that is zero.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// One change to the disk.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A new, empty file.
    CreateFile,
    /// Bytes at the end of a file, handed to the operating system.
    Write(&'a [u8]),
    /// A file cut, or extended, to a length.
    Truncate(u64),
    /// An fsync of a file.
    SyncFile,
    /// A new folder.
    CreateFolder,
    /// An fsync of a folder: of the names in it.
    SyncFolder,
    /// A file or folder that gets this path, in place of any file there.
    Rename(&'a Path),
    /// A second name, this one, for a file.
    Link(&'a Path),
    /// A name taken away.
    RemoveFile,
    /// A folder removed with all that is in it.
    RemoveFolder,
}

/// Sees every change below a folder.
///
/// Called on the thread that makes the change, with locks of the collection
/// held: an observer must not call back into it.
pub trait Observer: Send + Sync {
    /// Is told of a step before it is made; an error takes the step's place.
    fn before(&self, step: Step<'_>, path: &Path) -> io::Result<()>;

    /// Is told that a step succeeded; an error is what its caller sees instead.
    fn after(&self, _step: Step<'_>, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Ends an observation when dropped.
#[derive(Debug)]
#[must_use = "the observation ends when this is dropped"]
pub struct Observation(usize);

struct Entry {
    number: usize,
    root: PathBuf,
    observer: Arc<dyn Observer>,
}

static OBSERVERS: RwLock<Vec<Entry>> = RwLock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);
static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(0);

/// Has an observer see every change to the disk at `root` and below, made by
/// this process from now on.
pub fn observe(root: &Path, observer: Arc<dyn Observer>) -> Observation {
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut observers = OBSERVERS.write().unwrap_or_else(PoisonError::into_inner);
    observers.push(Entry { number, root: root.to_path_buf(), observer });
    COUNT.store(observers.len(), Ordering::Relaxed);
    Observation(number)
}

impl Drop for Observation {
    fn drop(&mut self) {
        let mut observers = OBSERVERS.write().unwrap_or_else(PoisonError::into_inner);
        observers.retain(|entry| entry.number != self.0);
        COUNT.store(observers.len(), Ordering::Relaxed);
    }
}

/// Makes a change to the disk, seen by those who observe.
#[inline]
pub(super) fn around<T>(
    step: Step<'_>,
    path: &Path,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return act();
    }
    let observers = observers_of(path);
    observers.iter().try_for_each(|observer| observer.before(step, path))?;
    let done = act()?;
    observers.iter().try_for_each(|observer| observer.after(step, path))?;
    Ok(done)
}

#[cold]
fn observers_of(path: &Path) -> Vec<Arc<dyn Observer>> {
    let observers = OBSERVERS.read().unwrap_or_else(PoisonError::into_inner);
    let seeing = observers.iter().filter(|entry| path.starts_with(&entry.root));
    seeing.map(|entry| Arc::clone(&entry.observer)).collect()
}
