//! In a task of Amazon ECS a worker is called by the task's ARN, by which AWS's own tools find it
//! (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html>).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use windrow_client::{Client, Endpoint};
use windrow_config::Config;

/// Set by the agent of ECS in each container.
const METADATA: &str = "ECS_CONTAINER_METADATA_URI_V4";

/// The agent answers from its own memory, on the same machine; nobody's start waits for it longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is read of the answer to `${ECS_CONTAINER_METADATA_URI_V4}/task`.
#[derive(Deserialize)]
struct Task {
    #[serde(rename = "TaskARN")]
    arn: String,
}

/// Calls the worker by its task's ARN, unless it was given a name. Without an answer it keeps the name of its host.
pub(crate) async fn name_worker(config: &mut Config, env: &BTreeMap<String, String>) {
    let Some(metadata) = env.get(METADATA).filter(|_| config.worker.name.is_none()) else { return };
    match task_arn(metadata).await {
        Ok(arn) => config.worker.name = Some(arn),
        Err(error) => {
            let why = format!("{error:#}");
            tracing::warn!(
                metadata,
                why,
                "the ECS task's ARN is not known; set WINDROW_WORKER_NAME if it should be"
            );
        }
    }
}

async fn task_arn(metadata: &str) -> anyhow::Result<String> {
    let url = metadata.parse().with_context(|| format!("{METADATA} is no URL"))?;
    let client = Client::new(Endpoint::Url(url), None)?;
    let task = tokio::time::timeout(PATIENCE, client.get::<Task>("/task")).await;
    Ok(task.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))??.arn)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use windrow_config::Input;

    use super::*;

    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:task/windrow/158d1c8083dd49d6b527399fd6414f5c";

    /// The name that a worker gets with this address of the agent, and perhaps one of its own.
    async fn name(metadata: &str, own: Option<&str>) -> Option<String> {
        let mut config = Config::load(&Input::default()).unwrap();
        config.worker.name = own.map(str::to_owned);
        name_worker(&mut config, &BTreeMap::from([(METADATA.to_owned(), metadata.to_owned())])).await;
        config.worker.name
    }

    #[tokio::test]
    async fn a_worker_in_a_task_is_called_by_its_arn() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = format!("http://{}/v4/5fb8fcdd", listener.local_addr().unwrap());
        let task =
            || async { format!("{{\"Cluster\": \"windrow\", \"TaskARN\": \"{ARN}\", \"Family\": \"w\"}}") };
        let router = Router::new().route("/v4/5fb8fcdd/task", get(task));
        let served = tokio::spawn(async move { axum::serve(listener, router).await });
        assert_eq!(name(&agent, None).await.as_deref(), Some(ARN));
        assert_eq!(name(&agent, Some("w-7")).await.as_deref(), Some("w-7"), "a name of its own comes first");
        assert_eq!(name(&format!("{agent}/elsewhere"), None).await, None);
        served.abort();
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_no_reason_not_to_start() {
        for nowhere in ["http://127.0.0.1:1/v4/x", "no url"] {
            assert_eq!(name(nowhere, None).await, None, "{nowhere}");
        }
    }
}
