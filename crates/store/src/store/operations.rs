//! The store's operations, each answered after its commit. The outcome of one whose error is
//! [`StoreError::UnknownOutcome`] is found by asking again with the same ids.

use tokio::sync::oneshot;
use uuid::Uuid;
use windrow_core::{JobSeq, PicoUsd, Timestamp, WorkerId};

use super::Store;
use super::batcher::Op;
use super::unit::{Closure, UnitFuture};
use crate::hot::{
    self, Added, Approval, Beat, CancelAnswer, Checkpoint, ClaimRequest, Claimed, Due, EndRun, Ended, Fenced,
    MoneyAnswer, MoneyOp, NewChild, NewEvent, NewJob, Progress, Reopened, Rescued, RunRef, StorageUse,
    Submitted, WorkerKind,
};
use crate::{StoreError, Tx};

impl Store {
    async fn ask<T>(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Op,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.lanes.send(op(reply))?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// See [`hot::submit`].
    pub async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, StoreError> {
        self.ask(|reply| Op::Submit(jobs, reply)).await
    }

    /// See [`hot::claim`]. When the answer is an error, or this future is dropped, what was claimed may be held: ask
    /// [`Store::held`] and release what is not run.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.ask(|reply| Op::Claim(request, reply)).await
    }

    /// See [`hot::end_runs`].
    pub async fn end_runs(&self, ends: Vec<EndRun>) -> Result<Vec<Ended>, StoreError> {
        self.ask(|reply| Op::End(ends, reply)).await
    }

    /// See [`hot::reserve_and_settle`].
    pub async fn money(&self, ops: Vec<MoneyOp>) -> Result<Vec<MoneyAnswer>, StoreError> {
        self.ask(|reply| Op::Money(ops, reply)).await
    }

    /// See [`hot::checkpoint`].
    pub async fn checkpoint(&self, checkpoints: Vec<Checkpoint>) -> Result<Vec<Fenced>, StoreError> {
        self.ask(|reply| Op::Checkpoint(checkpoints, reply)).await
    }

    /// See [`hot::progress`].
    pub async fn progress(&self, progress: Vec<Progress>) -> Result<(), StoreError> {
        self.ask(|reply| Op::Progress(progress, reply)).await.map(drop)
    }

    /// See [`hot::append_events`].
    pub async fn append_events(&self, events: Vec<NewEvent>) -> Result<Vec<Option<i64>>, StoreError> {
        self.ask(|reply| Op::Events(events, reply)).await
    }

