//! The machine's clock is set back and forth by an hour while a job runs: no lease is lost by it, and the job ends as it would.

use std::time::Duration;

use serde_json::json;
use windrow_test_support::TestDb;

use crate::harness::{Api, Windrow};
use crate::kills::assert_whole;
use crate::machine::preloaded;
use crate::paid::{Fleet, assert_paid, submit, windrow};
use crate::provider::Provider;
use crate::workers::outcomes;

/// Adds the seconds that stand in the file `CLOCK_OFFSET`, eight bytes of the machine's own order, to the time of day.
const SHIFTED: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t none = 0, *offset = &none;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("CLOCK_OFFSET");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) offset = page;
}

int clock_gettime(clockid_t which, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(which, at);
    if (done == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) at->tv_sec += *offset;
    return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"#;

const RECORDS: u64 = 1_000;
const HOUR: i64 = 3600;

/// The time of day of all processes of an installation.
struct TimeOfDay(std::path::PathBuf);

impl TimeOfDay {
    fn of(windrow: Windrow) -> (Windrow, Self) {
        let offset = windrow.file("clock-offset", 0i64.to_ne_bytes());
        let windrow = preloaded(windrow, SHIFTED).with_env("CLOCK_OFFSET", offset.display().to_string());
        (windrow, Self(offset))
    }

    /// Written in place, for the file is mapped.
    fn set(&self, seconds: i64) {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::OpenOptions::new().write(true).open(&self.0).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

/// The clock jumps through the whole job; then nothing may be lost, not even for a while.
fn jumps_through(api: &Api, time: &TimeOfDay, provider: &Provider) {
    let job = submit(api, RECORDS);
    let mut calls = 0;
    for offset in [HOUR, -HOUR].into_iter().cycle() {
        // a job that is over makes no more calls, and the last ones come together
        calls += RECORDS / 20;
        if calls > RECORDS {
            break;
        }
        provider.await_calls(calls);
        time.set(offset);
    }
    time.set(0);
    let ended = api.finished(&job);
    assert_whole(api, &ended, RECORDS);
    assert_paid(api, &ended, provider, RECORDS, 0);
    let outcomes = outcomes(api, &job);
    assert!(outcomes.iter().all(|outcome| outcome == "completed"), "{outcomes:?}");
}

#[test]
fn an_hour_back_and_forth_loses_no_lease_on_sqlite() {
    let provider = Provider::start(Duration::from_millis(5));
    let (windrow, time) = TimeOfDay::of(windrow(&provider));
    let server =
        windrow.start(&["up", "--data-dir", "data", "--port", "0", "--worker-processes", "2", "--json"]);
    let api = server.api(&windrow.token("alice", "contributor"));
    let expiry = || {
        let wish = json!({ "filename": "a", "content_type": "text/csv", "size": 1, "purpose": "seed_data" });
        api.post("/v1/uploads", &wish).expect(201).json()["expires_at"].as_str().unwrap().to_owned()
    };
    let usual = expiry();
    time.set(24 * HOUR);
    assert_ne!(expiry()[..10], usual[..10], "the server's time of day is not the test's");
    time.set(0);
    jumps_through(&api, &time, &provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_back_and_forth_loses_no_lease_on_postgresql() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let provider = Provider::start(Duration::from_millis(5));
        let windrow = windrow(&provider).with_env("DATABASE_URL", url).with_env("WINDROW_DATA_DIR", "data");
        // so short that a lease which was judged by the time of day would be lost in the first second
        let (windrow, time) =
            TimeOfDay::of(windrow.with_env("WINDROW_BEAT", "500ms").with_env("WINDROW_LAPSE", "7s"));
        windrow.run(&["db", "migrate"]).ok();
        let fleet = Fleet::start(&windrow);
        let token = windrow.run(&["token", "create", "--sub", "alice", "--role", "contributor"]).ok();
        jumps_through(&fleet.api(token.stdout.trim()), &time, &provider);
    })
    .await
    .unwrap();
}
