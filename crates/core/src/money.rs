//! Exact money.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount of money in pico-USD (1e-12 USD), exact. The range is about ± 9.2 million USD. On the wire it is a
/// string of decimal USD (`"0.000125"`); a JSON number is accepted where one is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PicoUsd(i64);

const PER_USD: i64 = 1_000_000_000_000;
const DECIMALS: usize = 12;

impl PicoUsd {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self(i64::MAX);

    pub const fn from_pico(pico: i64) -> Self {
        Self(pico)
    }

    pub const fn as_pico(self) -> i64 {
        self.0
    }

    /// Whole dollars, saturating.
    pub const fn from_usd(usd: i64) -> Self {
        Self(usd.saturating_mul(PER_USD))
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum, staying at the end of the range instead of wrapping: a worst case never becomes small.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This price a unit, times a number of units, saturating.
    #[must_use]
    pub fn saturating_mul(self, units: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(units).unwrap_or(i64::MAX)))
    }
}

impl Sum for PicoUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for PicoUsd {
    /// Decimal USD with as many places as it takes, at least two: `0.00`, `1.50`, `0.000000000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let pico = self.0.unsigned_abs();
        let fraction = format!("{:012}", pico % PER_USD.unsigned_abs());
        let places = fraction.trim_end_matches('0').len().max(2);
        f.pad(&format!("{sign}{}.{}", pico / PER_USD.unsigned_abs(), &fraction[..places]))
    }
}

impl fmt::Debug for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} USD")
    }
}

/// Why a text is not an amount of money.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMoneyError {
    #[error("not a decimal amount of USD such as 2.50")]
    Syntax,
    #[error("more than 12 decimal places")]
    TooPrecise,
    #[error("too large")]
    Range,
}

impl FromStr for PicoUsd {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
            return Err(ParseMoneyError::Syntax);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DECIMALS {
            return Err(ParseMoneyError::TooPrecise);
        }
        let whole: i64 = whole.parse().map_err(|_| ParseMoneyError::Range)?;
        let fraction: i64 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| ParseMoneyError::Range)?;
        let pico =
            whole.checked_mul(PER_USD).and_then(|p| p.checked_add(fraction)).ok_or(ParseMoneyError::Range)?;
        Ok(Self(if negative { -pico } else { pico }))
    }
}

impl Serialize for PicoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PicoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;
        impl de::Visitor<'_> for Amount {
            type Value = PicoUsd;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal amount of USD, such as \"2.50\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PicoUsd, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, usd: u64) -> Result<PicoUsd, E> {
                usd.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, usd: i64) -> Result<PicoUsd, E> {
                usd.to_string().parse().map_err(E::custom)
            }

            // A JSON number such as 2.5 reaches serde as a double; its shortest decimal form is what the user wrote,
            // for every amount of up to 15 digits. It is read as that text and never calculated with.
            fn visit_f64<E: de::Error>(self, usd: f64) -> Result<PicoUsd, E> {
                usd.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        for (text, pico) in [
            ("0", 0),
            ("2", 2 * PER_USD),
            ("2.50", 2_500_000_000_000),
            ("0.000000000001", 1),
            ("-1.5", -1_500_000_000_000),
        ] {
            assert_eq!(text.parse::<PicoUsd>(), Ok(PicoUsd(pico)), "{text}");
        }
        for (text, error) in [
            ("", ParseMoneyError::Syntax),
            ("1.", ParseMoneyError::Syntax),
            (".5", ParseMoneyError::Syntax),
            ("1e3", ParseMoneyError::Syntax),
            ("$2", ParseMoneyError::Syntax),
            ("NaN", ParseMoneyError::Syntax),
            ("0.0000000000001", ParseMoneyError::TooPrecise),
            ("99999999999", ParseMoneyError::Range),
        ] {
            assert_eq!(text.parse::<PicoUsd>(), Err(error), "{text}");
        }
    }

    #[test]
    fn json_numbers_and_strings_are_the_same_amount() {
        for json in ["2.5", "\"2.5\"", "\"2.50\""] {
            assert_eq!(serde_json::from_str::<PicoUsd>(json).unwrap(), PicoUsd(2_500_000_000_000));
        }
        assert_eq!(serde_json::to_string(&PicoUsd(125_000_000)).unwrap(), "\"0.000125\"");
        assert!(serde_json::from_str::<PicoUsd>("true").is_err());
    }

    proptest! {
        #[test]
        fn every_amount_survives_its_text(pico in i64::MIN + 1..i64::MAX) {
            prop_assert_eq!(PicoUsd(pico).to_string().parse::<PicoUsd>(), Ok(PicoUsd(pico)));
        }

        #[test]
        fn sums_never_wrap(amounts in proptest::collection::vec(0..i64::MAX, 0..8)) {
            let sum: PicoUsd = amounts.iter().map(|p| PicoUsd(*p)).sum();
            prop_assert!(amounts.iter().all(|p| sum.0 >= *p));
        }
    }
}
