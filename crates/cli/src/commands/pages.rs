//! Lists that are longer than a page of the API.

use serde::de::DeserializeOwned;
use windrow_api_types::Page;
use windrow_client::{Client, ClientError};
use windrow_plugin::Console;

use crate::commands::encode;
use crate::output;

/// The most that the API gives at once.
const PAGE: usize = 200;

/// The first `most` items of a list, or all of them, page by page. `path` has a query, to which the page's is added. The cursor
/// that is left says that there are more.
///
/// # Errors
/// The first page that can't be had.
pub(crate) async fn collect<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    most: Option<u32>,
) -> Result<Page<T>, ClientError> {
    let most = most.map_or(usize::MAX, |most| most as usize);
    let mut all = Page { items: Vec::new(), next_cursor: None };
    loop {
        let limit = PAGE.min(most - all.items.len());
        let after = all.next_cursor.map(|cursor| format!("&cursor={}", encode(&cursor))).unwrap_or_default();
        let page: Page<T> = client.get(&format!("{path}&limit={limit}{after}")).await?;
        all.items.extend(page.items);
        all.next_cursor = page.next_cursor;
        if all.next_cursor.is_none() || all.items.len() >= most {
            return Ok(all);
        }
    }
}

/// Tells people that a list is not whole, and how to have more of it.
pub(crate) fn note_more<T>(console: Console, page: &Page<T>, how: &str) {
    if page.next_cursor.is_some() {
        output::note(console, format_args!("the first {}; there are more: {how}", page.items.len()));
    }
}
