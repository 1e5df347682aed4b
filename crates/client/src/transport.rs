use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use url::Url;
use windrow_api_types::Problem;
use windrow_core::TraceParent;

use crate::partial::Partial;
use crate::{ClientError, EventStream};

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// `http://…` or `https://…`, without `/v1`.
    Url(Url),
    /// The Unix socket of a data directory's owner.
    Socket(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A connection to one server, as one user. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    base: String,
    token: Option<String>,
    position: fn() -> Option<TraceParent>,
}

/// How long an ordinary request may take. Streams and long polls set their own.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The same where the server reads a whole object before it answers.
const LONG_TIMEOUT: Duration = Duration::from_secs(3600);

impl Client {
    /// `token` is a JWT or an API key; without one the server's own rule for anonymous requests holds.
    pub fn new(endpoint: Endpoint, token: Option<String>) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let base = match &endpoint {
            Endpoint::Url(_) => endpoint.to_string(),
            Endpoint::Socket(path) => {
                builder = builder.unix_socket(path.as_path());
                "http://windrow".to_owned()
            }
        };
        let http = builder.build().map_err(|e| unreachable_error(&endpoint, &e))?;
        Ok(Self { http, endpoint, base, token, position: || None })
    }

    /// The same server and user through connections of its own, for a runtime of its own.
    pub fn reconnect(&self) -> Result<Self, ClientError> {
        let position = self.position;
        Ok(Self { position, ..Self::new(self.endpoint.clone(), self.token.clone())? })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same server, as another user.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The same, telling the server in each request where the caller stands in a trace at that moment, if anywhere.
    #[must_use]
    pub fn traced(&self, position: fn() -> Option<TraceParent>) -> Self {
        Self { position, ..self.clone() }
    }

    /// A request to `path` (`/v1/…`), to be completed and given to [`Client::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(at) = (self.position)() {
            request = request.header("traceparent", at.to_string());
        }
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends; an answer that is not a success becomes the problem it carries.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|e| unreachable_error(&self.endpoint, &e))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|e| unreachable_error(&self.endpoint, &e))?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => {
                Err(ClientError::Refused { endpoint: self.endpoint.to_string(), status: status.as_u16() })
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        self.json_within(TIMEOUT, request).await
    }

    async fn json_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.send(request.timeout(limit)).await?;
        let body = response.bytes().await.map_err(|e| unreachable_error(&self.endpoint, &e))?;
        serde_json::from_slice(&body).map_err(|e| self.unexpected(e.to_string()))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path)).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// A post that may take an hour: the end of an upload, for which the server reads all of it.
    pub async fn post_long<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.json_within(LONG_TIMEOUT, self.request(Method::POST, path).json(body)).await
    }

    /// A post that the server recognises when it is repeated with the same `key`.
    pub async fn post_idempotent<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.json(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.json(self.request(Method::PUT, path).json(body)).await
    }

    /// Deletes; an empty answer is expected.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, path).timeout(TIMEOUT)).await.map(|_| ())
    }

    /// Server-sent events from `path`, after the event with id `last`.
    pub async fn events(&self, path: &str, last: Option<&str>) -> Result<EventStream, ClientError> {
        let mut request = self.request(Method::GET, path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.send(request).await?;
        Ok(EventStream::new(self.endpoint.clone(), response))
    }

    /// Puts a file to a presigned URL, streamed, with the headers that were signed.
    pub async fn put_file(
        &self,
        url: &str,
        headers: impl IntoIterator<Item = (String, String)>,
        file: &Path,
        on_bytes: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), ClientError> {
        let opened = tokio::fs::File::open(file).await.map_err(|e| file_error(file, e))?;
        let size = opened.metadata().await.map_err(|e| file_error(file, e))?.len();
        let stream = tokio_util::io::ReaderStream::with_capacity(opened, 256 * 1024)
            .inspect_ok(move |chunk| on_bytes(chunk.len() as u64));
        let mut request = self.http.put(self.through_endpoint(url)).header("content-length", size);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request.body(reqwest::Body::wrap_stream(stream))).await.map(|_| ())
    }

    /// Puts bytes in memory to a presigned URL, with the headers that were signed.
    pub async fn put_bytes(
        &self,
        url: &str,
        headers: impl IntoIterator<Item = (String, String)>,
        bytes: Bytes,
    ) -> Result<(), ClientError> {
        let mut request = self.http.put(self.through_endpoint(url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request.body(bytes)).await.map(|_| ())
    }

    /// Follows a download (`/v1/…/download` or a presigned URL) and streams it.
    pub async fn download(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        let mut response = self.send(self.request(Method::GET, path)).await?;
        if response.status() == StatusCode::FOUND {
            let location =
                response.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or_default();
            response = self.send(self.http.get(self.through_endpoint(location))).await?;
        }
        let endpoint = self.endpoint.clone();
        Ok(response.bytes_stream().map_err(move |e| unreachable_error(&endpoint, &e)))
    }

    /// Downloads into a file, which is replaced when there is one; it appears under its name only when it is whole. Whatever the
    /// end, and where the future is dropped, nothing else stays in its folder. Gives the size in bytes.
    ///
    /// # Errors
    /// The server's or the file system's.
    pub async fn download_to(&self, path: &str, file: &Path) -> Result<u64, ClientError> {
        let mut stream = std::pin::pin!(self.download(path).await?);
        let (partial, out) = Partial::beside(file).map_err(|e| file_error(file, e))?;
        let mut out = tokio::fs::File::from_std(out);
        let mut size = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            size += chunk.len() as u64;
            out.write_all(&chunk).await.map_err(|e| file_error(file, e))?;
        }
        out.sync_all().await.map_err(|e| file_error(file, e))?;
        partial.becomes(file).map_err(|e| file_error(file, e))?;
        Ok(size)
    }

    /// A presigned URL of the server's own is reached through the same socket as the rest.
    fn through_endpoint(&self, url: &str) -> String {
        if url.starts_with('/') {
            return format!("{}{url}", self.base);
        }
        match (&self.endpoint, Url::parse(url)) {
            (Endpoint::Socket(_), Ok(parsed)) if parsed.path().starts_with("/blobs/") => {
                let query = parsed.query().map(|q| format!("?{q}")).unwrap_or_default();
                format!("{}{}{query}", self.base, parsed.path())
            }
            _ => url.to_owned(),
        }
    }

    fn unexpected(&self, reason: String) -> ClientError {
        ClientError::Unexpected { endpoint: self.endpoint.to_string(), reason }
    }
}

pub(crate) fn unreachable_error(endpoint: &Endpoint, error: &reqwest::Error) -> ClientError {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    ClientError::Unreachable { endpoint: endpoint.to_string(), reason }
}

pub(crate) fn file_error(path: &Path, reason: std::io::Error) -> ClientError {
    ClientError::File { path: path.display().to_string(), reason }
}
