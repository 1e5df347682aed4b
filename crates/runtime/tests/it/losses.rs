//! Workers that die, and what becomes of their runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use windrow_core::JobStatus;
use windrow_engine::testing::Scripted;
use windrow_engine::{Engine as _, LocalSettings, RunError, Stop};
use windrow_runtime::{Keeper, KeeperHandle, KeeperParts, KeeperSettings, retake};
use windrow_test_support::{TestDb, on_both};

use crate::support::{Site, done, workload};

fn keeper(site: &Site) -> KeeperHandle {
    let bench = &site.bench;
    Keeper::start(KeeperParts {
        store: bench.store.clone(),
        blob: bench.blob.clone(),
        salt: bench.salt,
        clock: bench.clock.clone(),
        registry: bench.registry.clone(),
        deliver: None,
        settings: KeeperSettings {
            poll: Duration::from_millis(20),
            observe_every: Duration::from_millis(20),
            beat_lapse: Duration::from_millis(500),
            lease_lapse: Duration::from_millis(500),
            ..KeeperSettings::default()
        },
    })
}

/// Lets the test's clock run beside the real one until the job has this status.
async fn reaches_in_time(site: &Site, job: windrow_core::JobId, status: JobStatus) {
    let clock = Arc::clone(&site.bench.clock);
    let ticking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            clock.advance(Duration::from_millis(5));
        }
    });
    site.reaches(job, status).await;
    ticking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_run_starts_again_elsewhere() {
    let site = Site::new(
        TestDb::postgres().await,
        workload(|context| async move {
            if context.lease().run.run.0 == 1 {
                std::future::pending::<()>().await;
            }
            done(json!("second"))
        }),
    )
    .await;
    let job = site.bench.submit(json!({}), None).await;
    let victim = site.worker();
    site.has_started(1).await;
    victim.abort();
    let survivor = site.further_engine().await;
    let _survivor = site.worker_on(Arc::new(survivor));
    let keeper = keeper(&site);
    reaches_in_time(&site, job, JobStatus::Completed).await;
    assert_eq!(site.bench.job(job).await.last_run.map(|run| run.0), Some(2));
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_worker_keeps_its_runs() {
    let site = Site::new(
        TestDb::postgres().await,
        workload(|context| async move {
            context.stopped().await;
            Err(RunError::Stopped(Stop::Draining))
        }),
    )
    .await;
    let job = site.bench.submit(json!({}), None).await;
    let worker = site.worker();
    site.has_started(1).await;
    let keeper = keeper(&site);
    let clock = Arc::clone(&site.bench.clock);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        clock.advance(Duration::from_millis(5));
    }
    assert_eq!(site.bench.job(job).await.running_run.map(|run| run.0), Some(1));
    keeper.stop().await;
    worker.drain(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_finds_itself_dead_throws_its_output_away_and_registers_anew() {
    let site = Site::new(
        TestDb::postgres().await,
        workload(|context| async move {
            if context.lease().run.run.0 == 1 {
                // Comes back only when told to, with an output that no longer counts.
                context.stopped().await;
                return done(json!("first"));
            }
            done(json!("second"))
        }),
    )
    .await;
    let job = site.bench.submit(json!({}), None).await;
    let _worker = site.worker();
    site.has_started(1).await;
    let dead = site.bench.back.worker();
    loop {
        let beats =
            windrow_store::hot::live_beats(&mut site.bench.store.read().await.unwrap()).await.unwrap();
        let (_, beat_no) = beats.into_iter().find(|(worker, _)| *worker == dead).unwrap();
        if site.bench.store.bury(dead, beat_no).await.unwrap() {
            break;
        }
    }
    site.bench.store.rescue().await.unwrap();
    site.reaches(job, JobStatus::Completed).await;
    let row = site.bench.job(job).await;
    assert_eq!((row.output.as_deref(), row.last_run.map(|run| run.0)), (Some("\"second\""), Some(2)));
    // The second run may have been claimed, and be over, before the beat that finds the worker dead.
    while site.bench.back.worker() == dead {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

on_both! {
    async fn a_reboot_of_the_owner_retakes_runs_at_once(db) {
        let site = Site::new(db, Scripted::echo()).await;
        let job = site.bench.submit(json!({}), None).await;
        let first = site.bench.claim_one().await;
        assert_eq!(retake(&site.bench.store, &site.bench.registry).await.unwrap().lost, 1);
        assert_eq!(site.bench.status(job).await, JobStatus::Queued);
        let engine = site.further_engine().await;
        let _worker = site.worker_on(Arc::new(engine));
        site.reaches(job, JobStatus::Completed).await;
        let late = site.bench.back.end(first.run, windrow_engine::RunEnd::Released).await.unwrap();
        assert_eq!(late, windrow_engine::EndReply::Stale);
    }

    async fn a_lease_that_nobody_renews_lapses_and_the_fourth_loss_is_poison(db) {
        let site = Site::new(db, Scripted::echo()).await;
        let remote = site.bench.back.sibling(LocalSettings { leased: true, ..LocalSettings::default() }).await.unwrap();
        let job = site.bench.submit(json!({}), None).await;
        let keeper = keeper(&site);
        for run in 1..=4 {
            let request = windrow_engine::ClaimRequest { slots: 1, ..Default::default() };
            let lease = remote.claim(&request).await.unwrap().remove(0);
            assert_eq!((lease.run.run.0, lease.attempts), (run, 0));
            for _ in 0..3 {
                assert_eq!(remote.renew(lease.run).await.unwrap(), None);
            }
            let next = if run < 4 { JobStatus::Queued } else { JobStatus::Failed };
            reaches_in_time(&site, job, next).await;
            assert!(matches!(remote.renew(lease.run).await, Err(windrow_engine::EngineError::Stale)));
        }
        assert_eq!(site.bench.dead_letters().await, 1);
        keeper.stop().await;
    }

    async fn a_retry_runs_when_it_is_due(db) {
        let site = Site::new(db, workload(|context| async move {
            if context.lease().attempts == 0 {
                return Err(windrow_core::JobError::transient("flaky", "once").into());
            }
            done(json!("again"))
        })).await;
        let job = site.bench.submit(json!({}), None).await;
        let _worker = site.worker();
        site.fails_with(job, "flaky").await;
        let keeper = keeper(&site);
        reaches_in_time(&site, job, JobStatus::Completed).await;
        keeper.stop().await;
    }
}
