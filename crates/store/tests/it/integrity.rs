//! The check finds what has no right to be, and nothing else.

use windrow_core::{JobStatus, PicoUsd};
use windrow_store::hot::{End, NewBudget, NewJob};
use windrow_store::integrity::{self, Finding};
use windrow_store::sqlx;
use windrow_test_support::{TestDb, on_both};

use crate::hot::{Bench, done, priced_run, reserve, settle, transient};
use crate::support::USERS;

async fn findings(bench: &Bench) -> Vec<Finding> {
    let mut found = Vec::new();
    let checked = integrity::check(&bench.db, &mut |finding| found.push(finding)).await.unwrap();
    assert_eq!(checked.findings, found.len() as u64);
    assert!(checked.rows > 0);
    found
}

/// Jobs in every place that a job can be in, and a budget with a call in flight.
async fn full(test: &TestDb) -> Bench {
    let mut bench = Bench::new(test).await;
    raw(&bench, USERS.to_owned()).await;
    let (budget, run) = priced_run(&mut bench, 100).await;
    bench.money(&[reserve(1, budget, run.at, 10), reserve(2, budget, run.at, 20)]).await;
    bench.money(&[settle(1, budget, run.at, 7, Some("k"))]).await;
    // a parent that waits for a child that runs and one in line
    bench.one(1).await;
    let parent = bench.claim(1).await.remove(0);
    bench.add(parent.at, &["a", "b"]).await;
    bench.end(parent.at, End::Await).await;
    bench.claim(1).await;
    // ended, retried for later, retried by a person, not approved
    for end in [done(), End::Fail { error: transient(), dead_letter: true }] {
        bench.one(2).await;
        let ended = loop {
            let run = bench.claim(1).await.remove(0);
            if run.owner.0 == 2 {
                break run;
            }
        };
        bench.end(ended.at, end).await;
    }
    let later = bench.now().plus(std::time::Duration::from_secs(60));
    bench.one(2).await;
    let again = bench.claim(9).await.into_iter().find(|run| run.owner.0 == 2).unwrap();
    bench.end(again.at, End::Retry { at: later, error: transient() }).await;
    let retried = bench.one(2).await;
    bench.cancel(retried).await;
    let now = bench.now();
    let mut tx = bench.db.begin().await.unwrap();
    windrow_store::hot::reopen(&mut tx, retried, None, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bench.status(retried).await, JobStatus::Queued);
    let waits =
        NewJob { needs_approval: true, budget: Some(NewBudget::of(PicoUsd::from_pico(5))), ..bench.job(1) };
    bench.submit(&[waits]).await;
    bench.one(1).await;
    bench
}

async fn raw(bench: &Bench, sql: String) {
    let mut tx = bench.db.begin().await.unwrap();
    tx.raw(sqlx::AssertSqlSafe(sql)).await.unwrap();
    tx.commit().await.unwrap();
}

