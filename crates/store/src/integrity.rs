//! What foreign keys would have proved, and more: no foreign keys touch the hot tables, so a check looks at them now and
//! then. It only reads, a page a statement; each statement sees one state of the database, so that work that goes on
//! meanwhile brings about no false finding.

use uuid::Uuid;

use crate::{Db, StoreError, fetch_all};

/// A row that has no right to be as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub table: &'static str,
    pub column: &'static str,
    /// Of the row: its job's number, or its own id.
    pub id: String,
    pub problem: String,
}

/// How much was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    pub rows: u64,
    pub findings: u64,
}

/// Rows of one statement.
const PAGE: i64 = 500;

/// Of budgets, whose calls are summed up.
const BUDGETS: i64 = 50;

/// Tables whose rows belong to a job, beside those that have a check of their own.
const OF_JOBS: [&str; 12] = [
    "leases",
    "runs",
    "checkpoints",
    "parts",
    "saves",
    "results",
    "progress",
    "events",
    "calls",
    "call_journal",
    "outbox",
    "storage_use",
];

/// Where a queued job stands in line, by its own row `j` and its last ended run `l`.
const STANDS_AT: &str =
    "CASE WHEN l.run IS NULL THEN j.run_at WHEN j.reopened_run >= l.run THEN j.reopened_at
    ELSE coalesce(l.retry_at, j.run_at) END";

const LAST_RUN: &str = "LEFT JOIN runs l ON l.job_seq = j.seq
    AND l.run = (SELECT max(m.run) FROM runs m WHERE m.job_seq = j.seq)";

crate::row! {
    /// A row that was looked at; `key` is where the next page goes on.
    struct Looked { key: i64, problem: Option<String> }
}

crate::row! {
    struct LookedBudget { id: Uuid, reserved: bool, spent: bool }
}

crate::row! {
    struct LookedReady {
        priority: i64,
        workload: String,
        owner_id: i64,
        run_at: i64,
        job_seq: i64,
        problem: Option<String>,
    }
}

crate::row! {
    struct LookedScheduled { run_at: i64, job_seq: i64, problem: Option<String> }
}

/// Looks at all of it, and tells each finding. Each page has at most 500 rows and is one read, within the read limit of
/// [`crate::DbOptions`].
///
/// # Errors
/// When the database fails; what was found until then has been told.
pub async fn check(db: &Db, tell: &mut (dyn FnMut(Finding) + Send)) -> Result<Checked, StoreError> {
    let mut round = Round { db, tell, checked: Checked::default() };
    round.keyed("jobs", "seq", jobs_sql()).await?;
    round.ready().await?;
    round.scheduled().await?;
    round.keyed("running", "run", RUNNING.to_owned()).await?;
    round.keyed("parents", "open", PARENTS.to_owned()).await?;
    for table in OF_JOBS {
        round.keyed(table, "job_seq", orphans_sql(table)).await?;
    }
    round.keyed("calls", "run", SENT.to_owned()).await?;
    round.budgets().await?;
    Ok(round.checked)
}

struct Round<'a> {
    /// Each page has a connection of its own: the read limit counts from there.
    db: &'a Db,
    tell: &'a mut (dyn FnMut(Finding) + Send),
    checked: Checked,
}

