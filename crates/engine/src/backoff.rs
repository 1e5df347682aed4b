//! How long to wait for what can't be reached now and will be again.

use std::time::Duration;

/// Waits that double from try to try, up to the longest. Without jitter: whoever waits here waits for a server or a database of its
/// own. Jobs that failed are spread over time by [`RetryPolicy`](windrow_core::RetryPolicy).
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// For an operation on an engine: from 50 ms, which a busy database is soon over with, to 2 s, in which an embedded server
    /// that was restarted is back.
    pub const fn of_engine() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// How long to wait before the next try.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait
    }

    /// It went well: the next wait is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits as long as [`Self::wait`] says.
    pub async fn rest(&mut self) {
        tokio::time::sleep(self.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(30), Duration::from_millis(100));
        let waits: Vec<u128> = (0..4).map(|_| backoff.wait().as_millis()).collect();
        assert_eq!(waits, [30, 60, 100, 100]);
        backoff.reset();
        assert_eq!(backoff.wait().as_millis(), 30);
    }
}
