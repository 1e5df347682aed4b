//! Dead workers, lapsed leases, and the start of an embedded database's owner.

use windrow_core::{JobError, RunNo};
use windrow_store::hot::{Fenced, RunRef};
use windrow_test_support::on_both;

use super::*;
use crate::keeper::rescue::{Beats, Leases, Rescuer};
use crate::keeper::retake;

const SECOND: Duration = Duration::from_secs(1);
const AN_HOUR: i64 = 3_600_000_000;

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

    async fn an_unclean_stop_is_retaken_at_once_and_counts_as_lost(db) {
        let kept = Kept::new(db).await;
        let first = retake(kept.store()).await.unwrap();
        assert_eq!((first.epoch, first.lost), (1, 0));
        let (process, remote) = (kept.worker(WorkerKind::Process).await, kept.worker(WorkerKind::Remote).await);
        kept.submit(kept.job("echo")).await;
        let lost = kept.claim(process, 1).await.remove(0);
        kept.submit(kept.job("echo")).await;
        let leased = kept.claim_as(remote, 1, true).await.remove(0);

        let second = retake(kept.store()).await.unwrap();
        assert_eq!((second.installation, second.epoch, second.lost), (first.installation, 2, 1));
        assert_eq!(kept.store().held(remote).await.unwrap(), [leased.at], "a remote worker outlives the server");
        let again = kept.claim_one().await;
        assert_eq!((again.at.job, again.at.run, again.lost, again.attempts), (lost.at.job, RunNo(2), 1, 0));

        // An orderly stop gives its runs back and leaves.
        kept.end(&again, End::Release).await;
        let third = retake(kept.store()).await.unwrap();
        assert_eq!((third.epoch, third.lost), (3, 0));
        let last = kept.claim_one().await;
        assert_eq!(last.lost, 1, "a release is no loss");
        let failed = End::Fail { error: JobError::permanent("no", "no"), dead_letter: false };
        assert!(matches!(kept.end(&last, failed).await, Ended::Ended(_)));
        kept.end(&leased, End::Complete(None)).await;
        kept.app.finish().await;
    }
}
