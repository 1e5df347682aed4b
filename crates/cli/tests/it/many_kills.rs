//! SIGKILLs at random instants through one job of paid records: the dataset is whole, and the ledger is the provider's bill, call by
//! call, but for the calls that were in flight at a kill.
//!
//! `WINDROW_KILLS=n` kills n times, in a job of 100 n records (default 20); `WINDROW_KILL_SEED=s` chooses the same victims and
//! calls again. Objects that nobody needs any more are waited for when `WINDROW_ORPHANS=1`: the first look for them comes a
//! minute after the start.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use windrow_store::{Db, DbOptions, fetch_all, objects};
use windrow_test_support::TestDb;

use crate::harness::{Api, Server, Windrow, number, until};
use crate::kills::assert_whole;
use crate::paid::{CONCURRENCY, Fleet, assert_paid, submit, windrow};
use crate::provider::Provider;

/// What one test does, by the environment.
#[derive(Clone, Copy)]
struct Plan {
    kills: usize,
    records: u64,
}

impl Plan {
    fn new() -> Self {
        let kills = number("WINDROW_KILLS").unwrap_or(20);
        Self { kills: usize::try_from(kills).unwrap(), records: 100 * kills }
    }

    /// Each index once, and the ledger is the bill. A kill may hit a process twice in flight: its calls, and those that its end
    /// left to the process that took over.
    fn assert_whole_and_paid(self, api: &Api, job: &str, provider: &Provider) {
        let ended = api.finished(job);
        assert_whole(api, &ended, self.records);
        assert_paid(api, &ended, provider, self.records, 2 * self.kills * CONCURRENCY);
    }
}

/// Numbers of calls after which to kill, ascending, and a way to choose a victim and a pause.
struct Chance(ChaCha8Rng);

