//! What every engine must do, however far its database is. Each case takes a fresh [`Bench`] whose workload is
//! [`Scripted`](super::Scripted) with its commit on.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use windrow_api_types::worker::{
    Bill, Checkpoint, EndReply, JournalLine, NewArtifact, NewChild, Output, Part, Progress, Reserve,
    Reserved, RunEnd, RunRef, Settle, SettleResult, StopReason, StoredObject,
};
use windrow_core::{CallId, JobError, JobStatus, PicoUsd};

use super::Bench;
use crate::{EngineError, PutPlace};

/// Makes a test of each case for one way to make a bench: an expression that gives a `Bench` and, with it, whatever must
/// outlive it.
#[macro_export]
macro_rules! conformance {
    ($make:expr) => {
        $crate::conformance_cases! { $make;
            a_lease_carries_the_job_and_is_held_once
            a_run_goes_on_from_its_checkpoint
            a_paid_answer_is_replayed_until_it_is_covered
            money_is_exact_to_the_last_pico
            a_stale_run_writes_nothing_but_money
            a_parent_waits_for_its_children
            a_cancel_reaches_the_run
            a_failed_run_is_retried_until_its_attempts_are_used_up
            a_permanent_failure_is_final_and_an_alarm_unless_it_is_the_users
            a_released_run_burns_no_attempt
            a_chunk_is_saved_once_across_runs
            an_error_of_commit_rolls_back_and_ends_the_run
            artifacts_are_recorded_with_the_end
            objects_are_the_jobs_own
            an_error_of_load_ends_the_run
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($make:expr; $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (bench, _outlives) = $make;
            $crate::testing::conformance::$case(&bench).await;
        }
    )*};
}

fn done(result: Value) -> RunEnd {
    RunEnd::Done { output: Output { result, artifacts: vec![] } }
}

fn failed(error: JobError) -> RunEnd {
    RunEnd::Failed { error }
}

fn recorded(status: JobStatus) -> EndReply {
    EndReply::Recorded { status }
}

async fn end(bench: &Bench, run: RunRef, end: RunEnd) -> EndReply {
    bench.engine.end(run, end).await.expect("the end is answered")
}

fn stale<T: std::fmt::Debug>(answer: Result<T, EngineError>) {
    match answer {
        Err(EngineError::Stale) => {}
        other => panic!("{other:?}"),
    }
}

