//! Webhooks, against a real receiver.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use windrow_api_types::Job;
use windrow_app::Actor;
use windrow_core::Clock;
use windrow_store::outbox;
use windrow_test_support::app::submit_request;
use windrow_test_support::{TestApp, on_both};
use wiremock::matchers::{header, header_exists, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

async fn job_with_webhook(test: &TestApp, actor: &Actor, url: String) -> Job {
    let mut request = submit_request(json!({"text": "a"}));
    request.webhook_url = Some(url);
    let job = test.app.submit_job(actor, request, None).await.unwrap().job;
    test.complete_all().await;
    job
}

async fn waiting(test: &TestApp) -> i64 {
    outbox::waiting(&mut test.db.read().await.unwrap(), "webhook").await.unwrap()
}

async fn told(test: &TestApp, actor: &Actor, job: &Job) -> Vec<String> {
    let events = test.app.job_events(actor, job.id, None).await.unwrap();
    events.into_iter().map(|event| event.kind).filter(|kind| kind.starts_with("webhook")).collect()
}

on_both! {
    async fn a_message_of_another_version_is_given_up_at_once(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = job_with_webhook(&test, &ada, "http://127.0.0.1:1/hook".to_owned()).await;
        let mut tx = test.db.begin().await.unwrap();
        tx.raw("UPDATE outbox SET payload = replace(payload, '\"schema_version\":1', '\"schema_version\":2')").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(test.app.deliver_webhooks().await.unwrap(), 1);
        assert_eq!((told(&test, &ada, &job).await, waiting(&test).await), (vec!["webhook_failed".to_owned()], 0));
        let events = test.app.job_events(&ada, job.id, None).await.unwrap();
        let failed = events.iter().find(|event| event.kind == "webhook_failed").unwrap();
        assert!(failed.payload["problem"].as_str().unwrap().contains("schema_version is 2"), "{}", failed.payload);
        test.finish().await;
    }

    async fn a_job_that_ended_is_told_once_and_signed(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let receiver = MockServer::start().await;
        let mock = Mock::given(method("POST"))
            .and(header("content-type", "application/json"))
            .and(header_exists("webhook-signature"))
            .respond_with(ResponseTemplate::new(204))
            .expect(1);
        mock.mount(&receiver).await;
        let job = job_with_webhook(&test, &ada, format!("{}/hook", receiver.uri())).await;
        assert_eq!(test.app.deliver_webhooks().await.unwrap(), 1);
        assert_eq!(test.app.deliver_webhooks().await.unwrap(), 0);
        let request = receiver.received_requests().await.unwrap().remove(0);
        let body: serde_json::Value = request.body_json().unwrap();
        assert_eq!((body["type"].as_str(), body["data"]["id"].as_str()), (Some("job.completed"), Some(job.id.to_string().as_str())));
        assert_eq!(request.headers["webhook-id"], format!("msg_{}_1", job.id));
        assert_eq!(request.headers["webhook-timestamp"], "1767225600");
        assert!(request.headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
        assert!(test.app.webhook_secret(&ada).unwrap().secret.starts_with("whsec_"));
        assert_eq!(told(&test, &ada, &job).await, ["webhook_delivered"]);
        test.finish().await;
    }
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_with_the_same_id_and_then_given_up() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let receiver = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(500)).mount(&receiver).await;
    let job = job_with_webhook(&test, &ada, receiver.uri()).await;
    let mut tried = 0;
    for _hour in 0..20 {
        tried += test.app.deliver_webhooks().await.unwrap();
        test.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(tried, 14);
    let ids: Vec<_> = receiver
        .received_requests()
        .await
        .unwrap()
        .into_iter()
        .map(|r| r.headers["webhook-id"].clone())
        .collect();
    assert!(ids.len() == 14 && ids.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!((waiting(&test).await, told(&test, &ada, &job).await), (0, vec!["webhook_failed".to_owned()]));
    test.finish().await;
}

#[tokio::test]
async fn redirects_are_not_followed_and_410_is_the_end() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let (first, inner) = (MockServer::start().await, MockServer::start().await);
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).expect(0).mount(&inner).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200)).expect(0).mount(&inner).await;
    let away = ResponseTemplate::new(307).insert_header("location", inner.uri().as_str());
    Mock::given(method("POST")).respond_with(away).up_to_n_times(1).mount(&first).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(410)).mount(&first).await;
    let job = job_with_webhook(&test, &ada, first.uri()).await;
    test.app.deliver_webhooks().await.unwrap();
    assert_eq!(waiting(&test).await, 1);
    test.clock.advance(Duration::from_secs(60));
    test.app.deliver_webhooks().await.unwrap();
    assert_eq!((waiting(&test).await, told(&test, &ada, &job).await), (0, vec!["webhook_failed".to_owned()]));
    test.finish().await;
}

