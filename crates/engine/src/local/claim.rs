//! Handing out leases.

use std::sync::Arc;
use std::time::Duration;

use windrow_api_types::worker::{ClaimRequest, Lease, RunEnd, RunRef, SCHEMA_VERSION};
use windrow_blob::OwnerHash;
use windrow_core::JobError;
use windrow_store::hot::{self, Claimed};
use windrow_store::{Conn, StoreError, held};

use super::runs::Served;
use super::{LocalEngine, json};
use crate::{EngineError, JobRecord};

impl LocalEngine {
    pub(super) async fn claim_leases(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        let clock = &self.inner.parts.clock;
        let until = clock.monotonic().saturating_add(Duration::from_millis(request.wait_ms));
        loop {
            // Before the look: what comes after it rings a bell that is heard.
            let bell = self.inner.bell.notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            let leases = self.claim_once(request).await?;
            let left = until.saturating_sub(clock.monotonic());
            if !leases.is_empty() || left.is_zero() {
                return Ok(leases);
            }
            let _bell_or_poll = tokio::time::timeout(left.min(self.inner.settings.poll), bell).await;
        }
    }

    async fn claim_once(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        let claimed = self.take(request).await?;
        let mut leases = Vec::with_capacity(claimed.len());
        let mut reader = None;
        for claimed in claimed {
            let run = RunRef { job: claimed.id, run: claimed.at.run };
            match self.prepare(run, claimed, &mut reader).await {
                Ok(Some(lease)) => leases.push(lease),
                Ok(None) => {}
                Err(EngineError::Job(error)) => drop(self.end_run(run, RunEnd::Failed { error }).await?),
                Err(error) => {
                    // Nothing was handed out: the next claim finds the job in line again.
                    tracing::warn!(%run, %error, "a claimed run could not be prepared");
                    self.end_run(run, RunEnd::Released).await?;
                }
            }
        }
        Ok(leases)
    }

    async fn take(&self, request: &ClaimRequest) -> Result<Vec<Claimed>, EngineError> {
        let registry = &self.inner.parts.registry;
        let known = |name: &&str| {
            request.workloads.is_empty() || request.workloads.iter().any(|wanted| wanted == name)
        };
        let request = hot::ClaimRequest {
            worker: self.worker(),
            workloads: registry.names().filter(known).map(str::to_owned).collect(),
            slots: usize::try_from(request.slots).unwrap_or(usize::MAX),
            caps: self.inner.settings.caps.clone(),
            leased: self.inner.settings.leased,
        };
        let clock = &self.inner.parts.clock;
        let mut cursor = self.inner.cursor.lock().await;
        let mut tx = self.db().begin().await?;
        let claimed = hot::claim(&mut tx, &request, &mut cursor, clock.now(), clock.monotonic()).await;
        let claimed = match claimed {
            Ok(claimed) if claimed.is_empty() => return Ok(claimed),
            Ok(claimed) => claimed,
            Err(error) => {
                cursor.forget();
                return Err(error.into());
            }
        };
        match tx.commit().await {
            Ok(()) => Ok(claimed),
            Err(error) => {
                cursor.forget();
                drop(cursor);
                if matches!(error, StoreError::UnknownOutcome(_)) {
                    self.release_unknown(&claimed).await;
                }
                Err(error.into())
            }
        }
    }

    /// Gives back what may or may not have been claimed: it is held by nobody who would run it.
    async fn release_unknown(&self, claimed: &[Claimed]) {
        let ends: Vec<hot::EndRun> =
            claimed.iter().map(|claimed| hot::EndRun { at: claimed.at, end: hot::End::Release }).collect();
        if let Err(error) = self.write_ends(&ends).await {
            tracing::warn!(%error, "runs of a claim with unknown outcome are left to be rescued");
        }
    }

    /// Reads what the run needs to begin. None: the run has ended already.
    async fn prepare(
        &self,
        run: RunRef,
        claimed: Claimed,
        reader: &mut Option<Conn>,
    ) -> Result<Option<Lease>, EngineError> {
        let workload = Arc::clone(self.workload(&claimed.workload)?);
        check_version("spec", claimed.spec_version)?;
        let state = match &claimed.checkpoint {
            None => None,
            Some(checkpoint) => {
                check_version("checkpoint", checkpoint.schema_version)?;
                Some(json("checkpoints", claimed.at.job, &checkpoint.state)?)
            }
        };
        let served = Arc::new(self.of_claim(&claimed, reader).await?);
        self.inner.runs.add(run, Arc::clone(&served));
        if claimed.cancel_requested {
            self.end_run(run, RunEnd::Failed { error: JobError::cancelled() }).await?;
            return Ok(None);
        }
        let input = workload.load(self.reader(reader).await?, &served.record).await?;
        let limits = workload.limits();
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(Some(Lease {
            schema_version: SCHEMA_VERSION,
            run,
            spec: served.record.spec.clone(),
            input,
            state,
            attempts: claimed.attempts,
            suspect: claimed.suspect,
            is_child: claimed.parent.is_some(),
            child_key: claimed.child_key,
            deadline_ms: millis(limits.deadline),
            stall_ms: millis(limits.stall),
            submitted_at: claimed.submitted_at,
            request_id: claimed.request_id,
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
            owner_hash: OwnerHash::new(claimed.owner, &self.inner.parts.salt),
            record: JobRecord {
                seq: claimed.at.job,
                id: claimed.id,
                owner: claimed.owner,
                parent: claimed.parent,
                child_key: claimed.child_key.clone(),
                spec: json("jobs", claimed.at.job, &claimed.spec)?,
                submitted_at: claimed.submitted_at,
                budget,
                run: Some(claimed.at.run),
            },
            workload: claimed.workload.clone(),
            budget: claimed.budget,
            attempts: claimed.attempts,
            lost: claimed.lost,
        })
    }

    /// One connection for all leases of a claim.
    async fn reader<'a>(&self, reader: &'a mut Option<Conn>) -> Result<&'a mut Conn, EngineError> {
        if reader.is_none() {
            *reader = Some(self.db().read().await?);
        }
        Ok(reader.as_mut().expect("made above"))
    }

    /// What this worker holds in the database and nobody of `held` runs goes back in line: what a crash between a commit
    /// and its reply left behind.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn release_strays(&self, held: &[RunRef]) -> Result<usize, EngineError> {
        let mut known = std::collections::HashSet::with_capacity(held.len());
        for run in held {
            known.insert((self.served(*run).await?.record.seq, run.run));
        }
        let mut conn = self.db().read().await?;
        let mine = held::runs_of(&mut conn, self.worker()).await?;
        drop(conn);
        let strays = mine.into_iter().filter(|run| !known.contains(run));
        let ends: Vec<hot::EndRun> = strays
            .map(|(job, run)| hot::EndRun { at: hot::RunRef { job, run }, end: hot::End::Release })
            .collect();
        self.write_ends(&ends).await?;
        Ok(ends.len())
    }
}

fn check_version(what: &str, version: i64) -> Result<(), EngineError> {
    if version == i64::from(SCHEMA_VERSION) {
        return Ok(());
    }
    let problem = format!("the {what}'s schema_version is {version}; this program knows {SCHEMA_VERSION}");
    Err(EngineError::Job(JobError::permanent("unknown_schema_version", problem)))
}
