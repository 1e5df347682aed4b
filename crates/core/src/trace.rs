//! Where something stands in a distributed trace: W3C Trace Context (<https://www.w3.org/TR/trace-context/>, level 1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Clock;
use crate::ids::uuid_v7;

/// The flag that says that whoever sent this has recorded its span.
const SAMPLED: u8 = 1;

/// The value of a `traceparent` header: the trace, the span in it that what follows belongs under, and whether that
/// span is recorded. As text, `00-{trace}-{span}-{flags}` in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

impl TraceParent {
    /// None when the trace or the span is all zeros, which the standard forbids.
    pub fn of(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, sampled })
    }

    /// The beginning of a new trace that nobody records yet. Its id is made as other ids are (UUIDv7), so its last seven
    /// bytes are random, as level 2 of the standard asks for.
    pub fn start(clock: &dyn Clock) -> Self {
        let (trace, span) = (uuid_v7(clock), uuid_v7(clock));
        let span = span.as_bytes()[8..].try_into().expect("half of sixteen bytes");
        Self { trace: *trace.as_bytes(), span, sampled: false }
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    pub const fn trace_bytes(&self) -> [u8; 16] {
        self.trace
    }

    pub const fn span_bytes(&self) -> [u8; 8] {
        self.span
    }

    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a String can't fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.sampled))
    }
}

/// The text is no `traceparent` that can be gone on from.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no traceparent of the form 00-TRACE-SPAN-FLAGS in lower-case hexadecimal (W3C Trace Context)"
)]
pub struct ParseTraceParentError(String);

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    /// A version above 00 is read by what it has in common with 00, as the standard asks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut fields = text.splitn(5, '-');
            let version: [u8; 1] = bytes(fields.next()?)?;
            let (trace, span) = (bytes(fields.next()?)?, bytes(fields.next()?)?);
            let flags: [u8; 1] = bytes(fields.next()?)?;
            let more = fields.next().is_some();
            let known = version[0] != 0xff && !(version[0] == 0 && more);
            Self::of(trace, span, flags[0] & SAMPLED != 0).filter(|_| known)
        };
        read().ok_or_else(|| ParseTraceParentError(text.chars().take(100).collect()))
    }
}

/// Exactly `N` bytes, each two lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestClock;

    /// The standard's own example.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_reads_back() {
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(parent.to_string(), EXAMPLE);
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(parent.is_sampled());
        let json = serde_json::to_string(&parent).unwrap();
        assert_eq!(serde_json::from_str::<TraceParent>(&json).unwrap(), parent);
    }

    #[test]
    fn flags_and_fields_of_later_versions_are_read_as_far_as_they_are_known() {
        for (text, sampled) in [
            (EXAMPLE.replace("-01", "-fe"), false),
            (EXAMPLE.replace("-01", "-03"), true),
            (EXAMPLE.replacen("00-", "cc-", 1), true),
            (EXAMPLE.replacen("00-", "cc-", 1) + "-what-comes-later", true),
        ] {
            assert_eq!(text.parse::<TraceParent>().unwrap().is_sampled(), sampled, "{text}");
        }
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        for text in [
            String::new(),
            "ff".to_owned() + &EXAMPLE[2..],
            EXAMPLE.to_uppercase(),
            EXAMPLE.to_owned() + "-more",
            EXAMPLE[..EXAMPLE.len() - 1].to_owned(),
            EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            EXAMPLE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            EXAMPLE.replace('-', "_"),
            EXAMPLE.replace("4bf9", "é"),
            format!(" {EXAMPLE}"),
        ] {
            assert!(text.parse::<TraceParent>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_trace_is_one_of_its_own_and_nobody_records_it() {
        let clock = TestClock::shared();
        let (one, other) = (TraceParent::start(&*clock), TraceParent::start(&*clock));
        assert_ne!(one.trace_id(), other.trace_id());
        assert!(!one.is_sampled());
        assert_eq!(one.to_string().parse(), Ok(one));
    }
}
