//! One private PostgreSQL cluster for a whole test run.
//!
//! nextest runs every test in a process of its own, so the cluster lives in a directory that all of them can name, and
//! whichever process comes first starts it under a file lock. `scripts/test` names the directory in
//! `WINDROW_TEST_PG_DIR` and removes it at the end; without that variable the directory is keyed by user and target
//! directory, under the temp directory, and the cluster is left running for the next run.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::{Connection, PgConnection};

/// The settings of the server: nothing in it has to survive, and parallel tests each bring a pool.
const SETTINGS: &str = "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c full_page_writes=off \
     -c max_connections=200 -c max_wal_size=256MB -c shared_buffers=64MB -c autovacuum_naptime=10s";

/// Ports are picked before the server binds them, so another process may be faster.
const START_TRIES: usize = 3;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No `initdb` and `pg_ctl` on this machine.
    #[error(
        "no PostgreSQL server found (looked in `pg_config --bindir` and /usr/lib/postgresql/*/bin); \
         install it with `apt-get install postgresql`, or run scripts/setup-tests"
    )]
    NoServer,
    /// A program of PostgreSQL failed; its own words are kept.
    #[error("{program} failed in {dir}: {output}")]
    Failed {
        /// The program's name.
        program: &'static str,
        /// The cluster's directory.
        dir: PathBuf,
        /// What it printed.
        output: String,
    },
    /// The directory of the cluster can't be used.
    #[error("the test cluster's directory {dir}: {source}")]
    Io {
        /// The cluster's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A running PostgreSQL server that belongs to this test run.
#[derive(Clone, Debug)]
pub struct Cluster {
    port: u16,
}

impl Cluster {
    /// The cluster of this run: the running one, or a new one when there is none.
    ///
    /// # Errors
    /// When PostgreSQL isn't installed or doesn't start.
    pub async fn shared() -> Result<Self, ClusterError> {
        let dir = match std::env::var_os("WINDROW_TEST_PG_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => default_dir().map_err(|source| ClusterError::Io { dir: std::env::temp_dir(), source })?,
        };
        Self::in_dir(&dir).await
    }

    /// The cluster in `dir`, which is created and started as needed.
    ///
    /// # Errors
    /// When PostgreSQL isn't installed or doesn't start.
    pub async fn in_dir(dir: &Path) -> Result<Self, ClusterError> {
        if let Some(cluster) = running(dir).await {
            return Ok(cluster);
        }
        let at_dir = |source| ClusterError::Io { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(at_dir)?;
        let lock = File::create(dir.join("lock")).map_err(at_dir)?;
        // Not on this thread: whoever holds the lock may need it, when several tests of one process come first.
        let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
        let _lock = locked.map_err(io::Error::other).flatten().map_err(at_dir)?;
        if let Some(cluster) = running(dir).await {
            return Ok(cluster);
        }
        Server::find(dir)?.start()
    }

    /// The URL of a database of this cluster, as its superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}:{}/{database}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// A connection to the cluster's first database, for making and dropping the tests' own.
    ///
    /// # Errors
    /// When the server doesn't answer.
    pub(crate) async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&self.url("postgres")).await
    }
}

/// The cluster of `dir` when its server answers. Whoever else got the port after a crash has another data directory.
async fn running(dir: &Path) -> Option<Cluster> {
    let cluster = Cluster { port: fs::read_to_string(dir.join("port")).ok()?.trim().parse().ok()? };
    let mut connection = cluster.connect().await.ok()?;
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.ok()?;
    connection.close().await.ok()?;
    (Path::new(&data) == dir.join("data")).then_some(cluster)
}

/// `<temp>/windrow-pg-<user id>-<hash of the target directory>`.
fn default_dir() -> io::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().find(|path| path.ends_with("deps")).or_else(|| exe.parent());
    let hash = target.into_iter().flat_map(|path| path.as_os_str().as_encoded_bytes()).fold(
        // FNV-1a, 64 bits: stable between compilers, so that every test binary finds the same directory.
        0xcbf2_9ce4_8422_2325_u64,
        |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3),
    );
    Ok(std::env::temp_dir().canonicalize()?.join(format!("windrow-pg-{}-{hash:016x}", user_id()?)))
}

fn user_id() -> io::Result<u32> {
    Ok(tempfile::tempfile()?.metadata()?.uid())
}

/// The programs of a PostgreSQL installation and where the cluster is to be.
pub(crate) struct Server<'a> {
    pub(crate) bin: PathBuf,
    pub(crate) dir: &'a Path,
    pub(crate) as_root: bool,
}

