//! The end of runs: what it means for the job, and the transaction in which the workload has its say.

use std::sync::Arc;

use rand::RngExt as _;
use tracing::Instrument as _;
use windrow_api_types::worker::{EndReply, NewArtifact, Output, RunEnd, RunRef, SCHEMA_VERSION};
use windrow_core::{ArtifactId, ErrorClass, JobError, JobStatus, RetryPolicy, RunOutcome};
use windrow_store::artifacts::{self, Resource};
use windrow_store::hot::{self, End, EndRun, Ended, EndedRun};
use windrow_store::{Tx, jobs};

use super::counters::count_retries;
use super::runs::Served;
use super::saved::own_key;
use super::{LocalEngine, at};
use crate::workload::AfterCommit;
use crate::{EngineError, Workload};

/// What a run hands over with its end.
#[derive(Clone)]
struct Handover {
    row: EndRun,
    served: Arc<Served>,
    workload: Arc<dyn Workload>,
    output: Option<Arc<Output>>,
    error: Option<JobError>,
}

impl LocalEngine {
    pub(super) async fn end_run(&self, run: RunRef, end: RunEnd) -> Result<EndReply, EngineError> {
        let served = self.served(run).await?;
        // Refused, and not the run's failure: a process that has the code for it may be asked next.
        self.workload(&served.workload)?;
        self.write_use(at(run, &served)).await?;
        let attempted = !matches!(end, RunEnd::Released | RunEnd::Await);
        let span = tracing::debug_span!("commit", job_id = %run.job, run = run.run.0);
        let mut reply = self.end_with(run, &served, end).instrument(span).await;
        // The workload's commit, or an end that can't be recorded: rolled back, and the run ends of it.
        if let Some(error) = unrecorded(run, &reply) {
            reply = self.end_with(run, &served, RunEnd::Failed { error }).await;
        }
        // The failure, too. The worker lives, so nobody else would find the run: it ends without its workload.
        if let Some(error) = unrecorded(run, &reply) {
            let end = EndRun { at: at(run, &served), end: self.failure(error, &served) };
            reply = self.write_ends(vec![end]).await.map(|ended| reply_of(&ended[0]));
        }
        if reply.is_ok() {
            self.inner.runs.forget(run, at(run, &served));
            if !self.inner.settings.caps.is_none() {
                self.store().wakes().tell_of_room();
            }
        }
        // Whichever worker ran it, ours or a remote one: the run came to an end of its own, and the job is in line again.
        if attempted && matches!(reply, Ok(EndReply::Recorded { status: JobStatus::Queued })) {
            count_retries(&served.workload, 1);
        }
        reply
    }

    async fn end_with(
        &self,
        run: RunRef,
        served: &Arc<Served>,
        end: RunEnd,
    ) -> Result<EndReply, EngineError> {
        let workload = self.workload(&served.workload)?;
        let at = at(run, served);
        let row = EndRun { at, end: self.meaning(at, &end, served) };
        let (output, error) = match end {
            RunEnd::Done { output } | RunEnd::Partial { output } => (Some(output), None),
            RunEnd::Failed { error } => (None, Some(error)),
            RunEnd::Await | RunEnd::Released => (None, None),
        };
        let artifacts = output.as_ref().map_or(&[][..], |output| &output.artifacts);
        self.check_artifacts(served, artifacts).await?;
        if artifacts.is_empty() && !workload.has_commit() {
            return Ok(reply_of(&self.write_ends(vec![row]).await?[0]));
        }
        let (served, workload) = (Arc::clone(served), Arc::clone(workload));
        self.end_alone(Handover { row, served, workload, output: output.map(Arc::new), error }).await
    }

    /// Makes a dead letter of a job, whatever the retry policy says.
    pub(super) async fn bury(
        &self,
        run: RunRef,
        served: &Arc<Served>,
        error: JobError,
    ) -> Result<(), EngineError> {
        let workload = Arc::clone(self.workload(&served.workload)?);
        let end = End::Fail { error: error.clone(), dead_letter: true };
        let row = EndRun { at: at(run, served), end };
        if workload.has_commit() {
            let served = Arc::clone(served);
            let handover = Handover { row: row.clone(), served, workload, output: None, error: Some(error) };
            match self.end_alone(handover).await {
                // It refuses: the job must end all the same.
                Err(EngineError::Job(error)) => {
                    tracing::error!(%run, %error, "the workload's commit failed for a dead letter");
                }
                reply => return reply.map(drop),
            }
        }
        self.write_ends(vec![row]).await.map(drop)
    }

