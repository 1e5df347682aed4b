//! Storage operations again after a transient error.

use std::future::Future;
use std::time::Duration;

use windrow_core::RetryPolicy;

use crate::error::{BlobError, BlobErrorClass};

/// Short: a request of a user waits on it, and a run that fails is itself tried again. No jitter: a local disk has no
/// herd to spread, and the clients of remote storage bring backoff of their own.
const POLICY: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(50), cap: Duration::from_secs(1), max_attempts: 4 };

/// Runs `attempt` until it gives something other than a transient error, at most four times, and counts what came of it.
pub(crate) async fn retrying<T, F>(
    operation: &'static str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, BlobError>
where
    F: Future<Output = Result<T, BlobError>>,
{
    metrics::counter!("windrow_storage_operations_total", "operation" => operation).increment(1);
    let mut attempts = 1;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let class = count_error(operation, &error);
        if class != BlobErrorClass::Transient || !POLICY.allows_another(attempts) {
            return Err(error);
        }
        tracing::warn!(operation, attempts, %error, "storage failed for a moment, trying again");
        tokio::time::sleep(POLICY.ceiling(attempts)).await;
        attempts += 1;
    }
}

/// Shows the storage's errors as none yet: a counter is unknown until it is first counted, and an alert on what is unknown is
/// silent.
pub fn count_from_zero() {
    for operation in ["put", "get", "head", "delete", "list", "check"] {
        let class = BlobErrorClass::Transient.as_str();
        metrics::counter!("windrow_storage_errors_total", "operation" => operation, "class" => class)
            .increment(0);
    }
}

/// An absent object, or one that exists already, is an answer and no failure of the storage.
pub(crate) fn count_error(operation: &'static str, error: &BlobError) -> BlobErrorClass {
    let class = error.class();
    if !matches!(class, BlobErrorClass::NotFound | BlobErrorClass::AlreadyExists) {
        metrics::counter!(
            "windrow_storage_errors_total", "operation" => operation, "class" => class.as_str()
        )
        .increment(1);
    }
    class
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn transient() -> BlobError {
        BlobError::Transient { key: "k".into(), message: "interrupted".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_is_tried_again_and_success_ends_it() {
        let calls = Cell::new(0);
        let result = retrying("get", || {
            calls.set(calls.get() + 1);
            let answer = if calls.get() < 3 { Err(transient()) } else { Ok(calls.get()) };
            async move { answer }
        });
        assert_eq!(result.await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_after_four_attempts_and_never_repeats_a_permanent_error() {
        let calls = Cell::new(0);
        let count = |error: fn() -> BlobError| {
            calls.set(0);
            let calls = &calls;
            retrying("put", move || {
                calls.set(calls.get() + 1);
                async move { Err::<(), _>(error()) }
            })
        };
        assert!(matches!(count(transient).await, Err(BlobError::Transient { .. })));
        assert_eq!(calls.get(), 4);
        assert!(count(|| BlobError::NoSpace { key: "k".into() }).await.is_err());
        assert_eq!(calls.get(), 1);
    }
}
