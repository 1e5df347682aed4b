//! One child process, from its start to its exit.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::task::JoinHandle;
use windrow_config::Input;

use super::order;
use super::share::Share;
use crate::output;

/// How much of the end of a child's standard error is kept, in bytes: a panic's message and what led to it.
const TAIL: usize = 2048;

/// How long a dead child's standard error is waited for: a process that it started may hold it open.
const TAIL_PATIENCE: Duration = Duration::from_millis(500);

/// How children are started: this program again, with this process's settings. Not `Debug`, for the environment has tokens and
/// keys.
#[derive(Clone)]
pub(crate) struct ChildCommand {
    program: PathBuf,
    env: BTreeMap<String, String>,
    embedded: bool,
    socket: PathBuf,
}

/// What is known of a child that has ended.
pub(super) struct Exit {
    status: ExitStatus,
    tail: String,
}

pub(super) struct ChildProcess {
    pub(super) name: String,
    pub(super) pid: u32,
    process: Child,
    orders: Option<ChildStdin>,
    tail: JoinHandle<Vec<u8>>,
}

impl ChildCommand {
    /// `socket` is where this process serves the worker protocol.
    pub(crate) fn new(input: &Input, socket: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("can't find this program's own file")?;
        let mut env = input.env.clone();
        if let Some(file) = &input.file {
            env.insert("WINDROW_CONFIG".to_owned(), file.display().to_string());
        }
        // What the command line said counts more than the environment; secrets stay off the child's command line.
        env.extend(input.flags.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Ok(Self { program, env, embedded: input.embedded, socket: socket.to_owned() })
    }

    /// Another program in this one's place, which gets the same arguments.
    #[cfg(test)]
    pub(super) fn of(program: PathBuf) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let env = BTreeMap::from([("PATH".to_owned(), path)]);
        Self { program, env, embedded: false, socket: PathBuf::new() }
    }

    pub(super) fn start(&self, name: String, share: Share, suspect: bool) -> anyhow::Result<ChildProcess> {
        let mut command = Command::new(&self.program);
        command.arg("worker").arg("--child").arg(&self.socket).args(["--child-name", &name]);
        command.arg("--child-share").arg(share.to_string());
        if suspect {
            command.arg("--suspect");
        }
        if self.embedded {
            command.arg("--embedded");
        }
        let mut process = command
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // a Ctrl-C in the terminal is for the parent, which then tells its children
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start a worker process ({})", self.program.display()))?;
        let pid = process.id().context("a process that was just started has an id")?;
        let orders = process.stdin.take();
        let stderr = process.stderr.take().context("the child's standard error was asked for")?;
        Ok(ChildProcess { name, pid, process, orders, tail: tokio::spawn(relay(stderr)) })
    }
}

impl ChildProcess {
    /// Tells it to stop within `grace`.
    pub(super) async fn drain(&mut self, grace: Duration) {
        if let Some(orders) = &mut self.orders {
            let _it_has_ended_already = orders.write_all(order::drain(grace).as_bytes()).await;
        }
    }

    pub(super) fn kill(&mut self) {
        let _it_has_ended_already = self.process.start_kill();
    }

    /// Reaps it. May be given up and called again.
    pub(super) async fn reaped(&mut self) -> std::io::Result<Exit> {
        let status = self.process.wait().await?;
        let tail = tokio::time::timeout(TAIL_PATIENCE, &mut self.tail).await;
        let tail = tail.ok().and_then(Result::ok).unwrap_or_default();
        Ok(Exit { status, tail: String::from_utf8_lossy(&tail).trim().to_owned() })
    }
}

impl Exit {
    pub(super) fn is_success(&self) -> bool {
        self.status.success()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its process ended with {}", self.status)?;
        if !self.tail.is_empty() {
            write!(f, "; it last said:\n{}", self.tail)?;
        }
        Ok(())
    }
}

/// Passes a child's standard error on, and keeps the end of it.
async fn relay(mut stderr: ChildStderr) -> Vec<u8> {
    let (mut tail, mut chunk) = (Vec::new(), vec![0; 8192]);
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        output::relay(&chunk[..read]);
        tail.extend_from_slice(&chunk[..read]);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }
    tail
}
