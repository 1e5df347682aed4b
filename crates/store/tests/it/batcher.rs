//! The batcher: what rides together, what fails alone, who is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use uuid::Uuid;
use windrow_core::{JobId, OwnerId, Priority, SharedClock, TestClock, Timestamp, WorkerId};
use windrow_store::fault::{FaultHook, FaultPoint};
use windrow_store::hot::{Caps, ClaimRequest, End, EndRun, Ended, NewJob, Submitted, WorkerKind};
use windrow_store::{Db, Store, StoreError, StoreOptions, execute, fetch_one};
use windrow_test_support::on_both;

use crate::support::migrated;

async fn store(db: Db) -> Store {
    let clock: SharedClock = TestClock::shared();
    Store::open(db, clock, StoreOptions::default()).await.unwrap()
}

fn job(n: u128, priority: Priority) -> NewJob {
    NewJob {
        priority,
        ..NewJob::plain(JobId(Uuid::from_u128(n)), OwnerId(1), "w", Timestamp::from_micros(0))
    }
}

/// A line whose first jobs are claimed, and one that a process whose clock is late put in line before them.
struct Marked {
    store: Store,
    worker: WorkerId,
    late: JobId,
}

async fn marked(db: Db) -> Marked {
    let clock = TestClock::shared();
    let shared: SharedClock = Arc::<TestClock>::clone(&clock);
    let store = Store::open(db, shared, StoreOptions::default()).await.unwrap();
    let worker = store.register_worker("w".to_owned(), WorkerKind::Process).await.unwrap();
    store.submit((1..=3).map(|n| job(n, Priority::Normal)).collect()).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.claim(slots(worker, 3)).await.unwrap().len(), 3);
    clock.jump(-5_000_000);
    let late = job(4, Priority::Normal);
    store.submit(vec![late.clone()]).await.unwrap();
    clock.jump(5_000_000);
    Marked { store, worker, late: late.id }
}

fn slots(worker: WorkerId, slots: usize) -> ClaimRequest {
    ClaimRequest { worker, workloads: vec!["w".to_owned()], slots, caps: Caps::default(), leased: false }
}

/// Counts commits, and keeps the first one waiting until it is let go, so that others must ride in the second.
#[derive(Debug, Default)]
struct Commits {
    count: AtomicUsize,
}