impl<'a> Server<'a> {
    pub(crate) fn find(dir: &'a Path) -> Result<Self, ClusterError> {
        let bin = bin_dirs()
            .into_iter()
            .find(|bin| bin.join("initdb").is_file() && bin.join("pg_ctl").is_file())
            .ok_or(ClusterError::NoServer)?;
        let as_root = user_id().map_err(|source| ClusterError::Io { dir: dir.to_owned(), source })? == 0;
        Ok(Self { bin, dir, as_root })
    }

    fn start(&self) -> Result<Cluster, ClusterError> {
        let mut last = None;
        for attempt in 0..START_TRIES {
            match self.start_once() {
                Ok(cluster) => return Ok(cluster),
                Err(error) => last = Some(error),
            }
            if attempt > 0 {
                // Data that another version of PostgreSQL left never starts again.
                fs::remove_dir_all(self.dir.join("data")).map_err(|source| self.io(source))?;
            }
        }
        Err(last.unwrap_or(ClusterError::NoServer))
    }

    fn start_once(&self) -> Result<Cluster, ClusterError> {
        self.init().map_err(|source| self.io(source))??;
        let port = free_port().map_err(|source| self.io(source))?;
        let data = self.dir.join("data");
        // pg_ctl gives the server the log as its output, so the test's own pipes close when the test ends.
        let log = data.join("server.log");
        let options = format!("-p {port} {SETTINGS}");
        self.run("pg_ctl", |command| {
            command
                .arg("-D")
                .arg(&data)
                .arg("-l")
                .arg(&log)
                .args(["-w", "-t", "60", "-o", &options, "start"]);
        })?;
        fs::write(self.dir.join("port"), port.to_string()).map_err(|source| self.io(source))?;
        Ok(Cluster { port })
    }

    /// Makes `data`, in one step: a process that is killed in the middle leaves no half a cluster.
    pub(crate) fn init(&self) -> io::Result<Result<(), ClusterError>> {
        let (data, new) = (self.dir.join("data"), self.dir.join("data.new"));
        if data.join("PG_VERSION").exists() {
            return Ok(Ok(()));
        }
        for old in [&data, &new] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        fs::create_dir(&new)?;
        if self.as_root {
            fs::set_permissions(self.dir, fs::Permissions::from_mode(0o711))?;
            let owner = Command::new("chown").arg("postgres").arg(&new).output()?;
            if !owner.status.success() {
                return Ok(Err(self.failed("chown", &owner)));
            }
        }
        let made = self.run("initdb", |command| {
            command.arg("-D").arg(&new).args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
            command.args(["--locale=C.UTF-8", "--no-sync", "--no-instructions"]);
        });
        if made.is_ok() {
            fs::rename(&new, &data)?;
        }
        Ok(made)
    }

    /// Runs one of the server's programs; PostgreSQL refuses to run as root, so root hands it to the user `postgres`.
    pub(crate) fn run(
        &self,
        program: &'static str,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<(), ClusterError> {
        let path = self.bin.join(program);
        let mut command = if self.as_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        arguments(&mut command);
        let output =
            command.current_dir(self.dir).stdin(Stdio::null()).output().map_err(|source| self.io(source))?;
        if output.status.success() { Ok(()) } else { Err(self.failed(program, &output)) }
    }

    fn failed(&self, program: &'static str, output: &std::process::Output) -> ClusterError {
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        if let Ok(log) = fs::read_to_string(self.dir.join("data/server.log")) {
            text.push_str(&log);
        }
        ClusterError::Failed { program, dir: self.dir.to_owned(), output: text.trim().to_owned() }
    }

    pub(crate) fn io(&self, source: io::Error) -> ClusterError {
        ClusterError::Io { dir: self.dir.to_owned(), source }
    }
}

pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where servers are: what `pg_config` says, then Debian's directories, newest first.
fn bin_dirs() -> Vec<PathBuf> {
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    debian.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    let told = told.map(|text| PathBuf::from(text.trim()));
    told.into_iter().chain(debian.into_iter().map(|(_, bin)| bin)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_caller_finds_the_server_of_the_first() {
        let first = Cluster::shared().await.unwrap();
        let second = Cluster::shared().await.unwrap();
        assert_eq!(first.port, second.port);
    }

    #[tokio::test]
    async fn a_stranger_on_the_remembered_port_is_not_our_cluster() {
        let ours = Cluster::shared().await.unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("port"), ours.port.to_string()).unwrap();
        assert!(running(elsewhere.path()).await.is_none());
    }

    #[test]
    fn a_missing_server_names_the_command_that_installs_it() {
        assert!(ClusterError::NoServer.to_string().contains("apt-get install postgresql"));
    }
}
