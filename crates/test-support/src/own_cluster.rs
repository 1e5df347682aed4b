//! A PostgreSQL server that one test has to itself: it may be stopped, killed and started again.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::ClusterError;
use crate::cluster::{Server, free_port};

/// As a user's server stands, `fsync` and all: what it acknowledged must be there after a kill.
const SETTINGS: &str = "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=120 -c shared_buffers=64MB";

/// A server with its own data and port, which stays the same when it is started again. Dropped, it is stopped and removed.
#[derive(Debug)]
pub struct OwnCluster {
    dir: TempDir,
    bin: PathBuf,
    as_root: bool,
    port: u16,
}

impl OwnCluster {
    /// Makes and starts it.
    ///
    /// # Errors
    /// When PostgreSQL isn't installed or doesn't start.
    pub fn start() -> Result<Self, ClusterError> {
        let made = tempfile::Builder::new().prefix("windrow-own-pg-").tempdir();
        let dir = made.map_err(|source| ClusterError::Io { dir: std::env::temp_dir(), source })?;
        let server = Server::find(dir.path())?;
        server.init().map_err(|source| server.io(source))??;
        let port = free_port().map_err(|source| server.io(source))?;
        let (bin, as_root) = (server.bin.clone(), server.as_root);
        let cluster = Self { dir, bin, as_root, port };
        cluster.resume()?;
        Ok(cluster)
    }

    /// Of its first database, as its superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the stopped or killed server, which recovers first, and waits until it answers.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn resume(&self) -> Result<(), ClusterError> {
        let data = self.data();
        let (log, options) = (data.join("server.log"), format!("-p {} {SETTINGS}", self.port));
        self.server().run("pg_ctl", |command| {
            command.arg("-D").arg(&data).arg("-l").arg(log).args(["-w", "-t", "60", "-o", &options, "start"]);
        })
    }

    /// Stops it as an operator does: its sessions are ended, and it writes all down.
    ///
    /// # Errors
    /// When it doesn't stop.
    pub fn stop(&self) -> Result<(), ClusterError> {
        let data = self.data();
        self.server().run("pg_ctl", |command| {
            command.arg("-D").arg(&data).args(["-m", "fast", "-w", "-t", "60", "stop"]);
        })
    }

    /// SIGKILL of the postmaster and of all that it started, at once.
    ///
    /// # Panics
    /// When the server isn't running.
    pub fn kill(&self) {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).expect("the server is running");
        let postmaster = pid_file.lines().next().expect("its first line is the process's id");
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.unwrap_or_default();
        // the postmaster first: it would start others anew
        let all: Vec<&str> = std::iter::once(postmaster).chain(children.split_whitespace()).collect();
        for pid in &all {
            // a child may have gone by itself
            let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
        }
        while all.iter().any(|pid| is_running(pid)) {
            std::thread::yield_now();
        }
        // where nobody reaps it, the next start would take the file's process for a running server
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// The rows of a query with one text column.
    ///
    /// # Panics
    /// When the server doesn't answer or refuses the query.
    #[must_use]
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let (url, sql) = (self.url(), sql.to_owned());
        // whoever asks may be in a runtime of its own
        let asked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await?;
                let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
                connection.close().await?;
                anyhow::Ok(rows)
            })
        });
        asked.join().expect("it doesn't panic").unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn server(&self) -> Server<'_> {
        Server { bin: self.bin.clone(), dir: self.dir.path(), as_root: self.as_root }
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        let data = self.data();
        // one that a test left stopped is stopped already
        let _ = self.server().run("pg_ctl", |command| {
            command.arg("-D").arg(&data).args(["-m", "immediate", "-w", "stop"]);
        });
    }
}

/// Whether a process is there, and no zombie: see proc_pid_stat(5) for the third field.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_a_stop_and_after_a_kill() {
        let cluster = OwnCluster::start().unwrap();
        let _ = cluster.texts("CREATE TABLE kept AS SELECT 'kept'::text AS what");
        cluster.stop().unwrap();
        cluster.resume().unwrap();
        assert_eq!(cluster.texts("SELECT what FROM kept"), ["kept"]);
        cluster.kill();
        cluster.resume().unwrap();
        assert_eq!(cluster.texts("SELECT what FROM kept"), ["kept"]);
    }
}