    /// Runs `work` in a transaction that others may share, in a savepoint of its own: an error undoes what it wrote and
    /// nothing else. It may be run more than once, so it must not have effects outside the transaction.
    ///
    /// ```ignore
    /// store.unit(move |tx| Box::pin(async move { users::disable(tx, id, now).await })).await
    /// ```
    pub async fn unit<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'a> FnMut(&'a mut Tx) -> UnitFuture<'a, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.ask_unit(work, Op::Unit).await
    }

    /// The same in a transaction of its own: for writes that take long, and for a workload's commit.
    pub async fn alone<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: for<'a> FnMut(&'a mut Tx) -> UnitFuture<'a, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.ask_unit(work, Op::Alone).await
    }

    async fn ask_unit<T, E, F>(&self, work: F, op: fn(Box<dyn super::unit::Unit>) -> Op) -> Result<T, E>
    where
        F: for<'a> FnMut(&'a mut Tx) -> UnitFuture<'a, T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let unit = Closure { run: work, result: None, reply };
        self.lanes.send(op(Box::new(unit)))?;
        answer.await.map_err(|_| E::from(StoreError::Closed))?
    }

    /// See [`hot::add_children`].
    pub async fn add_children(&self, parent: RunRef, children: Vec<NewChild>) -> Result<Added, StoreError> {
        let now = self.now();
        self.unit(move |tx| {
            let children = children.clone();
            Box::pin(async move { hot::add_children(tx, parent, &children, now).await })
        })
        .await
    }

    /// Cancels a job and its tree; children follow in chunks, by [`Store::stop_children`].
    pub async fn cancel(&self, job: JobSeq) -> Result<CancelAnswer, StoreError> {
        let now = self.now();
        let (answer, _) = self.unit(move |tx| Box::pin(hot::cancel(tx, job, now))).await?;
        Ok(answer)
    }

    /// Stops children of parents that are being stopped, until none are left. Call it when [`super::Wakes::stopping`]
    /// moves, and now and then.
    pub async fn stop_children(&self) -> Result<usize, StoreError> {
        let mut stopped = 0;
        loop {
            let now = self.now();
            let chunk = self.unit(move |tx| Box::pin(hot::stop_children(tx, now))).await?;
            stopped += chunk.ended + chunk.asked;
            if !chunk.more {
                return Ok(stopped);
            }
        }
    }

    /// See [`hot::approve`].
    pub async fn approve(&self, job: JobSeq) -> Result<Approval, StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::approve(tx, job, now))).await
    }

    /// See [`hot::reject`].
    pub async fn reject(&self, job: JobSeq, reason: String) -> Result<Approval, StoreError> {
        let now = self.now();
        self.unit(move |tx| {
            let reason = reason.clone();
            Box::pin(async move { hot::reject(tx, job, &reason, now).await.map(|(answer, _)| answer) })
        })
        .await
    }

    /// See [`hot::expire_approvals`]; gives how many were rejected.
    pub async fn expire_approvals(&self, before: Timestamp) -> Result<usize, StoreError> {
        let now = self.now();
        let (count, _) = self.unit(move |tx| Box::pin(hot::expire_approvals(tx, before, now))).await?;
        Ok(count)
    }

    /// See [`hot::reopen`].
    pub async fn reopen(&self, job: JobSeq, cap: Option<PicoUsd>) -> Result<Reopened, StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::reopen(tx, job, cap, now))).await
    }

    /// See [`hot::discard`].
    pub async fn discard(&self, job: JobSeq) -> Result<bool, StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::discard(tx, job, now))).await
    }

    /// See [`hot::schedule_due`].
    pub async fn schedule_due(&self) -> Result<Due, StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::schedule_due(tx, now))).await
    }

    /// See [`hot::rescue`].
    pub async fn rescue(&self) -> Result<Rescued, StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::rescue(tx, now))).await
    }

    /// See [`hot::register_worker`].
    pub async fn register_worker(&self, name: String, kind: WorkerKind) -> Result<WorkerId, StoreError> {
        let now = self.now();
        self.unit(move |tx| {
            let name = name.clone();
            Box::pin(async move { hot::register_worker(tx, &name, kind, now).await })
        })
        .await
    }

    /// One sign of life, past the batcher, on a connection that no job can block. On SQLite the owner of the file needs
    /// none: there it is a unit like others.
    pub async fn beat(&self, worker: WorkerId) -> Result<Beat, StoreError> {
        match self.db.dialect() {
            crate::Dialect::Sqlite => self.unit(move |tx| Box::pin(hot::beat(tx, worker))).await,
            crate::Dialect::Postgres => hot::beat(&mut self.db.aside().await?, worker).await,
        }
    }

    /// See [`hot::bury`].
    pub async fn bury(&self, worker: WorkerId, seen: i64) -> Result<bool, StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::bury(tx, worker, seen, now))).await
    }

    /// See [`hot::leave`].
    pub async fn leave(&self, worker: WorkerId) -> Result<(), StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::leave(tx, worker, now))).await
    }

    /// See [`hot::boot`].
    pub async fn boot(&self, new_installation: Uuid) -> Result<(Uuid, i64), StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::boot(tx, new_installation, now))).await
    }

    /// See [`hot::installation`].
    pub async fn installation(&self, new_installation: Uuid) -> Result<Uuid, StoreError> {
        self.unit(move |tx| Box::pin(hot::installation(tx, new_installation))).await
    }

    /// The runs that a worker holds, as the database says.
    pub async fn held(&self, worker: WorkerId) -> Result<Vec<RunRef>, StoreError> {
        hot::held_runs(&mut self.db.read().await?, worker).await
    }

    /// See [`hot::use_storage`].
    pub async fn use_storage(&self, at: RunRef, used: StorageUse) -> Result<(), StoreError> {
        let now = self.now();
        self.unit(move |tx| Box::pin(hot::use_storage(tx, at, used, now))).await
    }

    /// See [`hot::renew`].
    pub async fn renew(&self, runs: Vec<RunRef>) -> Result<Vec<Fenced>, StoreError> {
        self.unit(move |tx| {
            let runs = runs.clone();
            Box::pin(async move { hot::renew(tx, &runs).await })
        })
        .await
    }
}
