//! The commands that people and scripts type, by subject: what each does, what it prints for scripts, its exit codes, and
//! what it says to a mistake.

mod database;
mod files;
mod generate;
mod jobs;
mod lists;
mod mentions;
mod people;
mod readme;
mod servers;
mod templates;

use serde_json::{Value, json};

use crate::harness::{Api, Ran, Server, Windrow};

/// A server on the directory `data`, and a contributor who types commands beside it.
struct Desk {
    windrow: Windrow,
    server: Server,
    token: String,
}

impl Desk {
    fn new() -> Self {
        Self::of(Windrow::new())
    }

    fn of(windrow: Windrow) -> Self {
        let server = windrow.up();
        let token = windrow.token("ada", "contributor");
        Self { windrow, server, token }
    }

    fn api(&self) -> Api {
        self.server.api(&self.token)
    }

    /// A command of the contributor's, through the directory's socket.
    fn run(&self, args: &[&str]) -> Ran {
        self.run_as(&self.token, args)
    }

    fn run_as(&self, token: &str, args: &[&str]) -> Ran {
        self.windrow.run(&[args, &["--data-dir", "data", "--token", token]].concat())
    }

    /// What the command prints for scripts. It must succeed.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).ok().json()
    }

    /// Stores a template; gives its id.
    #[track_caller]
    fn template(&self, document: &str) -> String {
        let template = self.api().post("/v1/templates", &json!({ "document": document })).expect(201).json();
        text(&template["id"])
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// One record a seed record, without a model that costs anything.
const FREE: &str = "template:\n  name: free\n  steps:\n    - {id: a, model: offline, max_tokens: 20, prompt: 'Write about {{ title }}.'}\n  output: {text: '{{ steps.a.output }}', kind: '{{ kind }}'}\n";

/// Seed records that fit it.
const SEED: &str = "{\"title\": \"rivers\", \"kind\": \"wet\"}\n{\"title\": \"stones\", \"kind\": \"dry\"}\n";
