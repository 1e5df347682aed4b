//! A model provider that a test scripts, and that keeps its own bill.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use windrow_core::{PicoUsd, SharedClock};
use windrow_models::{
    FinishReason, ModelError, ModelProvider, ModelRequest, ModelResponse, Models, ModelsSettings, Price,
    Usage,
};

type Script = dyn Fn(&ModelRequest) -> Result<String, ModelError> + Send + Sync;

/// Asked as `stub:m`. Each call uses 100 tokens in and 10 out.
pub struct Stub {
    script: Box<Script>,
    /// What was asked and answered: the last message and the seed.
    pub bill: Mutex<Vec<(String, Option<u64>)>>,
    calls: AtomicUsize,
    /// How often each call gives way to others.
    yields: usize,
    /// Closed while calls are to be on their way.
    gate: watch::Sender<bool>,
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stub")
    }
}

/// What a call of the stub costs: 100 · 1 + 10 · 10 µUSD.
pub const CALL_USD: &str = "0.0002";

impl Stub {
    pub fn new(
        script: impl Fn(&ModelRequest) -> Result<String, ModelError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::with_yields(script, 0))
    }

    fn with_yields(
        script: impl Fn(&ModelRequest) -> Result<String, ModelError> + Send + Sync + 'static,
        yields: usize,
    ) -> Self {
        Self {
            script: Box::new(script),
            bill: Mutex::default(),
            calls: AtomicUsize::new(0),
            yields,
            gate: watch::Sender::new(true),
        }
    }

    /// Answers with the prompt, a while after it was asked.
    pub fn slow() -> Arc<Self> {
        Arc::new(Self::with_yields(|request| Ok(prompt(request).to_owned()), 3))
    }

    /// From now on calls are billed and stay on their way, until [`Self::open`].
    pub fn close(&self) {
        self.gate.send_replace(false);
    }

    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Answers with the prompt itself.
    pub fn echo() -> Arc<Self> {
        Self::new(|request| Ok(format!("re: {}", prompt(request))))
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn models(self: &Arc<Self>, clock: SharedClock) -> Arc<Models> {
        let usd = |text: &str| text.parse::<PicoUsd>().unwrap();
        let price = Price::per_million(usd("1"), usd("10"));
        let models = Models::new(ModelsSettings::default(), clock).unwrap();
        Arc::new(models.with_provider(Arc::clone(self) as Arc<dyn ModelProvider>, Some(price)).unwrap())
    }
}

/// The last message.
pub fn prompt(request: &ModelRequest) -> &str {
    request.messages.last().map(|message| message.content.as_str()).unwrap_or_default()
}

#[async_trait]
impl ModelProvider for Stub {
    fn name(&self) -> &str {
        "stub"
    }

    async fn complete(&self, request: &ModelRequest) -> Result<ModelResponse, ModelError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        for _ in 0..self.yields {
            tokio::task::yield_now().await;
        }
        let text = (self.script)(request)?;
        self.bill.lock().unwrap().push((prompt(request).to_owned(), request.seed));
        self.gate.subscribe().wait_for(|open| *open).await.unwrap();
        Ok(ModelResponse {
            text,
            usage: Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() },
            finish_reason: FinishReason::Stop,
            provider_request_id: None,
            latency: Duration::ZERO,
        })
    }
}
