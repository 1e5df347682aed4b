//! A workload whose code is somewhere else: all its runs are done by workers that come through the worker protocol.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use windrow_core::JobError;

use crate::{JobContext, Limits, Outcome, RunError, Workload};

/// What an installation knows of a workload that it can't run itself. It loads nothing: the spec is all that a run gets. When a
/// run ends, the platform records its artifacts and its result.
#[derive(Clone, Debug)]
pub struct RemoteWorkload {
    name: &'static str,
    schema: Value,
    limits: Limits,
}

/// The name of a workload is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} can't be the name of a workload: it must have 1 to 64 characters of a-z, 0-9, _ and -, a letter first"
)]
pub struct WorkloadNameError(pub String);

impl RemoteWorkload {
    /// `schema` is the JSON Schema of its specs.
    ///
    /// # Errors
    /// When the name does not have the form that names of workloads have.
    pub fn new(name: &str, schema: Value, limits: Limits) -> Result<Self, WorkloadNameError> {
        let mut bytes = name.bytes();
        let fits = name.len() <= 64
            && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
            });
        if !fits {
            return Err(WorkloadNameError(name.to_owned()));
        }
        // workloads live as long as the process, and there are a handful of them
        Ok(Self { name: Box::leak(name.to_owned().into_boxed_str()), schema, limits })
    }

    /// The usual limits with what an operator has set of them.
    pub fn limits_with(deadline: Option<Duration>, stall: Option<Duration>, upload: Option<u64>) -> Limits {
        let usual = Limits::default();
        Limits {
            deadline: deadline.unwrap_or(usual.deadline),
            stall: stall.unwrap_or(usual.stall),
            max_upload_bytes: upload.unwrap_or(usual.max_upload_bytes),
        }
    }
}

#[async_trait]
impl Workload for RemoteWorkload {
    fn name(&self) -> &'static str {
        self.name
    }

    fn spec_schema(&self) -> Value {
        self.schema.clone()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn is_remote(&self) -> bool {
        true
    }

    /// Never called: engines hand its runs out to nobody but those who come through the protocol.
    fn has_load(&self) -> bool {
        false
    }

    async fn run(&self, _ctx: JobContext, _input: Value) -> Result<Outcome, RunError> {
        let problem = format!("the runs of {} are done by remote workers only", self.name);
        Err(JobError::transient("remote_only", problem).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain() {
        for name in ["translate", "a", "speech-to-text_2"] {
            assert_eq!(RemoteWorkload::new(name, Value::Null, Limits::default()).unwrap().name(), name);
        }
        for name in ["", "2nd", "Translate", "a b", "a/b", "ä", &"a".repeat(65)] {
            let refused = RemoteWorkload::new(name, Value::Null, Limits::default()).unwrap_err();
            assert_eq!(refused, WorkloadNameError(name.to_owned()));
        }
    }
}
