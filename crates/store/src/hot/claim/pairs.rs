//! Which (workload, owner) pairs have something in line: jumps along the key of `ready` (a loose index scan).

use rusqlite::params;
use sqlx::Postgres;
use windrow_core::{OwnerId, Priority};

use super::cursor::Mark;
use crate::direct::{Text, at};
use crate::{Arm, Dialect, StoreError, Tx};

/// A pair in a round.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) workload: String,
    pub(super) owner: OwnerId,
    pub(super) mark: Option<Mark>,
    /// How many rows the next pick may take of it, and took.
    pub(super) limit: i64,
    pub(super) took: i64,
}

impl Pair {
    pub(super) fn new(workload: String, owner: OwnerId, mark: Option<Mark>) -> Self {
        Self { workload, owner, mark, limit: 0, took: 0 }
    }

    /// Whether nothing is expected of it.
    pub(super) fn is_empty(&self) -> bool {
        self.mark.is_some_and(|mark| mark.empty)
    }

    /// Whether the last pick found less of it than it might have taken. One that was given no share stays as it is.
    pub(super) fn is_exhausted(&self) -> bool {
        self.took < self.limit
    }
}

/// A stretch of the way around the pairs.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    Known(Pair),
    /// Owners of one workload between two, both excluded.
    Gap {
        workload: String,
        low: i64,
        high: i64,
    },
}

/// The way around the pairs of one priority.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) priority: Priority,
    pub(super) segments: Vec<Segment>,
    /// Whether the segments lead all around.
    pub(super) is_whole: bool,
}

/// The pairs of a round.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) pairs: Vec<Pair>,
    /// Whether they are all that there are along the way.
    pub(super) are_all: bool,
}

/// Owners of one workload between two, both excluded, of one priority; `way` and `place` say which segment it is.
struct Gap<'a> {
    way: usize,
    place: usize,
    rank: i64,
    workload: &'a str,
    low: i64,
    high: i64,
}

fn gaps(ways: &[Way]) -> Vec<Gap<'_>> {
    let mut gaps = Vec::new();
    for (way, Way { priority, segments, .. }) in ways.iter().enumerate() {
        for (place, segment) in segments.iter().enumerate() {
            if let Segment::Gap { workload, low, high } = segment {
                let rank = i64::from(priority.rank());
                gaps.push(Gap { way, place, rank, workload, low: *low, high: *high });
            }
        }
    }
    gaps
}

/// From pair to pair, gap by gap: each step is one descent of the index, which finds the next owner of the gap or, with
/// none, leads to the next gap. The walk is in order and stops when enough are found, so that a round never skips pairs.
/// Disabled owners are passed over.
const WALK_POSTGRES: &str = "
WITH RECURSIVE walk(place, owner_id) AS (
    SELECT CAST(1 AS bigint), (
        SELECT r.owner_id FROM ready r
        WHERE r.priority = ($1::bigint[])[1] AND r.workload = ($2::text[])[1] AND r.owner_id > ($3::bigint[])[1]
          AND r.owner_id < ($4::bigint[])[1]
        ORDER BY r.owner_id LIMIT 1)
    UNION ALL
    SELECT s.place, (
        SELECT r.owner_id FROM ready r
        WHERE r.priority = ($1::bigint[])[s.place] AND r.workload = ($2::text[])[s.place] AND r.owner_id > s.low
          AND r.owner_id < ($4::bigint[])[s.place]
        ORDER BY r.owner_id LIMIT 1)
    FROM walk w CROSS JOIN LATERAL (
        SELECT CASE WHEN w.owner_id IS NULL THEN w.place + 1 ELSE w.place END AS place,
               coalesce(w.owner_id, ($3::bigint[])[w.place + 1]) AS low) s
    WHERE s.place <= cardinality($2)
)
SELECT w.place, w.owner_id FROM walk w
WHERE w.owner_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM disabled_owners d WHERE d.owner_id = w.owner_id)
LIMIT $5";

/// One step of it.
const NEXT_SQLITE: Text = "
SELECT owner_id FROM ready WHERE priority = ?1 AND workload = ?2 AND owner_id > ?3 AND owner_id < ?4
ORDER BY owner_id LIMIT 1";

