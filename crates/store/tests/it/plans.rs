//! The hot statements walk along indexes, on empty, full and just-analysed tables: none scans a hot table, and the plan
//! doesn't depend on statistics.
//!
//! A hook hears the statements while a scenario runs that sends all of them; then each is explained.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use uuid::Uuid;
use windrow_core::{JobError, JobId, PicoUsd};
use windrow_store::fault::{FaultHook, FaultPoint};
use windrow_store::hot::{
    self, Checkpoint, End, NewBudget, NewChild, NewEvent, NewJob, Part, Progress, RunRef,
};
use windrow_store::{Conn, Db, Dialect, fetch_all};
use windrow_test_support::TestDb;

use crate::hot::{Bench, done, priced_run, reserve, settle, transient};
use crate::support::migrated;

#[derive(Debug, Default)]
struct Listener {
    heard: Mutex<BTreeSet<String>>,
}

impl FaultHook for Listener {
    fn strikes(&self, point: FaultPoint<'_>) -> bool {
        if let FaultPoint::Statement(text) = point {
            self.heard.lock().unwrap().insert(text.to_owned());
        }
        false
    }
}

/// Sends every hot statement at least once.
async fn scenario(db: Db) -> Vec<String> {
    let listener = Arc::new(Listener::default());
    let hook: windrow_store::fault::SharedFaultHook = Arc::<Listener>::clone(&listener);
    let mut bench = Bench::on(db.with_faults(hook)).await;
    let (budget, run) = priced_run(&mut bench, 100).await;
    let mut keyed = bench.job(1);
    keyed.idempotency = Some(("k".to_owned(), [1; 32]));
    let later = NewJob { run_at: bench.now().plus(Duration::from_secs(1)), ..bench.job(2) };
    bench.submit(&[keyed.clone(), later]).await;
    let again = NewJob { id: bench.job(1).id, ..keyed };
    bench.submit(&[again]).await;
    bench.money(&[reserve(1, budget, run.at, 10), reserve(2, budget, run.at, 10)]).await;
    bench.money(&[settle(1, budget, run.at, 5, Some("k"))]).await;
    let now = bench.now();
    let mut tx = bench.db.begin().await.unwrap();
    let part = Part { first: 0, last: 9, key: "p".to_owned(), sha256: vec![1; 32], size: 1 };
    let saved = Checkpoint {
        at: run.at,
        schema_version: 1,
        state: "{}".to_owned(),
        parts: vec![part],
        covered: vec!["k".to_owned()],
        free_calls: vec![(crate::hot::call(7), crate::hot::usage(0))],
    };
    hot::checkpoint(&mut tx, &[saved], now).await.unwrap();
    hot::progress(&mut tx, &[Progress { at: run.at, stage: None, done: 1, total: None }], now).await.unwrap();
    hot::save(&mut tx, run.at, 1).await.unwrap();
    let event = NewEvent {
        job: run.at.job,
        run: run.at.run,
        kind: "x".into(),
        payload: "{}".into(),
        schema_version: 1,
    };
    hot::append_events(&mut tx, &[event], now).await.unwrap();
    hot::schedule_due(&mut tx, now.plus(Duration::from_secs(9))).await.unwrap();
    hot::poll_cancelled(&mut tx, &[run.at.job]).await.unwrap();
    hot::cancels_since(&mut tx, now).await.unwrap();
    tx.commit().await.unwrap();
    bench.add(run.at, &["a", "b", "c"]).await;
    bench.end(run.at, End::Await).await;
    let children = bench.claim(9).await;
    bench.look_below_marks().await;
    bench.end(children[0].at, End::Retry { at: now.plus(Duration::from_secs(60)), error: transient() }).await;
    bench.end(children[1].at, End::Fail { error: JobError::permanent("x", "y"), dead_letter: false }).await;
    bench.stop_all().await;
    bench.cancel(run.at.job).await;
    let mut tx = bench.db.begin().await.unwrap();
    hot::beat(&mut tx, bench.worker).await.unwrap();
    hot::bury(&mut tx, bench.worker, 1, now).await.unwrap();
    tx.commit().await.unwrap();
    bench.rescue().await;
    let claimed = bench.claim(9).await;
    let ats: Vec<RunRef> = claimed.iter().map(|c| c.at).collect();
    for at in ats {
        bench.end(at, done()).await;
    }
    let texts = std::mem::take(&mut *listener.heard.lock().unwrap());
    texts.into_iter().filter(|text| !text.contains("SAVEPOINT")).collect()
}

