//! An OpenAI-compatible provider on loopback that keeps its own bill.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

/// Input and output tokens of one call.
pub type Tokens = (u64, u64);

#[derive(Default)]
struct Books {
    /// By the request's id.
    bill: Mutex<BTreeMap<String, Tokens>>,
    called: Condvar,
}

/// The provider; it serves until the test ends.
pub struct Provider {
    /// With its `/v1`.
    pub url: String,
    books: Arc<Books>,
}

impl Provider {
    /// Answers every call after `latency`. A call is billed as it arrives, whether or not anybody stays for the answer.
    pub fn start(latency: Duration) -> Self {
        Self::with_surcharge(latency, 0)
    }

    /// Bills so many more output tokens a call than it gives, whatever the request allows.
    pub fn with_surcharge(latency: Duration, surcharge: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let books = Arc::new(Books::default());
        let router = Router::new()
            .route("/v1/chat/completions", post(move |books, body| complete(books, body, latency, surcharge)))
            .with_state(Arc::clone(&books));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        Self { url, books }
    }

    /// What was billed so far.
    pub fn bill(&self) -> BTreeMap<String, Tokens> {
        self.books.bill.lock().unwrap().clone()
    }

    /// Waits until so many calls have come.
    #[track_caller]
    pub fn await_calls(&self, calls: u64) {
        let bill = self.books.bill.lock().unwrap();
        let limit = Duration::from_secs(60);
        let (bill, waited) =
            self.books.called.wait_timeout_while(bill, limit, |bill| (bill.len() as u64) < calls).unwrap();
        assert!(!waited.timed_out(), "only {} calls of {calls} came", bill.len());
    }
}

async fn complete(
    State(books): State<Arc<Books>>,
    Json(request): Json<Value>,
    latency: Duration,
    surcharge: u64,
) -> ([(&'static str, String); 1], Json<Value>) {
    let words = |text: &str| text.split_whitespace().count() as u64;
    let prompt =
        request["messages"].as_array().unwrap().iter().map(|m| words(m["content"].as_str().unwrap())).sum();
    let (id, text, completion) = {
        let mut bill = books.bill.lock().unwrap();
        let nth = bill.len();
        let id = format!("req-{nth:05}");
        // calls differ in price, so that a swapped pair shows
        let text = vec!["word"; 1 + nth % 7].join(" ");
        let completion = words(&text) + surcharge;
        bill.insert(id.clone(), (prompt, completion));
        books.called.notify_all();
        (id, text, completion)
    };
    tokio::time::sleep(latency).await;
    let answer = json!({
        "id": id, "object": "chat.completion", "model": request["model"],
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } }],
        "usage": { "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion },
    });
    ([("x-request-id", id)], Json(answer))
}