fn invalid<T: std::fmt::Debug>(answer: Result<T, EngineError>) -> String {
    match answer {
        Err(EngineError::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn reserve(bench: &Bench, pico: i64) -> Reserve {
    let (call, worst) = (CallId::new(&*bench.clock), PicoUsd::from_pico(pico));
    Reserve { call, worst, model: "m".to_owned(), step: "s".to_owned() }
}

fn settled(reserve: &Reserve, pico: i64, key: Option<&str>) -> Settle {
    let journal = key.map(|key| JournalLine {
        key: key.to_owned(),
        request_hash: "ab".repeat(32),
        response: json!({"text": key}),
    });
    let bill = Bill {
        cost: PicoUsd::from_pico(pico),
        price_version: "v".to_owned(),
        input_tokens: 1,
        output_tokens: 1,
        cached_tokens: 0,
        duration_ms: 1,
        provider_request_id: None,
        journal,
    };
    settle(reserve, SettleResult::Settled(Box::new(bill)))
}

fn settle(reserve: &Reserve, result: SettleResult) -> Settle {
    Settle { call: reserve.call, model: "m".to_owned(), step: "s".to_owned(), result }
}

pub async fn a_lease_carries_the_job_and_is_held_once(bench: &Bench) {
    let id = bench.submit(json!({"a": 1}), Some(5)).await;
    let lease = bench.claim_one().await;
    assert_eq!((lease.run.job, lease.run.run.0, lease.attempts, lease.suspect), (id, 1, 0, false));
    assert_eq!((&*lease.spec, &lease.input), (&json!({"a": 1}), &json!({"loaded": {"a": 1}})));
    assert_eq!((lease.state, lease.budget), (None, Some(PicoUsd::from_pico(5))));
    assert_eq!(lease.request_id.as_deref(), Some("r1"));
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.status(id).await, JobStatus::Running);

    let progress = Progress { stage: "half".to_owned(), done: 1, total: Some(2) };
    bench.engine.progress(lease.run, progress).await.expect("progress is taken");
    assert_eq!(bench.job(id).await.stage.as_deref(), Some("half"));
    assert_eq!(end(bench, lease.run, done(json!(7))).await, recorded(JobStatus::Completed));
    assert_eq!(bench.job(id).await.output.as_deref(), Some("7"));
    assert_eq!(end(bench, lease.run, done(json!(8))).await, EndReply::Stale);
    assert_eq!(bench.job(id).await.output.as_deref(), Some("7"));
    assert_eq!(bench.written().await, ["ended completed"]);
}

/// Puts a part of a run.
async fn part(bench: &Bench, run: RunRef, first: i64, last: i64) -> Part {
    let name = format!("{first}-{last}.jsonl");
    let place = PutPlace { prefix: "checkpoints", name: &name, content_type: "application/jsonl" };
    let bytes = Bytes::from(format!("{first}\n"));
    let StoredObject { key, size, sha256 } =
        bench.engine.put(run, place, bytes).await.expect("the part is put");
    Part { child_key: String::new(), first, last, key, sha256, size }
}

pub async fn a_run_goes_on_from_its_checkpoint(bench: &Bench) {
    bench.submit(json!({}), None).await;
    let first = bench.claim_one().await.run;
    let part = part(bench, first, 0, 9).await;
    let saved = Checkpoint { state: json!({"next": 10}), parts: vec![part.clone()], ..Checkpoint::default() };
    bench.engine.checkpoint(first, saved.clone()).await.expect("the checkpoint is taken");
    // the reply was lost
    bench.engine.checkpoint(first, saved).await.expect("the same checkpoint again changes nothing");
    end(bench, first, RunEnd::Released).await;

    let second = bench.claim_one().await;
    assert_eq!((second.run.run.0, second.state), (2, Some(json!({"next": 10}))));
    let parts = bench.engine.parts(second.run, None, 10).await.expect("the parts are listed");
    assert_eq!(parts, std::slice::from_ref(&part));
    let rest =
        bench.engine.parts(second.run, Some((part.first, part.key)), 10).await.expect("the parts are listed");
    assert_eq!(rest, []);
}

pub async fn a_paid_answer_is_replayed_until_it_is_covered(bench: &Bench) {
    bench.submit(json!({}), Some(100)).await;
    let first = bench.claim_one().await.run;
    let call = reserve(bench, 10);
    let answer =
        bench.engine.money(first, &[], std::slice::from_ref(&call)).await.expect("money is answered");
    assert_eq!(answer, [Reserved::Granted]);
    bench.engine.money(first, &[settled(&call, 4, Some("0/a"))], &[]).await.expect("the settle is taken");
    end(bench, first, RunEnd::Released).await;

    let second = bench.claim_one().await.run;
    let journal = bench.engine.journal(second).await.expect("the journal is read");
    assert_eq!(journal.len(), 1);
    assert_eq!((journal[0].key.as_str(), &journal[0].response), ("0/a", &json!({"text": "0/a"})));
    assert_eq!((journal[0].cost.as_pico(), journal[0].request_hash.len()), (4, 64));
    let covered = Checkpoint { covered: vec!["0/a".to_owned()], ..Checkpoint::default() };
    bench.engine.checkpoint(second, covered).await.expect("the checkpoint is taken");
    assert_eq!(bench.engine.journal(second).await.expect("the journal is read"), []);
}

pub async fn money_is_exact_to_the_last_pico(bench: &Bench) {
    let cap = 1_003;
    let id = bench.submit(json!({}), Some(cap)).await;
    let run = bench.claim_one().await.run;
    // Forty callers at once: worst case 100, real cost 7.
    let callers = (0..40).map(|_| async {
        let mut calls = 0;
        loop {
            let call = reserve(bench, 100);
            let answer =
                bench.engine.money(run, &[], std::slice::from_ref(&call)).await.expect("money is answered");
            match answer[..] {
                [Reserved::Granted] => {
                    bench
                        .engine
                        .money(run, &[settled(&call, 7, None)], &[])
                        .await
                        .expect("the settle is taken");
                    calls += 1;
                }
                [Reserved::Wait] => tokio::task::yield_now().await,
                _ => return calls,
            }
        }
    });
    let calls: i64 = futures::future::join_all(callers).await.into_iter().sum();
    let job = bench.job(id).await;
    assert_eq!(job.reserved.map(PicoUsd::as_pico), Some(0));
    let spent = calls * 7;
    assert!(spent <= cap && spent + 100 > cap, "{spent} of {cap}");
    let refused = bench.engine.money(run, &[], &[reserve(bench, 1)]).await.expect("money is answered");
    assert_eq!(refused, [Reserved::Exceeded], "a closed tree stays closed");
    let partial = RunEnd::Partial { output: Output { result: json!("some"), artifacts: vec![] } };
    assert_eq!(end(bench, run, partial).await, recorded(JobStatus::BudgetExceeded));
    assert_eq!(bench.job(id).await.output.as_deref(), Some("\"some\""));
}

pub async fn a_stale_run_writes_nothing_but_money(bench: &Bench) {
    let id = bench.submit(json!({}), Some(100)).await;
    let first = bench.claim_one().await.run;
    let call = reserve(bench, 10);
    bench.engine.money(first, &[], std::slice::from_ref(&call)).await.expect("money is answered");
    end(bench, first, RunEnd::Released).await;
    let second = bench.claim_one().await.run;

    let engine = &bench.engine;
    stale(engine.checkpoint(first, Checkpoint { state: json!("stale"), ..Checkpoint::default() }).await);
    stale(engine.save(first, 1, json!({})).await);
    let child = NewChild { key: "c".to_owned(), workload: "scripted".to_owned(), spec: json!({}) };
    stale(engine.add_children(first, vec![child]).await);
    stale(engine.money(first, &[], &[reserve(bench, 1)]).await);
    assert_eq!(end(bench, first, done(json!("stale"))).await, EndReply::Stale);
    engine.money(first, &[settled(&call, 3, None)], &[]).await.expect("a late settle is taken");
    let budget = bench.job(id).await;
    assert_eq!(budget.reserved.map(PicoUsd::as_pico), Some(0));

    assert_eq!(end(bench, second, done(json!(2))).await, recorded(JobStatus::Completed));
    assert_eq!(bench.job(id).await.output.as_deref(), Some("2"));
    assert_eq!(bench.written().await, ["ended completed"]);
}

pub async fn a_parent_waits_for_its_children(bench: &Bench) {
    let parent = bench.submit(json!({"parent": true}), None).await;
    let run = bench.claim_one().await.run;
    let child = |key: &str| NewChild {
        key: key.to_owned(),
        workload: "scripted".to_owned(),
        spec: json!({"child": key}),
    };
    bench.engine.add_children(run, vec![child("a"), child("b")]).await.expect("children are made");
    bench.engine.add_children(run, vec![child("b"), child("c")]).await.expect("the same child again is one");
    let unknown = NewChild { workload: "nobody".to_owned(), ..child("d") };
    assert!(invalid(bench.engine.add_children(run, vec![unknown]).await).contains("nobody"));
    assert_eq!(end(bench, run, RunEnd::Await).await, recorded(JobStatus::Waiting));

    let leases = bench.claim().await;
    assert_eq!(leases.len(), 3);
    for lease in leases {
        assert!(lease.is_child);
        let part = part(bench, lease.run, 0, 9).await;
        let checkpoint = Checkpoint { state: json!("half"), parts: vec![part], ..Checkpoint::default() };
        bench.engine.checkpoint(lease.run, checkpoint).await.expect("the checkpoint is taken");
        let key = lease.child_key.expect("a child has a key");
        assert_eq!(end(bench, lease.run, done(json!({"from": key}))).await, recorded(JobStatus::Completed));
    }
    assert_eq!(bench.status(parent).await, JobStatus::Queued);
    let again = bench.claim_one().await;
    assert_eq!((again.run.job, again.run.run.0, again.attempts), (parent, 2, 0));
    let page = bench.engine.children(again.run, None, 2).await.expect("children are listed");
    let keys: Vec<&str> = page.iter().map(|child| child.key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!((page[0].status, &page[0].result), (JobStatus::Completed, &Some(json!({"from": "a"}))));
    assert_eq!(page[0].state, Some(json!("half")));
    let rest = bench.engine.children(again.run, Some(page[1].id), 2).await.expect("children are listed");
    assert_eq!(rest.len(), 1);
    let parts = bench.engine.parts(again.run, None, 10).await.expect("parts are listed");
    let mut keys: Vec<&str> = parts.iter().map(|part| part.child_key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(end(bench, again.run, done(json!("all"))).await, recorded(JobStatus::Completed));
}

pub async fn a_cancel_reaches_the_run(bench: &Bench) {
    let id = bench.submit(json!({}), None).await;
    let run = bench.claim_one().await.run;
    assert_eq!(bench.stop_of(run).await, None);
    bench.cancel(id).await;
    assert_eq!(bench.stop_of(run).await, Some(StopReason::Cancelled));
    assert_eq!(end(bench, run, failed(JobError::cancelled())).await, recorded(JobStatus::Cancelled));
    assert_eq!(bench.written().await, ["ended cancelled"]);
}

pub async fn a_failed_run_is_retried_until_its_attempts_are_used_up(bench: &Bench) {
    let id = bench.submit(json!({}), None).await;
    for attempt in 0..5 {
        let lease = bench.claim_one().await;
        assert_eq!((lease.run.run.0, lease.attempts), (i64::from(attempt) + 1, attempt));
        let reply = end(bench, lease.run, failed(JobError::transient("flaky", "try again"))).await;
        let status = if attempt < 4 { JobStatus::Queued } else { JobStatus::Failed };
        assert_eq!(reply, recorded(status));
        // the longest delay of the policy
        bench.advance(Duration::from_secs(300)).await;
    }
    assert!(bench.claim().await.is_empty());
    let job = bench.job(id).await;
    assert_eq!((job.status, job.code.as_deref()), (JobStatus::Failed, Some("flaky")));
    assert_eq!(bench.dead_letters().await, 1);
}

pub async fn a_permanent_failure_is_final_and_an_alarm_unless_it_is_the_users(bench: &Bench) {
    for (error, dead_letters) in
        [(JobError::user("encrypted", "no"), 0), (JobError::permanent("bug", "no"), 1)]
    {
        bench.submit(json!({}), None).await;
        let run = bench.claim_one().await.run;
        assert_eq!(end(bench, run, failed(error)).await, recorded(JobStatus::Failed));
        assert_eq!(bench.dead_letters().await, dead_letters);
    }
}

pub async fn a_released_run_burns_no_attempt(bench: &Bench) {
    bench.submit(json!({}), None).await;
    for run in 1..=7 {
        let lease = bench.claim_one().await;
        assert_eq!((lease.run.run.0, lease.attempts, lease.suspect), (run, 0, false));
        assert_eq!(end(bench, lease.run, RunEnd::Released).await, recorded(JobStatus::Queued));
    }
}

pub async fn a_chunk_is_saved_once_across_runs(bench: &Bench) {
    bench.submit(json!({}), None).await;
    let first = bench.claim_one().await.run;
    bench.engine.save(first, 2, json!("two")).await.expect("the chunk is saved");
    bench.engine.save(first, 2, json!("other")).await.expect("the chunk is there");
    bench.engine.save(first, 1, json!("one")).await.expect("the chunk is saved");
    end(bench, first, RunEnd::Released).await;
    let second = bench.claim_one().await.run;
    assert_eq!(bench.engine.saved(second).await.expect("the chunks are listed"), [1, 2]);
    bench.engine.save(second, 1, json!("other")).await.expect("the chunk is there");
    assert_eq!(bench.written().await, ["chunk 1: \"one\"", "chunk 2: \"two\""]);
}

pub async fn an_error_of_commit_rolls_back_and_ends_the_run(bench: &Bench) {
    let id = bench.submit(json!({"commit_error": "completed"}), None).await;
    let run = bench.claim_one().await.run;
    assert_eq!(end(bench, run, done(json!("lost"))).await, recorded(JobStatus::Failed));
    let job = bench.job(id).await;
    assert_eq!((job.code.as_deref(), job.output), (Some("commit_error"), None));
    assert_eq!(bench.written().await, ["ended failed"]);

    let id = bench.submit(json!({"commit_error": "always"}), None).await;
    let run = bench.claim_one().await.run;
    assert_eq!(end(bench, run, done(json!("lost"))).await, recorded(JobStatus::Failed));
    assert_eq!(bench.status(id).await, JobStatus::Failed);
    assert_eq!(bench.written().await, ["ended failed"]);
}

pub async fn artifacts_are_recorded_with_the_end(bench: &Bench) {
    let id = bench.submit(json!({}), None).await;
    let run = bench.claim_one().await.run;
    let place = PutPlace { prefix: "artifacts", name: "data.jsonl", content_type: "application/jsonl" };
    let object = bench.engine.put(run, place, Bytes::from_static(b"{}\n")).await.expect("the object is put");
    let artifact = NewArtifact {
        kind: "jsonl".to_owned(),
        filename: "data.jsonl".to_owned(),
        content_type: "application/jsonl".to_owned(),
        object,
    };
    let output = Output { result: json!(1), artifacts: vec![artifact.clone()] };
    assert_eq!(end(bench, run, RunEnd::Done { output }).await, recorded(JobStatus::Completed));
    assert_eq!(bench.artifacts(id).await, [("jsonl".to_owned(), 1)]);

    // An object of another job is not this one's to hand over.
    let id = bench.submit(json!({}), None).await;
    let run = bench.claim_one().await.run;
    let output = Output { result: json!(1), artifacts: vec![artifact] };
    assert_eq!(end(bench, run, RunEnd::Done { output }).await, recorded(JobStatus::Failed));
    assert_eq!(bench.job(id).await.code.as_deref(), Some("bad_artifact"));
    assert_eq!(bench.artifacts(id).await, []);
}

async fn read(bench: &Bench, run: RunRef, key: &str, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let mut stream = bench.engine.get(run, key, range).await.expect("the object is there");
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.expect("the object is read"));
    }
    bytes
}

pub async fn objects_are_the_jobs_own(bench: &Bench) {
    bench.submit(json!({}), None).await;
    let run = bench.claim_one().await.run;
    let place = PutPlace { prefix: "outputs", name: "a/b.txt", content_type: "text/plain" };
    let object =
        bench.engine.put(run, place, Bytes::from_static(b"0123456789")).await.expect("the object is put");
    assert_eq!(object.size, 10);
    let again =
        bench.engine.put(run, place, Bytes::from_static(b"0123456789")).await.expect("the same again");
    assert_eq!(again, object);
    assert!(
        invalid(bench.engine.put(run, place, Bytes::from_static(b"other")).await).contains("other bytes")
    );
    assert_eq!(read(bench, run, &object.key, None).await, b"0123456789");
    assert_eq!(read(bench, run, &object.key, Some(2..5)).await, b"234");

    let file = tempfile_with(b"from a file");
    let place = PutPlace { name: "file.txt", ..place };
    let object = bench.engine.put_file(run, place, &file).await.expect("the file is put");
    assert_eq!(bench.engine.put_file(run, place, &file).await.expect("the same again"), object);
    assert_eq!(read(bench, run, &object.key, None).await, b"from a file");
    std::fs::remove_file(file).expect("the file was made");

    let foreign = format!("outputs/{}/x/y", "0".repeat(32));
    for key in [foreign.as_str(), "backups/all.tar", &format!("{}x", object.key)] {
        let answer = bench.engine.get(run, key, None).await.map(drop);
        assert!(matches!(answer, Err(EngineError::NotFound(_))), "{key}: {answer:?}");
    }
    let outside = PutPlace { prefix: "sample-datasets", ..place };
    assert!(invalid(bench.engine.put(run, outside, Bytes::new()).await).contains("sample-datasets"));
    let traversal = PutPlace { name: "../x", ..place };
    invalid(bench.engine.put(run, traversal, Bytes::new()).await);
}

/// A file that no other test uses at the same time.
fn tempfile_with(bytes: &[u8]) -> std::path::PathBuf {
    let unique = windrow_core::JobId::new(&*windrow_core::SystemClock::shared());
    let path = std::env::temp_dir().join(format!("windrow-conformance-{unique}"));
    std::fs::write(&path, bytes).expect("the temp directory is writable");
    path
}

pub async fn an_error_of_load_ends_the_run(bench: &Bench) {
    let id = bench.submit(json!({"load_error": "no template"}), None).await;
    assert!(bench.claim().await.is_empty());
    let job = bench.job(id).await;
    assert_eq!((job.status, job.code.as_deref()), (JobStatus::Failed, Some("load_error")));
}
