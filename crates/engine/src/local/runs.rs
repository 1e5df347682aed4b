//! The jobs whose runs this engine serves, and what their runs write.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use windrow_api_types::worker::{
    BeatReply, Checkpoint, Child, FreeCall, JournalEntry, Lease, NewChild, Part, Progress, RunRef,
    SCHEMA_VERSION, StopOrder, StopReason,
};
use windrow_blob::{InstallationSalt, ObjectKey, OwnerHash};
use windrow_core::{BudgetId, JobId, JobSeq, PicoUsd};
use windrow_store::held::{self, ServedJob};
use windrow_store::hot::{self, Added, CallUsage, Fenced, SaveAnswer, StorageUse};

use super::{LocalEngine, at, json, known_version};
use crate::{EngineError, JobRecord, MAX_CHILDREN_A_CALL, MAX_PAGE};

/// So many jobs are remembered; which, does not matter: what is forgotten is read again.
const REMEMBERED: usize = 4096;

/// How many journal lines are read at once.
const JOURNAL_PAGE: i64 = 500;

/// A job whose run somebody holds, or held until a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) record: JobRecord,
    pub(super) workload: String,
    pub(super) budget: Option<BudgetId>,
    pub(super) attempts: u32,
    pub(super) salt: InstallationSalt,
}

impl Served {
    /// What the owner is called in keys. Made when asked for: most short runs touch no object.
    pub(super) fn owner_hash(&self) -> OwnerHash {
        OwnerHash::new(self.record.owner, &self.salt)
    }
}

#[derive(Debug, Default)]
pub(super) struct Runs {
    by_run: Mutex<HashMap<RunRef, Arc<Served>>>,
    /// What this engine has claimed and nobody has ended, and to whom it gave it.
    handed_out: Mutex<HashMap<hot::RunRef, Holder>>,
    /// Suspects that wait for a process of their own.
    suspects: watch::Sender<Vec<Lease>>,
    /// Processes beside this one that may claim, by the names that they give.
    admitted: Mutex<HashSet<String>>,
    claiming: tokio::sync::Mutex<()>,
    /// Shared by claims from their start until somebody has what they brought.
    under_way: Arc<tokio::sync::RwLock<()>>,
    /// What runs have put and got since it was last written down.
    used: Mutex<HashMap<hot::RunRef, StorageUse>>,
}

/// Who has a run.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) run: RunRef,
    /// The worker's name, as it said when it claimed.
    pub(super) worker: Option<String>,
    /// Whether it took the run as a suspect's, alone in its process.
    pub(super) alone: bool,
}

impl Runs {
    pub(super) fn add(&self, run: RunRef, served: Arc<Served>) {
        let mut runs = self.runs();
        if runs.len() >= REMEMBERED {
            // Those that nobody is using at this moment; a run in progress is read again at its next write.
            runs.retain(|_, served| Arc::strong_count(served) > 1);
        }
        runs.insert(run, served);
    }

    pub(super) fn get(&self, run: RunRef) -> Option<Arc<Served>> {
        self.runs().get(&run).map(Arc::clone)
    }

    /// The run has ended.
    pub(super) fn forget(&self, run: RunRef, at: hot::RunRef) {
        self.runs().remove(&run);
        self.handed_out().remove(&at);
        self.used().remove(&at);
    }

    /// Adds to what a run has used.
    pub(super) fn count_use(&self, at: hot::RunRef, used: StorageUse) {
        let mut all = self.used();
        let sum = all.entry(at).or_default();
        sum.puts += used.puts;
        sum.gets += used.gets;
    }

    /// What a run has used since the last time.
    pub(super) fn take_use(&self, at: hot::RunRef) -> StorageUse {
        self.used().remove(&at).unwrap_or_default()
    }

    pub(super) fn hand_out(&self, runs: impl Iterator<Item = (hot::RunRef, Holder)>) {
        self.handed_out().extend(runs);
    }

    pub(super) fn is_handed_out(&self, run: hot::RunRef) -> bool {
        self.handed_out().contains_key(&run)
    }

    /// Whether a worker that gave its name has the run: a process of its own.
    pub(super) fn is_elsewhere(&self, run: hot::RunRef) -> bool {
        self.handed_out().get(&run).is_some_and(|holder| holder.worker.is_some())
    }

    pub(super) fn held_by(&self, worker: &str) -> Vec<(hot::RunRef, Holder)> {
        let handed_out = self.handed_out();
        let theirs = handed_out.iter().filter(|(_, holder)| holder.worker.as_deref() == Some(worker));
        theirs.map(|(at, holder)| (*at, holder.clone())).collect()
    }

