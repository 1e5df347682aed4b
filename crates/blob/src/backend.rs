//! The kinds of storage. One today: a further kind is one arm of [`BlobSettings`] and one of `Backend`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use url::Url;
use windrow_core::Clock;
use windrow_core::ids::uuid_v7;

use crate::error::BlobError;
use crate::installation::{InstallationSalt, SigningKey};

/// Which storage, and what it needs.
#[derive(Clone, Debug)]
pub enum BlobSettings {
    Local(LocalSettings),
}

/// Objects as files below one directory, links served by Windrow itself.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// Made when absent.
    pub root: PathBuf,
    /// What signed links begin with, as browsers and remote workers reach this installation.
    pub public_url: Url,
    pub signing_key: SigningKey,
    pub salt: InstallationSalt,
}

#[derive(Debug)]
pub(crate) enum Backend {
    Local { root: PathBuf, public_url: Url, signing_key: SigningKey },
}

/// Names the installation that a directory belongs to, so that no sweep of another one's data ever begins.
pub(crate) const MARKER: &str = ".installation";

pub(crate) fn open(
    settings: BlobSettings,
    clock: &dyn Clock,
) -> Result<(Backend, Arc<dyn ObjectStore>), BlobError> {
    match settings {
        BlobSettings::Local(LocalSettings { root, public_url, signing_key, salt }) => {
            let name = root.display().to_string();
            claim_directory(&root, &salt.installation_id(), clock)
                .map_err(|e| BlobError::from_io(&name, &e))?;
            let store = LocalFileSystem::new_with_prefix(&root)
                .map_err(|e| BlobError::from_store(&name, &e))?
                .with_fsync(true)
                .with_automatic_cleanup(true);
            Ok((Backend::Local { root, public_url, signing_key }, Arc::new(store)))
        }
    }
}

/// Makes the directory and marks it as this installation's; fails when it is another's.
fn claim_directory(root: &Path, id: &str, clock: &dyn Clock) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let marker = root.join(MARKER);
    // Written beside its place and linked into it: a marker is whole or absent, and of two that race one wins.
    // Its name is nobody else's: processes of containers that share the directory may all have the process id 1.
    let staged = root.join(format!("{MARKER}.{}", uuid_v7(clock)));
    let mut file = fs::File::create_new(&staged)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&staged, &marker);
    fs::remove_file(&staged)?;
    match linked {
        Ok(()) => fs::File::open(root)?.sync_all(),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => check_marker(&marker, id),
        Err(e) => Err(e),
    }
}

fn check_marker(marker: &Path, id: &str) -> io::Result<()> {
    let found = fs::read_to_string(marker)?;
    if found.trim() == id {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} says that this directory holds the objects of installation {}, and this is installation {id}: \
             point the storage at a directory of its own",
            marker.display(),
            found.trim(),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use windrow_core::TestClock;

    use super::*;

    #[test]
    fn processes_of_one_id_that_start_together_claim_a_directory_together() {
        // threads of a process are as alike as processes in containers: the same process id, at the same time
        let clock = TestClock::shared();
        for _ in 0..20 {
            let root = tempfile::tempdir().unwrap();
            let claim = || claim_directory(root.path(), "ours", &*clock);
            let claimed: Vec<io::Result<()>> = std::thread::scope(|scope| {
                let claims: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
                claims.into_iter().map(|claim| claim.join().unwrap()).collect()
            });
            assert!(claimed.iter().all(Result::is_ok), "{claimed:?}");
            let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, [MARKER]);
        }
    }
}
