//! A job's history: what `events` holds, and what is derived from `jobs`, `runs` and `running`.

use std::fmt;
use std::str::FromStr;

use windrow_core::{ErrorClass, JobSeq, RunNo, RunOutcome, Timestamp};

use crate::{Conn, ListOf, StoreError, fetch_all, fetch_optional, json_ints};

/// How far somebody has read: all events up to number `event`; all of the runs before `run`; of that run its start
/// (phase 1) or its end (phase 2). Run 0 is the submit, whose phase is 1. Each line's id is the reader's place after it,
/// so that lines of the two kinds may come in any order, and none is lost or told twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub event: i64,
    pub run: RunNo,
    pub phase: u8,
}

impl Place {
    /// Nothing read.
    pub const START: Self = Self { event: 0, run: RunNo(0), phase: 0 };

    const fn knows_start_of(self, run: RunNo) -> bool {
        self.run.0 > run.0 || (self.run.0 == run.0 && self.phase >= 1)
    }

    const fn knows_end_of(self, run: RunNo) -> bool {
        self.run.0 > run.0 || (self.run.0 == run.0 && self.phase >= 2)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.event, self.run, self.phase)
    }
}

/// The text is not an event id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an event id such as 3.1.2")]
pub struct ParsePlaceError(pub String);

impl FromStr for Place {
    type Err = ParsePlaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParsePlaceError(text.chars().take(60).collect());
        let number = |part: &str| -> Option<i64> {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        };
        let mut parts = text.split('.');
        let (Some(event), Some(run), Some(phase), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let event = number(event).ok_or_else(bad)?;
        let run = RunNo(number(run).ok_or_else(bad)?);
        let phase = u8::try_from(number(phase).ok_or_else(bad)?).ok().filter(|phase| *phase <= 2);
        Ok(Self { event, run, phase: phase.ok_or_else(bad)? })
    }
}

/// One line of a job's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The reader's place after this line: its id.
    pub place: Place,
    pub at: Timestamp,
    pub what: What,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Submitted,
    Started {
        run: RunNo,
        worker: Option<String>,
    },
    Ended(RunEnd),
    /// A row of `events`; the payload is JSON.
    Event {
        kind: String,
        run: RunNo,
        payload: String,
        schema_version: u32,
        trace_id: Option<String>,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    pub run: RunNo,
    pub outcome: RunOutcome,
    pub retry_at: Option<Timestamp>,
    pub class: Option<ErrorClass>,
    pub code: Option<String>,
    pub error: Option<String>,
}

crate::row! {
    struct EventRow {
        n: i64,
        run: RunNo,
        kind: String,
        payload: String,
        schema_version: u32,
        trace_id: Option<String>,
        at: Timestamp,
    }
}

crate::row! {
    struct RunRow {
        run: RunNo,
        outcome: Option<RunOutcome>,
        worker: Option<String>,
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
        retry_at: Option<Timestamp>,
        class: Option<ErrorClass>,
        code: Option<String>,
        error: Option<String>,
    }
}

crate::row! {
    /// What a job's history had come to at one moment. When it differs from the last look, there is something to tell.
    pub struct Mark {
        pub job_seq: JobSeq,
        pub event: Option<i64>,
        pub running: Option<RunNo>,
        pub ended: Option<RunNo>,
        pub progress_at: Option<Timestamp>,
        pub progress_done: Option<u64>,
        pub progress_total: Option<u64>,
        pub progress_stage: Option<String>,
        pub cancel_requested_at: Option<Timestamp>,
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        let all =
            |m: &Self| (m.event, m.running, m.ended, m.progress_at, m.progress_done, m.cancel_requested_at);
        self.job_seq == other.job_seq && all(self) == all(other)
    }
}

impl Mark {
    /// Whether the job's run went on since `before`, and nothing else happened.
    pub fn only_progressed_since(&self, before: &Self) -> bool {
        let rest = |m: &Self| (m.job_seq, m.event, m.running, m.ended, m.cancel_requested_at);
        self.running.is_some() && rest(self) == rest(before)
    }
}

/// Looks at many jobs with one statement.
pub async fn marks(conn: &mut Conn, jobs: &[JobSeq]) -> Result<Vec<Mark>, StoreError> {
    let listed = conn.dialect().member("j.seq", "$1", ListOf::Int);
    let sql = format!(
        "SELECT j.seq AS job_seq, (SELECT max(e.n) FROM events e WHERE e.job_seq = j.seq) AS event,
             (SELECT r.run FROM running r WHERE r.job_seq = j.seq) AS running,
             (SELECT max(l.run) FROM runs l WHERE l.job_seq = j.seq) AS ended,
             g.at AS progress_at, g.done AS progress_done, g.total AS progress_total, g.stage AS progress_stage,
             j.cancel_requested_at
         FROM jobs j LEFT JOIN progress g ON g.job_seq = j.seq WHERE {listed}"
    );
    fetch_all!(conn, Mark, sqlx::AssertSqlSafe(sql), json_ints(jobs.iter().map(|job| job.0)))
}

