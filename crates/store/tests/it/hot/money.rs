//! Money, checkpoints, journal.

use windrow_core::{Clock, RunNo};
use windrow_store::hot::{
    self, CallEnd, Checkpoint, End, Fenced, MoneyAnswer, MoneyOp, Part, Progress, RunRef, SaveAnswer,
};
use windrow_store::{fetch_all, fetch_one};
use windrow_test_support::on_both;

use super::{Bench, call, priced_run, reserve, settle, usage};

on_both! {
    async fn money_is_reserved_settled_and_journalled(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, run) = priced_run(&mut bench, 100).await;
        let at = run.at;
        let answers = bench.money(&[reserve(1, budget, at, 60), reserve(2, budget, at, 60)]).await;
        assert_eq!(answers, [MoneyAnswer::Reserved, MoneyAnswer::Wait]);
        assert_eq!(bench.money(&[reserve(1, budget, at, 60)]).await, [MoneyAnswer::Reserved], "a lost reply");
        let answers = bench.money(&[settle(1, budget, at, 20, Some("k")), reserve(2, budget, at, 60)]).await;
        assert_eq!(answers, [MoneyAnswer::Settled { journaled: true, excess: false }, MoneyAnswer::Reserved]);
        assert_eq!(bench.money(&[settle(1, budget, at, 20, Some("k"))]).await, [MoneyAnswer::AlreadyEnded]);
        let mut conn = bench.db.read().await.unwrap();
        let lines = hot::journal(&mut conn, at.job, "", 9).await.unwrap();
        assert_eq!(lines.iter().map(|l| (l.key.as_str(), l.output.as_str())).collect::<Vec<_>>(), [("k", "\"hi\"")]);
        let state = hot::budget(&mut conn, budget).await.unwrap().unwrap();
        assert_eq!((state.spent.as_pico(), state.reserved.as_pico(), state.closed), (20, 60, false));
        drop(conn);
        // the end of the run books what is in flight at its worst case; its late settle corrects that, and no more
        bench.end(at, End::Release).await;
        let mut conn = bench.db.read().await.unwrap();
        let state = hot::budget(&mut conn, budget).await.unwrap().unwrap();
        assert_eq!((state.spent.as_pico(), state.reserved.as_pico()), (80, 0));
        drop(conn);
        assert_eq!(bench.money(&[reserve(3, budget, at, 1)]).await, [MoneyAnswer::Stale]);
        let late = bench.money(&[settle(2, budget, at, 33, Some("late"))]).await;
        assert_eq!(late, [MoneyAnswer::Settled { journaled: false, excess: false }]);
        assert_eq!(bench.count("SELECT spent FROM budgets").await, 53);
        assert_eq!(bench.count("SELECT CAST(sum(cost) AS bigint) FROM ledger").await, 53);
        assert_eq!(bench.count("SELECT count(*) FROM ledger WHERE model = 'm' AND step = 's' AND owner_id = 1").await, 3);
        assert_eq!(bench.count("SELECT count(*) FROM call_journal").await, 1);
        let run = bench.claim(1).await.remove(0);
        assert_eq!(bench.money(&[reserve(4, budget, run.at, 48)]).await, [MoneyAnswer::Refused]);
        assert_eq!(bench.money(&[reserve(5, budget, run.at, 1)]).await, [MoneyAnswer::Refused], "closed");
    }

    async fn a_hundred_writers_never_overspend_one_budget(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, run) = priced_run(&mut bench, 1000).await;
        let tasks = (0..100u128).map(|writer| {
            let (db, at, now) = (bench.db.clone(), run.at, bench.clock.now());
            tokio::spawn(async move {
                let mut reserved = 0;
                for n in 0..4u128 {
                    let mut tx = db.begin().await.unwrap();
                    let op = reserve(writer * 100 + n, budget, at, 17);
                    if hot::reserve_and_settle(&mut tx, &[op], now).await.unwrap() == [MoneyAnswer::Reserved] {
                        reserved += 1;
                    }
                    tx.commit().await.unwrap();
                }
                reserved
            })
        });
        let mut reserved = 0;
        for task in tasks {
            reserved += task.await.unwrap();
        }
        assert_eq!(reserved, 1000 / 17);
        assert_eq!(bench.count("SELECT reserved FROM budgets").await, reserved * 17);
        assert_eq!(bench.count("SELECT count(*) FROM calls").await, reserved);
    }

    async fn a_paid_answer_to_another_request_takes_the_place_of_the_earlier_one(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, first) = priced_run(&mut bench, 100).await;
        let answered = |n: u128, at: RunRef, request: u8, text: &str| {
            let mut op = settle(n, budget, at, 10, Some("k"));
            let MoneyOp::End { end: CallEnd::Settled { journal: Some(line), .. }, .. } = &mut op else { unreachable!() };
            (line.request_hash, line.output) = (vec![request; 32], text.to_owned());
            op
        };
        let journal = async |bench: &Bench| {
            let mut conn = bench.db.read().await.unwrap();
            let lines = hot::journal(&mut conn, first.at.job, "", 9).await.unwrap();
            lines.into_iter().map(|line| (line.request_hash[0], line.output)).collect::<Vec<_>>()
        };
        bench.money(&[reserve(1, budget, first.at, 10), reserve(2, budget, first.at, 10)]).await;
        bench.money(&[answered(1, first.at, 1, "one"), answered(2, first.at, 1, "again")]).await;
        assert_eq!(journal(&bench).await, [(1, "one".to_owned())], "the first answer to a request stands");
        bench.end(first.at, End::Release).await;
        let second = bench.claim(1).await.remove(0);
        bench.money(&[reserve(3, budget, second.at, 10)]).await;
        bench.money(&[answered(3, second.at, 2, "other")]).await;
        assert_eq!(journal(&bench).await, [(2, "other".to_owned())]);
    }

    async fn checkpoints_parts_saves_and_progress_are_fenced(test) {
        let mut bench = Bench::new(&test).await;
        let (budget, run) = priced_run(&mut bench, 100).await;
        let at = run.at;
        bench.money(&[reserve(1, budget, at, 10)]).await;
        bench.money(&[settle(1, budget, at, 10, Some("k"))]).await;
        let part = |first: i64, key: &str| Part { first, last: first + 9, key: key.to_owned(), sha256: vec![1; 32], size: 5 };
        let saved = |at: RunRef, state: &str, parts: Vec<Part>| Checkpoint {
            at, schema_version: 2, state: state.to_owned(), parts, covered: vec!["k".to_owned()], free_calls: vec![(call(7), usage(0))],
        };
        let now = bench.now();
        let mut tx = bench.db.begin().await.unwrap();
        let stale = RunRef { run: RunNo(9), ..at };
        let batch = [saved(at, "1", vec![part(0, "a")]), saved(stale, "x", vec![part(50, "x")]), saved(at, "2", vec![part(10, "b")])];
        assert_eq!(hot::checkpoint(&mut tx, &batch, now).await.unwrap(), [Fenced::Applied, Fenced::Stale, Fenced::Applied]);
        assert_eq!(hot::checkpoint(&mut tx, &[saved(at, "2", vec![part(10, "b")])], now).await.unwrap(), [Fenced::Applied], "a lost reply");
        assert_eq!(hot::save(&mut tx, at, 1).await.unwrap(), SaveAnswer::Write);
        assert_eq!(hot::save(&mut tx, at, 1).await.unwrap(), SaveAnswer::Already);
        assert_eq!(hot::save(&mut tx, stale, 2).await.unwrap(), SaveAnswer::Stale);
        let word = |at, done| Progress { at, stage: Some("s".into()), done, total: Some(9) };
        hot::progress(&mut tx, &[word(at, 1), word(stale, 5), word(at, 3)], now).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = bench.db.begin().await.unwrap();
        let error = hot::checkpoint(&mut tx, &[saved(at, "3", vec![part(10, "other")])], now).await.unwrap_err();
        assert!(error.to_string().contains("parts"), "{error}");
        drop(tx);
        let mut conn = bench.db.read().await.unwrap();
        let parts = hot::parts_page(&mut conn, at.job, -1, 9).await.unwrap();
        assert_eq!(parts.iter().map(|p| (p.first, p.last, p.key.as_str())).collect::<Vec<_>>(), [(0, 9, "a"), (10, 19, "b")]);
        assert_eq!(hot::saved(&mut conn, at.job).await.unwrap(), [1]);
        assert_eq!(fetch_all!(&mut conn, (i64, i64), "SELECT run, done FROM progress").unwrap(), [(1, 3)]);
        let free = "SELECT count(*) FROM ledger WHERE budget_id IS NULL";
        assert_eq!(fetch_one!(&mut conn, scalar i64, free).unwrap(), 1, "a call is in the ledger once");
        assert!(hot::journal(&mut conn, at.job, "", 9).await.unwrap().is_empty(), "covered");
        drop(conn);
        bench.end(at, End::Release).await;
        let again = bench.claim(1).await.remove(0);
        let state = again.checkpoint.unwrap();
        assert_eq!((state.schema_version, state.state.as_str()), (2, "2"));
        let mut tx = bench.db.begin().await.unwrap();
        assert_eq!(hot::checkpoint(&mut tx, &[saved(at, "late", vec![])], now).await.unwrap(), [Fenced::Stale]);
    }
}
