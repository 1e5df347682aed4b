use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::TryStreamExt as _;
use windrow_api_types::worker::{ObjectQuery, StoredObject};
use windrow_engine::{Engine as _, PutPlace};

use super::Leased;
use crate::{ApiError, ApiResult, Query};

/// Put an object under the job's own part of a prefix
///
/// `prefix` is one of `checkpoints`, `outputs`, `artifacts`, `generated`; `name` is unique within the run. The body is the object's bytes.
#[utoipa::path(
    put,
    path = "/v1/worker/leases/{lease_id}/objects",
    operation_id = "worker_put_object",
    tag = "worker",
    params(("lease_id" = String, Path), ObjectQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = StoredObject), crate::Problems),
)]
pub(crate) async fn put(
    lease: Leased,
    Query(place): Query<ObjectQuery>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<axum::Json<StoredObject>> {
    let (Some(prefix), Some(name)) = (&place.prefix, &place.name) else {
        return Err(invalid_query("name `prefix` and `name`"));
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let place = PutPlace { prefix, name, content_type: content_type.unwrap_or("application/octet-stream") };
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    Ok(axum::Json(lease.engine.put_stream(lease.run, place, bytes).await?))
}

/// Read an object of the job's owner, or a shared one
///
/// Or of an upload of his. A `Range` of bytes with a first and a last offset is honoured.
#[utoipa::path(
    get,
    path = "/v1/worker/leases/{lease_id}/objects",
    operation_id = "worker_get_object",
    tag = "worker",
    params(("lease_id" = String, Path), ObjectQuery),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), crate::Problems),
)]
pub(crate) async fn get(
    lease: Leased,
    Query(wanted): Query<ObjectQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let key = match (wanted.key, wanted.upload) {
        (Some(key), None) => key,
        (None, Some(upload)) => lease.engine.object_of_upload(lease.run, upload).await?,
        _ => return Err(invalid_query("name the object's `key`, or an `upload`")),
    };
    let range = match headers.get(header::RANGE) {
        None => None,
        Some(value) => Some(value.to_str().ok().and_then(byte_range).ok_or_else(|| {
            let detail = "a Range here is bytes=FIRST-LAST";
            ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "invalid_range", detail)
        })?),
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let stream = lease.engine.get(lease.run, &key, range).await?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((status, headers, Body::from_stream(stream)).into_response())
}

fn invalid_query(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", detail)
}

/// `bytes=FIRST-LAST`, both included (RFC 9110, section 14.1.2), as a half-open range.
fn byte_range(header: &str) -> Option<std::ops::Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| first..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::byte_range;

    #[test]
    fn a_range_has_both_ends() {
        assert_eq!(byte_range("bytes=2-4"), Some(2..5));
        for bad in ["bytes=4-2", "bytes=-5", "bytes=5-", "lines=1-2", "bytes=1-2,4-5"] {
            assert_eq!(byte_range(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_range_or_none(text in "[ -~]{0,30}|bytes=[0-9]{0,22}-[0-9]{0,22}") {
            if let Some(range) = byte_range(&text) {
                proptest::prop_assert!(range.start < range.end || range.end == u64::MAX);
            }
        }
    }
}
