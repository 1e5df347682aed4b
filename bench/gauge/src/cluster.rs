//! A PostgreSQL cluster of the bench's own, with `fsync` on, stopped when it is dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A running cluster.
pub struct Cluster {
    bin: PathBuf,
    data: PathBuf,
    as_root: bool,
    url: String,
}

impl Cluster {
    /// Makes and starts it in `dir`, with PostgreSQL's defaults but for the port, no sockets, and more buffers.
    pub fn start(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let as_root = std::fs::metadata(dir)?.uid() == 0;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let url = format!("postgres://postgres@{}:{port}/postgres", Ipv4Addr::LOCALHOST);
        let cluster = Self { bin: bin_dir()?, data: dir.join("data"), as_root, url };
        if as_root {
            // the server refuses to run as root; its user must reach the directory
            for place in dir.ancestors().take(2) {
                std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755))?;
            }
            ensure!(Command::new("chown").arg("postgres").arg(dir).status()?.success(), "chown failed");
        }
        let data = cluster.data.display().to_string();
        cluster.run(
            "initdb",
            &["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
        )?;
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=256MB \
             -c max_wal_size=2GB"
        );
        let log = dir.join("server.log").display().to_string();
        cluster.run("pg_ctl", &["-D", &data, "-l", &log, "-w", "-o", &options, "start"])?;
        Ok(cluster)
    }

    /// Of its database `postgres`, as its superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of the server's first process, whose children do the work.
    pub fn process(&self) -> Result<u32> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid"))?;
        file.lines().next().context("a process id")?.parse().context("a process id")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let path = self.bin.join(program);
        let mut command = if self.as_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.args(arguments).current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().with_context(|| format!("{program} starts"))?;
        ensure!(status.success(), "{program} failed: {status}");
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data.display().to_string();
        // a server that is left behind loses its directory and ends by itself
        let _ = self.run("pg_ctl", &["-D", &data, "-m", "fast", "-w", "stop"]);
    }
}

fn bin_dir() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL's server is installed (apt-get install postgresql)")?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().context("PostgreSQL's server is installed (apt-get install postgresql)")
}
