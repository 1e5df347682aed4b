//! `windrow generate seed`

use std::io::Read as _;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use windrow_plugin::{CommandError, ExitCode, Host};

use super::args::SeedArgs;
use super::follow::{self, Wish};
use super::local::file_fault;
use super::place::{Place, RunState};
use super::report;
use crate::wire::MakeSeedRecords;

const PATH: &str = "/v1/generate/seed";
/// The largest example file, in bytes; the server's own limit is far below.
const MAX_EXAMPLE_BYTES: u64 = 1 << 20;

pub(super) async fn run(args: SeedArgs, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let Some(model) = args.models.model.clone() else {
        return Err(CommandError::usage("name the model that makes the records with --model"));
    };
    let request = MakeSeedRecords {
        example: example(&args)?,
        instructions: args.instructions.clone(),
        records: args.records,
        model,
        temperature: args.temperature,
        random_seed: args.random_seed,
        budget_usd: args.models.budget_usd,
    };
    let body = serde_json::to_value(&request)?;
    // the same run may get a larger budget later
    let named = MakeSeedRecords { budget_usd: None, ..request.clone() };
    let key = hex::encode(Sha256::digest(json!({ "version": 2, "make_seeds": named }).to_string()));
    let budget = request.budget_usd;
    let place = Place::open(&args.out)?;
    let state = place.state(&key)?;
    if let Some(code) = follow::ended_before(&place, state.as_ref(), budget, host.console())? {
        return Ok(code);
    }
    let engine = host.embedded(&place.engine(), args.models.overrides()).await?;
    let work = async {
        let client = engine.client();
        let state = match state {
            Some(state) => state,
            None => {
                let estimate = json!({ "spec": request.spec(), "budget_usd": request.budget_usd });
                let wish = Wish { request: body, estimate };
                if !follow::agree(client, &wish, args.yes, host.console()).await? {
                    report::note(host.console(), "not begun; nothing was spent");
                    return Ok(ExitCode::Ok);
                }
                let state = RunState { key, request: wish.request, job: None, finished: None };
                place.remember(&state)?;
                state
            }
        };
        follow::job(client, &place, state, PATH, budget, host).await
    };
    let ended = work.await;
    engine.stop().await?;
    ended
}

fn example(args: &SeedArgs) -> Result<Map<String, Value>, CommandError> {
    let path = &args.example;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|f| f.take(MAX_EXAMPLE_BYTES).read_to_string(&mut text));
    read.map_err(|error| file_fault(path, error))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(example)) => Ok(example),
        Ok(_) => Err(file_fault(path, "is not one JSON object")),
        Err(error) => Err(file_fault(path, format!("is not one JSON object: {error}"))),
    }
}
