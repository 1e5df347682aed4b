//! A workload's part of the command line.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use windrow_client::{Client, ClientError};
use windrow_store::StoreError;

/// How a command ended, for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    BudgetExceeded = 3,
    Unreachable = 4,
}

/// Why a command failed: a message for a person and a code for the shell.
#[derive(Debug)]
pub struct CommandError {
    pub code: ExitCode,
    pub error: anyhow::Error,
}

impl CommandError {
    pub fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }

    /// The command line itself is wrong.
    pub fn usage(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self::new(ExitCode::Usage, anyhow::Error::msg(message))
    }
}

impl<E: Into<anyhow::Error>> From<E> for CommandError {
    fn from(error: E) -> Self {
        let error = error.into();
        let server = matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. }));
        let database = matches!(error.downcast_ref(), Some(StoreError::Unreachable(_)));
        let code = if server || database { ExitCode::Unreachable } else { ExitCode::Failed };
        Self { code, error }
    }
}

/// Where a command writes: results to standard output, progress and warnings to standard error.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// `--json`: one JSON document on standard output, no progress bars.
    pub json: bool,
    /// Whether standard error is a terminal that can show a progress bar.
    pub interactive: bool,
}

/// An engine and its API inside this process, on the database of one directory.
#[async_trait]
pub trait Embedded: Send + Sync {
    /// Speaks to it as the local user.
    fn client(&self) -> &Client;

    /// Lets what runs reach its next checkpoint, and closes the database.
    async fn stop(self: Box<Self>) -> anyhow::Result<()>;
}

/// What the binary offers to a workload's commands.
#[async_trait]
pub trait Host: Send + Sync {
    fn console(&self) -> Console;

    /// The server that `--server` or `WINDROW_SERVER` names, else the data directory's own.
    async fn connect(&self) -> Result<Client, CommandError>;

    /// Starts an engine on `dir` (made when absent) for commands that need no server; `models` are configuration keys
    /// that the command line overrides, such as a provider's base URL.
    async fn embedded(
        &self,
        dir: &Path,
        overrides: Vec<(String, String)>,
    ) -> Result<Box<dyn Embedded>, CommandError>;

    /// Resolves when the user asks the command to stop (Ctrl-C, SIGTERM).
    async fn interrupted(&self);
}

/// One command group of a workload.
#[async_trait]
pub trait WorkloadCommand: Send + Sync {
    /// The group's name, help and arguments.
    fn command(&self) -> clap::Command;

    async fn run(&self, matches: &clap::ArgMatches, host: &dyn Host) -> Result<ExitCode, CommandError>;
}
