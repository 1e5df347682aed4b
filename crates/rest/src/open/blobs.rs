//! `/blobs/…`: on the local disk the server stands in for a cloud's storage. The link is the permission, so there is no
//! login here; what may be done is in its query, signed.

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use windrow_app::Served;
use windrow_blob::ByteRange;

use crate::{ApiError, ApiResult, ApiRouter, ApiState, Path};

/// No part of the OpenAPI document: nobody builds these URLs but the server.
pub(crate) fn routes() -> ApiRouter {
    ApiRouter::new().route("/blobs/{*key}", get(read).put(write))
}

async fn read(
    State(state): State<ApiState>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let range = requested_range(&headers)?;
    let if_match = text(&headers, &header::IF_MATCH);
    let query = query.unwrap_or_default();
    let Served { reader, disposition, content_type } =
        state.app.serve_blob(&method, &key, &query, range, if_match).await?;
    let (size, span) = (reader.info.size, reader.range.clone());
    let partial = range.is_some();
    let body = if method == Method::HEAD { Body::empty() } else { Body::from_stream(reader.stream) };
    let mut response = body.into_response();
    *response.status_mut() = if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let headers = response.headers_mut();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::ACCEPT_RANGES, "bytes");
    set(header::CONTENT_LENGTH, &(span.end - span.start).to_string());
    set(header::CONTENT_TYPE, content_type.as_deref().unwrap_or("application/octet-stream"));
    // what a user uploaded is never run as a page of ours
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'");
    set(header::CONTENT_DISPOSITION, disposition.as_deref().unwrap_or("attachment"));
    if let Some(etag) = &reader.info.etag {
        set(header::ETAG, etag);
    }
    if partial {
        set(header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", span.start, span.end.saturating_sub(1)));
    }
    Ok(response)
}

async fn write(
    State(state): State<ApiState>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    let content_type = text(&parts.headers, &header::CONTENT_TYPE);
    let length = text(&parts.headers, &header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let query = query.unwrap_or_default();
    let receipt = state.app.receive_blob(&key, &query, content_type, length, body.into_data_stream()).await?;
    let etag = receipt.etag.and_then(|etag| HeaderValue::from_str(&etag).ok());
    let mut response = StatusCode::OK.into_response();
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// One byte range (RFC 9110, section 14.2). What is no range of bytes is ignored, as the RFC has it; several ranges at
/// once are refused.
fn requested_range(headers: &HeaderMap) -> ApiResult<Option<ByteRange>> {
    let Some(ranges) = text(headers, &header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    if ranges.contains(',') {
        let detail = "one range a request; ask for the others in requests of their own";
        return Err(ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail));
    }
    Ok(match ranges.trim().split_once('-') {
        Some(("", last)) => last.parse().ok().map(ByteRange::Last),
        Some((first, "")) => first.parse().ok().map(ByteRange::From),
        Some((first, last)) => match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => Some(ByteRange::Between(first, last.saturating_add(1))),
            _ => None,
        },
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(value: &str) -> Option<ByteRange> {
        let headers = HeaderMap::from_iter([(header::RANGE, value.parse().unwrap())]);
        requested_range(&headers).unwrap()
    }

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        assert_eq!(range("bytes=0-499"), Some(ByteRange::Between(0, 500)));
        assert_eq!(range("bytes=500-"), Some(ByteRange::From(500)));
        assert_eq!(range("bytes=-5"), Some(ByteRange::Last(5)));
        for ignored in ["bytes=5-2", "bytes=x-", "lines=1-2", "bytes=5"] {
            assert_eq!(range(ignored), None, "{ignored}");
        }
        let several = HeaderMap::from_iter([(header::RANGE, "bytes=0-1,4-5".parse().unwrap())]);
        assert!(requested_range(&several).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_range_is_read_ignored_or_refused(value in "[ -~]{0,30}|bytes=[0-9]{0,22}-[0-9]{0,22}(,[0-9]-[0-9])?") {
            let headers = HeaderMap::from_iter([(header::RANGE, value.parse().unwrap())]);
            if let Ok(Some(ByteRange::Between(first, end))) = requested_range(&headers) {
                proptest::prop_assert!(first < end || end == u64::MAX);
            }
        }
    }
}
