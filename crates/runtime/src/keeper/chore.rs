//! How a duty goes on for ever.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use windrow_store::StoreError;

use super::KeeperError;

/// Wake-ups that come closer together than this are answered by one turn.
const COALESCE: Duration = Duration::from_millis(10);

/// When a duty's next turn is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// As its rhythm says, counted from the start of this turn.
    Usual,
    /// So long from now.
    In(Duration),
}

/// One duty. A turn may be dropped wherever it waits, and a turn that failed or panicked is followed by another.
pub(super) trait Chore: Send + 'static {
    /// For logs and metrics.
    const NAME: &'static str;

    fn turn(&mut self) -> impl Future<Output = Result<Next, KeeperError>> + Send;
}

/// How often a duty has its turn.
#[derive(Clone, Debug)]
pub(super) struct Rhythm {
    first: Duration,
    every: Duration,
    wake: Option<watch::Receiver<u64>>,
}

impl Rhythm {
    /// Beginning now.
    pub(super) const fn at_once(every: Duration) -> Self {
        Self { first: Duration::ZERO, every, wake: None }
    }

    /// Beginning when `first` has passed: what need not be done while a process starts.
    pub(super) const fn later(first: Duration, every: Duration) -> Self {
        Self { first, every, wake: None }
    }

    /// And whenever this counter moves.
    pub(super) fn woken_by(self, wake: watch::Receiver<u64>) -> Self {
        Self { wake: Some(wake), ..self }
    }

    async fn rest(&mut self, until: Instant) {
        let Some(wake) = &mut self.wake else { return tokio::time::sleep_until(until).await };
        let woken = tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            woken = wake.changed() => woken,
        };
        match woken {
            Ok(()) => tokio::time::sleep_until(until.min(Instant::now() + COALESCE)).await,
            // Whoever woke it is gone: what is left is the poll.
            Err(_) => {
                self.wake = None;
                tokio::time::sleep_until(until).await;
            }
        }
    }
}

/// Gives the duty its turns, until the store is closed.
pub(super) async fn keep<C: Chore>(mut chore: C, mut rhythm: Rhythm) {
    let mut next = Instant::now() + rhythm.first;
    let mut failing = false;
    loop {
        rhythm.rest(next).await;
        let started = Instant::now();
        let turn = AssertUnwindSafe(chore.turn()).catch_unwind().await;
        next = started + rhythm.every;
        let problem = match turn {
            Ok(Ok(Next::Usual)) => None,
            Ok(Ok(Next::In(pause))) => {
                next = Instant::now() + pause;
                None
            }
            Ok(Err(KeeperError::Store(StoreError::Closed))) => return,
            Ok(Err(error)) => Some(error.to_string()),
            // Its message was printed by the panic hook.
            Err(_) => Some("it panicked".to_owned()),
        };
        report(C::NAME, problem.as_deref(), failing);
        failing = problem.is_some();
    }
}

/// The first failure is a warning; those after it are no news.
fn report(chore: &'static str, problem: Option<&str>, failing: bool) {
    match problem {
        Some(problem) => {
            metrics::counter!("windrow_keeper_failures_total", "chore" => chore).increment(1);
            if failing {
                tracing::debug!(chore, problem, "failed again");
            } else {
                tracing::warn!(chore, problem, "failed; it is tried again");
            }
        }
        None if failing => tracing::info!(chore, "works again"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONGER: Duration = Duration::from_millis(20);

    /// Fails, then panics, then works once, then finds the store closed.
    struct Unlucky(Arc<AtomicUsize>);

    impl Chore for Unlucky {
        const NAME: &'static str = "unlucky";

        async fn turn(&mut self) -> Result<Next, KeeperError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(StoreError::Busy("locked".to_owned()).into()),
                1 => panic!("on purpose"),
                2 => Ok(Next::In(LONGER)),
                _ => Err(StoreError::Closed.into()),
            }
        }
    }

    #[tokio::test]
    async fn failures_and_panics_are_followed_by_another_turn_and_the_closed_store_by_none() {
        let turns = Arc::new(AtomicUsize::new(0));
        let tick = Duration::from_millis(5);
        let (rhythm, started) = (Rhythm::later(tick, tick), Instant::now());
        keep(Unlucky(Arc::clone(&turns)), rhythm).await;
        assert_eq!(turns.load(Ordering::SeqCst), 4);
        assert!(started.elapsed() >= tick * 3 + LONGER);
    }

    #[tokio::test]
    async fn a_wake_up_ends_the_rest_and_a_lost_waker_leaves_the_poll() {
        let waker = watch::Sender::new(0);
        let mut rhythm = Rhythm::at_once(Duration::ZERO).woken_by(waker.subscribe());
        let started = Instant::now();
        waker.send_modify(|count| *count += 1);
        rhythm.rest(started + Duration::from_secs(3600)).await;
        drop(waker);
        let until = Instant::now() + COALESCE * 3;
        rhythm.rest(until).await;
        assert!(Instant::now() >= until);
    }
}
