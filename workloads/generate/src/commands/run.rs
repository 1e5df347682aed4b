//! `windrow generate run`

use serde_json::json;
use sha2::{Digest, Sha256};
use windrow_api_types::{CreateUpload, CreatedUpload, Upload};
use windrow_client::Client;
use windrow_plugin::{CommandError, ExitCode, Host};

use super::args::{DatasetArgs, RunArgs};
use super::follow::{self, Wish};
use super::local::{LocalSeed, LocalTemplate, content_type};
use super::place::{Place, RunState};
use super::push::{push, push_fragment, refused, with_sources};
use super::report;
use crate::workload::NAME;

pub(super) async fn run(args: RunArgs, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let template = LocalTemplate::read(&args.dataset.template, &args.dataset.include)?;
    let seed = LocalSeed::find(&args.dataset.seed)?;
    let key = key(&args.dataset, &template, &seed)?;
    let budget = args.dataset.models.budget_usd;
    let place = Place::open(&args.out)?;
    let state = place.state(&key)?;
    if let Some(code) = follow::ended_before(&place, state.as_ref(), budget, host.console())? {
        return Ok(code);
    }
    let engine = host.embedded(&place.engine(), args.dataset.models.overrides()).await?;
    let work = async {
        let client = engine.client();
        let state = match state {
            Some(state) => state,
            None => {
                let wish = wish(client, &args.dataset, &template, &seed).await?;
                if !follow::agree(client, &wish, args.yes, host.console()).await? {
                    report::note(host.console(), "not begun; nothing was spent");
                    return Ok(ExitCode::Ok);
                }
                let state = RunState { key, request: wish.request, job: None, finished: None };
                place.remember(&state)?;
                state
            }
        };
        follow::job(client, &place, state, "/v1/jobs", budget, host).await
    };
    let ended = work.await;
    engine.stop().await?;
    ended
}

/// Names the run: the arguments and the contents of all files that shape the result. Where a model is reached does not,
/// nor what it costs and may cost.
fn key(args: &DatasetArgs, template: &LocalTemplate, seed: &LocalSeed) -> Result<String, CommandError> {
    let mut hash = Sha256::new();
    hash.update(json!({ "version": 2, "spec": args.spec() }).to_string());
    template.hash(&mut hash);
    hash.update(seed.sha256()?);
    Ok(hex::encode(hash.finalize()))
}

/// Brings the files to the engine, and says what job they are for.
pub(super) async fn wish(
    client: &Client,
    args: &DatasetArgs,
    template: &LocalTemplate,
    seed: &LocalSeed,
) -> Result<Wish, CommandError> {
    for fragment in &template.fragments {
        push_fragment(client, fragment).await?;
    }
    let (pushed, _) = push(client, &template.text).await?;
    let seed = match seed {
        LocalSeed::Sample(name) => format!("sample:{name}"),
        LocalSeed::File(path) => upload(client, path).await?.id.to_string(),
    };
    let reference = format!("{}@{}", pushed.template.id, pushed.version);
    let spec = with_sources(args.spec(), &reference, &seed);
    let budget = args.models.budget_usd;
    Ok(Wish {
        estimate: json!({ "spec": spec, "budget_usd": budget }),
        request: json!({ "workload": NAME, "spec": spec, "budget_usd": budget }),
    })
}

async fn upload(client: &Client, path: &std::path::Path) -> Result<Upload, CommandError> {
    let wish = CreateUpload {
        filename: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        content_type: content_type(path).to_owned(),
        size: std::fs::metadata(path)?.len(),
        sha256: None,
        purpose: Some("seed_data".to_owned()),
        workload: Some(NAME.to_owned()),
    };
    let created: CreatedUpload = client.post("/v1/uploads", &wish).await.map_err(refused)?;
    client.put_file(&created.url, created.headers, path, |_| {}).await?;
    client.post_long(&format!("/v1/uploads/{}/complete", created.id), &json!({})).await.map_err(refused)
}
