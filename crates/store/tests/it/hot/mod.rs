//! The hot statements, one promise a test, on both databases.

mod charge;
mod claims;
mod life;
mod money;
mod tree;

use uuid::Uuid;
use windrow_core::{
    BudgetId, CallId, Clock, JobError, JobId, JobSeq, JobStatus, OwnerId, PicoUsd, RunOutcome, TestClock,
    Timestamp, WorkerId,
};
use windrow_store::hot::{
    self, Added, CallEnd, CallUsage, CancelAnswer, Caps, ClaimRequest, Claimed, Cursor, End, EndRun, Ended,
    JournalLine, MoneyAnswer, MoneyOp, NewBudget, NewChild, NewJob, Output, RunRef, Submitted, WorkerKind,
};
use windrow_store::{Db, DbOptions, WorkPrices, fetch_one};
use windrow_test_support::TestDb;

use crate::support::migrated;

/// A database with a worker in it.
pub struct Bench {
    pub db: Db,
    pub clock: std::sync::Arc<TestClock>,
    pub worker: WorkerId,
    pub cursor: Cursor,
    pub ids: u128,
}

impl Bench {
    pub async fn new(test: &TestDb) -> Self {
        Self::on(migrated(test).await).await
    }

    /// Where the work of runs has a price.
    pub async fn priced(test: &TestDb, prices: WorkPrices) -> Self {
        let db = migrated(test).await;
        db.close().await;
        let options = DbOptions { prices, ..DbOptions::default() };
        Self::on(Db::connect(test.url(), options).await.unwrap()).await
    }

    pub async fn on(db: Db) -> Self {
        let clock = TestClock::shared();
        let mut tx = db.begin().await.unwrap();
        let worker = hot::register_worker(&mut tx, "w", WorkerKind::Process, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        Self { db, clock, worker, cursor: Cursor::new(0), ids: 0 }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn job(&mut self, owner: i64) -> NewJob {
        self.ids += 1;
        NewJob {
            spec: "{\"a\":1}".to_owned(),
            request_id: Some("r".to_owned()),
            ..NewJob::plain(JobId(Uuid::from_u128(self.ids)), OwnerId(owner), "w", self.now())
        }
    }

    pub async fn submit(&mut self, jobs: &[NewJob]) -> Vec<Submitted> {
        let mut tx = self.db.begin().await.unwrap();
        let answers = hot::submit(&mut tx, jobs, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        answers
    }

    pub async fn one(&mut self, owner: i64) -> JobSeq {
        let job = self.job(owner);
        match self.submit(&[job]).await[..] {
            [Submitted::Created { seq, .. }] => seq,
            ref other => panic!("{other:?}"),
        }
    }

    pub async fn claim_with(&mut self, slots: usize, caps: Caps) -> Vec<Claimed> {
        let workloads = vec!["v".to_owned(), "w".to_owned()];
        let request = ClaimRequest { worker: self.worker, workloads, slots, caps, leased: false };
        let (now, tick) = (self.now(), self.clock.monotonic());
        let mut tx = self.db.begin().await.unwrap();
        let claimed = hot::claim(&mut tx, &request, &mut self.cursor, now, tick).await.unwrap();
        tx.commit().await.unwrap();
        claimed
    }

    pub async fn claim(&mut self, slots: usize) -> Vec<Claimed> {
        self.claim_with(slots, Caps::default()).await
    }

    /// What a store does beside its claims.
    pub async fn look_below_marks(&mut self) {
        let mut tx = self.db.begin().await.unwrap();
        let found = hot::below_marks(&mut tx, &self.cursor.marks()).await.unwrap();
        tx.commit().await.unwrap();
        self.cursor.lower(found);
    }

    pub async fn end(&mut self, at: RunRef, end: End) -> Ended {
        let mut tx = self.db.begin().await.unwrap();
        let closing = hot::end_runs(&mut tx, &[EndRun { at, end }], self.now()).await.unwrap();
        tx.commit().await.unwrap();
        closing.ended.into_iter().next().unwrap()
    }

    pub async fn status(&self, job: JobSeq) -> JobStatus {
        let mut conn = self.db.read().await.unwrap();
        let sql = "SELECT status FROM job_status WHERE job_seq = $1";
        fetch_one!(&mut conn, scalar String, sql, job).unwrap().parse().unwrap()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        let mut conn = self.db.read().await.unwrap();
        fetch_one!(&mut conn, scalar i64, sql).unwrap()
    }

    pub async fn stop_all(&mut self) {
        loop {
            let mut tx = self.db.begin().await.unwrap();
            let stopped = hot::stop_children(&mut tx, self.now()).await.unwrap();
            tx.commit().await.unwrap();
            if !stopped.more {
                return;
            }
        }
    }

    pub async fn rescue(&mut self) -> Vec<RunRef> {
        let mut tx = self.db.begin().await.unwrap();
        let rescued = hot::rescue(&mut tx, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        rescued.runs
    }

    pub fn child(&mut self, key: &str) -> NewChild {
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

    pub async fn add(&mut self, parent: RunRef, keys: &[&str]) -> Added {
        let children: Vec<NewChild> = keys.iter().map(|key| self.child(key)).collect();
        let mut tx = self.db.begin().await.unwrap();
        let added = hot::add_children(&mut tx, parent, &children, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        added
    }

    pub async fn cancel(&mut self, job: JobSeq) -> CancelAnswer {
        let mut tx = self.db.begin().await.unwrap();
        let (answer, _) = hot::cancel(&mut tx, job, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        answer
    }

    pub async fn money(&mut self, ops: &[MoneyOp]) -> Vec<MoneyAnswer> {
        let mut tx = self.db.begin().await.unwrap();
        let answers = hot::reserve_and_settle(&mut tx, ops, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        answers
    }
}

pub fn ended(answer: &Ended) -> (RunOutcome, JobStatus) {
    match answer {
        Ended::Ended(run) => (run.outcome, run.status),
        Ended::Stale => panic!("stale"),
    }
}

pub fn transient() -> JobError {
    JobError::transient("busy", "try later")
}

pub fn done() -> End {
    End::Complete(Some(Output { schema_version: 1, json: "{\"n\":3}".to_owned() }))
}

pub fn usage(cost: i64) -> CallUsage {
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

pub fn call(n: u128) -> CallId {
    CallId(Uuid::from_u128(1000 + n))
}

pub fn reserve(n: u128, budget: BudgetId, at: RunRef, worst: i64) -> MoneyOp {
    MoneyOp::Reserve {
        call: call(n),
        budget,
        at,
        model: "m".to_owned(),
        step: Some("s".to_owned()),
        worst: PicoUsd::from_pico(worst),
    }
}

pub fn settle(n: u128, budget: BudgetId, at: RunRef, cost: i64, key: Option<&str>) -> MoneyOp {
    let line = |key: &str| JournalLine {
        key: key.to_owned(),
        request_hash: vec![7; 32],
        output: "\"hi\"".to_owned(),
    };
    let end = CallEnd::Settled { usage: Box::new(usage(cost)), journal: key.map(line) };
    MoneyOp::End { call: call(n), budget, at, end }
}

pub async fn priced_run(bench: &mut Bench, cap: i64) -> (BudgetId, Claimed) {
    let mut job = bench.job(1);
    job.budget = Some(NewBudget::of(PicoUsd::from_pico(cap)));
    let budget = BudgetId(job.id.0);
    bench.submit(&[job]).await;
    (budget, bench.claim(1).await.remove(0))
}
