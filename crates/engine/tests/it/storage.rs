//! What runs put and get is counted where that has a price.

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use windrow_core::PicoUsd;
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{Checkpoint, LocalSettings, PutPlace, RunEnd, RunRef};
use windrow_store::{WorkPrices, fetch_all};
use windrow_test_support::{TestDb, on_both};

const PRICES: WorkPrices = WorkPrices {
    compute_hour: PicoUsd::ZERO,
    puts_1000: PicoUsd::from_pico(2000),
    gets_1000: PicoUsd::from_pico(1000),
};

async fn bench(db: &TestDb, leased: bool, prices: WorkPrices) -> (Bench, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = LocalSettings { leased, ..LocalSettings::default() };
    let bench =
        Bench::priced(db.url(), &dir.path().join("objects"), Scripted::echo(), settings, prices).await;
    (bench, dir)
}

/// Puts an object and gets it twice, once a part of it.
async fn work(bench: &Bench, run: RunRef, name: &str) {
    let place = PutPlace { prefix: "outputs", name, content_type: "text/plain" };
    let object = bench.engine.put(run, place, Bytes::from_static(b"hello")).await.unwrap();
    bench.engine.get(run, &object.key, None).await.map(drop).unwrap();
    bench.engine.get(run, &object.key, Some(1..3)).await.map(drop).unwrap();
}

/// puts, gets
async fn counted(bench: &Bench, table: &str) -> Vec<(i64, i64)> {
    let mut conn = bench.store.read().await.unwrap();
    let sql = format!("SELECT puts, gets FROM {table} ORDER BY run");
    fetch_all!(&mut conn, (i64, i64), windrow_store::sqlx::AssertSqlSafe(sql)).unwrap()
}

async fn checkpoint(bench: &Bench, run: RunRef) {
    let state = json!(1);
    bench.engine.checkpoint(run, Checkpoint { state, ..Checkpoint::default() }).await.unwrap();
}

on_both! {
    async fn a_run_of_this_process_is_counted_with_its_checkpoints_and_its_end(db) {
        let (bench, _dir) = bench(&db, false, PRICES).await;
        bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        work(&bench, run, "a").await;
        assert_eq!(counted(&bench, "storage_use").await, []);
        checkpoint(&bench, run).await;
        assert_eq!(counted(&bench, "storage_use").await, [(1, 2)], "a lost run would be booked so much");
        work(&bench, run, "b").await;
        bench.engine.end(run, RunEnd::Released).await.unwrap();
        assert_eq!(counted(&bench, "ledger").await, [(2, 4)]);
        assert_eq!(counted(&bench, "storage_use").await, []);
    }

    async fn a_remote_workers_run_is_counted_at_once_for_its_end_may_be_told_elsewhere(db) {
        let (bench, _dir) = bench(&db, true, PRICES).await;
        bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        work(&bench, run, "a").await;
        assert_eq!(counted(&bench, "storage_use").await, [(1, 2)]);
        bench.engine.end(run, RunEnd::Released).await.unwrap();
        assert_eq!(counted(&bench, "ledger").await, [(1, 2)]);
    }

    async fn nothing_is_counted_without_a_price(db) {
        let (bench, _dir) = bench(&db, true, WorkPrices::default()).await;
        bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        work(&bench, run, "a").await;
        assert_eq!(counted(&bench, "storage_use").await, []);
        bench.engine.end(run, RunEnd::Released).await.unwrap();
        assert_eq!(counted(&bench, "ledger").await, []);
    }
}
