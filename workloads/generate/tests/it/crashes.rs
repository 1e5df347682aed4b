//! Shards that die at any await: each index stands in the parts exactly once, and no answer is paid for twice but those
//! that were on their way.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io::Cursor;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use serde_json::json;
use windrow_core::{JobId, SystemClock};
use windrow_engine::testing::MemoryEngine;
use windrow_engine::{Outcome, RunError, Stop, Workload};
use windrow_generate::Generate;
use windrow_generate::record::{PartLine, PartReader};
use windrow_generate::sampler::{Purpose, RecordSeed};
use windrow_generate::seed::{SeedLimits, SeedReader, normalise};

use crate::stub::Stub;

const TEMPLATE: &str = "template:\n  name: two\n  steps:\n    - {id: a, model: m, prompt: 'first {{ n }}'}\n    - {id: b, model: m, prompt: 'second {{ steps.a.output }}'}\n";
const RECORDS: u64 = 130;
const CONCURRENCY: usize = 5;

/// What a shard is loaded with, and the objects that it reads.
fn input(engine: &MemoryEngine) -> serde_json::Value {
    let seeds: String = (0..40).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let mut copy = Vec::new();
    let reader = SeedReader::open(seeds.as_bytes(), SeedLimits::default()).unwrap();
    let (_, index) = normalise(reader, &[], &mut copy).unwrap();
    engine.add_object("seed.jsonl", copy.clone());
    engine.add_object("seed.index", index.to_bytes());
    let step = json!({"model": "stub:m", "max_tokens": 10});
    json!({
        "kind": "shard",
        "reopened": 0,
        "job": JobId::new(&*SystemClock::shared()),
        "seed": {"key": "seed.jsonl", "index_key": "seed.index", "records": 40, "bytes": copy.len()},
        "pinned": {
            "spec": {
                "template": "two@1", "seed": "sample:poems", "records": RECORDS, "random_seed": 5,
                "concurrency": CONCURRENCY,
            },
            "template": {"id": "two", "name": "two", "version": 1, "text": TEMPLATE},
            "steps": {"a": step, "b": step},
        },
    })
}

/// Runs the shard until it ends, dropping it after so many polls each time; gives how often that was.
async fn run_with_crashes(engine: &Arc<MemoryEngine>, stub: &Arc<Stub>, draws: RecordSeed) -> usize {
    let input = input(engine);
    let scratch = tempfile::tempdir().unwrap();
    let mut draws = draws.draws(Purpose::Pairing);
    let mut crashes = 0;
    loop {
        let models = stub.models(SystemClock::shared());
        let (ctx, _stop) = engine.context(models, SystemClock::shared(), scratch.path().to_owned());
        let mut run = pin!(Generate.run(ctx, input.clone()));
        // mostly few, sometimes enough to get anywhere
        let most = 2 << draws.below(6);
        let mut polls = 1 + draws.below(most);
        let outcome = poll_fn(|cx| {
            polls -= 1;
            match run.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if polls == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        match outcome.await {
            Some(Ok(Outcome::Done(output))) => {
                assert_eq!(output.result["records"], RECORDS);
                return crashes;
            }
            Some(other) => panic!("{other:?}"),
            None => crashes += 1,
        }
        assert!(crashes < 10_000, "the shard makes no progress");
    }
}

#[tokio::test]
async fn a_shard_that_dies_at_any_await_gives_each_index_once() {
    let mut crashes_in_all = 0;
    for seed in 0..30 {
        let shard = json!({"schema_version": 1, "first": 0, "count": RECORDS});
        let engine = MemoryEngine::new("generate", shard, Some("1".parse().unwrap()));
        let stub = Stub::slow();
        let crashes = run_with_crashes(&engine, &stub, RecordSeed { random_seed: seed, index: 0 }).await;
        crashes_in_all += crashes;

        let state = engine.state();
        let mut seen = BTreeSet::new();
        for part in &state.parts {
            let bytes = &state.objects[&part.key];
            let mut reader = PartReader::open(Cursor::new(bytes)).unwrap();
            while let Some(line) = reader.next().unwrap() {
                let PartLine::Record(record) = line else { panic!("a reject") };
                assert!(seen.insert(record.index), "index {} stands twice", record.index);
            }
        }
        assert_eq!(seen, (0..RECORDS).collect(), "seed {seed}, {crashes} crashes");

        let mut asked: BTreeMap<(String, Option<u64>), usize> = BTreeMap::new();
        for call in stub.bill.lock().unwrap().iter() {
            *asked.entry(call.clone()).or_default() += 1;
        }
        let twice: usize = asked.values().map(|times| times - 1).sum();
        assert!(twice <= crashes * CONCURRENCY, "{twice} calls were paid twice in {crashes} crashes");
    }
    assert!(crashes_in_all > 100, "only {crashes_in_all} crashes: the test proves little");
}

/// Two drains in the middle of a shard, each with calls on their way, and then a run to the end.
#[tokio::test]
async fn a_drained_shard_waits_for_its_calls_and_pays_none_again() {
    let shard = json!({"schema_version": 1, "first": 0, "count": RECORDS});
    let engine = MemoryEngine::new("generate", shard, Some("1".parse().unwrap()));
    let stub = Stub::echo();
    let scratch = tempfile::tempdir().unwrap();
    let input = input(&engine);
    let context = || {
        engine.context(stub.models(SystemClock::shared()), SystemClock::shared(), scratch.path().to_owned())
    };
    for _ in 0..2 {
        stub.close();
        let asked = stub.calls();
        let (ctx, stop) = context();
        let run = tokio::spawn(Generate.run(ctx.clone(), input.clone()));
        while stub.calls() < asked + CONCURRENCY {
            tokio::task::yield_now().await;
        }
        stop.stop(Stop::Draining);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!run.is_finished(), "the run left its calls behind");
        stub.open();
        let drained = run.await.unwrap();
        assert!(matches!(drained, Err(RunError::Stopped(Stop::Draining))), "{drained:?}");
        assert_eq!(stub.calls(), asked + CONCURRENCY, "a drained run asks for nothing more");
        ctx.settle_all().await.unwrap();
    }
    let (ctx, _stop) = context();
    let ended = Generate.run(ctx, input).await;
    assert!(matches!(&ended, Ok(Outcome::Done(output)) if output.result["records"] == RECORDS), "{ended:?}");
    assert_eq!(stub.calls() as u64, 2 * RECORDS, "a call was paid twice");
}
