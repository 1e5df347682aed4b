//! Handing out leases.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tracing::Instrument as _;
use windrow_api_types::worker::{ClaimRequest, Lease, RunEnd, RunRef, SCHEMA_VERSION};
use windrow_core::{JobError, TraceParent};
use windrow_store::Conn;
use windrow_store::hot::{self, Claimed};

use super::runs::{Holder, Served};
use super::{LocalEngine, at, json, known_version};
use crate::{EngineError, JobRecord, spans};

impl LocalEngine {
    pub(super) async fn claim_leases(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        let clock = &self.inner.parts.clock;
        let until = clock.monotonic().saturating_add(Duration::from_millis(request.wait_ms));
        // Before the first look: what comes after it moves the counter.
        let mut work = self.store().wakes().work();
        loop {
            work.mark_unchanged();
            let leases = self.claim_heard(request).await?;
            let left = until.saturating_sub(clock.monotonic());
            if !leases.is_empty() || left.is_zero() {
                return Ok(leases);
            }
            let _woken_or_poll =
                tokio::time::timeout(left.min(self.inner.settings.poll), work.changed()).await;
        }
    }

    /// A claim in a task of its own: when whoever asked goes away meanwhile, its leases go back in line.
    async fn claim_heard(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let (engine, request) = (self.clone(), request.clone());
        // from here on, and not only once the task runs: whoever asks may go away before
        let under_way = self.inner.runs.claim_under_way().await;
        tokio::spawn(async move {
            let _under_way = under_way;
            let Err(Ok(unheard)) = reply.send(engine.claim_once(&request).await) else { return };
            for lease in unheard {
                if let Err(error) = engine.end_run(lease.run, RunEnd::Released).await {
                    tracing::warn!(run = %lease.run, %error, "a lease that nobody took can't go back in line yet");
                    engine.inner.runs.leave_behind(lease.run);
                }
            }
        });
        answer
            .await
            .unwrap_or_else(|_| Err(EngineError::Unavailable("the process is shutting down".to_owned())))
    }

    async fn claim_once(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        if request.suspects {
            let _alone = self.inner.runs.claiming().await;
            self.let_in(request)?;
            return Ok(self.inner.runs.take_suspect(request.worker.as_deref()).into_iter().collect());
        }
        let claimed = self.take(request).await?;
        let mut leases = Vec::with_capacity(claimed.len());
        let mut reader = None;
        for claimed in claimed {
            let (run, at) = (RunRef { job: claimed.id, run: claimed.at.run }, claimed.at);
            match self.prepare(run, claimed, &mut reader).await {
                Ok(Some(lease)) if lease.suspect && self.inner.settings.isolate => {
                    self.inner.runs.set_aside(lease);
                }
                Ok(Some(lease)) => leases.push(lease),
                Ok(None) => {}
                Err(error) => self.end_unprepared(run, at, error).await,
            }
        }
        Ok(leases)
    }

    /// Nothing was handed out: the run ends before it began. The other runs of its claim have no part in that.
    async fn end_unprepared(&self, run: RunRef, at: hot::RunRef, error: EngineError) {
        tracing::warn!(%run, %error, "a claimed run could not be prepared");
        let failure = match error {
            EngineError::Job(error) => Some(error),
            // It is tried again after a while, and not for ever: in line at once, it would be claimed at once.
            EngineError::Invalid(why) => Some(JobError::transient("not_prepared", why)),
            _ => None,
        };
        let end = failure.clone().map_or(RunEnd::Released, |error| RunEnd::Failed { error });
        let ended = match (self.end_run(run, end).await, failure) {
            // Its row can't be read for its end either: it goes without its workload's say.
            (Err(EngineError::Invalid(_)), Some(error)) => self
                .write_ends(vec![hot::EndRun { at, end: hot::End::Fail { error, dead_letter: true } }])
                .await
                .map(drop),
            (ended, _) => ended.map(drop),
        };
        if let Err(error) = ended {
            tracing::warn!(%run, %error, "a claimed run can't go back in line yet");
            self.inner.runs.leave_behind(run);
        }
    }

