//! What every engine must do, done by the one behind the worker protocol: over TCP with leases, and through a Unix
//! socket as a child process would.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use windrow_api_types::worker::{ClaimRequest, EndReply, RunEnd};
use windrow_client::{Client, Endpoint, WorkerClient};
use windrow_core::JobStatus;
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{Engine as _, EngineError, LocalSettings, RemoteEngine};
use windrow_rest::{ChildDoor, child_routes};
use windrow_test_support::TestDb;

/// What must outlive a bench.
struct Server {
    _db: TestDb,
    _dir: TempDir,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn local(db: &TestDb, dir: &TempDir) -> Bench {
    let workload = Scripted::echo().with_commit();
    Bench::local(db.url(), &dir.path().join("objects"), workload, LocalSettings::default()).await
}

const NAME: &str = "conformance";

fn remote(endpoint: Endpoint) -> RemoteEngine {
    RemoteEngine::new(WorkerClient::of_child(Client::new(endpoint, None).unwrap()), NAME)
}

async fn over_tcp(db: TestDb) -> (Bench, Server) {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = local(&db, &dir).await;
    let leased =
        bench.back.sibling(LocalSettings { leased: true, ..LocalSettings::default() }).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = child_routes(ChildDoor { engine: leased });
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    bench.engine = Arc::new(remote(Endpoint::Url(url.parse().unwrap())));
    (bench, Server { _db: db, _dir: dir, serving })
}

async fn through_a_socket(db: TestDb) -> (Bench, Server) {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = local(&db, &dir).await;
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    assert!(bench.back.admit(NAME));
    let routes = child_routes(ChildDoor { engine: bench.back.clone() });
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    bench.engine = Arc::new(remote(Endpoint::Socket(path)));
    (bench, Server { _db: db, _dir: dir, serving })
}

mod tcp {
    windrow_engine::conformance!(super::over_tcp(windrow_test_support::TestDb::postgres().await).await);
}

mod socket {
    windrow_engine::conformance!(super::through_a_socket(windrow_test_support::TestDb::sqlite().await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_held_is_back_in_line_when_its_connection_closes() {
    let (bench, _server) = through_a_socket(TestDb::sqlite().await).await;
    let endpoint = Endpoint::Socket(_server._dir.path().join("socket"));
    let worker = WorkerClient::of_child(Client::new(endpoint, None).unwrap());
    let engine = RemoteEngine::new(worker.clone(), "visitor");
    let request = ClaimRequest { slots: 1, ..ClaimRequest::default() };
    assert!(matches!(engine.claim(&request).await, Err(EngineError::WorkerDead)), "it was not admitted yet");
    assert!(bench.back.admit("visitor"));
    bench.back.turn_away("visitor");
    assert!(matches!(engine.claim(&request).await, Err(EngineError::WorkerDead)), "it did not start");

    let attendance = worker.attend("visitor").await.unwrap();
    assert_eq!(worker.attend("visitor").await.err().unwrap().code(), Some("worker_name_taken"));
    let job = bench.submit(serde_json::json!({}), None).await;
    let lease = engine.claim(&request).await.unwrap().remove(0);
    drop(attendance);
    while bench.status(job).await != JobStatus::Queued {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(engine.claim(&request).await, Err(EngineError::WorkerDead)), "it was dismissed");
    assert_eq!(engine.end(lease.run, RunEnd::Released).await.unwrap(), EndReply::Stale);
}
