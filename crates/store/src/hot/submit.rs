//! Submit: rows in `jobs`, in `ready` or `scheduled`, and in `budgets`.

use std::collections::HashMap;

use futures::future::BoxFuture;
use rusqlite::params;
use uuid::Uuid;
use windrow_core::{BudgetCounts, BudgetId, JobId, JobSeq, OwnerId, PicoUsd, Priority, Timestamp};

use crate::direct::{Statement, Text};
use crate::{Arm, Col, Dialect, Notes, Sql, StoreError, Tx, execute, fetch_all, json_rows};

/// A job that a user submits. Children are made by [`super::add_children`].
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Made by the caller: submitting the same id again answers [`Submitted::Reused`].
    pub id: JobId,
    pub owner: OwnerId,
    pub workload: String,
    /// JSON text.
    pub spec: String,
    pub spec_version: i64,
    pub priority: Priority,
    /// When it may run first; not later than now means now.
    pub run_at: Timestamp,
    /// The most that the job's tree may cost; none means that it can't make priced calls.
    pub budget: Option<NewBudget>,
    /// The user's key and the SHA-256 of the canonical request. The key is scoped to the owner.
    pub idempotency: Option<(String, [u8; 32])>,
    pub request_id: Option<String>,
    /// Where its submit stands in a trace: the text of a `traceparent` (W3C Trace Context).
    pub traceparent: Option<String>,
    pub webhook_url: Option<String>,
    /// The job waits for a person's yes before it is queued.
    pub needs_approval: bool,
    /// What it is expected to cost, where its workload says.
    pub estimate: Option<PicoUsd>,
}

/// The budget of a job's tree; its id is the job's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewBudget {
    pub cap: PicoUsd,
    /// A sweep's or an owner's month: a reservation must fit there too.
    pub parent: Option<BudgetId>,
    /// What counts beside calls of models.
    pub counts: BudgetCounts,
}

impl NewBudget {
    /// For the calls of models, under no other budget.
    pub fn of(cap: PicoUsd) -> Self {
        Self { cap, parent: None, counts: BudgetCounts::default() }
    }
}

/// What became of a submitted job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submitted {
    Created {
        seq: JobSeq,
        id: JobId,
        /// When, as its row says.
        at: Timestamp,
    },
    /// The owner's key (or the id) was used before, for the same request: this is its job.
    Reused { seq: JobSeq, id: JobId },
    /// The owner's key was used before, for another request.
    Conflict { seq: JobSeq, id: JobId },
}

crate::row! {
    struct Created { seq: JobSeq, id: JobId }
}

crate::row! {
    struct Existing { ord: i64, seq: JobSeq, id: JobId, request_hash: Option<Vec<u8>>, by_id: bool }
}

/// Inserts the batch; what is already there is answered, not inserted.
pub fn submit<'a>(
    tx: &'a mut Tx,
    batch: &'a [NewJob],
    now: Timestamp,
) -> BoxFuture<'a, Result<Vec<Submitted>, StoreError>> {
    Box::pin(async move {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let created = match tx.dialect() {
            Dialect::Postgres => insert_postgres(tx, batch, now).await?,
            Dialect::Sqlite => insert_sqlite(tx, batch, now).await?,
        };
        insert_budgets(tx, batch, &created, now).await?;
        let later = batch.iter().any(|job| job.run_at > now);
        tx.note(Notes { work: !created.is_empty(), later, ..Notes::default() });
        let created: HashMap<JobId, JobSeq> = created.into_iter().map(|row| (row.id, row.seq)).collect();
        let mut existing = existing(tx, batch, &created).await?;
        let mut made: HashMap<JobId, JobSeq> = created.clone();
        let mut answers = Vec::with_capacity(batch.len());
        for (ord, job) in batch.iter().enumerate() {
            // the first of two items with one id in a batch made the job
            if let Some(seq) = made.remove(&job.id) {
                answers.push(Submitted::Created { seq, id: job.id, at: now });
                continue;
            }
            let row = existing.remove(&ord).or_else(|| {
                created.get(&job.id).map(|seq| Existing {
                    ord: 0,
                    seq: *seq,
                    id: job.id,
                    request_hash: None,
                    by_id: true,
                })
            });
            let row = row.ok_or_else(|| {
                StoreError::invariant("jobs", "id", job.id, "neither inserted nor found by its id or key")
            })?;
            answers.push(answer(job, &row));
        }
        Ok(answers)
    })
}

fn answer(job: &NewJob, row: &Existing) -> Submitted {
    let same = match (&job.idempotency, &row.request_hash) {
        (Some((_, hash)), Some(found)) => hash.as_slice() == found.as_slice(),
        _ => row.by_id,
    };
    let (seq, id) = (row.seq, row.id);
    if same { Submitted::Reused { seq, id } } else { Submitted::Conflict { seq, id } }
}