/// What breaks, by which statement, and how it is undone.
const BREAKS: &[(&str, &str, &str)] = &[
    (
        "ready.job_seq",
        "UPDATE ready SET job_seq = 999 WHERE job_seq = (SELECT max(job_seq) FROM ready)",
        "there is no such row",
    ),
    (
        "ready.job_seq",
        "UPDATE ready SET run_at = run_at + 1 WHERE job_seq = (SELECT max(job_seq) FROM ready)",
        "not where its job",
    ),
    ("scheduled.job_seq", "UPDATE scheduled SET job_seq = 999", "there is no such row"),
    (
        "running.run",
        "UPDATE running SET job_seq = 999 WHERE job_seq = (SELECT max(job_seq) FROM running)",
        "there is no such row",
    ),
    (
        "running.run",
        "UPDATE running SET worker_id = 999 WHERE job_seq = (SELECT max(job_seq) FROM running)",
        "its worker is not there",
    ),
    ("parents.open", "UPDATE parents SET open = open + 1", "not the number of open children"),
    ("jobs.seq", "DELETE FROM scheduled", "neither stands in line"),
    (
        "jobs.seq",
        "INSERT INTO scheduled (run_at, job_seq, priority, workload, owner_id, run, attempts, lost)
                  SELECT run_at, job_seq, priority, workload, owner_id, run, attempts, lost FROM ready
                  WHERE job_seq = (SELECT max(job_seq) FROM ready)",
        "in two places at once",
    ),
    ("jobs.seq", "UPDATE jobs SET owner_id = 999 WHERE needs_approval", "its owner is no user"),
    ("jobs.seq", "UPDATE jobs SET parent_seq = 999 WHERE parent_seq IS NOT NULL", "its parent is no job"),
    ("jobs.seq", "DELETE FROM budgets WHERE cap = 5", "its budget is not there"),
    ("results.job_seq", "UPDATE results SET job_seq = 999", "there is no such row"),
    ("runs.job_seq", "UPDATE runs SET job_seq = 999 WHERE outcome = 'completed'", "there is no such row"),
    ("call_journal.job_seq", "UPDATE call_journal SET job_seq = 999", "there is no such row"),
    ("calls.run", "UPDATE calls SET run = 9 WHERE state = 'sent'", "whose run has ended"),
    (
        "budgets.reserved",
        "UPDATE budgets SET reserved = reserved + 1 WHERE cap = 100",
        "calls that are in flight",
    ),
    ("budgets.spent", "UPDATE budgets SET spent = 6 WHERE cap = 100", "is less than the calls"),
];

on_both! {
    async fn each_broken_row_is_found_and_a_whole_database_has_none(test) {
        let bench = full(&test).await;
        assert_eq!(findings(&bench).await, []);
        for (place, sql, said) in BREAKS {
            // the check reads what is committed: break a copy of the tables, and put them back
            raw(&bench, copies(true)).await;
            raw(&bench, (*sql).to_owned()).await;
            let found = findings(&bench).await;
            let hit = found.iter().find(|finding| {
                format!("{}.{}", finding.table, finding.column) == *place && finding.problem.contains(said)
            });
            assert!(hit.is_some_and(|finding| !finding.id.is_empty()), "{place}: {sql}: {found:?}");
            raw(&bench, copies(false)).await;
            assert_eq!(findings(&bench).await, [], "put back after {sql}");
        }
    }

    async fn pages_follow_each_other_without_a_gap(test) {
        let mut bench = Bench::new(&test).await;
        raw(&bench, USERS.to_owned()).await;
        let jobs: Vec<NewJob> = (0..1201).map(|_| bench.job(1)).collect();
        bench.submit(&jobs).await;
        let mut found = Vec::new();
        let checked = integrity::check(&bench.db, &mut |finding| found.push(finding)).await.unwrap();
        assert_eq!((checked.rows, found.len()), (2 * 1201, 0), "each job, and each row of ready");
        raw(&bench, "DELETE FROM jobs WHERE seq % 7 = 0".to_owned()).await;
        integrity::check(&bench.db, &mut |finding| found.push(finding)).await.unwrap();
        let ids: std::collections::BTreeSet<String> = found.iter().map(|finding| finding.id.clone()).collect();
        assert_eq!((found.len(), ids.len()), (1201 / 7, 1201 / 7));
        assert!(found.iter().all(|finding| finding.table == "ready"));
    }
}

/// Takes copies of the tables that are broken, or puts them back.
fn copies(take: bool) -> String {
    const TABLES: [&str; 10] = [
        "ready",
        "scheduled",
        "running",
        "parents",
        "jobs",
        "budgets",
        "results",
        "runs",
        "call_journal",
        "calls",
    ];
    let statements = TABLES.map(|table| match take {
        true => format!("CREATE TABLE copy_of_{table} AS SELECT * FROM {table};"),
        false => format!(
            "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy_of_{table}; DROP TABLE copy_of_{table};"
        ),
    });
    statements.concat()
}
