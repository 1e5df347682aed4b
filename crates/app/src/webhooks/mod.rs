//! Webhooks: a signed POST when a job has ended, at least once, retried through the outbox.

mod address;
mod send;
mod sign;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;
use windrow_api_types::{WebhookPayload, WebhookSecret};
use windrow_core::{JobId, RetryPolicy, RunNo, Timestamp};
use windrow_store::hot::{self, NewEvent};
use windrow_store::{StoreError, jobs, outbox};

use crate::{Actor, App, AppError};
use send::{Failure, Message};
use sign::Secret;

const TOPIC: &str = "webhook";
/// How long a row is ours: longer than a delivery can take.
const LEASE: Duration = Duration::from_secs(60);
/// Deliveries at once, and those of them to one host: a receiver that hangs keeps the others from nothing.
const AT_ONCE: usize = 64;
const AT_ONCE_A_HOST: usize = 4;
/// How often it is looked for more while deliveries are under way.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long what is for a busy host waits.
const BUSY: Duration = Duration::from_secs(2);
/// The last attempt is made some hours after the first.
const RETRY: RetryPolicy =
    RetryPolicy { base: Duration::from_secs(5), cap: Duration::from_secs(3600), max_attempts: 14 };

/// Where webhooks may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses only: nobody uses us to look into our own network.
    Internet,
    /// Anywhere: for tests, whose receivers listen on the loopback interface.
    Anywhere,
}

/// Signs and sends webhooks.
#[derive(Clone)]
pub struct Webhooks {
    key: Vec<u8>,
    reach: Reach,
}

