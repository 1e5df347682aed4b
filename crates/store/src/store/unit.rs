//! Work with a transaction that is not one of the typed operations: a use case's writes, the end of a run together with
//! its workload's rows.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;

use crate::{StoreError, Tx};

/// What a unit of work gives: a future that borrows the transaction.
pub type UnitFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A unit whose types are forgotten, as the batcher holds it.
pub(super) trait Unit: Send {
    /// Runs it; it may be asked again after a rollback. True: keep what it wrote.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    /// Answers whoever waits, after the commit or instead of it.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

impl fmt::Debug for dyn Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unit")
    }
}

pub(super) struct Closure<F, T, E> {
    pub(super) run: F,
    pub(super) result: Option<Result<T, E>>,
    pub(super) reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Unit for Closure<F, T, E>
where
    F: for<'a> FnMut(&'a mut Tx) -> UnitFuture<'a, T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let result = (self.run)(tx).await;
            let keep = result.is_ok();
            self.result = Some(result);
            keep
        })
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            // its own refusal holds whatever became of the others
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(E::from(error)),
            (None, Ok(())) => Err(E::from(StoreError::Closed)),
        };
        // whoever asked may have gone
        let _ = self.reply.send(answer);
    }
}
