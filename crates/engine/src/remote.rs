//! The engine over the worker protocol: HTTP, by TCP or through a data directory's Unix socket.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use serde_json::Value;
use windrow_api_types::worker::{
    AddChildrenRequest, BeatReply, Checkpoint, Child, ChildrenQuery, ClaimRequest, CompleteRequest, EndReply,
    FailRequest, JournalEntry, Lease, MoneyRequest, NewChild, Part, PartsQuery, Progress, Reserve, Reserved,
    RunEnd, RunRef, SCHEMA_VERSION, SaveRequest, Settle, StopOrder, StopReason, StoredObject,
};
use windrow_client::{ClientError, Endpoint, WorkerClient};
use windrow_core::{JobError, JobId};

use crate::{Beater, Engine, EngineError, ObjectStream, PutPlace, spans};

/// Stable codes by which a server says what an [`EngineError`] says. Each is an HTTP status and a problem's code.
pub mod codes {
    pub const STALE: (u16, &str) = (409, "stale_lease");
    pub const WORKER_DEAD: (u16, &str) = (409, "worker_dead");
    pub const TURNED_AWAY: (u16, &str) = (403, "turned_away");
    pub const NO_OBJECT: (u16, &str) = (404, "object_missing");
    pub const INVALID: (u16, &str) = (422, "invalid_request");
    pub const JOB: (u16, &str) = (422, "job_error");
    pub const UNAVAILABLE: (u16, &str) = (503, "engine_unavailable");
}

/// How many heartbeats are under way at the same time.
const BEATS_AT_ONCE: usize = 16;

/// A lease lapses when it is not renewed for 30 s; six beats fit in.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// Through a socket a heartbeat is cheap, and its reply is how a cancel arrives.
const BEAT_EVERY_LOCALLY: Duration = Duration::from_millis(500);

/// An engine behind an API. What the server hands out it runs here.
#[derive(Clone)]
pub struct RemoteEngine {
    worker: WorkerClient,
    beat_every: Duration,
    name: String,
}

impl RemoteEngine {
    /// `name` is what people see as the worker's name.
    pub fn new(worker: WorkerClient, name: impl Into<String>) -> Self {
        let beat_every = match worker.endpoint() {
            Endpoint::Url(_) => BEAT_EVERY,
            Endpoint::Socket(_) => BEAT_EVERY_LOCALLY,
        };
        let worker = worker.traced(|| spans::position(&tracing::Span::current(), None));
        Self { worker, beat_every, name: name.into() }
    }
}

/// Why a lease of another version of the protocol can't be run.
fn unknown_version(lease: &Lease) -> Option<JobError> {
    (lease.schema_version != SCHEMA_VERSION).then(|| {
        let problem = format!(
            "the lease's schema_version is {}; this worker knows {SCHEMA_VERSION}",
            lease.schema_version
        );
        JobError::permanent("unknown_schema_version", problem)
    })
}

#[async_trait]
impl Engine for RemoteEngine {
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Lease>, EngineError> {
        let request = ClaimRequest { worker: Some(self.name.clone()), ..request.clone() };
        let leases = self.worker.claim(&request).await.map_err(engine_error)?.leases;
        let mut known = Vec::with_capacity(leases.len());
        for lease in leases {
            match unknown_version(&lease) {
                Some(error) => {
                    // the other leases are this worker's all the same
                    if let Err(error) = self.end(lease.run, RunEnd::Failed { error }).await {
                        tracing::warn!(run = %lease.run, %error, "a lease that can't be read was not given back; it will lapse");
                    }
                }
                None => known.push(lease),
            }
        }
        Ok(known)
    }

    fn beater(&self) -> Box<dyn Beater> {
        Box::new(RemoteBeater { shared: self.worker.clone(), own: None, every: self.beat_every })
    }

    /// A remote worker learns it in the heartbeat's reply.
    async fn stops(&self, _held: &[RunRef]) -> Result<BeatReply, EngineError> {
        Ok(BeatReply::default())
    }

    async fn checkpoint(&self, run: RunRef, checkpoint: Checkpoint) -> Result<(), EngineError> {
        self.worker.checkpoint(run, &checkpoint).await.map_err(engine_error)
    }

