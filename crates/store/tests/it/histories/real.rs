//! A history's steps on one database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use uuid::Uuid;
use windrow_core::{BudgetId, JobSeq, PicoUsd, RunNo, Timestamp, WorkerId};
use windrow_store::fault::{FaultHook, FaultPoint, Guard};
use windrow_store::hot::{
    self, Added, CancelAnswer, Caps, Checkpoint, ClaimRequest, Cursor, End, EndRun, Fenced, MoneyOp,
    NewChild, NewJob, Reopened, RunRef, WorkerKind,
};
use windrow_store::{Db, StoreError, Tx, execute, fetch_all, fetch_one};
use windrow_test_support::TestDb;

use super::lines::lines_sql;
use super::step::{Fault, JobNo, Money, Run, Step, WorkerNo};
use super::translate::{approval, ended, money_op, new_child, new_job, number, run_end, submitted};
use crate::support::{USERS, migrated};

/// Strikes where the history says so.
#[derive(Debug)]
struct Striker {
    /// Statements until it strikes; negative: never.
    left: AtomicI64,
    lost_reply: AtomicBool,
    without: Option<Guard>,
}

impl FaultHook for Striker {
    fn strikes(&self, point: FaultPoint<'_>) -> bool {
        match point {
            FaultPoint::Statement(_) => self.left.fetch_sub(1, Ordering::SeqCst) == 0,
            FaultPoint::BeforeCommit => self.left.load(Ordering::SeqCst) >= 0,
            FaultPoint::AfterCommit => self.lost_reply.load(Ordering::SeqCst),
        }
    }

    fn removes(&self, guard: Guard) -> bool {
        self.without == Some(guard)
    }
}

impl Striker {
    fn arm(&self, fault: Fault) {
        let left = match fault {
            Fault::Crash(statements) => i64::try_from(statements).unwrap(),
            // far below zero, for each statement counts down
            Fault::None | Fault::LostReply => i64::MIN / 2,
        };
        self.left.store(left, Ordering::SeqCst);
        self.lost_reply.store(fault == Fault::LostReply, Ordering::SeqCst);
    }
}

pub struct Real {
    db: Db,
    striker: Arc<Striker>,
    jobs: HashMap<JobNo, JobSeq>,
    numbers: HashMap<JobSeq, JobNo>,
    workers: HashMap<WorkerNo, WorkerId>,
    cursors: HashMap<WorkerNo, Cursor>,
    lines: &'static str,
}

const TABLES: [&str; 23] = [
    "jobs",
    "ready",
    "scheduled",
    "running",
    "runs",
    "parents",
    "workers",
    "leases",
    "installation",
    "disabled_owners",
    "budgets",
    "calls",
    "call_journal",
    "ledger",
    "checkpoints",
    "parts",
    "saves",
    "results",
    "progress",
    "events",
    "outbox",
    "job_rollups",
    "storage_use",
];

impl Real {
    pub async fn new(test: &TestDb, without: Option<Guard>) -> Self {
        let striker =
            Arc::new(Striker { left: AtomicI64::new(-1), lost_reply: AtomicBool::new(false), without });
        let hook: windrow_store::fault::SharedFaultHook = Arc::<Striker>::clone(&striker);
        let db = migrated(test).await.with_faults(hook);
        let mut tx = db.begin().await.unwrap();
        tx.raw(USERS).await.unwrap();
        tx.commit().await.unwrap();
        let lines = Box::leak(lines_sql(db.dialect()).into_boxed_str());
        let (jobs, numbers, workers, cursors) = Default::default();
        Self { db, striker, jobs, numbers, workers, cursors, lines }
    }

    /// An empty database with worker 0.
    pub async fn reset(&mut self) {
        self.striker.arm(Fault::None);
        let mut tx = self.db.begin().await.unwrap();
        let sql: String = TABLES.iter().map(|table| format!("DELETE FROM {table};")).collect();
        tx.raw(sqlx::AssertSqlSafe(sql)).await.unwrap();
        let now = Timestamp::from_micros(super::model::START);
        let worker = hot::register_worker(&mut tx, "w0", WorkerKind::Process, now).await.unwrap();
        tx.commit().await.unwrap();
        (self.jobs, self.numbers) = Default::default();
        self.workers = HashMap::from([(0, worker)]);
        self.cursors = HashMap::new();
    }

