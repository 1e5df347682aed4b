//! Who owns an embedded installation. One process has the data directory, with its socket and its keys, and the database, which
//! may stand elsewhere: whoever opened that through another directory would take the runs of its living owner for a dead one's.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use windrow_config::{Config, DatabaseTarget};

use crate::datadir::DataDir;

/// A lock that is held. Dropped, or its process dead, it is free.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    _file: File,
}

/// All that an owner holds.
#[derive(Debug)]
pub(crate) struct Owned {
    _dir: OwnerLock,
    _database: OwnerLock,
}

/// The data directory is somebody else's.
#[derive(Debug, thiserror::Error)]
#[error("the data directory {dir} is in use by {owner}; {advice}")]
pub(crate) struct InUse {
    pub(crate) dir: String,
    pub(crate) owner: String,
    pub(crate) advice: &'static str,
}

/// The database is somebody else's, who came to it through another data directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database {database} is in use by {owner}: an embedded database has one owner; speak to that one, by its --data-dir or its address, or name another database in DATABASE_URL"
)]
pub(crate) struct DatabaseInUse {
    database: String,
    owner: String,
}

/// Takes the data directory and the database when that is embedded; a PostgreSQL database has many users. `description` tells
/// others who has them.
///
/// # Errors
/// [`InUse`], [`DatabaseInUse`], or a lock's file can't be had.
pub(crate) fn own(config: &Config, dir: &DataDir, description: &str) -> anyhow::Result<Option<Owned>> {
    let DatabaseTarget::Sqlite { path } = config.database() else { return Ok(None) };
    let Some(dir_lock) = dir.try_own(description)? else {
        let owner = dir.owner().unwrap_or_else(|| "another process".to_owned());
        let advice = "use that server, or another directory with --data-dir";
        return Err(InUse { dir: dir.root().display().to_string(), owner, advice }.into());
    };
    let lock = lock_of(&path)?;
    let owner = format!("{description} with the data directory {}", dir.root().display());
    match take(&lock, &owner)? {
        Some(database) => Ok(Some(Owned { _dir: dir_lock, _database: database })),
        None => {
            let owner = holder(&lock).unwrap_or_else(|| "a process with another data directory".to_owned());
            Err(DatabaseInUse { database: path.display().to_string(), owner }.into())
        }
    }
}

/// The file beside a database that its owner locks; the same by whatever path the database is named. The database's own file is
/// SQLite's to lock.
fn lock_of(database: &Path) -> anyhow::Result<PathBuf> {
    let absent = || format!("can't find the folder of the database {}: make it first", database.display());
    let file = match database.canonicalize() {
        Ok(file) => file,
        // it is made when it is opened, and its folder is not
        Err(_) => {
            let absolute = std::path::absolute(database).with_context(absent)?;
            let folder = absolute.parent().context("a database is a file")?.canonicalize();
            folder.with_context(absent)?.join(absolute.file_name().context("a database has a file name")?)
        }
    };
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".owner");
    Ok(file.with_file_name(name))
}

/// Locks a file, made when absent, if nobody else has; what it says is for others to read.
pub(crate) fn take(path: &Path, says: &str) -> anyhow::Result<Option<OwnerLock>> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).write(true).truncate(false).mode(0o600);
    let file = options.open(path);
    let mut file =
        file.with_context(|| format!("can't open {} (may this user write there?)", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("can't lock {}", path.display()));
        }
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{says}"));
    written.with_context(|| format!("can't write {}", path.display()))?;
    Ok(Some(OwnerLock { _file: file }))
}

/// What the present or last holder wrote about itself.
pub(crate) fn holder(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(4096).read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use windrow_config::Input;

    use super::*;

    fn config(database: &Path) -> Config {
        let url = format!("sqlite:{}", database.display());
        Config::load(&Input::from_env([("DATABASE_URL", url)])).unwrap()
    }

    #[test]
    fn a_database_has_one_owner_by_whatever_name_and_directory() {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| root.path().join(name);
        let dir = |name: &str| DataDir::open(&place(name)).unwrap();
        fs::create_dir(place("there")).unwrap();
        std::os::unix::fs::symlink(place("there"), place("link")).unwrap();
        // before it exists, and afterwards
        let first = own(&config(&place("there/x.db")), &dir("one"), "process 7").unwrap().unwrap();
        let refused = own(&config(&place("link/../there/x.db")), &dir("two"), "process 8").unwrap_err();
        let refused = refused.downcast::<DatabaseInUse>().unwrap().to_string();
        assert!(refused.contains("process 7") && refused.contains("/one"), "{refused}");
        fs::write(place("there/x.db"), "").unwrap();
        std::os::unix::fs::symlink(place("there/x.db"), place("y.db")).unwrap();
        for name in ["link/x.db", "y.db"] {
            let refused = own(&config(&place(name)), &dir("two"), "process 8").unwrap_err();
            assert!(refused.is::<DatabaseInUse>(), "{name}: {refused}");
        }
        // another database, and the directory that was refused is free
        own(&config(&place("there/z.db")), &dir("two"), "process 8").unwrap().unwrap();
        drop(first);
        own(&config(&place("y.db")), &dir("two"), "process 8").unwrap().unwrap();
    }

    #[test]
    fn a_database_in_no_folder_is_said() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&root.path().join("data")).unwrap();
        let refused = own(&config(&root.path().join("absent/x.db")), &dir, "process 7").unwrap_err();
        assert!(refused.to_string().contains("absent/x.db"), "{refused}");
    }
}
