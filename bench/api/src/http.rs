//! As little of HTTP/1.1 as it takes: requests are bytes made beforehand, of an answer only the status and the length are
//! read. So the client's processor time is next to nothing beside the server's, with which it shares the machine.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(8 * 1024) })
    }

    /// Sends one request and reads its whole answer: the status, and the body until the next call.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.read.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the server closed the connection");
            let Some(head) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let (status, length) = head_of(&self.read[..head])?;
            let end = head + 4 + length;
            while self.read.len() < end {
                ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the server closed the connection");
            }
            return Ok((status, &self.read[head + 4..end]));
        }
    }

    /// The same for what must succeed; gives the body as JSON.
    pub async fn json(&mut self, request: &[u8]) -> Result<Value> {
        let (status, body) = self.ask(request).await?;
        if !(200..300).contains(&status) {
            bail!("the server answered {status}: {}", String::from_utf8_lossy(body));
        }
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(body)?) }
    }
}

/// The status and the length of the body.
fn head_of(head: &[u8]) -> Result<(u16, usize)> {
    let text = std::str::from_utf8(head).context("an answer's head is text")?;
    let status = text.split(' ').nth(1).context("an answer has a status")?.parse()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
    });
    // without one there is no body here: nothing that is asked for answers in chunks
    Ok((status, length.transpose()?.unwrap_or(0)))
}

/// A request with a token, ready to be sent again and again.
pub fn request(method: &str, path: &str, token: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let length = body.len();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n");
    if length > 0 {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {length}\r\n"));
    } else if method != "GET" {
        head.push_str("content-length: 0\r\n");
    }
    head.push_str("\r\n");
    head.push_str(&body);
    head.into_bytes()
}
