//! How a worker hears that runs of its are to be stopped.

use std::time::Duration;

use serde_json::json;
use windrow_engine::{ClaimRequest, RunRef};
use windrow_test_support::on_both;

use crate::support::bench;

on_both! {
    async fn a_cancel_is_heard_of_among_many_runs_whatever_the_clock_of_whoever_asked(db) {
        let (bench, _dir) = bench(&db).await;
        for _ in 0..300 {
            bench.submit(json!({}), None).await;
        }
        let all = ClaimRequest { slots: 300, ..ClaimRequest::default() };
        let held: Vec<RunRef> = bench.engine.claim(&all).await.unwrap().iter().map(|lease| lease.run).collect();
        assert_eq!(held.len(), 300);
        let stops = async || {
            let orders = bench.engine.stops(&held).await.unwrap().stop;
            orders.iter().map(|order| order.run).collect::<Vec<RunRef>>()
        };
        assert_eq!(stops().await, []);
        bench.cancel(held[7].job).await;
        assert_eq!(stops().await, [held[7]]);
        bench.clock.jump(-3_600_000_000);
        bench.cancel(held[8].job).await;
        bench.clock.jump(3_600_000_000);
        assert_eq!(stops().await, [held[7]], "each run is asked for only now and then");
        bench.clock.advance(Duration::from_secs(10));
        assert_eq!(stops().await, [held[7], held[8]]);
    }
}
