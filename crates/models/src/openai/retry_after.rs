//! How long a server asks to be left alone.

use std::time::Duration;

use reqwest::header::HeaderMap;
use windrow_core::Timestamp;

/// A longer wish is cut to this: a run would have ended long before.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// `Retry-After` as seconds or an HTTP date (RFC 9110, 10.2.3), or OpenAI's and Azure's finer `retry-after-ms`. A date in the
/// past is zero; what is neither is as if absent.
pub(super) fn read(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let exact = text("retry-after-ms").and_then(|ms| duration(ms, 1e-3));
    exact.or_else(|| text("retry-after").and_then(|value| duration(value, 1.0).or_else(|| until(value, now))))
}

fn duration(number: &str, unit: f64) -> Option<Duration> {
    let amount: f64 = number.parse().ok().filter(|amount: &f64| !amount.is_nan())?;
    Duration::try_from_secs_f64((amount * unit).min(LONGEST.as_secs_f64())).ok()
}

/// HTTP dates are RFC 2822's with the zone `GMT`.
fn until(date: &str, now: Timestamp) -> Option<Duration> {
    let at = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(Timestamp::from_micros(at.as_microsecond()).since(now).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        let ms = Duration::from_millis;
        for (name, value, expected) in [
            ("retry-after", "20", Some(ms(20_000))),
            ("retry-after", "1.5", Some(ms(1_500))),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", Some(ms(37_000))),
            ("retry-after", "Sun, 06 Nov 1994 08:48:00 GMT", Some(ms(0))),
            ("retry-after", "99999999999999999999", Some(LONGEST)),
            ("retry-after-ms", "250", Some(ms(250))),
            ("retry-after", "-1", None),
            ("retry-after", "NaN", None),
            ("retry-after", "soon", None),
            ("x-other", "1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(reqwest::header::HeaderName::from_static(name), value.parse().unwrap());
            assert_eq!(read(&headers, now), expected, "{name}: {value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_a_wait_of_a_day_at_most_or_none(
            name in "retry-after(-ms)?",
            value in r"[ -~]{0,40}|-?[0-9]{0,25}(\.[0-9]{0,5})?([eE]-?[0-9]{1,4})?|[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(if name.ends_with("ms") { "retry-after-ms" } else { "retry-after" }, value.parse().unwrap());
            let wait = read(&headers, "2026-01-01T00:00:00Z".parse().unwrap());
            proptest::prop_assert!(wait.is_none_or(|wait| wait <= LONGEST), "{wait:?}");
        }
    }
}
