//! Jobs, runs, history, ledger and dead letters as people look at them. Rows are written here by hand, so that these tests
//! depend on no statement of the engine.

use std::time::Duration;

use windrow_core::{
    CallId, ErrorClass, JobId, JobSeq, JobStatus, LedgerKind, OwnerId, PicoUsd, RunNo, RunOutcome, TestClock,
    Timestamp,
};
use windrow_store::dead_letters::{self, DeadLetterFilter};
use windrow_store::history::{self, Place, What};
use windrow_store::jobs::{self, JobFilter};
use windrow_store::ledger::{self, GroupBy};
use windrow_store::{Db, StoreError, Tx, execute, objects, runs};
use windrow_test_support::on_both;

use crate::support::{CLOCK, migrated};

const ADA: OwnerId = OwnerId(1);
const BOB: OwnerId = OwnerId(2);

fn at(second: u64) -> Timestamp {
    CLOCK.plus(Duration::from_secs(second))
}

async fn job(tx: &mut Tx, seq: i64, owner: OwnerId, parent: Option<i64>) -> JobId {
    let id = JobId::new(&*TestClock::shared());
    let sql = "INSERT INTO jobs (seq, id, owner_id, workload, spec, spec_version, priority, run_at, parent_seq, child_key,
             request_id, created_at, needs_approval)
         VALUES ($1, $2, $3, 'echo', '{}', 1, 1, $4, $5, $6, 'r-1', $4, $7)";
    let key = parent.map(|_| format!("child-{seq}"));
    let when = at(u64::try_from(seq).unwrap_or(0));
    execute!(tx, sql, JobSeq(seq), id, owner, when, parent, key, false).expect("a job");
    id
}

async fn ended(
    tx: &mut Tx,
    seq: i64,
    run: i64,
    owner: OwnerId,
    outcome: RunOutcome,
    second: u64,
    dead: bool,
) {
    let sql = "INSERT INTO runs (job_seq, run, owner_id, outcome, started_at, ended_at, attempts, lost, class, code, error, dead_letter)
         VALUES ($1, $2, $3, $4, $5, $6, $2, 0, $7, 'timeout', 'no answer', $8)";
    let class = ErrorClass::Transient;
    execute!(tx, sql, seq, run, owner, outcome, at(second), at(second + 1), class, dead).expect("a run");
}

async fn booked(tx: &mut Tx, seq: i64, owner: OwnerId, entry: &str, pico: i64, second: u64) -> CallId {
    let id = CallId::new(&*TestClock::shared());
    let sql = "INSERT INTO ledger (entry, kind, call_id, owner_id, workload, job_seq, run, step, model, input_tokens, output_tokens, cost, at)
         VALUES ($1, $2, $3, $4, 'echo', $5, 1, 's', 'm', 10, 20, $6, $7)";
    execute!(tx, sql, entry, LedgerKind::Model, id, owner, seq, pico, at(second)).expect("a ledger row");
    id
}

async fn listed(db: &Db, owner: OwnerId, filter: JobFilter<'_>, before: Option<i64>) -> Vec<i64> {
    let mut conn = db.read().await.expect("a reader");
    let jobs = jobs::list(&mut conn, owner, &filter, before.map(JobSeq), 10).await.expect("a list");
    jobs.into_iter().map(|job| job.seq.0).collect()
}

async fn roll_up(db: &Db) -> Result<u64, StoreError> {
    let mut total = 0;
    loop {
        let mut tx = db.begin().await?;
        let high = ledger::settled_up_to(&mut tx).await?;
        tx.commit().await?;
        let mut tx = db.begin().await?;
        let done = ledger::roll_up(&mut tx, high, 2).await?;
        tx.commit().await?;
        if done == 0 {
            return Ok(total);
        }
        total += done;
    }
}

