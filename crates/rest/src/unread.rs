//! Reads what an answer left unread of its request's body.
//!
//! A request may be refused before its body is looked at: no such lease, a token that expired. A server that then closes
//! the connection under a client that still writes makes the kernel send a reset, which may overtake the answer (RFC 9112,
//! section 9.6), and the client learns nothing of why.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::{Stream, StreamExt as _};
use tokio::sync::oneshot;

/// The most that is read for nothing, in bytes; who sends more is cut off.
const MOST: usize = 2 * 1024 * 1024;

/// How long a client may take to send it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body that comes back when whoever reads it has had enough.
struct Lent {
    body: Option<BodyDataStream>,
    back: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = body.poll_next_unpin(context);
        if let Poll::Ready(None | Some(Err(_))) = polled {
            self.body = None;
        }
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // nobody waits for it when the request itself was given up
            let _ = back.send(body);
        }
    }
}

/// Answers once the rest of the request's body is read, within limits.
pub(crate) async fn read_the_rest(request: Request, next: Next) -> Response {
    let (back, mut returned) = oneshot::channel();
    let request = request.map(|body| {
        let lent = Lent { body: Some(body.into_data_stream()), back: Some(back) };
        Body::from_stream(lent)
    });
    let response = next.run(request).await;
    if let Ok(mut rest) = returned.try_recv() {
        let read = async {
            let mut read = 0;
            while let Some(Ok(chunk)) = rest.next().await {
                read += chunk.len();
                if read > MOST {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(PATIENCE, read).await;
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn who_is_refused_early_learns_why() {
        let refuse = post(|| async { axum::http::StatusCode::UNAUTHORIZED });
        let router = Router::new().route("/", refuse).layer(axum::middleware::from_fn(read_the_rest));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n";
        client.write_all(head).await.unwrap();
        // as most clients do: all of it is sent before anything is read
        for _ in 0..100 {
            client.write_all(&[b'x'; 10_000]).await.unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}
