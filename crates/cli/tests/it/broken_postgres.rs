//! PostgreSQL restarted, killed, its connections cut; a worker that stands still for longer than its lease. Through one job of paid
//! records: none is lost, none is there twice, the ledger is the provider's bill, and the work goes on.
//!
//! `WINDROW_RATE=1` makes the jobs long enough to measure, and asks for 95 % of the rate before from ten seconds after on; a
//! worker then stands still for 15 s, past the lease of 7 s that is the default.

use std::time::Duration;

use serde_json::json;
use windrow_test_support::OwnCluster;

use crate::harness::{Api, Windrow, number, signal, until};
use crate::kills::{self, assert_whole};
use crate::paid::{CONCURRENCY, Fleet, assert_paid, submit, windrow};
use crate::provider::Provider;

/// How long a rate is measured, and how long after the fault that begins.
const WINDOW: Duration = Duration::from_secs(10);

/// An API and two workers on a server of their own, in the middle of a job.
struct Site {
    cluster: OwnCluster,
    provider: Provider,
    windrow: Windrow,
    fleet: Fleet,
    token: String,
    job: String,
    records: u64,
}

impl Site {
    /// With further settings, all before the first process.
    fn new(settings: &[(&str, &str)]) -> Self {
        let long = number("WINDROW_RATE").is_some();
        // where rates are compared, it is the provider that bounds them
        let (records, latency) = if long { (20_000, 100) } else { (300, 5) };
        let cluster = OwnCluster::start().unwrap();
        let provider = Provider::start(Duration::from_millis(latency));
        let mut windrow =
            windrow(&provider).with_env("DATABASE_URL", cluster.url()).with_env("WINDROW_DATA_DIR", "data");
        for (name, value) in settings {
            windrow = windrow.with_env(name, *value);
        }
        windrow.run(&["db", "migrate"]).ok();
        let fleet = Fleet::start(&windrow);
        let token = windrow.run(&["token", "create", "--sub", "alice", "--role", "contributor"]).ok();
        let token = token.stdout.trim().to_owned();
        let job = submit(&fleet.api(&token), records);
        provider.await_calls(records / 10);
        Self { cluster, provider, windrow, fleet, token, job, records }
    }

    fn api(&self) -> Api {
        self.fleet.api(&self.token)
    }

    /// Calls a second, where rates are compared.
    fn rate(&self) -> Option<f64> {
        number("WINDROW_RATE")?;
        let before = self.provider.bill().len();
        std::thread::sleep(WINDOW);
        let calls = self.provider.bill().len() - before;
        Some(f64::from(u32::try_from(calls).unwrap()) / WINDOW.as_secs_f64())
    }

    /// What the fault was to leave as it is. `in_flight`: calls that it may have cut off.
    #[expect(clippy::print_stdout, reason = "the rates are what the long form is run for")]
    fn survives(mut self, fault: impl FnOnce(&Self), in_flight: usize) {
        let before = self.rate();
        fault(&self);
        if let Some(before) = before {
            std::thread::sleep(WINDOW);
            let after = self.rate().unwrap();
            println!("{before:.0} calls/s before, {after:.0} after");
            let done = self.provider.bill().len() as u64;
            assert!(done < self.records, "the job ended before its rate was measured");
            assert!(after >= 0.95 * before, "{before:.0} calls/s before, {after:.0} after");
        }
        let ended = self.api().finished(&self.job);
        assert_whole(&self.api(), &ended, self.records);
        assert_paid(&self.api(), &ended, &self.provider, self.records, in_flight);
        for process in &mut self.fleet.processes {
            let (code, log) = process.terminate();
            assert_eq!(code, 0, "{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
        let check = self.windrow.run(&["db", "check", "--json"]).ok();
        assert_eq!(check.json()["findings"], json!([]), "{check:?}");
    }

    /// Cuts the connections whose last query is like this, one by one; gives how many there were.
    fn cut(&self, like: &str) -> usize {
        let sql = format!(
            "SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'client backend'
             AND pid <> pg_backend_pid() AND query LIKE '{like}'"
        );
        let pids = self.cluster.texts(&sql);
        for pid in &pids {
            // it may be closed already
            let _ = self.cluster.texts(&format!("SELECT pg_terminate_backend({pid})::text"));
        }
        pids.len()
    }
}

#[test]
fn a_restarted_server_costs_nothing() {
    Site::new(&[]).survives(
        |site| {
            site.cluster.stop().unwrap();
            site.cluster.resume().unwrap();
        },
        2 * CONCURRENCY,
    );
}

#[test]
fn a_killed_server_recovers_and_nothing_is_lost() {
    let settings = [("WINDROW_DATABASE_ACQUIRE_TIMEOUT", "1s")];
    Site::new(&settings).survives(
        |site| {
            site.cluster.kill();
            let refused = site.api().get(&format!("/v1/jobs/{}", site.job)).expect(503).json();
            assert_eq!(refused["code"], "database_unavailable", "{refused}");
            let ready = reqwest::blocking::get(format!("{}/ready", site.api().url)).unwrap();
            assert_eq!(ready.status(), 503);
            site.cluster.resume().unwrap();
        },
        2 * CONCURRENCY,
    );
}

#[test]
fn connections_that_are_cut_one_by_one_are_made_anew() {
    Site::new(&[]).survives(
        |site| {
            let cut: usize = (0..3).map(|_| site.cut("%")).sum();
            assert!(cut > 10, "only {cut} connections of three processes were cut");
        },
        2 * CONCURRENCY,
    );
}

#[test]
fn a_listener_that_is_cut_hears_again_what_came_meanwhile() {
    // so long that nothing is found by it
    Site::new(&[("WINDROW_POLL", "60s")]).survives(
        |site| {
            // the first job keeps the workers busy; what is heard shows on one that comes when all is quiet
            site.api().finished(&site.job);
            assert!(site.cut("LISTEN %") >= 2, "the workers listen");
            let other = kills::submit(&site.api(), 10);
            let ended = site.api().finished(&other);
            assert_eq!(ended["status"], "completed", "{ended}");
            until(Duration::from_secs(30), "the workers listen again", || {
                let listening = "SELECT pid::text FROM pg_stat_activity WHERE query LIKE 'LISTEN %'";
                site.cluster.texts(listening).len() >= 3
            });
        },
        0,
    );
}

#[test]
fn a_worker_that_stands_still_past_its_lease_does_nothing_twice() {
    let long = number("WINDROW_RATE").is_some();
    let settings: &[_] = if long { &[] } else { &[("WINDROW_BEAT", "100ms"), ("WINDROW_LAPSE", "1s")] };
    Site::new(settings).survives(
        |site| {
            let worker = site.fleet.processes[1].pid();
            signal("-STOP", worker);
            if long {
                std::thread::sleep(Duration::from_secs(15));
            }
            let lost = || {
                let children =
                    site.api().get(&format!("/v1/jobs/{}/children?limit=200", site.job)).expect(200).json();
                children["items"].as_array().unwrap().iter().any(|child| {
                    let runs = site.api().get(child["links"]["runs"].as_str().unwrap()).expect(200).json();
                    runs.as_array().unwrap().iter().any(|run| run["outcome"] == "lost")
                })
            };
            // it may stand still in the middle of a transaction that locks what the others need
            until(Duration::from_secs(15), "its runs are taken from it", lost);
            signal("-CONT", worker);
        },
        4 * CONCURRENCY,
    );
}
