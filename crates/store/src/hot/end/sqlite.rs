//! The same on SQLite: the one writer ends run by run.

use rusqlite::{Row, params};
use windrow_core::{OwnerId, Timestamp, WorkerId};

use super::Verdict;
use super::close::ClosedRow;
use crate::direct::{Statement, Text, at};
use crate::{StoreError, Tx};

/// The guard of every completion: the row of this job *and this run*.
const GONE: Text = "
DELETE FROM running WHERE job_seq = ?1 AND run = ?2
RETURNING run, owner_id, worker_id, started_at, attempts, lost";

/// Without the guard: a test shows that it would be missed.
const GONE_UNFENCED: Text = "
DELETE FROM running WHERE job_seq = ?1 AND ?2 = ?2
RETURNING run, owner_id, worker_id, started_at, attempts, lost";

const WRITTEN: Text = "
INSERT INTO runs (job_seq, run, owner_id, outcome, worker_id, started_at, ended_at, retry_at, attempts, lost, class,
                  code, error, user_fault, dead_letter)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

const KEPT: Text = "
INSERT INTO results (job_seq, run, schema_version, output) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (job_seq) DO UPDATE
SET run = excluded.run, schema_version = excluded.schema_version, output = excluded.output";

const HEAD: Text = "
SELECT id, parent_seq, budget_id, webhook_url, EXISTS (SELECT 1 FROM parents WHERE job_seq = ?1)
FROM jobs WHERE seq = ?1";

/// Ends the runs that still hold their jobs, and gives those.
pub(super) async fn close_sqlite(
    tx: &mut Tx,
    verdicts: &[Verdict<'_>],
    fenced: bool,
    now: Timestamp,
) -> Result<Vec<ClosedRow>, StoreError> {
    let gone = if fenced { GONE } else { GONE_UNFENCED };
    tx.direct(&[gone, WRITTEN, KEPT, HEAD], |direct| {
        let mut gone = direct.prepare(gone)?;
        let mut written = direct.prepare(WRITTEN)?;
        let mut head = direct.prepare(HEAD)?;
        let mut kept = None;
        let mut closed = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            let (job, run) = (verdict.at.job.0, verdict.at.run.0);
            let Some(held) = gone.first(params![job, run], Held::read)? else { continue };
            write(&mut written, verdict, &held, now)?;
            if let Some(output) = verdict.output {
                let kept = match &mut kept {
                    Some(kept) => kept,
                    none => none.insert(direct.prepare(KEPT)?),
                };
                kept.run(params![job, run, output.schema_version, output.json])?;
            }
            closed.extend(head.first(params![job], |row| closed_row(verdict, &held, row))?);
        }
        Ok(closed)
    })
    .await
}

/// What the row of `running` said.
struct Held {
    run: i64,
    owner: OwnerId,
    worker: WorkerId,
    started_at: i64,
    attempts: i64,
    lost: i64,
}

impl Held {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            run: at(row, 0)?,
            owner: at(row, 1)?,
            worker: at(row, 2)?,
            started_at: at(row, 3)?,
            attempts: at(row, 4)?,
            lost: at(row, 5)?,
        })
    }
}

fn write(
    written: &mut Statement<'_>,
    verdict: &Verdict<'_>,
    held: &Held,
    now: Timestamp,
) -> Result<(), StoreError> {
    let error = verdict.error.as_deref();
    let lost = match verdict.lost {
        Some(1) => held.lost + 1,
        Some(_) => 0,
        None => held.lost,
    };
    let row = params![
        verdict.at.job.0,
        held.run,
        held.owner.0,
        verdict.outcome.as_str(),
        held.worker.0,
        held.started_at,
        now.as_micros(),
        verdict.retry_at.map(Timestamp::as_micros),
        held.attempts + i64::from(verdict.burnt),
        lost,
        error.map(|error| error.class.as_str()),
        error.map(|error| error.code.as_ref()),
        error.map(|error| error.message.as_str()),
        error.is_some_and(|error| error.user_fault),
        verdict.dead_letter,
    ];
    written.run(row).map(drop)
}

fn closed_row(verdict: &Verdict<'_>, held: &Held, row: &Row<'_>) -> Result<ClosedRow, StoreError> {
    Ok(ClosedRow {
        job_seq: verdict.at.job,
        run: verdict.at.run,
        id: at(row, 0)?,
        parent_seq: at(row, 1)?,
        budget_id: at(row, 2)?,
        webhook_url: at(row, 3)?,
        is_parent: at(row, 4)?,
        started_at: Timestamp::from_micros(held.started_at),
    })
}
