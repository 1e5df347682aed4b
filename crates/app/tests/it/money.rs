//! Ledger, sums, and calls that nobody answered.

use serde_json::json;
use windrow_api_types::{AuditQuery, LedgerQuery, PageQuery, RollupQuery, SettleUnconfirmed};
use windrow_core::{BudgetId, CallId, PicoUsd, Role};
use windrow_store::hot::{self, CallEnd, CallUsage, End, MoneyOp};
use windrow_store::ledger;
use windrow_test_support::app::submit_request;
use windrow_test_support::{TestApp, on_both};

fn usage(cost: PicoUsd) -> CallUsage {
    CallUsage {
        model: "m".to_owned(),
        step: Some("outline".to_owned()),
        input_tokens: 10,
        output_tokens: 20,
        cached_tokens: 0,
        cost,
        price_version: Some("p1".to_owned()),
        provider_request_id: None,
        duration_us: Some(1500),
    }
}

on_both! {
    async fn what_calls_cost_is_shown_and_an_unanswered_one_is_settled_by_the_bill(db) {
        let test = TestApp::start(db).await;
        let (ada, admin) = (test.actor("ada").await, test.actor_with("root", Role::Admin).await);
        let mut request = submit_request(json!({"text": "a"}));
        request.budget_usd = Some(PicoUsd::from_usd(1));
        let job = test.app.submit_job(&ada, request, None).await.unwrap().job;
        let run = test.claim(1).await.remove(0);
        let budget = BudgetId(job.id.0);
        let calls = [CallId::new(&*test.clock), CallId::new(&*test.clock)];
        let worst = PicoUsd::from_pico(1000);
        let reserve = |call| MoneyOp::Reserve { call, budget, at: run.at, model: "m".to_owned(), step: None, worst };
        let settled = CallEnd::Settled { usage: Box::new(usage(PicoUsd::from_pico(300))), journal: None };
        let end = |call, end| MoneyOp::End { call, budget, at: run.at, end };
        let batches =
            [vec![reserve(calls[0]), reserve(calls[1])], vec![end(calls[0], settled), end(calls[1], CallEnd::Unconfirmed)]];
        for batch in batches {
            let mut tx = test.db.begin().await.unwrap();
            hot::reserve_and_settle(&mut tx, &batch, test.app.parts.clock.now()).await.unwrap();
            tx.commit().await.unwrap();
        }
        test.end(&run, End::Complete(None)).await;
        let shown = test.app.show_job(&ada, job.id).await.unwrap();
        assert_eq!((shown.cost.actual, shown.cost.reserved), (PicoUsd::from_pico(1300), PicoUsd::ZERO));
        assert_eq!((shown.tokens.input, shown.tokens.output), (10, 20));
        let rows = test.app.job_ledger(&ada, job.id, &LedgerQuery::default()).await.unwrap().items;
        let states: Vec<&str> = rows.iter().map(|row| row.state.as_str()).collect();
        assert_eq!(states, ["settled", "unconfirmed"]);

        let page = PageQuery::default();
        assert_eq!(test.app.list_unconfirmed(&ada, &page).await.unwrap_err().code(), "role_too_low");
        let open = test.app.list_unconfirmed(&admin, &page).await.unwrap().items;
        assert_eq!(open.iter().map(|call| (call.call_id, call.worst_usd)).collect::<Vec<_>>(), [(calls[1], worst)]);
        let settle = SettleUnconfirmed { cost_usd: PicoUsd::from_pico(400), reason: "the bill".to_owned() };
        test.app.settle_unconfirmed(&admin, calls[1], &settle).await.unwrap();
        let again = test.app.settle_unconfirmed(&admin, calls[1], &settle).await.unwrap_err();
        assert_eq!((again.status(), again.code()), (409, "call_not_unconfirmed"));
        assert_eq!(test.app.show_job(&ada, job.id).await.unwrap().cost.actual, PicoUsd::from_pico(700));
        let audit = AuditQuery { action: Some("call.settle".to_owned()), ..AuditQuery::default() };
        let audit = test.app.list_audit(&admin, &audit).await.unwrap().items;
        assert_eq!((audit.len(), audit[0].after.clone()), (1, Some(json!({"cost_usd": "0.0000000004"}))));

        let mut tx = test.db.begin().await.unwrap();
        let high = ledger::settled_up_to(&mut tx).await.unwrap();
        ledger::roll_up(&mut tx, high, 100).await.unwrap();
        tx.commit().await.unwrap();
        let sums = test.app.ledger_rollups(&ada, &RollupQuery::default()).await.unwrap();
        assert_eq!(sums.iter().map(|sum| (sum.key.as_str(), sum.calls, sum.cost_usd)).collect::<Vec<_>>(), [("2026-01-01", 2, PicoUsd::from_pico(700))]);
        let bad = RollupQuery { since: Some("soon".to_owned()), ..RollupQuery::default() };
        assert_eq!(test.app.ledger_rollups(&ada, &bad).await.unwrap_err().into_field_errors()[0].pointer, "/since");
        test.finish().await;
    }
}
