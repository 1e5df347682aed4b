//! Caps on running jobs. They keep no counter: only for a capped owner or workload the claim takes a lock and then, in
//! the next statement, counts `running`; in one statement the snapshot would precede the lock.

use std::collections::{BTreeSet, HashMap};

use sqlx::Postgres;
use windrow_core::OwnerId;

use super::pairs::Pair;
use crate::{Arm, Dialect, ListOf, Sql, StoreError, Tx, fetch_all, json_ints, json_texts};

/// The most jobs that may run at once; none by default. Children count.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caps {
    /// For each owner that `owners` doesn't name.
    pub per_owner: Option<u32>,
    pub owners: HashMap<OwnerId, u32>,
    pub workloads: HashMap<String, u32>,
}

impl Caps {
    fn of_owner(&self, owner: OwnerId) -> Option<i64> {
        self.owners.get(&owner).copied().or(self.per_owner).map(i64::from)
    }

    fn of_workload(&self, workload: &str) -> Option<i64> {
        self.workloads.get(workload).copied().map(i64::from)
    }

    /// Whether nothing is capped.
    pub fn is_none(&self) -> bool {
        self.per_owner.is_none() && self.owners.is_empty() && self.workloads.is_empty()
    }
}

/// How many more of each capped owner and workload this claim may start. One that another claim has locked has none.
#[derive(Debug)]
pub(super) struct Headroom<'a> {
    caps: &'a Caps,
    owners: HashMap<OwnerId, i64>,
    workloads: HashMap<String, i64>,
}

impl<'a> Headroom<'a> {
    pub(super) fn new(caps: &'a Caps) -> Self {
        Self { caps, owners: HashMap::new(), workloads: HashMap::new() }
    }

    /// Locks and counts what is capped among the pairs and not counted yet.
    pub(super) async fn read(&mut self, tx: &mut Tx, pairs: &[Pair]) -> Result<(), StoreError> {
        if self.caps.is_none() {
            return Ok(());
        }
        let (mut owners, mut workloads) = (BTreeSet::new(), BTreeSet::new());
        for pair in pairs {
            if self.caps.of_owner(pair.owner).is_some() && !self.owners.contains_key(&pair.owner) {
                owners.insert(pair.owner);
            }
            if self.caps.of_workload(&pair.workload).is_some() && !self.workloads.contains_key(&pair.workload)
            {
                workloads.insert(pair.workload.clone());
            }
        }
        if owners.is_empty() && workloads.is_empty() {
            return Ok(());
        }
        let locked = lock(tx, &owners, &workloads).await?;
        let (by_owner, by_workload) = count(tx, &owners, &workloads).await?;
        for owner in owners {
            let cap = self.caps.of_owner(owner).unwrap_or(0);
            let free = cap - by_owner.get(&owner.0).copied().unwrap_or(0);
            self.owners.insert(owner, if locked.contains(&owner_key(owner)) { free } else { 0 });
        }
        for workload in workloads {
            let cap = self.caps.of_workload(&workload).unwrap_or(0);
            let free = cap - by_workload.get(&workload).copied().unwrap_or(0);
            let free = if locked.contains(&workload_key(&workload)) { free } else { 0 };
            self.workloads.insert(workload, free);
        }
        Ok(())
    }

    fn of(&self, pair: &Pair) -> i64 {
        let owner = self.owners.get(&pair.owner).copied().unwrap_or(i64::MAX);
        owner.min(self.workloads.get(&pair.workload).copied().unwrap_or(i64::MAX)).max(0)
    }

    pub(super) fn has_room(&self, pair: &Pair) -> bool {
        self.of(pair) > 0
    }

    /// Shares the slots among the pairs of which something is expected, as evenly as they can be, as far as caps allow: what
    /// a cap leaves goes to those without one. Each gets one at least, for the pick stops by itself when it has enough. The
    /// others are tried with the same share, should slots be left.
    pub(super) fn share(&self, pairs: &mut [Pair], wanted: usize) {
        let (mut owners, mut workloads) = (self.owners.clone(), self.workloads.clone());
        let (mut expected, tried): (Vec<&mut Pair>, Vec<&mut Pair>) =
            pairs.iter_mut().partition(|pair| !pair.is_empty());
        let even = wanted / expected.len().max(1);
        expected.sort_by_key(|pair| !self.is_capped(pair));
        let (mut left, mut others) = (wanted, expected.len());
        for pair in expected {
            let share = left.div_ceil(others.max(1)).max(1);
            limit(pair, share, &mut owners, &mut workloads);
            left = left.saturating_sub(usize::try_from(pair.limit).unwrap_or(0));
            others -= 1;
        }
        for pair in tried {
            limit(pair, even.max(1), &mut owners, &mut workloads);
        }
    }

