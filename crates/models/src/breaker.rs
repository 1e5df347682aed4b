//! A circuit breaker: a provider that keeps failing is left alone for a while.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use windrow_core::SharedClock;

use crate::settings::BreakerSettings;

/// Closed while calls succeed; open after a row of failures; then one call at a time may probe, and its end decides.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    clock: SharedClock,
    provider: String,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many failures in a row so far.
    Closed { failures: u32 },
    /// Until this time (monotonic) nobody is let through.
    Open { until: Duration },
    /// A probe is on its way.
    Probing,
}

/// What a call's end says about its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answered, were it with a refusal.
    Alive,
    Failing,
    /// The call says nothing: it never left, or was dropped.
    Unknown,
}

/// The right to make one call. Its end is reported with [`Pass::end`]; dropping it says nothing about the provider.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
    ended: bool,
}

impl Breaker {
    pub(crate) fn new(provider: &str, settings: BreakerSettings, clock: SharedClock) -> Self {
        let state = Mutex::new(State::Closed { failures: 0 });
        Self { settings, clock, provider: provider.to_owned(), state }
    }

    /// Whether a call would be let through now.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub(crate) fn check(&self) -> Result<(), Duration> {
        self.wait(*self.lock()).map_or(Ok(()), Err)
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub(crate) fn enter(&self) -> Result<Pass<'_>, Duration> {
        let mut state = self.lock();
        if let Some(wait) = self.wait(*state) {
            return Err(wait);
        }
        let probe = !matches!(*state, State::Closed { .. });
        if probe {
            *state = State::Probing;
        }
        Ok(Pass { breaker: self, probe, ended: false })
    }

    fn wait(&self, state: State) -> Option<Duration> {
        match state {
            State::Closed { .. } => None,
            State::Open { until } => {
                Some(until.saturating_sub(self.clock.monotonic())).filter(|wait| !wait.is_zero())
            }
            State::Probing => Some(self.settings.open_for.min(Duration::from_secs(1))),
        }
    }

    /// A call that was let through before the breaker opened says nothing new: only the probe decides then.
    fn report(&self, probe: bool, health: Health) {
        let mut state = self.lock();
        let next = match (*state, probe, health) {
            (State::Probing, true, Health::Alive) => State::Closed { failures: 0 },
            (State::Probing, true, Health::Failing) => self.opened(),
            (State::Probing, true, Health::Unknown) => State::Open { until: self.clock.monotonic() },
            (State::Closed { .. }, _, Health::Alive) => State::Closed { failures: 0 },
            (State::Closed { failures }, _, Health::Failing) if failures + 1 >= self.settings.failures => {
                tracing::warn!(provider = %self.provider, failures = failures + 1, "circuit breaker opened");
                self.opened()
            }
            (State::Closed { failures }, _, Health::Failing) => State::Closed { failures: failures + 1 },
            (unchanged, ..) => unchanged,
        };
        if next != *state {
            let open = f64::from(u8::from(!matches!(next, State::Closed { .. })));
            metrics::gauge!("windrow_model_breaker_open", "provider" => self.provider.clone()).set(open);
        }
        *state = next;
    }

    fn opened(&self) -> State {
        State::Open { until: self.clock.monotonic() + self.settings.open_for }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the breaker's state is locked")
    }
}

impl Pass<'_> {
    pub(crate) fn end(mut self, health: Health) {
        self.ended = true;
        self.breaker.report(self.probe, health);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.report(self.probe, Health::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use windrow_core::TestClock;

    const OPEN_FOR: Duration = Duration::from_secs(30);

    fn breaker() -> (Arc<TestClock>, Breaker) {
        let clock = TestClock::shared();
        let settings = BreakerSettings { failures: 3, open_for: OPEN_FOR };
        (clock.clone(), Breaker::new("openai", settings, clock))
    }

    fn fail(breaker: &Breaker, times: usize) {
        for _ in 0..times {
            breaker.enter().unwrap().end(Health::Failing);
        }
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let (_, breaker) = breaker();
        fail(&breaker, 2);
        breaker.enter().unwrap().end(Health::Alive);
        fail(&breaker, 2);
        drop(breaker.enter().unwrap());
        assert_eq!(breaker.check(), Ok(()));
        fail(&breaker, 1);
        assert_eq!(breaker.check(), Err(OPEN_FOR));
    }

    #[test]
    fn one_probe_decides() {
        let (clock, breaker) = breaker();
        let early = breaker.enter().unwrap();
        fail(&breaker, 3);
        clock.advance(OPEN_FOR / 2);
        assert_eq!(breaker.enter().unwrap_err(), OPEN_FOR / 2);
        early.end(Health::Alive);
        assert_eq!(breaker.check(), Err(OPEN_FOR / 2), "a call from before says nothing new");

        clock.advance(OPEN_FOR / 2);
        let probe = breaker.enter().unwrap();
        assert_eq!(breaker.enter().unwrap_err(), Duration::from_secs(1), "one probe at a time");
        probe.end(Health::Failing);
        assert_eq!(breaker.check(), Err(OPEN_FOR));

        clock.advance(OPEN_FOR);
        drop(breaker.enter().unwrap());
        let probe = breaker.enter().expect("a dropped probe makes room for the next");
        probe.end(Health::Alive);
        fail(&breaker, 2);
        assert_eq!(breaker.check(), Ok(()), "it counts anew");
    }
}