/// The lines of a job after `place`, in order of time; at most `limit` events and all runs. For a snapshot to be one
/// moment, `conn` is one.
pub async fn after(conn: &mut Conn, job: JobSeq, place: Place, limit: u32) -> Result<Vec<Line>, StoreError> {
    let created = "SELECT created_at FROM jobs WHERE seq = $1";
    let Some(created) = fetch_optional!(conn, scalar i64, created, job)? else { return Ok(Vec::new()) };
    let events = "SELECT n, run, type AS kind, payload, schema_version, trace_id, at FROM events
         WHERE job_seq = $1 AND n > $2 ORDER BY n LIMIT $3";
    let events = fetch_all!(conn, EventRow, events, job, place.event, limit)?;
    let runs = "SELECT r.run, r.outcome, w.name AS worker, r.started_at, r.ended_at, r.retry_at, r.class, r.code, r.error
         FROM runs r LEFT JOIN workers w ON w.id = r.worker_id WHERE r.job_seq = $1 AND r.run >= $2
         UNION ALL
         SELECT r.run, NULL, w.name, r.started_at, NULL, NULL, NULL, NULL, NULL
         FROM running r LEFT JOIN workers w ON w.id = r.worker_id WHERE r.job_seq = $1 AND r.run >= $2
         ORDER BY 1";
    let runs = fetch_all!(conn, RunRow, runs, job, place.run)?;
    Ok(merge(place, Timestamp::from_micros(created), events, runs))
}

/// Two sequences, each in its own order, into one by time.
fn merge(mut place: Place, created: Timestamp, events: Vec<EventRow>, runs: Vec<RunRow>) -> Vec<Line> {
    let mut of_runs = Vec::new();
    if !place.knows_start_of(RunNo(0)) {
        of_runs.push((RunNo(0), 1, created, What::Submitted));
    }
    for run in runs {
        if let Some(at) = run.started_at
            && !place.knows_start_of(run.run)
        {
            of_runs.push((run.run, 1, at, What::Started { run: run.run, worker: run.worker }));
        }
        if let (Some(outcome), Some(at)) = (run.outcome, run.ended_at)
            && !place.knows_end_of(run.run)
        {
            let RunRow { run, retry_at, class, code, error, .. } = run;
            of_runs.push((run, 2, at, What::Ended(RunEnd { run, outcome, retry_at, class, code, error })));
        }
    }
    let mut lines = Vec::with_capacity(of_runs.len() + events.len());
    let (mut of_runs, mut events) = (of_runs.into_iter().peekable(), events.into_iter().peekable());
    loop {
        let run_is_next = match (of_runs.peek(), events.peek()) {
            (None, None) => return lines,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            // at the same time, what belongs to a run comes between the run's start and its end
            (Some((run, phase, at, _)), Some(event)) => {
                *at < event.at || (*at == event.at && (*run, *phase) <= (event.run, 1))
            }
        };
        if run_is_next {
            let Some((run, phase, at, what)) = of_runs.next() else { continue };
            place = Place { run, phase, ..place };
            lines.push(Line { place, at, what });
        } else {
            let Some(EventRow { n, run, kind, payload, schema_version, trace_id, at }) = events.next() else {
                continue;
            };
            place.event = n;
            lines.push(Line {
                place,
                at,
                what: What::Event { kind, run, payload, schema_version, trace_id },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn event(n: i64, run: i64, second: i64) -> EventRow {
        EventRow {
            n,
            run: RunNo(run),
            kind: "approved".to_owned(),
            payload: "{}".to_owned(),
            schema_version: 1,
            trace_id: None,
            at: at(second),
        }
    }

    fn run(run: i64, started: Option<i64>, ended: Option<i64>) -> RunRow {
        RunRow {
            run: RunNo(run),
            outcome: ended.map(|_| RunOutcome::Retried),
            worker: None,
            started_at: started.map(at),
            ended_at: ended.map(at),
            retry_at: None,
            class: None,
            code: None,
            error: None,
        }
    }

    fn history() -> (Vec<EventRow>, Vec<RunRow>) {
        let events = vec![event(1, 0, 1), event(2, 0, 4), event(3, 2, 4)];
        let runs = vec![
            run(1, Some(2), Some(3)),
            run(2, Some(4), Some(6)),
            run(3, None, Some(7)),
            run(4, Some(8), None),
        ];
        (events, runs)
    }

    fn read(place: Place) -> Vec<Line> {
        let (events, runs) = history();
        let events = events.into_iter().filter(|event| event.n > place.event).collect();
        let runs = runs.into_iter().filter(|run| run.run >= place.run).collect();
        merge(place, at(0), events, runs)
    }

    #[test]
    fn lines_come_in_order_of_time_with_the_place_after_them() {
        let ids: Vec<String> = read(Place::START).iter().map(|line| line.place.to_string()).collect();
        assert_eq!(
            ids,
            ["0.0.1", "1.0.1", "1.1.1", "1.1.2", "2.1.2", "2.2.1", "3.2.1", "3.2.2", "3.3.2", "3.4.1"]
        );
    }

    #[test]
    fn whoever_comes_back_gets_the_rest_and_nothing_twice() {
        let all = read(Place::START);
        for (seen, line) in all.iter().enumerate() {
            assert_eq!(read(line.place), all[seen + 1..], "after {}", line.place);
        }
    }

    #[test]
    fn what_is_no_event_id_is_refused() {
        for text in
            ["", "1", "1.2", "1.2.3", "1.2.3.4", "a.b.c", "-1.0.0", "1.+1.0", "99999999999999999999.0.0"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn event_ids_read_back(event in 0..i64::MAX, run in 0..i64::MAX, phase in 0u8..3) {
            let place = Place { event, run: RunNo(run), phase };
            prop_assert_eq!(place.to_string().parse::<Place>(), Ok(place));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Place>();
        }
    }
}