    fn is_capped(&self, pair: &Pair) -> bool {
        self.owners.contains_key(&pair.owner) || self.workloads.contains_key(&pair.workload)
    }

    pub(super) fn take(&mut self, workload: &str, owner: OwnerId) {
        for room in [self.owners.get_mut(&owner), self.workloads.get_mut(workload)].into_iter().flatten() {
            *room -= 1;
        }
    }
}

/// Gives a pair its share, or what is left of its caps.
fn limit(
    pair: &mut Pair,
    share: usize,
    owners: &mut HashMap<OwnerId, i64>,
    workloads: &mut HashMap<String, i64>,
) {
    let owner = owners.get_mut(&pair.owner);
    let workload = workloads.get_mut(&pair.workload);
    let share = i64::try_from(share).unwrap_or(i64::MAX);
    let room = [owner.as_deref().copied(), workload.as_deref().copied(), Some(share)];
    pair.limit = room.into_iter().flatten().min().unwrap_or(0).max(0);
    for room in [owner, workload].into_iter().flatten() {
        *room -= pair.limit;
    }
}

fn owner_key(owner: OwnerId) -> String {
    format!("/owner/{owner}")
}

fn workload_key(workload: &str) -> String {
    format!("/workload/{workload}")
}

/// Advisory locks, which the commit releases; what another claim holds is passed over. SQLite has one writer.
async fn lock(
    tx: &mut Tx,
    owners: &BTreeSet<OwnerId>,
    workloads: &BTreeSet<String>,
) -> Result<BTreeSet<String>, StoreError> {
    const LOCK: &str = "SELECT k FROM unnest($1::text[]) AS k
        WHERE pg_try_advisory_xact_lock(hashtextextended(current_schema() || k, 0))";
    let keys =
        owners.iter().map(|owner| owner_key(*owner)).chain(workloads.iter().map(|name| workload_key(name)));
    let keys: Vec<String> = keys.collect();
    if tx.dialect() == Dialect::Sqlite {
        return Ok(keys.into_iter().collect());
    }
    let sql = sqlx::SqlSafeStr::into_sql_str(LOCK);
    let Arm::Postgres(conn) = tx.arm(&sql)? else { unreachable!("asked for by dialect") };
    let rows = sqlx::query_as::<Postgres, (String,)>(sql).bind(keys).fetch_all(conn).await;
    let rows = rows.map_err(|error| StoreError::from_sqlx(LOCK, error))?;
    Ok(rows.into_iter().map(|(key,)| key).collect())
}

async fn count(
    tx: &mut Tx,
    owners: &BTreeSet<OwnerId>,
    workloads: &BTreeSet<String>,
) -> Result<(HashMap<i64, i64>, HashMap<String, i64>), StoreError> {
    static OWNERS: Sql = Sql::new(|d| {
        let member = d.member("owner_id", "$1", ListOf::Int);
        format!("SELECT owner_id, count(*) FROM running WHERE {member} GROUP BY owner_id")
    });
    static WORKLOADS: Sql = Sql::new(|d| {
        let member = d.member("workload", "$1", ListOf::Text);
        format!("SELECT workload, count(*) FROM running WHERE {member} GROUP BY workload")
    });
    let (mut by_owner, mut by_workload) = (HashMap::new(), HashMap::new());
    if !owners.is_empty() {
        let list = json_ints(owners.iter().map(|owner| owner.0));
        by_owner.extend(fetch_all!(tx, (i64, i64), OWNERS.of(tx.dialect()), list)?);
    }
    if !workloads.is_empty() {
        let list = json_texts(workloads.iter().map(String::as_str));
        by_workload.extend(fetch_all!(tx, (String, i64), WORKLOADS.of(tx.dialect()), list)?);
    }
    Ok((by_owner, by_workload))
}