on_both! {
    async fn jobs_are_listed_by_status_workload_time_and_page(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        for seq in 1..=6 {
            job(&mut tx, seq, if seq == 6 { BOB } else { ADA }, (seq == 5).then_some(4)).await;
        }
        ended(&mut tx, 1, 1, ADA, RunOutcome::Completed, 10, false).await;
        ended(&mut tx, 2, 1, ADA, RunOutcome::Retried, 10, false).await;
        let running = "INSERT INTO running (job_seq, run, worker_id, owner_id, workload, started_at, attempts, lost)
             VALUES (3, 1, 1, 1, 'echo', 5, 0, 0)";
        execute!(&mut tx, running).unwrap();
        execute!(&mut tx, "INSERT INTO parents (job_seq, open, held) VALUES (4, 1, FALSE)").unwrap();
        tx.commit().await.unwrap();

        let all = JobFilter::default();
        assert_eq!(listed(&db, ADA, all.clone(), None).await, [4, 3, 2, 1]);
        assert_eq!(listed(&db, ADA, all.clone(), Some(3)).await, [2, 1]);
        assert_eq!(listed(&db, BOB, all.clone(), None).await, [6]);
        assert_eq!(listed(&db, ADA, JobFilter { children: true, ..all.clone() }, None).await, [5, 4, 3, 2, 1]);
        for (statuses, expected) in [
            (vec![JobStatus::Completed], vec![1]),
            (vec![JobStatus::Queued], vec![2]),
            (vec![JobStatus::Running], vec![3]),
            (vec![JobStatus::Running, JobStatus::Waiting], vec![4, 3]),
            (vec![JobStatus::Completed, JobStatus::Queued], vec![2, 1]),
            (vec![JobStatus::PendingApproval], vec![]),
        ] {
            let filter = JobFilter { statuses: &statuses, ..all.clone() };
            assert_eq!(listed(&db, ADA, filter, None).await, expected, "{statuses:?}");
        }
        let window = JobFilter { since: Some(at(2)), until: Some(at(3)), ..all.clone() };
        assert_eq!(listed(&db, ADA, window, None).await, [2]);
        assert!(listed(&db, ADA, JobFilter { workload: Some("style"), ..all }, None).await.is_empty());
    }

    async fn a_job_is_its_owners_alone(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        let id = job(&mut tx, 1, ADA, None).await;
        job(&mut tx, 2, ADA, Some(1)).await;
        job(&mut tx, 3, ADA, Some(2)).await;
        ended(&mut tx, 1, 1, ADA, RunOutcome::Failed, 10, true).await;
        assert!(jobs::get(&mut tx, BOB, id).await.unwrap().is_none());
        assert!(jobs::head(&mut tx, BOB, id).await.unwrap().is_none());
        assert_eq!(jobs::head_of_anybody(&mut tx, id).await.unwrap().unwrap().owner_id, ADA);
        let row = jobs::get(&mut tx, ADA, id).await.unwrap().unwrap();
        assert_eq!((row.status, row.last_run, row.code.as_deref()), (JobStatus::Failed, Some(RunNo(1)), Some("timeout")));
        assert_eq!(row.first_started_at, Some(at(10)));
        let children = jobs::children(&mut tx, ADA, JobSeq(1), None, 10).await.unwrap();
        assert_eq!(children.iter().map(|c| (c.seq.0, c.parent_id)).collect::<Vec<_>>(), [(2, Some(id))]);
        assert!(jobs::children(&mut tx, BOB, JobSeq(1), None, 10).await.unwrap().is_empty());
        assert_eq!(jobs::root(&mut tx, JobSeq(3)).await.unwrap(), JobSeq(1));
        assert_eq!(jobs::of_request(&mut tx, Some(ADA), "r-1", None, 10).await.unwrap().len(), 1);
        assert!(jobs::of_request(&mut tx, Some(BOB), "r-1", None, 10).await.unwrap().is_empty());
        assert_eq!(jobs::of_request(&mut tx, None, "r-1", Some((id, id)), 10).await.unwrap().len(), 1);
        assert_eq!(jobs::open_jobs(&mut tx).await.unwrap().len(), 2);
        assert!(jobs::last_successes(&mut tx, 10_000).await.unwrap().is_empty());
        assert!(objects::named(&mut tx, &["k".to_owned()]).await.unwrap().is_empty());
    }

    async fn the_last_successes_are_looked_for_among_the_newest_jobs_only(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        for (seq, second) in [(1, 10), (2, 20), (3, 30)] {
            job(&mut tx, seq, ADA, None).await;
            ended(&mut tx, seq, 1, ADA, RunOutcome::Completed, second, false).await;
        }
        execute!(&mut tx, "UPDATE jobs SET workload = 'old' WHERE seq = 1").unwrap();
        let mut found = jobs::last_successes(&mut tx, 3).await.unwrap();
        found.sort_unstable();
        assert_eq!(found, [("echo".to_owned(), at(31)), ("old".to_owned(), at(11))]);
        assert_eq!(jobs::last_successes(&mut tx, 2).await.unwrap(), [("echo".to_owned(), at(31))]);
    }

    async fn a_history_is_told_once_wherever_the_reader_comes_back(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        job(&mut tx, 1, ADA, None).await;
        ended(&mut tx, 1, 1, ADA, RunOutcome::Retried, 10, false).await;
        ended(&mut tx, 1, 2, ADA, RunOutcome::Completed, 20, false).await;
        let event = "INSERT INTO events (job_seq, n, owner_id, run, type, payload, schema_version, at) VALUES (1, 1, 1, 1, 'note', '{}', 1, $1)";
        execute!(&mut tx, event, at(15)).unwrap();
        let all = history::after(&mut tx, JobSeq(1), Place::START, 100).await.unwrap();
        let ids: Vec<String> = all.iter().map(|line| line.place.to_string()).collect();
        assert_eq!(ids, ["0.0.1", "0.1.1", "0.1.2", "1.1.2", "1.2.1", "1.2.2"]);
        assert!(matches!(&all[3].what, What::Event { kind, .. } if kind == "note"));
        for (seen, line) in all.iter().enumerate() {
            let rest = history::after(&mut tx, JobSeq(1), line.place, 100).await.unwrap();
            assert_eq!(rest, all[seen + 1..], "after {}", line.place);
        }
        let marks = history::marks(&mut tx, &[JobSeq(1), JobSeq(9)]).await.unwrap();
        assert_eq!(marks.iter().map(|m| (m.job_seq.0, m.event, m.ended)).collect::<Vec<_>>(), [(1, Some(1), Some(RunNo(2)))]);
        let runs = runs::list(&mut tx, JobSeq(1)).await.unwrap();
        assert_eq!(runs.iter().map(|r| r.outcome).collect::<Vec<_>>(), [Some(RunOutcome::Retried), Some(RunOutcome::Completed)]);
    }

    async fn a_dead_letter_waits_until_it_is_retried_or_discarded(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        for seq in 1..=4 {
            job(&mut tx, seq, if seq == 4 { BOB } else { ADA }, None).await;
            ended(&mut tx, seq, 1, ADA, RunOutcome::Failed, 10, seq != 3).await;
        }
        let filter = DeadLetterFilter { owner: Some(ADA), ..DeadLetterFilter::default() };
        let list = async |tx: &mut Tx, filter: &DeadLetterFilter<'_>, before| -> Vec<i64> {
            dead_letters::list(tx, filter, before, 10).await.unwrap().iter().map(|letter| letter.seq.0).collect()
        };
        assert_eq!(list(&mut tx, &filter, None).await, [2, 1]);
        assert_eq!(list(&mut tx, &filter, Some(JobSeq(2))).await, [1]);
        assert_eq!(list(&mut tx, &DeadLetterFilter::default(), None).await, [4, 2, 1]);
        assert_eq!(dead_letters::count(&mut tx, &filter).await.unwrap(), 2);
        let late = DeadLetterFilter { since: Some(at(12)), ..filter.clone() };
        assert!(list(&mut tx, &late, None).await.is_empty());
        execute!(&mut tx, "UPDATE jobs SET reopened_run = 1 WHERE seq = 1").unwrap();
        execute!(&mut tx, "UPDATE jobs SET discarded_at = 5 WHERE seq = 2").unwrap();
        assert!(list(&mut tx, &filter, None).await.is_empty());
    }

    async fn sums_equal_the_ledger_before_and_after_the_watermark(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        job(&mut tx, 1, ADA, None).await;
        job(&mut tx, 2, ADA, Some(1)).await;
        job(&mut tx, 3, ADA, Some(2)).await;
        for (seq, entry, pico) in [(1, "settled", 5), (2, "settled", 7), (3, "unconfirmed", 100), (3, "correction", -60)] {
            booked(&mut tx, seq, ADA, entry, pico, 1).await;
        }
        tx.commit().await.unwrap();
        let exact = ledger::Sums { calls: 3, input_tokens: 40, output_tokens: 80, cached_tokens: 0, cost: PicoUsd::from_pico(52) };
        let sums = async |seq| ledger::sums_of_tree(&mut db.read().await.unwrap(), JobSeq(seq)).await.unwrap();
        assert_eq!(sums(1).await, exact);
        assert_eq!(roll_up(&db).await.unwrap(), 4);
        assert_eq!(roll_up(&db).await.unwrap(), 0);
        assert_eq!(sums(1).await, exact);
        assert_eq!(sums(2).await.cost, PicoUsd::from_pico(47));
        let mut tx = db.begin().await.unwrap();
        booked(&mut tx, 2, ADA, "settled", 8, 86_400).await;
        tx.commit().await.unwrap();
        assert_eq!(sums(1).await.cost, PicoUsd::from_pico(60));
        assert_eq!(roll_up(&db).await.unwrap(), 1);
        let mut conn = db.read().await.unwrap();
        let days = ledger::rollups(&mut conn, ADA, GroupBy::Day, None, None).await.unwrap();
        let days: Vec<_> = days.iter().map(|d| (d.key.as_str(), d.calls, d.cost.as_pico())).collect();
        assert_eq!(days, [("2026-01-01", 3, 52), ("2026-01-02", 1, 8)]);
        assert_eq!(ledger::rollups(&mut conn, ADA, GroupBy::Model, Some("2026-01-02"), None).await.unwrap().len(), 1);
        assert!(ledger::rollups(&mut conn, BOB, GroupBy::Workload, None, Some("2026-01-09")).await.unwrap().is_empty());
        let page = ledger::of_tree(&mut conn, JobSeq(1), None, 3).await.unwrap();
        assert_eq!(page.len(), 3);
        assert_eq!(ledger::of_tree(&mut conn, JobSeq(1), Some(page[2].seq), 3).await.unwrap().len(), 2);
    }

    async fn old_ledger_rows_go_only_once_they_are_in_the_sums(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        job(&mut tx, 1, ADA, None).await;
        booked(&mut tx, 1, ADA, "settled", 5, 1).await;
        tx.commit().await.unwrap();
        let delete = async || {
            let mut tx = db.begin().await.unwrap();
            let deleted = ledger::delete_old(&mut tx, at(9), 10).await.unwrap();
            tx.commit().await.unwrap();
            deleted
        };
        assert_eq!(delete().await, 0);
        roll_up(&db).await.unwrap();
        assert_eq!(delete().await, 1);
        let mut tx = db.begin().await.unwrap();
        assert_eq!(ledger::sums_of_tree(&mut tx, JobSeq(1)).await.unwrap().cost, PicoUsd::from_pico(5));
        assert_eq!(ledger::delete_orphans(&mut tx, 10).await.unwrap(), 0);
        execute!(&mut tx, "DELETE FROM jobs").unwrap();
        assert_eq!(ledger::delete_orphans(&mut tx, 10).await.unwrap(), 1);
    }

    async fn unconfirmed_calls_are_listed_with_what_they_hold(db) {
        let db = migrated(&db).await;
        let mut tx = db.begin().await.unwrap();
        let id = job(&mut tx, 1, ADA, None).await;
        let call = booked(&mut tx, 1, ADA, "unconfirmed", 9, 1).await;
        let sql = "INSERT INTO calls (id, budget_id, job_seq, run, worst, state, booked, reserved_at) VALUES ($1, $2, 1, 1, 9, 'unconfirmed', 9, 0)";
        execute!(&mut tx, sql, call, id).unwrap();
        let calls = ledger::unconfirmed(&mut tx, None, 10).await.unwrap();
        assert_eq!(calls.iter().map(|c| (c.id, c.worst.as_pico(), c.model.as_deref())).collect::<Vec<_>>(), [(call, 9, Some("m"))]);
        assert!(ledger::unconfirmed(&mut tx, Some(call), 10).await.unwrap().is_empty());
        assert!(ledger::unconfirmed_call(&mut tx, call).await.unwrap().is_some());
    }
}
