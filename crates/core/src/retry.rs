//! When a failed run is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Full jitter: a random time in [0, min(cap, base · 2^(n-1))] before attempt n + 1
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    pub base: Duration,
    pub cap: Duration,
    /// How many runs may fail with a transient error before the job is a dead letter.
    pub max_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { base: Duration::from_secs(2), cap: Duration::from_secs(300), max_attempts: 5 }
    }
}

impl RetryPolicy {
    /// The longest wait after the `attempt`-th failed attempt (counted from 1).
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doubled =
            2u32.checked_pow(attempt.saturating_sub(1)).and_then(|factor| self.base.checked_mul(factor));
        doubled.map_or(self.cap, |wait| wait.min(self.cap))
    }

    /// How long to wait after the `attempt`-th failed attempt. `unit` is a random number in [0, 1).
    /// A provider's `Retry-After` wins over the jitter.
    pub fn delay(&self, attempt: u32, unit: f64, retry_after: Option<Duration>) -> Duration {
        retry_after.unwrap_or_else(|| self.ceiling(attempt).mul_f64(unit.clamp(0.0, 1.0)))
    }

    /// Whether a job that has failed `attempts` times may run again.
    pub const fn allows_another(&self, attempts: u32) -> bool {
        attempts < self.max_attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let policy = RetryPolicy::default();
        let ceilings: Vec<u64> = (1..=10).map(|n| policy.ceiling(n).as_secs()).collect();
        assert_eq!(ceilings, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(policy.ceiling(u32::MAX), policy.cap);
    }

    #[test]
    fn retry_after_wins() {
        let wait = RetryPolicy::default().delay(1, 0.5, Some(Duration::from_secs(42)));
        assert_eq!(wait, Duration::from_secs(42));
    }

    proptest! {
        #[test]
        fn a_delay_stays_below_its_ceiling(attempt in 1u32..100, unit in 0.0..1.0f64) {
            let policy = RetryPolicy::default();
            prop_assert!(policy.delay(attempt, unit, None) <= policy.ceiling(attempt));
        }
    }
}