    /// What the step answered; none when it was struck before its commit.
    pub async fn run(&mut self, step: &Step, fault: Fault, (now, tick): (i64, i64)) -> Option<Vec<String>> {
        self.striker.arm(fault);
        let at = Moment {
            now: Timestamp::from_micros(now),
            tick: Duration::from_micros(u64::try_from(tick.max(0)).unwrap()),
        };
        let cursors = self.cursors.clone();
        let answer = self.committed(step, &at).await;
        self.striker.arm(Fault::None);
        match answer {
            Ok(answer) => Some(answer),
            Err(StoreError::Injected(_)) => {
                self.cursors = cursors;
                None
            }
            Err(error) => Some(vec![format!("error: {error}")]),
        }
    }

    async fn committed(&mut self, step: &Step, at: &Moment) -> Result<Vec<String>, StoreError> {
        if let Step::Time { .. } = step {
            return Ok(vec!["ok".to_owned()]);
        }
        let mut tx = self.db.begin().await?;
        let answer = match self.apply(&mut tx, step, at).await {
            Ok(answer) => answer,
            Err(error) => {
                // a crash's locks are gone when the next one comes: the rollback is waited for
                tx.rollback().await?;
                return Err(error);
            }
        };
        match tx.commit().await {
            Ok(()) | Err(StoreError::UnknownOutcome(_)) => Ok(answer),
            Err(error) => Err(error),
        }
    }

    async fn apply(&mut self, tx: &mut Tx, step: &Step, at: &Moment) -> Result<Vec<String>, StoreError> {
        let now = at.now;
        let one = |text: &str| vec![text.to_owned()];
        Ok(match step {
            Step::Submit(jobs) => {
                let jobs: Vec<NewJob> = jobs.iter().map(|job| new_job(job, now)).collect();
                hot::submit(tx, &jobs, now).await?.iter().map(submitted).collect()
            }
            Step::Claim { worker, slots, cap } => self.claim(tx, *worker, *slots, *cap, at).await?,
            Step::Recover { worker, known } => {
                let held = hot::held_runs(tx, self.workers[worker]).await?;
                let known: Vec<RunRef> = known.iter().map(|run| self.at(*run)).collect();
                let lost = held.into_iter().filter(|at| !known.contains(at));
                let ends: Vec<EndRun> = lost.map(|at| EndRun { at, end: End::Release }).collect();
                ended(&hot::end_runs(tx, &ends, now).await?.ended)
            }
            Step::End(ends) => {
                let ends: Vec<EndRun> = ends
                    .iter()
                    .map(|(run, end)| EndRun { at: self.at(*run), end: run_end(end, now) })
                    .collect();
                ended(&hot::end_runs(tx, &ends, now).await?.ended)
            }
            Step::AddChildren { run, children } => {
                let children: Vec<NewChild> =
                    children.iter().map(|(job, key)| new_child(*job, *key)).collect();
                match hot::add_children(tx, self.at(*run), &children, now).await? {
                    Added::Added(count) => vec![format!("added {count}")],
                    Added::Stopping => one("stopping"),
                    Added::Stale => one("stale"),
                }
            }
            Step::StopChildren => {
                let stopped = hot::stop_children(tx, now).await?;
                vec![format!("{} {} {}", stopped.ended, stopped.asked, stopped.more)]
            }
            Step::Money(ops) => {
                let ops: Vec<MoneyOp> = self.money(tx, ops).await?;
                let answers = hot::reserve_and_settle(tx, &ops, now).await?;
                answers.iter().map(|answer| format!("{answer:?}")).collect()
            }
            Step::Journal(job) => {
                let lines = hot::journal(tx, self.seq(*job), "", 100).await?;
                lines.into_iter().map(|line| line.key).collect()
            }
            Step::Checkpoint { run, state, covered } => {
                let covered = covered.iter().map(|key| format!("k{key}")).collect();
                let (at, state) = (self.at(*run), state.to_string());
                let saved =
                    Checkpoint { at, schema_version: 1, state, parts: vec![], covered, free_calls: vec![] };
                let fenced = hot::checkpoint(tx, &[saved], now).await?;
                one(if fenced == [Fenced::Applied] { "applied" } else { "stale" })
            }
            Step::Cancel(job) => vec![match hot::cancel(tx, self.seq(*job), now).await?.0 {
                CancelAnswer::Cancelled => "cancelled".to_owned(),
                CancelAnswer::Asked => "asked".to_owned(),
                CancelAnswer::AlreadyEnded(status) => format!("ended {status}"),
                CancelAnswer::NotFound => "not found".to_owned(),
            }],
            Step::Approve(job) => one(approval(hot::approve(tx, self.seq(*job), now).await?)),
            Step::Reject(job) => one(approval(hot::reject(tx, self.seq(*job), "no", now).await?.0)),
            Step::ExpireApprovals(age) => {
                let before = now.minus(Duration::from_micros(u64::try_from(*age).unwrap()));
                vec![hot::expire_approvals(tx, before, now).await?.0.to_string()]
            }
            Step::Reopen { job, cap } => {
                let cap = cap.map(PicoUsd::from_pico);
                vec![match hot::reopen(tx, self.seq(*job), cap, now).await? {
                    Reopened::Reopened { children } => format!("reopened {children}"),
                    Reopened::NotEnded(status) => format!("not ended {status}"),
                    Reopened::Child => "child".to_owned(),
                    Reopened::Settling => "settling".to_owned(),
                    Reopened::NotFound => "not found".to_owned(),
                }]
            }
            _ => self.fleet(tx, step, now).await?,
        })
    }

