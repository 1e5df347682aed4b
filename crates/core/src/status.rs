//! Job status, its transitions, priorities, run outcomes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is none of the values that a column or field may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of: {allowed}")]
pub struct ParseTextError {
    pub text: String,
    pub allowed: String,
}

/// An enum whose values stand as fixed texts in the database, in JSON and on the command line.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::status::ParseTextError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err($crate::status::ParseTextError {
                        text: text.to_owned(),
                        allowed: [$($text),*].join(", "),
                    }),
                }
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// Where a job is in its life.
    JobStatus {
        PendingApproval = "pending_approval",
        Queued = "queued",
        Running = "running",
        /// For its child jobs.
        Waiting = "waiting",
        Completed = "completed",
        Failed = "failed",
        BudgetExceeded = "budget_exceeded",
        Cancelled = "cancelled",
        /// Not approved, by a person or by 30 days of silence.
        Rejected = "rejected",
    }
}

impl JobStatus {
    /// Whether nothing happens to the job any more unless a person asks for it.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::BudgetExceeded | Self::Cancelled | Self::Rejected
        )
    }

    /// The one table of allowed transitions.
    pub const fn may_become(self, next: Self) -> bool {
        use JobStatus::{
            BudgetExceeded, Cancelled, Completed, Failed, PendingApproval, Queued, Rejected, Running, Waiting,
        };
        match self {
            PendingApproval => matches!(next, Queued | Cancelled | Rejected),
            // a claim; a cancel; a dead sibling or a refused budget ends what is not yet claimed
            Queued => matches!(next, Running | Cancelled | Failed | BudgetExceeded),
            // its end; a retry, a release or a lost lease puts it back; an await parks it
            Running => matches!(next, Completed | Failed | BudgetExceeded | Cancelled | Queued | Waiting),
            // the last child's end wakes, fails or cancels it
            Waiting => matches!(next, Queued | Failed | Cancelled | BudgetExceeded),
            // a person's retry
            Failed | BudgetExceeded | Cancelled => matches!(next, Queued),
            Completed | Rejected => false,
        }
    }
}

text_enum! {
    /// How one run ended, or how a job ended without a run.
    RunOutcome {
        Completed = "completed",
        /// Failed, and will run again at the row's `retry_at`.
        Retried = "retried",
        /// Failed for good.
        Failed = "failed",
        BudgetExceeded = "budget_exceeded",
        Cancelled = "cancelled",
        Rejected = "rejected",
        /// The worker died or lost its lease; runs again, no attempt burnt.
        Lost = "lost",
        /// Given back by a worker that stops; runs again, no attempt burnt.
        Released = "released",
        /// Made children and waits for them; runs again when they have ended.
        Awaited = "awaited",
    }
}

impl RunOutcome {
    /// The status that a job has for good when its last run ended so; none when it runs again.
    pub const fn final_status(self) -> Option<JobStatus> {
        match self {
            Self::Completed => Some(JobStatus::Completed),
            Self::Failed => Some(JobStatus::Failed),
            Self::BudgetExceeded => Some(JobStatus::BudgetExceeded),
            Self::Cancelled => Some(JobStatus::Cancelled),
            Self::Rejected => Some(JobStatus::Rejected),
            Self::Retried | Self::Lost | Self::Released | Self::Awaited => None,
        }
    }
}

/// How urgent a job is. High is claimed before normal, normal before low.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The number in the database: ascending order is claim order.
    pub const fn rank(self) -> i16 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    pub const fn from_rank(rank: i16) -> Option<Self> {
        match rank {
            0 => Some(Self::High),
            1 => Some(Self::Normal),
            2 => Some(Self::Low),
            _ => None,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        })
    }
}

impl FromStr for Priority {
    type Err = ParseTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|p| p.to_string() == text)
            .ok_or_else(|| ParseTextError { text: text.to_owned(), allowed: "high, normal, low".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::JobStatus::{self, *};
    use super::*;

    /// Every pair, written down a second time as the life of a job, so that a change of the table is a decision.
    #[test]
    fn every_pair_of_statuses_is_decided() {
        let allowed: &[(JobStatus, &[JobStatus])] = &[
            (PendingApproval, &[Queued, Cancelled, Rejected]),
            (Queued, &[Running, Failed, BudgetExceeded, Cancelled]),
            (Running, &[Queued, Waiting, Completed, Failed, BudgetExceeded, Cancelled]),
            (Waiting, &[Queued, Failed, BudgetExceeded, Cancelled]),
            (Completed, &[]),
            (Failed, &[Queued]),
            (BudgetExceeded, &[Queued]),
            (Cancelled, &[Queued]),
            (Rejected, &[]),
        ];
        assert_eq!(allowed.len(), JobStatus::ALL.len());
        for (from, nexts) in allowed {
            for to in JobStatus::ALL {
                assert_eq!(from.may_become(*to), nexts.contains(to), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn a_final_status_is_what_some_final_outcome_gives() {
        for status in JobStatus::ALL {
            let reached = RunOutcome::ALL.iter().any(|o| o.final_status() == Some(*status));
            assert_eq!(status.is_final(), reached, "{status}");
        }
    }

    #[test]
    fn texts_read_back() {
        for status in JobStatus::ALL {
            assert_eq!(status.as_str().parse::<JobStatus>().unwrap(), *status);
        }
        assert!("done".parse::<JobStatus>().unwrap_err().to_string().contains("completed"));
        for priority in Priority::ALL {
            assert_eq!(priority.to_string().parse::<Priority>().unwrap(), priority);
            assert_eq!(Priority::from_rank(priority.rank()), Some(priority));
        }
    }
}