impl Webhooks {
    /// `key` is a secret of the installation: owners' secrets are made of it.
    pub fn new(key: &[u8], reach: Reach) -> Self {
        Self { key: key.to_vec(), reach }
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// A number in [0, 1) that differs from delivery to delivery, and is the same when the same one is tried twice.
fn jitter(id: &str, attempt: u32) -> f64 {
    let hash = Sha256::digest(format!("{id}/{attempt}"));
    f64::from(u16::from_be_bytes([hash[0], hash[1]])) / 65_536.0
}

/// What the outbox holds of a webhook; the rest is read when it is sent.
#[derive(serde::Deserialize)]
struct Due {
    url: String,
    run: i64,
    status: windrow_core::JobStatus,
}

impl Due {
    /// By which receivers are told apart. A URL that names none gets a refusal of its own, when it is sent.
    fn host(&self) -> String {
        let url: Option<Url> = self.url.parse().ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl App {
    /// What the actor's receivers check signatures with.
    ///
    /// # Errors
    /// [`AppError::ScopeMissing`].
    pub fn webhook_secret(&self, actor: &Actor) -> Result<WebhookSecret, AppError> {
        actor.may_write()?;
        Ok(WebhookSecret { secret: Secret::of_owner(&self.parts.webhooks.key, actor.owner()).shown() })
    }

    /// Delivers what is due, until nothing is and nothing is under way. Gives how many deliveries were tried; when it is 0
    /// there is nothing to do for now.
    pub async fn deliver_webhooks(&self) -> Result<usize, AppError> {
        let (mut flying, mut hosts) = (FuturesUnordered::new(), HashMap::<String, usize>::new());
        let mut tried = 0;
        loop {
            for (row, due) in self.take_due(AT_ONCE - flying.len()).await? {
                let host = due.host();
                let busy = hosts.entry(host.clone()).or_default();
                if *busy >= AT_ONCE_A_HOST {
                    self.put_back(row.id).await?;
                    continue;
                }
                *busy += 1;
                tried += 1;
                flying.push(async move { (host, self.deliver(row, due).await) });
            }
            if flying.is_empty() {
                return Ok(tried);
            }
            // others may be due before the slowest receiver has answered
            if let Ok(Some((host, delivered))) = tokio::time::timeout(LOOK_AGAIN, flying.next()).await {
                if let Some(busy) = hosts.get_mut(&host) {
                    *busy -= 1;
                }
                delivered?;
            }
        }
    }

    async fn take_due(&self, room: usize) -> Result<Vec<(outbox::Outgoing, Due)>, AppError> {
        let now = self.now();
        // mostly there is nothing, and a look takes no turn of the writer
        if room == 0 || !outbox::is_due(&mut self.read().await?, TOPIC, now).await? {
            return Ok(Vec::new());
        }
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let taken = self
            .write(move |tx| Box::pin(async move { Ok(outbox::take(tx, TOPIC, now, LEASE, limit).await?) }));
        let read = |row: outbox::Outgoing| {
            let due = serde_json::from_str(&row.payload);
            let broken = |error| StoreError::invariant("outbox", "payload", row.id, error);
            due.map_err(|error| AppError::internal(broken(error))).map(|due| (row, due))
        };
        taken.await?.into_iter().map(read).collect()
    }

    /// It was not tried, so no attempt is burnt.
    async fn put_back(&self, row: i64) -> Result<(), AppError> {
        let at = self.now().plus(BUSY);
        self.write(move |tx| Box::pin(async move { Ok(outbox::put_back(tx, row, at).await?) })).await
    }

    async fn deliver(&self, row: outbox::Outgoing, due: Due) -> Result<(), AppError> {
        let owner = jobs::owner_of(&mut self.read().await?, row.job_seq).await?;
        let Some((owner, job)) = owner else { return self.settle(row, None).await };
        let body = self.webhook_body(owner, job, due.status).await?;
        let timestamp = self.now().since(Timestamp::default()).as_secs();
        let id = format!("msg_{job}_{}", due.run);
        let signature = Secret::of_owner(&self.parts.webhooks.key, owner).sign(&id, timestamp, &body);
        let sent = send::send(
            &due.url,
            Message { id: id.clone(), timestamp, signature, body },
            self.parts.webhooks.reach,
        )
        .await;
        metrics::counter!("windrow_webhooks_total", "outcome" => if sent.is_ok() { "delivered" } else { "failed" })
            .increment(1);
        match sent {
            Ok(()) => self.settle(row, Some(("webhook_delivered", json!({"run": due.run})))).await,
            Err(Failure::Later { after, .. }) if RETRY.allows_another(row.attempts) => {
                let wait = RETRY.delay(row.attempts, jitter(&id, row.attempts), after);
                let (row, at) = (row.id, self.now().plus(wait));
                self.write(move |tx| Box::pin(async move { Ok(outbox::postpone(tx, row, at).await?) })).await
            }
            Err(Failure::Later { why, .. } | Failure::Never(why)) => {
                tracing::warn!(job_id = %job, attempts = row.attempts, why, "a webhook was given up");
                let payload = json!({"run": due.run, "attempts": row.attempts, "problem": why});
                self.settle(row, Some(("webhook_failed", payload))).await
            }
        }
    }

    async fn webhook_body(
        &self,
        owner: windrow_core::OwnerId,
        id: JobId,
        status: windrow_core::JobStatus,
    ) -> Result<Vec<u8>, AppError> {
        let job = self.job_body(owner, id).await?;
        let payload = WebhookPayload {
            kind: format!("job.{status}"),
            timestamp: job.ended_at.unwrap_or_else(|| self.now()),
            // what it had come to: a job that was retried meanwhile tells of that end too
            data: json!({
                "id": id, "workload": job.workload, "status": status, "result": job.result, "error": job.error,
                "cost": job.cost, "records": job.records, "trace_id": job.trace_id, "links": job.links,
            }),
        };
        serde_json::to_vec(&payload).map_err(AppError::internal)
    }

    /// Removes the row and tells the job's history what became of it, in one transaction.
    async fn settle(
        &self,
        row: outbox::Outgoing,
        told: Option<(&'static str, serde_json::Value)>,
    ) -> Result<(), AppError> {
        let now = self.now();
        let event = told.map(|(kind, payload)| NewEvent {
            job: row.job_seq,
            run: RunNo(0),
            kind: kind.to_owned(),
            payload: payload.to_string(),
            schema_version: i64::from(windrow_api_types::SCHEMA_VERSION),
        });
        self.write(move |tx| {
            let event = event.clone();
            Box::pin(async move {
                outbox::remove(tx, row.id).await?;
                if let Some(event) = event {
                    hot::append_events(tx, &[event], now).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
