//! Claims, and what happens to claims whose workers die.

use std::time::Duration;

use uuid::Uuid;
use windrow_core::{Clock, JobSeq, JobStatus, OwnerId, Priority, RunNo};
use windrow_store::hot::{
    self, Caps, Checkpoint, ClaimRequest, Claimed, Cursor, Ended, Fenced, NewJob, RunRef, WorkerKind,
};
use windrow_store::{Dialect, execute};
use windrow_test_support::on_both;

use super::{Bench, done};

on_both! {
    async fn a_row_in_line_without_a_job_is_in_nobodys_way(test) {
        let mut bench = Bench::new(&test).await;
        let good = bench.one(1).await;
        let mut tx = bench.db.begin().await.unwrap();
        let sql = "INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost)
             SELECT priority, workload, owner_id, run_at - 1, 999, 1, 0, 0 FROM ready";
        tx.raw(sql).await.unwrap();
        tx.commit().await.unwrap();
        let mut claimed = bench.claim(5).await;
        claimed.extend(bench.claim(5).await);
        assert_eq!(claimed.iter().map(|run| run.at.job).collect::<Vec<_>>(), [good]);
    }

    async fn claims_go_round_robin_and_high_priority_first(test) {
        let mut bench = Bench::new(&test).await;
        let mut jobs: Vec<NewJob> = (0..100).map(|_| bench.job(1)).collect();
        jobs.extend((0..3).map(|_| bench.job(2)));
        jobs.push(NewJob { workload: "v".to_owned(), ..bench.job(3) });
        jobs.push(NewJob { priority: Priority::Low, ..bench.job(4) });
        jobs.push(NewJob { priority: Priority::High, ..bench.job(5) });
        bench.submit(&jobs).await;
        let owners = |claimed: &[Claimed]| { let mut o: Vec<i64> = claimed.iter().map(|c| c.owner.0).collect(); o.sort_unstable(); o };
        assert_eq!(owners(&bench.claim(4).await), [1, 2, 3, 5], "one of each, the urgent one first");
        assert_eq!(owners(&bench.claim(2).await), [1, 2]);
        assert_eq!(owners(&bench.claim(4).await), [1, 1, 1, 2], "what one owner leaves goes to the other");
        let rest = bench.claim(1000).await;
        assert_eq!(rest.len(), 96);
        assert_eq!(rest.last().unwrap().owner, OwnerId(4), "low comes last");
        let seqs: Vec<JobSeq> = rest.iter().filter(|c| c.owner == OwnerId(1)).map(|c| c.at.job).collect();
        assert!(seqs.is_sorted(), "first in, first out within an owner");
    }

    async fn what_comes_below_a_mark_is_found_by_a_look(test) {
        let mut bench = Bench::new(&test).await;
        let jobs: Vec<NewJob> = (0..10).map(|_| bench.job(1)).collect();
        bench.submit(&jobs).await;
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.claim(5).await.len(), 5);
        assert!(!bench.cursor.came_short());
        bench.clock.jump(-5_000_000);
        let late = bench.one(1).await;
        bench.clock.jump(5_000_000);
        let marked = bench.db.dialect() == Dialect::Postgres;
        let next = bench.claim(6).await;
        assert_eq!((next.len(), bench.cursor.came_short()), if marked { (5, true) } else { (6, false) });
        bench.look_below_marks().await;
        let seen = [next, bench.claim(6).await].concat();
        assert!(seen.iter().any(|claimed| claimed.at.job == late), "{seen:?}");
    }

    async fn what_is_put_in_line_late_is_found_above_the_mark(test) {
        let mut bench = Bench::new(&test).await;
        let late = bench.job(1);
        bench.clock.advance(Duration::from_millis(50));
        let next = bench.job(1);
        bench.submit(&[next]).await;
        assert_eq!(bench.claim(5).await.len(), 1);
        // as by a submit whose commit took long
        bench.submit(&[late]).await;
        assert_eq!(bench.claim(5).await.len(), 1);
    }

    async fn a_mark_is_kept_while_it_keeps_claims_off_many_dead_rows(test) {
        let mut bench = Bench::new(&test).await;
        let (few, many) = (bench.job(1), bench.job(2));
        for count in [100, 1_000] {
            let owner = if count == 100 { &few } else { &many };
            let jobs: Vec<NewJob> = (0..count).map(|_| NewJob { id: bench.job(1).id, ..owner.clone() }).collect();
            bench.submit(&jobs).await;
            assert_eq!(bench.claim(count).await.len(), count);
        }
        bench.clock.advance(Duration::from_secs(1));
        bench.claim(1).await;
        let kept = bench.cursor.marks().len();
        assert_eq!(kept, usize::from(bench.db.dialect() == Dialect::Postgres), "SQLite has no dead rows");
        bench.clock.advance(Duration::from_secs(600));
        bench.claim(1).await;
        assert_eq!(bench.cursor.marks(), []);
    }

    async fn caps_hold(test) {
        let mut bench = Bench::new(&test).await;
        let mut jobs: Vec<NewJob> = (0..20).map(|_| bench.job(1)).collect();
        jobs.extend((0..20).map(|_| NewJob { workload: "v".to_owned(), ..bench.job(1) }));
        jobs.extend((0..20).map(|_| bench.job(2)));
        bench.submit(&jobs).await;
        let caps = Caps {
            per_owner: Some(5),
            owners: [(OwnerId(2), 9)].into(),
            workloads: [("v".to_owned(), 2)].into(),
        };
        let claimed = bench.claim_with(100, caps.clone()).await;
        let of = |owner: i64| claimed.iter().filter(|c| c.owner == OwnerId(owner)).count();
        assert_eq!((of(1), of(2)), (5, 9));
        assert!(claimed.iter().filter(|c| c.workload == "v").count() <= 2);
        assert_eq!(bench.claim_with(100, caps.clone()).await, []);
        bench.end(claimed[0].at, done()).await;
        assert_eq!(bench.claim_with(100, caps).await.len(), 1);
    }

    async fn a_disabled_owner_is_passed_over(test) {
        let mut bench = Bench::new(&test).await;
        let jobs: Vec<NewJob> = (1..=3).map(|owner| bench.job(owner)).collect();
        bench.submit(&jobs).await;
        let mut tx = bench.db.begin().await.unwrap();
        execute!(&mut tx, "INSERT INTO disabled_owners (owner_id) VALUES (2)").unwrap();
        tx.commit().await.unwrap();
        let owners: Vec<i64> = bench.claim(10).await.iter().map(|c| c.owner.0).collect();
        assert_eq!(owners, [1, 3]);
    }

    async fn a_remote_lease_lapses_when_it_is_not_renewed_and_the_fourth_loss_is_poison(test) {
        let mut bench = Bench::new(&test).await;
        let seq = bench.one(1).await;
        for lost in 1..=4 {
            let request = ClaimRequest { worker: bench.worker, workloads: vec!["w".to_owned()], slots: 1, caps: Caps::default(), leased: true };
            let mut tx = bench.db.begin().await.unwrap();
            let at = hot::claim(&mut tx, &request, &mut Cursor::new(0), bench.clock.now(), Duration::ZERO).await.unwrap()[0].at;
            assert_eq!(hot::renew(&mut tx, &[at, RunRef { run: RunNo(77), ..at }]).await.unwrap(), [Fenced::Applied, Fenced::Stale]);
            assert_eq!(hot::leases(&mut tx).await.unwrap(), [(at, 1)]);
            assert_eq!(hot::lapse(&mut tx, (at, 0), bench.clock.now()).await.unwrap().ended, [], "renewed since");
            hot::lapse(&mut tx, (at, 1), bench.clock.now()).await.unwrap();
            assert_eq!(hot::leases(&mut tx).await.unwrap(), []);
            tx.commit().await.unwrap();
            let status = if lost < 4 { JobStatus::Queued } else { JobStatus::Failed };
            assert_eq!(bench.status(seq).await, status, "loss {lost}");
        }
        assert_eq!(bench.count("SELECT count(*) FROM runs WHERE dead_letter AND code = 'poison'").await, 1);
    }

    async fn a_dead_workers_runs_are_lost_and_three_in_a_row_make_a_suspect(test) {
        let mut bench = Bench::new(&test).await;
        bench.one(1).await;
        for lost in 0..4 {
            let run = bench.claim(1).await.remove(0);
            assert_eq!((run.lost, run.suspect, run.attempts), (lost, lost >= 3, 0));
            assert_eq!(bench.rescue().await, [], "the worker lives");
            let mut tx = bench.db.begin().await.unwrap();
            assert_eq!(hot::beat(&mut tx, bench.worker).await.unwrap(), hot::Beat::Alive);
            assert!(!hot::bury(&mut tx, bench.worker, 0, bench.clock.now()).await.unwrap(), "it has beaten since");
            assert!(hot::bury(&mut tx, bench.worker, 1, bench.clock.now()).await.unwrap());
            assert_eq!(hot::beat(&mut tx, bench.worker).await.unwrap(), hot::Beat::Dead);
            tx.commit().await.unwrap();
            assert_eq!(bench.rescue().await, [run.at]);
            assert_eq!(bench.end(run.at, done()).await, Ended::Stale);
            let mut tx = bench.db.begin().await.unwrap();
            bench.worker = hot::register_worker(&mut tx, "w", WorkerKind::Process, bench.clock.now()).await.unwrap();
            tx.commit().await.unwrap();
        }
        let run = bench.claim(1).await.remove(0);
        let mut tx = bench.db.begin().await.unwrap();
        let checkpoint = Checkpoint { at: run.at, schema_version: 1, state: "{}".into(), parts: vec![], covered: vec![], free_calls: vec![] };
        assert_eq!(hot::checkpoint(&mut tx, &[checkpoint], bench.clock.now()).await.unwrap(), [Fenced::Applied]);
        hot::leave(&mut tx, bench.worker, bench.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(bench.rescue().await, [run.at]);
        let run = bench.claim(1).await.remove(0);
        assert_eq!((run.lost, run.suspect), (0, false), "a checkpoint is progress");
    }

    async fn a_boot_retakes_the_runs_of_the_epoch_before(test) {
        let mut bench = Bench::new(&test).await;
        bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        let mut tx = bench.db.begin().await.unwrap();
        let (id, epoch) = hot::boot(&mut tx, Uuid::from_u128(1), bench.clock.now()).await.unwrap();
        assert_eq!((id, epoch), (Uuid::from_u128(1), 1));
        let fresh = hot::register_worker(&mut tx, "w2", WorkerKind::Process, bench.clock.now()).await.unwrap();
        assert_eq!(hot::live_beats(&mut tx).await.unwrap(), [(fresh, 0)]);
        assert_eq!(hot::installation(&mut tx, Uuid::from_u128(2)).await.unwrap(), id);
        tx.commit().await.unwrap();
        assert_eq!(bench.rescue().await, [run.at]);
    }
}