    async fn progress(&self, run: RunRef, progress: Progress) -> Result<(), EngineError> {
        self.worker.progress(run, &progress).await.map_err(engine_error)
    }

    async fn money(
        &self,
        run: RunRef,
        settle: &[Settle],
        reserve: &[Reserve],
    ) -> Result<Vec<Reserved>, EngineError> {
        let request = MoneyRequest { settle: settle.to_vec(), reserve: reserve.to_vec() };
        let reply = if reserve.is_empty() {
            self.worker.settle(run, &request).await
        } else {
            self.worker.reserve(run, &request).await
        };
        Ok(reply.map_err(engine_error)?.reserved)
    }

    async fn journal(&self, run: RunRef) -> Result<Vec<JournalEntry>, EngineError> {
        Ok(self.worker.journal(run).await.map_err(engine_error)?.entries)
    }

    async fn save(&self, run: RunRef, n: i64, chunk: Value) -> Result<(), EngineError> {
        self.worker.save(run, &SaveRequest { n, chunk }).await.map_err(engine_error)
    }

    async fn saved(&self, run: RunRef) -> Result<Vec<i64>, EngineError> {
        Ok(self.worker.saved(run).await.map_err(engine_error)?.saved)
    }

    async fn add_children(&self, run: RunRef, children: Vec<NewChild>) -> Result<(), EngineError> {
        self.worker.add_children(run, &AddChildrenRequest { children }).await.map_err(engine_error)
    }

