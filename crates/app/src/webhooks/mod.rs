//! Webhooks: a signed POST when a job has ended, at least once, retried through the outbox.

mod address;
mod send;
mod sign;
mod turn;

use std::fmt;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use windrow_api_types::{SCHEMA_VERSION, WebhookPayload, WebhookSecret};
use windrow_core::{JobId, RetryPolicy, RunNo, Timestamp};
use windrow_store::hot::{self, NewEvent};
use windrow_store::{jobs, outbox};

use crate::{Actor, App, AppError};
use send::{Failure, Message};
use sign::Secret;
use turn::{Due, Taken, Turn};

const TOPIC: &str = "webhook";
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
    ///
    /// # Errors
    /// The first one that kept rows from being taken or noted, once nothing is under way any more. A row that can't be
    /// told is logged and postponed: it is no error of the others.
    pub async fn deliver_webhooks(&self) -> Result<usize, AppError> {
        Turn::new(self).run().await
    }

    /// Whatever fails is this row's own matter, as long as that can be noted.
    async fn deliver(&self, taken: Taken) -> Result<(), AppError> {
        let Taken { row, due, .. } = taken;
        let told = match due {
            Ok(due) if due.schema_version != SCHEMA_VERSION => self.refuse(&row, &due).await,
            Ok(due) => self.tell(&row, due).await,
            Err(broken) => Err(broken),
        };
        let Err(error) = told else { return Ok(()) };
        tracing::error!(
            row = row.id,
            attempts = row.attempts,
            ?error,
            "a webhook could not be told or noted"
        );
        // a database that is busy says nothing against the row
        if matches!(error, AppError::DatabaseUnavailable(_)) || RETRY.allows_another(row.attempts) {
            return self.postpone(&row, &row.id.to_string(), None).await;
        }
        let payload = json!({"attempts": row.attempts, "problem": "the webhook could not be made"});
        self.settle(&row, Some(("webhook_failed", payload))).await
    }

    async fn postpone(
        &self,
        row: &outbox::Outgoing,
        id: &str,
        after: Option<Duration>,
    ) -> Result<(), AppError> {
        let wait = RETRY.delay(row.attempts, jitter(id, row.attempts), after);
        let (row, at) = (row.id, self.now().plus(wait));
        self.write(move |tx| Box::pin(async move { Ok(outbox::postpone(tx, row, at).await?) })).await
    }

    /// What another version of this program put there is not guessed, and no wait would help.
    async fn refuse(&self, row: &outbox::Outgoing, due: &Due) -> Result<(), AppError> {
        let problem = format!(
            "the message's schema_version is {}; this server knows {SCHEMA_VERSION}",
            due.schema_version
        );
        tracing::error!(row = row.id, problem, "a webhook was given up");
        let payload = json!({"run": due.run, "attempts": row.attempts, "problem": problem});
        self.settle(row, Some(("webhook_failed", payload))).await
    }

    async fn tell(&self, row: &outbox::Outgoing, due: Due) -> Result<(), AppError> {
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
                self.postpone(row, &id, after).await
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
        row: &outbox::Outgoing,
        told: Option<(&'static str, serde_json::Value)>,
    ) -> Result<(), AppError> {
        let (now, id) = (self.now(), row.id);
        let event = told.map(|(kind, payload)| NewEvent {
            job: row.job_seq,
            run: RunNo(0),
            kind: kind.to_owned(),
            payload: payload.to_string(),
            schema_version: i64::from(SCHEMA_VERSION),
        });
        self.write(move |tx| {
            let event = event.clone();
            Box::pin(async move {
                outbox::remove(tx, id).await?;
                if let Some(event) = event {
                    hot::append_events(tx, &[event], now).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
