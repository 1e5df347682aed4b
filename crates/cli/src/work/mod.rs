//! `windrow worker`: where its jobs are.

mod joined;
mod probes;
mod remote;

use windrow_config::{Config, DatabaseTarget, Input};
use windrow_plugin::{CommandError, Console, ExitCode};

use crate::args::Worker;
use crate::children::{self, Calling};
use crate::server::{self, Roles};

/// The setting that names the server.
const SERVER: &str = "WINDROW_SERVER";

/// The setting that says how many children a worker with a database has.
const PROCESSES: &str = "WINDROW_WORKER_PROCESSES";

/// A server that the command line names comes first, then a PostgreSQL database, then a server of the environment, then
/// the data directory.
pub(crate) async fn run(
    config: Config,
    input: &Input,
    worker: Worker,
    console: Console,
) -> Result<ExitCode, CommandError> {
    if let (Some(socket), Some(name)) = (worker.child, worker.child_name) {
        return children::run(
            config,
            Calling { socket, name, share: worker.child_share, suspect: worker.suspect },
        )
        .await;
    }
    let told = input.flags.iter().any(|(name, _)| *name == SERVER);
    let shared = matches!(config.database(), DatabaseTarget::Postgres { .. });
    match config.client.server.clone() {
        Some(server) if told || !shared => remote::run(config, input, server, console).await,
        _ if shared => server::run(config, input, Roles::WORKER, console).await,
        _ => joined::run(config, input, console).await,
    }
}