/// Rows enough in each table that a scan would be a mistake even for a planner that knows how many there are.
async fn fill(db: &Db) {
    let mut bench = Bench::on(db.clone()).await;
    bench.ids = 1_000_000;
    for round in 0..4 {
        let jobs: Vec<NewJob> = (0..500).map(|n| bench.job(n % 50 + round)).collect();
        let cap = Some(NewBudget::of(PicoUsd::from_usd(1)));
        let jobs: Vec<NewJob> = jobs.into_iter().map(|job| NewJob { budget: cap, ..job }).collect();
        bench.submit(&jobs).await;
    }
    let claimed = bench.claim(500).await;
    let now = bench.now();
    let mut tx = bench.db.begin().await.unwrap();
    let part = |key: String| Part { first: 0, last: 9, key, sha256: vec![1; 32], size: 1 };
    let saved = claimed.iter().map(|c| Checkpoint {
        at: c.at,
        schema_version: 1,
        state: "{}".to_owned(),
        parts: vec![part(c.id.to_string())],
        covered: vec![],
        free_calls: vec![],
    });
    hot::checkpoint(&mut tx, &saved.collect::<Vec<_>>(), now).await.unwrap();
    for claimed in claimed.iter().take(100) {
        let child = NewChild { id: bench_id(&mut bench.ids), ..child() };
        hot::add_children(&mut tx, claimed.at, &[child], now).await.unwrap();
    }
    tx.commit().await.unwrap();
    let budget = |c: &hot::Claimed| c.budget.unwrap();
    let calls = |c: &hot::Claimed| u128::try_from(c.at.job.0).unwrap();
    let ops: Vec<_> = claimed.iter().map(|c| reserve(calls(c), budget(c), c.at, 5)).collect();
    bench.money(&ops).await;
    let ops: Vec<_> =
        claimed.iter().skip(100).map(|c| settle(calls(c), budget(c), c.at, 5, Some("k"))).collect();
    bench.money(&ops).await;
    for claimed in claimed.iter().skip(250) {
        bench.end(claimed.at, done()).await;
    }
}

fn bench_id(ids: &mut u128) -> JobId {
    *ids += 1;
    JobId(Uuid::from_u128(*ids))
}

fn child() -> NewChild {
    NewChild {
        id: JobId(Uuid::nil()),
        key: "c".to_owned(),
        workload: "w".to_owned(),
        spec: "{}".to_owned(),
        spec_version: 1,
        priority: None,
    }
}

/// Tables that are long, or that every claim and completion touches.
const HOT: [&str; 13] = [
    "jobs",
    "ready",
    "scheduled",
    "running",
    "runs",
    "parents",
    "budgets",
    "calls",
    "call_journal",
    "checkpoints",
    "parts",
    "results",
    "ledger",
];

/// Only while some worker is dead does a rescuer look through `running`, which holds no more than runs; and SQLite calls
/// it a scan when the first row of a table is read by its key.
fn may_scan(statement: &str, table: &str) -> bool {
    table == "running" && statement.contains("w.state <> 'live'")
        || table == "scheduled" && statement.contains("ORDER BY run_at, job_seq LIMIT")
}

async fn sqlite_plan(conn: &mut Conn, text: &str) -> Vec<String> {
    let sql = format!("EXPLAIN QUERY PLAN {text}");
    let rows = fetch_all!(conn, (i64, i64, i64, String), sqlx::AssertSqlSafe(sql)).unwrap();
    rows.into_iter().map(|row| row.3).collect()
}

