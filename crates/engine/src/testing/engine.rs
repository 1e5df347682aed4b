//! The operations.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use windrow_api_types::worker::{
    BeatReply, Checkpoint, Child, ClaimRequest, EndReply, JournalEntry, Lease, NewChild, Part, Progress,
    Reserve, Reserved, RunEnd, RunRef, Settle, SettleResult, StoredObject,
};
use windrow_core::{JobId, JobStatus, PicoUsd, SystemClock};

use super::{MemoryEngine, State};
use crate::{Beater, Engine, EngineError, ObjectStream, PutPlace};

impl MemoryEngine {
    /// Fails during an outage, and for a stale run.
    fn write<T>(&self, run: RunRef, change: impl FnOnce(&mut State) -> T) -> Result<T, EngineError> {
        let mut state = self.reach()?;
        if run.run.0 != state.run || state.ended.is_some() {
            return Err(EngineError::Stale);
        }
        Ok(change(&mut state))
    }

    fn reach(&self) -> Result<std::sync::MutexGuard<'_, State>, EngineError> {
        let mut state = self.state();
        if state.outage > 0 {
            state.outage -= 1;
            return Err(EngineError::Unavailable("the test's outage".to_owned()));
        }
        Ok(state)
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn claim(&self, _request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        Ok(vec![self.lease()])
    }

    fn beater(&self) -> Box<dyn Beater> {
        Box::new(Immortal)
    }

    async fn stops(&self, _held: &[RunRef]) -> Result<BeatReply, EngineError> {
        Ok(BeatReply::default())
    }

    async fn checkpoint(&self, run: RunRef, checkpoint: Checkpoint) -> Result<(), EngineError> {
        self.write(run, |state| {
            state.checkpoint = Some(checkpoint.state);
            state.parts.extend(checkpoint.parts);
            state.parts.sort_by_key(|part| part.first);
            state.free_calls.extend(checkpoint.free_calls);
            for key in checkpoint.covered {
                state.journal.remove(&key);
            }
            if checkpoint.progress.is_some() {
                state.progress = checkpoint.progress;
            }
        })
    }

    async fn progress(&self, run: RunRef, progress: Progress) -> Result<(), EngineError> {
        self.write(run, |state| state.progress = Some(progress))
    }

    async fn money(
        &self,
        run: RunRef,
        settle: &[Settle],
        reserve: &[Reserve],
    ) -> Result<Vec<Reserved>, EngineError> {
        let cap = self.template.budget.unwrap_or_default();
        let mut state = self.reach()?;
        state.exchanges += 1;
        for settle in settle {
            state.settle(settle);
        }
        if !reserve.is_empty() && (run.run.0 != state.run || state.ended.is_some()) {
            return Err(EngineError::Stale);
        }
        Ok(reserve.iter().map(|reserve| state.reserve(reserve, cap)).collect())
    }

    async fn journal(&self, run: RunRef) -> Result<Vec<JournalEntry>, EngineError> {
        self.write(run, |state| state.journal.values().cloned().collect())
    }

    async fn save(&self, run: RunRef, n: i64, chunk: Value) -> Result<(), EngineError> {
        self.write(run, |state| {
            state.saved.entry(n).or_insert(chunk);
        })
    }

    async fn saved(&self, run: RunRef) -> Result<Vec<i64>, EngineError> {
        self.write(run, |state| state.saved.keys().copied().collect())
    }

    async fn add_children(&self, run: RunRef, children: Vec<NewChild>) -> Result<(), EngineError> {
        self.write(run, |state| {
            for new in children {
                let id = JobId::new(&*SystemClock::shared());
                let key = new.key.clone();
                if state.children.iter().any(|(_, child)| child.key == key) {
                    continue;
                }
                let child = Child {
                    id,
                    key,
                    status: JobStatus::Queued,
                    result: None,
                    state: None,
                    error_code: None,
                    cost: PicoUsd::ZERO,
                };
                state.children.push((new, child));
            }
        })
    }

