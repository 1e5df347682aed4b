//! The client against a local server that answers well, badly, late or not at all.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use windrow_core::{ErrorClass, SystemClock};
use windrow_models::{
    ApiKey, Billing, FinishReason, ModelError, ModelProvider, ModelRequest, ModelResponse, OpenAi,
    ProviderSettings, Tokenizer, Usage,
};
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn client(base_url: &str) -> OpenAi {
    let api_key = Some(ApiKey::new("sk-test"));
    let settings = ProviderSettings { base_url: base_url.parse().unwrap(), api_key, price: None };
    OpenAi::new("openai", &settings, SystemClock::shared()).unwrap()
}

fn request() -> ModelRequest {
    ModelRequest {
        timeout: Some(Duration::from_secs(20)),
        ..ModelRequest::new("openai:gpt-4o-mini", "Say hi.", 50)
    }
}

fn completion() -> Value {
    json!({"id": "chatcmpl-1", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}})
}

async fn ask(answer: ResponseTemplate) -> Result<ModelResponse, ModelError> {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(answer).mount(&server).await;
    client(&server.uri()).complete(&request()).await
}

/// A server that reads a request and then writes exactly these bytes.
async fn ask_raw(answer: &'static [u8]) -> ModelError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let mut seen = Vec::new();
        while !seen.windows(12).any(|bytes| bytes == b"\"max_tokens\"") {
            let read = socket.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..read]);
        }
        socket.write_all(answer).await.unwrap();
    });
    let error = client(&url).complete(&request()).await.unwrap_err();
    server.await.unwrap();
    error
}

#[tokio::test]
async fn an_answer_comes_with_usage_and_request_id() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/chat/completions"))
        .and(header("authorization", "Bearer sk-test"))
        .and(body_partial_json(json!({"model": "gpt-4o-mini", "max_tokens": 50,
            "messages": [{"role": "user", "content": "Say hi."}]})))
        .respond_with(
            ResponseTemplate::new(200).insert_header("x-request-id", "req-7").set_body_json(completion()),
        )
        .mount(&server)
        .await;
    let response = client(&server.uri()).complete(&request()).await.unwrap();
    assert_eq!(response.text, "hi");
    assert_eq!(
        response.usage,
        Usage { input_tokens: 12, output_tokens: 3, cached_input_tokens: 4, estimated: false }
    );
    assert_eq!(response.finish_reason, FinishReason::Stop);
    assert_eq!(response.provider_request_id.as_deref(), Some("req-7"));
    assert!(response.latency > Duration::ZERO);
}

#[tokio::test]
async fn a_call_says_where_it_stands_in_its_trace() {
    let server = MockServer::start().await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = Mock::given(header("traceparent", traceparent));
    traced
        .respond_with(ResponseTemplate::new(200).set_body_json(completion()))
        .expect(1)
        .mount(&server)
        .await;
    let asked = ModelRequest { traceparent: Some(traceparent.parse().unwrap()), ..request() };
    assert_eq!(client(&server.uri()).complete(&asked).await.unwrap().text, "hi");
    assert_eq!(asked.hash(), request().hash(), "an answer is the same in every trace");
}

#[tokio::test]
async fn without_usage_the_local_bound_stands_and_says_so() {
    let mut body = completion();
    body.as_object_mut().unwrap().remove("usage");
    let response = ask(ResponseTemplate::new(200).set_body_json(body)).await.unwrap();
    let bound = Tokenizer::for_model("gpt-4o-mini").bound(&request());
    let expected =
        Usage { input_tokens: bound.input, output_tokens: 50, cached_input_tokens: 0, estimated: true };
    assert_eq!(response.usage, expected);
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_back() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "7");
    let error =
        ask(busy.set_body_json(json!({"error": {"message": "slow down", "code": "rate_limit"}}))).await;
    let error = error.unwrap_err();
    assert_eq!((error.class, &*error.code), (ErrorClass::Transient, "model_rate_limited"));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(error.billing(), Billing::Billed(Usage::default()));
    assert!(error.message.contains("slow down") && !error.provider_fault, "{error:?}");
}

#[tokio::test]
async fn a_server_error_is_transient_and_the_providers_fault() {
    let error = ask(ResponseTemplate::new(500).set_body_string("boom")).await.unwrap_err();
    assert_eq!((error.class, &*error.code), (ErrorClass::Transient, "model_unavailable"));
    assert!(error.provider_fault && error.message.contains("boom"), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let error =
        ask(ResponseTemplate::new(307).insert_header("location", "http://elsewhere/")).await.unwrap_err();
    assert_eq!((error.class, &*error.code), (ErrorClass::Permanent, "model_bad_endpoint"));
}

#[tokio::test]
async fn a_late_answer_may_have_been_billed() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_body_json(completion()).set_delay(Duration::from_secs(30));
    Mock::given(method("POST")).respond_with(slow).mount(&server).await;
    let hasty = ModelRequest { timeout: Some(Duration::from_millis(100)), ..request() };
    let error = client(&server.uri()).complete(&hasty).await.unwrap_err();
    assert_eq!((error.class, &*error.code), (ErrorClass::Transient, "model_timeout"));
    assert_eq!(error.billing(), Billing::Unknown);
}

#[tokio::test]
async fn a_page_instead_of_json_is_malformed() {
    let error = ask(ResponseTemplate::new(200).set_body_string("<html>login</html>")).await.unwrap_err();
    assert_eq!((error.class, &*error.code), (ErrorClass::Transient, "model_malformed_answer"));
    assert_eq!(error.billing(), Billing::Unknown);
}

#[tokio::test]
async fn a_refusal_is_billed_by_its_usage() {
    let mut body = completion();
    body["choices"][0]["message"] = json!({"role": "assistant", "content": null, "refusal": "I can't."});
    let error = ask(ResponseTemplate::new(200).set_body_json(body)).await.unwrap_err();
    assert_eq!(error.code, "model_refused");
    assert!(matches!(error.billing(), Billing::Billed(usage) if usage.input_tokens == 12), "{error:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_may_have_been_billed() {
    let error =
        ask_raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":")
            .await;
    assert_eq!((error.class, &*error.code), (ErrorClass::Transient, "model_connection_lost"));
    assert_eq!(error.billing(), Billing::Unknown);
    let error = ask_raw(b"").await;
    assert_eq!((&*error.code, error.billing()), ("model_connection_lost", Billing::Unknown));
}

#[tokio::test]
async fn a_server_that_is_not_there_was_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).complete(&request()).await.unwrap_err();
    assert_eq!((error.class, &*error.code), (ErrorClass::Transient, "model_unreachable"));
    assert_eq!(error.billing(), Billing::NotSent);
    assert!(error.message.contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn two_hundred_calls_at_once_all_arrive() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(completion());
    Mock::given(method("POST")).respond_with(answer).expect(200).mount(&server).await;
    let client = std::sync::Arc::new(client(&server.uri()));
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.complete(&request()).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().text, "hi");
    }
}
