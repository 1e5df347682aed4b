//! What runs save on their way, and what later runs read of it: checkpoints with parts, progress, the journal, chunks.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use windrow_api_types::worker::{Checkpoint, FreeCall, JournalEntry, Part, Progress, RunRef, SCHEMA_VERSION};
use windrow_blob::ObjectKey;
use windrow_core::{CallId, PicoUsd};
use windrow_store::held;
use windrow_store::hot::{self, CallUsage, Fenced, SaveAnswer};

use super::counters::count_cost;
use super::runs::Served;
use super::{LocalEngine, at, page_limit};
use crate::EngineError;

/// How many journal lines are read at once.
const JOURNAL_PAGE: i64 = 500;

impl LocalEngine {
    pub(super) async fn write_checkpoint(
        &self,
        run: RunRef,
        checkpoint: Checkpoint,
    ) -> Result<(), EngineError> {
        let served = self.served(run).await?;
        let at = at(run, &served);
        let parts =
            checkpoint.parts.iter().map(|part| row_of_part(part, &served)).collect::<Result<_, _>>()?;
        let free: BTreeSet<String> = checkpoint.free_calls.iter().map(|call| call.model.clone()).collect();
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
        fenced(written)?;
        free.iter().for_each(|model| count_cost(model, PicoUsd::ZERO));
        Ok(())
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
    let folder = format!("{}/{owner}/{}/", parsed.prefix(), served.record.id);
    if parsed.owner() != Some(owner) || !key.starts_with(&folder) {
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

fn free_usage(call: FreeCall) -> (CallId, CallUsage) {
    let usage = CallUsage {
        model: call.model,
        step: Some(call.step),
        input_tokens: call.input_tokens,
        output_tokens: call.output_tokens,
        cached_tokens: call.cached_tokens,
        cost: PicoUsd::ZERO,
        price_version: Some(call.price_version),
        provider_request_id: call.provider_request_id,
        duration_us: Some(micros(call.duration_ms)),
    };
    (call.call, usage)
}

pub(super) fn micros(millis: u64) -> i64 {
    i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use windrow_blob::{InstallationSalt, OwnerHash};
    use windrow_core::{Clock as _, JobId, JobSeq, OwnerId, TestClock};

    use super::*;
    use crate::JobRecord;

    #[test]
    fn only_what_stands_in_the_jobs_own_folder_is_its_own() {
        let clock = TestClock::shared();
        let salt = InstallationSalt::from_bytes([1; 32]);
        let [own, other] = [JobId::new(&*clock), JobId::new(&*clock)];
        let record = JobRecord {
            seq: JobSeq(1),
            id: own,
            owner: OwnerId(1),
            parent: None,
            child_key: None,
            spec: Value::Null.into(),
            submitted_at: clock.now(),
            budget: None,
            run: None,
        };
        let served = Served { record, workload: "w".to_owned(), budget: None, attempts: 0, salt };
        let owner = OwnerHash::new(OwnerId(1), &salt);
        assert!(own_key(&format!("artifacts/{owner}/{own}/run-1/a"), &served).is_ok());
        own_key(&format!("artifacts/{owner}/{other}/run-1/a"), &served).unwrap_err();
        own_key(&format!("artifacts/{owner}/{other}/{owner}/{own}/a"), &served).unwrap_err();
    }
}
