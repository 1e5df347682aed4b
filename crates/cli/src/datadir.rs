//! The directory of an embedded installation: who owns it, and where its pieces are.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::owner::{self, OwnerLock};

/// Where the pieces of an embedded installation are.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// Linux allows 107 bytes in a socket's path (`man 7 unix`).
const MAX_SOCKET_PATH: usize = 107;

/// How the names of sockets for children begin.
const CHILDREN: &str = "children-";

impl DataDir {
    /// Makes the directory when it is absent; it is the user's alone.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| {
            format!("can't make the data directory {} (may this user write there?)", root.display())
        })?;
        let root = root
            .canonicalize()
            .with_context(|| format!("can't open the data directory {}", root.display()))?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).with_context(|| {
            format!("can't make the data directory {} private: is it yours?", root.display())
        })?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// The socket of the directory's owner. A path too long for a socket goes to the temporary directory, under a name
    /// that only this directory has.
    pub(crate) fn socket(&self) -> PathBuf {
        self.short("windrow.sock")
    }

    fn short(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return path;
        }
        let digest = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
        std::env::temp_dir().join(format!("windrow-{}.sock", &digest[..16]))
    }

    /// A socket for this process's own children, where others use the directory too. What processes that were killed left
    /// is removed.
    pub(crate) fn children_socket(&self) -> anyhow::Result<PathBuf> {
        let unreadable = || format!("can't read {}", self.root.display());
        for entry in fs::read_dir(&self.root).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let ours = name.starts_with(CHILDREN) && name.ends_with(".sock");
            let deserted =
                || UnixStream::connect(&path).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
            if ours && deserted() {
                let _another_was_faster = fs::remove_file(&path);
            }
        }
        Ok(self.short(&format!("{CHILDREN}{}.sock", std::process::id())))
    }

    /// Takes the directory, if nobody has it. The holder's description goes into the lock file for others to read.
    pub(crate) fn try_own(&self, description: &str) -> anyhow::Result<Option<OwnerLock>> {
        owner::take(&self.root.join("lock"), description)
    }

    /// What the present or last owner wrote about itself.
    pub(crate) fn owner(&self) -> Option<String> {
        owner::holder(&self.root.join("lock"))
    }

    /// A secret of this installation (32 random bytes, made at first use, readable by its user alone).
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<[u8; 32]> {
        let fresh: [u8; 32] = crate::random::bytes();
        let bytes = self.private_file(name, &fresh)?;
        bytes.try_into().map_err(|_| {
            let path = self.root.join(name);
            anyhow::anyhow!("{} is damaged: it must hold 32 bytes. Restore it from a backup.", path.display())
        })
    }

    /// Reads a private file, or makes it with `fresh` when there is none. Two processes that race get one content.
    pub(crate) fn private_file(&self, name: &str, fresh: &[u8]) -> anyhow::Result<Vec<u8>> {
        let path = self.root.join(name);
        if !path.exists() {
            let mut temporary = tempfile_in(&self.root)?;
            temporary.file.write_all(fresh)?;
            temporary.file.sync_all()?;
            // link(2) fails when the name is taken: whoever came first wins
            match fs::hard_link(&temporary.path, &path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("can't make {}", path.display()));
                }
                _ => {}
            }
        }
        fs::read(&path).with_context(|| format!("can't read {}", path.display()))
    }

    /// Puts a private file in the place of what stands there, if that is another. Readers find the one or the other, whole.
    pub(crate) fn replace_private_file(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.root.join(name);
        if fs::read(&path).is_ok_and(|found| found == content) {
            return Ok(());
        }
        let mut temporary = tempfile_in(&self.root)?;
        let written = temporary.file.write_all(content).and_then(|()| temporary.file.sync_all());
        let written = written.and_then(|()| fs::rename(&temporary.path, &path));
        written.with_context(|| format!("can't write {}", path.display()))
    }
}

struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn tempfile_in(root: &Path) -> anyhow::Result<Temporary> {
    let path =
        root.join(format!(".new-{}-{}", std::process::id(), uuid::Uuid::from_bytes(crate::random::bytes())));
    let file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("can't write in {}", root.display()))?;
    Ok(Temporary { path, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_says_who() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let lock = dir.try_own("process 7").unwrap().unwrap();
        assert!(dir.try_own("process 8").unwrap().is_none());
        assert_eq!(dir.owner().as_deref(), Some("process 7"));
        drop(lock);
        assert!(dir.try_own("process 8").unwrap().is_some());
    }

    #[test]
    fn a_secret_is_made_once_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        let first = dir.secret("secret").unwrap();
        assert_eq!(dir.secret("secret").unwrap(), first);
        let mode = fs::metadata(root.path().join("secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(root.path().join("secret"), b"short").unwrap();
        assert!(dir.secret("secret").unwrap_err().to_string().contains("damaged"));
    }
}