    async fn children(
        &self,
        run: RunRef,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Child>, EngineError> {
        self.write(run, |state| {
            let unseen = |child: &Child| after.is_some_and(|after| child.id != after);
            let children = state.children.iter().map(|(_, child)| child);
            let children = children.skip_while(|child| unseen(child)).skip(usize::from(after.is_some()));
            children.take(limit).cloned().collect()
        })
    }

    async fn parts(
        &self,
        run: RunRef,
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Part>, EngineError> {
        self.write(run, |state| {
            let after = |part: &Part| {
                after.as_ref().is_none_or(|after| (part.first, &part.key) > (after.0, &after.1))
            };
            state.parts.iter().filter(|part| after(part)).take(limit).cloned().collect()
        })
    }

    async fn get(
        &self,
        _run: RunRef,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<ObjectStream, EngineError> {
        let state = self.reach()?;
        let object = state.objects.get(key).ok_or_else(|| EngineError::NotFound(key.to_owned()))?;
        let at =
            |offset: u64| usize::try_from(offset).map_or(object.len(), |offset| offset.min(object.len()));
        let bytes =
            range.map_or_else(|| object.clone(), |range| object.slice(at(range.start)..at(range.end)));
        Ok(stream::iter([Ok(bytes)]).boxed())
    }

    async fn put(&self, run: RunRef, place: PutPlace<'_>, bytes: Bytes) -> Result<StoredObject, EngineError> {
        self.write(run, |state| {
            let key = format!("{}/{}/{}/{}", place.prefix, run.job, run.run, place.name);
            let sha256 = hex::encode(Sha256::digest(&bytes));
            let size = bytes.len() as u64;
            match state.objects.insert(key.clone(), bytes.clone()) {
                Some(other) if other != bytes => {
                    Err(EngineError::Invalid(format!("{key} exists with other bytes")))
                }
                _ => Ok(StoredObject { key, size, sha256 }),
            }
        })?
    }

    async fn put_file(
        &self,
        run: RunRef,
        place: PutPlace<'_>,
        file: &Path,
    ) -> Result<StoredObject, EngineError> {
        let bytes = tokio::fs::read(file).await.map_err(|error| EngineError::Invalid(error.to_string()))?;
        self.put(run, place, bytes.into()).await
    }

    async fn end(&self, run: RunRef, end: RunEnd) -> Result<EndReply, EngineError> {
        let status = match &end {
            RunEnd::Done { .. } => JobStatus::Completed,
            RunEnd::Partial { .. } => JobStatus::BudgetExceeded,
            RunEnd::Await => JobStatus::Waiting,
            RunEnd::Failed { .. } => JobStatus::Failed,
            RunEnd::Released => JobStatus::Queued,
        };
        match self.write(run, |state| state.ended = Some(end)) {
            Err(EngineError::Stale) => Ok(EndReply::Stale),
            written => written.map(|()| EndReply::Recorded { status }),
        }
    }
}

/// A worker in memory needs no beats.
struct Immortal;

#[async_trait]
impl Beater for Immortal {
    fn every(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn beat(&mut self, _held: &[RunRef]) -> Result<BeatReply, EngineError> {
        Ok(BeatReply::default())
    }
}

impl State {
    fn reserve(&mut self, reserve: &Reserve, cap: PicoUsd) -> Reserved {
        if self.calls.contains_key(&reserve.call) {
            return Reserved::Granted;
        }
        let used = self.spent.saturating_add(self.reserved);
        if used.saturating_add(reserve.worst) <= cap {
            self.reserved = self.reserved.saturating_add(reserve.worst);
            self.calls.insert(reserve.call, (reserve.clone(), None));
            Reserved::Granted
        } else if self.reserved.is_zero() {
            Reserved::Exceeded
        } else {
            Reserved::Wait
        }
    }

    fn settle(&mut self, settle: &Settle) {
        let Some((reserve, result)) = self.calls.get_mut(&settle.call) else { return };
        if result.is_some() {
            return;
        }
        *result = Some(settle.result.clone());
        self.reserved = self.reserved.saturating_sub(reserve.worst);
        let cost = match &settle.result {
            SettleResult::Settled(bill) => bill.cost,
            SettleResult::Unconfirmed => reserve.worst,
            SettleResult::Released => PicoUsd::ZERO,
        };
        self.spent = self.spent.saturating_add(cost);
        let SettleResult::Settled(bill) = &settle.result else { return };
        let Some(line) = &bill.journal else { return };
        let entry = JournalEntry {
            key: line.key.clone(),
            request_hash: line.request_hash.clone(),
            response: line.response.clone(),
            cost: bill.cost,
        };
        self.journal.insert(line.key.clone(), entry);
    }
}