    /// The steps about workers and owners.
    async fn fleet(&mut self, tx: &mut Tx, step: &Step, now: Timestamp) -> Result<Vec<String>, StoreError> {
        Ok(vec![match step {
            Step::Schedule => format!("moved {}", hot::schedule_due(tx, now).await?.moved),
            Step::Beat(worker) => match hot::beat(tx, self.workers[worker]).await? {
                hot::Beat::Alive => "alive".to_owned(),
                hot::Beat::Dead => "dead".to_owned(),
            },
            Step::Bury { worker, seen } => hot::bury(tx, self.workers[worker], *seen, now).await?.to_string(),
            Step::Register(worker) => {
                let id = hot::register_worker(tx, &format!("w{worker}"), WorkerKind::Process, now).await?;
                self.workers.insert(*worker, id);
                "ok".to_owned()
            }
            Step::Rescue => {
                let runs = hot::rescue(tx, now).await?.runs;
                return Ok(runs
                    .iter()
                    .map(|at| format!("({}, {})", self.numbers[&at.job], at.run))
                    .collect());
            }
            Step::Boot => format!("epoch {}", hot::boot(tx, Uuid::nil(), now).await?.1),
            Step::Disable { owner, on: true } => {
                let sql = "INSERT INTO disabled_owners (owner_id) VALUES ($1) ON CONFLICT DO NOTHING";
                execute!(tx, sql, *owner)?;
                "ok".to_owned()
            }
            Step::Disable { owner, on: false } => {
                execute!(tx, "DELETE FROM disabled_owners WHERE owner_id = $1", *owner)?;
                "ok".to_owned()
            }
            step => panic!("{step:?} is none of the fleet's"),
        }])
    }

    async fn claim(
        &mut self,
        tx: &mut Tx,
        worker: WorkerNo,
        slots: usize,
        cap: Option<u32>,
        at: &Moment,
    ) -> Result<Vec<String>, StoreError> {
        let request = ClaimRequest {
            worker: self.workers[&worker],
            workloads: vec!["v".to_owned(), "w".to_owned()],
            slots,
            caps: Caps { per_owner: cap, ..Caps::default() },
            leased: false,
        };
        let cursor = self.cursors.entry(worker).or_insert_with(|| Cursor::new(worker));
        // what a store does beside its claims
        let below = hot::below_marks(tx, &cursor.marks()).await?;
        cursor.lower(below);
        let claimed = hot::claim(tx, &request, cursor, at.now, at.tick).await?;
        let line = claimed.into_iter().map(|c| {
            let state = c.checkpoint.map_or("none".to_owned(), |saved| saved.state);
            let budget = c.budget.map_or(0, |id| number(id.0));
            let counts = format!("{} {} {}", c.at.run, c.attempts, c.lost);
            format!("{} {counts} {budget} {state} {}", number(c.id.0), c.cancel_requested)
        });
        Ok(line.collect())
    }

    async fn money(&self, tx: &mut Tx, ops: &[Money]) -> Result<Vec<MoneyOp>, StoreError> {
        let mut made = Vec::with_capacity(ops.len());
        for op in ops {
            let (Money::Reserve { run, .. }
            | Money::Settle { run, .. }
            | Money::Unconfirmed { run, .. }
            | Money::Release { run, .. }) = op;
            let sql = "SELECT (SELECT budget_id FROM jobs WHERE seq = $1)";
            let budget = fetch_one!(tx, scalar Option<Uuid>, sql, self.seq(run.0))?;
            made.push(money_op(op, BudgetId(budget.unwrap_or(Uuid::from_u128(u128::MAX))), self.at(*run)));
        }
        Ok(made)
    }