/// A second statement, because the first one's snapshot may be older than a row it ran into.
async fn existing(
    tx: &mut Tx,
    batch: &[NewJob],
    created: &HashMap<JobId, JobSeq>,
) -> Result<HashMap<usize, Existing>, StoreError> {
    static FIND: Sql = Sql::new(|dialect| {
        let rows = dialect.rows(
            "$1",
            "i",
            &[("place", Col::Int), ("id", Col::Uuid), ("owner_id", Col::Int), ("key", Col::Text)],
        );
        format!(
            "SELECT i.place AS ord, j.seq, j.id, j.request_hash, FALSE AS by_id FROM {rows}
             JOIN jobs j ON j.owner_id = i.owner_id AND j.idempotency_key = i.key AND i.key IS NOT NULL
             UNION ALL
             SELECT i.place AS ord, j.seq, j.id, j.request_hash, TRUE AS by_id FROM {rows}
             JOIN jobs j ON j.id = i.id"
        )
    });
    let missing: Vec<(usize, Uuid, i64, Option<&str>)> = batch
        .iter()
        .enumerate()
        .filter(|(_, job)| !created.contains_key(&job.id))
        .map(|(ord, job)| (ord, job.id.0, job.owner.0, job.idempotency.as_ref().map(|(key, _)| key.as_str())))
        .collect();
    if missing.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = fetch_all!(tx, Existing, FIND.of(tx.dialect()), json_rows(&missing))?;
    let mut found = HashMap::new();
    for row in rows {
        let ord = usize::try_from(row.ord).unwrap_or(usize::MAX);
        // a job found by its own id is that job, whatever its key
        if row.by_id || !found.contains_key(&ord) {
            found.insert(ord, row);
        }
    }
    Ok(found)
}

const INSERT_POSTGRES: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::uuid[], $9::text[], $10::bytea[], $11::text[], $12::text[], $13::text[], $14::boolean[],
                         $16::bigint[])
        AS i(id, owner_id, workload, spec, spec_version, priority, run_at, budget_id, idempotency_key, request_hash,
             request_id, traceparent, webhook_url, needs_approval, estimate)
), made AS (
    INSERT INTO jobs (id, owner_id, workload, spec, spec_version, priority, run_at, budget_id, idempotency_key,
                      request_hash, request_id, traceparent, webhook_url, needs_approval, estimate, created_at)
    SELECT id, owner_id, workload, spec, spec_version, priority, run_at, budget_id, idempotency_key,
           request_hash, request_id, traceparent, webhook_url, needs_approval, estimate, $15
    FROM input
    ON CONFLICT DO NOTHING
    RETURNING seq, id, owner_id, workload, priority, run_at, needs_approval, budget_id
), queued AS (
    INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost)
    SELECT priority, workload, owner_id, run_at, seq, 1, 0, 0 FROM made WHERE NOT needs_approval AND run_at <= $15
), later AS (
    INSERT INTO scheduled (run_at, job_seq, priority, workload, owner_id, run, attempts, lost)
    SELECT run_at, seq, priority, workload, owner_id, 1, 0, 0 FROM made WHERE NOT needs_approval AND run_at > $15
)
SELECT seq, id FROM made";

async fn insert_postgres(tx: &mut Tx, batch: &[NewJob], now: Timestamp) -> Result<Vec<Created>, StoreError> {
    fn all<'j, T>(batch: &'j [NewJob], of: impl Fn(&'j NewJob) -> T) -> Vec<T> {
        batch.iter().map(of).collect()
    }
    let sql = sqlx::SqlSafeStr::into_sql_str(INSERT_POSTGRES);
    let Arm::Postgres(conn) = tx.arm(&sql)? else { unreachable!("asked for by dialect") };
    sqlx::query_as(sql)
        .bind(all(batch, |job| job.id.0))
        .bind(all(batch, |job| job.owner.0))
        .bind(all(batch, |job| job.workload.as_str()))
        .bind(all(batch, |job| job.spec.as_str()))
        .bind(all(batch, |job| job.spec_version))
        .bind(all(batch, |job| i64::from(job.priority.rank())))
        .bind(all(batch, |job| job.first_run_at(now)))
        .bind(all(batch, |job| job.budget.map(|_| job.id.0)))
        .bind(all(batch, |job| job.idempotency.as_ref().map(|(key, _)| key.as_str())))
        .bind(all(batch, |job| job.idempotency.as_ref().map(|(_, hash)| &hash[..])))
        .bind(all(batch, |job| job.request_id.as_deref()))
        .bind(all(batch, |job| job.traceparent.as_deref()))
        .bind(all(batch, |job| job.webhook_url.as_deref()))
        .bind(all(batch, |job| job.needs_approval))
        .bind(now.as_micros())
        .bind(all(batch, |job| job.estimate.map(PicoUsd::as_pico)))
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::from_sqlx(INSERT_POSTGRES, error))
}

