//! The `parents` table: how many children are open, and whether they are to be stopped.

use windrow_core::{JobError, JobSeq, RunOutcome};

use super::unrun::Unrun;
use crate::{Col, ListOf, Notes, Sql, StoreError, Tx, execute, fetch_all, json_ints, json_rows};

crate::row! {
    /// A row of `parents`, locked.
    pub(in crate::hot) struct ParentRow {
        pub(in crate::hot) job_seq: JobSeq,
        /// The parent's own parent.
        pub(in crate::hot) parent_seq: Option<JobSeq>,
        pub(in crate::hot) open: i64,
        pub(in crate::hot) held: bool,
        pub(in crate::hot) dead: i64,
        pub(in crate::hot) stopping: Option<String>,
        pub(in crate::hot) stop_after: i64,
        pub(in crate::hot) stop_done: bool,
    }
}

impl ParentRow {
    /// Has unclaimed children stopped, and with `cancel` and `ended` running ones too.
    pub(in crate::hot) fn stop(&mut self, why: &'static str) {
        let stronger = matches!(why, "cancel" | "ended");
        let already =
            self.stopping.as_deref().is_some_and(|now| !stronger || matches!(now, "cancel" | "ended"));
        if !already {
            (self.stop_after, self.stop_done) = (0, false);
        }
        if !already || why == "ended" {
            self.stopping = Some(why.to_owned());
        }
    }

    /// Whether nothing but the parent's own hold is left of it, and the parent has ended.
    pub(in crate::hot) fn is_over(&self) -> bool {
        self.held && self.open <= 1 && self.stopping.as_deref() == Some("ended")
    }

    /// How a child ends that is not running, or that would run again.
    pub(in crate::hot) fn verdict_on_children(&self) -> Option<Unrun> {
        let cancelled = |code: &'static str, message| {
            let error =
                JobError { code: code.into(), message: String::from(message), ..JobError::cancelled() };
            Unrun::new(RunOutcome::Cancelled, error)
        };
        Some(match self.stopping.as_deref()? {
            "dead" => cancelled("sibling_failed", "another child of the same parent failed"),
            "budget" => {
                let error = JobError::budget("the budget of the job's tree has no room");
                Unrun::new(RunOutcome::BudgetExceeded, error)
            }
            "cancel" => cancelled("parent_cancelled", "the parent job was cancelled"),
            _ => cancelled("parent_ended", "the parent job ended without waiting for this one"),
        })
    }
}

/// Locks the rows that exist, children before their parents.
pub(in crate::hot) async fn lock_parents(
    tx: &mut Tx,
    seqs: impl IntoIterator<Item = JobSeq>,
) -> Result<Vec<ParentRow>, StoreError> {
    static LOCK: Sql = Sql::new(|dialect| {
        let member = dialect.member("p.job_seq", "$1", ListOf::Int);
        let lock = dialect.pick("", " FOR UPDATE OF p");
        format!(
            "SELECT p.job_seq, j.parent_seq, p.open, p.held, p.dead, p.stopping, p.stop_after, p.stop_done
             FROM parents p JOIN jobs j ON j.seq = p.job_seq WHERE {member} ORDER BY p.job_seq DESC{lock}"
        )
    });
    let mut seqs: Vec<i64> = seqs.into_iter().map(|seq| seq.0).collect();
    if seqs.is_empty() {
        return Ok(Vec::new());
    }
    seqs.sort_unstable();
    seqs.dedup();
    fetch_all!(tx, ParentRow, LOCK.of(tx.dialect()), json_ints(seqs))
}

/// Writes back rows that [`lock_parents`] gave.
pub(in crate::hot) async fn write_parents(tx: &mut Tx, rows: &[&ParentRow]) -> Result<(), StoreError> {
    static WRITE: Sql = Sql::new(|dialect| {
        let rows = dialect.rows(
            "$1",
            "i",
            &[
                ("job_seq", Col::Int),
                ("open", Col::Int),
                ("held", Col::Bool),
                ("dead", Col::Int),
                ("stopping", Col::Text),
                ("stop_after", Col::Int),
                ("stop_done", Col::Bool),
            ],
        );
        format!(
            "UPDATE parents SET open = i.open, held = i.held, dead = i.dead, stopping = i.stopping,
                    stop_after = i.stop_after, stop_done = i.stop_done
             FROM {rows} WHERE parents.job_seq = i.job_seq"
        )
    });
    if rows.is_empty() {
        return Ok(());
    }
    let stopping = rows.iter().any(|row| row.stopping.is_some() && !row.stop_done);
    tx.note(Notes { stopping, ..Notes::default() });
    let values: Vec<_> = rows
        .iter()
        .map(|p| (p.job_seq.0, p.open, p.held, p.dead, &p.stopping, p.stop_after, p.stop_done))
        .collect();
    execute!(tx, WRITE.of(tx.dialect()), json_rows(&values)).map(drop)
}

/// Forgets parents whose children have all ended.
pub(in crate::hot) async fn delete_parents(tx: &mut Tx, seqs: &[JobSeq]) -> Result<(), StoreError> {
    static DELETE: Sql =
        Sql::new(|d| format!("DELETE FROM parents WHERE {}", d.member("job_seq", "$1", ListOf::Int)));
    if seqs.is_empty() {
        return Ok(());
    }
    execute!(tx, DELETE.of(tx.dialect()), json_ints(seqs.iter().map(|seq| seq.0))).map(drop)
}
