//! Files of objects that were never finished.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use std::{fs, io};

use windrow_core::Timestamp;

use crate::backend::Backend;
use crate::error::BlobError;
use crate::store::BlobStore;

impl BlobStore {
    /// Removes what killed processes left of objects that they were writing, when nothing was written to it for
    /// `idle`. That must be longer than a living writer may pause: a day is plenty. Gives the number of files removed.
    ///
    /// # Errors
    /// The general ones.
    pub async fn sweep_unfinished(&self, idle: Duration) -> Result<u64, BlobError> {
        let Backend::Local { root, .. } = &self.inner.backend;
        let (root, before) = (root.clone(), self.inner.clock.now().minus(idle));
        let name = root.display().to_string();
        let swept = tokio::task::spawn_blocking(move || sweep(&root, before)).await;
        match swept {
            Ok(result) => result.map_err(|e| BlobError::from_io(&name, &e)),
            Err(error) => Err(BlobError::Transient { key: name, message: error.to_string() }),
        }
    }
}

fn sweep(root: &Path, before: Timestamp) -> io::Result<u64> {
    let (mut folders, mut removed) = (vec![root.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        removed += absent_is_none(sweep_folder(&folder, before, &mut folders))?.unwrap_or(0);
    }
    Ok(removed)
}

fn sweep_folder(folder: &Path, before: Timestamp, folders: &mut Vec<PathBuf>) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(metadata) = absent_is_none(entry.metadata())? else { continue };
        if metadata.is_dir() {
            folders.push(entry.path());
        } else if is_staged(&entry.path()) && modified(&metadata)? < before {
            removed += u64::from(absent_is_none(fs::remove_file(entry.path()))?.is_some());
        }
    }
    Ok(removed)
}

/// `object_store` writes `NAME` as `NAME#1` (`#2` …) until it is whole, and allows no object such a name.
fn is_staged(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn modified(metadata: &fs::Metadata) -> io::Result<Timestamp> {
    let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::default().plus(since_epoch))
}

/// Others delete and finish objects while we walk.
fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
