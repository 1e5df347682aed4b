//! The scheduler: moves due jobs into line.

use std::time::Duration;

use windrow_core::SharedClock;
use windrow_store::Store;

use super::chore::{Chore, Next};
use super::{KeeperError, KeeperParts};

/// The least rest: what is due but held by somebody else's transaction is not waited for in a tight loop.
const LEAST: Duration = Duration::from_millis(10);

/// What is due is decided by wall time; the rest until then is monotonic and never longer than the poll, so a clock that
/// was set is obeyed within that time.
pub(super) struct Scheduler {
    store: Store,
    clock: SharedClock,
    poll: Duration,
}

impl Scheduler {
    pub(super) fn new(parts: &KeeperParts) -> Self {
        Self { store: parts.store.clone(), clock: parts.clock.clone(), poll: parts.settings.poll }
    }
}

impl Chore for Scheduler {
    const NAME: &'static str = "schedule";

    async fn turn(&mut self) -> Result<Next, KeeperError> {
        loop {
            let due = self.store.schedule_due().await?;
            let now = self.clock.now();
            match due.next {
                Some(next) if next <= now && due.moved > 0 => {}
                Some(next) => return Ok(Next::In(next.since(now).clamp(LEAST.min(self.poll), self.poll))),
                None => return Ok(Next::In(self.poll)),
            }
        }
    }
}
