//! The bodies as they go over the wire, and what requests refuse.

mod any_body;

use serde_json::json;
use windrow_api_types::{
    ApiKey, Artifact, BatchItem, CreateApiKey, CreateUpload, CreatedApiKey, CreatedUpload, DeadLetter, Event,
    Job, JobCost, JobFailure, JobLinks, JobListQuery, JobProgress, JobTokens, LedgerRow, Page, Problem,
    Ready, Run, SCHEMA_VERSION, SubmitJob, Submitted, User,
};
use windrow_core::{
    ErrorClass, FieldError, JobId, JobStatus, LedgerKind, OwnerId, PicoUsd, Priority, Role, RunOutcome,
    Scope, Timestamp, UserStatus,
};

const ID: &str = "019b7751-6400-7000-8000-000000000001";

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>() -> T {
    ID.parse().expect("a UUID")
}

fn at() -> Timestamp {
    "2026-01-01T00:00:00.123Z".parse().expect("a time")
}

fn failure() -> JobFailure {
    JobFailure {
        class: ErrorClass::Transient,
        code: "timeout".to_owned(),
        message: "no answer within 60 s".to_owned(),
        user_fault: false,
    }
}

fn job() -> Job {
    Job {
        schema_version: SCHEMA_VERSION,
        id: id::<JobId>(),
        workload: "generate".to_owned(),
        spec: json!({"records": 200}),
        status: JobStatus::Running,
        stage: Some("shards".to_owned()),
        progress: JobProgress { done: 50, total: Some(200) },
        priority: Priority::Normal,
        budget_usd: Some(PicoUsd::from_usd(2)),
        budget_counts: Some(vec![LedgerKind::Model, LedgerKind::Compute]),
        cost: JobCost {
            estimate: None,
            actual: PicoUsd::from_pico(13_200_000_000),
            reserved: PicoUsd::from_pico(1),
        },
        tokens: JobTokens { input: 10, output: 20, cached: 0 },
        records: 50,
        run: 2,
        attempts: 1,
        lost: 0,
        parent_id: None,
        child_key: None,
        request_id: Some("r-1".to_owned()),
        trace_id: None,
        created_at: at(),
        updated_at: at(),
        run_at: None,
        timeout_at: Some(at()),
        started_at: Some(at()),
        ended_at: None,
        error: Some(failure()),
        result: None,
        links: JobLinks::of(id()),
    }
}

#[test]
fn a_job_body() {
    insta::assert_json_snapshot!(Submitted { job: job(), reused: true });
}

#[test]
fn a_problem_body() {
    let problem = Problem::new(422, "invalid_spec", "the spec does not fit the workload's schema")
        .with_errors(vec![FieldError::new("/spec/records", "0 is less than the minimum of 1")])
        .with_request_id("r-1");
    insta::assert_json_snapshot!(problem);
    let item = BatchItem { status: 202, id: Some(id()), reused: false, problem: None };
    insta::assert_json_snapshot!("a_batch_item", item);
}

#[test]
fn bodies_around_a_job() {
    let run = Run {
        run: 1,
        outcome: Some(RunOutcome::Retried),
        stage: None,
        done: 3,
        total: None,
        worker: Some("host:17".to_owned()),
        started_at: Some(at()),
        ended_at: Some(at()),
        retry_at: Some(at()),
        error: Some(failure()),
    };
    insta::assert_json_snapshot!("a_run", run);
    let event = Event {
        schema_version: SCHEMA_VERSION,
        id: Some("0.1.1".to_owned()),
        job_id: id(),
        owner: OwnerId(7),
        trace_id: None,
        kind: "started".to_owned(),
        at: at(),
        payload: json!({"run": 1}),
    };
    insta::assert_json_snapshot!("an_event", event);
    let row = LedgerRow {
        call_id: Some(id()),
        job_id: id(),
        run: 1,
        kind: LedgerKind::Model,
        state: "settled".to_owned(),
        step: Some("outline".to_owned()),
        model: Some("offline".to_owned()),
        input_tokens: 10,
        output_tokens: 20,
        cached_tokens: 0,
        cost_usd: PicoUsd::from_pico(125_000_000),
        price_version: Some("2026-11-01".to_owned()),
        duration_ms: Some(12),
        puts: None,
        gets: None,
        provider_request_id: None,
        at: at(),
    };
    insta::assert_json_snapshot!("a_ledger_row", row);
    let letter = DeadLetter {
        job_id: id(),
        owner: OwnerId(7),
        workload: "generate".to_owned(),
        runs: 5,
        attempts: 5,
        poison: false,
        error: Some(failure()),
        submitted_at: at(),
        died_at: at(),
    };
    insta::assert_json_snapshot!("a_dead_letter", letter);
}

#[test]
fn bodies_of_objects() {
    let artifact = Artifact {
        id: id(),
        job_id: id(),
        kind: "jsonl".to_owned(),
        version: 2,
        latest: true,
        filename: "dataset.jsonl".to_owned(),
        content_type: "application/x-ndjson".to_owned(),
        size: 12,
        sha256: "00".repeat(32),
        created_at: at(),
        expires_at: at(),
        download: format!("/v1/artifacts/{ID}/download"),
    };
    insta::assert_json_snapshot!("a_page_of_artifacts", Page { items: vec![artifact], next_cursor: None });
    let upload = CreatedUpload {
        id: id(),
        url: "http://127.0.0.1:8000/blobs/uploads/a/b?expires=1&signature=2".to_owned(),
        method: "PUT".to_owned(),
        headers: [("content-type".to_owned(), "text/csv".to_owned())].into(),
        expires_at: at(),
    };
    insta::assert_json_snapshot!("a_created_upload", upload);
}

#[test]
fn bodies_of_users() {
    let user = User {
        id: OwnerId(7),
        sub: "ada".to_owned(),
        role: Role::Admin,
        status: UserStatus::Active,
        created_at: at(),
        updated_at: at(),
    };
    insta::assert_json_snapshot!("a_user", user);
    let key = ApiKey {
        id: id(),
        name: "nightly".to_owned(),
        hint: "wr_abcd".to_owned(),
        scopes: vec![Scope::Read, Scope::Worker(None)],
        created_at: at(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    insta::assert_json_snapshot!("a_created_key", CreatedApiKey { key, secret: "wr_abcd…".to_owned() });
    let ready = Ready { ready: true, version: "0.1.0".to_owned(), checks: Vec::new(), workloads: Vec::new() };
    insta::assert_json_snapshot!("ready", ready);
}

#[test]
fn requests_refuse_fields_that_they_do_not_know() {
    let refused = |error: serde_json::Error| assert!(error.to_string().contains("unknown field"), "{error}");
    refused(
        serde_json::from_value::<SubmitJob>(json!({"workload": "g", "spec": {}, "budget": "1"})).unwrap_err(),
    );
    refused(
        serde_json::from_value::<CreateUpload>(
            json!({"filename": "a", "content_type": "b", "size": 1, "md5": "x"}),
        )
        .unwrap_err(),
    );
    refused(serde_json::from_value::<JobListQuery>(json!({"state": "queued"})).unwrap_err());
    let scope = serde_json::from_value::<CreateApiKey>(json!({"name": "k", "scopes": ["all"]})).unwrap_err();
    assert!(scope.to_string().contains("worker:WORKLOAD"), "{scope}");
}

#[test]
fn a_job_reads_back() {
    let text = serde_json::to_string(&Submitted { job: job(), reused: false }).unwrap();
    assert_eq!(serde_json::from_str::<Submitted>(&text).unwrap().job, job());
}
