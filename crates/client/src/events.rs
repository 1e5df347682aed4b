use bytes::BytesMut;
use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::transport::unreachable_error;
use crate::{ClientError, Endpoint};

/// Server-sent events of one connection (WHATWG HTML, section 9.2), as typed JSON.
pub struct EventStream {
    endpoint: Endpoint,
    response: Response,
    buffer: BytesMut,
    last_id: Option<String>,
}

/// One event as it stood in the stream.
struct Frame {
    id: Option<String>,
    data: String,
}

impl EventStream {
    pub(crate) fn new(endpoint: Endpoint, response: Response) -> Self {
        Self { endpoint, response, buffer: BytesMut::new(), last_id: None }
    }

    /// The id to go on from after a cut connection.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next event; none when the server has ended the stream.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            while let Some(frame) = take_frame(&mut self.buffer) {
                if frame.data.is_empty() {
                    continue; // a keep-alive comment
                }
                let event = serde_json::from_str(&frame.data).map_err(|e| ClientError::Unexpected {
                    endpoint: self.endpoint.to_string(),
                    reason: format!("an event that is not understood: {e}"),
                })?;
                self.last_id = frame.id.or(self.last_id.take());
                return Ok(Some(event));
            }
            match self.response.chunk().await.map_err(|e| unreachable_error(&self.endpoint, &e))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Takes one whole event off the front of the buffer. Our servers end lines with LF alone.
fn take_frame(buffer: &mut BytesMut) -> Option<Frame> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let text = String::from_utf8_lossy(&buffer.split_to(end + 2)).into_owned();
    let mut frame = Frame { id: None, data: String::new() };
    for line in text.lines() {
        match line.split_once(':') {
            Some(("id", value)) => frame.id = Some(value.trim_start().to_owned()),
            Some(("data", value)) => {
                if !frame.data.is_empty() {
                    frame.data.push('\n');
                }
                frame.data.push_str(value.strip_prefix(' ').unwrap_or(value));
            }
            _ => {}
        }
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_in_order() {
        let mut buffer =
            BytesMut::from(": hi\n\nid: 3.1.0\nevent: job\ndata: {\"a\":\ndata: 1}\n\nid: 4\nda".as_bytes());
        assert_eq!(take_frame(&mut buffer).unwrap().data, "");
        let frame = take_frame(&mut buffer).unwrap();
        assert_eq!((frame.id.as_deref(), frame.data.as_str()), (Some("3.1.0"), "{\"a\":\n1}"));
        assert!(take_frame(&mut buffer).is_none());
        buffer.extend_from_slice(b"ta: 2\n\n");
        assert_eq!(take_frame(&mut buffer).unwrap().data, "2");
    }
}
