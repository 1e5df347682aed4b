//! The binary, as a user has it: commands in an empty directory, servers that can be killed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;

/// An empty directory with an environment of its own.
pub struct Windrow {
    pub dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    /// The words before the binary's path in each command.
    runner: Vec<String>,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// A code of -1 stands for an end by a signal.
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the command ended with `code` and standard error has all of `parts`.
    #[track_caller]
    pub fn refused(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing in:\n{}", self.stderr);
        }
        self
    }

    /// The one JSON document that a command with `--json` leaves on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Windrow {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("windrow-it").tempdir().unwrap();
        Self { dir, env: Vec::new(), runner: Vec::new() }
    }

    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// All commands from now on are run by another program, such as `nsenter`: its name and arguments.
    pub fn run_by(&mut self, runner: Vec<String>) {
        self.runner = runner;
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the test's own.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command whose environment holds nothing but what the test gives it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut words = self.runner.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_windrow")]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        for name in ["PATH", "HOME", "TMPDIR", "LANG"] {
            if let Ok(value) = std::env::var(name) {
                command.env(name, value);
            }
        }
        command.env("APP_ENV", "local").envs(self.env.iter().map(|(k, v)| (k, v))).args(args);
        command
    }

    /// The same command as somebody at a terminal of 100 columns types it; what the terminal gets is on its standard output.
    pub fn at_a_terminal(&self, args: &[&str]) -> Command {
        let typed = self.command(args);
        let words = std::iter::once(typed.get_program()).chain(typed.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let line = format!("stty cols 100 rows 30; exec {}", words.join(" "));
        // script(1), of util-linux, runs a command on a pseudo-terminal and ends as the command does
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.envs(typed.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// `windrow up` on a free port and the directory `data`.
    pub fn up(&self) -> Server {
        self.start(&["up", "--data-dir", "data", "--port", "0", "--json"])
    }

    /// A server command that prints one JSON line with its `url` when it listens.
    pub fn start(&self, args: &[&str]) -> Server {
        Server::start(self.command(args))
    }

    /// A token of a user of the directory `data`, made when absent.
    pub fn token(&self, sub: &str, role: &str) -> String {
        let ran = self.run(&["token", "create", "--sub", sub, "--role", role, "--data-dir", "data"]).ok();
        ran.stdout.trim().to_owned()
    }
}

/// A server process. Dropped, it is killed.
pub struct Server {
    child: Child,
    pub url: String,
    /// The line with which it started.
    pub hello: Value,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Server {
    /// Waits for the line that says where it listens.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut log = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text);
            text
        });
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let Ok(hello) = serde_json::from_str::<Value>(&line) else {
            let _ = child.kill();
            panic!("the server did not start: {line:?}\n{}", log.join().unwrap());
        };
        let url = hello["url"].as_str().unwrap_or_default().to_owned();
        Self { child, url, hello, log: Some(log) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: nothing is cleaned up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; gives the exit code and the log.
    pub fn terminate(&mut self) -> (i32, String) {
        signal("-TERM", self.pid());
        self.ended()
    }

    /// Waits for the end; gives the exit code and the log.
    pub fn ended(&mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.log.take().map(|log| log.join().unwrap()).unwrap_or_default())
    }

    pub fn api(&self, token: &str) -> Api {
        Api { http: Client::new(), url: self.url.clone(), token: token.to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Plain HTTP as one user.
#[derive(Clone)]
pub struct Api {
    pub http: Client,
    pub url: String,
    pub token: String,
}

/// A status and a body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Api {
    pub fn request(&self, method: &str, path: &str) -> reqwest::blocking::RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.http.request(method.parse().unwrap(), url).bearer_auth(&self.token)
    }

    pub fn send(&self, request: reqwest::blocking::RequestBuilder) -> Answer {
        let response = request.send().unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().unwrap().to_vec(),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body))
    }

    /// Announces, puts and completes a file; gives the upload's id.
    #[track_caller]
    pub fn upload(&self, name: &str, content_type: &str, bytes: &[u8]) -> String {
        self.offer(name, content_type, bytes).unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// The same for a file that may be refused when it is completed.
    pub fn offer(&self, name: &str, content_type: &str, bytes: &[u8]) -> Result<String, Box<Answer>> {
        let (id, put) = self.put_upload(name, content_type, bytes)?;
        put.expect(200);
        let completed = self.post(&format!("/v1/uploads/{id}/complete"), &serde_json::json!({}));
        if completed.status == 200 { Ok(id) } else { Err(Box::new(completed)) }
    }

    /// Announces a file and puts it; gives the upload's id and what was answered to the bytes.
    pub fn put_upload(
        &self,
        name: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<(String, Answer), Box<Answer>> {
        let wish = serde_json::json!({
            "filename": name, "content_type": content_type, "size": bytes.len(), "purpose": "seed_data",
        });
        let created = self.post("/v1/uploads", &wish);
        if created.status != 201 {
            return Err(Box::new(created));
        }
        let created = created.json();
        let mut put = self.http.put(created["url"].as_str().unwrap()).body(bytes.to_vec());
        for (name, value) in created["headers"].as_object().unwrap() {
            put = put.header(name, value.as_str().unwrap());
        }
        Ok((created["id"].as_str().unwrap().to_owned(), self.send(put)))
    }

    /// Waits for a job's end, for as long as it gets on.
    #[track_caller]
    pub fn finished(&self, job: &str) -> Value {
        let mut done = Value::Null;
        loop {
            let mut last = Value::Null;
            until(Duration::from_secs(60), "the job ends or gets on", || {
                last = self.get(&format!("/v1/jobs/{job}")).expect(200).json();
                last["progress"]["done"] != done || !is_open(&last)
            });
            if !is_open(&last) {
                return last;
            }
            done = last["progress"]["done"].clone();
        }
    }
}

fn is_open(job: &Value) -> bool {
    matches!(job["status"].as_str(), Some("queued" | "running" | "waiting"))
}

/// Sends a signal to a process, which must be there.
#[track_caller]
pub fn signal(which: &str, process: u32) {
    let sent = Command::new("kill").args([which, &process.to_string()]).status().unwrap();
    assert!(sent.success(), "process {process} is gone already");
}

/// Asks until it is so; fails the test when it takes too long.
#[track_caller]
pub fn until(limit: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A number from the environment, by which a test is made longer or is replayed.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The repository's `examples` folder.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).canonicalize().unwrap()
}
