//! Watchers of jobs that never read what they are sent, and a program whose progress there is to watch.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::http::{Connection, request};
use crate::server::WORKLOAD;

/// The least that Linux allows (`tcp(7)`): what isn't read stays with the server soon.
const RECEIVE_BUFFER: u32 = 2_304;

/// As often as a run may say how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Every so many reports of progress a lease is renewed, long before it is over after 30 s.
const BEAT: u64 = 10;

/// Makes so many jobs and runs them for ever; gives their ids.
pub async fn run_jobs(
    address: SocketAddr,
    token: &str,
    key: &str,
    jobs: usize,
) -> Result<(Vec<String>, JoinHandle<Result<()>>)> {
    let mut api = Connection::open(address).await?;
    let submit =
        request("POST", "/v1/jobs", token, Some(&json!({"workload": WORKLOAD, "spec": {"pad": "x"}})));
    for _ in 0..jobs {
        api.json(&submit).await?;
    }
    let claim = json!({"workloads": [WORKLOAD], "slots": jobs});
    let claimed = api.json(&request("POST", "/v1/worker/claim", key, Some(&claim))).await?;
    let leases = claimed["leases"].as_array().context("leases")?;
    let ids = leases
        .iter()
        .map(|lease| Ok((lease["job"].as_str().context("an id")?.to_owned(), lease["run"].clone())));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    ensure!(!ids.is_empty(), "no job was there to claim");
    let paths: Vec<String> = ids.iter().map(|(job, run)| format!("/v1/worker/leases/{job}.{run}")).collect();
    let key = key.to_owned();
    let running = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        for done in 0.. {
            ticks.tick().await;
            let progress = json!({"stage": "running", "done": done, "total": u64::MAX >> 12});
            for path in &paths {
                api.json(&request("POST", &format!("{path}/progress"), &key, Some(&progress))).await?;
                if done % BEAT == 0 {
                    api.json(&request("POST", &format!("{path}/heartbeat"), &key, None)).await?;
                }
            }
        }
        Ok(())
    });
    Ok((ids.into_iter().map(|(job, _)| job).collect(), running))
}

/// So many streams of these jobs' events. Each gets its answer's first bytes read, and nothing after that.
pub async fn watch(
    address: SocketAddr,
    token: &str,
    jobs: &[String],
    watchers: usize,
) -> Result<Vec<TcpStream>> {
    try_join_all((0..watchers).map(|n| async move {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let mut stream = socket.connect(address).await?;
        let head = String::from_utf8(request(
            "GET",
            &format!("/v1/jobs/{}/events", jobs[n % jobs.len()]),
            token,
            None,
        ))?;
        let head = head.replacen("\r\n", "\r\naccept: text/event-stream\r\n", 1);
        stream.write_all(head.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        ensure!(&status == b"HTTP/1.1 200", "a watcher was answered {}", String::from_utf8_lossy(&status));
        Ok(stream)
    }))
    .await
}
