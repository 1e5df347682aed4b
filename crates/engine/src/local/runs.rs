//! The jobs whose runs this engine serves, and who has which run.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use windrow_api_types::worker::{Lease, RunRef};
use windrow_blob::{InstallationSalt, OwnerHash};
use windrow_core::{BudgetId, JobSeq};
use windrow_store::held::{self, ServedJob};
use windrow_store::hot::{self, StorageUse};

use super::LocalEngine;
use crate::{EngineError, JobRecord};

/// So many jobs are remembered; which, does not matter: what is forgotten is read again.
const REMEMBERED: usize = 4096;

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
    /// How many runs must be handed out before it is asked which of them are over ([`super::sweep`]).
    pub(super) sweep_at: AtomicUsize,
    /// When it was last asked of each run whether somebody wants it cancelled ([`super::beat`]).
    pub(super) cancels_asked: Mutex<Option<Duration>>,
    /// Whether the database may hold runs in this worker's name that nobody runs.
    strays: AtomicBool,
    /// Set once nothing may be handed out any more; read and written by whoever is claiming.
    closed: AtomicBool,
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

    /// These runs by the numbers of their jobs, and those of which this engine knows none: it neither remembers them nor has
    /// handed them out.
    pub(super) fn by_number(&self, held: &[RunRef]) -> (HashMap<JobSeq, RunRef>, HashSet<RunRef>) {
        let (mut known, mut unknown) = (HashMap::with_capacity(held.len()), HashSet::new());
        let runs = self.runs();
        for run in held {
            match runs.get(run) {
                Some(served) => drop(known.insert(served.record.seq, *run)),
                None => drop(unknown.insert(*run)),
            }
        }
        drop(runs);
        if !unknown.is_empty() {
            let handed_out = self.handed_out();
            let found = handed_out.iter().filter(|(_, holder)| unknown.remove(&holder.run));
            known.extend(found.map(|(at, holder)| (at.job, holder.run)));
        }
        (known, unknown)
    }

    /// The run has ended.
    pub(super) fn forget(&self, run: RunRef, at: hot::RunRef) {
        self.runs().remove(&run);
        self.handed_out().remove(&at);
        self.used().remove(&at);
    }

    /// The run goes back in line as soon as the database takes it: nobody runs it.
    pub(super) fn leave_behind(&self, run: RunRef) {
        self.runs().remove(&run);
        self.handed_out().retain(|_, holder| holder.run != run);
        self.may_have_strays();
    }

    pub(super) fn may_have_strays(&self) {
        self.strays.store(true, Ordering::Release);
    }

    /// Whether there may be strays, which are the caller's from now on.
    pub(super) fn take_strays(&self) -> bool {
        self.strays.swap(false, Ordering::AcqRel)
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

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
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

    pub(super) fn handed_out(&self) -> MutexGuard<'_, HashMap<hot::RunRef, Holder>> {
        self.handed_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn used(&self) -> MutexGuard<'_, HashMap<hot::RunRef, StorageUse>> {
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
    pub fn workload_of(&self, run: RunRef) -> BoxFuture<'_, Result<String, EngineError>> {
        Box::pin(async move { Ok(self.served(run).await?.workload.clone()) })
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

    pub(super) fn workload(&self, name: &str) -> Result<&Arc<dyn crate::Workload>, EngineError> {
        let found = self.inner.parts.registry.get(name);
        found.ok_or_else(|| EngineError::Invalid(format!("there is no workload {name:?} in this process")))
    }
}

#[cfg(test)]
mod tests {
    use windrow_core::{JobId, RunNo, TestClock};

    use super::*;

    #[test]
    fn what_was_handed_out_has_a_number_though_its_job_is_forgotten() {
        let (runs, clock) = (Runs::default(), TestClock::shared());
        let [mine, anothers] = [1, 2].map(|_| RunRef { job: JobId::new(&*clock), run: RunNo(3) });
        let at = hot::RunRef { job: JobSeq(7), run: mine.run };
        runs.hand_out([(at, Holder { run: mine, worker: None, alone: false })].into_iter());
        assert_eq!(runs.by_number(&[mine, anothers]), ([(JobSeq(7), mine)].into(), [anothers].into()));
    }
}