    /// False when the process was admitted before.
    pub(super) fn admit(&self, worker: &str) -> bool {
        self.admitted().insert(worker.to_owned())
    }

    pub(super) fn is_admitted(&self, worker: &str) -> bool {
        self.admitted().contains(worker)
    }

    pub(super) fn shut_out(&self, worker: &str) {
        self.admitted().remove(worker);
    }

    /// From whoever claimed it, who has no part in what becomes of it. It is dropped when that worker was lost meanwhile.
    pub(super) fn set_aside(&self, suspect: Lease) {
        let mut handed_out = self.handed_out();
        let Some(holder) = handed_out.values_mut().find(|holder| holder.run == suspect.run) else { return };
        holder.worker = None;
        drop(handed_out);
        self.suspects.send_modify(|suspects| suspects.push(suspect));
    }

    /// A suspect for `worker`, which is alone in its process.
    pub(super) fn take_suspect(&self, worker: Option<&str>) -> Option<Lease> {
        let mut taken = None;
        self.suspects.send_if_modified(|suspects| {
            taken = (!suspects.is_empty()).then(|| suspects.remove(0));
            taken.is_some()
        });
        let lease = taken.as_ref()?;
        let mut handed_out = self.handed_out();
        let holder = handed_out.values_mut().find(|holder| holder.run == lease.run);
        if let Some(holder) = holder {
            holder.worker = worker.map(str::to_owned);
            holder.alone = true;
        }
        drop(handed_out);
        taken
    }

    pub(super) fn suspects(&self) -> watch::Receiver<Vec<Lease>> {
        self.suspects.subscribe()
    }

    /// Held by a claim until what it brought is in somebody's hands or back in line.
    pub(super) async fn claim_under_way(&self) -> tokio::sync::OwnedRwLockReadGuard<()> {
        Arc::clone(&self.under_way).read_owned().await
    }

    /// When no claim is under way; none begins while this is held.
    pub(super) async fn between_claims(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.under_way.write().await
    }

    pub(super) async fn claiming(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.claiming.lock().await
    }

