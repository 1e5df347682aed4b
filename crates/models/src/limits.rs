//! How hard one model is used: calls at once, requests and tokens a minute.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use windrow_core::SharedClock;

use crate::settings::Limits;

const MINUTE: Duration = Duration::from_secs(60);

/// One call in so many may get ready while all slots are taken, at least one.
const AHEAD: usize = 8;

/// One model's gate. Whoever comes first goes first.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: SharedClock,
    slots: Semaphore,
    /// As many as there are slots, and a few more: for those who have one or get one soon.
    near: Semaphore,
    /// Held by the one who waits for the windows, so that a large request is not overtaken for ever by small ones.
    turn: tokio::sync::Mutex<()>,
    windows: Option<Mutex<Windows>>,
}

#[derive(Debug)]
struct Windows {
    requests: Option<Window>,
    tokens: Option<Window>,
}

/// What was spent in the last minute. A log of what went through, instead of a leaky bucket: a bucket with a burst of N
/// lets 2·N through in its first minute, and the provider then answers 429.
#[derive(Debug)]
struct Window {
    limit: u64,
    spent: u64,
    log: VecDeque<(Duration, u64)>,
}

impl Gate {
    pub(crate) fn new(limits: Limits, clock: SharedClock) -> Self {
        let slots = usize::try_from(limits.concurrency.max(1)).unwrap_or(Semaphore::MAX_PERMITS);
        let requests = limits.requests_per_minute.map(u64::from).map(Window::new);
        let tokens = limits.tokens_per_minute.map(Window::new);
        let limited = requests.is_some() || tokens.is_some();
        Self {
            clock,
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            near: Semaphore::new(slots.saturating_add((slots / AHEAD).max(1)).min(Semaphore::MAX_PERMITS)),
            turn: tokio::sync::Mutex::new(()),
            windows: limited.then(|| Mutex::new(Windows { requests, tokens })),
        }
    }

    /// Waits until a slot is in use by the caller or is the caller's within about an eighth of a call's time. None where rates are
    /// limited: there nobody knows how long the wait will be.
    pub(crate) async fn approach(&self) -> Option<SemaphorePermit<'_>> {
        if self.windows.is_some() {
            return None;
        }
        Some(self.near.acquire().await.expect("the gate's semaphores are never closed"))
    }

    /// Waits for room for one call of so many tokens. Room in the windows is spent even when the call then fails.
    pub(crate) async fn enter(&self, tokens: impl FnOnce() -> u64) -> SemaphorePermit<'_> {
        let slot = self.slots.acquire().await.expect("the gate's semaphores are never closed");
        if let Some(windows) = &self.windows {
            let tokens = tokens();
            let _turn = self.turn.lock().await;
            loop {
                let wait = lock(windows).take(self.clock.monotonic(), tokens);
                match wait {
                    None => break,
                    Some(wait) => tokio::time::sleep(wait).await,
                }
            }
        }
        slot
    }
}

fn lock(windows: &Mutex<Windows>) -> MutexGuard<'_, Windows> {
    windows.lock().expect("nothing panics while the windows are locked")
}

impl Windows {
    /// Takes room from both windows, or from neither and says how long to wait.
    fn take(&mut self, now: Duration, tokens: u64) -> Option<Duration> {
        let mut needs: Vec<(&mut Window, u64)> = Vec::with_capacity(2);
        needs.extend(self.requests.as_mut().map(|window| (window, 1)));
        needs.extend(self.tokens.as_mut().map(|window| (window, tokens)));
        let wait = needs.iter_mut().filter_map(|(window, amount)| window.wait(now, *amount)).max();
        if wait.is_none() {
            for (window, amount) in needs {
                window.spend(now, amount);
            }
        }
        wait
    }
}

impl Window {
    fn new(limit: u64) -> Self {
        Self { limit: limit.max(1), spent: 0, log: VecDeque::new() }
    }

    /// How long until `amount` fits. What is larger than the whole limit takes an empty window.
    fn wait(&mut self, now: Duration, amount: u64) -> Option<Duration> {
        while let Some((at, spent)) = self.log.front().copied().filter(|(at, _)| *at + MINUTE <= now) {
            debug_assert!(at <= now);
            self.spent -= spent;
            self.log.pop_front();
        }
        let mut excess =
            (self.spent + amount.min(self.limit)).checked_sub(self.limit).filter(|excess| *excess > 0)?;
        for (at, spent) in &self.log {
            if excess <= *spent {
                return Some((*at + MINUTE).saturating_sub(now));
            }
            excess -= spent;
        }
        None
    }

    fn spend(&mut self, now: Duration, amount: u64) {
        let amount = amount.min(self.limit);
        self.spent += amount;
        self.log.push_back((now, amount));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_whole_limit_is_there_at_once_and_back_after_a_minute() {
        let mut windows = Windows { requests: Some(Window::new(2)), tokens: Some(Window::new(100)) };
        let at = Duration::from_secs;
        assert_eq!(windows.take(at(0), 10), None);
        assert_eq!(windows.take(at(10), 10), None);
        assert_eq!(windows.take(at(10), 10), Some(at(50)), "requests");
        assert_eq!(windows.take(at(60), 90), None);
        assert_eq!(windows.take(at(70), 11), Some(at(50)), "tokens");
        assert_eq!(windows.take(at(120), 5_000), None, "more than the limit takes an empty window");
    }

    #[tokio::test]
    async fn a_few_get_ready_while_all_slots_are_taken() {
        let clock = windrow_core::TestClock::shared();
        let gate = Gate::new(Limits { concurrency: 16, ..Limits::default() }, clock.clone());
        let (mut slots, mut near) = (Vec::new(), Vec::new());
        for _ in 0..16 {
            slots.push(gate.enter(|| 0).await);
        }
        for _ in 0..18 {
            near.push(gate.approach().await.unwrap());
        }
        assert_eq!((gate.near.available_permits(), gate.slots.available_permits()), (0, 0));
        drop((slots, near));
        let limited = Limits { requests_per_minute: Some(1), ..Limits::default() };
        assert!(Gate::new(limited, clock).approach().await.is_none());
    }

    proptest! {
        #[test]
        fn no_minute_ever_holds_more_than_the_limit(
            limit in 1u64..50, asks in proptest::collection::vec((0u64..20_000, 1u64..80), 1..80),
        ) {
            let mut window = Window::new(limit);
            let mut now = Duration::ZERO;
            let mut taken: Vec<(Duration, u64)> = Vec::new();
            for (pause, amount) in asks {
                now += Duration::from_millis(pause);
                while let Some(wait) = window.wait(now, amount) {
                    prop_assert!(!wait.is_zero());
                    now += wait;
                }
                window.spend(now, amount);
                taken.push((now, amount.min(limit)));
            }
            for (start, _) in &taken {
                let minute = taken.iter().filter(|(at, _)| at >= start && *at < *start + MINUTE);
                prop_assert!(minute.map(|(_, amount)| amount).sum::<u64>() <= limit);
            }
        }
    }
}
