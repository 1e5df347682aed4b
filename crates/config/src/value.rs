//! Texts and TOML values into what sections hold.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;
use windrow_core::PicoUsd;

use crate::contract::Kind;

/// A value as it was found.
pub(crate) enum Raw<'a> {
    Text(&'a str),
    Toml(&'a toml::Value),
}

impl Raw<'_> {
    /// As people would write it; what `config check` shows.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Toml(toml::Value::String(text)) => text.clone(),
            Self::Toml(toml::Value::Array(items)) => {
                items.iter().map(|item| Raw::Toml(item).shown()).collect::<Vec<_>>().join(",")
            }
            Self::Toml(toml::Value::Integer(number)) => number.to_string(),
            // The shortest decimal form of a double is what was written, for every amount of up to 15 digits.
            Self::Toml(toml::Value::Float(number)) => number.to_string(),
            Self::Toml(toml::Value::Boolean(truth)) => truth.to_string(),
            Self::Toml(toml::Value::Datetime(time)) => time.to_string(),
            Self::Toml(toml::Value::Table(_)) => "(a section)".to_owned(),
        }
    }
}

/// Reads a value into the form that the sections' types deserialise from.
pub(crate) fn parse(kind: Kind, raw: &Raw<'_>) -> Result<Value, String> {
    if let Raw::Toml(toml::Value::Array(items)) = raw {
        return parse_array(kind, items);
    }
    if let Raw::Toml(toml::Value::Table(_) | toml::Value::Datetime(_)) = raw {
        return Err(format!("expected {}", kind.format()));
    }
    // A number or a truth value of TOML reads as its text: `beat = 2` is `WINDROW_BEAT=2`.
    let text = raw.shown();
    let text = text.trim();
    parse_text(kind, text)
        .ok_or_else(|| format!("{text:?} is no {}", describe(kind)))
        .and_then(|result| result)
}

fn describe(kind: Kind) -> String {
    match kind {
        Kind::OneOf(_) => format!("value of it; it is one of {}", kind.format()),
        _ => format!("valid value; expected {}", kind.format()),
    }
}

/// None for a value that is not of the kind; an error of its own where more can be said.
fn parse_text(kind: Kind, text: &str) -> Option<Result<Value, String>> {
    let value = match kind {
        Kind::Text | Kind::Path => json!(text),
        Kind::Bool => match text {
            "true" | "1" | "yes" | "on" => json!(true),
            "false" | "0" | "no" | "off" => json!(false),
            _ => return None,
        },
        Kind::Integer { min, max } => json!(text.parse().ok().filter(|n| (min..=max).contains(n))?),
        Kind::Bytes => json!(bytes(text)?),
        Kind::Duration => {
            let time = duration(text)?;
            json!({ "secs": time.as_secs(), "nanos": time.subsec_nanos() })
        }
        // The text as it was written: an issuer is compared letter by letter.
        Kind::Url => http_url(text).map(|_| json!(text))?,
        Kind::Ip => json!(text.parse::<IpAddr>().ok()?.to_string()),
        Kind::List => json!(split(text)),
        Kind::Origins => return Some(split(text).iter().map(|text| origin(text)).collect()),
        Kind::OneOf(values) => json!(values.iter().find(|value| **value == text)?),
        Kind::Money => match text.parse::<PicoUsd>() {
            Ok(amount) if amount >= PicoUsd::ZERO => json!(amount.to_string()),
            Ok(_) => return Some(Err("an amount must not be negative".into())),
            Err(error) => return Some(Err(error.to_string())),
        },
        Kind::Database => {
            let scheme = text.split(':').next().unwrap_or_default();
            match scheme {
                "sqlite" if text.len() > "sqlite:".len() => json!(text),
                "postgres" | "postgresql" => postgres_url(text).map(|_| json!(text))?,
                _ => return None,
            }
        }
        Kind::Postgres => postgres_url(text).map(|_| json!(text))?,
    };
    Some(Ok(value))
}

fn parse_array(kind: Kind, items: &[toml::Value]) -> Result<Value, String> {
    if !matches!(kind, Kind::List | Kind::Origins) {
        return Err(format!("expected {}, not a list", kind.format()));
    }
    let texts = items.iter().map(|item| item.as_str().ok_or("expected a list of texts".to_owned()));
    texts
        .map(|text| match (kind, text?) {
            (Kind::Origins, text) => origin(text),
            (_, text) => Ok(json!(text)),
        })
        .collect()
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// Scheme, host and port and nothing else, as a browser sends it (RFC 6454, section 6.2).
fn origin(text: &str) -> Result<Value, String> {
    match http_url(text) {
        Some(url) if url.origin().ascii_serialization() == text => Ok(json!(text)),
        Some(url) => {
            Err(format!("{text:?} is no origin; it would be {}", url.origin().ascii_serialization()))
        }
        None => Err(format!("{text:?} is no origin such as https://app.example.com")),
    }
}

fn http_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

fn postgres_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    matches!(url.scheme(), "postgres" | "postgresql").then_some(url)
}

/// A number and a unit, without fractions: `100MiB`, `512 KiB`, `1048576`.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A number and a unit, without fractions: `500ms`, `2s`, `15m`, `12h`, `90d`; a bare number counts seconds.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    // A hundred years: nothing here needs more, and sums with the time of day stay in range.
    number.checked_mul(factor).filter(|seconds| *seconds <= 36_500 * 86_400).map(Duration::from_secs)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_exact_and_nothing_else_passes() {
        for (text, expected) in
            [("0", 0), ("1MiB", 1 << 20), ("64 MiB", 64 << 20), ("5kb", 5000), ("1GiB", 1 << 30)]
        {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1TiBs", "99999999999999999999", "18446744073709551615KiB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        for (text, millis) in
            [("500ms", 500), ("2s", 2000), ("2", 2000), ("15m", 900_000), ("90d", 7_776_000_000)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1.5s", "1w", "-1s", "99999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_only() {
        assert!(origin("https://app.example.com").is_ok());
        assert!(origin("http://localhost:3000").is_ok());
        for text in
            ["https://app.example.com/", "https://app.example.com:443", "https://a.example/x", "*", "ftp://a"]
        {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_kind_says_what_it_expected() {
        for (kind, text, expected) in [
            (Kind::Bool, "maybe", "true or false"),
            (Kind::Integer { min: 1, max: 9 }, "10", "1 to 9"),
            (Kind::OneOf(&["a", "b"]), "c", "one of a | b"),
            (Kind::Url, "windrow.example.com", "http or https URL"),
            (Kind::Ip, "localhost", "IP address"),
            (Kind::Money, "-1", "negative"),
            (Kind::Database, "mysql://x", "sqlite:PATH"),
            (Kind::Database, "sqlite:", "sqlite:PATH"),
            (Kind::Postgres, "sqlite:x", "postgres://"),
        ] {
            let error = parse(kind, &Raw::Text(text)).unwrap_err();
            assert!(error.contains(expected), "{kind:?}: {error}");
        }
    }
}
