use axum::extract::State;
use uuid::Uuid;
use windrow_api_types::Page;
use windrow_api_types::page::page_size;
use windrow_app::AppError;
use windrow_rest::{ApiResult, ApiState, Caller, Problems, Query};

use super::head;
use crate::routes::errors;
use crate::store::templates::{Search, Template};
use crate::use_cases::templates;
use crate::wire::{TemplateHead, TemplateQuery};

/// Find templates
///
/// Your own and the public ones, by name.
#[utoipa::path(
    get,
    path = "/v1/templates",
    operation_id = "templates_list",
    tag = "templates",
    params(TemplateQuery),
    responses((status = 200, body = Page<TemplateHead>), Problems),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<TemplateQuery>,
) -> ApiResult<axum::Json<Page<TemplateHead>>> {
    actor.may_read()?;
    let size = page_size(query.limit);
    let after = query.cursor.as_deref().map(|cursor| place(cursor).ok_or(AppError::BadCursor)).transpose()?;
    let search =
        Search { text: query.text, category: query.category, mine: query.mine, after, limit: size + 1 };
    let mut conn = state.app.read().await?;
    let mut rows = templates::search(&mut conn, actor.owner(), &search)
        .await
        .map_err(|error| errors::template(error, ""))?;
    drop(conn);
    let more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next_cursor = rows.last().filter(|_| more).map(cursor);
    let items = rows.into_iter().map(|row| head(row, actor.owner())).collect();
    Ok(axum::Json(Page { items, next_cursor }))
}

/// Opaque: the last name and id of a page.
fn cursor(last: &Template) -> String {
    hex::encode(format!("{}/{}", last.id, last.name))
}

fn place(cursor: &str) -> Option<(String, Uuid)> {
    let text = String::from_utf8(hex::decode(cursor).ok()?).ok()?;
    let (id, name) = text.split_once('/')?;
    Some((name.to_owned(), id.parse().ok()?))
}
