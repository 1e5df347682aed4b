//! Operations that ride in one commit: of each kind all items are one set-based statement.

use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use tokio::sync::oneshot;
use windrow_core::Timestamp;

use super::unit::Unit;
use crate::hot::{
    self, Checkpoint, ClaimRequest, Claimed, Cursor, EndRun, Ended, Fenced, MoneyAnswer, MoneyOp, NewEvent,
    NewJob, Progress, Submitted,
};
use crate::{StoreError, Tx};

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// A kind of operation whose items may share a statement. One answer an item.
pub(super) trait Merge: Sized + Send + Sync + std::fmt::Debug {
    type Answer: Send + std::fmt::Debug;

    fn run(
        tx: &mut Tx,
        items: &[Self],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;
}

macro_rules! merge {
    ($item:ty, $answer:ty, |$tx:ident, $items:ident, $now:ident| $run:expr) => {
        impl Merge for $item {
            type Answer = $answer;

            async fn run($tx: &mut Tx, $items: &[Self], $now: Timestamp) -> Result<Vec<$answer>, StoreError> {
                $run
            }
        }
    };
}

merge!(NewJob, Submitted, |tx, items, now| hot::submit(tx, items, now).await);
merge!(EndRun, Ended, |tx, items, now| hot::end_runs(tx, items, now).await.map(|closing| closing.ended));
merge!(MoneyOp, MoneyAnswer, |tx, items, now| hot::reserve_and_settle(tx, items, now).await);
merge!(Checkpoint, Fenced, |tx, items, now| hot::checkpoint(tx, items, now).await);
merge!(NewEvent, Option<i64>, |tx, items, now| hot::append_events(tx, items, now).await);
merge!(Progress, (), |tx, items, now| hot::progress(tx, items, now).await.map(|()| vec![(); items.len()]));

/// Who waits for what came of its items.
#[derive(Debug)]
struct Waiting<I: Merge> {
    /// Where its items stand among the lane's.
    items: Range<usize>,
    reply: Reply<Vec<I::Answer>>,
    answer: Option<Result<Vec<I::Answer>, StoreError>>,
}

/// The operations of one kind in a batch.
#[derive(Debug)]
pub(super) struct Lane<I: Merge> {
    items: Vec<I>,
    waiting: Vec<Waiting<I>>,
}

impl<I: Merge> Default for Lane<I> {
    fn default() -> Self {
        Self { items: Vec::new(), waiting: Vec::new() }
    }
}

impl<I: Merge> Lane<I> {
    pub(super) fn push(&mut self, items: Vec<I>, reply: Reply<Vec<I::Answer>>) -> usize {
        let (from, count) = (self.items.len(), items.len());
        self.items.extend(items);
        self.waiting.push(Waiting { items: from..from + count, reply, answer: None });
        count
    }

    /// All items in one statement; its answers are held until the commit.
    async fn merged(&mut self, tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut answers = I::run(tx, &self.items, now).await?.into_iter();
        for op in &mut self.waiting {
            op.answer = Some(Ok(answers.by_ref().take(op.items.len()).collect()));
        }
        Ok(())
    }

    /// Each operation in a savepoint, so that one that fails fails alone.
    async fn apart(&mut self, tx: &mut Tx, now: Timestamp) -> Result<(), StoreError> {
        for op in &mut self.waiting {
            tx.savepoint().await?;
            let answer = I::run(tx, &self.items[op.items.clone()], now).await;
            keep(tx, answer.is_ok()).await?;
            op.answer = Some(answer);
        }
        Ok(())
    }

    fn finish(self, committed: &Result<(), StoreError>) {
        for op in self.waiting {
            let answer = match (op.answer, committed) {
                (Some(Err(error)), _) => Err(error),
                (Some(Ok(answers)), Ok(())) => Ok(answers),
                (_, Err(error)) => Err(error.clone()),
                (None, Ok(())) => Err(StoreError::Closed),
            };
            let _ = op.reply.send(answer);
        }
    }
}

async fn keep(tx: &mut Tx, keep: bool) -> Result<(), StoreError> {
    if keep { tx.release().await } else { tx.rollback_to().await }
}

/// A claim that waits: the process's own, or on behalf of a child process or a remote worker.
#[derive(Debug)]
struct WaitingClaim {
    request: ClaimRequest,
    reply: Reply<Vec<Claimed>>,
    answer: Option<Result<Vec<Claimed>, StoreError>>,
}

/// What one commit carries.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ends: Lane<EndRun>,
    pub(super) money: Lane<MoneyOp>,
    pub(super) checkpoints: Lane<Checkpoint>,
    pub(super) progress: Lane<Progress>,
    pub(super) events: Lane<NewEvent>,
    pub(super) submits: Lane<NewJob>,
    units: Vec<Box<dyn Unit>>,
    claims: Vec<WaitingClaim>,
}

