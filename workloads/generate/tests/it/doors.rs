//! The routes, on both databases.

use serde_json::{Value, json};
use windrow_core::{JobStatus, PicoUsd, Role, SystemClock};
use windrow_store::{execute, fetch_one};
use windrow_test_support::on_both;

use crate::installation::{Installation, assert_status};
use crate::stub::Stub;

const TEMPLATE: &str = "template:\n  name: poem\n  description: About poems\n  category: qa\n  schema_requirements: [title]\n  steps:\n    - {id: a, model: offline, max_tokens: 20, prompt: 'Ask about {{ title }} by {{ author.name }}'}\n";

fn codes(problem: &Value) -> (u64, &str) {
    (problem["status"].as_u64().unwrap(), problem["code"].as_str().unwrap())
}

on_both! {
    async fn a_template_lives_from_create_to_delete(db) {
        let mut it = Installation::start(db, None).await;
        let made = it.post("/v1/templates", &json!({"document": TEMPLATE})).await.expect(201).json();
        let id = made["id"].as_str().unwrap().to_owned();
        assert_eq!((&made["version"], &made["visibility"]), (&json!(1), &json!("private")));
        assert_eq!(made["analysis"]["undeclared"], json!(["author.name"]));

        let again = it.post("/v1/templates", &json!({"document": TEMPLATE})).await.expect(409).json();
        assert_eq!(codes(&again), (409, "template_name_taken"));
        let versions = format!("/v1/templates/{id}/versions");
        let second = TEMPLATE.replace("Ask about", "Tell about");
        let made = it.post(&versions, &json!({"document": second})).await.expect(201).json();
        assert_eq!(made["version"], 2);
        let renamed = TEMPLATE.replace("name: poem", "name: other");
        it.post(&versions, &json!({"document": renamed})).await.expect(422);

        let list = it.get(&versions).await.expect(200).json();
        assert_eq!(list.as_array().unwrap().len(), 2);
        let diff = it.get(&format!("/v1/templates/{id}/diff?from=1&to=2")).await.expect(200).json();
        let diff = diff["diff"].as_str().unwrap();
        assert!(diff.starts_with("--- poem@1\n+++ poem@2\n"), "{diff}");
        assert!(diff.contains("-    - {id: a, model: offline, max_tokens: 20, prompt: 'Ask"), "{diff}");
        let first = it.get(&format!("/v1/templates/{id}?version=1")).await.expect(200).json();
        assert_eq!(first["document"], TEMPLATE);
        it.get(&format!("/v1/templates/{id}?version=3")).await.expect(404);

        let exported = it.get(&format!("/v1/templates/{id}/export?version=1")).await.expect(200).body;
        assert_eq!(exported, TEMPLATE.as_bytes());
        let import = |name: &str| format!("/v1/templates/import{name}");
        let yaml = || Some(("application/yaml", exported.clone()));
        it.call("POST", &import(""), yaml()).await.expect(409);
        let copy = it.call("POST", &import("?name=poem-2"), yaml()).await.expect(201).json();
        assert_eq!((&copy["name"], &copy["visibility"]), (&json!("poem-2"), &json!("private")));
        let fork = json!({"version": 1, "name": "poem-3"});
        let fork = it.post(&format!("/v1/templates/{id}/fork"), &fork).await.expect(201).json();
        assert_eq!((&fork["forked_from"], &fork["latest"]), (&json!("poem@1"), &json!(1)));

        let page = it.get("/v1/templates?mine=true&limit=2").await.expect(200).json();
        assert_eq!(page["items"].as_array().unwrap().len(), 2);
        let cursor = page["next_cursor"].as_str().unwrap();
        let rest = it.get(&format!("/v1/templates?mine=true&limit=2&cursor={cursor}")).await.expect(200).json();
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
        it.get("/v1/templates?cursor=nonsense").await.expect(400);
        let found = it.get("/v1/templates?text=ABOUT%20po&category=qa").await.expect(200).json();
        assert_eq!(found["items"].as_array().unwrap().len(), 3);
        let found = it.get("/v1/templates?text=100%25").await.expect(200).json();
        assert_eq!(found["items"], json!([]));

        // somebody else: nothing, until it is public; and then only to look at
        let path = format!("/v1/templates/{id}");
        it.test.actor_with("mallory", Role::Contributor).await;
        it.be("mallory");
        for (method, path, body) in [
            ("GET", path.clone(), None),
            ("GET", versions.clone(), None),
            ("GET", format!("{path}/diff?from=1"), None),
            ("GET", format!("{path}/export"), None),
            ("DELETE", path.clone(), None),
            ("PATCH", path.clone(), Some(json!({"visibility": "public"}))),
            ("POST", versions.clone(), Some(json!({"document": TEMPLATE}))),
            ("POST", format!("{path}/fork"), Some(json!({}))),
            ("POST", format!("{path}/preview"), Some(json!({"seed": "sample:poems"}))),
        ] {
            let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
            it.call(method, &path, body).await.expect(404);
        }
        it.be("alice");
        let shown_to = |whom: &str| Some(("application/json", json!({"visibility": whom}).to_string().into_bytes()));
        // what others are to use takes more than a first-seen user's role
        let refused = it.call("PATCH", &path, shown_to("public")).await.expect(403).json();
        assert_eq!(codes(&refused), (403, "role_too_low"));
        it.call("PATCH", &path, shown_to("private")).await.expect(200);
        it.test.actor_with("alice", Role::Contributor).await;
        it.call("PATCH", &path, shown_to("public")).await.expect(200);
        it.be("mallory");
        assert_eq!(it.get(&path).await.expect(200).json()["mine"], false);
        it.call("DELETE", &path, None).await.expect(404);
        it.post(&format!("{path}/fork"), &json!({})).await.expect(201);

        it.be("alice");
        it.call("DELETE", &path, None).await.expect(204);
        it.get(&path).await.expect(404);
        // the name is free again
        it.post("/v1/templates", &json!({"document": TEMPLATE})).await.expect(201);
        it.test.finish().await;
    }

    async fn a_missing_fragment_hides_no_fault_of_the_template(db) {
        let it = Installation::start(db, None).await;
        let with = |prompt: &str| json!({"document": TEMPLATE.replace("Ask about", prompt)});
        // the fragment may still come
        it.post("/v1/templates", &with("{% include \"a\" %}")).await.expect(201);
        let faulty = with("{% include \"a\" %} {{ title | no_such_filter }}");
        let refused = it.post("/v1/templates", &faulty).await.expect(422).json();
        let faults = refused["errors"].as_array().unwrap();
        assert_eq!(faults.len(), 1, "{refused}");
        assert_eq!(faults[0]["pointer"], "/document/template/steps/0/prompt", "{refused}");
        assert!(faults[0]["message"].as_str().unwrap().contains("no_such_filter"), "{refused}");
        it.test.finish().await;
    }

    async fn a_template_in_use_is_not_deleted(db) {
        let it = Installation::start(db, None).await;
        let id = it.template(&TEMPLATE.replace(" by {{ author.name }}", "")).await;
        let spec = json!({"template": id, "seed": "sample:poems", "records": 3});
        let spec = json!({"template": spec["template"], "seed": it.upload(b"{\"title\": \"x\"}").await, "records": 3});
        let job = it.submit(spec, None).await;
        let problem = it.call("DELETE", &format!("/v1/templates/{id}"), None).await.expect(409).json();
        assert_eq!(codes(&problem), (409, "template_in_use"));
        assert_status(&it.finish(job.id).await, JobStatus::Completed);
        it.call("DELETE", &format!("/v1/templates/{id}"), None).await.expect(204);
        it.test.finish().await;
    }

    async fn a_job_that_was_cancelled_unapproved_holds_no_template(db) {
        let it = Installation::start(db, None).await;
        let id = it.template(&TEMPLATE.replace(" by {{ author.name }}", "")).await;
        let seed = it.upload(b"{\"title\": \"x\"}").await;
        let job = it.submit(json!({"template": id, "seed": seed, "records": 3}), None).await;
        it.post(&format!("/v1/jobs/{}/cancel", job.id), &json!({})).await.expect(200);
        let unapproved = it.test.app.parts.store.unit(|tx| Box::pin(async move {
            execute!(tx, "UPDATE jobs SET needs_approval = (1 = 1), approved_at = NULL")
        }));
        assert_eq!(unapproved.await.unwrap(), 1);
        it.call("DELETE", &format!("/v1/templates/{id}"), None).await.expect(204);
        it.test.finish().await;
    }

    async fn somebody_elses_job_keeps_a_template_and_is_not_named(db) {
        let mut it = Installation::start(db, None).await;
        it.test.actor_with("alice", Role::Contributor).await;
        let id = it.template(&TEMPLATE.replace(" by {{ author.name }}", "")).await;
        let path = format!("/v1/templates/{id}");
        let public = Some(("application/json", br#"{"visibility": "public"}"#.to_vec()));
        it.call("PATCH", &path, public).await.expect(200);
        it.be("bob");
        let seed = it.upload(b"{\"title\": \"x\"}").await;
        let theirs = it.submit(json!({"template": id, "seed": seed, "records": 3}), None).await;
        it.be("alice");
        let problem = it.call("DELETE", &path, None).await.expect(409).json();
        assert_eq!(codes(&problem), (409, "template_in_use"));
        assert!(!problem.to_string().contains(&theirs.id.to_string()), "{problem}");
        it.be("bob");
        assert_status(&it.finish(theirs.id).await, JobStatus::Completed);
        it.be("alice");
        it.call("DELETE", &path, None).await.expect(204);
        it.test.finish().await;
    }

    async fn bytes_that_were_not_verified_are_no_seed_data(db) {
        let it = Installation::start(db, None).await;
        let id = it.template(&TEMPLATE.replace(" by {{ author.name }}", "")).await;
        let seed = it.upload(b"{\"title\": \"x\"}").await;
        let spec = json!({"template": id, "seed": seed, "records": 3});
        let job = it.submit(spec.clone(), None).await;
        let key = fetch_one!(&mut it.test.app.parts.store.read().await.unwrap(), scalar String, "SELECT object_key FROM uploads").unwrap();
        let other = bytes::Bytes::from_static(b"{\"title\": \"another\"}");
        it.test.blob.put(&key.parse().unwrap(), other, &Default::default()).await.unwrap();
        let job = it.finish(job.id).await;
        assert_status(&job, JobStatus::Failed);
        let why = job.error.unwrap().message;
        assert!(why.contains("changed"), "{why}");
        let check = json!({"seed": seed, "template": id});
        let refused = it.post("/v1/generate/seed-check", &check).await;
        assert!(refused.status.is_client_error(), "{}", String::from_utf8_lossy(&refused.body));
        it.test.finish().await;
    }

    async fn a_preview_shows_prompts_and_answers(db) {
        let stub = Stub::echo();
        let it = Installation::start(db, Some(stub.models(SystemClock::shared()))).await;
        let id = it.template(TEMPLATE).await;
        let seed = it.upload(b"{\"title\": \"Dew\", \"author\": {\"name\": \"A\"}}\n{\"title\": null}\n{\"title\": \"Fog\"}\n").await;
        let path = format!("/v1/templates/{id}/preview");
        let shown = it.post(&path, &json!({"seed": seed})).await.expect(200).json();
        let records = shown["records"].as_array().unwrap();
        assert_eq!(records.len(), 2, "one seed record lacks the title");
        assert_eq!(records[0]["steps"][0]["prompt"], "Ask about Dew by A");
        assert!(records[1]["error"].as_str().unwrap().contains("author"), "{shown}");
        let shown = it.post(&path, &json!({"seed": seed, "limit": 1, "mode": "offline"})).await.expect(200).json();
        assert!(shown["records"][0]["output"]["a"].is_string(), "{shown}");
        assert_eq!(stub.calls(), 0);

        let real = json!({"seed": seed, "limit": 1, "mode": "model", "model": "stub:m", "budget_usd": "0.01"});
        let shown = it.post(&path, &real).await.expect(202).json();
        let job = serde_json::from_value(shown["job"]["id"].clone()).unwrap();
        let job = it.finish(job).await;
        assert_status(&job, JobStatus::Completed);
        assert_eq!(it.records(job.id).await[0]["a"], "re: Ask about Dew by A");
        let unpaid = json!({"seed": seed, "mode": "model", "model": "stub:m"});
        let problem = it.post(&path, &unpaid).await.expect(422).json();
        assert_eq!(problem["errors"][0]["pointer"], "/spec/budget_usd");
        it.post(&path, &json!({"seed": seed, "limit": 0})).await.expect(422);
        it.post(&path, &json!({"seed": "sample:nothing"})).await.expect(422);
        it.test.finish().await;
    }

    async fn a_submit_is_refused_for_seed_data_that_can_not_be_used(db) {
        let it = Installation::start(db, None).await;
        let id = it.template(&TEMPLATE.replace(" by {{ author.name }}", "")).await;
        let submit = async |seed: &str, on_invalid: &str| {
            let spec = json!({"template": id, "seed": seed, "records": 1, "on_invalid": on_invalid});
            it.post("/v1/jobs", &json!({"workload": "generate", "spec": spec})).await
        };
        let bad = it.upload(b"{\"title\": null}\n{\"name\": 1}\n").await;
        let problem = submit(&bad, "skip").await.expect(422).json();
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 3, "{problem}");
        assert!(errors.iter().all(|error| error["pointer"] == "/spec/seed"), "{problem}");
        assert!(errors[2]["message"].as_str().unwrap().contains("line 2"), "{problem}");
        let mixed = it.upload(b"{\"title\": \"x\"}\n{\"name\": 1}\n").await;
        submit(&mixed, "fail").await.expect(422);
        let job = submit(&mixed, "skip").await.expect(202).json();
        assert_status(&it.finish(serde_json::from_value(job["id"].clone()).unwrap()).await, JobStatus::Completed);
        let broken = it.upload(b"{\"title\": \"x\"").await;
        submit(&broken, "skip").await.expect(422);
        submit("0199d0a8-5f6c-7000-8000-000000000001", "skip").await.expect(422);

        let check = json!({"template": "poem@1", "seed": mixed});
        let checked = it.post("/v1/generate/seed-check", &check).await.expect(200).json();
        assert_eq!((&checked["valid"], &checked["invalid"]), (&json!(1), &json!(1)));
        assert_eq!((&checked["bad"][0]["line"], &checked["bad"][0]["path"]), (&json!(2), &json!("title")));
        it.test.finish().await;
    }

    async fn an_estimate_stands_beside_the_budget(db) {
        let stub = Stub::echo();
        let it = Installation::start(db, Some(stub.models(SystemClock::shared()))).await;
        let id = it.template(&TEMPLATE.replace(" by {{ author.name }}", "").replace("offline", "\"stub:m\"")).await;
        let seed = it.upload(b"[{\"title\": \"Dew\"}, {\"title\": \"Fog\"}]").await;
        let spec = json!({"template": id, "seed": seed, "records": 1000, "budget_usd": "0.001"});
        let estimate = it.post("/v1/generate/estimate", &json!({"spec": spec})).await.expect(200).json();
        assert_eq!((&estimate["records"], &estimate["sampled"]), (&json!(1000), &json!(2)));
        assert_eq!(estimate["steps"][0]["calls"]["likely"], 1000);
        assert_eq!(estimate["output_tokens"]["high"], 20_000);
        let usd = |name: &str| estimate["cost_usd"][name].as_str().unwrap().parse::<f64>().unwrap();
        assert!(usd("low") < usd("likely") && usd("likely") < usd("high"), "{estimate}");
        assert_eq!((&estimate["budget_usd"], &estimate["within_budget"]), (&json!("0.001"), &json!(false)));
        assert_eq!(stub.calls(), 0);
        // the job keeps what was likely when it was submitted
        let job = it.submit(spec.clone(), None).await;
        assert_eq!(job.cost.estimate.unwrap().to_string(), estimate["cost_usd"]["likely"].as_str().unwrap());
        let actor = it.test.actor("alice").await;
        it.test.app.cancel_job(&actor, job.id).await.unwrap();
        let mut bad = spec.clone();
        bad["records"] = json!(0);
        let problem = it.post("/v1/generate/estimate", &json!({"spec": bad})).await.expect(422).json();
        assert_eq!(problem["errors"][0]["pointer"], "/spec/records");
        it.test.finish().await;
    }

    async fn a_job_waits_for_no_estimate_that_takes_long(db) {
        let stub = Stub::echo();
        let it = Installation::start(db, Some(stub.models(SystemClock::shared()))).await;
        let slow = "{% for i in range(600) %}{% for j in range(200) %}{% set a = j * 2 %}{% endfor %}{% endfor %}{{ title }}";
        let text = "template:\n  name: slow\n  schema_requirements: [title]\n  steps:\n";
        let step = |id: &str| format!("    - {{id: {id}, model: \"stub:m\", max_tokens: 20, prompt: '{slow}'}}\n");
        let steps: String = ["a", "b", "c", "d", "e", "f", "g", "h"].map(step).concat();
        let id = it.template(&format!("{text}{steps}")).await;
        let seed = it.upload("{\"title\": \"Dew\"}\n".repeat(30).as_bytes()).await;
        let spec = json!({"template": id, "seed": seed, "records": 1});
        let begun = std::time::Instant::now();
        let job = it.submit(spec.clone(), Some("1")).await;
        assert_eq!(job.cost.estimate, None, "{:?}", begun.elapsed());
        // what costs nothing is known without a look
        let mut free = spec;
        free["overrides"] = json!({"model": "offline"});
        let free = it.submit(free, None).await;
        assert_eq!(free.cost.estimate, Some(PicoUsd::ZERO));
        let actor = it.test.actor("alice").await;
        for job in [job, free] {
            it.test.app.cancel_job(&actor, job.id).await.unwrap();
        }
        it.test.finish().await;
    }

    async fn an_estimate_learns_from_earlier_answers(db) {
        let stub = Stub::echo();
        let it = Installation::start(db, Some(stub.models(SystemClock::shared()))).await;
        let text = TEMPLATE.replace(" by {{ author.name }}", "").replace("offline, max_tokens: 20", "\"stub:m\"");
        let id = it.template(&text).await;
        let seed = it.upload(b"{\"title\": \"Dew\"}").await;
        let spec = json!({"template": id, "seed": seed, "records": 30});
        let output = async || {
            let estimate = it.post("/v1/generate/estimate", &json!({"spec": spec})).await.expect(200).json();
            estimate["output_tokens"]["likely"].as_u64().unwrap()
        };
        assert_eq!(output().await, 30 * 512, "half of max_tokens, for want of anything better");
        let job = it.submit(spec.clone(), Some("1")).await;
        assert_status(&it.finish(job.id).await, JobStatus::Completed);
        assert_eq!(output().await, 30 * 10, "as long as the answers were");
        it.test.finish().await;
    }

    async fn a_budget_in_the_spec_is_the_jobs_budget(db) {
        let stub = Stub::echo();
        let it = Installation::start(db, Some(stub.models(SystemClock::shared()))).await;
        let id = it.template(&TEMPLATE.replace(" by {{ author.name }}", "").replace("offline", "\"stub:m\"")).await;
        let seed = it.upload(b"{\"title\": \"Dew\"}").await;
        let spec = json!({"template": id, "seed": seed, "records": 1, "budget_usd": "0.5"});
        let both = json!({"workload": "generate", "spec": spec, "budget_usd": "0.7"});
        it.post("/v1/jobs", &both).await.expect(422);
        let one = json!({"workload": "generate", "spec": spec});
        let job = it.post("/v1/jobs", &one).await.expect(202).json();
        assert_eq!(job["budget_usd"], "0.50");
        let job = it.finish(serde_json::from_value(job["id"].clone()).unwrap()).await;
        assert_status(&job, JobStatus::Completed);
        it.test.finish().await;
    }
}