    fn admitted(&self) -> MutexGuard<'_, HashSet<String>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handed_out(&self) -> MutexGuard<'_, HashMap<hot::RunRef, Holder>> {
        self.handed_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> MutexGuard<'_, HashMap<hot::RunRef, StorageUse>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunRef, Arc<Served>>> {
        self.by_run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalEngine {
    /// The job of a run, remembered or read. Whether the run still holds it is for each write's fence to say.
    pub(super) async fn served(&self, run: RunRef) -> Result<Arc<Served>, EngineError> {
        if let Some(served) = self.inner.runs.get(run) {
            return Ok(served);
        }
        let mut conn = self.store().read().await?;
        let job = held::served_job(&mut conn, run.job).await?.ok_or(EngineError::Stale)?;
        drop(conn);
        let served = Arc::new(self.serve(run, job)?);
        self.inner.runs.add(run, Arc::clone(&served));
        Ok(served)
    }

    /// The workload of a run's job, whoever holds it.
    ///
    /// # Errors
    /// [`EngineError::Stale`] when there is no such job.
    pub async fn workload_of(&self, run: RunRef) -> Result<String, EngineError> {
        Ok(self.served(run).await?.workload.clone())
    }

    /// The workloads of this process that are among `wanted`; all when that is empty.
    pub fn workloads_among(&self, wanted: &[String]) -> Vec<String> {
        let names = self.inner.parts.registry.names();
        names
            .filter(|name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
            .map(str::to_owned)
            .collect()
    }

    fn serve(&self, run: RunRef, job: ServedJob) -> Result<Served, EngineError> {
        Ok(Served {
            workload: job.workload.clone(),
            budget: job.budget_id,
            attempts: job.attempts.unwrap_or(0),
            salt: self.inner.parts.salt,
            record: crate::lost::record(job, Some(run.run))?,
        })
    }

    pub(super) async fn stop_orders(&self, held: &[RunRef]) -> Result<BeatReply, EngineError> {
        let mut by_seq = HashMap::with_capacity(held.len());
        for run in held {
            by_seq.insert(self.served(*run).await?.record.seq, *run);
        }
        let seqs: Vec<JobSeq> = by_seq.keys().copied().collect();
        let mut conn = self.store().read().await?;
        let cancelled = hot::poll_cancelled(&mut conn, &seqs).await?;
        let order = |seq: JobSeq| StopOrder { run: by_seq[&seq], reason: StopReason::Cancelled };
        Ok(BeatReply { stop: cancelled.into_iter().map(order).collect() })
    }

    pub(super) async fn write_checkpoint(
        &self,
        run: RunRef,
        checkpoint: Checkpoint,
    ) -> Result<(), EngineError> {
        let served = self.served(run).await?;
        let at = at(run, &served);
        let parts =
            checkpoint.parts.iter().map(|part| row_of_part(part, &served)).collect::<Result<_, _>>()?;
        let row = hot::Checkpoint {
            at,
            schema_version: i64::from(SCHEMA_VERSION),
            state: checkpoint.state.to_string(),
            parts,
            covered: checkpoint.covered,
            free_calls: checkpoint.free_calls.into_iter().map(free_usage).collect(),
        };
        let progress = checkpoint.progress.map(|progress| progress_row(at, progress));
        let (written, ()) = tokio::try_join!(self.write_checkpoint_row(row), self.write_use(at))?;
        if let Some(progress) = progress {
            self.store().progress(vec![progress]).await?;
        }
        fenced(written)
    }

    async fn write_checkpoint_row(&self, row: hot::Checkpoint) -> Result<Fenced, EngineError> {
        Ok(self.store().checkpoint(vec![row]).await?[0])
    }

    pub(super) async fn write_progress(&self, run: RunRef, progress: Progress) -> Result<(), EngineError> {
        let served = self.served(run).await?;
        Ok(self.store().progress(vec![progress_row(at(run, &served), progress)]).await?)
    }

    pub(super) async fn read_journal(&self, run: RunRef) -> Result<Vec<JournalEntry>, EngineError> {
        let served = self.served(run).await?;
        let mut conn = self.store().read().await?;
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let page = hot::journal(&mut conn, served.record.seq, &after, JOURNAL_PAGE).await?;
            let full = i64::try_from(page.len()).is_ok_and(|len| len == JOURNAL_PAGE);
            for line in page {
                let Journalled { cost, response } = serde_json::from_str(&line.output).map_err(|error| {
                    windrow_store::StoreError::invariant("call_journal", "output", &line.key, error)
                })?;
                after.clone_from(&line.key);
                let request_hash = hex::encode(&line.request_hash);
                entries.push(JournalEntry { key: line.key, request_hash, response, cost });
            }
            if !full {
                return Ok(entries);
            }
        }
    }

    pub(super) async fn save_chunk(&self, run: RunRef, n: i64, chunk: Value) -> Result<(), EngineError> {
        let served = self.served(run).await?;
        let workload = Arc::clone(self.workload(&served.workload)?);
        let at = at(run, &served);
        let written = self.store().alone(move |tx| {
            let (workload, served, chunk) = (Arc::clone(&workload), Arc::clone(&served), chunk.clone());
            Box::pin(async move {
                match hot::save(tx, at, n).await? {
                    SaveAnswer::Stale => Err(EngineError::Stale),
                    SaveAnswer::Already => Ok(()),
                    SaveAnswer::Write => Ok(workload.save(tx, &served.record, n, chunk).await?),
                }
            })
        });
        written.await
    }

    pub(super) async fn saved_chunks(&self, run: RunRef) -> Result<Vec<i64>, EngineError> {
        let served = self.served(run).await?;
        let mut conn = self.store().read().await?;
        Ok(hot::saved(&mut conn, served.record.seq).await?)
    }

    pub(super) async fn make_children(
        &self,
        run: RunRef,
        children: Vec<NewChild>,
    ) -> Result<(), EngineError> {
        if children.len() > MAX_CHILDREN_A_CALL {
            let problem =
                format!("{} children in one call; the most is {MAX_CHILDREN_A_CALL}", children.len());
            return Err(EngineError::Invalid(problem));
        }
        let served = self.served(run).await?;
        let clock = &self.inner.parts.clock;
        let rows = children.into_iter().map(|child| {
            self.workload(&child.workload)?;
            Ok(hot::NewChild {
                id: JobId::new(&**clock),
                key: child.key,
                workload: child.workload,
                spec: child.spec.to_string(),
                spec_version: i64::from(SCHEMA_VERSION),
                priority: None,
            })
        });
        let rows = rows.collect::<Result<Vec<_>, EngineError>>()?;
        match self.store().add_children(at(run, &served), rows).await? {
            Added::Stale => Err(EngineError::Stale),
            // Stopping: the run ends as its tree does; its own stop order is on its way.
            Added::Stopping | Added::Added(_) => Ok(()),
        }
    }

    pub(super) async fn list_children(
        &self,
        run: RunRef,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Child>, EngineError> {
        let served = self.served(run).await?;
        let mut conn = self.store().read().await?;
        let after = match after {
            None => JobSeq(0),
            Some(id) => held::served_job(&mut conn, id)
                .await?
                .filter(|job| job.parent_seq == Some(served.record.seq))
                .map(|job| job.seq)
                .ok_or_else(|| EngineError::Invalid(format!("{id} is no child of this job")))?,
        };
        let rows = hot::children_page(&mut conn, served.record.seq, after, page_limit(limit)).await?;
        rows.into_iter().map(child).collect()
    }

    pub(super) async fn list_parts(
        &self,
        run: RunRef,
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Part>, EngineError> {
        let served = self.served(run).await?;
        let (first, key) = after.unwrap_or((i64::MIN, String::new()));
        let mut conn = self.store().read().await?;
        let rows = held::tree_parts(&mut conn, served.record.seq, (first, &key), page_limit(limit)).await?;
        let part = |row: held::TreePart| Part {
            child_key: row.child_key.unwrap_or_default(),
            first: row.first,
            last: row.last,
            key: row.key,
            sha256: hex::encode(row.sha256),
            size: row.size,
        };
        Ok(rows.into_iter().map(part).collect())
    }

    pub(super) fn workload(&self, name: &str) -> Result<&Arc<dyn crate::Workload>, EngineError> {
        let found = self.inner.parts.registry.get(name);
        found.ok_or_else(|| EngineError::Invalid(format!("there is no workload {name:?} in this process")))
    }
}

/// What stands in a journal line's `output`.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Journalled<V = Value> {
    pub(super) cost: PicoUsd,
    pub(super) response: V,
}

pub(super) fn fenced(answer: Fenced) -> Result<(), EngineError> {
    match answer {
        Fenced::Applied => Ok(()),
        Fenced::Stale => Err(EngineError::Stale),
    }
}

/// A key of the job's own, whoever sent it.
pub(super) fn own_key(key: &str, served: &Served) -> Result<ObjectKey, EngineError> {
    let parsed: ObjectKey =
        key.parse().map_err(|error| EngineError::Invalid(format!("the object key {key:?}: {error}")))?;
    let owner = served.owner_hash();
    let folder = format!("/{owner}/{}/", served.record.id);
    if parsed.owner() != Some(owner) || !key.contains(&folder) {
        return Err(EngineError::Invalid(format!("{key} is not an object of this job")));
    }
    Ok(parsed)
}

fn row_of_part(part: &Part, served: &Served) -> Result<hot::Part, EngineError> {
    own_key(&part.key, served)?;
    let sha256 = hex::decode(&part.sha256).ok().filter(|bytes| bytes.len() == 32);
    let sha256 = sha256
        .ok_or_else(|| EngineError::Invalid(format!("the sha256 of {} is not 64 hex digits", part.key)))?;
    if part.first > part.last {
        return Err(EngineError::Invalid(format!(
            "the part {} ends at {} before it starts at {}",
            part.key, part.last, part.first
        )));
    }
    let size = i64::try_from(part.size).unwrap_or(i64::MAX);
    Ok(hot::Part { first: part.first, last: part.last, key: part.key.clone(), sha256, size })
}

fn progress_row(at: hot::RunRef, progress: Progress) -> hot::Progress {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    hot::Progress {
        at,
        stage: Some(progress.stage),
        done: number(progress.done),
        total: progress.total.map(number),
    }
}

fn free_usage(call: FreeCall) -> CallUsage {
    CallUsage {
        model: call.model,
        step: Some(call.step),
        input_tokens: call.input_tokens,
        output_tokens: call.output_tokens,
        cached_tokens: call.cached_tokens,
        cost: PicoUsd::ZERO,
        price_version: Some(call.price_version),
        provider_request_id: call.provider_request_id,
        duration_us: Some(micros(call.duration_ms)),
    }
}

pub(super) fn micros(millis: u64) -> i64 {
    i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX)
}

fn child(row: hot::Child) -> Result<Child, EngineError> {
    let of = |what: &str, version: Option<i64>| {
        version.map_or(Ok(()), |version| known_version(&format!("{what} of the child {}", row.id), version))
    };
    of("result", row.output_version)?;
    of("checkpoint", row.checkpoint_version)?;
    let value = |text: Option<String>| text.map(|text| json("results", row.seq, &text)).transpose();
    Ok(Child {
        id: row.id,
        key: row.child_key,
        status: row.status,
        result: value(row.output)?,
        state: value(row.checkpoint)?,
        error_code: row.error_code,
        cost: row.cost,
    })
}

fn page_limit(limit: usize) -> i64 {
    i64::try_from(limit.min(MAX_PAGE)).unwrap_or(i64::MAX)
}
