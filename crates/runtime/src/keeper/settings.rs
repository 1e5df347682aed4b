//! How a keeper behaves. The defaults are the platform's promises; tests use smaller times.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a [`Keeper`](super::Keeper) behaves.
#[derive(Clone, Debug)]
pub struct KeeperSettings {
    /// The longest that due jobs and trees that are to be stopped wait when no wake-up tells of them; and how often webhooks
    /// that are due are looked for. 1 s.
    pub poll: Duration,
    /// Whether workers are judged by their beats. None: on PostgreSQL; the workers of an embedded database are inside
    /// the process that owns it, and beat for nobody.
    pub judge_beats: Option<bool>,
    /// How often beats and leases are read. 1 s.
    pub observe_every: Duration,
    /// A worker whose beat stands still for so long is dead. 7 s, of beats that come every 2 s.
    pub beat_lapse: Duration,
    /// A remote worker's lease that is not renewed for so long is over. 30 s.
    pub lease_lapse: Duration,
    /// How often what is old or unused is looked for; also how long after the start the first time is. 1 min.
    pub sweep_every: Duration,
    /// How long objects of rejected and expired uploads are kept. 24 h.
    pub keep_dead_objects: Duration,
    /// How long files of objects that were never finished are kept: longer than any living writer pauses. 24 h.
    pub keep_unfinished: Duration,
    /// How long a job waits for approval before it is rejected. 30 days.
    pub approval_wait: Duration,
    /// How long a job is kept after its end. 90 days.
    pub keep_jobs: Duration,
    /// How long the row of a worker that ended is kept at least; a claim of its own may still commit after its death. 24 h.
    pub keep_workers: Duration,
    /// How long ledger rows are kept once they are in the sums. 90 days.
    pub keep_ledger: Duration,
    /// How often new ledger rows are added to the sums that people see; budgets don't wait for it. 15 s.
    pub roll_up_every: Duration,
    /// How often the hot tables are vacuumed, on PostgreSQL. 15 s.
    pub vacuum_every: Duration,
    /// How often objects and rows are compared. 6 h.
    pub reconcile_every: Duration,
    /// How old an object must be that no row names, and how long ago its job must have ended, before it is removed. 48 h.
    pub unnamed_for: Duration,
    /// How often all rows are held against each other, as foreign keys would. 24 h; the first time an hour after the start.
    pub check_every: Duration,
    /// How often the depth of the queue is measured. 15 s.
    pub measure_every: Duration,
}

impl Default for KeeperSettings {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            judge_beats: None,
            observe_every: Duration::from_secs(1),
            beat_lapse: Duration::from_secs(7),
            lease_lapse: Duration::from_secs(30),
            sweep_every: MINUTE,
            keep_dead_objects: DAY,
            keep_unfinished: DAY,
            approval_wait: 30 * DAY,
            keep_jobs: 90 * DAY,
            keep_workers: DAY,
            keep_ledger: 90 * DAY,
            roll_up_every: Duration::from_secs(15),
            vacuum_every: Duration::from_secs(15),
            reconcile_every: 6 * HOUR,
            unnamed_for: 48 * HOUR,
            check_every: DAY,
            measure_every: Duration::from_secs(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_platforms_promises() {
        let KeeperSettings { poll, judge_beats, observe_every, beat_lapse, lease_lapse, .. } =
            KeeperSettings::default();
        let seconds = [poll, observe_every, beat_lapse, lease_lapse].map(|time| time.as_secs());
        assert_eq!((seconds, judge_beats), ([1, 1, 7, 30], None));
        let defaults = KeeperSettings::default();
        let days = [defaults.approval_wait, defaults.keep_jobs, defaults.keep_ledger];
        assert_eq!(days.map(|time| time.as_secs() / 86_400), [30, 90, 90]);
        assert_eq!(defaults.keep_dead_objects.as_secs() / 3600, 24);
        assert_eq!(defaults.unnamed_for.as_secs() / 3600, 48);
        assert_eq!(defaults.check_every.as_secs() / 3600, 24);
        assert_eq!((defaults.sweep_every.as_secs(), defaults.vacuum_every.as_secs()), (60, 15));
    }
}
