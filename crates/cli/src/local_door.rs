//! What only the installation's own machine may do, through the socket of the data directory: give roles as its
//! operator. The socket is readable by its user alone; that is the permission.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use windrow_api_types::{ChangeUser, User};
use windrow_app::{App, Authority};
use windrow_client::Client;
use windrow_core::Role;
use windrow_rest::ApiResult;

const GRANT: &str = "/local/grant";

/// A role for a user, who is made when absent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    pub(crate) sub: String,
    /// None leaves it as it is.
    pub(crate) role: Option<Role>,
    pub(crate) reason: String,
}

pub(crate) fn routes(app: App) -> Router {
    Router::new().route(GRANT, post(grant)).with_state(app)
}

async fn grant(State(app): State<App>, Json(wish): Json<Grant>) -> ApiResult<Json<User>> {
    Ok(Json(give(&app, wish).await?))
}

/// The same where the database is open already.
pub(crate) async fn give(app: &App, wish: Grant) -> Result<User, windrow_app::AppError> {
    let Grant { sub, role, reason } = wish;
    if role.is_none() {
        let actor = app.local_actor(&sub).await?;
        return Ok(app.me(&actor).await?.user);
    }
    let change = ChangeUser { role, status: None, reason };
    app.grant(Authority::Operator, &sub, &change).await
}

pub(crate) async fn ask(client: &Client, wish: &Grant) -> Result<User, windrow_client::ClientError> {
    client.post(GRANT, wish).await
}
