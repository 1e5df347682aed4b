//! `windrow up` as a process of its own, as a user starts it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The workload of all jobs. It has a schema, and runs nowhere but in programs that ask for work.
pub const WORKLOAD: &str = "noop";

const CONFIGURATION: &str = "[workloads.noop]\nspec_schema = 'noop.schema.json'\n";

const SCHEMA: &str =
    r#"{"type": "object", "required": ["pad"], "properties": {"pad": {"type": "string", "minLength": 1}}}"#;

/// A running server. Dropped, it is killed.
pub struct Server {
    binary: PathBuf,
    dir: PathBuf,
    database: Option<String>,
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it in an empty directory, on SQLite unless a URL says otherwise, and waits until it listens.
    pub fn start(binary: &Path, dir: &Path, database: Option<&str>) -> Result<Self> {
        std::fs::write(dir.join("windrow.toml"), CONFIGURATION)?;
        std::fs::write(dir.join("noop.schema.json"), SCHEMA)?;
        let log = dir.join("server.log");
        let mut command = command(binary, dir, database);
        command.args(["up", "--json", "--port", "0"]).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = command.spawn().with_context(|| format!("{} starts", binary.display()))?;
        let mut hello = String::new();
        BufReader::new(child.stdout.take().context("it is piped")?).read_line(&mut hello)?;
        let said = || format!("the server says where it listens; its log:\n{}", read(&log));
        let hello: Value = serde_json::from_str(&hello).with_context(said)?;
        let url = hello["url"].as_str().context("a URL")?;
        let address = url.trim_start_matches("http://").parse()?;
        let (binary, dir, database) = (binary.to_owned(), dir.to_owned(), database.map(str::to_owned));
        Ok(Self { binary, dir, database, child, address })
    }

    /// A token of a user who is made for it.
    pub fn token(&self, sub: &str, role: &str) -> Result<String> {
        let mut command = command(&self.binary, &self.dir, self.database.as_deref());
        let output = command.args(["token", "create", "--sub", sub, "--role", role]).output()?;
        ensure!(output.status.success(), "no token: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// With nothing of the environment that could tie it to an installation.
fn command(binary: &Path, dir: &Path, database: Option<&str>) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(dir).env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "TMPDIR", "LANG"] {
        if let Ok(value) = std::env::var(name) {
            command.env(name, value);
        }
    }
    command.env("APP_ENV", "local").env("WINDROW_DATA_DIR", "data");
    if let Some(url) = database {
        command.env("DATABASE_URL", url);
    }
    command
}
