//! From a request id to what it set going.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use serde_json::Value;
use uuid::{NoContext, Uuid};
use windrow_api_types::{Trace, TracedJob};
use windrow_core::{JobId, OwnerId, Timestamp};
use windrow_store::audit::{self, AuditFilter};
use windrow_store::{jobs, runs};

use crate::jobs::view;
use crate::{Actor, App, AppError};

/// The most jobs that are shown; a batch may have made more.
const MAX_JOBS: u32 = 100;

/// The most log lines that are shown, the first ones.
const MAX_LINES: usize = 1000;

/// The log lines that an installation keeps.
pub trait KeptLines: Send + Sync {
    /// Those that are wanted, oldest first, at most `most`: JSON objects as they were written. Blocks on files.
    ///
    /// # Errors
    /// What is kept can't be read.
    fn find(&self, wanted: &dyn Fn(&Value) -> bool, most: usize) -> io::Result<Vec<Value>>;
}

impl App {
    /// The jobs that a request submitted, with their runs and what is kept of the log; for admins those of all owners, and
    /// what was audited.
    ///
    /// # Errors
    /// [`AppError::NotFound`] when there is nothing.
    pub async fn trace(&self, actor: &Actor, request_id: &str) -> Result<Trace, AppError> {
        actor.may_read()?;
        let is_admin = actor.may_administer().is_ok();
        let owner = (!is_admin).then_some(actor.owner());
        let mut conn = self.read().await?;
        let rows = jobs::of_request(&mut conn, owner, request_id, around(request_id), MAX_JOBS).await?;
        let mut traced = Vec::with_capacity(rows.len());
        for row in rows {
            let runs = runs::list(&mut conn, row.seq).await?.into_iter().map(view::run).collect();
            let (id, status, created_at) = (row.id, row.status, row.created_at);
            traced.push(TracedJob { id, workload: row.workload, status, created_at, runs });
        }
        let mut entries = Vec::new();
        if is_admin {
            let filter = AuditFilter { request_id: Some(request_id), ..AuditFilter::default() };
            let rows = audit::list(&mut conn, &filter, None, MAX_JOBS).await?;
            entries = rows.into_iter().map(crate::audit::entry).collect::<Result<_, _>>()?;
        }
        drop(conn);
        let jobs: HashSet<String> = traced.iter().map(|job| job.id.to_string()).collect();
        let log = self.kept_lines(request_id, owner, jobs).await?;
        if traced.is_empty() && entries.is_empty() && log.as_ref().is_none_or(Vec::is_empty) {
            return Err(AppError::not_found("request", request_id.chars().take(100).collect::<String>()));
        }
        Ok(Trace { request_id: request_id.to_owned(), jobs: traced, audit: entries, log })
    }

    /// What is kept about these jobs, and about the request: clients choose request ids, and the same one may be another
    /// owner's, too.
    async fn kept_lines(
        &self,
        request_id: &str,
        owner: Option<OwnerId>,
        jobs: HashSet<String>,
    ) -> Result<Option<Vec<Value>>, AppError> {
        let Some(kept) = self.parts.log.clone() else { return Ok(None) };
        let request_id = request_id.to_owned();
        let wanted = move |line: &Value| {
            line["job_id"].as_str().is_some_and(|id| jobs.contains(id))
                || line["request_id"] == request_id.as_str()
                    && owner.is_none_or(|owner| line["owner"] == owner.0)
        };
        let read = tokio::task::spawn_blocking(move || kept.find(&wanted, MAX_LINES)).await;
        read.map_err(AppError::internal)?.map(Some).map_err(AppError::internal)
    }
}

/// Request ids are not indexed, so that a submit pays for no index that only this needs; but one that we made tells its
/// time, as the ids of its jobs do.
fn around(request_id: &str) -> Option<(JobId, JobId)> {
    let id: Uuid = request_id.parse().ok().filter(|id: &Uuid| id.get_version_num() == 7)?;
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let at = Timestamp::from_micros(i64::try_from(seconds).ok()?.checked_mul(1_000_000)?);
    let bound = |at: Timestamp| {
        let seconds = u64::try_from(at.as_micros() / 1_000_000).unwrap_or(0);
        JobId(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)))
    };
    // clocks of two machines may differ, and a batch takes a while
    Some((bound(at.minus(Duration::from_secs(300))), bound(at.plus(Duration::from_secs(3600)))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_core::{RequestId, TestClock};

    #[test]
    fn the_bounds_hold_the_jobs_of_the_request() {
        let clock = TestClock::shared();
        let request = RequestId::new(&*clock).to_string();
        let (from, to) = around(&request).unwrap();
        let soon = JobId::new(&*clock);
        clock.advance(Duration::from_secs(7200));
        let late = JobId::new(&*clock);
        assert!(from < soon && soon < to && late > to);
        assert_eq!(around("my-own-id"), None);
    }
}
