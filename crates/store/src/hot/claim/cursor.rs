//! What a process remembers between its claims: where its last one stopped, and below which keys nothing is left.
//!
//! A claim never looks below a mark. What comes in there (woken parents, runs that were given back, commits that took
//! long) is found by [`below_marks`], beside the claims, so that no claim waits for a walk over dead index entries.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sqlx::Postgres;
use windrow_core::{JobSeq, OwnerId, Priority, Timestamp};

use super::ClaimedRow;
use super::pairs::{Pair, Segment, TRIED, Way};
use crate::{Arm, Conn, StoreError};

/// How long a mark is kept that no claim moves on.
const MARK_LIFE: Duration = Duration::from_secs(1);

/// The same where claims have left [`MANY`] rows dead below it: until VACUUM has removed them, at best.
const LONG_MARK_LIFE: Duration = Duration::from_secs(600);
const MANY: u64 = 1_000;

/// No mark is younger: what is put in line at one time is committed at another, so that a row may come in below one
/// that is claimed already.
const IN_FLIGHT: Duration = Duration::from_millis(100);

/// A process's place in the rounds over (workload, owner) pairs, and its low-water marks.
#[derive(Clone, Debug)]
pub struct Cursor {
    random: u64,
    last: [Option<(String, OwnerId)>; 3],
    marks: [BTreeMap<(String, OwnerId), Mark>; 3],
    came_short: bool,
}

/// No live row of the pair is expected below this key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) run_at: Timestamp,
    pub(super) job: JobSeq,
    moved_at: Duration,
    /// How many rows were claimed while it moved.
    passed: u64,
    /// The last pick found nothing more: the pair is tried, but given no share of its own.
    pub(super) empty: bool,
}

/// A key of a (workload, owner) pair in line: a mark, or the first row below one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineKey {
    priority: Priority,
    workload: String,
    owner: OwnerId,
    run_at: Timestamp,
    job: JobSeq,
}

impl Cursor {
    /// Each process starts somewhere else, by a random number.
    pub fn new(random: u64) -> Self {
        Self { random, last: Default::default(), marks: Default::default(), came_short: false }
    }

    /// Forgets all marks, as after a transaction whose claims were not committed.
    pub fn forget(&mut self) {
        self.marks = Default::default();
    }

    /// Whether the last claim might have taken more, had there been more above the marks.
    pub const fn came_short(&self) -> bool {
        self.came_short
    }

    pub(super) const fn set_came_short(&mut self, came_short: bool) {
        self.came_short = came_short;
    }

    /// Where claims no longer look, for [`below_marks`].
    pub fn marks(&self) -> Vec<LineKey> {
        let of = |priority: Priority| {
            self.marks[index(priority)].iter().map(move |((workload, owner), mark)| LineKey {
                priority,
                workload: workload.clone(),
                owner: *owner,
                run_at: mark.run_at,
                job: mark.job,
            })
        };
        Priority::ALL.into_iter().flat_map(of).collect()
    }

    /// Lets the next claims begin at what [`below_marks`] found.
    pub fn lower(&mut self, found: Vec<LineKey>) {
        for LineKey { priority, workload, owner, run_at, job } in found {
            if let Some(mark) = self.marks[index(priority)].get_mut(&(workload, owner))
                && (run_at, job) < (mark.run_at, mark.job)
            {
                *mark = Mark { run_at, job, empty: false, ..*mark };
            }
        }
    }

    /// Drops marks that are not worth the steps around them.
    pub(super) fn expire(&mut self, tick: Duration) {
        for marks in &mut self.marks {
            marks.retain(|_, mark| {
                let life = if mark.passed < MANY { MARK_LIFE } else { LONG_MARK_LIFE };
                tick.saturating_sub(mark.moved_at) < life
            });
        }
    }