impl FaultHook for Commits {
    fn strikes(&self, point: FaultPoint<'_>) -> bool {
        if point == FaultPoint::BeforeCommit {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        false
    }
}

/// Loses the reply of every commit.
#[derive(Debug)]
struct LosesReplies;

impl FaultHook for LosesReplies {
    fn strikes(&self, point: FaultPoint<'_>) -> bool {
        point == FaultPoint::AfterCommit
    }
}

on_both! {
    async fn what_arrives_during_a_commit_rides_in_the_next(test) {
        let commits = Arc::new(Commits::default());
        let hook: windrow_store::fault::SharedFaultHook = Arc::<Commits>::clone(&commits);
        let store = store(migrated(&test).await.with_faults(hook)).await;
        let before = commits.count.load(Ordering::SeqCst);
        let submits = (1..=200u128).map(|n| store.submit(vec![job(n, Priority::Normal)]));
        for answer in join_all(submits).await {
            assert!(matches!(answer.unwrap()[..], [Submitted::Created { .. }]));
        }
        let used = commits.count.load(Ordering::SeqCst) - before;
        assert!(used < 50, "{used} commits for 200 submits that came at once");
        store.close().await;
        assert!(matches!(store.submit(vec![job(1, Priority::Low)]).await, Err(StoreError::Closed)));
    }

    async fn one_bad_operation_fails_alone(test) {
        let store = store(migrated(&test).await).await;
        // a text that PostgreSQL can't hold, and a priority that no CHECK lets in, come from a bug; here from SQL
        let bad = store.unit(|tx| Box::pin(async move {
            execute!(tx, "INSERT INTO ready (priority, workload, owner_id, run_at, job_seq, run, attempts, lost) VALUES (1, 'w', 9, 0, 9, 1, 0, 0)")?;
            execute!(tx, "INSERT INTO workers (name, kind, state, registered_at) VALUES ('x', 'nonsense', 'live', 0)")
        }));
        let mut good = job(1, Priority::Normal);
        good.spec = "{\"ok\":true}".to_owned();
        let mut nul = job(2, Priority::Normal);
        nul.request_id = Some("\u{0}".to_owned());
        let (bad, good, nul) = futures::join!(bad, store.submit(vec![good]), store.submit(vec![nul]));
        assert!(matches!(bad, Err(StoreError::Refused { .. })), "{bad:?}");
        assert!(good.is_ok(), "{good:?}");
        let postgres = store.db().dialect() == windrow_store::Dialect::Postgres;
        assert_eq!(nul.is_err(), postgres, "PostgreSQL's text holds no NUL: {nul:?}");
        let mut conn = store.read().await.unwrap();
        let rows = fetch_one!(&mut conn, scalar i64, "SELECT count(*) FROM ready WHERE owner_id = 9").unwrap();
        assert_eq!(rows, 0, "what the bad one wrote before it failed is undone");
        drop(conn);
        store.close().await;
    }

    async fn a_unit_answers_with_its_own_error_and_leaves_nothing(test) {
        #[derive(Debug, PartialEq)]
        enum Mine { No, Store }
        impl From<StoreError> for Mine {
            fn from(_: StoreError) -> Self { Self::Store }
        }
        let store = store(migrated(&test).await).await;
        for alone in [false, true] {
            let insert = "INSERT INTO disabled_owners (owner_id) VALUES (5)";
            let refused: Result<(), Mine> = if alone {
                store.alone(move |tx| Box::pin(async move { execute!(tx, insert)?; Err(Mine::No) })).await
            } else {
                store.unit(move |tx| Box::pin(async move { execute!(tx, insert)?; Err(Mine::No) })).await
            };
            assert_eq!(refused, Err(Mine::No));
            let mut conn = store.read().await.unwrap();
            assert_eq!(fetch_one!(&mut conn, scalar i64, "SELECT count(*) FROM disabled_owners").unwrap(), 0);
        }
        store.close().await;
    }

    async fn a_unit_that_goes_on_after_a_failed_statement_is_no_success_where_nothing_is_kept(test) {
        let store = store(migrated(&test).await).await;
        let kept = store.alone(|tx| Box::pin(async move {
            execute!(tx, "INSERT INTO disabled_owners (owner_id) VALUES (5)")?;
            let _swallowed = execute!(tx, "INSERT INTO disabled_owners (owner_id) VALUES (5)");
            Ok::<_, StoreError>(())
        }));
        let kept = kept.await.is_ok();
        let mut conn = store.read().await.unwrap();
        let rows = fetch_one!(&mut conn, scalar i64, "SELECT count(*) FROM disabled_owners").unwrap();
        assert_eq!(rows, i64::from(kept));
        drop(conn);
        store.close().await;
    }

    async fn a_lost_reply_is_an_unknown_outcome_and_asking_again_is_safe(test) {
        let db = migrated(&test).await;
        let lossy = store(db.clone().with_faults(Arc::new(LosesReplies))).await;
        let answer = lossy.submit(vec![job(1, Priority::Normal)]).await;
        assert!(matches!(answer, Err(StoreError::UnknownOutcome(_))), "{answer:?}");
        let sound = store(db).await;
        assert!(matches!(sound.submit(vec![job(1, Priority::Normal)]).await.unwrap()[..], [Submitted::Reused { .. }]));
        sound.close().await;
    }

    async fn claims_whose_caller_has_gone_are_given_back(test) {
        let store = store(migrated(&test).await).await;
        store.submit((1..=5).map(|n| job(n, Priority::Normal)).collect()).await.unwrap();
        let worker = store.register_worker("w".to_owned(), WorkerKind::Process).await.unwrap();
        let mut work = store.wakes().work();
        work.mark_unchanged();
        // polled once, so that it was asked for; then dropped
        assert!(futures::FutureExt::now_or_never(store.claim(slots(worker, 5))).is_none());
        tokio::time::timeout(Duration::from_secs(10), work.changed()).await.expect("they are in line again").unwrap();
        let claimed = store.claim(slots(worker, 9)).await.unwrap();
        assert_eq!(claimed.iter().map(|c| c.at.run.0).collect::<Vec<_>>(), [2; 5]);
        let held = store.held(worker).await.unwrap();
        assert_eq!(claimed.len(), held.len(), "nothing is held that nobody runs");
        let ends = claimed.iter().map(|c| EndRun { at: c.at, end: End::Complete(None) }).collect();
        let ended = store.end_runs(ends).await.unwrap();
        assert!(ended.iter().all(|answer| matches!(answer, Ended::Ended(_))));
        store.close().await;
    }

    async fn what_comes_in_below_the_mark_of_a_line_that_never_ends_is_claimed(test) {
        let Marked { store, worker, late } = marked(migrated(&test).await).await;
        let (mut next, mut claimed) = (100, Vec::new());
        let found = async {
            while !claimed.contains(&late) {
                store.submit(vec![job(next, Priority::Normal)]).await.unwrap();
                next += 1;
                claimed.extend(store.claim(slots(worker, 1)).await.unwrap().iter().map(|claimed| claimed.id));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("a look below the mark");
        store.close().await;
    }

    async fn who_waits_hears_of_what_stands_below_a_mark(test) {
        let Marked { store, worker, late } = marked(migrated(&test).await).await;
        let mut work = store.wakes().work();
        let mut claimed = Vec::new();
        let found = async {
            while !claimed.contains(&late) {
                work.mark_unchanged();
                let more = store.claim(slots(worker, 5)).await.unwrap();
                if more.is_empty() {
                    work.changed().await.unwrap();
                }
                claimed.extend(more.iter().map(|claimed| claimed.id));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect("a wake-up");
        store.close().await;
    }

    async fn whoever_waits_for_work_or_a_cancel_is_woken(test) {
        let db = migrated(&test).await;
        // two processes on PostgreSQL hear each other; SQLite has one owner
        let teller = store(db.clone()).await;
        let hearer = match db.dialect() {
            windrow_store::Dialect::Sqlite => teller.clone(),
            windrow_store::Dialect::Postgres => {
                let hearer = store(db.clone()).await;
                let mut first = hearer.wakes().work();
                // the LISTEN is in place when the first look was asked for
                first.wait_for(|count| *count > 0).await.unwrap();
                hearer
            }
        };
        let (mut work, mut cancel) = (hearer.wakes().work(), hearer.wakes().cancel());
        work.mark_unchanged();
        cancel.mark_unchanged();
        let answers = teller.submit(vec![job(1, Priority::Normal)]).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), work.changed()).await.expect("work is told of").unwrap();
        let worker = teller.register_worker("w".to_owned(), WorkerKind::Process).await.unwrap();
        assert_eq!(teller.claim(slots(worker, 1)).await.unwrap().len(), 1);
        let Submitted::Created { seq, .. } = answers[0] else { panic!("{answers:?}") };
        teller.cancel(seq).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), cancel.changed()).await.expect("a cancel is told of").unwrap();
        hearer.close().await;
        teller.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_stays_short() {
    let test = windrow_test_support::TestDb::sqlite().await;
    let store = store(migrated(&test).await).await;
    let log = test.dir().unwrap().join("windrow.db-wal");
    let mut longest = 0;
    for round in 0..100 {
        store.submit(half_a_megabyte(round)).await.unwrap();
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }
    // all of it and more without a restart; how much between two of them depends on the machine
    assert!(longest < 40 << 20, "the log grew to {} MiB for 50 MB", longest >> 20);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_a_long_read_made_grow_gives_its_space_back() {
    let test = windrow_test_support::TestDb::sqlite().await;
    let store = store(migrated(&test).await).await;
    let log = test.dir().unwrap().join("windrow.db-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    let mut reader = store.db().snapshot().await.unwrap();
    fetch_one!(&mut reader, scalar i64, "SELECT count(*) FROM jobs").unwrap();
    let mut rounds = 0..;
    while length() <= 48 << 20 {
        store.submit(half_a_megabyte(rounds.next().unwrap())).await.unwrap();
    }
    drop(reader);
    let shortens = async {
        while length() > 40 << 20 {
            store.submit(half_a_megabyte(rounds.next().unwrap())).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), shortens).await.expect("the log is cut");
    store.close().await;
}

fn half_a_megabyte(round: u128) -> Vec<NewJob> {
    let mut jobs: Vec<NewJob> = (0..500).map(|n| job(round * 1000 + n + 1, Priority::Normal)).collect();
    jobs.iter_mut().for_each(|job| job.spec = format!("{{\"text\":\"{}\"}}", "x".repeat(1000)));
    jobs
}