    async fn children(
        &self,
        run: RunRef,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<Child>, EngineError> {
        let reply = self.worker.children(run, &ChildrenQuery { after, limit }).await;
        Ok(reply.map_err(engine_error)?.children)
    }

    async fn parts(
        &self,
        run: RunRef,
        after: Option<(i64, String)>,
        limit: usize,
    ) -> Result<Vec<Part>, EngineError> {
        let (after_first, after_key) = after.unzip();
        let reply = self.worker.parts(run, &PartsQuery { after_first, after_key, limit }).await;
        Ok(reply.map_err(engine_error)?.parts)
    }

    async fn get(
        &self,
        run: RunRef,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<ObjectStream, EngineError> {
        let stream = self.worker.get_object(run, key, range).await.map_err(engine_error)?;
        Ok(stream.map(|chunk| chunk.map_err(std::io::Error::other)).boxed())
    }

    async fn put(&self, run: RunRef, place: PutPlace<'_>, bytes: Bytes) -> Result<StoredObject, EngineError> {
        let put = self.worker.put_object(run, (place.prefix, place.name), place.content_type, bytes);
        put.await.map_err(engine_error)
    }

    async fn put_file(
        &self,
        run: RunRef,
        place: PutPlace<'_>,
        file: &Path,
    ) -> Result<StoredObject, EngineError> {
        let put = self.worker.put_object_file(run, (place.prefix, place.name), place.content_type, file);
        put.await.map_err(engine_error)
    }

    async fn end(&self, run: RunRef, end: RunEnd) -> Result<EndReply, EngineError> {
        let reply = match end {
            RunEnd::Done { output } => self.worker.complete(run, &CompleteRequest::Done { output }).await,
            RunEnd::Partial { output } => {
                self.worker.complete(run, &CompleteRequest::Partial { output }).await
            }
            RunEnd::Await => self.worker.complete(run, &CompleteRequest::Await).await,
            RunEnd::Failed { error } => self.worker.fail(run, &FailRequest { error }).await,
            RunEnd::Released => self.worker.release(run).await,
        };
        match reply.map_err(engine_error) {
            Err(EngineError::Stale) => Ok(EndReply::Stale),
            reply => reply,
        }
    }
}

/// Renews leases through a connection of its own, made in the thread that beats.
struct RemoteBeater {
    shared: WorkerClient,
    own: Option<WorkerClient>,
    every: Duration,
}

#[async_trait]
impl Beater for RemoteBeater {
    fn every(&self) -> Duration {
        self.every
    }

    async fn beat(&mut self, held: &[RunRef]) -> Result<BeatReply, EngineError> {
        if self.own.is_none() {
            self.own = Some(self.shared.reconnect().map_err(engine_error)?);
        }
        let own = self.own.as_ref().expect("made above");
        let beats =
            stream::iter(held.to_vec()).map(|run| heartbeat(own, run)).buffer_unordered(BEATS_AT_ONCE);
        let replies: Vec<_> = beats.collect().await;
        let mut reply = BeatReply::default();
        let mut failure = None;
        for beat in replies {
            match beat {
                Ok(stop) => reply.stop.extend(stop),
                Err(error) => failure = Some(error),
            }
        }
        // Orders that came through are followed even when other beats did not get through.
        match failure {
            Some(error) if reply.stop.is_empty() => Err(error),
            _ => Ok(reply),
        }
    }
}

async fn heartbeat(worker: &WorkerClient, run: RunRef) -> Result<Option<StopOrder>, EngineError> {
    match worker.heartbeat(run).await.map_err(engine_error) {
        Ok(reply) => Ok(reply.stop.map(|reason| StopOrder { run, reason })),
        Err(EngineError::Stale) => Ok(Some(StopOrder { run, reason: StopReason::LeaseLost })),
        Err(error) => Err(error),
    }
}

fn engine_error(error: ClientError) -> EngineError {
    let transient = error.is_transient();
    match error {
        ClientError::Problem(problem) => {
            if let Some(error) = problem.job_error {
                return EngineError::Job(error);
            }
            match (problem.status, problem.code.as_str()) {
                codes::STALE => EngineError::Stale,
                codes::WORKER_DEAD => EngineError::WorkerDead,
                codes::NO_OBJECT => EngineError::NotFound(problem.detail),
                // a login that is missing, spent or revoked (RFC 9110, 15.5.2), or one that may not work here
                (401 | 403, _) => EngineError::TurnedAway(problem.detail),
                _ if transient => EngineError::Unavailable(problem.detail),
                _ => EngineError::Invalid(format!("{}: {}", problem.code, problem.detail)),
            }
        }
        // A proxy's error page, or a server that is being replaced.
        ClientError::Unreachable { .. } | ClientError::Unexpected { .. } | ClientError::Refused { .. } => {
            EngineError::Unavailable(error.to_string())
        }
        ClientError::File { .. } => EngineError::Invalid(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A server that hands out `leases` and fails at everything else, for as many requests.
    fn server(leases: &[Lease], requests: usize) -> Endpoint {
        use std::io::{BufRead as _, Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Endpoint::Url(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        let leases = json!({ "leases": leases }).to_string();
        std::thread::spawn(move || {
            for _ in 0..requests {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    reader.read_line(&mut head).unwrap();
                }
                let length = head.to_ascii_lowercase();
                let length =
                    length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                reader.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
                let (status, body) = if head.contains("/claim ") { (200, &*leases) } else { (500, "no") };
                let size = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status} x\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n{body}"
                )
                .unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_lease_that_cannot_be_refused_takes_none_of_the_others_with_it() {
        let lease = || crate::testing::MemoryEngine::new("w", json!({}), None).lease();
        let (unknown, known) = (Lease { schema_version: SCHEMA_VERSION + 1, ..lease() }, lease());
        let url = server(&[unknown, known.clone()], 2);
        let client = windrow_client::Client::new(url, None).unwrap();
        let engine = RemoteEngine::new(WorkerClient::new(client), "w");
        let claimed = engine.claim(&ClaimRequest::default()).await.unwrap();
        assert_eq!(claimed.iter().map(|lease| lease.run).collect::<Vec<_>>(), [known.run]);
    }

    #[test]
    fn a_lease_of_another_version_is_refused_for_good() {
        let lease = |version: u32| -> Lease {
            let lease = crate::testing::MemoryEngine::new("w", json!({}), None).lease();
            Lease { schema_version: version, ..lease }
        };
        assert!(unknown_version(&lease(SCHEMA_VERSION)).is_none());
        let error = unknown_version(&lease(SCHEMA_VERSION + 1)).unwrap();
        assert_eq!(
            (error.class, &*error.code),
            (windrow_core::ErrorClass::Permanent, "unknown_schema_version")
        );
    }
}
