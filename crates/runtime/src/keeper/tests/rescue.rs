//! Dead workers, lapsed leases, and the start of an embedded database's owner.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value, json};
use windrow_core::{JobError, RunNo};
use windrow_engine::{AfterCommit, JobContext, JobRecord, Outcome, RunError, workload};
use windrow_store::Tx;
use windrow_store::hot::{self, Fenced, RunRef};
use windrow_test_support::on_both;

use super::*;
use crate::keeper::rescue::{Beats, Leases, Rescuer};
use crate::keeper::retake;

const SECOND: Duration = Duration::from_secs(1);
const AN_HOUR: i64 = 3_600_000_000;

/// Tells of its jobs' ends, but for those whose spec says `refuses`; `busy` is how often it refuses for now.
#[derive(Default)]
struct Witness {
    seen: Arc<Mutex<Vec<(JobSeq, String, String)>>>,
    refused: Mutex<u64>,
}

#[async_trait]
impl Workload for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn spec_schema(&self) -> Value {
        json!({ "type": "object" })
    }

    async fn run(&self, _ctx: JobContext, _input: Value) -> Result<Outcome, RunError> {
        unreachable!("nobody runs it")
    }

    fn has_commit(&self) -> bool {
        true
    }

    async fn commit(
        &self,
        _tx: &mut Tx,
        job: &JobRecord,
        ended: &workload::Ended<'_>,
    ) -> Result<AfterCommit, JobError> {
        if job.spec["refuses"] == true {
            return Err(JobError::permanent("refused", "not this one"));
        }
        if let Some(busy) = job.spec["busy"].as_u64() {
            let mut refused = self.refused.lock().unwrap();
            if *refused < busy {
                *refused += 1;
                return Err(JobError::transient("busy", "not now"));
            }
        }
        let code = ended.error.map(|error| error.code.clone().into_owned()).unwrap_or_default();
        self.seen.lock().unwrap().push((job.seq, ended.status.to_string(), code));
        Ok(AfterCommit::default())
    }
}

/// Has these jobs cancelled while a worker runs them that dies, and the rescuer find them.
async fn lose_cancelled(kept: &Kept, jobs: &[JobSeq]) {
    let worker = kept.worker(WorkerKind::Process).await;
    assert_eq!(kept.claim(worker, jobs.len()).await.len(), jobs.len());
    for job in jobs {
        kept.store().cancel(*job).await.unwrap();
    }
    assert!(kept.store().bury(worker, 0).await.unwrap());
    turn(&mut Rescuer::new(&kept.parts)).await;
    assert_eq!(kept.store().held(worker).await.unwrap(), [], "they are over, whatever anybody says");
}

