//! Metered model calls: look in the journal, reserve the worst case, ask, settle with the answer.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use windrow_api_types::worker::{Bill, FreeCall, JournalLine, Reserve, Reserved, SettleResult};
use windrow_core::{CallId, JobError, PicoUsd};
use windrow_models::Model;
use windrow_models::{Admission, Billing, ModelError, ModelRequest, ModelResponse, RetryAdvice, Usage};

use super::{JobContext, RunError};
use crate::meter::Hold;
use crate::{Stop, spans};

/// How often a reservation that found no room is tried again when nothing of this run settles meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// An answer and what it cost.
#[derive(Clone, Debug)]
pub struct CallAnswer {
    pub response: ModelResponse,
    pub cost: PicoUsd,
    /// The resolved id of the model that answered.
    pub model: String,
    /// Whether it came from the journal: paid by an earlier run.
    pub replayed: bool,
}

/// What all attempts of one call are about.
struct Question {
    key: String,
    step: String,
    model: Arc<Model>,
    request: ModelRequest,
}

/// How one attempt went: the run may have to stop, or the model may have failed.
type Attempt = Result<Result<CallAnswer, ModelError>, RunError>;

impl JobContext {
    /// A metered, journalled model call. `key` names the call within the job (record, step, re-ask): an answer that an
    /// earlier run paid for is returned without asking again. Reserves the worst case, asks, settles; transient failures
    /// are retried, each retry with a reservation of its own. Waits while the budget has no room but other calls are in
    /// flight.
    ///
    /// # Errors
    /// [`Stop::BudgetExceeded`] when there is no room and nothing in flight that could make some; the run's own stop;
    /// the model's error when retries are used up.
    pub async fn call(&self, key: &str, step: &str, request: &ModelRequest) -> Result<CallAnswer, RunError> {
        self.call_counting(key, step, request, &mut 0).await
    }

