//! A worker on a data directory. Whoever has the directory's lock owns its database; the others work through that process's
//! socket, and when it is gone one of them takes the lock.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use windrow_client::{Attendance, Client, ClientError, Endpoint, WorkerClient};
use windrow_config::{Config, Input};
use windrow_engine::RemoteEngine;
use windrow_plugin::{CommandError, Console, ExitCode};
use windrow_runtime::Worker;

use super::probes;
use crate::datadir::DataDir;
use crate::owner::InUse;
use crate::server::{Roles, Running};
use crate::{compose, engines, output, random, signals, workloads};

/// How often the lock and the socket are tried while an owner has the one and does not serve the other: it starts, or it is
/// another command, such as `windrow db`.
const RETRY: Duration = Duration::from_millis(100);

pub(super) async fn run(config: Config, input: &Input, console: Console) -> Result<ExitCode, CommandError> {
    let stop = signals::stop_token();
    let dir = DataDir::open(&config.data_dir)?;
    let mut visitor = Visitor { config: &config, dir, console, greeted: false };
    loop {
        let owner = match Running::start(config.clone(), input, Roles::WORKER).await {
            Ok(running) => {
                let said = running.say_hello(console);
                // Whoever read the first greeting may read no second one: that is no reason not to take over.
                if !visitor.greeted {
                    said?;
                }
                return running.until_stopped(&stop).await;
            }
            Err(error) => error.downcast::<InUse>()?.owner,
        };
        let entered = tokio::select! {
            entered = visitor.enter() => entered?,
            () = stop.cancelled() => return Ok(ExitCode::Ok),
        };
        if let Some((worker, attendance)) = entered {
            let processes = visitor.config.worker.processes;
            if processes > 0 {
                tracing::warn!(
                    processes,
                    "beside an owner jobs run in this process itself; its --worker-processes start when it takes over"
                );
            }
            tracing::info!(owner, "working for the process that owns the data directory");
            if visitor.work(worker, attendance, &owner, &stop).await? == Left::Stopped {
                return Ok(ExitCode::Ok);
            }
            tracing::warn!(
                owner,
                "the owner of the data directory is gone; one of its workers takes its place"
            );
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = stop.cancelled() => return Ok(ExitCode::Ok),
        }
    }
}

/// Why a visit is over.
#[derive(PartialEq, Eq)]
enum Left {
    Stopped,
    OwnerGone,
}

struct Visitor<'a> {
    config: &'a Config,
    dir: DataDir,
    console: Console,
    greeted: bool,
}

impl Visitor<'_> {
    /// None while the owner serves nobody.
    async fn enter(&self) -> Result<Option<(RemoteEngine, Attendance)>, CommandError> {
        let client = Client::new(Endpoint::Socket(self.dir.socket()?), None)?;
        let worker = WorkerClient::of_child(client);
        let name = format!("{} {}", engines::worker_name(self.config), hex::encode(random::bytes::<4>()));
        match worker.attend(&name).await {
            Ok(attendance) => Ok(Some((RemoteEngine::new(worker, name), attendance))),
            Err(ClientError::Unreachable { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn work(
        &mut self,
        engine: RemoteEngine,
        mut attendance: Attendance,
        owner: &str,
        stop: &CancellationToken,
    ) -> Result<Left, CommandError> {
        let client = Client::new(Endpoint::Socket(self.dir.socket()?), None)?;
        let probes = probes::start(self.config, client).await?;
        let services = engines::services(self.config, compose::clock(), Arc::new(engine))?;
        let settings = engines::worker_settings(self.config, self.dir.scratch());
        let registry = workloads::registry(&workloads::plugins());
        let worker = Worker::start(services, registry, settings).context("the worker can't start")?;
        if !std::mem::replace(&mut self.greeted, true) {
            self.say_hello(owner, probes.as_ref().map(|(_, url)| url.as_str()))?;
        }
        let left = tokio::select! {
            () = attendance.ended() => {
                worker.abort();
                Left::OwnerGone
            }
            () = stop.cancelled() => {
                worker.drain(self.config.worker.grace).await;
                Left::Stopped
            }
        };
        if let Some((probes, _)) = probes {
            probes.stop().await;
        }
        Ok(left)
    }

    fn say_hello(&self, owner: &str, health: Option<&str>) -> anyhow::Result<()> {
        let root = self.dir.root();
        if self.console.json {
            return output::line(&json!({
                "owner": owner, "health": health, "pid": std::process::id(), "data_dir": root,
            }));
        }
        output::note(self.console, format_args!("working for {owner}, data in {}", root.display()));
        Ok(())
    }
}
