//! The hot statements, one promise a test, on both databases.

use std::time::Duration;

use uuid::Uuid;
use windrow_core::{
    BudgetId, CallId, Clock, JobError, JobId, JobSeq, JobStatus, OwnerId, PicoUsd, Priority, RunNo,
    RunOutcome, TestClock, Timestamp, WorkerId,
};
use windrow_store::hot::{
    self, Added, Approval, CallEnd, CallUsage, CancelAnswer, Caps, Checkpoint, ClaimRequest, Claimed, Cursor,
    End, EndRun, Ended, Fenced, JournalLine, MoneyAnswer, MoneyOp, NewBudget, NewChild, NewEvent, NewJob,
    Output, Part, Progress, Reopened, RunRef, SaveAnswer, Submitted, WorkerKind,
};
use windrow_store::{Db, Tx, execute, fetch_all, fetch_one};
use windrow_test_support::{TestDb, on_both};

use crate::support::migrated;

/// A database with a worker in it.
struct Bench {
    db: Db,
    clock: std::sync::Arc<TestClock>,
    worker: WorkerId,
    cursor: Cursor,
    ids: u128,
}

impl Bench {
    async fn new(test: &TestDb) -> Self {
        let (db, clock) = (migrated(test).await, TestClock::shared());
        let mut tx = db.begin().await.unwrap();
        let worker = hot::register_worker(&mut tx, "w", WorkerKind::Process, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        Self { db, clock, worker, cursor: Cursor::new(0), ids: 0 }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn job(&mut self, owner: i64) -> NewJob {
        self.ids += 1;
        NewJob {
            id: JobId(Uuid::from_u128(self.ids)),
            owner: OwnerId(owner),
            workload: "w".to_owned(),
            spec: "{\"a\":1}".to_owned(),
            spec_version: 1,
            priority: Priority::Normal,
            run_at: self.now(),
            budget: None,
            idempotency: None,
            request_id: Some("r".to_owned()),
            trace_id: None,
            webhook_url: None,
            needs_approval: false,
        }
    }

    async fn submit(&mut self, jobs: &[NewJob]) -> Vec<Submitted> {
        let mut tx = self.db.begin().await.unwrap();
        let answers = hot::submit(&mut tx, jobs, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        answers
    }

    async fn one(&mut self, owner: i64) -> JobSeq {
        let job = self.job(owner);
        match self.submit(&[job]).await[..] {
            [Submitted::Created { seq, .. }] => seq,
            ref other => panic!("{other:?}"),
        }
    }

    async fn claim_with(&mut self, slots: usize, caps: Caps) -> Vec<Claimed> {
        let workloads = vec!["v".to_owned(), "w".to_owned()];
        let request = ClaimRequest { worker: self.worker, workloads, slots, caps, leased: false };
        let (now, tick) = (self.now(), self.clock.monotonic());
        let mut tx = self.db.begin().await.unwrap();
        let claimed = hot::claim(&mut tx, &request, &mut self.cursor, now, tick).await.unwrap();
        tx.commit().await.unwrap();
        claimed
    }

    async fn claim(&mut self, slots: usize) -> Vec<Claimed> {
        self.claim_with(slots, Caps::default()).await
    }

    async fn end(&mut self, at: RunRef, end: End) -> Ended {
        let mut tx = self.db.begin().await.unwrap();
        let closing = hot::end_runs(&mut tx, &[EndRun { at, end }], self.now()).await.unwrap();
        tx.commit().await.unwrap();
        closing.ended.into_iter().next().unwrap()
    }

    async fn status(&self, job: JobSeq) -> JobStatus {
        let mut conn = self.db.read().await.unwrap();
        let sql = "SELECT status FROM job_status WHERE job_seq = $1";
        fetch_one!(&mut conn, scalar String, sql, job).unwrap().parse().unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let mut conn = self.db.read().await.unwrap();
        fetch_one!(&mut conn, scalar i64, sql).unwrap()
    }

    async fn stop_all(&mut self) {
        loop {
            let mut tx = self.db.begin().await.unwrap();
            let stopped = hot::stop_children(&mut tx, self.now()).await.unwrap();
            tx.commit().await.unwrap();
            if !stopped.more {
                return;
            }
        }
    }

    async fn rescue(&mut self) -> Vec<RunRef> {
        let mut tx = self.db.begin().await.unwrap();
        let rescued = hot::rescue(&mut tx, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        rescued.runs
    }

    fn child(&mut self, key: &str) -> NewChild {
        self.ids += 1;
        NewChild {
            id: JobId(Uuid::from_u128(self.ids)),
            key: key.to_owned(),
            workload: "w".to_owned(),
            spec: "{}".to_owned(),
            spec_version: 1,
            priority: None,
        }
    }

    async fn add(&mut self, parent: RunRef, keys: &[&str]) -> Added {
        let children: Vec<NewChild> = keys.iter().map(|key| self.child(key)).collect();
        let mut tx = self.db.begin().await.unwrap();
        let added = hot::add_children(&mut tx, parent, &children, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        added
    }

    async fn cancel(&mut self, job: JobSeq) -> CancelAnswer {
        let mut tx = self.db.begin().await.unwrap();
        let (answer, _) = hot::cancel(&mut tx, job, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        answer
    }

    async fn money(&mut self, ops: &[MoneyOp]) -> Vec<MoneyAnswer> {
        let mut tx = self.db.begin().await.unwrap();
        let answers = hot::reserve_and_settle(&mut tx, ops, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        answers
    }
}

fn ended(answer: &Ended) -> (RunOutcome, JobStatus) {
    match answer {
        Ended::Ended(run) => (run.outcome, run.status),
        Ended::Stale => panic!("stale"),
    }
}

fn transient() -> JobError {
    JobError::transient("busy", "try later")
}

fn done() -> End {
    End::Complete(Some(Output { schema_version: 1, json: "{\"n\":3}".to_owned() }))
}

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
        jobs[0].budget = Some(NewBudget { cap: PicoUsd::from_usd(1), parent: None });
        let answers = bench.submit(&jobs).await;
        let (first, id) = match answers[0] { Submitted::Created { seq, id } => (seq, id), ref o => panic!("{o:?}") };
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

    async fn what_comes_below_a_mark_is_found(test) {
        let mut bench = Bench::new(&test).await;
        let jobs: Vec<NewJob> = (0..10).map(|_| bench.job(1)).collect();
        bench.submit(&jobs).await;
        let first = bench.claim(5).await;
        // given back: it stands below the mark that the claim left
        bench.end(first[0].at, End::Release).await;
        let next = bench.claim(6).await;
        assert_eq!(next.len(), 6);
        assert!(next.iter().any(|claimed| claimed.at == RunRef { job: first[0].at.job, run: RunNo(2) }));
        // a busy pair is looked at again after a second
        let jobs: Vec<NewJob> = (0..10).map(|_| bench.job(1)).collect();
        bench.submit(&jobs).await;
        let taken = bench.claim(3).await;
        bench.end(taken[0].at, End::Release).await;
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.claim(1).await[0].at.job, taken[0].at.job);
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
        drop(conn);
        let at = bench.now();
        assert_eq!(ended(&bench.end(run.at, End::Retry { at, error: transient() }).await), (RunOutcome::Cancelled, JobStatus::Cancelled));
        assert_eq!(bench.status(later).await, JobStatus::Cancelled);
        assert_eq!(bench.count("SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM scheduled)").await, 0);
    }

    async fn a_parent_waits_for_its_children_and_sees_them(test) {
        let mut bench = Bench::new(&test).await;
        let parent = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        assert_eq!(bench.add(run.at, &["a", "b"]).await, Added::Added(2));
        assert_eq!(bench.add(run.at, &["b", "c"]).await, Added::Added(1));
        assert_eq!(ended(&bench.end(run.at, End::Await).await), (RunOutcome::Awaited, JobStatus::Waiting));
        let children = bench.claim(9).await;
        assert_eq!(children.iter().map(|c| c.child_key.clone().unwrap()).collect::<Vec<_>>(), ["a", "b", "c"]);
        for child in &children[..2] {
            bench.end(child.at, done()).await;
        }
        assert_eq!(bench.status(parent).await, JobStatus::Waiting);
        bench.end(children[2].at, End::BudgetExceeded { output: None, error: JobError::budget("no room") }).await;
        assert_eq!(bench.status(parent).await, JobStatus::Queued, "it has partial output to assemble");
        let again = bench.claim(9).await.remove(0);
        assert_eq!((again.at, again.attempts), (RunRef { job: parent, run: RunNo(2) }, 0));
        let mut conn = bench.db.read().await.unwrap();
        let page = hot::children_page(&mut conn, parent, JobSeq(0), 2).await.unwrap();
        assert_eq!(page.iter().map(|c| (c.child_key.as_str(), c.status)).collect::<Vec<_>>(), [("a", JobStatus::Completed), ("b", JobStatus::Completed)]);
        let page = hot::children_page(&mut conn, parent, page[1].seq, 2).await.unwrap();
        assert_eq!((page[0].status, page[0].error_code.as_deref()), (JobStatus::BudgetExceeded, Some("budget_exceeded")));
        drop(conn);
        assert_eq!(bench.add(again.at, &["a", "b", "c"]).await, Added::Added(0));
        assert_eq!(ended(&bench.end(again.at, End::Await).await), (RunOutcome::Awaited, JobStatus::Queued), "all have ended already");
        let last = bench.claim(9).await.remove(0);
        bench.end(last.at, done()).await;
        assert_eq!(bench.count("SELECT count(*) FROM parents").await, 0);
    }

    async fn a_dead_child_stops_its_siblings_and_fails_its_parent_and_a_retry_takes_both_back(test) {
        let mut bench = Bench::new(&test).await;
        let parent = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a", "b", "c"]).await;
        bench.end(run.at, End::Await).await;
        let running = bench.claim(2).await;
        bench.end(running[0].at, End::Fail { error: JobError::permanent("bad", "no"), dead_letter: false }).await;
        bench.stop_all().await;
        assert_eq!(bench.status(parent).await, JobStatus::Waiting, "one is in flight");
        let at = bench.now();
        assert_eq!(ended(&bench.end(running[1].at, End::Retry { at, error: transient() }).await), (RunOutcome::Cancelled, JobStatus::Cancelled));
        assert_eq!(bench.status(parent).await, JobStatus::Failed);
        let reopen = async |bench: &Bench, job| {
            let mut tx = bench.db.begin().await.unwrap();
            let answer = hot::reopen(&mut tx, job, None, bench.clock.now()).await.unwrap();
            tx.commit().await.unwrap();
            answer
        };
        assert_eq!(reopen(&bench, running[0].at.job).await, Reopened::Child);
        assert_eq!(reopen(&bench, parent).await, Reopened::Reopened { children: 3 });
        assert_eq!(reopen(&bench, parent).await, Reopened::NotEnded(JobStatus::Queued));
        let again = bench.claim(9).await;
        assert_eq!(again.len(), 4);
        let root = again.iter().find(|c| c.at.job == parent).unwrap();
        assert_eq!((root.at.run, root.attempts), (RunNo(3), 0), "run 2 was the end without a run");
        assert_eq!(bench.add(root.at, &["a", "b", "c"]).await, Added::Added(0));
        bench.end(root.at, End::Await).await;
        for child in again.iter().filter(|c| c.at.job != parent) {
            bench.end(child.at, done()).await;
        }
        assert_eq!(bench.status(parent).await, JobStatus::Queued);
        let last = bench.claim(9).await.remove(0);
        assert_eq!(ended(&bench.end(last.at, done()).await).1, JobStatus::Completed);
        assert_eq!(reopen(&bench, parent).await, Reopened::NotEnded(JobStatus::Completed));
    }

    async fn a_cancel_takes_the_whole_tree(test) {
        let mut bench = Bench::new(&test).await;
        let root = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a", "b"]).await;
        bench.end(run.at, End::Await).await;
        let child = bench.claim(1).await.remove(0);
        bench.add(child.at, &["aa", "ab"]).await;
        bench.end(child.at, End::Await).await;
        let grandchild = bench.claim(9).await.into_iter().find(|c| c.parent == Some(child.at.job)).unwrap();
        assert_eq!(bench.cancel(root).await, CancelAnswer::Asked);
        bench.stop_all().await;
        let mut conn = bench.db.read().await.unwrap();
        assert_eq!(hot::poll_cancelled(&mut conn, &[grandchild.at.job]).await.unwrap(), [grandchild.at.job]);
        let running = fetch_all!(&mut conn, (i64, i64), "SELECT job_seq, run FROM running").unwrap();
        drop(conn);
        for (job, run) in running {
            bench.end(RunRef { job: JobSeq(job), run: RunNo(run) }, End::Cancel).await;
        }
        assert_eq!(bench.count("SELECT count(*) FROM job_status WHERE status <> 'cancelled'").await, 0);
        assert_eq!(bench.count("SELECT count(*) FROM parents").await, 0);
    }

    async fn a_parent_that_ends_without_waiting_stops_its_children(test) {
        let mut bench = Bench::new(&test).await;
        let root = bench.one(1).await;
        let run = bench.claim(1).await.remove(0);
        bench.add(run.at, &["a", "b"]).await;
        let child = bench.claim(1).await.remove(0);
        bench.end(run.at, done()).await;
        assert_eq!(bench.status(root).await, JobStatus::Completed);
        bench.stop_all().await;
        let mut tx = bench.db.begin().await.unwrap();
        assert_eq!(hot::reopen(&mut tx, root, None, bench.clock.now()).await.unwrap(), Reopened::NotEnded(JobStatus::Completed));
        drop(tx);
        assert_eq!(ended(&bench.end(child.at, End::Release).await).1, JobStatus::Cancelled);
        assert_eq!(bench.count("SELECT count(*) FROM parents").await, 0);
        assert_eq!(bench.count("SELECT count(*) FROM ready").await, 0);
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
}

fn usage(cost: i64) -> CallUsage {
    CallUsage {
        model: "m".to_owned(),
        step: Some("s".to_owned()),
        input_tokens: 5,
        output_tokens: 6,
        cached_tokens: 1,
        cost: PicoUsd::from_pico(cost),
        price_version: Some("p1".to_owned()),
        provider_request_id: None,
        duration_us: Some(9),
    }
}

fn call(n: u128) -> CallId {
    CallId(Uuid::from_u128(1000 + n))
}

fn reserve(n: u128, budget: BudgetId, at: RunRef, worst: i64) -> MoneyOp {
    MoneyOp::Reserve {
        call: call(n),
        budget,
        at,
        model: "m".to_owned(),
        step: Some("s".to_owned()),
        worst: PicoUsd::from_pico(worst),
    }
}

fn settle(n: u128, budget: BudgetId, at: RunRef, cost: i64, key: Option<&str>) -> MoneyOp {
    let line = |key: &str| JournalLine {
        key: key.to_owned(),
        request_hash: vec![7; 32],
        output: "\"hi\"".to_owned(),
    };
    let end = CallEnd::Settled { usage: Box::new(usage(cost)), journal: key.map(line) };
    MoneyOp::End { call: call(n), budget, at, end }
}

async fn priced_run(bench: &mut Bench, cap: i64) -> (BudgetId, Claimed) {
    let mut job = bench.job(1);
    job.budget = Some(NewBudget { cap: PicoUsd::from_pico(cap), parent: None });
    let budget = BudgetId(job.id.0);
    bench.submit(&[job]).await;
    (budget, bench.claim(1).await.remove(0))
}

on_both! {
    async fn money_is_reserved_settled_and_journalled(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, run) = priced_run(&mut bench, 100).await;
        let at = run.at;
        let answers = bench.money(&[reserve(1, budget, at, 60), reserve(2, budget, at, 60)]).await;
        assert_eq!(answers, [MoneyAnswer::Reserved, MoneyAnswer::Wait]);
        assert_eq!(bench.money(&[reserve(1, budget, at, 60)]).await, [MoneyAnswer::Reserved], "a lost reply");
        let answers = bench.money(&[settle(1, budget, at, 20, Some("k")), reserve(2, budget, at, 60)]).await;
        assert_eq!(answers, [MoneyAnswer::Settled { journaled: true, excess: false }, MoneyAnswer::Reserved]);
        assert_eq!(bench.money(&[settle(1, budget, at, 20, Some("k"))]).await, [MoneyAnswer::AlreadyEnded]);
        let mut conn = bench.db.read().await.unwrap();
        let lines = hot::journal(&mut conn, at.job, "", 9).await.unwrap();
        assert_eq!(lines.iter().map(|l| (l.key.as_str(), l.output.as_str())).collect::<Vec<_>>(), [("k", "\"hi\"")]);
        let state = hot::budget(&mut conn, budget).await.unwrap().unwrap();
        assert_eq!((state.spent.as_pico(), state.reserved.as_pico(), state.closed), (20, 60, false));
        drop(conn);
        // the end of the run books what is in flight at its worst case; its late settle corrects that, and no more
        bench.end(at, End::Release).await;
        let mut conn = bench.db.read().await.unwrap();
        let state = hot::budget(&mut conn, budget).await.unwrap().unwrap();
        assert_eq!((state.spent.as_pico(), state.reserved.as_pico()), (80, 0));
        drop(conn);
        assert_eq!(bench.money(&[reserve(3, budget, at, 1)]).await, [MoneyAnswer::Stale]);
        let late = bench.money(&[settle(2, budget, at, 33, Some("late"))]).await;
        assert_eq!(late, [MoneyAnswer::Settled { journaled: false, excess: false }]);
        assert_eq!(bench.count("SELECT spent FROM budgets").await, 53);
        assert_eq!(bench.count("SELECT CAST(sum(cost) AS bigint) FROM ledger").await, 53);
        assert_eq!(bench.count("SELECT count(*) FROM ledger WHERE model = 'm' AND step = 's' AND owner_id = 1").await, 3);
        assert_eq!(bench.count("SELECT count(*) FROM call_journal").await, 1);
        let run = bench.claim(1).await.remove(0);
        assert_eq!(bench.money(&[reserve(4, budget, run.at, 48)]).await, [MoneyAnswer::Refused]);
        assert_eq!(bench.money(&[reserve(5, budget, run.at, 1)]).await, [MoneyAnswer::Refused], "closed");
    }

    async fn eight_writers_never_overspend_one_budget(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, run) = priced_run(&mut bench, 1000).await;
        let tasks = (0..8u128).map(|writer| {
            let (db, at, now) = (bench.db.clone(), run.at, bench.clock.now());
            tokio::spawn(async move {
                let mut reserved = 0;
                for n in 0..20u128 {
                    let mut tx = db.begin().await.unwrap();
                    let op = reserve(writer * 100 + n, budget, at, 17);
                    if hot::reserve_and_settle(&mut tx, &[op], now).await.unwrap() == [MoneyAnswer::Reserved] {
                        reserved += 1;
                    }
                    tx.commit().await.unwrap();
                }
                reserved
            })
        });
        let mut reserved = 0;
        for task in tasks {
            reserved += task.await.unwrap();
        }
        assert_eq!(reserved, 1000 / 17);
        assert_eq!(bench.count("SELECT reserved FROM budgets").await, reserved * 17);
        assert_eq!(bench.count("SELECT count(*) FROM calls").await, reserved);
    }

    async fn checkpoints_parts_saves_and_progress_are_fenced(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, run) = priced_run(&mut bench, 100).await;
        let at = run.at;
        bench.money(&[reserve(1, budget, at, 10)]).await;
        bench.money(&[settle(1, budget, at, 10, Some("k"))]).await;
        let part = |first: i64, key: &str| Part { first, last: first + 9, key: key.to_owned(), sha256: vec![1; 32], size: 5 };
        let saved = |at: RunRef, state: &str, parts: Vec<Part>| Checkpoint {
            at, schema_version: 2, state: state.to_owned(), parts, covered: vec!["k".to_owned()], free_calls: vec![usage(0)],
        };
        let now = bench.now();
        let mut tx = bench.db.begin().await.unwrap();
        let stale = RunRef { run: RunNo(9), ..at };
        let batch = [saved(at, "1", vec![part(0, "a")]), saved(stale, "x", vec![part(50, "x")]), saved(at, "2", vec![part(10, "b")])];
        assert_eq!(hot::checkpoint(&mut tx, &batch, now).await.unwrap(), [Fenced::Applied, Fenced::Stale, Fenced::Applied]);
        assert_eq!(hot::checkpoint(&mut tx, &[saved(at, "2", vec![part(10, "b")])], now).await.unwrap(), [Fenced::Applied], "a lost reply");
        assert_eq!(hot::save(&mut tx, at, 1).await.unwrap(), SaveAnswer::Write);
        assert_eq!(hot::save(&mut tx, at, 1).await.unwrap(), SaveAnswer::Already);
        assert_eq!(hot::save(&mut tx, stale, 2).await.unwrap(), SaveAnswer::Stale);
        let word = |at, done| Progress { at, stage: Some("s".into()), done, total: Some(9) };
        hot::progress(&mut tx, &[word(at, 1), word(stale, 5), word(at, 3)], now).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = bench.db.begin().await.unwrap();
        let error = hot::checkpoint(&mut tx, &[saved(at, "3", vec![part(10, "other")])], now).await.unwrap_err();
        assert!(error.to_string().contains("parts"), "{error}");
        drop(tx);
        let mut conn = bench.db.read().await.unwrap();
        let parts = hot::parts_page(&mut conn, at.job, -1, 9).await.unwrap();
        assert_eq!(parts.iter().map(|p| (p.first, p.last, p.key.as_str())).collect::<Vec<_>>(), [(0, 9, "a"), (10, 19, "b")]);
        assert_eq!(hot::saved(&mut conn, at.job).await.unwrap(), [1]);
        assert_eq!(fetch_all!(&mut conn, (i64, i64), "SELECT run, done FROM progress").unwrap(), [(1, 3)]);
        assert!(hot::journal(&mut conn, at.job, "", 9).await.unwrap().is_empty(), "covered");
        drop(conn);
        bench.end(at, End::Release).await;
        let again = bench.claim(1).await.remove(0);
        let state = again.checkpoint.unwrap();
        assert_eq!((state.schema_version, state.state.as_str()), (2, "2"));
        let mut tx = bench.db.begin().await.unwrap();
        assert_eq!(hot::checkpoint(&mut tx, &[saved(at, "late", vec![])], now).await.unwrap(), [Fenced::Stale]);
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
            let deleted = hot::delete_old_jobs(&mut tx, JobSeq(0), before).await.unwrap();
            tx.commit().await.unwrap();
            deleted.jobs
        };
        assert_eq!(delete(&bench, 0).await, []);
        assert_eq!(delete(&bench, 1).await, [run.at.job, child.at.job]);
        assert_eq!(bench.count("SELECT (SELECT count(*) FROM budgets) + (SELECT count(*) FROM calls)").await, 0);
        let mut tx = bench.db.begin().await.unwrap();
        assert!(hot::discard(&mut tx, dead.at.job, bench.clock.now()).await.unwrap());
        assert!(!hot::discard(&mut tx, open, bench.clock.now()).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(delete(&bench, 1).await, [dead.at.job]);
        hot::vacuum(&bench.db).await.unwrap();
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