/// What a batch is run with.
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    pub(super) tick: Duration,
    pub(super) cursor: &'a mut Cursor,
}

impl Batch {
    pub(super) fn unit(&mut self, unit: Box<dyn Unit>) -> usize {
        self.units.push(unit);
        1
    }

    pub(super) fn claim(&mut self, request: ClaimRequest, reply: Reply<Vec<Claimed>>) -> usize {
        let slots = request.slots;
        self.claims.push(WaitingClaim { request, reply, answer: None });
        slots
    }

    /// Whether all that it writes is one statement: a plain claim, or submits without budgets.
    pub(super) fn is_single(&self) -> bool {
        // by name, so that a new kind of operation is thought of here
        let Self { ends, money, checkpoints, progress, events, submits, units, claims } = self;
        let others = ends.items.len()
            + money.items.len()
            + checkpoints.items.len()
            + progress.items.len()
            + events.items.len()
            + units.len();
        match (submits.items.as_slice(), claims.as_slice()) {
            ([], [claim]) => others == 0 && claim.request.is_plain(),
            (submits, []) => others == 0 && submits.iter().all(|job| job.budget.is_none()),
            _ => false,
        }
    }

    pub(super) fn claims_something(&self) -> bool {
        !self.claims.is_empty()
    }

    /// Ends come first, for they make room; claims last, for they take what the others put in line.
    pub(super) async fn merged(&mut self, tx: &mut Tx, at: &mut Moment<'_>) -> Result<(), StoreError> {
        self.ends.merged(tx, at.now).await?;
        self.money.merged(tx, at.now).await?;
        self.checkpoints.merged(tx, at.now).await?;
        self.progress.merged(tx, at.now).await?;
        self.events.merged(tx, at.now).await?;
        self.submits.merged(tx, at.now).await?;
        self.units(tx).await?;
        for claim in &mut self.claims {
            claim.answer = Some(Ok(hot::claim(tx, &claim.request, at.cursor, at.now, at.tick).await?));
        }
        Ok(())
    }

    /// The same, each operation in a savepoint.
    pub(super) async fn apart(&mut self, tx: &mut Tx, at: &mut Moment<'_>) -> Result<(), StoreError> {
        self.ends.apart(tx, at.now).await?;
        self.money.apart(tx, at.now).await?;
        self.checkpoints.apart(tx, at.now).await?;
        self.progress.apart(tx, at.now).await?;
        self.events.apart(tx, at.now).await?;
        self.submits.apart(tx, at.now).await?;
        self.units(tx).await?;
        for claim in &mut self.claims {
            tx.savepoint().await?;
            let answer = hot::claim(tx, &claim.request, at.cursor, at.now, at.tick).await;
            keep(tx, answer.is_ok()).await?;
            claim.answer = Some(answer);
        }
        Ok(())
    }

    /// A unit's refusal is its own business, so it always has a savepoint.
    async fn units(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        for unit in &mut self.units {
            tx.savepoint().await?;
            let kept = unit.run(tx).await;
            keep(tx, kept).await?;
        }
        Ok(())
    }

    /// Answers everybody. Gives the claims that nobody took: their callers have gone.
    pub(super) fn finish(self, committed: &Result<(), StoreError>) -> Vec<Claimed> {
        self.ends.finish(committed);
        self.money.finish(committed);
        self.checkpoints.finish(committed);
        self.progress.finish(committed);
        self.events.finish(committed);
        self.submits.finish(committed);
        for unit in self.units {
            unit.finish(committed.clone());
        }
        let mut orphans = Vec::new();
        for claim in self.claims {
            let answer = match (claim.answer, committed) {
                (Some(answer), Ok(())) => answer,
                (_, Err(error)) => Err(error.clone()),
                (None, Ok(())) => Err(StoreError::Closed),
            };
            if let Err(Ok(claimed)) = claim.reply.send(answer) {
                orphans.extend(claimed);
            }
        }
        orphans
    }
}
