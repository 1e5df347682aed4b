//! A batcher: what arrives while a commit is in flight rides in the next one.

use tokio::sync::{mpsc, watch};
use windrow_core::SharedClock;

use super::StoreOptions;
use super::batch::{Batch, Moment, Reply};
use super::log::WriteAheadLog;
use super::looker::Looker;
use super::unit::Unit;
use super::wake::Wakes;
use crate::hot::{
    Checkpoint, ClaimRequest, Claimed, Cursor, End, EndRun, Ended, Fenced, MoneyAnswer, MoneyOp, NewEvent,
    NewJob, Progress, Submitted,
};
use crate::{Db, Dialect, Notes, StoreError};

/// Operations that one commit takes at most.
const MAX_OPS: usize = 512;

/// How often a batch that ran into somebody else's locks is tried again as a whole.
const BUSY_TRIES: usize = 3;

#[derive(Debug)]
pub(super) enum Op {
    Submit(Vec<NewJob>, Reply<Vec<Submitted>>),
    End(Vec<EndRun>, Reply<Vec<Ended>>),
    Money(Vec<MoneyOp>, Reply<Vec<MoneyAnswer>>),
    Checkpoint(Vec<Checkpoint>, Reply<Vec<Fenced>>),
    Progress(Vec<Progress>, Reply<Vec<()>>),
    Events(Vec<NewEvent>, Reply<Vec<Option<i64>>>),
    Claim(ClaimRequest, Reply<Vec<Claimed>>),
    Unit(Box<dyn Unit>),
    /// In a transaction of its own.
    Alone(Box<dyn Unit>),
    Close,
}

pub(super) struct Batcher {
    db: Db,
    clock: SharedClock,
    options: StoreOptions,
    wakes: Wakes,
    fatal: watch::Sender<Option<StoreError>>,
    cursor: Cursor,
    /// PostgreSQL: once there was a claim.
    looker: Option<Looker>,
    /// SQLite.
    log: Option<WriteAheadLog>,
}

impl Batcher {
    pub(super) async fn new(
        db: Db,
        clock: SharedClock,
        options: StoreOptions,
        wakes: Wakes,
        fatal: watch::Sender<Option<StoreError>>,
    ) -> Result<Self, StoreError> {
        let log = match db.dialect() {
            Dialect::Sqlite => Some(WriteAheadLog::take_over(&db).await?),
            Dialect::Postgres => None,
        };
        let cursor = Cursor::new(options.random);
        Ok(Self { db, clock, options, wakes, fatal, cursor, looker: None, log })
    }

