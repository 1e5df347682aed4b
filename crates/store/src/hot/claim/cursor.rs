//! What a process remembers between its claims: where its last one stopped, and below which keys nothing is left.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use windrow_core::{JobSeq, OwnerId, Priority, Timestamp};

use super::ClaimedRow;
use super::pairs::{Pair, Segment};

/// How long a mark is believed: what commits late below it waits at most so long.
const MARK_LIFE: Duration = Duration::from_secs(1);

/// A process's place in the rounds over (workload, owner) pairs, and its low-water marks.
#[derive(Clone, Debug)]
pub struct Cursor {
    random: u64,
    last: [Option<(String, OwnerId)>; 3],
    marks: [BTreeMap<(String, OwnerId), Mark>; 3],
}

/// No live row of the pair is expected below this key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) run_at: Timestamp,
    pub(super) job: JobSeq,
    set_at: Duration,
    /// The last pick found nothing more: the pair is tried, but given no share of its own.
    pub(super) empty: bool,
}

impl Cursor {
    /// Each process starts somewhere else, by a random number.
    pub fn new(random: u64) -> Self {
        Self { random, last: Default::default(), marks: Default::default() }
    }

    /// Forgets all marks, as after a transaction whose claims were not committed.
    pub fn forget(&mut self) {
        self.marks = Default::default();
    }

    pub(super) fn forget_marks(&mut self, priority: Priority) {
        self.marks[index(priority)].clear();
    }

    pub(super) fn has_marks(&self, priority: Priority) -> bool {
        !self.marks[index(priority)].is_empty()
    }

    /// Drops marks that are too old to be believed.
    pub(super) fn expire(&mut self, tick: Duration) {
        for marks in &mut self.marks {
            marks.retain(|_, mark| tick.saturating_sub(mark.set_at) < MARK_LIFE);
        }
    }

    /// The way around all pairs from where the last claim stopped: known pairs with their marks, and the gaps between
    /// them where others may have come in.
    pub(super) fn segments(&self, priority: Priority, workloads: &[String], wanted: usize) -> Vec<Segment> {
        let mut workloads: Vec<&String> = workloads.iter().collect();
        workloads.sort_unstable();
        workloads.dedup();
        let mut segments = Vec::new();
        let (min, max) = (i64::MIN, i64::MAX);
        match &self.last[index(priority)] {
            None => {
                workloads.iter().for_each(|workload| self.gaps(priority, workload, min, max, &mut segments));
            }
            Some((workload, owner)) => {
                let at = workloads.partition_point(|name| *name < workload);
                let here = workloads.get(at).is_some_and(|name| *name == workload);
                if here {
                    self.gaps(priority, workload, owner.0, max, &mut segments);
                }
                let after = workloads[at + usize::from(here)..].iter().chain(&workloads[..at]);
                after.for_each(|workload| self.gaps(priority, workload, min, max, &mut segments));
                if here {
                    self.gaps(priority, workload, min, owner.0.saturating_add(1), &mut segments);
                }
            }
        }
        let known = |segment: &Segment| matches!(segment, Segment::Known(pair) if !pair.is_empty());
        if let Some((cut, _)) = segments.iter().enumerate().filter(|(_, s)| known(s)).nth(wanted.max(1) - 1) {
            segments.truncate(cut + 1);
        }
        segments
    }

    /// The owners between `low` and `high`, both excluded, of one workload.
    fn gaps(&self, priority: Priority, workload: &str, low: i64, high: i64, into: &mut Vec<Segment>) {
        let mut from = low;
        let marks = &self.marks[index(priority)];
        let bounds = (workload.to_owned(), OwnerId(low))..(workload.to_owned(), OwnerId(high));
        for ((_, owner), mark) in marks.range(bounds).filter(|((_, owner), _)| owner.0 > low) {
            into.push(Segment::Gap { workload: workload.to_owned(), low: from, high: owner.0 });
            into.push(Segment::Known(Pair::new(workload.to_owned(), *owner, Some(*mark))));
            from = owner.0;
        }
        into.push(Segment::Gap { workload: workload.to_owned(), low: from, high });
    }

    /// The first round of a process starts at a random pair.
    pub(super) fn start_anywhere(&self, priority: Priority, mut pairs: Vec<Pair>) -> Vec<Pair> {
        if self.last[index(priority)].is_none() && !pairs.is_empty() {
            let count = u64::try_from(pairs.len()).unwrap_or(1);
            pairs.rotate_left(usize::try_from(self.random % count).unwrap_or(0));
        }
        pairs
    }

    /// Learns from a pick: `rows` stand in the order of `pairs`, `filled` says that it stopped because it had enough. Only
    /// PostgreSQL needs marks, and gives the time.
    pub(super) fn took(
        &mut self,
        priority: Priority,
        pairs: &mut [Pair],
        rows: &[ClaimedRow],
        filled: bool,
        tick: Option<Duration>,
    ) {
        let marks = &mut self.marks[index(priority)];
        let mut took: HashMap<(&str, OwnerId), (i64, &ClaimedRow)> = HashMap::new();
        for row in rows {
            let entry = took.entry((&row.workload, row.owner_id)).or_insert((0, row));
            *entry = (entry.0 + 1, row);
        }
        for pair in &mut *pairs {
            let own = took.get(&(pair.workload.as_str(), pair.owner));
            pair.took = own.map_or(0, |(count, _)| *count);
            // nothing is learnt of a pair that was given no share
            let Some(tick) = tick.filter(|_| pair.limit > 0) else { continue };
            let empty = pair.took < pair.limit && !filled;
            let mark = match own {
                // the next row of the same time has a higher number
                Some((_, row)) => {
                    let job = JobSeq(row.job_seq.0.saturating_add(1));
                    // as it moves on it grows old all the same: below it may stand what came late
                    let set_at = pair.mark.map_or(tick, |mark| mark.set_at);
                    Some(Mark { run_at: row.due_at, job, set_at, empty })
                }
                None => pair.mark.map(|mark| Mark { empty, ..mark }),
            };
            pair.mark = mark;
            if let Some(mark) = mark {
                marks.insert((pair.workload.clone(), pair.owner), mark);
            }
        }
        if let Some(row) = rows.last() {
            self.last[index(priority)] = Some((row.workload.clone(), row.owner_id));
        }
    }
}

fn index(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}
