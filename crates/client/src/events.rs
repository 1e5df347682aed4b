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
    use proptest::prelude::*;

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

    /// All frames of a stream that comes in pieces of these sizes, over and over.
    fn taken(stream: &[u8], pieces: &[usize]) -> Vec<(Option<String>, String)> {
        let (mut buffer, mut frames, mut rest) = (BytesMut::new(), Vec::new(), stream);
        for size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, left) = rest.split_at((*size).min(rest.len()));
            buffer.extend_from_slice(piece);
            frames.extend(std::iter::from_fn(|| take_frame(&mut buffer)).map(|frame| (frame.id, frame.data)));
            rest = left;
        }
        frames
    }

    proptest! {
        #[test]
        fn what_is_sent_is_taken_however_it_is_cut(
            sent in prop::collection::vec(("[0-9.]{1,8}", "[^\\p{C}]{1,40}", any::<bool>()), 0..6),
            pieces in prop::collection::vec(1usize..40, 1..6),
        ) {
            let mut stream = String::new();
            for (id, data, keep_alive) in &sent {
                stream += if *keep_alive { ":\n\n" } else { "" };
                stream += &format!("id: {id}\nevent: job\ndata: {data}\n\n");
            }
            let frames = taken(stream.as_bytes(), &pieces);
            let events: Vec<_> = frames.into_iter().filter(|(_, data)| !data.is_empty()).collect();
            let wanted: Vec<_> = sent.iter().map(|(id, data, _)| (Some(id.clone()), data.clone())).collect();
            prop_assert_eq!(events, wanted);
        }

        #[test]
        fn any_bytes_give_the_same_frames_however_they_are_cut(
            stream in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b':'), any::<u8>()], 0..300),
            pieces in prop::collection::vec(1usize..40, 1..6),
        ) {
            prop_assert_eq!(taken(&stream, &pieces), taken(&stream, &[1_000]));
        }
    }
}
