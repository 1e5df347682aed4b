//! Programs in Python that tests stand beside: readers of our files that we didn't write, and a real language model.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long the model's server may take to load 98 MB on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The Python interpreter that has the packages of `scripts/test-requirements.txt`: `WINDROW_TEST_PYTHON`, else the one
/// that `scripts/setup-tests` makes in the user's cache directory.
///
/// # Panics
/// When there is none; the message says what to run.
#[must_use]
pub fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let made = cache.map(|cache| cache.join("windrow/venv/bin/python"));
    std::env::var_os("WINDROW_TEST_PYTHON")
        .map(PathBuf::from)
        .or(made)
        .filter(|path| path.is_file())
        .expect("no Python for tests; run scripts/setup-tests (or set WINDROW_TEST_PYTHON)")
}

/// SmolLM2-135M-Instruct behind llama.cpp's own OpenAI-compatible HTTP server, on a free loopback port. It ends when it
/// is dropped, and when the test's process dies. About 150 tokens a second on two cores; don't assert on what it says.
pub struct SmallModel {
    // Its standard input is the line it lives on.
    _server: Child,
    ready: Ready,
}

#[derive(Deserialize)]
struct Ready {
    base_url: String,
    model: String,
}

impl SmallModel {
    /// Starts the server; it answers when this returns.
    ///
    /// # Panics
    /// When there is no Python for tests or the server doesn't start; the message has what it printed.
    pub async fn start() -> Self {
        let mut server = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/small_model.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the interpreter for tests runs");
        let stdout = server.stdout.take().expect("stdout is piped");
        let mut stderr = server.stderr.take().expect("stderr is piped");
        let log = tokio::spawn(async move {
            let mut log = Vec::new();
            // Read to the end, also after the start: a full pipe would stop the server.
            stderr.read_to_end(&mut log).await.ok();
            String::from_utf8_lossy(&log).into_owned()
        });
        let mut line = String::new();
        let read = tokio::time::timeout(START_LIMIT, BufReader::new(stdout).read_line(&mut line)).await;
        if !matches!(read, Ok(Ok(length)) if length > 0) {
            server.kill().await.ok();
            panic!("the small model didn't start ({read:?}):\n{}", log.await.unwrap_or_default());
        }
        let ready = serde_json::from_str(&line).expect("small_model.py prints one JSON line");
        Self { _server: server, ready }
    }

    /// What goes into a client's base URL: `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.ready.base_url
    }

    /// The name to ask for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.ready.model
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;

    async fn models(address: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /v1/models HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn the_small_model_answers_and_ends_with_its_owner() {
        let server = SmallModel::start().await;
        let address = server.base_url().trim_start_matches("http://").trim_end_matches("/v1").to_owned();
        let answer = models(&address).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(server.model()), "{answer}");

        let SmallModel { _server: mut process, .. } = server;
        drop(process.stdin.take());
        let status =
            tokio::time::timeout(START_LIMIT, process.wait()).await.expect("it ends by itself").unwrap();
        assert!(status.success(), "{status}");
        assert!(models(&address).await.is_err());
    }
}
