//! Who runs jobs for a process that has the database: itself, its children, and processes that come through its socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use windrow_config::Input;
use windrow_engine::{Engine as _, LocalEngine};
use windrow_runtime::{Pulse, Worker, WorkerHandle};

use crate::children::{self, ChildCommand, Supervisor, SupervisorParts};
use crate::compose::Platform;
use crate::engines;

/// The running ones.
pub(crate) struct Workers {
    engine: LocalEngine,
    /// Runs jobs in this process, when no children do.
    own: Option<WorkerHandle>,
    /// Keeps the engine alive when only children work.
    _pulse: Option<Pulse>,
    supervisor: Option<Supervisor>,
}

impl Workers {
    /// Only serves processes that come through the socket: this one has an API and runs nothing.
    pub(crate) fn visitors_only(engine: LocalEngine) -> Self {
        Self { engine, own: None, _pulse: None, supervisor: None }
    }

    /// Begins to work. `socket` is served already; `input` is what children are configured by.
    pub(crate) fn start(
        platform: &Platform,
        engine: LocalEngine,
        socket: &Path,
        input: &Input,
    ) -> anyhow::Result<Self> {
        let config = &platform.config;
        let (mut own, mut pulse) = (None, None);
        if config.worker.processes == 0 {
            let services = engines::services_of(platform, Arc::new(engine.clone()));
            let settings = engines::worker_settings(config, platform.dir.scratch());
            let worker = Worker::start(services, platform.registry.clone(), settings);
            own = Some(worker.context("the worker can't start")?);
        } else {
            let too_small = children::limits_too_small(&config.models, config.worker.processes);
            if !too_small.is_empty() {
                let limits = too_small.join(", ");
                tracing::warn!(
                    limits,
                    "limits of models below the number of worker processes count as one for each of them"
                );
            }
            pulse = Some(Pulse::start(engine.beater()).context("the worker can't beat")?);
        }
        let supervisor = Supervisor::start(SupervisorParts {
            engine: engine.clone(),
            command: ChildCommand::new(input, socket)?,
            clock: Arc::clone(&platform.clock),
            scratch: platform.dir.scratch(),
            processes: config.worker.processes,
        });
        Ok(Self { engine, own, _pulse: pulse, supervisor: Some(supervisor) })
    }

    /// The process ids of the children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.supervisor.as_ref().map(Supervisor::pids).unwrap_or_default()
    }

    /// Claims nothing more, lets runs reach their next checkpoint, gives the rest back, and signs off.
    pub(crate) async fn stop(self, grace: Duration) {
        let own = async {
            if let Some(own) = self.own {
                own.drain(grace).await;
            }
        };
        let children = async {
            if let Some(supervisor) = self.supervisor {
                supervisor.drain(grace).await;
            }
        };
        tokio::join!(own, children);
        let left = async {
            self.engine.release_all().await?;
            self.engine.leave().await
        };
        if let Err(error) = left.await {
            tracing::warn!(%error, "the worker could not sign off; its runs will be retaken");
        }
    }
}
