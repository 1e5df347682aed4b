//! Metered calls on an engine in memory and a provider that obeys the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use serde_json::{Value, json};
use windrow_api_types::worker::{Part, SettleResult};
use windrow_core::{ErrorClass, PicoUsd, TestClock};
use windrow_models::{
    FinishReason, ModelError, ModelProvider, ModelRequest, ModelResponse, Models, ModelsSettings, Price,
    Usage,
};

use super::{JobContext, RunError};
use crate::testing::MemoryEngine;
use crate::{Stop, StopSignal};

/// Answers each call with the next of its script, or echoes; a gate holds answers back.
#[derive(Debug, Default)]
struct Script {
    errors: Mutex<VecDeque<ModelError>>,
    calls: Mutex<Vec<String>>,
    gate: Option<tokio::sync::Semaphore>,
}

#[async_trait]
impl ModelProvider for Script {
    fn name(&self) -> &str {
        "test"
    }

    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        let prompt = request.messages[0].content.clone();
        self.calls.lock().unwrap().push(prompt.clone());
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        if let Some(error) = self.errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        Ok(ModelResponse {
            text: prompt,
            usage: Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() },
            finish_reason: FinishReason::Stop,
            provider_request_id: Some("r".to_owned()),
            latency: Duration::ZERO,
        })
    }
}

/// A pico-dollar a token: a call of 10 + 5 tokens costs 15.
const PRICE: Price =
    Price { input: PicoUsd::from_pico(1), output: PicoUsd::from_pico(1), cached_input: None };

struct Bench {
    engine: Arc<MemoryEngine>,
    script: Arc<Script>,
    models: Arc<Models>,
    _scratch: tempfile::TempDir,
}

impl Bench {
    fn new(budget: Option<i64>, price: Price, script: Script) -> Self {
        let script = Arc::new(script);
        let models = Models::new(ModelsSettings::default(), TestClock::shared()).unwrap();
        let models =
            models.with_provider(Arc::clone(&script) as Arc<dyn ModelProvider>, Some(price)).unwrap();
        let engine = MemoryEngine::new("test", json!({}), budget.map(PicoUsd::from_pico));
        Self { engine, script, models: Arc::new(models), _scratch: tempfile::tempdir().unwrap() }
    }

    fn run(&self) -> (JobContext, StopSignal) {
        let scratch = self._scratch.path().join("run");
        self.engine.context(Arc::clone(&self.models), TestClock::shared(), scratch)
    }

    fn asked(&self) -> usize {
        self.script.calls.lock().unwrap().len()
    }

    /// The worst case of [`question`], as the model says it.
    fn worst(&self) -> i64 {
        self.models.resolve("test:m").unwrap().worst_case(&question("x")).as_pico()
    }
}

fn question(prompt: &str) -> ModelRequest {
    ModelRequest::new("test:m", prompt, 5)
}

fn failure(error: RunError) -> String {
    match error {
        RunError::Failed(error) => error.code.into_owned(),
        RunError::Stopped(why) => format!("{why:?}"),
    }
}

#[tokio::test]
async fn a_call_is_reserved_settled_and_journalled() {
    let bench = Bench::new(Some(10_000), PRICE, Script::default());
    let (context, _) = bench.run();
    let answer = context.call("0/a", "a", &question("hi")).await.unwrap();
    assert_eq!((answer.response.text.as_str(), answer.cost.as_pico(), answer.replayed), ("hi", 15, false));
    context.settle_all().await.unwrap();
    let state = bench.engine.state();
    assert_eq!((state.spent.as_pico(), state.reserved.as_pico(), state.journal.len()), (15, 0, 1));
}

#[tokio::test]
async fn the_next_run_replays_what_is_journalled_until_a_checkpoint_covers_it() {
    let bench = Bench::new(Some(10_000), PRICE, Script::default());
    let (first, _) = bench.run();
    first.call("0/a", "a", &question("hi")).await.unwrap();
    first.settle_all().await.unwrap();

    let (second, _) = bench.run();
    let answer = second.call("0/a", "a", &question("hi")).await.unwrap();
    assert_eq!((answer.replayed, answer.cost.as_pico(), bench.asked()), (true, 15, 1));
    let other = second.call("0/a", "a", &question("another question")).await.unwrap();
    assert_eq!((other.replayed, bench.asked()), (false, 2));
    second.checkpoint(&json!({"next": 1}), vec![], vec!["0/a".to_owned()]).await.unwrap();

    let (third, _) = bench.run();
    assert_eq!(third.state::<Value>().unwrap(), Some(json!({"next": 1})));
    third.call("0/a", "a", &question("hi")).await.unwrap();
    assert_eq!(bench.asked(), 3);
}

