//! The whole keeper, as it goes on by itself.

use windrow_core::{JobError, RunOutcome};
use windrow_store::hot::NewChild;
use windrow_test_support::on_both;

use super::*;
use crate::keeper::Keeper;
use crate::keeper::measure::Gauges;
use crate::keeper::schedule::Scheduler;

/// Longer than any test: what happens in time happens by a wake-up.
const NEVER: Duration = Duration::from_secs(3600);

on_both! {
    async fn a_due_job_moves_on_time_and_no_earlier(db) {
        let kept = Kept::new(db).await;
        let mut scheduler = Scheduler::new(&kept.parts);
        assert_eq!(turn(&mut scheduler).await, Next::In(Duration::from_secs(1)), "the poll");
        let at = kept.now().plus(Duration::from_millis(600));
        kept.submit(NewJob { run_at: at, ..kept.job("echo") }).await;
        let worker = kept.worker(WorkerKind::Process).await;
        assert_eq!(turn(&mut scheduler).await, Next::In(Duration::from_millis(600)));
        kept.advance(Duration::from_micros(599_999));
        turn(&mut scheduler).await;
        assert_eq!(kept.claim(worker, 1).await.len(), 0);
        kept.advance(Duration::from_micros(1));
        turn(&mut scheduler).await;
        let run = kept.claim(worker, 1).await.remove(0);

        // A retry waits for its time, too; and a clock that is set forward is obeyed.
        let error = JobError::transient("later", "not now");
        let end = End::Retry { at: kept.now().plus(HOUR), error };
        assert!(matches!(kept.end(&run, end).await, Ended::Ended(ended) if ended.outcome == RunOutcome::Retried));
        assert_eq!(turn(&mut scheduler).await, Next::In(Duration::from_secs(1)), "no longer than the poll");
        kept.app.clock.jump(3_600_000_000);
        turn(&mut scheduler).await;
        let run = kept.claim(worker, 1).await.remove(0);
        kept.end(&run, End::Complete(None)).await;
        kept.app.finish().await;
    }

    async fn more_due_jobs_than_a_transaction_moves_all_move_in_one_turn(db) {
        let kept = Kept::new(db).await;
        let at = kept.now().plus(HOUR);
        let jobs = (0..1_200).map(|_| NewJob { run_at: at, ..kept.job("echo") }).collect();
        kept.store().submit(jobs).await.unwrap();
        kept.advance(HOUR);
        turn(&mut Scheduler::new(&kept.parts)).await;
        assert_eq!(kept.app.complete_all().await, 1_200);
        kept.app.finish().await;
    }

    async fn wake_ups_bring_the_scheduler_and_the_stop_of_a_tree(db) {
        let mut kept = Kept::new(db).await;
        kept.parts.settings.poll = NEVER;
        let keeper = Keeper::start(kept.parts.clone());
        // A tree whose parent runs.
        kept.submit(kept.job("echo")).await;
        let parent = kept.claim_one().await;
        let children = (0..3).map(|n| NewChild {
            id: JobId::new(&*kept.app.clock),
            key: format!("child-{n}"),
            workload: "echo".to_owned(),
            spec: "{}".to_owned(),
            spec_version: 1,
            priority: None,
        });
        let children: Vec<NewChild> = children.collect();
        kept.store().add_children(parent.at, children.clone()).await.unwrap();
        kept.end(&parent, End::Await).await;
        kept.store().cancel(parent.at.job).await.unwrap();
        eventually("the parent is not cancelled", async || {
            kept.status(parent.id).await == Some(JobStatus::Cancelled)
        }).await;
        assert_eq!(kept.status(children[2].id).await, Some(JobStatus::Cancelled));

        let at = kept.now().plus(Duration::from_millis(50));
        kept.submit(NewJob { run_at: at, ..kept.job("echo") }).await;
        kept.advance(Duration::from_millis(50));
        let worker = kept.worker(WorkerKind::Process).await;
        let mut claimed = Vec::new();
        eventually("the job is not in line", async || {
            claimed = kept.claim(worker, 1).await;
            !claimed.is_empty()
        }).await;

        // The rescuer goes on, too.
        kept.store().bury(worker, 0).await.unwrap();
        eventually("the run is not taken back", async || kept.store().held(worker).await.unwrap().is_empty()).await;
        keeper.stop().await;
        kept.app.complete_all().await;
        kept.app.finish().await;
    }

    async fn the_depth_of_the_queue_is_told_by_workload_and_place(db) {
        let kept = Kept::new(db).await;
        kept.submit(kept.job("echo")).await;
        let worker = kept.worker(WorkerKind::Process).await;
        let running = kept.claim(worker, 1).await.remove(0);
        let since = kept.now();
        for _ in 0..2 {
            kept.submit(kept.job("echo")).await;
        }
        kept.advance(HOUR);
        kept.submit(NewJob { run_at: kept.now().plus(HOUR), ..kept.job("echo") }).await;
        kept.submit(NewJob { needs_approval: true, ..kept.job("echo") }).await;
        let mut gauges = Gauges::new(&kept.parts);
        let places = async |gauges: &Gauges| {
            let (depths, dead) = gauges.measure().await.unwrap();
            let mut places: Vec<_> = depths.into_iter().map(|d| (d.place, d.jobs, d.oldest)).collect();
            places.sort();
            (places, dead)
        };
        let place = |name: &str, jobs, oldest| (name.to_owned(), jobs, Some(oldest));
        let expected = vec![
            place("pending_approval", 1, kept.now()),
            place("queued", 2, since),
            place("running", 1, since),
            place("scheduled", 1, kept.now().plus(HOUR)),
        ];
        assert_eq!(places(&gauges).await, (expected, 0));
        turn(&mut gauges).await;

        let error = JobError::transient("no_luck", "failed for the last time");
        kept.end(&running, End::Fail { error, dead_letter: true }).await;
        let (left, dead) = places(&gauges).await;
        assert_eq!((left.len(), dead), (3, 1));
        turn(&mut gauges).await;
    }
}