    /// The way around all pairs from where the last claim stopped: known pairs with their marks, and the gaps between
    /// them where others may have come in.
    pub(super) fn way(&self, priority: Priority, workloads: &[String], wanted: usize) -> Way {
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
        let enough = segments.iter().enumerate().filter(|(_, s)| known(s)).nth(wanted.max(TRIED) - 1);
        let cut = enough.map_or(segments.len(), |(last, _)| last + 1);
        let is_whole = cut == segments.len();
        segments.truncate(cut);
        Way { priority, segments, is_whole }
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

    /// Learns from a pick: `rows` stand in the order of `pairs`, `filled` says that it stopped at the last of them because it
    /// had enough. Only PostgreSQL needs marks, and gives the time, on the wall and monotonic.
    pub(super) fn took(
        &mut self,
        priority: Priority,
        pairs: &mut [Pair],
        rows: &[ClaimedRow],
        filled: bool,
        time: Option<(Timestamp, Duration)>,
    ) {
        let marks = &mut self.marks[index(priority)];
        let mut took: HashMap<(&str, OwnerId), (i64, &ClaimedRow)> = HashMap::new();
        for row in rows {
            let entry = took.entry((&row.workload, row.owner_id)).or_insert((0, row));
            *entry = (entry.0 + 1, row);
        }
        let is_last = |pair: &Pair| {
            rows.last().is_some_and(|row| (&row.workload, row.owner_id) == (&pair.workload, pair.owner))
        };
        let stopped_at = pairs.iter().position(is_last).filter(|_| filled).unwrap_or(pairs.len());
        for (place, pair) in pairs.iter_mut().enumerate() {
            let own = took.get(&(pair.workload.as_str(), pair.owner));
            pair.took = own.map_or(0, |(count, _)| *count);
            // nothing is learnt of a pair that was given no share, or not reached
            let Some((now, tick)) = time.filter(|_| pair.limit > 0 && place <= stopped_at) else { continue };
            let empty = pair.took < pair.limit && place < stopped_at;
            let mark = match own {
                Some((count, row)) => {
                    // the next row of the same time has a higher number
                    let next = (row.due_at, JobSeq(row.job_seq.0.saturating_add(1)));
                    let (run_at, job) = next.min((now.minus(IN_FLIGHT), JobSeq(0)));
                    let passed = pair.mark.map_or(0, |mark| mark.passed) + count.unsigned_abs();
                    Some(Mark { run_at, job, moved_at: tick, passed, empty })
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

/// The first row below each mark that has one.
const BELOW: &str = "
SELECT m.place, r.run_at, r.job_seq
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) WITH ORDINALITY
    AS m(priority, workload, owner_id, run_at, job_seq, place)
CROSS JOIN LATERAL (
    SELECT r.run_at, r.job_seq FROM ready r
    WHERE r.priority = m.priority AND r.workload = m.workload AND r.owner_id = m.owner_id
      AND (r.run_at, r.job_seq) < (m.run_at, m.job_seq)
    ORDER BY r.run_at, r.job_seq LIMIT 1) r";

/// What stands in line below these marks, for [`Cursor::lower`]. It walks over the dead index entries that claims keep off:
/// on PostgreSQL, which alone has any, some 50 ms where a long read keeps 600,000 of them.
///
/// # Errors
/// When the database can't be asked.
pub async fn below_marks(conn: &mut Conn, marks: &[LineKey]) -> Result<Vec<LineKey>, StoreError> {
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let sql = sqlx::SqlSafeStr::into_sql_str(BELOW);
    let Arm::Postgres(conn) = conn.arm(&sql)? else { unreachable!("only claims of PostgreSQL leave marks") };
    let found = sqlx::query_as::<Postgres, (i64, i64, i64)>(sql)
        .bind(marks.iter().map(|mark| i64::from(mark.priority.rank())).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.workload.as_str()).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.owner.0).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.run_at.as_micros()).collect::<Vec<_>>())
        .bind(marks.iter().map(|mark| mark.job.0).collect::<Vec<_>>())
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::from_sqlx(BELOW, error))?;
    let key = |(place, run_at, job): (i64, i64, i64)| {
        // ordinals begin at 1
        let mark = marks.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
        Some(LineKey { run_at: Timestamp::from_micros(run_at), job: JobSeq(job), ..mark.clone() })
    };
    Ok(found.into_iter().filter_map(key).collect())
}

fn index(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}
