//! The proof: random histories of operations go to SQLite, to PostgreSQL and to a model in memory. After each step the
//! two databases and the model must be in the same state, and the invariants hold. Steps are struck by crashes between
//! any two statements and by lost replies; workers go on with runs that they have lost; clocks jump.
//!
//! `WINDROW_HISTORY_SEEDS=n` runs n histories (default 200), `WINDROW_HISTORY_FIRST=s` lets them begin at seed s (default 0);
//! `WINDROW_HISTORY_SEED=s` replays one.

mod claims;
mod ledger;
mod lines;
mod model;
mod real;
mod step;
mod translate;
mod tree;

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use windrow_store::fault::Guard;
use windrow_test_support::TestDb;

use model::Model;
use real::Real;
use step::{Fault, Step};

/// Operations of one history.
const STEPS: usize = 70;

/// Where a history goes to.
struct Arena {
    sqlite: Real,
    postgres: Real,
    /// Removed when the arena is.
    _files: (TestDb, TestDb),
}

impl Arena {
    async fn new(without: Option<Guard>) -> Self {
        let files = (TestDb::sqlite().await, TestDb::postgres().await);
        let sqlite = Real::new(&files.0, without).await;
        let postgres = Real::new(&files.1, without).await;
        Self { sqlite, postgres, _files: files }
    }

    /// One history; the error says what differs, after which steps.
    async fn history(&mut self, seed: u64) -> Result<(), String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.sqlite.reset().await;
        self.postgres.reset().await;
        let mut model = Model::new();
        let mut told = String::new();
        for number in 0..STEPS {
            let (step, fault) = step::random(&mut rng, &model);
            let _ = writeln!(told, "{number:3} {fault:?} {step:?}");
            self.step(&mut model, &step, fault).await.map_err(|what| {
                format!("seed {seed}, step {number}: {what}\nreplay: WINDROW_HISTORY_SEED={seed}\n{told}")
            })?;
        }
        futures::try_join!(self.sqlite.whole(), self.postgres.whole())
            .map(drop)
            .map_err(|what| format!("seed {seed}: {what}\nreplay: WINDROW_HISTORY_SEED={seed}\n{told}"))
    }

    async fn step(&mut self, model: &mut Model, step: &Step, fault: Fault) -> Result<(), String> {
        model.pass_time(step);
        let at = (model.now, model.tick);
        let (left, right) =
            futures::join!(self.sqlite.run(step, fault, at), self.postgres.run(step, fault, at));
        if left != right {
            return Err(format!("answers differ\n  SQLite:     {left:?}\n  PostgreSQL: {right:?}"));
        }
        match (&left, fault) {
            (None, Fault::Crash(_)) => {}
            (None, _) => return Err("an operation failed that nothing struck".to_owned()),
            (Some(answer), _) => {
                // the reply of a committed step may be lost: then the actor doesn't learn what it did
                let expected = model.apply(step, answer, fault != Fault::LostReply)?;
                if *answer != expected {
                    return Err(format!("answer\n  databases: {answer:?}\n  model:     {expected:?}"));
                }
            }
        }
        let (left, right) = futures::join!(self.sqlite.lines(), self.postgres.lines());
        let expected = model.lines();
        differ("SQLite", &left, "model", &expected)?;
        differ("PostgreSQL", &right, "model", &expected)?;
        futures::try_join!(self.sqlite.invariants(), self.postgres.invariants())?;
        Ok(())
    }
}

fn differ(left: &str, a: &[String], right: &str, b: &[String]) -> Result<(), String> {
    if a == b {
        return Ok(());
    }
    let mut text = String::from("states differ\n");
    for line in a.iter().filter(|line| !b.contains(line)) {
        let _ = writeln!(text, "  only {left}: {line}");
    }
    for line in b.iter().filter(|line| !a.contains(line)) {
        let _ = writeln!(text, "  only {right}: {line}");
    }
    Err(text)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Several arenas work off the seeds.
async fn all(seeds: Range<u64>, without: Option<Guard>, at_once: usize) -> Result<(), String> {
    let Range { start, end: seeds } = seeds;
    let next = Arc::new(AtomicU64::new(start));
    let workers = (0..at_once).map(|_| {
        let next = Arc::clone(&next);
        tokio::spawn(async move {
            let mut arena = Arena::new(without).await;
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return Ok(());
                }
                if let Err(what) = arena.history(seed).await {
                    next.store(seeds, Ordering::Relaxed);
                    return Err(what);
                }
            }
        })
    });
    for worker in futures::future::join_all(workers).await {
        worker.expect("a history does not panic")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_and_the_model_agree() {
    if let Some(seed) = number("WINDROW_HISTORY_SEED") {
        let mut arena = Arena::new(None).await;
        arena.history(seed).await.unwrap_or_else(|what| panic!("{what}"));
        return;
    }
    let first = number("WINDROW_HISTORY_FIRST").unwrap_or(0);
    let seeds = number("WINDROW_HISTORY_SEEDS").unwrap_or(200);
    all(first..first + seeds, None, 3).await.unwrap_or_else(|what| panic!("{what}"));
}

/// A build without one of the guards is caught by the same histories.
async fn is_missed(guard: Guard) {
    let what = all(0..60, Some(guard), 2).await.expect_err("nothing was wrong without the guard");
    assert!(what.contains("differ") || what.contains("answer"), "{what}");
    // what is printed is all that a person needs to see it again
    let (_, replay) = what.split_once("replay: WINDROW_HISTORY_SEED=").expect("it says how to replay it");
    let seed = replay.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a seed");
    let again = Arena::new(Some(guard)).await.history(seed).await;
    assert_eq!(again, Err(what), "the replay of the seed shows something else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_fence_a_stale_end_is_caught() {
    is_missed(Guard::Fence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_reservations_overspending_is_caught() {
    is_missed(Guard::Reservation).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_beat_number_the_burial_of_a_living_worker_is_caught() {
    is_missed(Guard::BeatNo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_counting_children_once_a_parent_that_never_wakes_is_caught() {
    is_missed(Guard::ChildOnce).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_journal_an_answer_that_is_paid_for_and_not_found_is_caught() {
    is_missed(Guard::Journal).await;
}
