//! Whatever people and programs send where one of this crate's words belongs: it is read or refused, and what is read is told back as
//! it was meant.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use proptest::prelude::*;

use crate::{JobId, JobStatus, PicoUsd, Priority, Role, RunOutcome, Scope, Timestamp, TraceParent};

/// The text of what `text` was read as is read as the same.
fn survives<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        let told = read.to_string();
        assert!(told.parse::<T>().is_ok_and(|again| again == read), "{text:?} is told as {told:?}");
    }
}

fn all_words_survive(text: &str) {
    survives::<JobId>(text);
    survives::<JobStatus>(text);
    survives::<PicoUsd>(text);
    survives::<Priority>(text);
    survives::<Role>(text);
    survives::<RunOutcome>(text);
    survives::<Scope>(text);
    survives::<TraceParent>(text);
    // the API tells milliseconds
    if let Ok(time) = text.parse::<Timestamp>() {
        let told = time.to_string();
        assert_eq!(told.parse::<Timestamp>().expect("a time is told as one").to_string(), told, "{text:?}");
        let _ = (time.plus(Duration::MAX), time.minus(Duration::MAX), time.since(Timestamp::default()));
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}") {
        all_words_survive(&text);
    }

    #[test]
    fn what_looks_like_money_is_read_or_refused(text in r"-?[0-9]{0,22}(\.[0-9]{0,16})?([eE][+-]?[0-9]{1,5})?") {
        all_words_survive(&text);
    }

    #[test]
    fn what_looks_like_a_time_is_read_or_refused(
        text in r"-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{0,12})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
    ) {
        all_words_survive(&text);
    }

    #[test]
    fn what_looks_like_a_trace_or_an_id_is_read_or_refused(
        text in "[0-9a-f]{2}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{2}(-.{0,5})?|[0-9a-fA-F]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}|worker:[a-z*]{0,5}"
    ) {
        all_words_survive(&text);
    }
}