    /// Until it is told to close, or nobody is left who could ask.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Op>) {
        let mut open = true;
        while open {
            let Some(first) = inbox.recv().await else { break };
            let mut batch = Batch::default();
            let mut alone = Vec::new();
            let (mut next, mut ops, mut rows, mut shared) = (Some(first), 0, 0, false);
            while let Some(op) = next.take() {
                ops += 1;
                match op {
                    Op::Close => open = false,
                    Op::Alone(unit) => alone.push(unit),
                    op => {
                        rows += take(&mut batch, op);
                        shared = true;
                    }
                }
                if ops < MAX_OPS && rows < self.options.max_batch {
                    next = inbox.try_recv().ok();
                }
            }
            if shared {
                self.commit(batch).await;
            }
            for unit in alone {
                self.commit_alone(unit).await;
            }
            if let Some(log) = &mut self.log {
                log.between_batches().await;
            }
        }
        // whoever asks from now on is answered by the closed channel
        inbox.close();
    }

    /// A unit that shares its transaction with nobody. PostgreSQL runs it beside the batches.
    async fn commit_alone(&mut self, unit: Box<dyn Unit>) {
        let (db, wakes, fatal) = (self.db.clone(), self.wakes.clone(), self.fatal.clone());
        match self.db.dialect() {
            Dialect::Sqlite => run_alone(db, wakes, fatal, unit).await,
            Dialect::Postgres => drop(tokio::spawn(run_alone(db, wakes, fatal, unit))),
        }
    }

    async fn commit(&mut self, mut batch: Batch) {
        let started = self.clock.monotonic();
        let committed = self.attempts(&mut batch).await;
        let took = self.clock.monotonic().saturating_sub(started);
        metrics::histogram!("windrow_store_commit_seconds").record(took.as_secs_f64());
        if committed.is_err() {
            self.cursor.forget();
        }
        if batch.claims_something() && self.db.dialect() == Dialect::Postgres {
            let start = || Looker::start(self.db.clone(), self.wakes.clone());
            self.looker.get_or_insert_with(start).after_claim(&self.cursor);
        }
        let orphans = batch.finish(&committed.as_ref().map(|_| ()).map_err(Clone::clone));
        if let Ok(notes) = committed {
            self.wakes.tell(notes);
        }
        self.release(orphans).await;
    }

    /// All in one statement a kind; when that fails, one operation a savepoint.
    async fn attempts(&mut self, batch: &mut Batch) -> Result<Notes, StoreError> {
        for attempt in 0..BUSY_TRIES {
            match self.attempt(batch, true).await {
                Ok(notes) => return Ok(notes),
                Err(StoreError::Busy(why)) => tracing::debug!(attempt, why, "a batch ran into locks"),
                Err(error) if outcome_is_settled(&error) => {
                    report(&self.fatal, &error);
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(%error, "a batch failed; its operations are run one by one");
                    break;
                }
            }
            self.cursor.forget();
        }
        self.cursor.forget();
        let apart = self.attempt(batch, false).await;
        if let Err(error) = &apart {
            report(&self.fatal, error);
        }
        apart
    }

    async fn attempt(&mut self, batch: &mut Batch, merged: bool) -> Result<Notes, StoreError> {
        let single = if merged && batch.is_single() { self.db.begin_single().await? } else { None };
        let is_single = single.is_some();
        let mut tx = match single {
            Some(tx) => tx,
            None => self.db.begin().await?,
        };
        if let Some(looker) = &self.looker {
            looker.lower(&mut self.cursor);
        }
        let (now, tick) = (self.clock.now(), self.clock.monotonic());
        let mut moment = Moment { now, tick, cursor: &mut self.cursor };
        let done = if merged {
            batch.merged(&mut tx, &mut moment).await
        } else {
            batch.apart(&mut tx, &mut moment).await
        };
        if let Err(error) = done {
            // its locks must be gone before the next attempt; a connection that broke has none
            let _ = tx.rollback().await;
            // What a claim had picked before its error stands, without a transaction. Jobs are found again by their ids.
            let may_stand = is_single && batch.claims_something() && !outcome_is_settled(&error);
            return Err(if may_stand { StoreError::UnknownOutcome(error.to_string()) } else { error });
        }
        let notes = tx.notes();
        tx.commit().await?;
        Ok(notes)
    }

    /// Gives back what was claimed for callers that have gone.
    async fn release(&mut self, orphans: Vec<Claimed>) {
        if orphans.is_empty() {
            return;
        }
        let ends: Vec<EndRun> =
            orphans.iter().map(|claimed| EndRun { at: claimed.at, end: End::Release }).collect();
        let (reply, _) = tokio::sync::oneshot::channel();
        let mut batch = Batch::default();
        batch.ends.push(ends, reply);
        let released = self.attempts(&mut batch).await;
        match released {
            Ok(notes) => self.wakes.tell(notes),
            // the worker's beats will stop some time, and the rescuer will find them
            Err(error) => tracing::warn!(%error, "claimed runs whose caller had gone could not be released"),
        }
    }
}

/// Puts an operation with its kind; gives how many rows it is.
fn take(batch: &mut Batch, op: Op) -> usize {
    match op {
        Op::Submit(items, reply) => batch.submits.push(items, reply),
        Op::End(items, reply) => batch.ends.push(items, reply),
        Op::Money(items, reply) => batch.money.push(items, reply),
        Op::Checkpoint(items, reply) => batch.checkpoints.push(items, reply),
        Op::Progress(items, reply) => batch.progress.push(items, reply),
        Op::Events(items, reply) => batch.events.push(items, reply),
        Op::Claim(request, reply) => batch.claim(request, reply),
        Op::Unit(unit) => batch.unit(unit),
        Op::Alone(_) | Op::Close => 0,
    }
}

/// Whether trying again operation by operation makes no sense: the commit's fate is unknown, or the store is gone.
fn outcome_is_settled(error: &StoreError) -> bool {
    matches!(error, StoreError::UnknownOutcome(_) | StoreError::Closed | StoreError::Disk(_))
}

fn report(fatal: &watch::Sender<Option<StoreError>>, error: &StoreError) {
    if error.is_disk() {
        tracing::error!(%error, "the database can't keep what it is given");
        fatal.send_replace(Some(error.clone()));
    }
}

async fn run_alone(db: Db, wakes: Wakes, fatal: watch::Sender<Option<StoreError>>, mut unit: Box<dyn Unit>) {
    let mut notes = Notes::default();
    let committed = async {
        let mut tx = db.begin().await?;
        tx.savepoint().await?;
        if unit.run(&mut tx).await {
            // Fails where the unit went on after a statement that failed; PostgreSQL's COMMIT would only roll back, and say nothing.
            tx.release().await?;
            notes = tx.notes();
            tx.commit().await
        } else {
            tx.rollback().await
        }
    }
    .await;
    match &committed {
        Ok(()) => wakes.tell(notes),
        Err(error) => report(&fatal, error),
    }
    unit.finish(committed);
}
