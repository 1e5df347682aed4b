//! What a run owes: reservations and settlements on their way to the engine.
//!
//! One task a run carries them. What arrives while one exchange is in flight rides in the next, settles before
//! reserves, so a record's settle and its next step's reserve share a commit. An answer is handed to its record before
//! its settle is on disk: whatever that record reserves next can't overtake the settle, and a checkpoint waits for all
//! settles before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use windrow_api_types::worker::{
    FreeCall, JournalEntry, Lease, Reserve, Reserved, RunRef, Settle, SettleResult,
};
use windrow_core::{JobError, RunNo};

use crate::{Engine, EngineError};

/// How long a settle alone waits for company: rendering the next prompt takes less.
const LINGER: Duration = Duration::from_millis(1);

/// The most operations in one exchange: a commit stays short.
const MAX_EXCHANGE: usize = 256;

/// How long a settle is tried again while the engine can't be reached. After that the call stays reserved until the
/// worker's end makes it `unconfirmed`.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before an exchange with an engine that can't be reached is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Meter {
    engine: Arc<dyn Engine>,
    run: RunRef,
    may_replay: bool,
    journal: OnceCell<HashMap<String, JournalEntry>>,
    free_calls: Mutex<Vec<FreeCall>>,
    carrier: OnceLock<mpsc::UnboundedSender<Errand>>,
    /// Counts exchanges that settled something: room may have come free.
    settled: OnceLock<Arc<watch::Sender<u64>>>,
}

enum Errand {
    Settle(Settle),
    Reserve(Reserve, oneshot::Sender<Result<Reserved, EngineError>>),
    /// Answered when all settles before it are on disk.
    Flush(oneshot::Sender<Result<(), EngineError>>),
}

impl Meter {
    pub(crate) fn new(engine: Arc<dyn Engine>, lease: &Lease) -> Self {
        Self {
            engine,
            run: lease.run,
            may_replay: lease.run.run > RunNo(1),
            journal: OnceCell::new(),
            free_calls: Mutex::default(),
            carrier: OnceLock::new(),
            settled: OnceLock::new(),
        }
    }

    /// Whether an earlier run may have left answers behind.
    pub(crate) fn may_replay(&self) -> bool {
        self.may_replay
    }

    /// The answer that an earlier run paid for, if it was to the same question.
    pub(crate) async fn replay(&self, key: &str, hash: &str) -> Result<Option<JournalEntry>, EngineError> {
        let journal = self
            .journal
            .get_or_try_init(|| async {
                let entries = self.engine.journal(self.run).await?;
                Ok::<_, EngineError>(entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect())
            })
            .await?;
        Ok(journal.get(key).filter(|entry| entry.request_hash == hash).cloned())
    }

