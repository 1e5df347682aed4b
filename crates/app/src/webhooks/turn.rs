//! One turn of deliveries: takes what is due, keeps a few under way to every host, and holds some more of a busy host.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use url::Url;
use windrow_core::{JobStatus, Timestamp};
use windrow_store::{StoreError, outbox};

use super::TOPIC;
use crate::{App, AppError};

/// How long a row is ours: longer than it is held and a delivery can take.
const LEASE: Duration = Duration::from_secs(60);
/// How long a row of a busy host is held before it is put back.
const HOLD: Duration = Duration::from_secs(30);
/// Deliveries at once, and those of them to one host: a receiver that hangs keeps the others from nothing.
const AT_ONCE: usize = 64;
const AT_ONCE_A_HOST: usize = 4;
/// Rows of one busy host that are held beside those under way.
const HELD_A_HOST: usize = 60;
/// How often it is looked for more while deliveries are under way.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long what is put back waits at least.
const BUSY: Duration = Duration::from_secs(2);
/// One row that was put back is due this long after the one before it, so that thousands are not taken again at once.
const PACE: Duration = Duration::from_millis(17);

/// What the outbox holds of a webhook; the rest is read when it is sent.
#[derive(serde::Deserialize)]
pub(super) struct Due {
    pub(super) schema_version: u32,
    pub(super) url: String,
    pub(super) run: i64,
    pub(super) status: JobStatus,
}

/// A row that is ours for a while.
pub(super) struct Taken {
    pub(super) row: outbox::Outgoing,
    /// Or why it can't be read.
    pub(super) due: Result<Due, AppError>,
    /// When it is too late to start with it.
    until: Timestamp,
}

impl Taken {
    fn new(row: outbox::Outgoing, until: Timestamp) -> Self {
        let broken = |error| AppError::internal(StoreError::invariant("outbox", "payload", row.id, error));
        let due = serde_json::from_str(&row.payload).map_err(broken);
        Self { row, due, until }
    }

    /// By which receivers are told apart. A URL that names none gets a refusal of its own, when it is sent.
    fn host(&self) -> String {
        let url: Option<Url> = self.due.as_ref().ok().and_then(|due| due.url.parse().ok());
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// The deliveries to one host.
#[derive(Default)]
struct Host {
    flying: usize,
    held: VecDeque<Taken>,
    /// When the last row that was put back is due.
    line_ends: Timestamp,
}

/// The rows of one host that are to be put back, and when they are due.
type Surplus = (Vec<i64>, Timestamp);
type Landed = (String, Result<(), AppError>);

pub(super) struct Turn<'a> {
    app: &'a App,
    flying: FuturesUnordered<BoxFuture<'a, Landed>>,
    /// Those with something under way or held.
    hosts: HashMap<String, Host>,
    tried: usize,
    failed: Option<AppError>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(app: &'a App) -> Self {
        Self { app, flying: FuturesUnordered::new(), hosts: HashMap::new(), tried: 0, failed: None }
    }

    /// An error ends nothing that is under way: its POST may have been sent, and the answer is still to be noted.
    pub(super) async fn run(mut self) -> Result<usize, AppError> {
        loop {
            let app = self.app;
            let taken = self.beside(take_due(app, AT_ONCE.saturating_sub(self.flying.len()))).await;
            let taken = taken.unwrap_or_else(|error| self.note(error));
            let surplus = self.sort(taken);
            if !surplus.is_empty() {
                let put = self.beside(defer(app, surplus)).await;
                // their lease brings them back
                put.unwrap_or_else(|error| self.note(error));
            }
            if self.hosts.is_empty() {
                return self.failed.map_or(Ok(self.tried), Err);
            }
            // others may be due before the slowest receiver has answered
            if let Ok(Some(landed)) = tokio::time::timeout(LOOK_AGAIN, self.flying.next()).await {
                self.land(landed);
            }
        }
    }

    /// Waits for `work` while what is under way goes on.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(landed) = self.flying.next() => self.land(landed),
            }
        }
    }

    fn note<T: Default>(&mut self, error: AppError) -> T {
        self.failed.get_or_insert(error);
        T::default()
    }

    fn land(&mut self, (host, delivered): Landed) {
        if let Some(of) = self.hosts.get_mut(&host) {
            of.flying -= 1;
        }
        if let Err(error) = delivered {
            self.note::<()>(error);
        }
        self.fill(&host);
    }

    /// Starts what is held for a host, as far as it may be, and forgets the host if nothing is left of it.
    fn fill(&mut self, host: &str) {
        let (app, now) = (self.app, self.app.now());
        let Some(of) = self.hosts.get_mut(host) else { return };
        while of.flying < AT_ONCE_A_HOST
            && self.flying.len() < AT_ONCE
            && let Some(taken) = of.held.pop_front_if(|taken| now < taken.until)
        {
            of.flying += 1;
            self.tried += 1;
            let host = host.to_owned();
            self.flying.push(Box::pin(async move { (host, app.deliver(taken).await) }));
        }
        if of.flying == 0 && of.held.is_empty() {
            self.hosts.remove(host);
        }
    }

    /// Starts or holds what was taken; gives what is too much or was held too long.
    fn sort(&mut self, taken: Vec<Taken>) -> Vec<Surplus> {
        for taken in taken {
            let host = taken.host();
            self.hosts.entry(host.clone()).or_default().held.push_back(taken);
            self.fill(&host);
        }
        let (now, mut surplus) = (self.app.now(), Vec::new());
        for of in self.hosts.values_mut() {
            let late = of.held.iter().take_while(|taken| taken.until <= now).count();
            let mut rows: Vec<_> = of.held.drain(..late).map(|taken| taken.row.id).collect();
            let kept = of.held.len().min(HELD_A_HOST);
            rows.extend(of.held.drain(kept..).map(|taken| taken.row.id));
            if rows.is_empty() {
                continue;
            }
            let at = of.line_ends.max(now.plus(BUSY));
            of.line_ends = at.plus(PACE.saturating_mul(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
            surplus.push((rows, at));
        }
        let hosts: Vec<_> = self.hosts.keys().cloned().collect();
        hosts.iter().for_each(|host| self.fill(host));
        surplus
    }
}

async fn take_due(app: &App, room: usize) -> Result<Vec<Taken>, AppError> {
    let now = app.now();
    // mostly there is nothing, and a look takes no turn of the writer
    if room == 0 || !outbox::is_due(&mut app.read().await?, TOPIC, now).await? {
        return Ok(Vec::new());
    }
    let limit = u32::try_from(room).unwrap_or(u32::MAX);
    let taken =
        app.write(move |tx| Box::pin(async move { Ok(outbox::take(tx, TOPIC, now, LEASE, limit).await?) }));
    Ok(taken.await?.into_iter().map(|row| Taken::new(row, now.plus(HOLD))).collect())
}

/// They were not tried, so no attempt is burnt.
async fn defer(app: &App, surplus: Vec<Surplus>) -> Result<(), AppError> {
    app.write(move |tx| {
        let surplus = surplus.clone();
        Box::pin(async move {
            for (rows, at) in surplus {
                outbox::defer(tx, &rows, at).await?;
            }
            Ok(())
        })
    })
    .await
}