    async fn take(&self, request: &ClaimRequest) -> Result<Vec<Claimed>, EngineError> {
        // One at a time: what is held and handed out must agree whenever strays are looked for.
        let _alone = self.inner.runs.claiming().await;
        self.let_in(request)?;
        self.release_strays().await?;
        self.forget_ended().await;
        let registry = &self.inner.parts.registry;
        let leased = self.inner.settings.leased;
        let known = |name: &&str| {
            let is_wanted =
                request.workloads.is_empty() || request.workloads.iter().any(|wanted| wanted == name);
            // a process of ours has no code for it
            let is_foreign = registry.get(name).is_some_and(|workload| workload.is_remote());
            is_wanted && (leased || !is_foreign)
        };
        let worker = request.worker.clone();
        let request = hot::ClaimRequest {
            worker: self.worker(),
            workloads: registry.names().filter(known).map(str::to_owned).collect(),
            slots: usize::try_from(request.slots).unwrap_or(usize::MAX),
            caps: self.inner.settings.caps.clone(),
            leased: self.inner.settings.leased,
        };
        let asked = self.inner.parts.clock.monotonic();
        match self.store().claim(request).await {
            Ok(claimed) => {
                let took = self.inner.parts.clock.monotonic().saturating_sub(asked);
                measure(&claimed, took);
                let holder = |claimed: &Claimed| Holder {
                    run: RunRef { job: claimed.id, run: claimed.at.run },
                    worker: worker.clone(),
                    alone: false,
                };
                self.inner.runs.hand_out(claimed.iter().map(|claimed| (claimed.at, holder(claimed))));
                Ok(claimed)
            }
            Err(error) => {
                // It may be that something was claimed: nobody would run it.
                self.inner.runs.may_have_strays();
                if let Err(error) = self.release_strays().await {
                    tracing::warn!(%error, "runs of a claim with unknown outcome can't go back in line yet");
                }
                Err(error.into())
            }
        }
    }

    pub(super) async fn release_all_but(&self, held: &[RunRef]) -> Result<(), EngineError> {
        let mut kept = HashSet::with_capacity(held.len());
        for run in held {
            kept.insert(at(*run, &*self.served(*run).await?));
        }
        let _quiet = self.inner.runs.between_claims().await;
        let mine = self.store().held(self.worker()).await?;
        let others =
            mine.into_iter().filter(|run| !kept.contains(run) && !self.inner.runs.is_elsewhere(*run));
        let ends = others.map(|at| hot::EndRun { at, end: hot::End::Release }).collect();
        self.write_ends(ends).await.map(drop)
    }

    /// What this worker holds in the database without anybody running it goes back in line, when there may be such. This
    /// worker is alive, so that nobody else would find it. The caller is the only one who is claiming.
    async fn release_strays(&self) -> Result<(), EngineError> {
        if !self.inner.runs.take_strays() {
            return Ok(());
        }
        let released = async {
            let held = self.store().held(self.worker()).await?;
            let strays = held.into_iter().filter(|run| !self.inner.runs.is_handed_out(*run));
            let ends = strays.map(|at| hot::EndRun { at, end: hot::End::Release }).collect();
            self.write_ends(ends).await.map(drop)
        };
        let released = released.await;
        if released.is_err() {
            self.inner.runs.may_have_strays();
        }
        released
    }

