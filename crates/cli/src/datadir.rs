//! The directory of an embedded installation: who owns it, and where its pieces are.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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

    /// The socket of the directory's owner. A path too long for a socket goes to a folder of the user's own in the temporary
    /// directory, under a name that only this directory has.
    ///
    /// # Errors
    /// When that folder is not the user's alone.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        self.short("windrow.sock")
    }

    fn short(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.root.join(name);
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(path);
        }
        let digest = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
        let folder = private_folder(&std::env::temp_dir(), self.user()?)?;
        Ok(folder.join(format!("{}.sock", &digest[..16])))
    }

    /// Whose the directory is.
    fn user(&self) -> anyhow::Result<u32> {
        let found = fs::metadata(&self.root);
        Ok(found.with_context(|| format!("can't look at {}", self.root.display()))?.uid())
    }

    /// Makes sure that whoever listens on the directory's socket is its user, or root, before it is told any secret. Where nobody
    /// listens, nobody is told.
    pub(crate) async fn check_listener(&self) -> anyhow::Result<()> {
        let socket = self.socket()?;
        let Ok(stream) = tokio::net::UnixStream::connect(&socket).await else { return Ok(()) };
        let listener =
            stream.peer_cred().with_context(|| format!("can't see who is at {}", socket.display()))?;
        let user = self.user()?;
        anyhow::ensure!(
            is_trusted(listener.uid(), user),
            "{} is served by the user {}, and the data directory {} is the user {user}'s: nothing is sent there",
            socket.display(),
            listener.uid(),
            self.root.display()
        );
        Ok(())
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
        self.short(&format!("{CHILDREN}{}.sock", std::process::id()))
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

/// Root may read a user's secrets anyway.
fn is_trusted(uid: u32, user: u32) -> bool {
    uid == user || uid == 0
}

/// A folder in `base`, where anybody may write, that is `user`'s alone.
fn private_folder(base: &Path, user: u32) -> anyhow::Result<PathBuf> {
    let folder = base.join(format!("windrow-{user}"));
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("can't make {}", folder.display()));
        }
        _ => {}
    }
    // a link is not followed: it might lead to a folder that changes hands
    let found =
        fs::symlink_metadata(&folder).with_context(|| format!("can't look at {}", folder.display()))?;
    anyhow::ensure!(
        found.is_dir() && is_trusted(found.uid(), user) && found.mode() & 0o077 == 0,
        "{} must be a folder of the user {user} alone, for sockets: remove it, or choose a data directory with a shorter path",
        folder.display()
    );
    Ok(folder)
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

    #[tokio::test]
    async fn a_socket_with_a_long_path_stands_where_nobody_else_can_put_one() {
        let base = tempfile::tempdir().unwrap();
        let long = DataDir::open(&base.path().join("d".repeat(120))).unwrap();
        let user = long.user().unwrap();
        let socket = long.socket().unwrap();
        assert!(socket.as_os_str().len() <= MAX_SOCKET_PATH, "{}", socket.display());
        let folder = fs::metadata(socket.parent().unwrap()).unwrap();
        assert_eq!((folder.uid(), folder.mode() & 0o777), (user, 0o700));

        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        long.check_listener().await.unwrap();
        fs::remove_file(&socket).unwrap();
        long.check_listener().await.unwrap();
        assert!(!is_trusted(user + 1, user));

        let place = private_folder(base.path(), user).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_folder(base.path(), user).unwrap_err().to_string().contains("shorter path"));
        fs::remove_dir(&place).unwrap();
        std::os::unix::fs::symlink(folder_of(&socket), &place).unwrap();
        private_folder(base.path(), user).unwrap_err();
    }

    fn folder_of(path: &Path) -> &Path {
        path.parent().unwrap()
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