#[tokio::test]
async fn each_retry_reserves_anew_and_what_never_left_is_released() {
    let errors = [
        ModelError::transient("model_connect", "no route"),
        ModelError::transient("model_timeout", "late").sent(),
        ModelError::transient("model_rate_limited", "429").billed(Usage::default()),
    ];
    let script = Script { errors: Mutex::new(errors.into()), ..Script::default() };
    let bench = Bench::new(Some(10_000), PRICE, script);
    let (context, _) = bench.run();
    context.call("0/a", "a", &question("x")).await.unwrap();
    context.settle_all().await.unwrap();
    let state = bench.engine.state();
    let mut results: Vec<_> = state.calls.values().map(|(_, result)| result.clone().unwrap()).collect();
    assert_eq!(results.len(), 4);
    results.retain(|result| !matches!(result, SettleResult::Released));
    assert_eq!(results.iter().filter(|result| **result == SettleResult::Unconfirmed).count(), 1);
    assert_eq!(state.spent.as_pico(), bench.worst() + 15);
    assert_eq!(state.reserved, PicoUsd::ZERO);
}

#[tokio::test]
async fn a_permanent_failure_is_not_asked_again() {
    let error = ModelError::permanent("model_bad_request", "no").sent().billed(Usage::default());
    let script = Script { errors: Mutex::new([error].into()), ..Script::default() };
    let bench = Bench::new(Some(10_000), PRICE, script);
    let (context, _) = bench.run();
    assert_eq!(failure(context.call("0/a", "a", &question("x")).await.unwrap_err()), "model_bad_request");
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn parallel_calls_wait_for_room_and_then_stop_exactly_at_the_budget() {
    let bench = Bench::new(None, PRICE, Script::default());
    let worst = bench.worst();
    // Room for two at worst; after each settles at 15 another fits, until less than a worst case is left.
    let bench = Bench::new(Some(2 * worst + 100), PRICE, Script::default());
    let (context, _) = bench.run();
    let calls = (0..100).map(|i| {
        let context = context.clone();
        async move { context.call(&format!("{i}/a"), "a", &question("x")).await.is_ok() }
    });
    let answered = futures::future::join_all(calls).await.into_iter().filter(|ok| *ok).count();
    context.settle_all().await.unwrap();
    let state = bench.engine.state();
    let spent = state.spent.as_pico();
    assert_eq!(spent, 15 * i64::try_from(answered).unwrap());
    assert!(spent <= 2 * worst + 100 && spent + worst > 2 * worst + 100, "{spent} of {}", 2 * worst + 100);
}

#[tokio::test]
async fn a_settle_and_the_next_reserve_share_an_exchange() {
    let bench = Bench::new(Some(1_000_000), PRICE, Script::default());
    let (context, _) = bench.run();
    for i in 0..10 {
        context.call(&format!("0/{i}"), "a", &question("x")).await.unwrap();
    }
    context.settle_all().await.unwrap();
    // one for each reserve, one for the last settle; a slow machine may part a few from their company
    let exchanges = bench.engine.state().exchanges;
    assert!((11..=15).contains(&exchanges), "{exchanges}");
}

#[tokio::test]
async fn a_dropped_call_still_settles_at_its_real_cost() {
    let script = Script { gate: Some(tokio::sync::Semaphore::new(0)), ..Script::default() };
    let bench = Bench::new(Some(10_000), PRICE, script);
    let (context, _) = bench.run();
    let call = tokio::spawn({
        let context = context.clone();
        async move { context.call("0/a", "a", &question("x")).await }
    });
    while bench.asked() == 0 {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    bench.script.gate.as_ref().unwrap().add_permits(1);
    let mut settlements = context.inner.meter.settlements();
    settlements.wait_for(|settled| *settled > 0).await.unwrap();
    assert_eq!(bench.engine.state().spent.as_pico(), 15);
}

#[tokio::test]
async fn a_cancel_does_not_wait_for_the_model() {
    let script = Script { gate: Some(tokio::sync::Semaphore::new(0)), ..Script::default() };
    let bench = Bench::new(Some(10_000), PRICE, script);
    let (context, stop) = bench.run();
    let question = question("x");
    let call = context.call("0/a", "a", &question);
    let cancel = async {
        while bench.asked() == 0 {
            tokio::task::yield_now().await;
        }
        stop.stop(Stop::Cancelled);
    };
    let (answer, ()) = tokio::join!(call, cancel);
    assert_eq!(failure(answer.unwrap_err()), "Cancelled");
}

#[tokio::test]
async fn a_stale_run_stops_and_its_late_settle_is_written() {
    let bench = Bench::new(Some(10_000), PRICE, Script::default());
    let (first, _) = bench.run();
    first.call("0/a", "a", &question("x")).await.unwrap();
    let (_second, _) = bench.run();
    assert_eq!(failure(first.call("0/b", "b", &question("x")).await.unwrap_err()), "LeaseLost");
    assert_eq!(first.stop(), Some(Stop::LeaseLost));
    assert_eq!(bench.engine.state().spent.as_pico(), 15);
    let stale = first.checkpoint(&(), vec![], vec![]).await;
    assert_eq!(failure(stale.unwrap_err()), "LeaseLost");
}

#[tokio::test]
async fn a_priced_model_needs_a_budget_and_a_free_one_does_not() {
    let bench = Bench::new(None, PRICE, Script::default());
    let (context, _) = bench.run();
    assert_eq!(failure(context.call("0/a", "a", &question("x")).await.unwrap_err()), "budget_required");
    assert_eq!(bench.asked(), 0);

    let bench = Bench::new(None, Price::FREE, Script::default());
    let (context, _) = bench.run();
    context.call("0/a", "a", &question("x")).await.unwrap();
    assert_eq!(bench.engine.state().exchanges, 0);
    context.checkpoint(&(), vec![], vec![]).await.unwrap();
    assert_eq!(bench.engine.state().free_calls.len(), 1);
}

#[tokio::test]
async fn an_outage_is_sat_out() {
    let bench = Bench::new(Some(10_000), PRICE, Script::default());
    let (context, _) = bench.run();
    bench.engine.state().outage = 1;
    context.call("0/a", "a", &question("x")).await.unwrap();
    bench.engine.state().outage = 1;
    let part = Part { first: 0, last: 0, key: "k".to_owned(), ..Part::default() };
    context.checkpoint(&json!(1), vec![part], vec![]).await.unwrap();
    let state = bench.engine.state();
    assert_eq!((state.spent.as_pico(), state.parts.len(), &state.checkpoint), (15, 1, &Some(json!(1))));
}

/// The answers are gone from memory with the run, so it must not be told to try the same again for ever.
#[tokio::test(start_paused = true)]
async fn an_outage_that_outlasts_a_settles_patience_ends_the_run() {
    let bench = Bench::new(Some(10_000), PRICE, Script::default());
    let (context, _) = bench.run();
    context.call("0/a", "a", &question("x")).await.unwrap();
    bench.engine.state().outage = usize::MAX;
    let Err(RunError::Failed(error)) = context.settle_all().await else { panic!("nothing was settled") };
    assert_eq!((error.class, error.code.as_ref()), (ErrorClass::Transient, "calls_not_settled"));
}

#[tokio::test]
async fn progress_leaves_twice_a_second_and_the_rest_rides_with_the_checkpoint() {
    let bench = Bench::new(None, PRICE, Script::default());
    let (context, _) = bench.run();
    for done in 1..=3 {
        context.progress("records", done, Some(10)).await;
    }
    assert_eq!(bench.engine.state().progress.as_ref().map(|progress| progress.done), Some(1));
    context.checkpoint(&(), vec![], vec![]).await.unwrap();
    assert_eq!(bench.engine.state().progress.as_ref().map(|progress| progress.done), Some(3));
}

#[tokio::test]
async fn randomness_is_the_jobs_own_and_the_same_in_every_run() {
    use rand::RngExt as _;
    let bench = Bench::new(None, PRICE, Script::default());
    let (first, _) = bench.run();
    let (second, _) = bench.run();
    assert_eq!(first.rng("a").random::<u64>(), second.rng("a").random::<u64>());
    assert_ne!(first.rng("a").random::<u64>(), first.rng("b").random::<u64>());
}

#[tokio::test]
async fn reading_objects_is_progress() {
    let bench = Bench::new(None, PRICE, Script::default());
    bench.engine.add_object("k", "some bytes");
    let clock = TestClock::shared();
    let scratch = bench._scratch.path().join("run");
    let (context, _) = bench.engine.context(Arc::clone(&bench.models), clock.clone(), scratch);
    let late = Duration::from_secs(700);
    clock.advance(late);
    assert_eq!(context.idle(), late);
    context.get_bytes("k", None, 100).await.unwrap();
    assert_eq!(context.idle(), Duration::ZERO);
    let mut stream = context.get("k", None).await.unwrap();
    clock.advance(late);
    stream.next().await.unwrap().unwrap();
    assert_eq!(context.idle(), Duration::ZERO);
    assert!(context.asset_up_to("k", 9).await.is_err(), "ten bytes are more than nine");
    assert_eq!(context.asset_up_to("k", 10).await.unwrap(), "some bytes");
}
