//! A model server on the loopback, in a process of its own: it speaks as much of OpenAI's chat completions as the client
//! needs (HTTP/1.1, keep-alive, bodies with a length), answers each call after the same time, and keeps count.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// What a model says: about 250 characters, as long as a short poem.
pub(crate) const ANSWER: &str = "The storm has gone behind the hill,\\nthe gutters talk, the lane is still.\\nA \
    kettle sings; the lamp is lit;\\nthe dog has found a place to sit.\\nWe count the slates the wind has thrown\\nand \
    say the night was not our own.\\nBut morning comes, and coats are dry.";

/// What the server counted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    /// The most that were in its hands at once.
    pub(crate) most: u64,
}

#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
}

/// Serves until its standard input ends: then whoever started it is gone.
pub(crate) async fn serve(latency: Duration) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let tally = Arc::new(Tally::default());
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let tally = Arc::clone(&tally);
            tokio::spawn(async move {
                if let Err(error) = talk(stream, latency, &tally).await {
                    eprintln!("a connection ended: {error:#}");
                }
            });
        }
    };
    let mut nothing = Vec::new();
    tokio::select! {
        ended = accept => ended,
        _ = async { tokio::io::stdin().read_to_end(&mut nothing).await } => Ok(()),
    }
}

async fn talk(stream: TcpStream, latency: Duration, tally: &Tally) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(16 << 10, reader);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let asks = line.starts_with("GET ");
        let mut length = 0;
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line).await?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body).await?;
        let answer = if asks { counts(tally)? } else { answer(latency, tally).await };
        writer.write_all(answer.as_bytes()).await?;
    }
}

fn counts(tally: &Tally) -> Result<String> {
    let counts =
        Counts { calls: tally.calls.swap(0, Ordering::Relaxed), most: tally.most.swap(0, Ordering::Relaxed) };
    Ok(response(&serde_json::to_string(&counts)?))
}

async fn answer(latency: Duration, tally: &Tally) -> String {
    let now = tally.now.fetch_add(1, Ordering::Relaxed) + 1;
    tally.most.fetch_max(now, Ordering::Relaxed);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    tally.now.fetch_sub(1, Ordering::Relaxed);
    let call = tally.calls.fetch_add(1, Ordering::Relaxed);
    response(&format!(
        r#"{{"id":"call-{call}","object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant","content":"{ANSWER}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":180,"completion_tokens":70,"total_tokens":250}}}}"#
    ))
}

fn response(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    pub(crate) async fn start(latency: Duration) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("stub").arg(latency.as_millis().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("the model server starts")?;
        let stdout = process.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        Ok(Self { process, port: line.trim().parse().context("the model server's port")? })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let id = self.process.id().context("the model server runs")?;
        windrow_bench_gauge::cpu_seconds(&id.to_string())
    }

    /// What it counted since it was asked last.
    pub(crate) async fn counts(&self) -> Result<Counts> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(b"GET /counts HTTP/1.1\r\n\r\n").await?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::from("-"), 0);
        while line.trim_end() != "" {
            line.clear();
            ensure!(reader.read_line(&mut line).await? > 0, "the model server hung up");
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await?;
        Ok(serde_json::from_slice(&body)?)
    }
}
