//! Whatever JSON is sent where a request belongs: it is read or refused with a reason.

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use windrow_api_types::worker::{
    AddChildrenRequest, Checkpoint, ClaimRequest, CompleteRequest, FailRequest, MoneyRequest, Progress,
    RunRef, SaveRequest,
};
use windrow_api_types::{
    BatchRequest, ChangeUser, CreateApiKey, CreateUpload, DeadLetterDecision, Decision, RetryJob,
    SettleUnconfirmed, SubmitJob,
};

/// Every name that a request knows, so that what stands there is looked at.
const NAMES: &[&str] = &[
    "workload",
    "spec",
    "priority",
    "run_at",
    "budget_usd",
    "webhook_url",
    "idempotency_key",
    "jobs",
    "items",
    "counts",
    "reason",
    "name",
    "scopes",
    "expires_at",
    "role",
    "status",
    "filename",
    "content_type",
    "size",
    "sha256",
    "purpose",
    "workloads",
    "slots",
    "wait_ms",
    "suspects",
    "worker",
    "state",
    "parts",
    "covered",
    "free_calls",
    "first",
    "last",
    "key",
    "n",
    "chunk",
    "error",
    "class",
    "code",
    "message",
    "output",
    "result",
    "artifacts",
    "children",
    "settles",
    "reserves",
    "call_id",
    "worst_usd",
    "cost_usd",
    "schema_version",
    "done",
    "total",
    "stage",
    "end",
    "partial",
    "await",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,12}".prop_map(Value::from),
        "high|admin|worker:\\*|transient|1\\.5|-?[0-9]{1,30}|2026-01-01T00:00:00Z|019b7751-6400-7000-8000-000000000001"
            .prop_map(Value::from),
    ]
}

fn body() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(proptest::sample::select(NAMES), inner, 0..8).prop_map(
                |members| {
                    let members: Map<_, _> =
                        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                    Value::Object(members)
                }
            ),
        ]
    })
}

fn is_read_or_refused<T: DeserializeOwned>(text: &str) {
    if let Err(error) = serde_json::from_str::<T>(text) {
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_body_is_a_request_or_refused(body in body(), cut in 0usize..2_000) {
        let text = body.to_string();
        // now and then not all of it came
        let text: String = text.chars().take(if cut < 300 { cut } else { usize::MAX }).collect();
        is_read_or_refused::<SubmitJob>(&text);
        is_read_or_refused::<BatchRequest>(&text);
        is_read_or_refused::<RetryJob>(&text);
        is_read_or_refused::<Decision>(&text);
        is_read_or_refused::<DeadLetterDecision>(&text);
        is_read_or_refused::<SettleUnconfirmed>(&text);
        is_read_or_refused::<CreateApiKey>(&text);
        is_read_or_refused::<CreateUpload>(&text);
        is_read_or_refused::<ChangeUser>(&text);
        is_read_or_refused::<ClaimRequest>(&text);
        is_read_or_refused::<Checkpoint>(&text);
        is_read_or_refused::<SaveRequest>(&text);
        is_read_or_refused::<MoneyRequest>(&text);
        is_read_or_refused::<CompleteRequest>(&text);
        is_read_or_refused::<FailRequest>(&text);
        is_read_or_refused::<AddChildrenRequest>(&text);
        is_read_or_refused::<Progress>(&text);
    }

    #[test]
    fn a_leases_id_is_told_as_it_was_read(text in ".{0,50}|[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}\\.-?[0-9]{0,20}") {
        if let Ok(run) = text.parse::<RunRef>() {
            prop_assert_eq!(run.to_string().parse::<RunRef>(), Ok(run));
        }
    }
}
