//! What the work of runs is booked at.

use std::time::Duration;

use windrow_core::{BudgetCounts, BudgetId, JobSeq, JobStatus, PicoUsd, RunNo, RunOutcome};
use windrow_store::hot::{
    self, Checkpoint, End, EndRun, MoneyAnswer, NewBudget, NewJob, Progress, RunRef, StorageUse, Submitted,
};
use windrow_store::{WorkPrices, fetch_all};
use windrow_test_support::on_both;

use super::{Bench, done, ended, reserve, transient};

/// An hour costs 3,600 pico-USD: a second one. A put costs 5, a get 1.
const PRICES: WorkPrices = WorkPrices {
    compute_hour: PicoUsd::from_pico(3600),
    puts_1000: PicoUsd::from_pico(5000),
    gets_1000: PicoUsd::from_pico(1000),
};

const ALL: BudgetCounts = BudgetCounts { compute: true, storage: true };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A job of a budget, and that.
async fn submit(bench: &mut Bench, cap: i64, counts: BudgetCounts) -> (JobSeq, BudgetId) {
    let job = bench.job(1);
    let budget = BudgetId(job.id.0);
    let job = NewJob { budget: Some(NewBudget { counts, ..NewBudget::of(PicoUsd::from_pico(cap)) }), ..job };
    match bench.submit(&[job]).await[..] {
        [Submitted::Created { seq, .. }] => (seq, budget),
        ref other => panic!("{other:?}"),
    }
}

async fn use_storage(bench: &Bench, at: RunRef, puts: u64, gets: u64) {
    let mut tx = bench.db.begin().await.unwrap();
    hot::use_storage(&mut tx, at, StorageUse { puts, gets }, bench.now()).await.unwrap();
    tx.commit().await.unwrap();
}

/// Kind, run, cost, microseconds, puts, gets; in order of booking.
type Row = (String, i64, i64, Option<i64>, Option<i64>, Option<i64>);

async fn rows(bench: &Bench) -> Vec<Row> {
    let mut conn = bench.db.read().await.unwrap();
    let sql = "SELECT kind, run, cost, duration_us, puts, gets FROM ledger ORDER BY seq";
    fetch_all!(&mut conn, Row, sql).unwrap()
}

fn compute(run: i64, seconds: i64) -> Row {
    ("compute".to_owned(), run, seconds, Some(seconds * 1_000_000), None, None)
}

fn storage(run: i64, puts: i64, gets: i64) -> Row {
    ("storage".to_owned(), run, 5 * puts + gets, None, Some(puts), Some(gets))
}

/// spent, closed
async fn budget(bench: &Bench, id: BudgetId) -> (i64, bool) {
    let mut conn = bench.db.read().await.unwrap();
    let budget = hot::budget(&mut conn, id).await.unwrap().unwrap();
    (budget.spent.as_pico(), budget.closed)
}