impl Round<'_> {
    fn looked(
        &mut self,
        (table, column): (&'static str, &'static str),
        id: &impl ToString,
        problem: Option<String>,
    ) {
        self.checked.rows += 1;
        if let Some(problem) = problem {
            self.checked.findings += 1;
            (self.tell)(Finding { table, column, id: id.to_string(), problem });
        }
    }

    async fn keyed(
        &mut self,
        table: &'static str,
        column: &'static str,
        sql: String,
    ) -> Result<(), StoreError> {
        let mut after = i64::MIN;
        loop {
            let sql = sqlx::AssertSqlSafe(sql.clone());
            let page = fetch_all!(&mut self.db.read().await?, Looked, sql, after, PAGE)?;
            let full = is_full(page.len(), PAGE);
            for row in page {
                after = row.key;
                self.looked((table, column), &row.key, row.problem);
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn ready(&mut self) -> Result<(), StoreError> {
        let line =
            line_sql("r.priority <> j.priority OR r.workload <> j.workload OR r.owner_id <> j.owner_id OR ");
        let sql = format!(
            "SELECT r.priority, r.workload, r.owner_id, r.run_at, r.job_seq, {line}
             FROM (SELECT * FROM ready WHERE (priority, workload, owner_id, run_at, job_seq) > ($1, $2, $3, $4, $5)
                   ORDER BY priority, workload, owner_id, run_at, job_seq LIMIT $6) r
             LEFT JOIN jobs j ON j.seq = r.job_seq LEFT JOIN job_status s ON s.job_seq = j.seq {LAST_RUN}
             ORDER BY r.priority, r.workload, r.owner_id, r.run_at, r.job_seq"
        );
        let mut after = (i64::MIN, String::new(), i64::MIN, i64::MIN, i64::MIN);
        loop {
            let sql = sqlx::AssertSqlSafe(sql.clone());
            let (priority, workload, owner, run_at, job) = &after;
            let page = fetch_all!(
                &mut self.db.read().await?,
                LookedReady,
                sql,
                *priority,
                workload,
                *owner,
                *run_at,
                *job,
                PAGE
            )?;
            let full = is_full(page.len(), PAGE);
            for row in page {
                after = (row.priority, row.workload, row.owner_id, row.run_at, row.job_seq);
                self.looked(("ready", "job_seq"), &row.job_seq, row.problem);
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn scheduled(&mut self) -> Result<(), StoreError> {
        let line = line_sql("");
        let sql = format!(
            "SELECT r.run_at, r.job_seq, {line}
             FROM (SELECT * FROM scheduled WHERE (run_at, job_seq) > ($1, $2) ORDER BY run_at, job_seq LIMIT $3) r
             LEFT JOIN jobs j ON j.seq = r.job_seq LEFT JOIN job_status s ON s.job_seq = j.seq {LAST_RUN}
             ORDER BY r.run_at, r.job_seq"
        );
        let mut after = (i64::MIN, i64::MIN);
        loop {
            let sql = sqlx::AssertSqlSafe(sql.clone());
            let page = fetch_all!(&mut self.db.read().await?, LookedScheduled, sql, after.0, after.1, PAGE)?;
            let full = is_full(page.len(), PAGE);
            for row in page {
                after = (row.run_at, row.job_seq);
                self.looked(("scheduled", "job_seq"), &row.job_seq, row.problem);
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn budgets(&mut self) -> Result<(), StoreError> {
        let mut after = Uuid::nil();
        loop {
            let page = fetch_all!(&mut self.db.read().await?, LookedBudget, BUDGETS_SQL, after, BUDGETS)?;
            let full = is_full(page.len(), BUDGETS);
            for row in page {
                after = row.id;
                let reserved =
                    row.reserved.then(|| "it is not the sum of the calls that are in flight".to_owned());
                self.looked(("budgets", "reserved"), &row.id, reserved);
                if row.spent {
                    let problem = "it is less than the calls of its jobs are booked at".to_owned();
                    self.looked(("budgets", "spent"), &row.id, Some(problem));
                }
            }
            if !full {
                return Ok(());
            }
        }
    }
}

fn is_full(rows: usize, page: i64) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows >= page)
}

/// Each job is in exactly one place while it is open, and in none when it has ended; what it names is there.
fn jobs_sql() -> String {
    format!(
        "SELECT k.seq AS key, CASE
             WHEN NOT k.owned THEN 'its owner is no user'
             WHEN NOT k.parented THEN 'its parent is no job'
             WHEN NOT k.budgeted THEN 'its budget is not there'
             WHEN k.ended AND k.places > 0 THEN 'it has ended, and stands in line, runs or waits too'
             WHEN NOT k.ended AND k.places = 0 THEN 'it is open, and neither stands in line, nor runs, nor waits'
             WHEN k.places > 1 THEN 'it is in two places at once'
         END AS problem
         FROM (SELECT j.seq,
                 EXISTS (SELECT 1 FROM users u WHERE u.id = j.owner_id) AS owned,
                 j.parent_seq IS NULL OR EXISTS (SELECT 1 FROM jobs p WHERE p.seq = j.parent_seq) AS parented,
                 j.budget_id IS NULL OR EXISTS (SELECT 1 FROM budgets b WHERE b.id = j.budget_id) AS budgeted,
                 s.status IN ('completed', 'failed', 'budget_exceeded', 'cancelled', 'rejected') AS ended,
                 (SELECT count(*) FROM running r WHERE r.job_seq = j.seq)
               + (SELECT count(*) FROM parents p WHERE p.job_seq = j.seq AND NOT p.held)
               + (SELECT count(*) FROM ready r WHERE r.priority = j.priority AND r.workload = j.workload
                      AND r.owner_id = j.owner_id AND r.run_at = {STANDS_AT} AND r.job_seq = j.seq)
               + (SELECT count(*) FROM scheduled c WHERE c.run_at = {STANDS_AT} AND c.job_seq = j.seq)
               + CASE WHEN s.status = 'pending_approval' THEN 1 ELSE 0 END AS places
               FROM (SELECT * FROM jobs WHERE seq > $1 ORDER BY seq LIMIT $2) j
               JOIN job_status s ON s.job_seq = j.seq {LAST_RUN}) k
         ORDER BY k.seq"
    )
}

/// What is wrong with a row `r` of a line; `other` says more of what must not be.
fn line_sql(other: &str) -> String {
    format!(
        "CASE WHEN j.seq IS NULL THEN 'there is no such row in jobs'
              WHEN s.status <> 'queued' THEN 'its job is ' || s.status
              WHEN {other}r.run_at <> {STANDS_AT} THEN 'it is not where its job is looked for' END AS problem"
    )
}

fn orphans_sql(table: &str) -> String {
    format!(
        "SELECT k.job_seq AS key,
             CASE WHEN NOT EXISTS (SELECT 1 FROM jobs j WHERE j.seq = k.job_seq)
                  THEN 'there is no such row in jobs' END AS problem
         FROM (SELECT DISTINCT job_seq FROM {table} WHERE job_seq > $1 ORDER BY job_seq LIMIT $2) k
         ORDER BY k.job_seq"
    )
}

const RUNNING: &str = "SELECT r.job_seq AS key, CASE
         WHEN NOT EXISTS (SELECT 1 FROM jobs j WHERE j.seq = r.job_seq) THEN 'there is no such row in jobs'
         WHEN NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = r.worker_id) THEN 'its worker is not there'
         WHEN EXISTS (SELECT 1 FROM runs l WHERE l.job_seq = r.job_seq AND l.run >= r.run)
         THEN 'a run of this number, or of a later one, has ended' END AS problem
     FROM (SELECT * FROM running WHERE job_seq > $1 ORDER BY job_seq LIMIT $2) r ORDER BY r.job_seq";

const PARENTS: &str = "SELECT p.job_seq AS key, CASE
         WHEN NOT EXISTS (SELECT 1 FROM jobs j WHERE j.seq = p.job_seq) THEN 'there is no such row in jobs'
         WHEN p.open <> (CASE WHEN p.held THEN 1 ELSE 0 END)
              + (SELECT count(*) FROM jobs c JOIN job_status s ON s.job_seq = c.seq WHERE c.parent_seq = p.job_seq
                   AND s.status IN ('pending_approval', 'queued', 'running', 'waiting'))
         THEN 'it is not the number of open children' END AS problem
     FROM (SELECT * FROM parents WHERE job_seq > $1 ORDER BY job_seq LIMIT $2) p ORDER BY p.job_seq";

/// A call in flight is a running run's.
const SENT: &str = "SELECT k.job_seq AS key, CASE WHEN EXISTS (
             SELECT 1 FROM calls c WHERE c.job_seq = k.job_seq AND c.state = 'sent' AND NOT EXISTS (
                 SELECT 1 FROM running r WHERE r.job_seq = c.job_seq AND r.run = c.run))
         THEN 'a call is in flight whose run has ended' END AS problem
     FROM (SELECT DISTINCT job_seq FROM calls WHERE state = 'sent' AND job_seq > $1 ORDER BY job_seq LIMIT $2) k
     ORDER BY k.job_seq";

/// Money that is spent may be more than what the calls say: calls go with their jobs, a child before its root, and work
/// counts in some budgets too.
const BUDGETS_SQL: &str = "SELECT b.id,
         b.reserved <> coalesce(c.worst, 0)
             + (SELECT coalesce(sum(u.reserved), 0) FROM budgets u WHERE u.parent_id = b.id) AS reserved,
         b.spent < (WITH RECURSIVE tree(seq) AS (
                 SELECT j.seq FROM jobs j WHERE j.id = b.id
                 UNION ALL SELECT j.seq FROM tree t JOIN jobs j ON j.parent_seq = t.seq)
             SELECT coalesce(sum(m.booked), 0) FROM tree t JOIN calls m ON m.job_seq = t.seq AND m.budget_id = b.id)
             AS spent
     FROM (SELECT * FROM budgets WHERE id > $1 ORDER BY id LIMIT $2) b
     LEFT JOIN (SELECT budget_id, sum(worst) AS worst FROM calls WHERE state = 'sent' GROUP BY budget_id) c
         ON c.budget_id = b.id
     ORDER BY b.id";
