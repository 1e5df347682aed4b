//! Asking for work and being told to stop.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use windrow_core::{JobId, PicoUsd, RunNo, Timestamp, TraceParent};

/// One run of one job: the fencing token that every write of the run carries. As text, `{job}.{run}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct RunRef {
    #[schema(value_type = String, format = Uuid)]
    pub job: JobId,
    /// Counted from 1.
    #[schema(value_type = i64)]
    pub run: RunNo,
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.run)
    }
}

/// The text is not a lease's id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a lease id of the form JOB-UUID.RUN")]
pub struct ParseRunRefError(String);

impl FromStr for RunRef {
    type Err = ParseRunRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('.').and_then(|(job, run)| {
            let run: i64 = run.parse().ok()?;
            (run > 0).then_some(Self { job: job.parse().ok()?, run: RunNo(run) })
        });
        parsed.ok_or_else(|| ParseRunRefError(text.to_owned()))
    }
}

/// A worker's wish for work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimRequest {
    /// The workloads that this worker can run. Empty: whatever the server would hand out to it.
    #[serde(default)]
    pub workloads: Vec<String>,
    /// The most leases to hand out.
    pub slots: u32,
    /// How long to wait for the first one, in milliseconds; the server may answer sooner.
    #[serde(default)]
    pub wait_ms: u64,
    /// Whether the worker runs jobs that killed three workers in a row: only one that is alone in a child process.
    #[serde(default)]
    pub suspects: bool,
    /// The worker's name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

/// The right to run a job, and all that a run needs to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    pub schema_version: u32,
    #[serde(flatten)]
    pub run: RunRef,
    pub workload: String,
    /// The pinned spec, as the workload's `prepare` left it.
    #[schema(value_type = Value)]
    pub spec: Arc<Value>,
    /// What the workload's `load` returned.
    pub input: Value,
    /// What the last checkpoint of an earlier run saved, if any.
    pub state: Option<Value>,
    /// Failed attempts before this run.
    pub attempts: u32,
    /// Whether the run must go alone into a child process (three lost runs in a row without progress).
    pub suspect: bool,
    /// Whether the job was made by another job.
    pub is_child: bool,
    /// The key of this child among its siblings.
    pub child_key: Option<String>,
    /// The run ends as `transient` after this many milliseconds.
    pub deadline_ms: u64,
    /// The run ends as `transient` after this many milliseconds without progress.
    pub stall_ms: u64,
    #[schema(value_type = String, format = DateTime)]
    pub submitted_at: Timestamp,
    /// Of the request that submitted the job; in every log line of the run.
    pub request_id: Option<String>,
    /// What the run belongs under in its job's trace, and what it sends on in its own requests (W3C Trace Context).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    pub traceparent: Option<TraceParent>,
    /// The most that the job's tree may cost, in USD.
    #[schema(value_type = Option<String>, example = "2.50")]
    pub budget: Option<PicoUsd>,
}

impl Lease {
    pub const fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    pub const fn stall(&self) -> Duration {
        Duration::from_millis(self.stall_ms)
    }
}

/// Why a run must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A person cancelled the job or its tree.
    Cancelled,
    /// The lease is gone: what the run does from now on counts for nothing.
    LeaseLost,
}

/// A run that must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StopOrder {
    #[serde(flatten)]
    pub run: RunRef,
    pub reason: StopReason,
}

/// The answer to a beat: which of the runs held must stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BeatReply {
    pub stop: Vec<StopOrder>,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What it is doing, in a word or two.
    pub stage: String,
    pub done: u64,
    pub total: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_id_reads_back_and_nothing_else_does() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057.3";
        let run: RunRef = text.parse().unwrap();
        assert_eq!((run.run, run.to_string().as_str()), (RunNo(3), text));
        for bad in
            ["", "3", "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8057.0", "x.1"]
        {
            assert!(bad.parse::<RunRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lease_carries_its_run_beside_its_other_fields() {
        let order = StopOrder {
            run: "01890a5d-ac96-774b-bcce-b302099a8057.3".parse().unwrap(),
            reason: StopReason::LeaseLost,
        };
        let json = serde_json::to_value(order).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"job": "01890a5d-ac96-774b-bcce-b302099a8057", "run": 3, "reason": "lease_lost"})
        );
    }
}