    fn seq(&self, job: JobNo) -> JobSeq {
        self.jobs.get(&job).copied().unwrap_or(JobSeq(-1))
    }

    fn at(&self, (job, run): Run) -> RunRef {
        RunRef { job: self.seq(job), run: RunNo(run) }
    }

    /// The state, as the model writes it.
    pub async fn lines(&mut self) -> Vec<String> {
        let mut conn = self.db.read().await.unwrap();
        let rows = fetch_all!(&mut conn, (String, String, String), self.lines).unwrap();
        let mut lines = Vec::with_capacity(rows.len());
        for (kind, id, rest) in rows {
            let name = match id.strip_prefix('w') {
                Some(_) => id,
                None => number(Uuid::parse_str(&id).unwrap()).to_string(),
            };
            if kind == "seq" {
                let (job, seq) = (name.parse().unwrap(), JobSeq(rest.parse().unwrap()));
                self.jobs.insert(job, seq);
                self.numbers.insert(seq, job);
                continue;
            }
            lines.push(format!("{kind}|{name}|{rest}"));
        }
        for line in lines.iter_mut().filter(|line| line.starts_with("call|")) {
            // calls name their job by its id, too
            let mut parts: Vec<String> = line.split('|').map(str::to_owned).collect();
            parts[2] = number(Uuid::parse_str(&parts[2]).unwrap()).to_string();
            *line = parts.join("|");
        }
        lines.sort_unstable();
        lines
    }

    /// What the nightly check says.
    pub async fn whole(&self) -> Result<(), String> {
        let mut found = Vec::new();
        let checked = windrow_store::integrity::check(&self.db, &mut |finding| found.push(finding)).await;
        checked.map_err(|error| error.to_string())?;
        if found.is_empty() { Ok(()) } else { Err(format!("states differ from an invariant: {found:?}")) }
    }

    /// What must hold in any state, asked of the tables themselves.
    pub async fn invariants(&self) -> Result<(), String> {
        const BROKEN: &str = "SELECT
            (SELECT count(*) FROM jobs j WHERE 1 <>
                (SELECT count(*) FROM ready r WHERE r.job_seq = j.seq)
              + (SELECT count(*) FROM scheduled s WHERE s.job_seq = j.seq)
              + (SELECT count(*) FROM running r WHERE r.job_seq = j.seq)
              + (SELECT count(*) FROM parents p WHERE p.job_seq = j.seq AND NOT p.held)
              + (SELECT count(*) FROM job_status s WHERE s.job_seq = j.seq AND s.status NOT IN ('queued', 'running', 'waiting'))),
            (SELECT count(*) FROM (SELECT job_seq FROM runs WHERE outcome = 'completed' GROUP BY job_seq HAVING count(*) > 1) twice),
            (SELECT count(*) FROM budgets b WHERE
                b.reserved <> (SELECT coalesce(sum(c.worst), 0) FROM calls c WHERE c.budget_id = b.id AND c.state = 'sent')
                OR b.spent <> (SELECT coalesce(sum(c.booked), 0) FROM calls c WHERE c.budget_id = b.id)
                OR b.spent <> (SELECT coalesce(sum(l.cost), 0) FROM ledger l WHERE l.budget_id = b.id)),
            (SELECT count(*) FROM budgets b WHERE b.spent + b.reserved > b.cap
                AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.budget_id = b.id AND c.booked > c.worst)),
            (SELECT count(*) FROM calls c WHERE c.state = 'sent'
                AND NOT EXISTS (SELECT 1 FROM running r WHERE r.job_seq = c.job_seq AND r.run = c.run))";
        let mut conn = self.db.read().await.map_err(|error| error.to_string())?;
        let found =
            fetch_one!(&mut conn, (i64, i64, i64, i64, i64), BROKEN).map_err(|error| error.to_string())?;
        let names = [
            "not in exactly one place",
            "completed twice",
            "money lost",
            "overspent",
            "calls nobody will end",
        ];
        let counts = [found.0, found.1, found.2, found.3, found.4];
        match names.iter().zip(counts).find(|(_, count)| *count > 0) {
            Some((name, count)) => Err(format!("states differ from an invariant: {count} × {name}")),
            None => Ok(()),
        }
    }
}

struct Moment {
    now: Timestamp,
    tick: Duration,
}