    /// Reads what the run needs to begin. None: the run has ended already.
    async fn prepare(
        &self,
        run: RunRef,
        claimed: Claimed,
        reader: &mut Option<Conn>,
    ) -> Result<Option<Lease>, EngineError> {
        let workload = Arc::clone(self.workload(&claimed.workload)?);
        known_version("spec", claimed.spec_version)?;
        let state = match &claimed.checkpoint {
            None => None,
            Some(checkpoint) => {
                known_version("checkpoint", checkpoint.schema_version)?;
                Some(json("checkpoints", claimed.at.job, &checkpoint.state).map_err(unreadable)?)
            }
        };
        let served = Arc::new(self.of_claim(&claimed, reader).await?);
        self.inner.runs.add(run, Arc::clone(&served));
        if claimed.cancel_requested {
            self.end_run(run, RunEnd::Failed { error: JobError::cancelled() }).await?;
            return Ok(None);
        }
        let traceparent = traceparent(run, &claimed);
        let span = load_span(run, &claimed, traceparent);
        let input = if workload.has_load() {
            let conn = self.reader(reader).await?;
            workload.load(conn, &served.record).instrument(span).await?
        } else {
            Value::Null
        };
        let limits = workload.limits();
        let set = self.inner.settings.limits.get(&claimed.workload).copied().unwrap_or_default();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(Some(Lease {
            schema_version: SCHEMA_VERSION,
            run,
            spec: Arc::clone(&served.record.spec),
            input,
            state,
            attempts: claimed.attempts,
            suspect: claimed.suspect,
            is_child: claimed.parent.is_some(),
            child_key: claimed.child_key,
            deadline_ms: millis(set.deadline.unwrap_or(limits.deadline)),
            stall_ms: millis(set.stall.unwrap_or(limits.stall)),
            submitted_at: claimed.submitted_at,
            request_id: claimed.request_id,
            traceparent,
            budget: served.record.budget,
            workload: claimed.workload,
        }))
    }

    async fn of_claim(&self, claimed: &Claimed, reader: &mut Option<Conn>) -> Result<Served, EngineError> {
        let budget = match claimed.budget {
            None => None,
            Some(id) => hot::budget(self.reader(reader).await?, id).await?.map(|budget| budget.cap),
        };
        Ok(Served {
            salt: self.inner.parts.salt,
            record: JobRecord {
                seq: claimed.at.job,
                id: claimed.id,
                owner: claimed.owner,
                parent: claimed.parent,
                child_key: claimed.child_key.clone(),
                spec: Arc::new(json("jobs", claimed.at.job, &claimed.spec).map_err(unreadable)?),
                submitted_at: claimed.submitted_at,
                budget,
                run: Some(claimed.at.run),
            },
            workload: claimed.workload.clone(),
            budget: claimed.budget,
            attempts: claimed.attempts,
        })
    }

    /// One connection for all leases of a claim.
    async fn reader<'a>(&self, reader: &'a mut Option<Conn>) -> Result<&'a mut Conn, EngineError> {
        if reader.is_none() {
            *reader = Some(self.store().read().await?);
        }
        Ok(reader.as_mut().expect("made above"))
    }
}

/// How long the claim took, and how long its jobs had been due.
fn measure(claimed: &[Claimed], took: Duration) {
    metrics::histogram!("windrow_claim_seconds").record(took.as_secs_f64());
    for jobs in claimed.chunk_by(|one, next| one.workload == next.workload) {
        let Some(first) = jobs.first() else { continue };
        let pickup = metrics::histogram!("windrow_pickup_seconds", "workload" => first.workload.clone());
        for job in jobs {
            pickup.record(job.started_at.since(job.due_at).as_secs_f64());
        }
    }
}

/// What stands in a row can't be read, and never will: its job ends by it.
fn unreadable(error: EngineError) -> EngineError {
    EngineError::Job(JobError::permanent("unreadable_job", error))
}

/// The job's, as its submit left it. Without one that can be read, the run has a trace of its own.
fn traceparent(run: RunRef, claimed: &Claimed) -> Option<TraceParent> {
    let read = claimed.traceparent.as_deref().map(str::parse).transpose();
    read.unwrap_or_else(|error| {
        tracing::warn!(%run, %error, "the job's traceparent can't be read");
        None
    })
}

fn load_span(run: RunRef, claimed: &Claimed, traceparent: Option<TraceParent>) -> tracing::Span {
    let span = tracing::info_span!(
        "load",
        job_id = %run.job,
        run = run.run.0,
        workload = claimed.workload,
        request_id = claimed.request_id,
        trace_id = traceparent.map(|parent| parent.trace_id()),
    );
    spans::join(&span, traceparent);
    span
}
