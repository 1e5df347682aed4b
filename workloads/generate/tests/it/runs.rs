//! Whole jobs, from submit to files, on both databases.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use windrow_core::{JobStatus, PicoUsd, SystemClock};
use windrow_models::ModelError;
use windrow_test_support::on_both;

use crate::installation::{Installation, assert_status, indices, lines};
use crate::stub::{CALL_USD, Stub, prompt};

const ONE_STEP: &str = "template:\n  name: one\n  schema_requirements: [n]\n  steps:\n    - {id: a, model: \"stub:m\", max_tokens: 10, prompt: 'number {{ n }}'}\n";

/// A text, then an object that has a number.
const TWO_STEPS: &str = "template:
  name: two
  schema_requirements: [n]
  steps:
    - {id: a, model: \"stub:m\", max_tokens: 10, prompt: 'first {{ n }}'}
    - id: b
      model: \"stub:m\"
      max_tokens: 10
      prompt: 'second {{ n }}'
      output: json
      schema: {type: object, properties: {n: {type: integer}}, required: [n], additionalProperties: false}
";

fn seeds(count: usize) -> Vec<u8> {
    (0..count).map(|n| format!("{{\"n\": {n}}}\n")).collect::<String>().into_bytes()
}

/// A job over 100 numbered seed records, in order.
fn spec(template: &str, seed: &str, records: u64) -> Value {
    json!({
        "template": template, "seed": seed, "records": records, "pairing": "sequential", "shard_size": 25,
        "concurrency": 4, "formats": ["jsonl", "csv", "parquet"],
    })
}

async fn with_stub(
    db: windrow_test_support::TestDb,
    stub: &std::sync::Arc<Stub>,
) -> (Installation, String, String) {
    let installation = Installation::start(db, Some(stub.models(SystemClock::shared()))).await;
    let template = installation.template(ONE_STEP).await;
    let seed = installation.upload(&seeds(100)).await;
    (installation, template, seed)
}

on_both! {
    async fn a_job_gives_each_index_once_in_every_format(db) {
        let it = Installation::start(db, None).await;
        let template = it.template(&ONE_STEP.replace("stub:m", "offline")).await;
        let seed = it.upload(&seeds(100)).await;
        let job = it.submit(spec(&template, &seed, 120), None).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Completed);
        assert_eq!(job.records, 120);
        let records = it.records(job.id).await;
        assert_eq!(indices(&records), (0..120).collect::<Vec<_>>());
        assert_eq!(records[105]["seed_data_id"], "5", "sequential pairing walks the file again");
        let so_far = it.get(&format!("/v1/generate/{}/records", job.id)).await.expect(200).body;
        assert_eq!(lines(&so_far), records);
        assert_eq!(it.artifact(job.id, "csv").await.iter().filter(|b| **b == b'\n').count(), 121);
        assert!(it.artifact(job.id, "parquet").await.starts_with(b"PAR1"));
        let manifest: Value = serde_json::from_slice(&it.artifact(job.id, "manifest").await).unwrap();
        assert_eq!(manifest["records"], 120);
        assert!(!it.artifact(job.id, "card").await.is_empty());
        // somebody else sees nothing of it
        let mut it = it;
        it.be("mallory");
        it.get(&format!("/v1/generate/{}/records", job.id)).await.expect(404);
        it.test.finish().await;
    }

    async fn what_fails_is_rejected_and_leaves_a_gap(db) {
        let stub = Stub::new(|request| match prompt(request) {
            "number 7" | "number 40" => Err(ModelError::permanent("refused", "not this one")),
            text => Ok(text.to_owned()),
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let job = it.submit(spec(&template, &seed, 100), Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Completed);
        let result = job.result.unwrap();
        assert_eq!((&result["records"], &result["shortfall"]), (&json!(98), &json!({"rejected": 2})));
        let found: BTreeSet<u64> = indices(&it.records(job.id).await).into_iter().collect();
        assert_eq!(found, (0..100).filter(|i| ![7, 40].contains(i)).collect());
        let rejects = lines(&it.artifact(job.id, "rejects").await);
        assert_eq!(indices(&rejects), [7, 40]);
        assert_eq!(rejects[0]["error"]["code"], "refused");
        // the bill is the stub's own: a refused call cost nothing
        let spent: PicoUsd = CALL_USD.parse::<PicoUsd>().unwrap();
        let bill: PicoUsd = (0..stub.bill.lock().unwrap().len()).map(|_| spent).sum();
        assert_eq!(job.cost.actual, bill);
        it.test.finish().await;
    }

    async fn too_many_failures_fail_the_job_with_the_commonest_reason(db) {
        let stub = Stub::new(|request| {
            let n: u64 = prompt(request)["number ".len()..].parse().unwrap();
            if n.is_multiple_of(2) { Ok("fine".to_owned()) } else { Err(ModelError::permanent("refused", "odd")) }
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let job = it.submit(spec(&template, &seed, 100), Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Failed);
        let error = job.error.unwrap();
        assert!(error.message.contains("too_many_errors"), "{}", error.message);
        assert!(error.message.contains("refused: odd"), "{}", error.message);
        it.test.finish().await;
    }

    async fn small_shards_judge_each_other_and_stop_what_is_unclaimed(db) {
        let stub = Stub::new(|request| {
            let n: u64 = prompt(request)["number ".len()..].parse().unwrap();
            if n.is_multiple_of(2) { Ok("fine".to_owned()) } else { Err(ModelError::permanent("refused", "odd")) }
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let mut spec = spec(&template, &seed, 600);
        spec["shard_size"] = json!(10);
        let job = it.submit(spec, Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Failed);
        let message = job.error.unwrap().message;
        assert!(message.contains("too_many_errors: ") && message.contains(" × refused: odd"), "{message}");
        // 50 records tell enough; what the worker had in flight by then is done, and the rest is never asked for
        assert!((50..400).contains(&stub.calls()), "{} calls", stub.calls());
        it.test.finish().await;
    }

    async fn an_early_burst_of_failures_is_judged_at_the_fiftieth_record(db) {
        let stub = Stub::new(|request| {
            let n: u64 = prompt(request)["number ".len()..].parse().unwrap();
            if n >= 15 { Ok("fine".to_owned()) } else { Err(ModelError::permanent("refused", "early")) }
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let mut spec = spec(&template, &seed, 100);
        spec["shard_size"] = json!(100);
        let job = it.submit(spec, Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Failed);
        let message = job.error.unwrap().message;
        assert!(message.contains("15 of 50 records failed"), "{message}");
        it.test.finish().await;
    }

    async fn one_failure_is_too_many_when_the_spec_says_so(db) {
        let stub = Stub::new(|request| match prompt(request) {
            "number 30" => Err(ModelError::permanent("refused", "not this one")),
            text => Ok(text.to_owned()),
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let mut spec = spec(&template, &seed, 100);
        spec["on_record_error"] = json!("fail");
        let job = it.submit(spec, Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Failed);
        let error = job.error.unwrap();
        assert!(error.message.contains("record 30"), "{error:?}");
        it.test.finish().await;
    }

    async fn a_retry_accepts_what_failed_and_judges_anew(db) {
        let down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let is_down = std::sync::Arc::clone(&down);
        let stub = Stub::new(move |request| {
            if is_down.load(Ordering::SeqCst) { Err(ModelError::permanent("down", "closed today")) } else { Ok(prompt(request).to_owned()) }
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        // shards that judge themselves, and shards that only together can tell
        for shard_size in [100, 10] {
            down.store(true, Ordering::SeqCst);
            let mut spec = spec(&template, &seed, 200);
            spec["shard_size"] = json!(shard_size);
            let job = it.submit(spec, Some("1")).await;
            let failed = it.finish(job.id).await;
            assert_status(&failed, JobStatus::Failed);
            let retry = format!("/v1/jobs/{}/retry", job.id);
            it.call("POST", &retry, None).await.expect(200);
            let again = it.finish(job.id).await;
            assert_status(&again, JobStatus::Failed);
            let message = again.error.unwrap().message;
            assert!(message.contains("too_many_errors"), "{message}");

            down.store(false, Ordering::SeqCst);
            it.call("POST", &retry, None).await.expect(200);
            let done = it.finish(job.id).await;
            assert_status(&done, JobStatus::Completed);
            let result = done.result.unwrap();
            let (records, rejects) = (result["records"].as_u64().unwrap(), result["rejects"].as_u64().unwrap());
            assert!(rejects >= 50 && records + rejects == 200, "{result}");
            assert_eq!(result["shortfall"], json!({"rejected": rejects}));
            assert_eq!(it.records(job.id).await.len() as u64, records);
        }
        it.test.finish().await;
    }

    async fn a_record_that_failed_its_job_is_made_by_the_retry(db) {
        let down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let is_down = std::sync::Arc::clone(&down);
        let stub = Stub::new(move |request| match prompt(request) {
            "number 30" if is_down.load(Ordering::SeqCst) => Err(ModelError::permanent("refused", "not this one")),
            text => Ok(text.to_owned()),
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let mut spec = spec(&template, &seed, 100);
        spec["on_record_error"] = json!("fail");
        let job = it.submit(spec, Some("1")).await;
        assert_status(&it.finish(job.id).await, JobStatus::Failed);
        down.store(false, Ordering::SeqCst);
        it.post(&format!("/v1/jobs/{}/retry", job.id), &json!({})).await.expect(200);
        assert_status(&it.finish(job.id).await, JobStatus::Completed);
        assert_eq!(indices(&it.records(job.id).await), (0..100).collect::<Vec<_>>());
        it.test.finish().await;
    }

    async fn a_retry_asks_anew_where_the_answers_had_the_wrong_form(db) {
        // by its seed alone: the first three that record 30 is asked with, and the first three of 31, bring about nonsense
        let nonsense: std::sync::Mutex<Vec<(bool, u64)>> = std::sync::Mutex::default();
        let stub = Stub::new(move |request| {
            let question = request.messages[0].content.as_str();
            let last = question.ends_with(" 31");
            if question.starts_with("first") || !(last || question.ends_with(" 30")) {
                return Ok(r#"{"n": 1}"#.to_owned());
            }
            let seed = request.seed.unwrap();
            let mut nonsense = nonsense.lock().unwrap();
            if nonsense.iter().filter(|(of, _)| *of == last).count() < 3 {
                nonsense.push((last, seed));
            }
            let bad = nonsense.contains(&(last, seed));
            Ok(if bad { "no JSON" } else { r#"{"n": 2}"# }.to_owned())
        });
        let (it, _, seed) = with_stub(db, &stub).await;
        let template = it.template(TWO_STEPS).await;
        let mut spec = spec(&template, &seed, 40);
        (spec["on_record_error"], spec["shard_size"], spec["concurrency"]) = (json!("fail"), json!(40), json!(1));
        let job = it.submit(spec, Some("1")).await;
        let failed = it.finish(job.id).await;
        assert_status(&failed, JobStatus::Failed);
        assert!(failed.error.unwrap().message.contains("record 30"));
        let retry = format!("/v1/jobs/{}/retry", job.id);
        it.post(&retry, &json!({})).await.expect(200);
        let failed = it.finish(job.id).await;
        assert!(failed.error.unwrap().message.contains("record 31"), "30 was asked with another seed");
        it.post(&retry, &json!({})).await.expect(200);
        let done = it.finish(job.id).await;
        assert_status(&done, JobStatus::Completed);
        assert_eq!(indices(&it.records(job.id).await), (0..40).collect::<Vec<_>>());
        // what was good was asked for once, the step before the bad one too
        let asked = stub.bill.lock().unwrap().len();
        assert_eq!(asked, 40 + 40 + 3 + 3);
        let calls: PicoUsd = (0..asked).map(|_| CALL_USD.parse::<PicoUsd>().unwrap()).sum();
        assert_eq!(done.cost.actual, calls);
        let manifest: Value = serde_json::from_slice(&it.artifact(job.id, "manifest").await).unwrap();
        assert_eq!(manifest["models"]["stub:m"]["calls"], asked);
        it.test.finish().await;
    }

    async fn a_reject_says_how_often_its_model_was_tried(db) {
        let busy = AtomicUsize::new(0);
        let stub = Stub::new(move |request| match request.messages[0].content.as_str() {
            "second 7" => Err(ModelError::transient("busy", "not now")),
            "second 9" if busy.fetch_add(1, Ordering::SeqCst) < 2 => Err(ModelError::transient("busy", "not now")),
            "second 9" | "second 11" => Ok("no JSON".to_owned()),
            "second 13" => Err(ModelError::permanent("refused", "not this one")),
            _ => Ok(r#"{"n": 1}"#.to_owned()),
        });
        let (it, _, seed) = with_stub(db, &stub).await;
        let template = it.template(TWO_STEPS).await;
        let job = it.submit(spec(&template, &seed, 20), Some("1")).await;
        assert_status(&it.finish(job.id).await, JobStatus::Completed);
        let rejects = lines(&it.artifact(job.id, "rejects").await);
        let tries: Vec<_> = rejects.iter().map(|reject| (reject["index"].as_u64().unwrap(), reject["attempts"].as_u64().unwrap())).collect();
        // five tries of one call; three answers, and two tries more before the first; three answers; one try
        assert_eq!(tries, [(7, 5), (9, 5), (11, 3), (13, 1)]);
        it.test.finish().await;
    }

    async fn a_larger_budget_goes_on_where_the_first_one_ended(db) {
        let stub = Stub::echo();
        let (it, template, seed) = with_stub(db, &stub).await;
        let job = it.submit(spec(&template, &seed, 100), Some("0.01")).await;
        assert_status(&it.finish(job.id).await, JobStatus::BudgetExceeded);
        let first = stub.bill.lock().unwrap().len();
        let retry = format!("/v1/jobs/{}/retry", job.id);
        let problem = it.post(&retry, &json!({"budget_usd": "0.01"})).await.expect(422).json();
        assert_eq!(problem["errors"][0]["pointer"], "/budget_usd");
        it.post(&retry, &json!({"budget": "1"})).await.expect(422);
        let raised = it.post(&retry, &json!({"budget_usd": "1"})).await.expect(200).json();
        assert_eq!((&raised["budget_usd"], &raised["status"]), (&json!("1.00"), &json!("queued")));
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Completed);
        assert!(first < 100);
        assert_eq!(stub.bill.lock().unwrap().len(), 100, "nothing was paid twice");
        let records = lines(&it.artifact_version(job.id, "jsonl", 2).await);
        assert_eq!(indices(&records), (0..100).collect::<Vec<_>>());
        let result = job.result.unwrap();
        assert_eq!((&result["partial"], &result["shortfall"]), (&json!(false), &json!({})));
        it.test.finish().await;
    }

    async fn a_budget_ends_the_job_with_what_it_paid_for(db) {
        let stub = Stub::echo();
        let (it, template, seed) = with_stub(db, &stub).await;
        let job = it.submit(spec(&template, &seed, 100), Some("0.01")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::BudgetExceeded);
        assert!(job.cost.actual <= "0.01".parse().unwrap(), "{}", job.cost.actual);
        let records = it.records(job.id).await;
        assert!(!records.is_empty() && records.len() < 100, "{}", records.len());
        assert_eq!(records.len(), stub.bill.lock().unwrap().len(), "every answer that was paid for is kept");
        let result = job.result.unwrap();
        assert_eq!(result["partial"], true);
        let missing = 100 - records.len() as u64;
        assert_eq!(result["shortfall"], json!({"budget_exceeded": missing}));
        it.test.finish().await;
    }

    async fn duplicates_are_dropped_and_made_again(db) {
        // every answer is one of five, until others are drawn
        let made = std::sync::Arc::new(AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&made);
        let stub = Stub::new(move |_| {
            let n = counter.fetch_add(1, Ordering::SeqCst);
            Ok(if n < 50 { format!("answer {}", n % 5) } else { format!("new answer {n}") })
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let mut spec = spec(&template, &seed, 50);
        spec["dedup"] = json!("exact");
        let job = it.submit(spec.clone(), Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Completed);
        assert_eq!(job.result.unwrap()["shortfall"], json!({"duplicate": 45}));
        assert_eq!(it.records(job.id).await.len(), 5);

        made.store(0, Ordering::SeqCst);
        spec["refill"] = json!(true);
        let job = it.submit(spec, Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Completed);
        let records = it.records(job.id).await;
        assert_eq!(records.len(), 50);
        assert!(indices(&records).into_iter().max().unwrap() >= 50, "further indices were drawn");
        it.test.finish().await;
    }

    async fn a_partition_has_a_folder_a_value(db) {
        let stub = Stub::new(|request| {
            let n: u64 = prompt(request)["number ".len()..].parse().unwrap();
            Ok(["red", "green"][usize::try_from(n % 2).unwrap()].to_owned())
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let mut spec = spec(&template, &seed, 30);
        spec["partition_by"] = json!("a");
        spec["formats"] = json!(["jsonl"]);
        let job = it.submit(spec, Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Completed);
        let groups = it.get(&format!("/v1/jobs/{}/artifacts", job.id)).await.expect(200).json();
        let kinds: BTreeSet<&str> =
            groups.as_array().unwrap().iter().map(|group| group["kind"].as_str().unwrap()).collect();
        let folders = ["jsonl/a=green/part-00000.jsonl", "jsonl/a=red/part-00000.jsonl"];
        assert!(folders.iter().all(|folder| kinds.contains(folder)), "{kinds:?}");
        assert_eq!(lines(&it.artifact(job.id, folders[0]).await).len(), 15);
        it.test.finish().await;
    }

    async fn no_value_of_a_partition_fails_a_paid_job(db) {
        // what paths, keys and file systems take for their own; then a text that is no folder's name at all
        let values = ["a b/ü:%", "..", "", "x\\y\u{1}"];
        let stub = Stub::new(move |request| {
            let n: usize = prompt(request)["number ".len()..].parse().unwrap();
            Ok(values.get(n % 5).map_or_else(|| "long".repeat(100), |value| format!("{value}.")))
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let mut spec = spec(&template, &seed, 30);
        (spec["partition_by"], spec["formats"]) = (json!("a"), json!(["jsonl", "parquet"]));
        let job = it.submit(spec, Some("1")).await;
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Completed);
        assert_eq!(job.result.unwrap()["partition_fallback"], json!({"too_long": 6}));
        let other = it.artifact(job.id, "jsonl/a=__OTHER__/part-00000.jsonl").await;
        assert_eq!(lines(&other).len(), 6);
        assert_eq!(lines(&it.artifact(job.id, "jsonl/a=a b%2Fü%3A%25./part-00000.jsonl").await).len(), 6);
        let card = it.artifact(job.id, "readme").await;
        assert!(card.starts_with(b"---\n") && card == it.artifact(job.id, "card").await);
        it.test.finish().await;
    }

    async fn a_cancelled_job_stops_and_keeps_what_is_checkpointed(db) {
        let (reached, mut reach) = tokio::sync::mpsc::unbounded_channel();
        let stub = Stub::new(move |request| {
            let _ = reached.send(());
            Ok(prompt(request).to_owned())
        });
        let (it, template, seed) = with_stub(db, &stub).await;
        let job = it.submit(spec(&template, &seed, 5_000), Some("5")).await;
        let (worker, engine) = it.worker().await;
        for _ in 0..200 {
            reach.recv().await.unwrap();
        }
        it.post(&format!("/v1/jobs/{}/cancel", job.id), &json!({})).await.expect(200);
        let ended = it.ended(job.id).await;
        assert_status(&ended, JobStatus::Cancelled);
        worker.drain(std::time::Duration::from_secs(5)).await;
        engine.leave().await.unwrap();
        let so_far = it.get(&format!("/v1/generate/{}/records", job.id)).await.expect(200).body;
        let found = indices(&lines(&so_far));
        assert!(!found.is_empty() && found.len() < 5_000, "{}", found.len());
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
    }

    async fn seed_records_are_made_from_an_example(db) {
        let it = Installation::start(db, None).await;
        let wish = json!({
            "example": {"id": 1, "poem": {"title": "Dew", "text": "A drop."}}, "instructions": "About water.",
            "records": 12, "model": "offline",
        });
        let made = it.post("/v1/generate/seed", &wish).await.expect(202).json();
        let job = it.finish(serde_json::from_value(made["id"].clone()).unwrap()).await;
        assert_status(&job, JobStatus::Completed);
        let seeds = it.artifact(job.id, "seed").await;
        assert_eq!(lines(&seeds).len(), 12);
        assert!(lines(&seeds).iter().all(|seed| seed["poem"]["title"].is_string()), "{:?}", lines(&seeds));
        // and they are seed data for a job
        let seed = it.upload(&seeds).await;
        let template = "template:\n  name: t\n  schema_requirements: [poem.title]\n  steps:\n    - {id: a, model: offline, prompt: '{{ poem.title }}'}\n";
        let template = it.template(template).await;
        let job = it.submit(json!({"template": template, "seed": seed, "records": 12}), None).await;
        assert_status(&it.finish(job.id).await, JobStatus::Completed);
        it.test.finish().await;
    }
}
