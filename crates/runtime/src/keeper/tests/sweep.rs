//! What time ends.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use windrow_blob::{BlobError, ObjectAttributes, ObjectKey, OwnerHash, Prefix};
use windrow_core::{ArtifactId, CallId, JobError, LedgerKind, PicoUsd, UploadId, UploadStatus};
use windrow_engine::{JobContext, Outcome, RunError};
use windrow_store::artifacts::{self, NewArtifact, Resource};
use windrow_store::hot::{self, CallUsage, Checkpoint};
use windrow_store::ledger::{self, GroupBy};
use windrow_store::uploads::{self, Upload, Verified};
use windrow_store::{Tx, fetch_all};
use windrow_test_support::on_both;

use super::*;
use crate::keeper::artifacts::Artifacts;
use crate::keeper::integrity::Integrity;
use crate::keeper::jobs::{Approvals, OldJobs};
use crate::keeper::ledger::{OldRows, OrphanedSums, RollUps};
use crate::keeper::tables::{EndedLeases, EndedWorkers, Vacuum};
use crate::keeper::uploads::Uploads;

/// Saves rows in a table that is but a number, and may refuse to discard them.
struct Hoarder {
    rows: AtomicI64,
    refuses: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Workload for Hoarder {
    fn name(&self) -> &'static str {
        "hoarder"
    }

    fn spec_schema(&self) -> Value {
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"})
    }

    async fn run(&self, _ctx: JobContext, _input: Value) -> Result<Outcome, RunError> {
        unreachable!("no worker runs it")
    }

    async fn discard(&self, _tx: &mut Tx, _job: JobSeq, limit: i64) -> Result<i64, JobError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(JobError::permanent("mine", "it is all mine"));
        }
        let rows = self.rows.load(Ordering::SeqCst).min(limit);
        self.rows.fetch_sub(rows, Ordering::SeqCst);
        Ok(rows)
    }
}

impl Kept {
    async fn put(&self, prefix: Prefix, name: &str) -> ObjectKey {
        let owner = OwnerHash::new(self.owner, &self.parts.salt);
        let key = ObjectKey::owned(prefix, owner, &[name]).unwrap();
        self.parts.blob.put(&key, Bytes::from_static(b"x"), &ObjectAttributes::default()).await.unwrap();
        key
    }