#[tokio::test]
async fn what_was_taken_and_never_told_is_due_again() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let receiver = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).expect(1).mount(&receiver).await;
    job_with_webhook(&test, &ada, receiver.uri()).await;
    // a process that dies right after it has taken the row
    let mut tx = test.db.begin().await.unwrap();
    let now = test.clock.now();
    assert_eq!(outbox::take(&mut tx, "webhook", now, Duration::from_secs(60), 10).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
    assert_eq!(test.app.deliver_webhooks().await.unwrap(), 0);
    test.clock.advance(Duration::from_secs(60));
    assert_eq!(test.app.deliver_webhooks().await.unwrap(), 1);
    assert_eq!(waiting(&test).await, 0);
    test.finish().await;
}

/// 170 webhooks are due for a receiver that takes connections, by the kernel, and never answers; behind them one for a
/// receiver that does.
async fn two_receivers(test: &TestApp) -> (TcpListener, tokio::net::TcpListener) {
    let ada = test.actor("ada").await;
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let answers = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    for _ in 0..170 {
        job_with_webhook(test, &ada, format!("http://{}", hangs.local_addr().unwrap())).await;
    }
    job_with_webhook(test, &ada, format!("http://{}", answers.local_addr().unwrap())).await;
    (hangs, answers)
}

#[tokio::test]
async fn a_receiver_that_hangs_keeps_no_other_waiting_and_costs_few_attempts() {
    let test = TestApp::sqlite().await;
    let (_hangs, answers) = two_receivers(&test).await;
    let delivering = test.app.deliver_webhooks();
    // well before the hanging one's ten seconds are over
    let told = tokio::time::timeout(Duration::from_secs(5), answers.accept());
    tokio::select! {
        told = told => drop(told.expect("the other receiver is told in time").unwrap()),
        tried = delivering => panic!("{tried:?} were tried before the other receiver was told"),
    }
    let mut tx = test.db.begin().await.unwrap();
    test.clock.advance(Duration::from_secs(3600));
    let rows = outbox::take(&mut tx, "webhook", test.clock.now(), Duration::ZERO, 1000).await.unwrap();
    // this take counts, too; four and those that were held for them cost one
    let attempts = |n| rows.iter().filter(|row| row.attempts == n).count();
    assert_eq!((rows.len(), attempts(1), attempts(2)), (171, 106, 65));
    drop(tx);
    test.finish().await;
}

#[tokio::test]
async fn what_is_put_back_for_a_busy_host_is_not_due_all_at_once() {
    let test = TestApp::sqlite().await;
    let (_hangs, answers) = two_receivers(&test).await;
    tokio::select! {
        told = answers.accept() => drop(told.unwrap()),
        tried = test.app.deliver_webhooks() => panic!("{tried:?} were tried before the other receiver was told"),
    }
    let mut tx = test.db.begin().await.unwrap();
    test.clock.advance(Duration::from_secs(2));
    let soon = outbox::take(&mut tx, "webhook", test.clock.now(), Duration::ZERO, 1000).await.unwrap();
    assert_eq!(soon.len(), 60);
    drop(tx);
    test.finish().await;
}

on_both! {
    async fn what_is_due_for_one_host_goes_in_one_turn_and_what_is_too_much_is_put_back(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let receiver = MockServer::start().await;
        // slow enough that everything is taken before the first answer is there
        let slow = ResponseTemplate::new(204).set_delay(Duration::from_millis(300));
        Mock::given(method("POST")).respond_with(slow).mount(&receiver).await;
        for _ in 0..70 {
            job_with_webhook(&test, &ada, receiver.uri()).await;
        }
        let tried = test.app.deliver_webhooks().await.unwrap();
        assert!((64..=70).contains(&tried), "{tried}");
        test.clock.advance(Duration::from_secs(2));
        assert_eq!(tried + test.app.deliver_webhooks().await.unwrap(), 70);
        assert_eq!((waiting(&test).await, receiver.received_requests().await.unwrap().len()), (0, 70));
        test.finish().await;
    }

    async fn a_row_that_is_broken_stops_no_other_and_is_given_up_in_the_end(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let receiver = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).expect(1).mount(&receiver).await;
        let broken = job_with_webhook(&test, &ada, receiver.uri()).await;
        let mut tx = test.db.begin().await.unwrap();
        windrow_store::execute!(tx, "UPDATE outbox SET payload = '{}'").unwrap();
        tx.commit().await.unwrap();
        let whole = job_with_webhook(&test, &ada, receiver.uri()).await;
        let mut tried = test.app.deliver_webhooks().await.unwrap();
        assert_eq!((tried, told(&test, &ada, &whole).await), (2, vec!["webhook_delivered".to_owned()]));
        for _hour in 0..20 {
            test.clock.advance(Duration::from_secs(3600));
            tried += test.app.deliver_webhooks().await.unwrap();
        }
        assert_eq!((tried, waiting(&test).await), (15, 0));
        assert_eq!(told(&test, &ada, &broken).await, ["webhook_failed"]);
        test.finish().await;
    }
}
