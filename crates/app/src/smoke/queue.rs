//! Whether the configured queue does what it must: send, receive, delete.
//!
//! The queue is the database, so a message is a job: submitted, claimed, completed, removed. It belongs to nobody and is
//! of a workload that nobody has, so that no worker takes it and no list shows it. A queue of another kind is tried with
//! the same three steps.

use std::time::Duration;

use windrow_api_types::{SmokeReport, SmokeStep};
use windrow_core::{JobId, JobSeq, OwnerId, Priority, WorkerId, ids::uuid_v7};
use windrow_store::hot::{
    self, Caps, ClaimRequest, End, EndRun, Ended, NewJob, RunRef, Submitted, WorkerKind,
};
use windrow_store::jobs::{self, JobFilter};
use windrow_store::{Store, StoreError};

use crate::{App, AppError, Authority};

/// No user has this number.
const NOBODY: OwnerId = OwnerId(0);
/// A try takes milliseconds: what is left of one after this time, nobody will remove but us.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

impl App {
    /// Stops at the first step that fails, and removes what it sent in any case, as well as what a try that was killed
    /// has left.
    ///
    /// # Errors
    /// [`AppError::RoleTooLow`]; what goes wrong in a step is in the report.
    pub async fn smoke_queue(&self, by: Authority<'_>) -> Result<SmokeReport, AppError> {
        by.may_administer()?;
        let mut probe = Probe::new(self);
        let mut steps: Vec<SmokeStep> = Vec::new();
        for step in ["send", "receive", "delete"] {
            let started = self.parts.clock.monotonic();
            let result = match step {
                "send" => probe.send().await,
                "receive" => probe.receive().await,
                _ => probe.delete().await,
            };
            let failed = result.is_err();
            steps.push(self.timed_step(step, started, result));
            if failed {
                break;
            }
        }
        let started = self.parts.clock.monotonic();
        if let Err(problem) = probe.clean_up().await {
            steps.push(self.timed_step("clean up", started, Err(problem)));
        }
        Ok(super::report(steps))
    }
}

/// One message on its way through the queue.
struct Probe<'a> {
    app: &'a App,
    store: &'a Store,
    id: JobId,
    workload: String,
    sent: Option<JobSeq>,
    worker: Option<WorkerId>,
    held: Option<RunRef>,
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn text(error: StoreError) -> String {
    error.to_string()
}

impl<'a> Probe<'a> {
    fn new(app: &'a App) -> Self {
        // no workload can have a colon in its name
        let workload = format!("smoke:{}", uuid_v7(&*app.parts.clock));
        let id = JobId::new(&*app.parts.clock);
        Self { app, store: &app.parts.store, id, workload, sent: None, worker: None, held: None }
    }

    async fn send(&mut self) -> Result<(), String> {
        let job = NewJob {
            priority: Priority::High,
            spec_version: i64::from(windrow_api_types::SCHEMA_VERSION),
            ..NewJob::plain(self.id, NOBODY, self.workload.clone(), self.app.now())
        };
        match self.store.submit(vec![job]).await.map_err(text)?[..] {
            [Submitted::Created { seq, .. }] => {
                self.sent = Some(seq);
                Ok(())
            }
            ref other => Err(format!("the job was not made: {other:?}")),
        }
    }

    async fn receive(&mut self) -> Result<(), String> {
        let worker = self.store.register_worker("smoke".to_owned(), WorkerKind::Process);
        let worker = worker.await.map_err(text)?;
        self.worker = Some(worker);
        let request = ClaimRequest {
            worker,
            workloads: vec![self.workload.clone()],
            slots: 1,
            caps: Caps::default(),
            leased: false,
        };
        let claimed = self.store.claim(request).await;
        self.held = claimed.as_ref().ok().and_then(|claimed| claimed.first()).map(|claimed| claimed.at);
        match &claimed.map_err(text)?[..] {
            [claimed] if claimed.id == self.id => Ok(()),
            [] => Err("the job that was sent is not in line".to_owned()),
            _ => Err("another job came back than was sent".to_owned()),
        }
    }

    async fn delete(&mut self) -> Result<(), String> {
        let Some(at) = self.held.take() else { return Err("there is nothing to delete".to_owned()) };
        let end = EndRun { at, end: End::Complete(None) };
        match self.store.end_runs(vec![end]).await.map_err(text)?[..] {
            [Ended::Ended(_)] => Ok(()),
            _ => Err("the run had lost its job".to_owned()),
        }
    }

    /// Ends what is not ended, and removes all rows of it.
    async fn clean_up(&mut self) -> Result<(), String> {
        let mut mine = Vec::from_iter(self.sent.take());
        let filter = JobFilter { until: Some(self.app.now().minus(LEFT_BEHIND)), ..JobFilter::default() };
        let mut conn = self.store.read().await.map_err(text)?;
        let old = jobs::list(&mut conn, NOBODY, &filter, None, 100).await.map_err(text)?;
        drop(conn);
        mine.extend(old.iter().map(|job| job.seq));
        if let Some(at) = self.held.take() {
            self.store.end_runs(vec![EndRun { at, end: End::Cancel }]).await.map_err(text)?;
        }
        for job in &mine {
            // one that has ended is not cancelled
            self.store.cancel(*job).await.map_err(text)?;
        }
        // the worker last: as long as a run may be its, a rescuer must find it
        let (worker, later) = (self.worker.take(), self.app.now().plus(Duration::from_secs(1)));
        let deleted = self.store.alone(move |tx| {
            let roots = mine.clone();
            Box::pin(async move {
                hot::delete_trees(tx, &roots, later, roots.len() + 1).await?;
                match worker {
                    Some(worker) => hot::forget_worker(tx, worker).await,
                    None => Ok(()),
                }
            })
        });
        deleted.await.map_err(text)
    }
}