    async fn exists(&self, key: &ObjectKey) -> bool {
        match self.parts.blob.head(key).await {
            Ok(_) => true,
            Err(BlobError::NotFound { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// An upload that may be completed for a quarter of an hour.
    async fn upload(&self, name: &str) -> (UploadId, ObjectKey) {
        let (id, key) = (UploadId::new(&*self.app.clock), self.put(Prefix::Uploads, name).await);
        let until = self.now().plus(HOUR / 4);
        let upload = Upload {
            id,
            owner_id: self.owner,
            status: UploadStatus::Pending,
            purpose: "upload".to_owned(),
            filename: name.to_owned(),
            content_type: "text/plain".to_owned(),
            size: 1,
            sha256: None,
            object_key: key.to_string(),
            etag: None,
            detected_type: None,
            problem: None,
            created_at: self.now(),
            expires_at: until,
            complete_by: until,
            ended_at: None,
        };
        let insert = self.store().unit(move |tx| {
            let upload = upload.clone();
            Box::pin(async move { uploads::insert(tx, &upload).await })
        });
        insert.await.unwrap();
        (id, key)
    }

    async fn upload_status(&self, id: UploadId) -> UploadStatus {
        let mut conn = self.store().read().await.unwrap();
        uploads::get(&mut conn, self.owner, id).await.unwrap().unwrap().status
    }

    /// An artifact that lives for an hour.
    async fn record(&self, run: &Claimed, key: &ObjectKey) -> ArtifactId {
        let (id, owner, now, key) =
            (ArtifactId::new(&*self.app.clock), self.owner, self.now(), key.to_string());
        let (job, job_id) = (run.at.job, run.id);
        let record = self.store().unit(move |tx| {
            let key = key.clone();
            Box::pin(async move {
                let new = NewArtifact {
                    id,
                    owner,
                    job,
                    job_id,
                    resource: &Resource::job(job),
                    kind: "csv",
                    filename: "out.csv",
                    content_type: "text/csv",
                    size: 1,
                    sha256: "00",
                    object_key: &key,
                    created_at: now,
                    expires_at: now.plus(HOUR),
                };
                artifacts::record(tx, &new).await
            })
        });
        record.await.unwrap();
        id
    }

    async fn artifact_is_there(&self, id: ArtifactId) -> bool {
        let mut conn = self.store().read().await.unwrap();
        artifacts::get(&mut conn, self.owner, id).await.unwrap().is_some()
    }

    async fn save(&self, run: &Claimed) {
        let at = run.at;
        self.store().unit(move |tx| Box::pin(hot::save(tx, at, 0))).await.unwrap();
    }
}

fn failed() -> End {
    End::Fail { error: JobError::permanent("no", "no"), dead_letter: false }
}

on_both! {
    async fn rows_that_contradict_each_other_are_counted(db) {
        let kept = Kept::new(db).await;
        kept.ended("echo", End::Complete(None)).await;
        let check = Integrity::new(&kept.parts);
        assert_eq!(check.check().await.unwrap().findings, 0);
        let stray = kept.store().alone(|tx| {
            let sql = "INSERT INTO results (job_seq, run, schema_version, output) VALUES (999, 1, 1, '{}')";
            Box::pin(async move { windrow_store::execute!(tx, sql).map(drop) })
        });
        stray.await.unwrap();
        assert_eq!(check.check().await.unwrap().findings, 1);
        assert_eq!(check.check().await.unwrap().findings, 1, "nothing is mended by itself");
        kept.app.finish().await;
    }

    async fn uploads_that_nobody_completed_expire_and_their_objects_go_a_day_later(db) {
        let kept = Kept::new(db).await;
        let (stored, stored_key) = kept.upload("stored").await;
        let (owner, now) = (kept.owner, kept.now());
        let store = kept.store().unit(move |tx| Box::pin(async move {
            let verified = Verified { etag: None, sha256: "00", detected_type: "text/plain" };
            uploads::store(tx, owner, stored, &verified, now).await
        }));
        assert!(store.await.unwrap());
        let (dead, dead_key) = kept.upload("dead").await;
        let mut sweeper = Uploads::new(&kept.parts);
        turn(&mut sweeper).await;
        assert_eq!(kept.upload_status(dead).await, UploadStatus::Pending);

        kept.advance(HOUR);
        turn(&mut sweeper).await;
        assert_eq!(kept.upload_status(dead).await, UploadStatus::Expired);
        kept.advance(DAY);
        turn(&mut sweeper).await;
        assert!(kept.exists(&dead_key).await, "not older than a day");
        kept.advance(Duration::from_micros(1));
        turn(&mut sweeper).await;
        assert!(!kept.exists(&dead_key).await);
        assert!(kept.exists(&stored_key).await);
        assert_eq!(kept.upload_status(stored).await, UploadStatus::Stored);
        turn(&mut sweeper).await;
    }

    async fn expired_artifacts_go_row_and_object_but_never_the_latest(db) {
        let kept = Kept::new(db).await;
        let run = kept.ended("echo", End::Complete(None)).await;
        let (old_key, shared_key) = (kept.put(Prefix::Artifacts, "old").await, kept.put(Prefix::Artifacts, "shared").await);
        let old = kept.record(&run, &old_key).await;
        let sharing = kept.record(&run, &shared_key).await;
        let latest = kept.record(&run, &shared_key).await;
        let mut sweeper = Artifacts::new(&kept.parts);
        turn(&mut sweeper).await;
        assert!(kept.artifact_is_there(old).await, "it has not expired");
        kept.advance(1000 * DAY);
        turn(&mut sweeper).await;
        assert!(!kept.artifact_is_there(old).await && !kept.exists(&old_key).await);
        assert!(!kept.artifact_is_there(sharing).await);
        assert!(kept.artifact_is_there(latest).await);
        assert!(kept.exists(&shared_key).await, "the latest needs it");
        turn(&mut sweeper).await;
        assert!(kept.artifact_is_there(latest).await && kept.exists(&shared_key).await);
    }

    async fn what_cannot_be_removed_is_reported_and_keeps_nothing_else_back(db) {
        let kept = Kept::new(db).await;
        let run = kept.ended("echo", End::Complete(None)).await;
        let (first_key, latest_key) = (kept.put(Prefix::Artifacts, "first").await, kept.put(Prefix::Artifacts, "latest").await);
        let broken = kept.record(&run, &first_key).await;
        // The broken one comes first.
        kept.advance(Duration::from_secs(1));
        let first = kept.record(&run, &first_key).await;
        kept.record(&run, &latest_key).await;
        kept.store().unit(move |tx| Box::pin(async move {
            windrow_store::execute!(tx, "UPDATE artifacts SET object_key = '../x' WHERE id = $1", broken)
        })).await.unwrap();
        kept.advance(DAY);
        let error = Artifacts::new(&kept.parts).turn().await.unwrap_err();
        assert!(error.to_string().contains("\"..\""), "{error}");
        assert!(kept.artifact_is_there(broken).await);
        assert!(!kept.artifact_is_there(first).await && !kept.exists(&first_key).await);
    }

    async fn nobodys_approval_is_waited_for_thirty_days(db) {
        let kept = Kept::new(db).await;
        let job = NewJob { needs_approval: true, ..kept.job("echo") };
        let id = job.id;
        kept.submit(job).await;
        let mut approvals = Approvals::new(&kept.parts);
        kept.advance(30 * DAY);
        turn(&mut approvals).await;
        assert_eq!(kept.status(id).await, Some(JobStatus::PendingApproval));
        kept.advance(Duration::from_micros(1));
        turn(&mut approvals).await;
        assert_eq!(kept.status(id).await, Some(JobStatus::Rejected));
        kept.app.finish().await;
    }

    async fn old_jobs_go_and_what_failed_ones_saved_is_discarded_first(db) {
        let hoarder = Arc::new(Hoarder { rows: AtomicI64::new(1_203), refuses: true.into() });
        let kept = Kept::with(db, vec![Arc::<Hoarder>::clone(&hoarder)]).await;
        kept.submit(kept.job("hoarder")).await;
        let saver = kept.claim_one().await;
        kept.save(&saver).await;
        kept.end(&saver, failed()).await;
        let plain = kept.ended("echo", End::Complete(None)).await;
        let mut old = OldJobs::new(&kept.parts);
        kept.advance(90 * DAY);
        turn(&mut old).await;
        assert!(kept.status(plain.id).await.is_some() && kept.status(saver.id).await.is_some());

        let dead = kept.ended("echo", End::Fail { error: JobError::transient("t", "t"), dead_letter: true }).await;
        kept.advance(Duration::from_micros(1));
        let error = old.turn().await.unwrap_err().to_string();
        assert!(error.contains("hoarder") && error.contains("it is all mine"), "{error}");
        assert_eq!(kept.status(plain.id).await, None, "another job's trouble is not its own");
        assert_eq!(kept.status(saver.id).await, Some(JobStatus::Failed));

        hoarder.refuses.store(false, Ordering::SeqCst);
        turn(&mut old).await;
        assert_eq!(kept.status(saver.id).await, None);
        assert_eq!(hoarder.rows.load(Ordering::SeqCst), 0);
        kept.advance(100 * DAY);
        turn(&mut old).await;
        assert!(kept.status(dead.id).await.is_some(), "nobody has decided on the dead letter");
    }

    async fn what_a_completed_job_saved_is_not_discarded(db) {
        let hoarder = Arc::new(Hoarder { rows: AtomicI64::new(7), refuses: false.into() });
        let kept = Kept::with(db, vec![Arc::<Hoarder>::clone(&hoarder)]).await;
        kept.submit(kept.job("hoarder")).await;
        let run = kept.claim_one().await;
        kept.save(&run).await;
        kept.end(&run, End::Complete(None)).await;
        kept.advance(91 * DAY);
        turn(&mut OldJobs::new(&kept.parts)).await;
        assert_eq!((kept.status(run.id).await, hoarder.rows.load(Ordering::SeqCst)), (None, 7));
    }

    async fn workers_that_nothing_names_go_a_day_after_their_end(db) {
        let kept = Kept::new(db).await;
        kept.submit(kept.job("echo")).await;
        let run = kept.claim_one().await;
        kept.end(&run, End::Complete(None)).await;
        kept.submit(kept.job("echo")).await;
        let holder = kept.worker(WorkerKind::Process).await;
        kept.claim(holder, 1).await;
        let (left, alive) = (kept.worker(WorkerKind::Process).await, kept.worker(WorkerKind::Remote).await);
        let workers = async || {
            let mut conn = kept.store().read().await.unwrap();
            fetch_all!(&mut conn, scalar i64, "SELECT id FROM workers ORDER BY id").unwrap()
        };
        let all = workers().await;
        assert_eq!(all.len(), 4);
        // all have ended but the last, and one of them holds a run that nobody has rescued yet
        for worker in all.iter().filter(|id| **id != alive.0) {
            kept.store().leave(windrow_core::WorkerId(*worker)).await.unwrap();
        }
        let mut sweep = EndedWorkers::new(&kept.parts);
        kept.advance(DAY);
        turn(&mut sweep).await;
        assert_eq!(workers().await, all, "a claim of its own may still commit");
        kept.advance(Duration::from_micros(1));
        turn(&mut sweep).await;
        let rest: Vec<i64> = all.into_iter().filter(|id| *id != left.0).collect();
        assert_eq!(workers().await, rest);
    }

    async fn the_ledger_is_summed_up_once_and_its_old_rows_go(db) {
        let kept = Kept::new(db).await;
        kept.submit(kept.job("echo")).await;
        let run = kept.claim_one().await;
        let usage = CallUsage {
            model: "m".to_owned(),
            step: None,
            input_tokens: 5,
            output_tokens: 6,
            cached_tokens: 1,
            cost: PicoUsd::from_pico(0),
            price_version: None,
            provider_request_id: None,
            duration_us: None,
        };
        let checkpoint = Checkpoint {
            at: run.at,
            schema_version: 1,
            state: "{}".to_owned(),
            parts: Vec::new(),
            covered: Vec::new(),
            free_calls: [usage.clone(), usage].map(|usage| (CallId::new(&*kept.app.clock), usage)).into(),
        };
        kept.store().checkpoint(vec![checkpoint]).await.unwrap();
        let mut roll_ups = RollUps::new(&kept.parts);
        let sums = async || {
            let mut conn = kept.store().read().await.unwrap();
            let sums = ledger::rollups(&mut conn, kept.owner, GroupBy::Model, None, None).await.unwrap();
            sums.into_iter().map(|sum| (sum.key, sum.calls, sum.input_tokens)).collect::<Vec<_>>()
        };
        let rows = async || {
            let mut conn = kept.store().read().await.unwrap();
            let rows = ledger::of_tree(&mut conn, run.at.job, None, 10).await.unwrap();
            rows.iter().filter(|row| row.kind == LedgerKind::Model).count()
        };
        assert_eq!(sums().await, []);
        let mut old = OldRows::new(&kept.parts);
        kept.advance(91 * DAY);
        turn(&mut old).await;
        assert_eq!(rows().await, 2, "they are in no sum yet");
        for _ in 0..2 {
            turn(&mut roll_ups).await;
            assert_eq!(sums().await, [("m".to_owned(), 2, 10)]);
        }
        turn(&mut old).await;
        assert_eq!((rows().await, sums().await.len()), (0, 1));
        kept.end(&run, End::Complete(None)).await;
        turn(&mut OrphanedSums::new(&kept.parts)).await;
        kept.app.finish().await;
    }

    async fn upkeep_of_tables_does_what_there_is_to_do(db) {
        let kept = Kept::new(db).await;
        let remote = kept.worker(WorkerKind::Remote).await;
        kept.submit(kept.job("echo")).await;
        let run = kept.claim_as(remote, 1, true).await.remove(0);
        kept.end(&run, End::Complete(None)).await;
        turn(&mut EndedLeases::new(&kept.parts)).await;
        let left = kept.store().unit(|tx| Box::pin(hot::sweep_leases(tx))).await;
        assert_eq!(left.unwrap(), 0);
        turn(&mut Vacuum::new(&kept.parts)).await;
    }
}
