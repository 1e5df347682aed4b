//! A job from submit to its end and beyond.

use std::time::Duration;

use windrow_core::{
    BudgetCounts, Clock, JobSeq, JobStatus, OwnerId, PicoUsd, Priority, RunNo, RunOutcome, Timestamp,
};
use windrow_store::hot::{self, Approval, CancelAnswer, End, Ended, NewBudget, NewEvent, NewJob, Submitted};
use windrow_store::jobs::{self, JobRow};
use windrow_store::{Tx, fetch_one};
use windrow_test_support::on_both;

use super::{Bench, done, ended, priced_run, reserve, transient};

on_both! {
    async fn a_job_goes_from_submit_to_its_result(test) {
        let mut bench = Bench::new(&test).await;
        let seq = bench.one(7).await;
        assert_eq!(bench.status(seq).await, JobStatus::Queued);
        let claimed = bench.claim(5).await;
        let [run] = &claimed[..] else { panic!("{claimed:?}") };
        assert_eq!((run.at.job, run.at.run, run.owner, run.spec.as_str()), (seq, RunNo(1), OwnerId(7), "{\"a\":1}"));
        assert_eq!((run.attempts, run.lost, run.suspect, run.cancel_requested), (0, 0, false, false));
        assert_eq!(bench.status(seq).await, JobStatus::Running);
        assert_eq!(ended(&bench.end(run.at, done()).await), (RunOutcome::Completed, JobStatus::Completed));
        assert_eq!(bench.status(seq).await, JobStatus::Completed);
        let mut conn = bench.db.read().await.unwrap();
        let result = fetch_one!(&mut conn, (i64, String), "SELECT run, output FROM results").unwrap();
        assert_eq!(result, (1, "{\"n\":3}".to_owned()));
        drop(conn);
        assert_eq!(bench.end(run.at, done()).await, Ended::Stale, "a second end");
        assert_eq!(bench.claim(5).await, []);
    }

    async fn the_same_key_makes_one_job(test) {
        let mut bench = Bench::new(&test).await;
        let key = |hash: u8| Some(("k".to_owned(), [hash; 32]));
        let mut jobs: Vec<NewJob> = (0..4).map(|_| bench.job(1)).collect();
        for (job, hash) in jobs.iter_mut().zip([1, 1, 2, 1]) {
            job.idempotency = key(hash);
        }
        jobs[3].owner = OwnerId(2);
        jobs[0].budget = Some(NewBudget::of(PicoUsd::from_usd(1)));
        let answers = bench.submit(&jobs).await;
        let (first, id) = match answers[0] { Submitted::Created { seq, id, .. } => (seq, id), ref o => panic!("{o:?}") };
        assert_eq!(answers[1], Submitted::Reused { seq: first, id });
        assert_eq!(answers[2], Submitted::Conflict { seq: first, id });
        assert!(matches!(answers[3], Submitted::Created { .. }), "another owner's key is another key");
        assert_eq!(bench.submit(&jobs[..1]).await, [Submitted::Reused { seq: first, id }], "a lost reply");
        let mut plain = bench.job(1);
        plain.budget = jobs[0].budget;
        assert!(matches!(bench.submit(&[plain.clone()]).await[..], [Submitted::Created { .. }]));
        assert!(matches!(bench.submit(&[plain.clone(), plain]).await[..], [Submitted::Reused { .. }, Submitted::Reused { .. }]));
        assert_eq!(bench.count("SELECT count(*) FROM jobs").await, 3);
        assert_eq!(bench.count("SELECT count(*) FROM ready").await, 3);
        assert_eq!(bench.count("SELECT count(*) FROM budgets").await, 2);
    }

    async fn a_job_just_made_is_known_without_a_read(test) {
        let mut bench = Bench::new(&test).await;
        let mut rich = bench.job(1);
        rich.budget = Some(NewBudget { counts: BudgetCounts { compute: true, storage: false }, ..NewBudget::of(PicoUsd::from_usd(1)) });
        rich.idempotency = Some(("k".to_owned(), [1; 32]));
        (rich.request_id, rich.estimate) = (Some("r".to_owned()), Some(PicoUsd::from_usd(2)));
        rich.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
        let later = NewJob { run_at: Timestamp::from_micros(i64::MAX / 2), priority: Priority::High, ..bench.job(2) };
        let past = NewJob { run_at: Timestamp::from_micros(0), ..bench.job(1) };
        let waits = NewJob { needs_approval: true, ..bench.job(1) };
        let jobs = [rich, later, past, waits];
        let answers = bench.submit(&jobs).await;
        let mut conn = bench.db.read().await.unwrap();
        for (job, answer) in jobs.into_iter().zip(answers) {
            let Submitted::Created { seq, id, at } = answer else { panic!("{answer:?}") };
            let read = jobs::get(&mut conn, job.owner, id).await.unwrap().unwrap();
            assert_eq!(format!("{:#?}", JobRow::made(job, seq, at)), format!("{read:#?}"));
        }
    }

    async fn a_retry_waits_and_burns_an_attempt_and_a_release_does_neither(test) {
        let mut bench = Bench::new(&test).await;
        let seq = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.end(run.at, End::Release).await;
        let run = bench.claim(1).await.remove(0);
        assert_eq!((run.at.run, run.attempts), (RunNo(2), 0));
        let at = bench.now().plus(Duration::from_secs(9));
        assert_eq!(ended(&bench.end(run.at, End::Retry { at, error: transient() }).await), (RunOutcome::Retried, JobStatus::Queued));
        assert_eq!(bench.claim(1).await, []);
        let mut tx = bench.db.begin().await.unwrap();
        let due = hot::schedule_due(&mut tx, bench.now()).await.unwrap();
        assert_eq!((due.moved, due.next), (0, Some(at)));
        let due = hot::schedule_due(&mut tx, at).await.unwrap();
        assert_eq!((due.moved, due.next), (1, None));
        tx.commit().await.unwrap();
        let run = bench.claim(1).await.remove(0);
        assert_eq!((run.at.job, run.at.run, run.attempts), (seq, RunNo(3), 1));
        let fail = End::Fail { error: transient(), dead_letter: true };
        assert_eq!(ended(&bench.end(run.at, fail).await), (RunOutcome::Failed, JobStatus::Failed));
        assert_eq!(bench.count("SELECT count(*) FROM runs WHERE dead_letter").await, 1);
    }

    async fn cancel_ends_what_is_queued_and_flags_what_runs(test) {
        let mut bench = Bench::new(&test).await;
        let (queued, running) = (bench.one(1).await, bench.one(2).await);
        let mut later = bench.job(3);
        later.run_at = bench.now().plus(Duration::from_secs(60));
        let Submitted::Created { seq: later, .. } = bench.submit(&[later]).await[0] else { panic!("a new id") };
        bench.cancel(queued).await;
        let run = bench.claim(5).await.remove(0);
        assert_eq!(run.at.job, running);
        assert_eq!(bench.cancel(later).await, CancelAnswer::Cancelled);
        assert_eq!(bench.cancel(running).await, CancelAnswer::Asked);
        assert_eq!(bench.cancel(queued).await, CancelAnswer::AlreadyEnded(JobStatus::Cancelled));
        assert_eq!(bench.cancel(JobSeq(99)).await, CancelAnswer::NotFound);
        let mut conn = bench.db.read().await.unwrap();
        assert_eq!(hot::poll_cancelled(&mut conn, &[running]).await.unwrap(), [running]);
        assert!(hot::cancels_since(&mut conn, bench.now()).await.unwrap().contains(&running));
        assert_eq!(hot::cancels_since(&mut conn, bench.now().plus(Duration::from_micros(1))).await.unwrap(), []);
        drop(conn);
        let at = bench.now();
        assert_eq!(ended(&bench.end(run.at, End::Retry { at, error: transient() }).await), (RunOutcome::Cancelled, JobStatus::Cancelled));
        assert_eq!(bench.status(later).await, JobStatus::Cancelled);
        assert_eq!(bench.count("SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM scheduled)").await, 0);
    }

    async fn approval_queues_or_rejects(test) {
        let mut bench = Bench::new(&test).await;
        let mut jobs: Vec<NewJob> = (0..4).map(|_| bench.job(1)).collect();
        jobs.iter_mut().for_each(|job| job.needs_approval = true);
        let seqs: Vec<JobSeq> = bench.submit(&jobs).await.iter().map(|s| match s { Submitted::Created { seq, .. } => *seq, _ => panic!() }).collect();
        assert_eq!(bench.claim(9).await, []);
        assert_eq!(bench.status(seqs[0]).await, JobStatus::PendingApproval);
        let now = bench.now();
        let mut tx = bench.db.begin().await.unwrap();
        assert_eq!(hot::approve(&mut tx, seqs[0], now).await.unwrap(), Approval::Done);
        assert_eq!(hot::approve(&mut tx, seqs[0], now).await.unwrap(), Approval::NotPending);
        assert_eq!(hot::reject(&mut tx, seqs[1], "too dear", now).await.unwrap().0, Approval::Done);
        assert_eq!(hot::approve(&mut tx, seqs[1], now).await.unwrap(), Approval::NotPending);
        assert_eq!(hot::approve(&mut tx, JobSeq(77), now).await.unwrap(), Approval::NotFound);
        tx.commit().await.unwrap();
        assert_eq!(bench.cancel(seqs[2]).await, CancelAnswer::Cancelled);
        let mut tx = bench.db.begin().await.unwrap();
        assert_eq!(hot::expire_approvals(&mut tx, now, now).await.unwrap().0, 0);
        assert_eq!(hot::expire_approvals(&mut tx, now.plus(Duration::from_micros(1)), now).await.unwrap().0, 1);
        tx.commit().await.unwrap();
        let mut found = Vec::new();
        for seq in seqs {
            found.push(bench.status(seq).await);
        }
        assert_eq!(found, [JobStatus::Queued, JobStatus::Rejected, JobStatus::Cancelled, JobStatus::Rejected]);
        assert_eq!(bench.claim(9).await.len(), 1);
    }

    async fn events_are_numbered_within_their_job(test) {
        let mut bench = Bench::new(&test).await;
        let (a, b) = (bench.one(1).await, bench.one(2).await);
        let event = |job, kind: &str| NewEvent { job, run: RunNo(1), kind: kind.to_owned(), payload: "{}".to_owned(), schema_version: 1 };
        let mut tx = bench.db.begin().await.unwrap();
        let batch = [event(a, "x"), event(b, "y"), event(a, "z"), event(JobSeq(99), "?")];
        let numbers = hot::append_events(&mut tx, &batch, bench.clock.now()).await.unwrap();
        assert_eq!(numbers, [Some(1), Some(1), Some(2), None]);
        assert_eq!(hot::append_events(&mut tx, &[event(a, "w")], bench.clock.now()).await.unwrap(), [Some(3)]);
        let kinds: Vec<String> = hot::events_page(&mut tx, a, 1, 9).await.unwrap().into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["z", "w"]);
    }

    async fn old_jobs_go_with_all_their_rows(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, run) = priced_run(&mut bench, 100).await;
        bench.money(&[reserve(1, budget, run.at, 10)]).await;
        bench.add(run.at, &["a"]).await;
        bench.end(run.at, End::Await).await;
        let child = bench.claim(1).await.remove(0);
        bench.end(child.at, done()).await;
        let run = bench.claim(1).await.remove(0);
        bench.end(run.at, done()).await;
        let open = bench.one(1).await;
        let dead = { bench.one(1).await; bench.claim(2).await.into_iter().find(|c| c.at.job != open).unwrap() };
        bench.end(dead.at, End::Fail { error: transient(), dead_letter: true }).await;
        let delete = async |bench: &Bench, after: u64| {
            let mut tx: Tx = bench.db.begin().await.unwrap();
            let before = bench.clock.now().plus(Duration::from_secs(after));
            let old = hot::old_jobs(&mut tx, JobSeq(0), before).await.unwrap();
            assert_eq!(old.next, None);
            let mut gone = Vec::new();
            loop {
                let deleted = hot::delete_trees(&mut tx, &old.roots, before, 1).await.unwrap();
                gone.extend(deleted.jobs);
                if !deleted.more {
                    break;
                }
            }
            tx.commit().await.unwrap();
            gone
        };
        assert_eq!(delete(&bench, 0).await, []);
        assert_eq!(delete(&bench, 1).await, [child.at.job, run.at.job], "children first");
        assert_eq!(bench.count("SELECT (SELECT count(*) FROM budgets) + (SELECT count(*) FROM calls)").await, 0);
        let mut tx = bench.db.begin().await.unwrap();
        assert!(hot::discard(&mut tx, dead.at.job, bench.clock.now()).await.unwrap());
        assert!(!hot::discard(&mut tx, open, bench.clock.now()).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(delete(&bench, 1).await, [dead.at.job]);
        hot::vacuum(&bench.db).await.unwrap();
    }
}
