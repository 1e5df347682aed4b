//! How runs end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use windrow_core::JobStatus;
use windrow_engine::testing::Scripted;
use windrow_engine::{NewChild, Outcome, Stop};
use windrow_test_support::on_both;

use crate::support::{PATIENCE, Site, done, workload};

on_both! {
    async fn jobs_are_run_side_by_side(db) {
        let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counter, highest) = (Arc::clone(&busy), Arc::clone(&most));
        let site = Site::new(db, workload(move |context| {
            let (busy, most) = (Arc::clone(&counter), Arc::clone(&highest));
            async move {
                let now = busy.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                done(serde_json::Value::clone(&context.lease().spec))
            }
        })).await;
        let mut jobs = Vec::new();
        for n in 0..60 {
            jobs.push(site.bench.submit(json!(n), None).await);
        }
        let worker = site.worker();
        for (n, job) in jobs.iter().enumerate() {
            site.reaches(*job, JobStatus::Completed).await;
            assert_eq!(site.bench.job(*job).await.output, Some(n.to_string()));
        }
        let most = most.load(Ordering::SeqCst);
        assert!((2..=16).contains(&most), "{most} runs at once");
        let drained = worker.drain(Duration::from_secs(10)).await;
        assert_eq!((drained.given_back, drained.left_behind), (0, 0));
    }

    async fn a_panic_is_a_transient_error_with_its_message(db) {
        let site = Site::new(db, workload(|context| async move {
            assert!(context.lease().run.run.0 > 1, "the first run always dies");
            done(json!("survived"))
        })).await;
        let job = site.bench.submit(json!({}), None).await;
        let _worker = site.worker();
        site.fails_with(job, "panicked").await;
        let row = site.bench.job(job).await;
        assert!(row.error.unwrap().contains("the first run always dies"));
        site.bench.advance(Duration::from_secs(5)).await;
        site.reaches(job, JobStatus::Completed).await;
    }

    async fn a_run_past_its_deadline_ends_as_transient(db) {
        let stuck = workload(|context| async move {
            let mut n = 0;
            // makes progress for ever
            loop {
                n += 1;
                context.progress("busy", n, None).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let site = Site::new(db, stuck.with_limits(Duration::from_secs(60), Duration::from_secs(50))).await;
        let job = site.bench.submit(json!({}), None).await;
        let _worker = site.worker();
        site.has_started(1).await;
        site.bench.clock.advance(Duration::from_secs(40));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(site.bench.status(job).await, JobStatus::Running);
        site.bench.clock.advance(Duration::from_secs(25));
        site.fails_with(job, "deadline_exceeded").await;
        assert_eq!(site.bench.status(job).await, JobStatus::Queued);
    }

    async fn a_run_without_progress_ends_as_transient(db) {
        let stuck = workload(|_| std::future::pending());
        let site = Site::new(db, stuck.with_limits(Duration::from_secs(600), Duration::from_secs(50))).await;
        let job = site.bench.submit(json!({}), None).await;
        let _worker = site.worker();
        site.has_started(1).await;
        site.bench.clock.advance(Duration::from_secs(51));
        site.fails_with(job, "stalled").await;
        assert_eq!(site.bench.status(job).await, JobStatus::Queued);
    }

    async fn a_handler_that_never_yields_is_left_behind_and_told_so(db) {
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let stuck = workload(move |context| {
            let told = told.clone();
            async move {
                while context.stop() != Some(Stop::LeaseLost) {
                    std::thread::yield_now();
                }
                told.send(()).unwrap();
                done(json!("too late"))
            }
        });
        let site = Site::new(db, stuck.with_limits(Duration::from_secs(60), Duration::from_secs(600))).await;
        let job = site.bench.submit(json!({}), None).await;
        let _worker = site.worker();
        site.has_started(1).await;
        site.bench.clock.advance(Duration::from_secs(61));
        site.fails_with(job, "deadline_exceeded").await;
        tokio::time::timeout(PATIENCE, hears.recv()).await.expect("it is told in time").unwrap();
        assert_eq!(site.bench.job(job).await.output, None);
    }

    async fn a_parent_sleeps_while_its_children_run(db) {
        let site = Site::new(db, workload(|context| async move {
            if context.lease().is_child {
                return done(serde_json::Value::clone(&context.lease().spec));
            }
            let children = context.children(None, 100).await?;
            if children.is_empty() {
                let child = |n: u32| NewChild { key: n.to_string(), workload: Scripted::NAME.to_owned(), spec: json!(n) };
                context.add_children((0..10).map(child).collect()).await?;
                return Ok(Outcome::Await);
            }
            let sum: u64 = children.iter().filter_map(|child| child.result.as_ref()?.as_u64()).sum();
            done(json!(sum))
        })).await;
        let job = site.bench.submit(json!({}), None).await;
        let _worker = site.worker();
        site.reaches(job, JobStatus::Completed).await;
        assert_eq!(site.bench.job(job).await.output.as_deref(), Some("45"));
    }

    async fn a_runs_directory_is_its_own_and_goes_with_it(db) {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let paths = Arc::clone(&seen);
        let site = Site::new(db, workload(move |context| {
            let paths = Arc::clone(&paths);
            async move {
                let path = context.scratch()?.to_owned();
                std::fs::write(path.join("x"), "x").unwrap();
                paths.lock().unwrap().push(path);
                done(json!(null))
            }
        })).await;
        let jobs = [site.bench.submit(json!({}), None).await, site.bench.submit(json!({}), None).await];
        let _worker = site.worker();
        for job in jobs {
            site.reaches(job, JobStatus::Completed).await;
        }
        let paths = seen.lock().unwrap().clone();
        assert_ne!(paths[0], paths[1]);
        assert!(paths.iter().all(|path| !path.exists()));
    }
}
