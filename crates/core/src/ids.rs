//! Ids. What leaves the house is a UUIDv7; what joins tables is a small integer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{NoContext, Uuid};

use crate::Clock;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new time-ordered id (UUIDv7, RFC 9562): the clock's milliseconds, then random bits.
            pub fn new(clock: &dyn Clock) -> Self {
                Self(uuid_v7(clock))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

uuid_id! {
    /// A job, as the outside knows it.
    JobId
    /// An upload.
    UploadId
    /// An artifact.
    ArtifactId
    /// A budget; a job tree's budget has its root job's id.
    BudgetId
    /// A model call. Made by the worker, so that a repeated reserve or settle is recognised.
    CallId
    /// An API key (not its secret).
    ApiKeyId
    /// A request to the API; taken from or given back as `x-request-id`.
    RequestId
}

/// A new time-ordered UUIDv7 for the ids that a workload defines for its own tables.
pub fn uuid_v7(clock: &dyn Clock) -> Uuid {
    let micros = u64::try_from(clock.now().as_micros()).unwrap_or(0);
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1000;
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
}

macro_rules! integer_id {
    ($($(#[$doc:meta])* $name:ident($inner:ty))*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

integer_id! {
    /// A user or service that owns rows (`users.id`).
    OwnerId(i64)
    /// A job, as tables know it (`jobs.seq`): what joins use, in order of submission.
    JobSeq(i64)
    /// A run of a job, counted from 1; with the job it is the fencing token.
    RunNo(i64)
    /// A worker process (`workers.id`).
    WorkerId(i64)
}

impl RunNo {
    /// The number that the next run of the same job gets.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestClock;
    use std::time::Duration;

    #[test]
    fn ids_are_version_7_and_follow_the_clock() {
        let clock = TestClock::shared();
        let first = JobId::new(&*clock);
        clock.advance(Duration::from_millis(1));
        let second = JobId::new(&*clock);
        assert_eq!(first.0.get_version_num(), 7);
        assert!(first < second);
        assert_eq!(first.to_string().parse::<JobId>().unwrap(), first);
    }
}