    /// The same, and adds to `tries` how often the model was tried, whether it answered or not; an answer that an earlier run paid
    /// for is one try.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_counting(
        &self,
        key: &str,
        step: &str,
        request: &ModelRequest,
        tries: &mut u32,
    ) -> Result<CallAnswer, RunError> {
        let model = self.models().resolve(&request.model).map_err(JobError::from)?;
        let request = model.addressed(request.clone());
        let (key, step) = (key.to_owned(), step.to_owned());
        let mut question = Question { key, step, model, request };
        if let Some(answer) = self.replayed(&question).await? {
            self.note_progress();
            *tries += 1;
            return Ok(answer);
        }
        let span = tracing::debug_span!(
            parent: &self.inner.span,
            "model call",
            model = question.request.model,
            key = question.key,
            step = question.step
        );
        question.request.traceparent = spans::position(&span, self.inner.lease.traceparent);
        self.ask_until_answered(&Arc::new(question), tries).instrument(self.within(span)).await
    }

    /// Tries again what may be tried again.
    async fn ask_until_answered(
        &self,
        question: &Arc<Question>,
        tries: &mut u32,
    ) -> Result<CallAnswer, RunError> {
        let mut attempt = 1;
        loop {
            self.check_hard_stop()?;
            *tries += 1;
            let error = match self.attempt(question).await? {
                Ok(answer) => {
                    self.note_progress();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let unit = self.rng(&format!("{}/{attempt}", question.key)).random::<f64>();
            let RetryAdvice::RetryAfter(wait) = error.advice(&self.inner.services.call_retry, attempt, unit)
            else {
                return Err(JobError::from(error).into());
            };
            tracing::debug!(run = %self.inner.lease.run, key = question.key, attempt, %error, ?wait, "the call is tried again");
            self.pause(wait).await?;
            attempt += 1;
        }
    }

    async fn replayed(&self, question: &Question) -> Result<Option<CallAnswer>, RunError> {
        let meter = &self.inner.meter;
        if !meter.may_replay() {
            return Ok(None);
        }
        let hash = question.request.hash();
        let Some(entry) = self.insist(|| meter.replay(&question.key, &hash)).await? else {
            return Ok(None);
        };
        match serde_json::from_value(entry.response) {
            Ok(response) => {
                let model = question.model.id().to_owned();
                Ok(Some(CallAnswer { response, cost: entry.cost, model, replayed: true }))
            }
            Err(error) => Err(JobError::permanent(
                "bad_journal",
                format!("the journalled answer {:?} can't be read: {error}", question.key),
            )
            .into()),
        }
    }

    async fn attempt(&self, question: &Arc<Question>) -> Attempt {
        if !question.model.is_priced() {
            return Ok(self.ask_for_free(question).await);
        }
        if self.inner.lease.budget.is_none() {
            let model = question.model.id();
            let problem =
                format!("{model} costs money, and the job has no budget: submit it with budget_usd");
            return Err(JobError::user("budget_required", problem).into());
        }
        // A task of its own: when the run is stopped or dropped once the request has left, the answer is still waited
        // for and settled at its real cost.
        let wanted = CancellationToken::new();
        let (context, asked, unwanted) = (self.clone(), Arc::clone(question), wanted.clone());
        let _unwanted_when_dropped = wanted.drop_guard();
        let ask = async move { context.ask(&asked, unwanted).await };
        let answer = tokio::spawn(ask.in_current_span());
        tokio::select! {
            answer = answer => answer.unwrap_or_else(|error| {
                Err(JobError::transient("call_panicked", format!("the model's client failed: {error}")).into())
            }),
            why = self.inner.stop.halted() => Err(RunError::Stopped(why)),
        }
    }

    /// Price zero: nothing to reserve; the ledger's row rides with the next checkpoint.
    async fn ask_for_free(&self, question: &Question) -> Result<CallAnswer, ModelError> {
        let response = question.model.call(&question.request).await?;
        let usage = response.usage;
        self.inner.meter.collect_free(FreeCall {
            call: CallId::new(&*self.inner.services.clock),
            step: question.step.clone(),
            model: question.model.id().to_owned(),
            price_version: question.model.price_version().to_owned(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_input_tokens,
            duration_ms: millis(response.latency),
            provider_request_id: response.provider_request_id.clone(),
        });
        let model = question.model.id().to_owned();
        Ok(CallAnswer { response, cost: PicoUsd::ZERO, model, replayed: false })
    }

    /// Waits for the model's own limits, reserves, sends, settles. Until the request leaves, `unwanted` ends it.
    async fn ask(&self, question: &Question, unwanted: CancellationToken) -> Attempt {
        let Question { model, request, .. } = question;
        let ready = tokio::select! {
            ready = self.ready(question) => ready?,
            () = unwanted.cancelled() => return Err(self.interrupted()),
        };
        let (admission, mut hold) = match ready {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(error)),
        };
        hold.leaves();
        let answer = admission.send(request).await;
        hold.settle(bill(question, &answer));
        Ok(answer.map(|response| {
            let cost = model.cost(&response.usage);
            CallAnswer { response, cost, model: model.id().to_owned(), replayed: false }
        }))
    }

    /// Waits for the model's turn and for room in the budget. Money is reserved once the turn comes soon, so that none is held back
    /// while a call waits for long, and the commit takes none of the turn's time.
    async fn ready<'q>(
        &self,
        question: &'q Question,
    ) -> Result<Result<(Admission<'q>, Hold), ModelError>, RunError> {
        let Question { model, request, .. } = question;
        let reserve = || Reserve {
            call: CallId::new(&*self.inner.services.clock),
            worst: model.worst_case(request),
            model: model.id().to_owned(),
            step: question.step.clone(),
        };
        Ok(match model.approach().await {
            Some(near) => {
                let hold = self.reserve(reserve()).await?;
                near.admit(request).await.map(|admission| (admission, hold))
            }
            None => match model.admit(request).await {
                Ok(admission) => Ok((admission, self.reserve(reserve()).await?)),
                Err(error) => Err(error),
            },
        })
    }

    /// Waits for room in the budget.
    async fn reserve(&self, reserve: Reserve) -> Result<Hold, RunError> {
        let meter = &self.inner.meter;
        let mut settlements = meter.settlements();
        loop {
            settlements.mark_unchanged();
            // A hold from the start: dropped while the reservation is under way, it is released.
            let hold = Hold::new(Arc::clone(meter), reserve.clone());
            match self.insist(|| meter.reserve(reserve.clone())).await? {
                Reserved::Granted => return Ok(hold),
                Reserved::Exceeded => {
                    hold.forget();
                    return Err(RunError::Stopped(Stop::BudgetExceeded));
                }
                Reserved::Wait => hold.forget(),
            }
            self.check_hard_stop()?;
            let _room_may_be_there = tokio::time::timeout(ASK_AGAIN, settlements.changed()).await;
        }
    }

    /// Why a call whose caller went away ends; nobody sees it.
    fn interrupted(&self) -> RunError {
        RunError::Stopped(self.stop().unwrap_or(Stop::LeaseLost))
    }

    fn check_hard_stop(&self) -> Result<(), RunError> {
        match self.stop() {
            Some(why) if why.is_hard() => Err(RunError::Stopped(why)),
            _ => Ok(()),
        }
    }

    /// Waits, unless the run is asked to come back: a retry can wait for the next run.
    async fn pause(&self, wait: Duration) -> Result<(), RunError> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            why = self.stopped() => Err(RunError::Stopped(why)),
        }
    }
}

/// What becomes of the reservation.
fn bill(question: &Question, answer: &Result<ModelResponse, ModelError>) -> SettleResult {
    let model = &question.model;
    let settled = |usage: Usage, took, provider_request_id, journal| {
        SettleResult::Settled(Box::new(Bill {
            cost: model.cost(&usage),
            price_version: model.price_version().to_owned(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_input_tokens,
            duration_ms: millis(took),
            provider_request_id,
            journal,
        }))
    };
    match answer {
        Ok(response) => {
            let json = serde_json::to_value(response).expect("an answer is made of texts and numbers");
            let (key, request_hash) = (question.key.clone(), question.request.hash());
            let journal = JournalLine { key, request_hash, response: json };
            settled(response.usage, response.latency, response.provider_request_id.clone(), Some(journal))
        }
        Err(error) => match error.billing() {
            Billing::NotSent => SettleResult::Released,
            Billing::Billed(usage) if model.cost(&usage).is_zero() => SettleResult::Released,
            Billing::Billed(usage) => settled(usage, Duration::ZERO, None, None),
            Billing::Unknown => SettleResult::Unconfirmed,
        },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