impl NewJob {
    /// A job with an empty spec that is due `now`, of normal priority and without anything optional: for the rest, take it as
    /// the base of a struct update.
    pub fn plain(id: JobId, owner: OwnerId, workload: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id,
            owner,
            workload: workload.into(),
            spec: "{}".to_owned(),
            spec_version: 1,
            priority: Priority::Normal,
            run_at: now,
            budget: None,
            idempotency: None,
            request_id: None,
            traceparent: None,
            webhook_url: None,
            needs_approval: false,
            estimate: None,
        }
    }

    /// What is due keeps its place by when it was asked for, not by a time in the past that its owner may choose.
    fn first_run_at(&self, now: Timestamp) -> i64 {
        self.run_at.max(now).as_micros()
    }
}

const JOB_SQLITE: Text = "
INSERT INTO jobs (id, owner_id, workload, spec, spec_version, priority, run_at, budget_id, idempotency_key,
                  request_hash, request_id, traceparent, webhook_url, needs_approval, estimate, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT DO NOTHING";

const READY_SQLITE: Text = "
INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost)
SELECT priority, workload, owner_id, run_at, seq, 1, 0, 0 FROM jobs
WHERE seq BETWEEN ?1 AND ?2 AND NOT needs_approval AND run_at <= ?3";

const LATER_SQLITE: Text = "
INSERT INTO scheduled (run_at, job_seq, priority, workload, owner_id, run, attempts, lost)
SELECT run_at, seq, priority, workload, owner_id, 1, 0, 0 FROM jobs
WHERE seq BETWEEN ?1 AND ?2 AND NOT needs_approval AND run_at > ?3";

async fn insert_sqlite(tx: &mut Tx, batch: &[NewJob], now: Timestamp) -> Result<Vec<Created>, StoreError> {
    tx.direct(&[JOB_SQLITE, READY_SQLITE, LATER_SQLITE], |direct| {
        let mut insert = direct.prepare(JOB_SQLITE)?;
        let mut created = Vec::with_capacity(batch.len());
        for job in batch {
            if insert_job(&mut insert, job, now)? > 0 {
                created.push(Created { seq: JobSeq(direct.last_key()), id: job.id });
            }
        }
        // the one writer gave them numbers in a row
        if let (Some(first), Some(last)) = (created.first(), created.last()) {
            let range = params![first.seq.0, last.seq.0, now.as_micros()];
            direct.prepare(READY_SQLITE)?.run(range)?;
            direct.prepare(LATER_SQLITE)?.run(range)?;
        }
        Ok(created)
    })
    .await
}

/// Gives 0 when the id or the key is there already.
fn insert_job(insert: &mut Statement<'_>, job: &NewJob, now: Timestamp) -> Result<usize, StoreError> {
    let (key, hash) = job.idempotency.as_ref().map(|(key, hash)| (key, &hash[..])).unzip();
    insert.run(params![
        job.id.0,
        job.owner.0,
        job.workload,
        job.spec,
        job.spec_version,
        job.priority.rank(),
        job.first_run_at(now),
        job.budget.map(|_| job.id.0),
        key,
        hash,
        job.request_id,
        job.traceparent,
        job.webhook_url,
        job.needs_approval,
        job.estimate.map(PicoUsd::as_pico),
        now.as_micros(),
    ])
}

async fn insert_budgets(
    tx: &mut Tx,
    batch: &[NewJob],
    created: &[Created],
    now: Timestamp,
) -> Result<(), StoreError> {
    static BUDGETS: Sql = Sql::new(|dialect| {
        let columns = [
            ("id", Col::Uuid),
            ("parent_id", Col::Uuid),
            ("cap", Col::Int),
            ("counts_compute", Col::Bool),
            ("counts_storage", Col::Bool),
        ];
        let rows = dialect.rows("$1", "i", &columns);
        format!(
            "INSERT INTO budgets (id, parent_id, cap, counts_compute, counts_storage, created_at)
             SELECT id, parent_id, cap, counts_compute, counts_storage, $2 FROM {rows}"
        )
    });
    let budgets: HashMap<JobId, NewBudget> =
        batch.iter().filter_map(|job| Some((job.id, job.budget?))).collect();
    let rows: Vec<_> = created
        .iter()
        .filter_map(|row| {
            let budget = budgets.get(&row.id)?;
            let (parent, counts) = (budget.parent.map(|id| id.0), budget.counts);
            Some((row.id.0, parent, budget.cap.as_pico(), counts.compute, counts.storage))
        })
        .collect();
    if !rows.is_empty() {
        execute!(tx, BUDGETS.of(tx.dialect()), json_rows(&rows), now)?;
    }
    Ok(())
}
