//! Cursors: opaque texts that name the last item of a page.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use windrow_api_types::Page;

use crate::AppError;

fn encode(key: impl Display) -> String {
    URL_SAFE_NO_PAD.encode(key.to_string())
}

/// # Errors
/// [`AppError::BadCursor`] for anything that no page gave.
pub(crate) fn decode<K: FromStr>(cursor: Option<&str>) -> Result<Option<K>, AppError> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| AppError::BadCursor)?;
    let text = String::from_utf8(bytes).map_err(|_| AppError::BadCursor)?;
    text.parse().map(Some).map_err(|_| AppError::BadCursor)
}

/// A page of at most `size` items out of `rows`, of which one more than that was asked for.
pub(crate) fn page<R, T, K: Display>(
    mut rows: Vec<R>,
    size: u32,
    key: impl Fn(&R) -> K,
    view: impl FnMut(R) -> T,
) -> Page<T> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let next_cursor = if more { rows.last().map(|row| encode(key(row))) } else { None };
    Page { items: rows.into_iter().map(view).collect(), next_cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_cursor_only_when_there_is_more() {
        let first = page(vec![1, 2, 3], 2, |n| *n, |n| n * 10);
        assert_eq!(first.items, [10, 20]);
        assert_eq!(decode::<i64>(first.next_cursor.as_deref()).unwrap(), Some(2));
        assert_eq!(page(vec![1, 2], 2, |n| *n, |n| n).next_cursor, None);
    }

    #[test]
    fn what_no_page_gave_is_refused() {
        for cursor in ["", "!", "YWJj", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw"] {
            assert!(matches!(decode::<i64>(Some(cursor)), Err(AppError::BadCursor)), "{cursor}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_place_or_refused(text in ".{0,40}|[A-Za-z0-9_-]{0,60}", key: i64) {
            if let Ok(Some(place)) = decode::<i64>(Some(&text)) {
                proptest::prop_assert_eq!(decode::<i64>(Some(&encode(place))).unwrap(), Some(place));
            }
            let _ = decode::<windrow_core::JobId>(Some(&text));
            proptest::prop_assert_eq!(decode::<i64>(Some(&encode(key))).unwrap(), Some(key));
        }
    }
}
