//! Limits, breaker and money of a model, with a provider that does what the test says, on a clock that tokio's paused time drives.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::time::Instant;
use windrow_core::{Clock, PicoUsd, SharedClock, SystemClock, Timestamp};
use windrow_models::{
    Billing, BreakerSettings, FinishReason, Limits, Message, Model, ModelError, ModelProvider, ModelRequest,
    ModelResponse, Models, ModelsSettings, Price, Usage,
};

/// The clock that `tokio::time` has.
#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::default().plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Takes as long as told, and fails as told.
#[derive(Debug, Default)]
struct Script {
    takes: Duration,
    outcomes: Mutex<VecDeque<Result<(), ModelError>>>,
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

#[async_trait]
impl ModelProvider for Script {
    fn name(&self) -> &str {
        "script"
    }

    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        assert_eq!(request.model, "script:m");
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.most_at_once.fetch_max(self.at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let outcome = self.outcomes.lock().unwrap().pop_front();
        outcome.unwrap_or(Ok(())).map(|()| ModelResponse {
            text: "ok".into(),
            usage: Usage::default(),
            finish_reason: FinishReason::Stop,
            provider_request_id: None,
            latency: self.takes,
        })
    }
}

fn settings(limits: Limits) -> ModelsSettings {
    let breaker = BreakerSettings { failures: 3, open_for: Duration::from_secs(30) };
    ModelsSettings { default_limits: limits, breaker, allow_unpriced: true, ..ModelsSettings::default() }
}

fn scripted(script: &Arc<Script>, limits: Limits) -> Arc<Model> {
    let clock: SharedClock = Arc::new(TokioClock(Instant::now()));
    let models = Models::new(settings(limits), clock).unwrap().with_provider(script.clone(), None).unwrap();
    models.resolve("script:m").unwrap()
}

fn request() -> ModelRequest {
    ModelRequest::new("cheap", "four", 100)
}

async fn call_together(model: &Arc<Model>, calls: usize) -> Duration {
    let started = Instant::now();
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let model = model.clone();
            tokio::spawn(async move { model.call(&request()).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_at_once_than_allowed() {
    let script = Arc::new(Script { takes: Duration::from_secs(1), ..Script::default() });
    let model = scripted(&script, Limits { concurrency: 3, ..Limits::default() });
    let took = call_together(&model, 9).await;
    assert_eq!(script.most_at_once.load(Ordering::SeqCst), 3);
    assert_eq!(took.as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn requests_a_minute_hold() {
    let script = Arc::new(Script::default());
    let model = scripted(&script, Limits { requests_per_minute: Some(10), ..Limits::default() });
    assert!(call_together(&model, 10).await < Duration::from_secs(1), "the whole limit is there at once");
    assert_eq!(call_together(&model, 11).await.as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn tokens_a_minute_hold() {
    let script = Arc::new(Script::default());
    // "four" is one estimated token, the answer at most a hundred.
    let model = scripted(&script, Limits { tokens_per_minute: Some(202), ..Limits::default() });
    assert!(call_together(&model, 2).await < Duration::from_secs(1));
    assert_eq!(call_together(&model, 1).await.as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_failing_provider_is_left_alone_and_probed() {
    let down = || Err(ModelError::transient("model_unavailable", "down").sent().provider_fault());
    let outcomes = Mutex::new([down(), down(), down(), down(), Ok(())].into());
    let script = Arc::new(Script { outcomes, ..Script::default() });
    let model = scripted(&script, Limits::default());
    for _ in 0..3 {
        assert_eq!(model.call(&request()).await.unwrap_err().code, "model_unavailable");
    }
    let refused = model.call(&request()).await.unwrap_err();
    assert_eq!((&*refused.code, refused.billing()), ("model_circuit_open", Billing::NotSent));
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(30)));
    assert_eq!(script.calls.load(Ordering::SeqCst), 3);

    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(model.call(&request()).await.unwrap_err().code, "model_unavailable", "the probe");
    assert_eq!(model.call(&request()).await.unwrap_err().code, "model_circuit_open");
    tokio::time::advance(Duration::from_secs(30)).await;
    model.call(&request()).await.unwrap();
    model.call(&request()).await.unwrap();
    assert_eq!(script.calls.load(Ordering::SeqCst), 6);
}

#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_not_a_failing_one() {
    let busy = || Err(ModelError::transient("model_rate_limited", "busy").billed(Usage::default()));
    let outcomes = Mutex::new(std::iter::repeat_with(busy).take(20).collect());
    let model = scripted(&Arc::new(Script { outcomes, ..Script::default() }), Limits::default());
    for _ in 0..20 {
        assert_eq!(model.call(&request()).await.unwrap_err().code, "model_rate_limited");
    }
    model.call(&request()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_cut_off() {
    let script = Arc::new(Script { takes: Duration::from_secs(3600), ..Script::default() });
    let model = scripted(&script, Limits::default());
    let error =
        model.call(&ModelRequest { timeout: Some(Duration::from_secs(1)), ..request() }).await.unwrap_err();
    assert_eq!((&*error.code, error.billing()), ("model_timeout", Billing::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_as_long_as_the_settings_say_where_it_says_nothing() {
    let script = Arc::new(Script { takes: Duration::from_secs(3600), ..Script::default() });
    let clock: SharedClock = Arc::new(TokioClock(Instant::now()));
    let settings = ModelsSettings { timeout: Duration::from_secs(2), ..settings(Limits::default()) };
    let models = Models::new(settings, clock).unwrap().with_provider(script, None).unwrap();
    let model = models.resolve("script:m").unwrap();
    for (asked, expected) in [(None, 2), (Some(Duration::from_secs(7)), 7)] {
        let began = Instant::now();
        let error = model.call(&ModelRequest { timeout: asked, ..request() }).await.unwrap_err();
        assert_eq!(error.message, format!("no answer within {expected}000 ms"));
        assert!((expected..expected + 10).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_provider_could_take_is_never_sent() {
    let script = Arc::new(Script::default());
    let model = scripted(&script, Limits::default());
    for bad in [
        ModelRequest { messages: vec![], ..request() },
        ModelRequest { max_tokens: 0, ..request() },
        ModelRequest { temperature: Some(f64::NAN), ..request() },
        ModelRequest { temperature: Some(2.1), ..request() },
    ] {
        let error = model.call(&bad).await.unwrap_err();
        assert!(error.code == "model_bad_request" && error.user_fault, "{error:?}");
        assert_eq!(error.billing(), Billing::NotSent);
    }
    assert_eq!(script.calls.load(Ordering::SeqCst), 0);
}

fn priced() -> Models {
    let price = Price {
        cached_input: Some(PicoUsd::from_pico(2)),
        ..Price::per_million(PicoUsd::from_usd(3), PicoUsd::from_usd(15))
    };
    let models = Models::new(ModelsSettings::default(), SystemClock::shared()).unwrap();
    models.with_provider(Arc::new(Script::default()), Some(price)).unwrap()
}

#[test]
fn a_call_costs_what_its_price_says() {
    let model = priced().resolve("script:m").unwrap();
    let usage = Usage { input_tokens: 1_000, output_tokens: 10, cached_input_tokens: 400, estimated: false };
    assert_eq!(model.cost(&usage).as_pico(), 600 * 3_000_000 + 400 * 2 + 10 * 15_000_000);
    assert!(model.is_priced());

    let bound = model.token_bound(&request());
    let all =
        Usage { input_tokens: bound.input, output_tokens: 100, cached_input_tokens: 0, estimated: false };
    assert_eq!((bound.output, model.worst_case(&request())), (100, model.cost(&all)));
}

proptest! {
    /// Whatever a provider counts within the bound, it never costs more than was reserved; and the bound covers a
    /// tokenizer that makes a token of every byte and a template of 16 tokens a message.
    #[test]
    fn the_reservation_covers_the_bill(
        texts in proptest::collection::vec("\\PC{0,60}", 1..4), max_tokens in 1u32..5_000,
        used in (0.0..=1.0f64, 0.0..=1.0f64, 0.0..=1.0f64),
    ) {
        let bytes: u64 = texts.iter().map(|text| text.len() as u64).sum();
        let messages: Vec<_> = texts.into_iter().map(Message::user).collect();
        let template = 16 * messages.len() as u64;
        let request = ModelRequest { messages, ..ModelRequest::new("script:m", "", max_tokens) };
        let model = priced().resolve("script:m").unwrap();
        let bound = model.token_bound(&request);
        prop_assert!(bound.input >= bytes + template);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let part = |of: u64, share: f64| (of as f64 * share) as u64;
        let input_tokens = part(bound.input, used.0);
        let usage = Usage {
            input_tokens,
            output_tokens: part(bound.output, used.1),
            cached_input_tokens: part(input_tokens, used.2),
            estimated: false,
        };
        prop_assert!(model.cost(&usage) <= model.worst_case(&request));
    }
}