    /// Ends that nobody else has a say in.
    pub(super) async fn write_ends(&self, ends: Vec<EndRun>) -> Result<Vec<Ended>, EngineError> {
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.store().end_runs(ends).await?)
    }

    /// A transaction of the run's own: its end, its artifacts, and what the workload writes.
    async fn end_alone(&self, handover: Handover) -> Result<EndReply, EngineError> {
        let engine = self.clone();
        let written = self.store().alone(move |tx| {
            let (engine, handover) = (engine.clone(), handover.clone());
            Box::pin(async move {
                let row = std::slice::from_ref(&handover.row);
                let ended = hot::end_runs(tx, row, engine.now()).await?.ended.swap_remove(0);
                let after = match &ended {
                    Ended::Ended(end) if end.status.is_final() => engine.commit(tx, end, &handover).await?,
                    _ => AfterCommit::default(),
                };
                Ok::<_, EngineError>((reply_of(&ended), after))
            })
        });
        let (reply, after) = written.await?;
        if let Some(drop_tags) = &self.inner.parts.drop_tags
            && !after.cache_tags.is_empty()
        {
            drop_tags(&after.cache_tags);
        }
        Ok(reply)
    }

    async fn commit(
        &self,
        tx: &mut Tx,
        ended: &EndedRun,
        handover: &Handover,
    ) -> Result<AfterCommit, EngineError> {
        let keeps_output = matches!(ended.outcome, RunOutcome::Completed | RunOutcome::BudgetExceeded);
        let output = handover.output.as_deref().filter(|_| keeps_output);
        if let Some(output) = output {
            self.record_artifacts(tx, &handover.served, &output.artifacts).await?;
        }
        let ended = crate::Ended { status: ended.status, output, error: handover.error.as_ref() };
        Ok(handover.workload.commit(tx, &handover.served.record, &ended).await?)
    }

    async fn record_artifacts(
        &self,
        tx: &mut Tx,
        served: &Served,
        new: &[NewArtifact],
    ) -> Result<(), EngineError> {
        if new.is_empty() {
            return Ok(());
        }
        let (clock, now) = (&self.inner.parts.clock, self.now());
        let job = &served.record;
        let resource = Resource::job(jobs::root(tx, job.seq).await?);
        for artifact in new {
            own_key(&artifact.object.key, served).map_err(unusable)?;
            let row = artifacts::NewArtifact {
                id: ArtifactId::new(&**clock),
                owner: job.owner,
                job: job.seq,
                job_id: job.id,
                resource: &resource,
                kind: &artifact.kind,
                filename: &artifact.filename,
                content_type: &artifact.content_type,
                size: artifact.object.size,
                sha256: &artifact.object.sha256,
                object_key: &artifact.object.key,
                created_at: now,
                expires_at: now.plus(self.inner.settings.artifact_life),
            };
            artifacts::record(tx, &row).await?;
        }
        Ok(())
    }

    fn meaning(&self, at: hot::RunRef, end: &RunEnd, served: &Served) -> End {
        // nothing to say, and no earlier run can have said something: no row is as good as an empty one
        let says_nothing = |output: &Output| output.result.is_null() && at.run.0 == 1;
        match end {
            RunEnd::Done { output } => End::Complete((!says_nothing(output)).then(|| result(output))),
            RunEnd::Partial { output } => End::BudgetExceeded {
                output: Some(result(output)),
                error: JobError::budget("the budget had no room for the next call"),
            },
            RunEnd::Await => End::Await,
            RunEnd::Released => End::Release,
            RunEnd::Failed { error } => self.failure(error.clone(), served),
        }
    }

    /// The retry policy's word on a failed run.
    fn failure(&self, error: JobError, served: &Served) -> End {
        let (usual, limits) = (&self.inner.settings.retry, &self.inner.settings.limits);
        let set = limits.get(&served.workload).and_then(|limits| limits.max_attempts);
        let policy = RetryPolicy { max_attempts: set.unwrap_or(usual.max_attempts), ..*usual };
        match error.class {
            ErrorClass::Cancelled => End::Cancel,
            ErrorClass::Budget => End::BudgetExceeded { output: None, error },
            ErrorClass::Permanent => End::Fail { dead_letter: !error.user_fault, error },
            ErrorClass::Transient | ErrorClass::Lost => {
                let attempt = served.attempts + 1;
                if !policy.allows_another(attempt) {
                    return End::Fail { error, dead_letter: true };
                }
                let after = error.retry_after_ms.map(std::time::Duration::from_millis);
                let delay = policy.delay(attempt, self.random().random(), after);
                End::Retry { at: self.now().plus(delay), error }
            }
        }
    }
}

/// What a run fails of whose end was refused for good.
fn unrecorded(run: RunRef, reply: &Result<EndReply, EngineError>) -> Option<JobError> {
    let error = match reply {
        Err(EngineError::Job(error)) => error.clone(),
        // Its text may be what the database refuses.
        Err(EngineError::Invalid(_)) => JobError::permanent(
            "end_refused",
            "the run's end could not be recorded; the log of the process that ran it says why",
        ),
        _ => return None,
    };
    tracing::error!(%run, error = ?reply.as_ref().err(), "the run's end was refused");
    Some(error)
}

fn reply_of(ended: &Ended) -> EndReply {
    match ended {
        Ended::Stale => EndReply::Stale,
        Ended::Ended(EndedRun { status, .. }) => EndReply::Recorded { status: *status },
    }
}

fn result(output: &Output) -> hot::Output {
    hot::Output { schema_version: i64::from(SCHEMA_VERSION), json: output.result.to_string() }
}

/// The end of a run that hands over what can't be an artifact.
pub(super) fn unusable(error: impl std::fmt::Display) -> EngineError {
    EngineError::Job(JobError::permanent("bad_artifact", error))
}
