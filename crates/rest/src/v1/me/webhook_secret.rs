use axum::extract::State;
use windrow_api_types::WebhookSecret;

use crate::{ApiResult, ApiState, Caller};

/// Show what my webhooks are signed with
///
/// Receivers check the header `webhook-signature` with it (Standard Webhooks). It stays the same as long as the
/// installation's secret key does.
#[utoipa::path(
    get,
    path = "/v1/me/webhook-secret",
    operation_id = "me_webhook_secret",
    tag = "me",
    responses((status = 200, body = WebhookSecret), crate::Problems),
)]
pub(crate) async fn webhook_secret(
    State(state): State<ApiState>,
    Caller(actor): Caller,
) -> ApiResult<axum::Json<WebhookSecret>> {
    Ok(axum::Json(state.app.webhook_secret(&actor)?))
}