pub(super) const DISABLED: Text = "SELECT 1 FROM disabled_owners WHERE owner_id = ?1";

/// How many known pairs a round tries at least. One that turns out empty is a step in the pick; another round is two
/// statements.
pub(super) const TRIED: usize = 128;

/// The known pairs along each way and up to `wanted` new ones, in their order. The walk stops when it has found so many: none
/// for the ways that it has not come to the end of by then, but for the first.
pub(super) async fn find_pairs(
    tx: &mut Tx,
    ways: &[Way],
    wanted: usize,
) -> Result<Vec<Option<Pairs>>, StoreError> {
    let gaps = gaps(ways);
    let found = match tx.dialect() {
        Dialect::Postgres => walk_postgres(tx, &gaps, wanted).await?,
        Dialect::Sqlite => walk_sqlite(tx, &gaps, wanted).await?,
    };
    let stopped_at = found
        .get(wanted.saturating_sub(1))
        .and_then(|(gap, _)| gaps.get(*gap))
        .map(|gap| (gap.way, gap.place));
    let mut found = found.into_iter().filter_map(|(gap, owner)| Some((gaps.get(gap)?, owner))).peekable();
    let mut along = Vec::with_capacity(ways.len());
    for (way, Way { segments, is_whole, .. }) in ways.iter().enumerate() {
        let mut pairs = Vec::new();
        let seen = |place: usize| stopped_at.is_none_or(|stopped| (way, place) <= stopped);
        for (place, segment) in segments.iter().enumerate().take_while(|(place, _)| seen(*place)) {
            match segment {
                Segment::Known(pair) => pairs.push(pair.clone()),
                Segment::Gap { workload, .. } => {
                    while let Some((_, owner)) =
                        found.next_if(|(gap, _)| (gap.way, gap.place) == (way, place))
                    {
                        pairs.push(Pair::new(workload.clone(), owner, None));
                    }
                }
            }
        }
        let is_walked = stopped_at.is_none_or(|(stopped, _)| way < stopped);
        let pairs = Pairs { pairs, are_all: is_walked && *is_whole };
        along.push((way == 0 || is_walked).then_some(pairs));
    }
    Ok(along)
}

/// The owners found, each with the index of its gap.
async fn walk_postgres(
    tx: &mut Tx,
    gaps: &[Gap<'_>],
    wanted: usize,
) -> Result<Vec<(usize, OwnerId)>, StoreError> {
    let sql = sqlx::SqlSafeStr::into_sql_str(WALK_POSTGRES);
    let Arm::Postgres(conn) = tx.arm(&sql)? else { unreachable!("asked for by dialect") };
    let rows = sqlx::query_as::<Postgres, (i64, i64)>(sql)
        .bind(gaps.iter().map(|gap| gap.rank).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.workload).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.low).collect::<Vec<_>>())
        .bind(gaps.iter().map(|gap| gap.high).collect::<Vec<_>>())
        .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::from_sqlx(WALK_POSTGRES, error))?;
    // arrays begin at 1
    let found = |(gap, owner)| Some((usize::try_from(gap).ok()?.checked_sub(1)?, OwnerId(owner)));
    Ok(rows.into_iter().filter_map(found).collect())
}

async fn walk_sqlite(
    tx: &mut Tx,
    gaps: &[Gap<'_>],
    wanted: usize,
) -> Result<Vec<(usize, OwnerId)>, StoreError> {
    tx.direct(&[NEXT_SQLITE, DISABLED], |direct| {
        let (mut next, mut disabled) = (direct.prepare(NEXT_SQLITE)?, direct.prepare(DISABLED)?);
        let mut found = Vec::new();
        for (nth, gap) in gaps.iter().enumerate() {
            let mut low = gap.low;
            while found.len() < wanted {
                let after = params![gap.rank, gap.workload, low, gap.high];
                let Some(owner) = next.first(after, |row| at::<i64>(row, 0))? else { break };
                low = owner;
                if disabled.first(params![owner], |_| Ok(()))?.is_none() {
                    found.push((nth, OwnerId(owner)));
                }
            }
        }
        Ok(found)
    })
    .await
}
