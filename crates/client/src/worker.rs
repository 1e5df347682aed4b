//! The worker protocol's requests (`windrow_api_types::worker`).

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use reqwest::{Body, Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use windrow_api_types::worker::{
    AddChildrenRequest, Checkpoint, ChildrenQuery, ChildrenReply, ClaimReply, ClaimRequest, CompleteRequest,
    EndReply, FailRequest, HeartbeatReply, JournalReply, MoneyReply, MoneyRequest, ObjectQuery, PartsQuery,
    PartsReply, Progress, RunRef, SaveRequest, SavedReply, StoredObject,
};

use windrow_core::TraceParent;

use crate::transport::{file_error, unreachable_error};
use crate::{Client, ClientError, Endpoint};

/// How long one request of the protocol may take, beside what a claim waits. Objects have no limit but the run's own.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a process may take to let another one in. It decides in memory; one that takes longer is stopping, or hangs.
const ADMISSION: Duration = Duration::from_secs(5);

/// A worker's side of the protocol. Cheap to clone.
#[derive(Clone)]
pub struct WorkerClient {
    client: Client,
    base: &'static str,
}

/// A place among the workers of another process. Dropped, it is given up.
pub struct Attendance {
    response: reqwest::Response,
}

impl Attendance {
    /// Resolves when the process on the other side is gone.
    pub async fn ended(&mut self) {
        while let Ok(Some(_)) = self.response.chunk().await {}
    }
}

impl WorkerClient {
    pub fn new(client: Client) -> Self {
        Self { client, base: "/v1/worker" }
    }

    /// For the child process of a server: through that server's own socket, where being able to connect is the permission.
    pub fn of_child(client: Client) -> Self {
        Self { client, base: "/local/worker" }
    }

    /// The same through connections of its own, for a runtime of its own.
    pub fn reconnect(&self) -> Result<Self, ClientError> {
        Ok(Self { client: self.client.reconnect()?, base: self.base })
    }

    /// [`Client::traced`].
    #[must_use]
    pub fn traced(self, position: fn() -> Option<TraceParent>) -> Self {
        Self { client: self.client.traced(position), base: self.base }
    }

    pub fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    /// Tells a process, through its socket, that this one works for it. It lets `name` claim for as long as the answer is
    /// held, and takes its runs back at once when it is not.
    ///
    /// # Errors
    /// When nobody answers within five seconds, or the name is taken.
    pub async fn attend(&self, name: &str) -> Result<Attendance, ClientError> {
        let request = self.client.request(Method::GET, &format!("{}/attendance", self.base));
        // Only the answer's head: its body lasts as long as the place.
        let answer = tokio::time::timeout(ADMISSION, self.client.send(request.query(&[("worker", name)])));
        let late = |_| ClientError::Unreachable {
            endpoint: self.client.endpoint().to_string(),
            reason: format!("no answer within {} s", ADMISSION.as_secs()),
        };
        Ok(Attendance { response: answer.await.map_err(late)?? })
    }

    /// Waits up to the request's time for work; none is no error.
    pub async fn claim(&self, request: &ClaimRequest) -> Result<ClaimReply, ClientError> {
        let wait = TIMEOUT + Duration::from_millis(request.wait_ms);
        self.reply(
            self.client.request(Method::POST, &format!("{}/claim", self.base)).json(request).timeout(wait),
        )
        .await
    }

    pub async fn heartbeat(&self, run: RunRef) -> Result<HeartbeatReply, ClientError> {
        self.post(run, "heartbeat", &()).await
    }

    pub async fn checkpoint(&self, run: RunRef, checkpoint: &Checkpoint) -> Result<(), ClientError> {
        self.tell(run, "checkpoint", checkpoint).await
    }

    pub async fn progress(&self, run: RunRef, progress: &Progress) -> Result<(), ClientError> {
        self.tell(run, "progress", progress).await
    }

    pub async fn reserve(&self, run: RunRef, money: &MoneyRequest) -> Result<MoneyReply, ClientError> {
        self.post(run, "reserve", money).await
    }

    /// Works for a run that has lost its lease, too.
    pub async fn settle(&self, run: RunRef, money: &MoneyRequest) -> Result<MoneyReply, ClientError> {
        self.post(run, "settle", money).await
    }

    pub async fn journal(&self, run: RunRef) -> Result<JournalReply, ClientError> {
        self.reply(self.lease(Method::GET, run, "journal").timeout(TIMEOUT)).await
    }

    pub async fn save(&self, run: RunRef, save: &SaveRequest) -> Result<(), ClientError> {
        self.tell(run, "save", save).await
    }

    pub async fn saved(&self, run: RunRef) -> Result<SavedReply, ClientError> {
        self.reply(self.lease(Method::GET, run, "save").timeout(TIMEOUT)).await
    }

    pub async fn add_children(&self, run: RunRef, children: &AddChildrenRequest) -> Result<(), ClientError> {
        self.tell(run, "children", children).await
    }

    pub async fn children(&self, run: RunRef, query: &ChildrenQuery) -> Result<ChildrenReply, ClientError> {
        self.reply(self.lease(Method::GET, run, "children").query(query).timeout(TIMEOUT)).await
    }

    pub async fn parts(&self, run: RunRef, query: &PartsQuery) -> Result<PartsReply, ClientError> {
        self.reply(self.lease(Method::GET, run, "parts").query(query).timeout(TIMEOUT)).await
    }

    pub async fn complete(&self, run: RunRef, complete: &CompleteRequest) -> Result<EndReply, ClientError> {
        self.post(run, "complete", complete).await
    }

    pub async fn fail(&self, run: RunRef, fail: &FailRequest) -> Result<EndReply, ClientError> {
        self.post(run, "fail", fail).await
    }

    pub async fn release(&self, run: RunRef) -> Result<EndReply, ClientError> {
        self.post(run, "release", &()).await
    }

    /// An object's bytes, or a range of them.
    pub async fn get_object(
        &self,
        run: RunRef,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, ClientError>>, ClientError> {
        let query = ObjectQuery { key: Some(key.to_owned()), ..ObjectQuery::default() };
        let mut request = self.lease(Method::GET, run, "objects").query(&query);
        if let Some(Range { start, end }) = range {
            // inclusive at both ends: RFC 9110, section 14.1.2
            request = request.header("range", format!("bytes={start}-{}", end.saturating_sub(1)));
        }
        let response = self.client.send(request).await?;
        let endpoint = self.client.endpoint().clone();
        Ok(response
            .bytes_stream()
            .map(move |chunk| chunk.map_err(|e| unreachable_error(&endpoint, &e)))
            .boxed())
    }

    /// Puts an object under the job's own part of `prefix`.
    pub async fn put_object(
        &self,
        run: RunRef,
        (prefix, name): (&str, &str),
        content_type: &str,
        bytes: Bytes,
    ) -> Result<StoredObject, ClientError> {
        self.put(run, prefix, name, content_type, bytes.len() as u64, Body::from(bytes)).await
    }

    /// The same from a local file, streamed.
    pub async fn put_object_file(
        &self,
        run: RunRef,
        (prefix, name): (&str, &str),
        content_type: &str,
        file: &Path,
    ) -> Result<StoredObject, ClientError> {
        let opened = tokio::fs::File::open(file).await.map_err(|e| file_error(file, e))?;
        let size = opened.metadata().await.map_err(|e| file_error(file, e))?.len();
        let stream = tokio_util::io::ReaderStream::with_capacity(opened, 256 * 1024);
        self.put(run, prefix, name, content_type, size, Body::wrap_stream(stream)).await
    }

    async fn put(
        &self,
        run: RunRef,
        prefix: &str,
        name: &str,
        content_type: &str,
        size: u64,
        body: Body,
    ) -> Result<StoredObject, ClientError> {
        let query = ObjectQuery {
            prefix: Some(prefix.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectQuery::default()
        };
        let request = self.lease(Method::PUT, run, "objects").query(&query);
        self.reply(request.header("content-type", content_type).header("content-length", size).body(body))
            .await
    }

    fn lease(&self, method: Method, run: RunRef, what: &str) -> RequestBuilder {
        self.client.request(method, &format!("{}/leases/{run}/{what}", self.base))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        run: RunRef,
        what: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.reply(self.lease(Method::POST, run, what).json(body).timeout(TIMEOUT)).await
    }

    /// A post whose success says all.
    async fn tell(&self, run: RunRef, what: &str, body: &impl Serialize) -> Result<(), ClientError> {
        self.client.send(self.lease(Method::POST, run, what).json(body).timeout(TIMEOUT)).await.map(drop)
    }

    async fn reply<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.client.send(request).await?;
        let body = response.bytes().await.map_err(|e| unreachable_error(self.client.endpoint(), &e))?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected {
            endpoint: self.client.endpoint().to_string(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_lets_nobody_in_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("windrow.sock");
        // it listens, and never accepts
        let _hangs = tokio::net::UnixListener::bind(&path).unwrap();
        let worker = WorkerClient::of_child(Client::new(Endpoint::Socket(path), None).unwrap());
        let asked = tokio::time::timeout(Duration::from_secs(3600), worker.attend("me")).await;
        let refused = asked.expect("it gives up").err().expect("nobody let it in");
        assert!(matches!(refused, ClientError::Unreachable { .. }), "{refused}");
    }
}
