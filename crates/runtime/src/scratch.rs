//! The directory in which a worker's runs get theirs. Its worker keeps a lock on it, so that what a killed one left can be told
//! from what is in use, whatever process ids have been used again since.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the names of workers' directories begin.
const PREFIX: &str = "worker-";
const LOCK: &str = ".lock";

/// A sweep of another process may take the directory between its making and its lock; hardly twice.
const TRIES: usize = 5;

/// One worker's directory. Dropped, it is free, and removed when no run has left anything in it.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: Arc<Path>,
    _lock: File,
}

impl Scratch {
    /// Makes and locks a directory of its own under `parent`.
    pub(crate) fn make(parent: &Path) -> std::io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        for _ in 0..TRIES {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            fs::create_dir_all(&path)?;
            if let Some(lock) = lock(&path)? {
                return Ok(Self { path: path.into(), _lock: lock });
            }
        }
        Err(Error::new(ErrorKind::ResourceBusy, format!("{} can't be locked", parent.display())))
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _best_effort = fs::remove_file(self.path.join(LOCK)).and_then(|()| fs::remove_dir(&self.path));
    }
}

/// Removes the directories under `parent` of workers that are gone; gives how many there were.
///
/// # Errors
/// When `parent` can't be read. What can't be removed is logged and left for the next time.
pub fn sweep_scratch(parent: &Path) -> std::io::Result<usize> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !named || !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        // Held until all is gone.
        let taken = lock(&path).and_then(|lock| match lock {
            Some(_lock) => fs::remove_dir_all(&path).map(|()| 1),
            None => Ok(0),
        });
        match taken {
            Ok(count) => removed += count,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a dead worker's directory could not be removed");
            }
        }
    }
    Ok(removed)
}

/// None when another has the directory, or has just removed it.
fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let name = path.join(LOCK);
    let file = match OpenOptions::new().create(true).truncate(false).write(true).open(&name) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => Ok(name.exists().then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_worker_left_is_removed_and_what_is_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let here = Scratch::make(parent.path()).unwrap();
        fs::create_dir(here.path().join("run")).unwrap();
        let dead = parent.path().join("worker-1-0");
        fs::create_dir_all(dead.join("run")).unwrap();
        fs::write(dead.join("run/part"), b"half").unwrap();
        fs::write(dead.join(LOCK), b"").unwrap();
        fs::write(parent.path().join("worker-notes"), b"somebody's").unwrap();
        fs::create_dir(parent.path().join("other")).unwrap();

        assert_eq!(sweep_scratch(parent.path()).unwrap(), 1);
        assert!(!dead.exists());
        for kept in [here.path().join("run"), parent.path().join("worker-notes"), parent.path().join("other")]
        {
            assert!(kept.exists(), "{}", kept.display());
        }
        assert_eq!(sweep_scratch(&parent.path().join("nothing")).unwrap(), 0);
    }

    #[test]
    fn an_empty_directory_goes_with_its_worker_and_each_has_its_own() {
        let parent = tempfile::tempdir().unwrap();
        let (first, second) = (Scratch::make(parent.path()).unwrap(), Scratch::make(parent.path()).unwrap());
        assert_ne!(first.path(), second.path());
        let (gone, left) = (first.path().to_owned(), second.path().to_owned());
        fs::create_dir(left.join("run")).unwrap();
        drop((first, second));
        assert!(!gone.exists());
        assert!(left.exists(), "a run has left something");
        assert_eq!(sweep_scratch(parent.path()).unwrap(), 1);
        assert!(!left.exists());
    }
}
