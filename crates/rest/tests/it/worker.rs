//! What every engine must do, done by the one behind the worker protocol: over TCP with leases, and through a Unix
//! socket as a child process would.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use windrow_client::{Client, Endpoint, WorkerClient};
use windrow_engine::testing::{Bench, Scripted};
use windrow_engine::{LocalSettings, RemoteEngine};
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

fn remote(endpoint: Endpoint) -> RemoteEngine {
    RemoteEngine::new(WorkerClient::of_child(Client::new(endpoint, None).unwrap()), "conformance")
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