/// The generic plan, as the writers' connections make it.
async fn postgres_plan(conn: &mut Conn, text: &str) -> Vec<String> {
    conn.raw(sqlx::AssertSqlSafe(format!("PREPARE asked AS {text}"))).await.unwrap();
    let count = "SELECT CAST(cardinality(parameter_types) AS bigint) FROM pg_prepared_statements WHERE name = 'asked'";
    let count = windrow_store::fetch_one!(&mut *conn, scalar i64, count).unwrap();
    let nulls = vec!["NULL"; usize::try_from(count).unwrap()].join(", ");
    let execute = if count == 0 { "asked".to_owned() } else { format!("asked({nulls})") };
    let sql = format!("EXPLAIN (COSTS off) EXECUTE {execute}");
    let rows = fetch_all!(&mut *conn, scalar String, sqlx::AssertSqlSafe(sql)).unwrap();
    conn.raw("DEALLOCATE asked").await.unwrap();
    rows.into_iter().filter(|row| row.contains("Scan") || row.contains("Index Cond")).collect()
}

/// The hot table that a line of a plan walks from end to end; `running` also along its primary key without a condition.
fn scanned<'a>(dialect: Dialect, line: &'a str, next: Option<&String>) -> Option<&'a str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |at: usize| words.get(at).copied().filter(|table| HOT.contains(table));
    match dialect {
        // SQLite names tables by their aliases; `SCAN x` without an index is a walk over all of it
        Dialect::Sqlite => {
            (words.first() == Some(&"SCAN") && !line.contains("INDEX")).then(|| after(1)).flatten()
        }
        Dialect::Postgres => {
            let has_condition = next.is_some_and(|next| next.contains("Index Cond"));
            let is_walk = line.contains("Seq Scan") || line.contains("running_pkey ") && !has_condition;
            let at = words.iter().position(|word| *word == "on").filter(|_| is_walk)?;
            after(at + 1)
        }
    }
}

/// In SQLite's plans the tables go by their aliases.
fn unalias(line: &str, text: &str) -> String {
    let Some(alias) = line.strip_prefix("SCAN ").and_then(|rest| rest.split_whitespace().next()) else {
        return line.to_owned();
    };
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == '(' || c == ')' || c == ',').collect();
    let table = words
        .windows(2)
        .find(|pair| pair[1] == alias && HOT.contains(&pair[0]))
        .map_or(alias, |pair| pair[0]);
    line.replacen(alias, table, 1)
}

async fn plans(db: &Db, texts: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut plans = BTreeMap::new();
    let mut conn = db.writer().await.unwrap();
    for text in texts {
        let plan = match db.dialect() {
            Dialect::Sqlite => sqlite_plan(&mut conn, text).await,
            Dialect::Postgres => postgres_plan(&mut conn, text).await,
        };
        for (place, line) in plan.iter().enumerate() {
            let line = unalias(line, text);
            if let Some(table) = scanned(db.dialect(), &line, plan.get(place + 1))
                && !may_scan(text, table)
            {
                panic!("{} scans {table}:\n{text}\n{plan:#?}", db.dialect().as_str());
            }
        }
        let name: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        plans.insert(name, plan);
    }
    plans
}

async fn walk_along_indexes(test: TestDb) {
    let db = migrated(&test).await;
    let texts = scenario(db.clone()).await;
    assert!(texts.len() > 40, "{texts:#?}");
    let empty = plans(&db, &texts).await;
    fill(&db).await;
    let full = plans(&db, &texts).await;
    if db.dialect() == Dialect::Sqlite {
        // PostgreSQL's autovacuum may have looked at the tables meanwhile, and then chooses among walks anew
        assert_eq!(full, empty, "the plan depends on how full the tables are");
    }
    let mut conn = db.writer().await.unwrap();
    conn.raw("ANALYZE").await.unwrap();
    drop(conn);
    plans(&db, &texts).await;
    // what empties itself, and was looked at then
    let emptied =
        "DELETE FROM ready; DELETE FROM scheduled; DELETE FROM running; DELETE FROM parents; ANALYZE";
    db.writer().await.unwrap().raw(emptied).await.unwrap();
    plans(&db, &texts).await;
}

#[tokio::test]
async fn sqlite_walks_along_indexes() {
    walk_along_indexes(TestDb::sqlite().await).await;
}

#[tokio::test]
async fn postgres_walks_along_indexes() {
    walk_along_indexes(TestDb::postgres().await).await;
}
