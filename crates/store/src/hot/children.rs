//! Child jobs: made by a run of their parent, counted in `parents`.

use futures::future::BoxFuture;
use windrow_core::{JobId, JobSeq, JobStatus, PicoUsd, Priority, Timestamp};

use super::{Fenced, RunRef};
use crate::fault::Guard;
use crate::{Col, Notes, Sql, StoreError, Tx, execute, fetch_all, fetch_optional, json_rows};

/// A child to be made. Owner, budget, trace and request id are its parent's; it is queued at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewChild {
    pub id: JobId,
    /// Unique among the parent's children: making the same child again does nothing.
    pub key: String,
    pub workload: String,
    /// JSON text.
    pub spec: String,
    pub spec_version: i64,
    /// Default: the parent's.
    pub priority: Option<Priority>,
}

/// What became of [`add_children`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// So many were not there before.
    Added(u64),
    /// A child is dead, the budget is closed or the job is cancelled: no more children are made; end the run.
    Stopping,
    Stale,
}

static QUEUE: Sql = Sql::new(|dialect| {
    let rows = dialect.rows("$1", "i", &[("seq", Col::Int)]);
    format!(
        "INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost)
         SELECT j.priority, j.workload, j.owner_id, j.run_at, j.seq, 1, 0, 0
         FROM {rows} CROSS JOIN jobs j WHERE j.seq = i.seq"
    )
});

/// Makes up to 500 children of a run's job.
pub fn add_children<'a>(
    tx: &'a mut Tx,
    parent: RunRef,
    children: &'a [NewChild],
    now: Timestamp,
) -> BoxFuture<'a, Result<Added, StoreError>> {
    Box::pin(async move {
        if hold_run(tx, parent).await? == Fenced::Stale {
            return Ok(Added::Stale);
        }
        let ensure =
            "INSERT INTO parents (job_seq, open, held) VALUES ($1, 1, TRUE) ON CONFLICT (job_seq) DO NOTHING";
        execute!(tx, ensure, parent.job)?;
        let rows = super::end::lock_parents(tx, [parent.job]).await?;
        if rows.first().is_none_or(|row| row.stopping.is_some()) {
            return Ok(Added::Stopping);
        }
        let inserted = insert(tx, parent.job, children, now).await?;
        let counted = if tx.lacks(Guard::ChildOnce) { children.len() } else { inserted.len() };
        let counted = i64::try_from(counted).unwrap_or(i64::MAX);
        execute!(tx, "UPDATE parents SET open = open + $2 WHERE job_seq = $1", parent.job, counted)?;
        let seqs: Vec<(i64,)> = inserted.iter().map(|seq| (*seq,)).collect();
        if !seqs.is_empty() {
            execute!(tx, QUEUE.of(tx.dialect()), json_rows(&seqs))?;
            tx.note(Notes { work: true, ..Notes::default() });
        }
        Ok(Added::Added(inserted.len() as u64))
    })
}

async fn insert(
    tx: &mut Tx,
    parent: JobSeq,
    children: &[NewChild],
    now: Timestamp,
) -> Result<Vec<i64>, StoreError> {
    static INSERT: Sql = Sql::new(|dialect| {
        let rows = dialect.rows(
            "$1",
            "i",
            &[
                ("id", Col::Uuid),
                ("child_key", Col::Text),
                ("workload", Col::Text),
                ("spec", Col::Text),
                ("spec_version", Col::Int),
                ("priority", Col::Int),
            ],
        );
        format!(
            "INSERT INTO jobs (id, owner_id, workload, spec, spec_version, priority, run_at, parent_seq, child_key,
                               budget_id, request_id, traceparent, created_at, needs_approval)
             SELECT i.id, p.owner_id, i.workload, i.spec, i.spec_version, coalesce(i.priority, p.priority), $3, p.seq,
                    i.child_key, p.budget_id, p.request_id, p.traceparent, $3, FALSE
             FROM {rows} CROSS JOIN jobs p WHERE p.seq = $2 ORDER BY i.ord
             ON CONFLICT DO NOTHING RETURNING seq"
        )
    });
    if children.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<_> = children
        .iter()
        .map(|c| (c.id.0, &c.key, &c.workload, &c.spec, c.spec_version, c.priority.map(Priority::rank)))
        .collect();
    fetch_all!(tx, scalar i64, INSERT.of(tx.dialect()), json_rows(&rows), parent, now)
}

/// Holds a run's `running` row until the commit, so that the run can't end meanwhile; says whether it is there.
pub(super) async fn hold_run(tx: &mut Tx, at: RunRef) -> Result<Fenced, StoreError> {
    static HOLD: Sql =
        Sql::new(|d| format!("SELECT job_seq FROM running WHERE job_seq = $1 AND run = $2{}", d.for_share()));
    let row = fetch_optional!(tx, scalar i64, HOLD.of(tx.dialect()), at.job, at.run)?;
    Ok(if row.is_some() { Fenced::Applied } else { Fenced::Stale })
}

crate::row! {
    /// A child, as its parent's run sees it.
    pub struct Child {
        pub seq: JobSeq,
        pub id: JobId,
        pub child_key: String,
        pub status: JobStatus,
        /// Why it failed: the last run's error code.
        pub error_code: Option<String>,
        /// JSON text of its result, when it has one, and that result's version.
        pub output: Option<String>,
        pub output_version: Option<i64>,
        /// The checkpoint that it ended with: what a partial child made.
        pub checkpoint: Option<String>,
        pub checkpoint_version: Option<i64>,
        /// What its calls cost so far.
        pub cost: PicoUsd,
    }
}

/// Children of a job in the order in which they were made, from the one after `after` on.
pub async fn children_page(
    conn: &mut crate::Conn,
    parent: JobSeq,
    after: JobSeq,
    limit: i64,
) -> Result<Vec<Child>, StoreError> {
    let sql = "SELECT j.seq, j.id, j.child_key, s.status,
             (SELECT l.code FROM runs l WHERE l.job_seq = j.seq ORDER BY l.run DESC LIMIT 1) AS error_code,
             r.output, r.schema_version AS output_version, c.state AS checkpoint,
             c.schema_version AS checkpoint_version,
             CAST(coalesce((SELECT sum(g.cost) FROM ledger g WHERE g.job_seq = j.seq AND g.kind = 'model'), 0) AS bigint) AS cost
         FROM jobs j JOIN job_status s ON s.job_seq = j.seq
         LEFT JOIN results r ON r.job_seq = j.seq LEFT JOIN checkpoints c ON c.job_seq = j.seq
         WHERE j.parent_seq = $1 AND j.seq > $2 ORDER BY j.seq LIMIT $3";
    fetch_all!(conn, Child, sql, parent, after, limit)
}
