//! Is it ready.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use windrow_api_types::{Check, CheckState, Health, Ready, WorkloadHealth};
use windrow_core::Timestamp;
use windrow_store::{jobs, migrate};

use crate::App;

const SCHEMA_BELIEVED: Duration = Duration::from_secs(30);
/// How long the last successes are taken for the last.
const SUCCESSES_BELIEVED: Duration = Duration::from_secs(10);
/// Among how many of the newest jobs they are looked for.
const WINDOW: i64 = 10_000;

impl App {
    /// The process is alive: this touches nothing.
    pub fn health(&self) -> Health {
        Health { status: "ok".to_owned(), version: self.parts.settings.version.clone() }
    }

    /// Looks at all that the process needs. What it found is in the answer; nothing is an error.
    pub async fn ready(&self) -> Ready {
        let database = self.parts.store.db().ping().await.map_err(|error| error.to_string());
        let reachable = database.is_ok();
        let migrations = if reachable {
            self.schema_is_complete().await
        } else {
            Err("unknown while the database can't be reached".to_owned())
        };
        let storage = self.parts.blob.check().await.map_err(|error| error.to_string());
        // in this mode the queue is the database's
        let queue = if reachable { Ok(()) } else { Err("the database is the queue".to_owned()) };
        let checks: Vec<Check> =
            [("database", database), ("migrations", migrations), ("storage", storage), ("queue", queue)]
                .into_iter()
                .map(|(name, result)| Check {
                    name: name.to_owned(),
                    state: if result.is_ok() { CheckState::Ok } else { CheckState::Failed },
                    detail: result.err(),
                })
                .collect();
        let ready = checks.iter().all(|check| check.state == CheckState::Ok);
        let version = self.parts.settings.version.clone();
        Ready { ready, version, checks, workloads: self.last_successes(ready).await }
    }

    /// Asking takes the migrations' lock, and a process that started doesn't lose its schema by itself: a yes is
    /// believed for a while.
    async fn schema_is_complete(&self) -> Result<(), String> {
        let now = self.parts.clock.monotonic();
        let seen = *self.schema_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some_and(|at| now.saturating_sub(at) < SCHEMA_BELIEVED) {
            return Ok(());
        }
        migrate::check(self.parts.store.db(), &self.parts.migrations)
            .await
            .map_err(|error| error.to_string())?;
        *self.schema_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(())
    }

    /// Anybody may ask, and often: the database is asked now and then. What was found once is kept, for a workload that had no job
    /// among the newest since.
    async fn last_successes(&self, ready: bool) -> Vec<WorkloadHealth> {
        let now = self.parts.clock.monotonic();
        let mut known = self.successes.lock().await;
        if ready && known.read_at.is_none_or(|at| now.saturating_sub(at) >= SUCCESSES_BELIEVED) {
            let found = async { jobs::last_successes(&mut self.parts.store.read().await?, WINDOW).await };
            match found.await {
                Ok(found) => known.at.extend(found),
                Err(error) => tracing::warn!(%error, "the workloads' last successes could not be read"),
            }
            known.read_at = Some(now);
        }
        let names = self.parts.workloads.names();
        names
            .map(|name| WorkloadHealth {
                workload: name.to_owned(),
                last_success_at: known.at.get(name).copied(),
            })
            .collect()
    }
}

/// When each workload was last seen to complete a job.
#[derive(Debug, Default)]
pub(crate) struct Successes {
    /// On the monotonic clock.
    read_at: Option<Duration>,
    at: BTreeMap<String, Timestamp>,
}