on_both! {
    async fn every_end_of_a_run_books_its_time_and_its_puts_and_gets(test) {
        let mut bench = Bench::priced(&test, PRICES).await;
        let job = bench.one(1).await;
        let first = bench.claim(1).await.remove(0).at;
        bench.clock.advance(seconds(4));
        use_storage(&bench, first, 2, 0).await;
        use_storage(&bench, first, 0, 3).await;
        let now = bench.now();
        bench.end(first, End::Retry { at: now, error: transient() }).await;
        assert_eq!(rows(&bench).await, [compute(1, 4), storage(1, 2, 3)]);
        let second = bench.claim(1).await.remove(0).at;
        bench.clock.advance(seconds(5));
        bench.end(second, End::Release).await;
        let third = bench.claim(1).await.remove(0).at;
        bench.clock.advance(seconds(6));
        bench.end(third, done()).await;
        assert_eq!(rows(&bench).await[2..], [compute(2, 5), compute(3, 6)]);
        assert_eq!(bench.count("SELECT count(*) FROM ledger WHERE owner_id = 1 AND workload = 'w'").await, 4);
        assert_eq!(bench.count("SELECT count(*) FROM ledger WHERE price_version = '0.0000000036 USD/hour'").await, 3);
        assert_eq!(bench.count("SELECT count(*) FROM storage_use").await, 0);
        // what a run does after its end is booked at once
        use_storage(&bench, third, 1, 0).await;
        assert_eq!(rows(&bench).await[4..], [storage(3, 1, 0)]);
        // a job that ends without a run has done no work
        let other = bench.one(1).await;
        bench.clock.advance(seconds(9));
        bench.cancel(other).await;
        assert_eq!(rows(&bench).await.len(), 5);
        assert_eq!(bench.status(job).await, JobStatus::Completed);
    }

    async fn nothing_is_booked_where_nothing_has_a_price(test) {
        let mut bench = Bench::new(&test).await;
        let (_, budget_id) = submit(&mut bench, 1, ALL).await;
        let at = bench.claim(1).await.remove(0).at;
        bench.clock.advance(seconds(4));
        use_storage(&bench, at, 2, 2).await;
        bench.end(at, done()).await;
        assert_eq!(rows(&bench).await, []);
        assert_eq!(bench.count("SELECT count(*) FROM storage_use").await, 0);
        assert_eq!(budget(&bench, budget_id).await, (0, false));
    }

    async fn a_lost_run_is_booked_up_to_the_last_that_it_wrote(test) {
        let mut bench = Bench::priced(&test, PRICES).await;
        bench.one(1).await;
        bench.one(1).await;
        let claimed = bench.claim(2).await;
        let (silent, heard) = (claimed[0].at, claimed[1].at);
        bench.clock.advance(seconds(3));
        let now = bench.now();
        let mut tx = bench.db.begin().await.unwrap();
        let state = Checkpoint {
            at: heard, schema_version: 1, state: "1".to_owned(), parts: vec![], covered: vec![], free_calls: vec![],
        };
        hot::checkpoint(&mut tx, &[state], now).await.unwrap();
        tx.commit().await.unwrap();
        bench.clock.advance(seconds(4));
        let now = bench.now();
        let mut tx = bench.db.begin().await.unwrap();
        let word = Progress { at: heard, stage: None, done: 1, total: None };
        hot::progress(&mut tx, &[word], now).await.unwrap();
        tx.commit().await.unwrap();
        bench.clock.advance(seconds(50));
        let now = bench.now();
        let lost = [silent, heard].map(|at| EndRun { at, end: End::Lost { poison_after: None } });
        let mut tx = bench.db.begin().await.unwrap();
        hot::end_runs(&mut tx, &lost, now).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(rows(&bench).await, [compute(1, 7)]);
    }

    async fn only_what_the_job_says_counts_against_its_budget(test) {
        let mut bench = Bench::priced(&test, PRICES).await;
        for (counts, spent) in [
            (BudgetCounts::default(), 0),
            (BudgetCounts { compute: true, storage: false }, 4),
            (BudgetCounts { compute: false, storage: true }, 7),
            (ALL, 11),
        ] {
            let (_, id) = submit(&mut bench, 11, counts).await;
            let at = bench.claim(1).await.remove(0).at;
            bench.clock.advance(seconds(4));
            use_storage(&bench, at, 1, 2).await;
            bench.end(at, done()).await;
            assert_eq!(budget(&bench, id).await, (spent, false), "{counts:?}");
        }
        // a row names the budget that it counts against, and no other
        let agree = "SELECT count(*) FROM budgets b
             WHERE b.spent <> (SELECT coalesce(sum(l.cost), 0) FROM ledger l WHERE l.budget_id = b.id)";
        assert_eq!(bench.count(agree).await, 0);
        assert_eq!(rows(&bench).await.len(), 8, "all of it is in the ledger");
    }

    async fn work_above_the_cap_is_booked_and_closes_the_tree(test) {
        let mut bench = Bench::priced(&test, PRICES).await;
        let (job, id) = submit(&mut bench, 10, ALL).await;
        let at = bench.claim(1).await.remove(0).at;
        bench.clock.advance(seconds(11));
        let now = bench.now();
        // it would run again
        let end = bench.end(at, End::Retry { at: now, error: transient() }).await;
        assert_eq!(ended(&end), (RunOutcome::BudgetExceeded, JobStatus::BudgetExceeded));
        assert_eq!(budget(&bench, id).await, (11, true));
        assert_eq!(rows(&bench).await, [compute(1, 11)]);
        // with a larger budget it goes on, and its calls find room for what is left
        let mut tx = bench.db.begin().await.unwrap();
        hot::reopen(&mut tx, job, Some(PicoUsd::from_pico(20)), now).await.unwrap();
        tx.commit().await.unwrap();
        let at = bench.claim(1).await.remove(0).at;
        assert_eq!(at.run, RunNo(2));
        let answers = bench.money(&[reserve(1, id, at, 10), reserve(2, id, at, 9)]).await;
        assert_eq!(answers, [MoneyAnswer::Refused, MoneyAnswer::Refused], "9 are left; a refusal closes the tree");
    }

    async fn a_closed_tree_has_its_unclaimed_children_stopped_and_its_parent_puts_together_what_there_is(test) {
        let mut bench = Bench::priced(&test, PRICES).await;
        let (job, id) = submit(&mut bench, 10, ALL).await;
        let root = bench.claim(1).await.remove(0).at;
        bench.add(root, &["a", "b", "c"]).await;
        bench.end(root, End::Await).await;
        let claimed = bench.claim(2).await;
        bench.clock.advance(seconds(6));
        bench.end(claimed[0].at, done()).await;
        assert_eq!(budget(&bench, id).await, (6, false));
        bench.end(claimed[1].at, done()).await;
        assert_eq!(budget(&bench, id).await, (12, true));
        bench.stop_all().await;
        assert_eq!(bench.count("SELECT count(*) FROM runs WHERE outcome = 'budget_exceeded'").await, 1);
        // its own retry is no reason to throw away what the children made
        let again = bench.claim(9).await.remove(0).at;
        assert_eq!(again.job, job);
        let now = bench.now();
        let end = bench.end(again, End::Retry { at: now, error: transient() }).await;
        assert_eq!(ended(&end), (RunOutcome::Retried, JobStatus::Queued));
        let again = bench.claim(1).await.remove(0).at;
        bench.end(again, done()).await;
        assert_eq!(bench.status(job).await, JobStatus::Completed);
    }
}
