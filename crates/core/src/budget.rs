//! What counts against a budget.

use crate::LedgerKind;

/// What counts against a budget beside the calls of models, which always do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BudgetCounts {
    pub compute: bool,
    pub storage: bool,
}

impl BudgetCounts {
    /// None when `kinds` leaves the calls of models out.
    pub fn of(kinds: &[LedgerKind]) -> Option<Self> {
        let has = |kind| kinds.contains(&kind);
        let counts = Self { compute: has(LedgerKind::Compute), storage: has(LedgerKind::Storage) };
        has(LedgerKind::Model).then_some(counts)
    }

    /// All that counts, calls of models first.
    pub fn kinds(self) -> Vec<LedgerKind> {
        let beside = [(self.compute, LedgerKind::Compute), (self.storage, LedgerKind::Storage)];
        let beside = beside.into_iter().filter_map(|(counts, kind)| counts.then_some(kind));
        [LedgerKind::Model].into_iter().chain(beside).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_models_always_count() {
        use LedgerKind::{Compute, Model, Storage};
        assert_eq!(BudgetCounts::of(&[]), None);
        assert_eq!(BudgetCounts::of(&[Compute, Storage]), None);
        for kinds in [vec![Model], vec![Model, Compute], vec![Model, Storage], vec![Model, Compute, Storage]]
        {
            assert_eq!(BudgetCounts::of(&kinds).unwrap().kinds(), kinds);
        }
        assert_eq!(BudgetCounts::of(&[Model]), Some(BudgetCounts::default()));
    }
}
