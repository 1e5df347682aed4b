//! The decision about a batch of reserves and settles, in memory, over locked rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use windrow_core::{BudgetId, CallId, PicoUsd};

use super::write::CallRow;
use super::{Budget, CallEnd, CallUsage, JournalLine, MoneyAnswer, MoneyOp};
use crate::hot::RunRef;

/// What a call's row in `calls` becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CallChange {
    pub(super) call: CallId,
    pub(super) state: &'static str,
    pub(super) booked: PicoUsd,
}

/// A call to be inserted as `sent`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NewCall<'a> {
    pub(super) call: CallId,
    pub(super) budget: BudgetId,
    pub(super) at: RunRef,
    pub(super) worst: PicoUsd,
    pub(super) model: &'a str,
    pub(super) step: Option<&'a str>,
}

/// A line for the ledger; `usage` none: unconfirmed, at `cost`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LedgerLine<'a> {
    pub(super) entry: &'static str,
    pub(super) call: CallId,
    pub(super) budget: BudgetId,
    pub(super) at: RunRef,
    pub(super) cost: PicoUsd,
    pub(super) usage: Option<&'a CallUsage>,
}

/// The rows as they are, and what is to be written.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    budgets: BTreeMap<BudgetId, Budget>,
    known: HashMap<CallId, CallRow>,
    live: HashSet<RunRef>,
    /// False only in a build that is broken on purpose.
    reserves: bool,
    pub(super) changed: BTreeSet<BudgetId>,
    pub(super) calls: Vec<NewCall<'a>>,
    pub(super) ends: Vec<CallChange>,
    pub(super) ledger: Vec<LedgerLine<'a>>,
    pub(super) journal: Vec<(RunRef, &'a JournalLine)>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        budgets: Vec<Budget>,
        calls: Vec<CallRow>,
        live: HashSet<RunRef>,
        reserves: bool,
    ) -> Self {
        Self {
            budgets: budgets.into_iter().map(|row| (row.id, row)).collect(),
            known: calls.into_iter().map(|row| (row.id, row)).collect(),
            live,
            reserves,
            changed: BTreeSet::new(),
            calls: Vec::new(),
            ends: Vec::new(),
            ledger: Vec::new(),
            journal: Vec::new(),
        }
    }

    pub(super) fn budget(&self, id: BudgetId) -> &Budget {
        &self.budgets[&id]
    }

    /// Ends first, for they make room; then reserves in the order in which they came, until one doesn't fit: what comes
    /// after it on the same budget waits with it, so that a large call is not passed over for ever.
    pub(super) fn decide(&mut self, batch: &'a [MoneyOp]) -> Vec<MoneyAnswer> {
        let mut answers = vec![MoneyAnswer::Unknown; batch.len()];
        for (op, answer) in batch.iter().zip(&mut answers) {
            if let MoneyOp::End { call, budget, at, end } = op {
                *answer = self.end(*call, *budget, *at, end);
            }
        }
        let mut full: BTreeSet<BudgetId> = BTreeSet::new();
        for (op, answer) in batch.iter().zip(&mut answers) {
            if let MoneyOp::Reserve { call, budget, at, model, step, worst } = op {
                let (call, budget, at, worst) = (*call, *budget, *at, *worst);
                let new = NewCall { call, budget, at, worst, model, step: step.as_deref() };
                *answer = self.reserve(new, &mut full);
            }
        }
        answers
    }

    /// A budget and those above it. A ring of parents would be a bug; it ends where it closes.
    fn chain(&self, id: BudgetId) -> Vec<BudgetId> {
        let mut chain = Vec::new();
        let mut next = Some(id);
        while let Some(budget) = next.and_then(|id| self.budgets.get(&id)) {
            if chain.contains(&budget.id) {
                break;
            }
            chain.push(budget.id);
            next = budget.parent_id;
        }
        chain
    }

    fn change(&mut self, id: BudgetId, change: impl Fn(&mut Budget)) {
        for id in self.chain(id) {
            if let Some(budget) = self.budgets.get_mut(&id) {
                change(budget);
                self.changed.insert(id);
            }
        }
    }

    fn close(&mut self, id: BudgetId) {
        if let Some(budget) = self.budgets.get_mut(&id) {
            budget.closed = true;
            self.changed.insert(id);
        }
    }

    /// What is owed already: it always counts. Gives which of these budgets are closed.
    pub(super) fn spend(&mut self, amounts: &BTreeMap<BudgetId, PicoUsd>) -> HashSet<BudgetId> {
        let mut closed = HashSet::new();
        for (id, amount) in amounts {
            if !amount.is_zero() {
                self.change(*id, |b| b.spent = b.spent.saturating_add(*amount));
            }
            if self.chain(*id).iter().any(|id| self.budgets[id].spent > self.budgets[id].cap) {
                self.close(*id);
            }
            if self.budgets.get(id).is_some_and(|budget| budget.closed) {
                closed.insert(*id);
            }
        }
        closed
    }

    fn reserve(&mut self, new: NewCall<'a>, full: &mut BTreeSet<BudgetId>) -> MoneyAnswer {
        if let Some(row) = self.known.get(&new.call) {
            return if row.state == "sent" { MoneyAnswer::Reserved } else { MoneyAnswer::AlreadyEnded };
        }
        if !self.live.contains(&new.at) {
            return MoneyAnswer::Stale;
        }
        let chain = self.chain(new.budget);
        if chain.is_empty() {
            return MoneyAnswer::Unknown;
        }
        if self.budgets[&new.budget].closed {
            return MoneyAnswer::Refused;
        }
        if chain.iter().any(|id| full.contains(id)) {
            full.extend(chain);
            return MoneyAnswer::Wait;
        }
        let used = |b: &Budget| b.spent.saturating_add(b.reserved).saturating_add(new.worst);
        let tight: Vec<&Budget> =
            chain.iter().map(|id| &self.budgets[id]).filter(|b| used(b) > b.cap).collect();
        if !tight.is_empty() {
            let never = |b: &&Budget| b.reserved.is_zero() && b.spent.saturating_add(new.worst) > b.cap;
            if tight.iter().any(never) {
                self.close(new.budget);
                return MoneyAnswer::Refused;
            }
            full.extend(chain);
            return MoneyAnswer::Wait;
        }
        if self.reserves {
            self.change(new.budget, |b| b.reserved = b.reserved.saturating_add(new.worst));
        }
        let row = CallRow::sent(new.call, new.budget, new.at, new.worst);
        self.known.insert(new.call, row);
        self.calls.push(new);
        MoneyAnswer::Reserved
    }

    /// A call of another budget is none that the caller may know of; nor is that budget locked.
    fn end(&mut self, call: CallId, budget: BudgetId, at: RunRef, end: &'a CallEnd) -> MoneyAnswer {
        let row = self.known.get(&call).filter(|row| row.budget_id == budget).cloned();
        let Some(row) = row else { return MoneyAnswer::Unknown };
        match (row.state.as_str(), end) {
            ("sent", CallEnd::Unconfirmed) => {
                self.book(&row, "unconfirmed", row.worst);
                self.line(&row, "unconfirmed", row.worst, None);
                MoneyAnswer::Unconfirmed
            }
            ("sent", CallEnd::Released) => {
                self.book(&row, "released", PicoUsd::ZERO);
                MoneyAnswer::Released
            }
            ("sent" | "unconfirmed" | "released", CallEnd::Settled { usage, journal }) => {
                let excess = usage.cost > row.worst;
                self.book(&row, "settled", usage.cost);
                let entry = if row.state == "unconfirmed" { "correction" } else { "settled" };
                self.line(&row, entry, usage.cost.saturating_sub(row.booked), Some(usage));
                if excess {
                    self.close(row.budget_id);
                }
                let journal = journal.as_ref().filter(|_| self.live.contains(&at));
                self.journal.extend(journal.map(|line| (at, line)));
                MoneyAnswer::Settled { journaled: journal.is_some(), excess }
            }
            _ => MoneyAnswer::AlreadyEnded,
        }
    }

    /// Takes the reservation, or what was booked before, and counts `cost` instead.
    fn book(&mut self, row: &CallRow, state: &'static str, cost: PicoUsd) {
        let reserved = if row.state == "sent" && self.reserves { row.worst } else { PicoUsd::ZERO };
        self.change(row.budget_id, |b| {
            b.reserved = b.reserved.saturating_sub(reserved);
            b.spent = b.spent.saturating_sub(row.booked).saturating_add(cost);
        });
        self.ends.retain(|change| change.call != row.id);
        self.ends.push(CallChange { call: row.id, state, booked: cost });
        let known = CallRow { state: state.to_owned(), booked: cost, ..row.clone() };
        self.known.insert(row.id, known);
    }

    fn line(&mut self, row: &CallRow, entry: &'static str, cost: PicoUsd, usage: Option<&'a CallUsage>) {
        let (call, budget, at) = (row.id, row.budget_id, row.at());
        self.ledger.push(LedgerLine { entry, call, budget, at, cost, usage });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use windrow_core::{JobSeq, RunNo};

    const AT: RunRef = RunRef { job: JobSeq(1), run: RunNo(1) };

    fn usd(n: i64) -> PicoUsd {
        PicoUsd::from_usd(n)
    }

    fn budget(id: u128, parent: Option<u128>, cap: i64) -> Budget {
        Budget {
            id: BudgetId(Uuid::from_u128(id)),
            parent_id: parent.map(|id| BudgetId(Uuid::from_u128(id))),
            cap: usd(cap),
            reserved: PicoUsd::ZERO,
            spent: PicoUsd::ZERO,
            closed: false,
        }
    }

    fn reserve(call: u128, budget: u128, worst: i64) -> MoneyOp {
        MoneyOp::Reserve {
            call: CallId(Uuid::from_u128(call)),
            budget: BudgetId(Uuid::from_u128(budget)),
            at: AT,
            model: "m".to_owned(),
            step: None,
            worst: usd(worst),
        }
    }

    fn end(call: u128, budget: u128, end: CallEnd) -> MoneyOp {
        MoneyOp::End {
            call: CallId(Uuid::from_u128(call)),
            budget: BudgetId(Uuid::from_u128(budget)),
            at: AT,
            end,
        }
    }

    fn settled(cost: i64) -> CallEnd {
        let usage = CallUsage {
            model: "m".to_owned(),
            step: None,
            input_tokens: 0,
            output_tokens: 0,
            cached_tokens: 0,
            cost: usd(cost),
            price_version: None,
            provider_request_id: None,
            duration_us: None,
        };
        CallEnd::Settled { usage: Box::new(usage), journal: None }
    }

    /// Decides batch after batch over the same rows.
    fn run(budgets: Vec<Budget>, batches: &[Vec<MoneyOp>]) -> (Vec<Vec<MoneyAnswer>>, Vec<Budget>) {
        let mut plan = Plan::new(budgets, Vec::new(), HashSet::from([AT]), true);
        let answers = batches.iter().map(|batch| plan.decide(batch)).collect();
        (answers, plan.budgets.into_values().collect())
    }

    use MoneyAnswer::{Refused, Released, Reserved, Settled, Unconfirmed, Wait};

    #[test]
    fn the_longest_prefix_that_fits_is_taken() {
        let batch = vec![reserve(1, 9, 4), reserve(2, 9, 7), reserve(3, 9, 1)];
        let (answers, budgets) = run(vec![budget(9, None, 10)], &[batch]);
        assert_eq!(answers, [[Reserved, Wait, Wait]], "a small call does not pass a large one");
        assert_eq!(budgets[0].reserved, usd(4));
    }

    #[test]
    fn a_settle_makes_room_in_the_same_batch() {
        let batches = [vec![reserve(1, 9, 8)], vec![reserve(2, 9, 8), end(1, 9, settled(2))]];
        let (answers, budgets) = run(vec![budget(9, None, 10)], &batches);
        assert_eq!(answers[1], [Reserved, Settled { journaled: false, excess: false }]);
        assert_eq!((budgets[0].spent, budgets[0].reserved), (usd(2), usd(8)));
    }

    #[test]
    fn without_room_and_without_calls_in_flight_the_tree_is_closed() {
        let batches = [vec![reserve(1, 9, 11)], vec![reserve(2, 9, 1)]];
        let (answers, budgets) = run(vec![budget(9, None, 10)], &batches);
        assert_eq!(answers, [[Refused], [Refused]]);
        assert!(budgets[0].closed);
    }

    #[test]
    fn a_reservation_fits_in_the_whole_chain_or_not_at_all() {
        let month = [budget(8, None, 5), budget(9, Some(8), 10), budget(10, Some(8), 10)];
        let batches =
            [vec![reserve(1, 9, 4), reserve(2, 10, 4)], vec![end(1, 9, settled(4))], vec![reserve(2, 10, 4)]];
        let (answers, budgets) = run(month.to_vec(), &batches);
        assert_eq!(answers[0], [Reserved, Wait]);
        assert_eq!(answers[2], [Refused]);
        assert_eq!(
            budgets.iter().map(|b| (b.spent, b.closed)).collect::<Vec<_>>(),
            [(usd(4), false), (usd(4), false), (usd(0), true)]
        );
    }

    #[test]
    fn what_nobody_knows_counts_at_its_worst_until_it_is_known() {
        let batches = [
            vec![reserve(1, 9, 4), reserve(2, 9, 4)],
            vec![end(1, 9, CallEnd::Unconfirmed), end(2, 9, CallEnd::Released)],
            vec![end(1, 9, settled(1)), end(1, 9, settled(1))],
        ];
        let (answers, budgets) = run(vec![budget(9, None, 10)], &batches);
        assert_eq!(answers[1], [Unconfirmed, Released]);
        assert_eq!(answers[2], [Settled { journaled: false, excess: false }, MoneyAnswer::AlreadyEnded]);
        assert_eq!((budgets[0].spent, budgets[0].reserved), (usd(1), usd(0)));
    }

    #[test]
    fn nobody_ends_a_call_of_another_budget() {
        let budgets = vec![budget(8, None, 10), budget(9, None, 10)];
        let batches = [vec![reserve(1, 9, 4)], vec![end(1, 8, settled(1)), end(1, 8, CallEnd::Released)]];
        let (answers, budgets) = run(budgets, &batches);
        assert_eq!(answers[1], [MoneyAnswer::Unknown, MoneyAnswer::Unknown]);
        let sums: Vec<_> = budgets.iter().map(|b| (b.spent, b.reserved)).collect();
        assert_eq!(sums, [(usd(0), usd(0)), (usd(0), usd(4))]);
    }

    #[test]
    fn a_bill_above_the_bound_is_booked_and_stops_the_tree() {
        let batches = [vec![reserve(1, 9, 4)], vec![end(1, 9, settled(12))]];
        let (answers, budgets) = run(vec![budget(9, None, 10)], &batches);
        assert_eq!(answers[1], [Settled { journaled: false, excess: true }]);
        assert_eq!((budgets[0].spent, budgets[0].closed), (usd(12), true));
    }
}
