//! The extractors that every route uses, the platform's and the workloads': who is calling, and strict reading of what
//! they sent. Each refusal is a problem document that says where the fault is.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use windrow_app::Actor;
use windrow_core::FieldError;

use crate::{ApiError, ApiState, CurrentRequestId, CurrentTrace};

/// The user or service behind a request, with the role that the database gives it. Taking it makes a route private.
#[derive(Clone, Debug)]
pub struct Caller(pub Actor);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let authorization = match parts.headers.get(header::AUTHORIZATION) {
            None => None,
            Some(value) => Some(value.to_str().map_err(|_| {
                ApiError::new(
                    StatusCode::UNAUTHORIZED,
                    "malformed_token",
                    "the Authorization header is not plain ASCII",
                )
            })?),
        };
        let request_id = parts.extensions.get::<CurrentRequestId>().map(|id| id.0.clone());
        let mut actor = state.app.authenticate(authorization, request_id).await?;
        actor.traceparent = parts.extensions.get::<CurrentTrace>().map(|trace| trace.0);
        tracing::Span::current().record("owner", actor.owner().0);
        Ok(Self(actor))
    }
}

/// How many levels of arrays and objects a body may nest. (serde_json refuses at 128 by itself; this is about specs
/// that are stored and handed on.)
const MAX_DEPTH: usize = 64;

/// A JSON body, read strictly: faults are named by JSON pointer, unknown fields refused where the type says so.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        expect_json(&request)?;
        read_json(&body(request, state).await?).map(Self)
    }
}

/// A JSON body that may be left out: without one, the type's default.
pub struct OptionalJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = expect_json(&request);
        let bytes = body(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json?;
        read_json(&bytes).map(Self)
    }
}

fn expect_json(request: &Request) -> Result<(), ApiError> {
    let content_type =
        request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence != "application/json" && !essence.ends_with("+json") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send the body as JSON, with Content-Type: application/json",
        ));
    }
    Ok(())
}

async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let status = rejection.status();
        let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "body_too_large" } else { "unreadable_body" };
        ApiError::new(status, code, rejection.body_text())
    })
}

/// Reads JSON as the [`Json`] extractor does.
pub fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if let Some(depth) = depth_beyond(bytes, MAX_DEPTH) {
        let detail = format!("the body nests {depth} levels deep or more; the limit is {MAX_DEPTH}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "too_deep", detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.inner();
        if inner.is_data() {
            ApiError::invalid(
                "the body is not as expected",
                vec![FieldError::new(pointer, strip_position(inner))],
            )
        } else {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                format!("the body is not valid JSON: {inner}"),
            )
        }
    })?;
    deserializer.end().map_err(|e| {
        ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not valid JSON: {e}"))
    })?;
    Ok(value)
}

/// The query string, read strictly.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|query| Self(query.0))
            .map_err(|e| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", e.body_text()))
    }
}

/// A part of the path. One that can't be an id names nothing: 404, as for an id that nobody has.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map(|path| Self(path.0))
            .map_err(|_| ApiError::not_found("resource"))
    }
}

/// The value of an `Idempotency-Key` header, if there is one.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        match value.to_str() {
            Ok(key) if (1..=255).contains(&key.len()) => Ok(Self(Some(key.to_owned()))),
            _ => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_idempotency_key",
                "Idempotency-Key must be 1 to 255 printable ASCII characters",
            )),
        }
    }
}

/// The nesting at which a JSON text exceeds `limit`, found without building it. Text in strings does not count.
fn depth_beyond(bytes: &[u8], limit: usize) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return Some(depth);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")));
            }
            Segment::Enum { variant } => pointer.push_str(&format!("/{variant}")),
            Segment::Unknown => {}
        }
    }
    pointer
}

/// serde_json ends its messages with "at line 1 column 7", which means nothing to who sent a compact body.
fn strip_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |at| text[..at].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Body {
        items: Vec<u8>,
    }

    fn problem(bytes: &[u8]) -> (StatusCode, windrow_api_types::Problem) {
        let response = read_json::<Body>(bytes).unwrap_err().into_response();
        let body = response.extensions().get::<crate::problem::ProblemBody>().unwrap().0.clone();
        (response.status(), *body)
    }

    #[test]
    fn a_wrong_type_is_named_by_pointer() {
        let (status, problem) = problem(br#"{"items": [1, 2, "x"]}"#);
        assert_eq!(status, 422);
        assert_eq!(problem.errors[0].pointer, "/items/2");
        assert!(!problem.errors[0].message.contains("column"));
    }

    #[test]
    fn broken_json_is_a_400() {
        for body in [&b"{"[..], b"{\"items\": []} x", b"\xff\xfe", b"{\"items\": [1,]}", b""] {
            let (status, problem) = problem(body);
            assert_eq!((status.as_u16(), problem.code.as_str()), (400, "malformed_json"), "{body:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_read() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(problem(&deep).1.code, "too_deep");
        let text = br#"{"items": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#;
        assert_eq!(problem(text).1.code, "invalid_request");
    }
}