    /// Asks for room. [`Reserved::Wait`] is passed on: the caller decides how long to be patient.
    pub(crate) async fn reserve(&self, reserve: Reserve) -> Result<Reserved, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.send(Errand::Reserve(reserve, reply));
        answer.await.unwrap_or_else(|_| Err(carrier_gone()))
    }

    /// Sends a settle on its way; never blocks, so that it may be called from a destructor.
    pub(crate) fn settle(&self, settle: Settle) {
        self.send(Errand::Settle(settle));
    }

    /// Waits until all settles so far are on disk.
    pub(crate) async fn flush(&self) -> Result<(), EngineError> {
        if self.carrier.get().is_none() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.send(Errand::Flush(reply));
        answer.await.unwrap_or_else(|_| Err(carrier_gone()))
    }

    /// Changes whenever something of this run was settled.
    pub(crate) fn settlements(&self) -> watch::Receiver<u64> {
        self.settled().subscribe()
    }

    fn settled(&self) -> &Arc<watch::Sender<u64>> {
        self.settled.get_or_init(|| Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn collect_free(&self, call: FreeCall) {
        self.free_calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Takes the collected calls; give them back with [`Self::collect_free`] when they could not be written.
    pub(crate) fn take_free(&self) -> Vec<FreeCall> {
        std::mem::take(&mut *self.free_calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&self, errand: Errand) {
        let carrier = self.carrier.get_or_init(|| {
            let (send, receive) = mpsc::unbounded_channel();
            let carrier = Carrier {
                engine: Arc::clone(&self.engine),
                run: self.run,
                settled: Arc::clone(self.settled()),
                failure: None,
            };
            tokio::spawn(carrier.work(receive));
            send
        });
        // The carrier ends only when the runtime does; nobody waits for the reply then.
        let _runtime_is_gone = carrier.send(errand);
    }
}

fn carrier_gone() -> EngineError {
    EngineError::Unavailable("the process is shutting down".to_owned())
}

/// The task that takes errands to the engine, one exchange at a time.
struct Carrier {
    engine: Arc<dyn Engine>,
    run: RunRef,
    settled: Arc<watch::Sender<u64>>,
    /// Why a settle could not be written. From then on the run can't save: whoever flushes is told, and the run's end makes the
    /// call `unconfirmed`.
    failure: Option<String>,
}

#[derive(Default)]
struct Load {
    settles: Vec<Settle>,
    reserves: Vec<Reserve>,
    replies: Vec<oneshot::Sender<Result<Reserved, EngineError>>>,
    flushes: Vec<oneshot::Sender<Result<(), EngineError>>>,
}

impl Load {
    fn add(&mut self, errand: Errand) {
        match errand {
            Errand::Settle(settle) => self.settles.push(settle),
            Errand::Reserve(reserve, reply) => {
                self.reserves.push(reserve);
                self.replies.push(reply);
            }
            Errand::Flush(reply) => self.flushes.push(reply),
        }
    }

    fn len(&self) -> usize {
        self.settles.len() + self.reserves.len() + self.flushes.len()
    }

    fn is_patient(&self) -> bool {
        self.reserves.is_empty() && self.flushes.is_empty()
    }
}

impl Carrier {
    async fn work(mut self, mut errands: mpsc::UnboundedReceiver<Errand>) {
        while let Some(first) = errands.recv().await {
            let mut load = Load::default();
            load.add(first);
            collect(&mut load, &mut errands);
            if load.is_patient()
                && let Ok(Some(errand)) = tokio::time::timeout(LINGER, errands.recv()).await
            {
                load.add(errand);
                collect(&mut load, &mut errands);
            }
            self.exchange(load).await;
        }
    }

    async fn exchange(&mut self, load: Load) {
        let Load { settles, reserves, replies, flushes } = load;
        let answers = if settles.is_empty() && reserves.is_empty() {
            Ok(Vec::new())
        } else {
            self.money(&settles, &reserves).await
        };
        // A stale run's settles are written all the same.
        let written = matches!(answers, Ok(_) | Err(EngineError::Stale));
        if !settles.is_empty() && written {
            self.settled.send_modify(|count| *count += 1);
        }
        if let (false, false, Err(error)) = (settles.is_empty(), written, &answers) {
            tracing::error!(run = %self.run, calls = settles.len(), %error, "calls could not be settled");
            self.failure = Some(error.to_string());
        }
        reply(replies, answers);
        for flush in flushes {
            let _nobody_waits = flush.send(match &self.failure {
                None => Ok(()),
                Some(failure) => Err(EngineError::Job(JobError::transient("calls_not_settled", failure))),
            });
        }
    }

    async fn money(&self, settles: &[Settle], reserves: &[Reserve]) -> Result<Vec<Reserved>, EngineError> {
        let mut waited = Duration::ZERO;
        loop {
            match self.engine.money(self.run, settles, reserves).await {
                Err(EngineError::Unavailable(why)) if waited < SETTLE_PATIENCE => {
                    tracing::warn!(run = %self.run, why, "money is tried again");
                    tokio::time::sleep(RETRY_EVERY).await;
                    waited += RETRY_EVERY;
                }
                answer => return answer,
            }
        }
    }
}

fn collect(load: &mut Load, errands: &mut mpsc::UnboundedReceiver<Errand>) {
    while load.len() < MAX_EXCHANGE
        && let Ok(errand) = errands.try_recv()
    {
        load.add(errand);
    }
}

fn reply(
    replies: Vec<oneshot::Sender<Result<Reserved, EngineError>>>,
    answers: Result<Vec<Reserved>, EngineError>,
) {
    match answers {
        Ok(answers) if answers.len() == replies.len() => {
            for (reply, answer) in replies.into_iter().zip(answers) {
                let _caller_went_away = reply.send(Ok(answer));
            }
        }
        Ok(answers) => {
            let problem = format!("{} answers to {} reservations", answers.len(), replies.len());
            for reply in replies {
                let _caller_went_away = reply.send(Err(EngineError::Invalid(problem.clone())));
            }
        }
        Err(error) => {
            for reply in replies {
                let _caller_went_away = reply.send(Err(again(&error)));
            }
        }
    }
}

/// One error for each of many callers.
fn again(error: &EngineError) -> EngineError {
    match error {
        EngineError::Stale => EngineError::Stale,
        EngineError::WorkerDead => EngineError::WorkerDead,
        EngineError::TurnedAway(why) => EngineError::TurnedAway(why.clone()),
        EngineError::Unavailable(why) => EngineError::Unavailable(why.clone()),
        EngineError::NotFound(what) => EngineError::NotFound(what.clone()),
        EngineError::Invalid(why) => EngineError::Invalid(why.clone()),
        EngineError::Job(error) => EngineError::Job(error.clone()),
    }
}

/// A reservation that was granted. Dropped without [`Hold::settle`] it is booked as `unconfirmed`, or released when the
/// request never left.
pub(crate) struct Hold {
    meter: Arc<Meter>,
    open: Option<Reserve>,
    left: bool,
}

impl Hold {
    pub(crate) fn new(meter: Arc<Meter>, reserve: Reserve) -> Self {
        Self { meter, open: Some(reserve), left: false }
    }

    /// From now on the request may have left the process.
    pub(crate) fn leaves(&mut self) {
        self.left = true;
    }

    pub(crate) fn settle(mut self, result: SettleResult) {
        self.close(result);
    }

    /// The reservation was refused: there is nothing to settle.
    pub(crate) fn forget(mut self) {
        self.open = None;
    }

    fn close(&mut self, result: SettleResult) {
        if let Some(Reserve { call, model, step, .. }) = self.open.take() {
            self.meter.settle(Settle { call, model, step, result });
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let left = self.left;
        self.close(if left { SettleResult::Unconfirmed } else { SettleResult::Released });
    }
}