on_both! {
    async fn a_dead_workers_run_is_taken_again_and_a_beating_one_keeps_its_own(db) {
        let kept = Kept::new(db).await;
        let (dead, alive) = (kept.worker(WorkerKind::Process).await, kept.worker(WorkerKind::Process).await);
        kept.submit(kept.job("echo")).await;
        let lost = kept.claim(dead, 1).await.remove(0);
        kept.submit(kept.job("echo")).await;
        let going_on = kept.claim(alive, 1).await.remove(0);
        let mut beats = Beats::new(&kept.parts);
        for second in 0..=7 {
            assert_eq!(kept.store().held(dead).await.unwrap(), [lost.at], "after {second} s");
            kept.store().beat(alive).await.unwrap();
            turn(&mut beats).await;
            kept.advance(SECOND);
        }
        assert_eq!(kept.store().held(dead).await.unwrap(), [], "its beat stood still for 7 s");
        assert_eq!(kept.store().held(alive).await.unwrap(), [going_on.at]);

        let again = kept.claim_one().await;
        assert_eq!((again.at.job, again.at.run, again.lost, again.attempts), (lost.at.job, RunNo(2), 1, 0));
        assert_eq!(kept.end(&lost, End::Complete(None)).await, Ended::Stale);
        for run in [again, going_on] {
            assert!(matches!(kept.end(&run, End::Complete(None)).await, Ended::Ended(_)));
        }
        kept.app.finish().await;
    }

    async fn no_jump_of_a_wall_clock_and_no_sleep_of_the_rescuer_buries_anybody(db) {
        let kept = Kept::new(db).await;
        let worker = kept.worker(WorkerKind::Process).await;
        kept.submit(kept.job("echo")).await;
        let run = kept.claim(worker, 1).await.remove(0);
        let mut beats = Beats::new(&kept.parts);
        for jump in [AN_HOUR, -AN_HOUR, -AN_HOUR, AN_HOUR, AN_HOUR, -AN_HOUR] {
            turn(&mut beats).await;
            kept.app.clock.jump(jump);
            kept.advance(SECOND);
        }
        // Six seconds are over; then this process is asleep for an hour.
        kept.advance(HOUR);
        for _ in 0..7 {
            turn(&mut beats).await;
            kept.app.clock.jump(AN_HOUR);
            kept.advance(SECOND);
        }
        assert_eq!(kept.store().held(worker).await.unwrap(), [run.at], "observed for 6 s since it woke");
        turn(&mut beats).await;
        assert_eq!(kept.store().held(worker).await.unwrap(), [], "observed for 7 s");
        let again = kept.claim_one().await;
        kept.end(&again, End::Complete(None)).await;
        kept.app.finish().await;
    }

    async fn what_is_claimed_for_a_worker_after_its_death_is_found_by_a_later_turn(db) {
        let kept = Kept::new(db).await;
        let worker = kept.worker(WorkerKind::Process).await;
        let mut rescuer = Rescuer::new(&kept.parts);
        assert!(kept.store().bury(worker, 0).await.unwrap());
        turn(&mut rescuer).await;
        kept.submit(kept.job("echo")).await;
        let late = kept.claim(worker, 1).await;
        assert_eq!(kept.store().held(worker).await.unwrap().len(), late.len());
        turn(&mut rescuer).await;
        assert_eq!(kept.store().held(worker).await.unwrap(), []);
        let again = kept.claim_one().await;
        kept.end(&again, End::Complete(None)).await;
        kept.app.finish().await;
    }

    async fn a_lease_lapses_after_half_a_minute_without_renewal_and_no_sooner(db) {
        let kept = Kept::new(db).await;
        let remote = kept.worker(WorkerKind::Remote).await;
        for _ in 0..2 {
            kept.submit(kept.job("echo")).await;
        }
        let runs: Vec<RunRef> = kept.claim_as(remote, 2, true).await.iter().map(|run| run.at).collect();
        let (renewed, left) = (runs[0], runs[1]);
        let (mut leases, mut beats) = (Leases::new(&kept.parts), Beats::new(&kept.parts));
        for second in 0..=30 {
            assert_eq!(kept.store().held(remote).await.unwrap(), runs, "after {second} s");
            assert_eq!(kept.store().renew(vec![renewed]).await.unwrap(), [Fenced::Applied]);
            turn(&mut leases).await;
            // Remote workers don't beat, and aren't judged by it.
            turn(&mut beats).await;
            kept.advance(SECOND);
        }
        assert_eq!(kept.store().held(remote).await.unwrap(), [renewed]);
        assert_eq!(kept.store().renew(vec![left]).await.unwrap(), [Fenced::Stale]);
        let again = kept.claim_one().await;
        assert_eq!((again.at.job, again.lost), (left.job, 1));
        kept.store().end_runs([again.at, renewed].map(|at| EndRun { at, end: End::Complete(None) }).to_vec()).await.unwrap();
        kept.app.finish().await;
    }

    async fn the_workload_has_its_say_when_a_loss_ends_the_job(db) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept::with(db, vec![Arc::new(Witness { seen: Arc::clone(&seen), ..Witness::default() })]).await;
        let job = kept.submit(kept.job("witness")).await;
        let mut leases = Leases::new(&kept.parts);
        for run in 1..=hot::REMOTE_POISON_AFTER {
            assert_eq!(seen.lock().unwrap().len(), 0, "before the loss of run {run}");
            let remote = kept.worker(WorkerKind::Remote).await;
            kept.claim_as(remote, 1, true).await.remove(0);
            for _ in 0..=30 {
                turn(&mut leases).await;
                kept.advance(SECOND);
            }
        }
        assert_eq!(*seen.lock().unwrap(), [(job, "failed".to_owned(), "poison".to_owned())]);
        kept.app.finish().await;
    }

    async fn a_commit_that_refuses_keeps_no_other_lost_run_from_its_end(db) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept::with(db, vec![Arc::new(Witness { seen: Arc::clone(&seen), ..Witness::default() })]).await;
        let mut lost = Vec::new();
        for spec in ["{}", r#"{"refuses": true}"#, "{}"] {
            lost.push(kept.submit(NewJob { spec: spec.to_owned(), ..kept.job("witness") }).await);
        }
        lose_cancelled(&kept, &lost).await;
        let said = |job| (job, "cancelled".to_owned(), "cancelled".to_owned());
        assert_eq!(*seen.lock().unwrap(), [said(lost[0]), said(lost[2])], "each once");
        kept.app.finish().await;
    }

    async fn a_commit_that_refuses_a_loss_for_now_is_asked_again_but_not_for_ever(db) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept::with(db, vec![Arc::new(Witness { seen: Arc::clone(&seen), ..Witness::default() })]).await;
        let said = |job| (job, "cancelled".to_owned(), "cancelled".to_owned());
        for (busy, heard) in [(2, true), (1_000, false)] {
            let spec = json!({ "busy": busy }).to_string();
            let job = kept.submit(NewJob { spec, ..kept.job("witness") }).await;
            lose_cancelled(&kept, &[job]).await;
            assert_eq!(seen.lock().unwrap().contains(&said(job)), heard, "{busy}");
        }
        kept.app.finish().await;
    }

    async fn an_unclean_stop_is_retaken_at_once_and_counts_as_lost(db) {
        let kept = Kept::new(db).await;
        let first = retake(kept.store(), &kept.parts.registry).await.unwrap();
        assert_eq!((first.epoch, first.lost), (1, 0));
        let (process, remote) = (kept.worker(WorkerKind::Process).await, kept.worker(WorkerKind::Remote).await);
        kept.submit(kept.job("echo")).await;
        let lost = kept.claim(process, 1).await.remove(0);
        kept.submit(kept.job("echo")).await;
        let leased = kept.claim_as(remote, 1, true).await.remove(0);

        let second = retake(kept.store(), &kept.parts.registry).await.unwrap();
        assert_eq!((second.installation, second.epoch, second.lost), (first.installation, 2, 1));
        assert_eq!(kept.store().held(remote).await.unwrap(), [leased.at], "a remote worker outlives the server");
        let again = kept.claim_one().await;
        assert_eq!((again.at.job, again.at.run, again.lost, again.attempts), (lost.at.job, RunNo(2), 1, 0));

        // An orderly stop gives its runs back and leaves.
        kept.end(&again, End::Release).await;
        let third = retake(kept.store(), &kept.parts.registry).await.unwrap();
        assert_eq!((third.epoch, third.lost), (3, 0));
        let last = kept.claim_one().await;
        assert_eq!(last.lost, 1, "a release is no loss");
        let failed = End::Fail { error: JobError::permanent("no", "no"), dead_letter: false };
        assert!(matches!(kept.end(&last, failed).await, Ended::Ended(_)));
        kept.end(&leased, End::Complete(None)).await;
        kept.app.finish().await;
    }
}