impl Chance {
    #[expect(clippy::print_stdout, reason = "shown by the test runner when the test fails")]
    fn new() -> Self {
        let seed = number("WINDROW_KILL_SEED").unwrap_or_else(|| RandomState::new().hash_one("kills"));
        println!("WINDROW_KILL_SEED={seed} chooses the same victims and calls again");
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn instants(&mut self, plan: Plan) -> Vec<u64> {
        let mut instants: Vec<_> = (0..plan.kills).map(|_| 1 + self.below(plan.records)).collect();
        instants.sort_unstable();
        instants
    }

    fn victim(&mut self, processes: usize) -> usize {
        usize::try_from(self.below(processes as u64)).unwrap()
    }

    /// Not only while a call arrives: checkpoints and the assembly take their share of the kills.
    fn pause(&mut self) {
        std::thread::sleep(Duration::from_millis(self.below(40)));
    }
}

/// The process ids of a process's children; none when it has none just now.
fn children_of(pid: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Kills of `windrow up` with these arguments, and of its children where it has some.
fn kills_on_sqlite(args: &[&str]) {
    let plan = Plan::new();
    let provider = Provider::start(Duration::from_millis(5));
    let windrow = windrow(&provider);
    let args = [&["up", "--data-dir", "data", "--port", "0", "--json"], args].concat();
    let mut server = windrow.start(&args);
    let token = windrow.token("alice", "contributor");
    let job = submit(&server.api(&token), plan.records);
    let mut chance = Chance::new();
    for calls in chance.instants(plan) {
        provider.await_calls(calls);
        chance.pause();
        let children = children_of(server.pid());
        match children.get(chance.victim(children.len() + 1)) {
            // it may have died by itself since it was listed
            Some(child) => drop(Command::new("kill").args(["-KILL", child]).output().unwrap()),
            None => {
                server.kill();
                server = windrow.start(&args);
            }
        }
    }
    plan.assert_whole_and_paid(&server.api(&token), &job, &provider);
    drop(server);
    windrow.run(&["db", "check", "--data-dir", "data"]).ok();
    let url = format!("sqlite:{}", windrow.path("data/windrow.db").display());
    leaves_no_orphans(&windrow, &["up", "--data-dir", "data", "--port", "0", "--json"], &url);
}

#[test]
fn on_sqlite_the_bill_is_the_ledger_after_kills() {
    kills_on_sqlite(&[]);
}

#[test]
fn with_worker_processes_the_bill_is_the_ledger_after_kills() {
    kills_on_sqlite(&["--worker-processes", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_the_bill_is_the_ledger_after_kills() {
    let db = TestDb::postgres().await;
    let url = db.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let plan = Plan::new();
        let provider = Provider::start(Duration::from_millis(5));
        let windrow = windrow(&provider).with_env("DATABASE_URL", &url).with_env("WINDROW_DATA_DIR", "data");
        windrow.run(&["db", "migrate"]).ok();
        let mut fleet = Fleet::start(&windrow);
        let token = windrow.run(&["token", "create", "--sub", "alice", "--role", "contributor"]).ok();
        let token = token.stdout.trim();
        let job = submit(&fleet.api(token), plan.records);
        let mut chance = Chance::new();
        for calls in chance.instants(plan) {
            provider.await_calls(calls);
            chance.pause();
            match chance.victim(Fleet::COMMANDS.len() + 1) {
                victim if victim < Fleet::COMMANDS.len() => fleet.kill(&windrow, victim),
                _ => {
                    fleet.processes.iter_mut().for_each(Server::kill);
                    fleet = Fleet::start(&windrow);
                }
            }
        }
        plan.assert_whole_and_paid(&fleet.api(token), &job, &provider);
        drop(fleet);
        windrow.run(&["db", "check"]).ok();
        leaves_no_orphans(&windrow, Fleet::COMMANDS[1], &url);
    })
    .await
    .unwrap();
}

/// A `windrow up` that is killed as it starts, again and again, and sometimes gets somewhere.
#[test]
fn an_up_that_is_restarted_in_a_loop_ends_its_job_whole() {
    let mut plan = Plan::new();
    // few starts come so far that work is done
    (plan.kills, plan.records) = (plan.kills.div_ceil(3), plan.records / 4);
    let provider = Provider::start(Duration::from_millis(5));
    let windrow = windrow(&provider);
    let mut server = windrow.up();
    let token = windrow.token("alice", "contributor");
    let job = submit(&server.api(&token), plan.records);
    server.kill();
    let mut chance = Chance::new();
    for _ in 0..plan.kills {
        let mut up = windrow.command(&["up", "--data-dir", "data", "--port", "0"]);
        let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(chance.below(800)));
        up.kill().unwrap();
        up.wait().unwrap();
    }
    let server = windrow.up();
    plan.assert_whole_and_paid(&server.api(&token), &job, &provider);
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        match entry.unwrap().path() {
            path if path.is_dir() => files_below(&path, found),
            path => found.push(path),
        }
    }
}

/// The keys of objects that runs put and that no row names, nor what a run left to those after it. Files of objects that were never
/// finished, which bear a `#`, are kept for a day.
fn orphans(windrow: &Windrow, url: &str) -> BTreeSet<String> {
    let root = windrow.path("data/objects");
    let mut files = Vec::new();
    for prefix in
        windrow_engine::RUN_PREFIXES.iter().map(|prefix| root.join(prefix)).filter(|dir| dir.is_dir())
    {
        files_below(&prefix, &mut files);
    }
    let key = |file: &PathBuf| file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let keys: Vec<String> = files.iter().map(key).filter(|key| !key.contains('#')).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (named, left) = runtime.block_on(async {
        let db = Db::connect(url, DbOptions::default()).await.unwrap();
        let mut conn = db.read().await.unwrap();
        let named = objects::named(&mut conn, &keys).await.unwrap();
        let sql = "SELECT state FROM checkpoints UNION ALL SELECT output FROM results";
        let left: Vec<String> = fetch_all!(&mut conn, scalar String, sql).unwrap();
        drop(conn);
        db.close().await;
        (named, left)
    });
    let is_left = |key: &String| named.contains(key) || left.iter().any(|text| text.contains(key));
    keys.into_iter().filter(|key| !is_left(key)).collect()
}

/// What runs put before they were killed goes once it is older than such objects are kept.
fn leaves_no_orphans(windrow: &Windrow, args: &[&str], url: &str) {
    if number("WINDROW_ORPHANS").is_none() {
        return;
    }
    let mut command = windrow.command(args);
    command.env("WINDROW_RETAIN_ORPHANS", "1s");
    let _server = Server::start(command);
    let before = orphans(windrow, url);
    until(Duration::from_secs(120), &format!("these go: {before:?}"), || orphans(windrow, url).is_empty());
}
