//! What stands where, as text lines that both databases and the model agree on.

use windrow_store::Dialect;

pub(super) fn lines_sql(dialect: Dialect) -> String {
    let id = |column: &str| match dialect {
        Dialect::Sqlite => format!("lower(hex({column}))"),
        Dialect::Postgres => format!("replace(CAST({column} AS text), '-', '')"),
    };
    let yes = |column: &str| format!("CASE WHEN {column} THEN 'true' ELSE 'false' END");
    let (job, next) = (id("j.id"), "x.run || '|' || x.attempts || '|' || x.lost");
    let line =
        format!("x.priority || '|' || x.workload || '|' || x.owner_id || '|' || x.run_at || '|' || {next}");
    let of = |kind: &str, table: &str, text: &str| {
        format!("SELECT '{kind}', {job}, {text} FROM {table} x JOIN jobs j ON j.seq = x.job_seq")
    };
    [
        format!("SELECT 'seq', {job}, CAST(j.seq AS text) FROM jobs j"),
        format!(
            "SELECT 'job', {job}, s.status || '|' || j.reopened_run || '|' || {} FROM jobs j JOIN job_status s ON s.job_seq = j.seq",
            yes("j.cancel_requested_at IS NOT NULL")
        ),
        of("ready", "ready", &line),
        of("scheduled", "scheduled", &line),
        format!(
            "SELECT 'running', {job}, w.name || '|' || x.started_at || '|' || {next} FROM running x
             JOIN jobs j ON j.seq = x.job_seq JOIN workers w ON w.id = x.worker_id"
        ),
        of(
            "run",
            "runs",
            &format!(
                "x.run || '|' || x.outcome || '|' || coalesce(x.code, '') || '|' || coalesce(CAST(x.retry_at AS text), '')
                 || '|' || x.attempts || '|' || x.lost || '|' || {}",
                yes("x.dead_letter")
            ),
        ),
        of(
            "parent",
            "parents",
            &format!(
                "x.open || '|' || {} || '|' || x.dead || '|' || coalesce(x.stopping, '') || '|' || {}",
                yes("x.held"),
                yes("x.stop_done")
            ),
        ),
        of("result", "results", "CAST(x.run AS text)"),
        of("checkpoint", "checkpoints", "x.run || '|' || x.state"),
        of("journal", "call_journal", "x.key || '|' || x.run"),
        "SELECT 'worker', w.name, w.state || '|' || w.beat_no FROM workers w".to_owned(),
        format!(
            "SELECT 'budget', {}, b.cap || '|' || b.reserved || '|' || b.spent || '|' || {} FROM budgets b",
            id("b.id"),
            yes("b.closed")
        ),
        format!(
            "SELECT 'call', {}, {job} || '|' || c.run || '|' || c.state || '|' || c.worst || '|' || c.booked
             FROM calls c JOIN jobs j ON j.seq = c.job_seq",
            id("c.id")
        ),
    ]
    .join(" UNION ALL ")
}
