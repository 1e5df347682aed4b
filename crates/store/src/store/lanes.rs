//! Which batcher takes an operation. SQLite has one writer, and so one batcher. PostgreSQL runs statements of several connections at
//! once: there claims need not wait for the ends of other runs, and jobs that are submitted for neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::batcher::{Batcher, Op};
use crate::{Dialect, StoreError};

/// Batchers for submits on PostgreSQL: a client's thousand rows keep one busy while the other's commit.
const SUBMITS: usize = 2;

/// The ways into one database.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    senders: Arc<[mpsc::UnboundedSender<Op>]>,
    submits: Arc<AtomicUsize>,
}

impl Lanes {
    pub(super) const fn count(dialect: Dialect) -> usize {
        match dialect {
            Dialect::Sqlite => 1,
            Dialect::Postgres => 2 + SUBMITS,
        }
    }

    /// Starts the batchers, one a lane. The second value turns true when all have ended in order, and is gone when one fails.
    pub(super) fn start(batchers: Vec<Batcher>) -> (Self, watch::Receiver<bool>) {
        let (done_in, done) = watch::channel(false);
        let mut senders = Vec::with_capacity(batchers.len());
        let mut running = JoinSet::new();
        for batcher in batchers {
            let (ops, inbox) = mpsc::unbounded_channel();
            senders.push(ops);
            running.spawn(batcher.run(inbox));
        }
        tokio::spawn(async move {
            while let Some(ended) = running.join_next().await {
                if ended.is_err() {
                    return;
                }
            }
            let _nobody_may_ask = done_in.send(true);
        });
        (Self { senders: senders.into(), submits: Arc::default() }, done)
    }

    pub(super) fn send(&self, op: Op) -> Result<(), StoreError> {
        let lane = match (&op, self.senders.len()) {
            (_, 1) => 0,
            (Op::Claim(..), _) => 1,
            (Op::Submit(..), _) => 2 + self.submits.fetch_add(1, Ordering::Relaxed) % SUBMITS,
            _ => 0,
        };
        self.senders[lane].send(op).map_err(|_| StoreError::Closed)
    }

    /// No lane takes more than what it has been sent.
    pub(super) fn close(&self) {
        for lane in self.senders.iter() {
            let _it_may_have_ended = lane.send(Op::Close);
        }
    }
}
