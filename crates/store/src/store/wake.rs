//! Who waits for work or for a cancel hears of it at once: in the process through a counter, between processes through
//! PostgreSQL's NOTIFY, which is sent after the commit, on its own connection, the first at once and then at most 100 a
//! second. What is lost on the way is found by polling.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::{Db, Dialect, Notes, StoreError, execute, fetch_one};

/// The least time between two notifications of a process.
const COALESCE: Duration = Duration::from_millis(10);

/// How long a broken LISTEN connection rests before it is made again.
const RECONNECT: Duration = Duration::from_secs(1);

const WORK: u8 = 1;
const CANCEL: u8 = 2;
const STOPPING: u8 = 4;
const LATER: u8 = 8;
const ALL: u8 = WORK | CANCEL | STOPPING | LATER;

/// Counters that move when something happened. Watch one and look at the database whenever it moves.
#[derive(Clone, Debug)]
pub struct Wakes {
    work: watch::Sender<u64>,
    cancel: watch::Sender<u64>,
    stopping: watch::Sender<u64>,
    later: watch::Sender<u64>,
    outbound: Option<Arc<Outbound>>,
    tasks: Arc<Vec<AbortHandle>>,
}

#[derive(Debug, Default)]
struct Outbound {
    pending: AtomicU8,
    ring: Notify,
}

impl Wakes {
    pub(super) async fn start(db: &Db) -> Result<Self, StoreError> {
        let mut wakes = Self {
            work: watch::Sender::new(0),
            cancel: watch::Sender::new(0),
            stopping: watch::Sender::new(0),
            later: watch::Sender::new(0),
            outbound: None,
            tasks: Arc::default(),
        };
        if db.dialect() == Dialect::Postgres {
            let mut conn = db.aside().await?;
            let schema = fetch_one!(&mut conn, scalar Option<String>, "SELECT current_schema()::text")?;
            let channel = format!("windrow_{}", schema.unwrap_or_default());
            let outbound = Arc::new(Outbound::default());
            let notify = tokio::spawn(notify(db.clone(), channel.clone(), Arc::clone(&outbound)));
            let listen = tokio::spawn(listen(db.clone(), channel, wakes.clone()));
            wakes.outbound = Some(outbound);
            wakes.tasks = Arc::new(vec![notify.abort_handle(), listen.abort_handle()]);
        }
        Ok(wakes)
    }

    /// Moves when jobs may be claimed.
    pub fn work(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    /// Moves when runs were asked to stop.
    pub fn cancel(&self) -> watch::Receiver<u64> {
        self.cancel.subscribe()
    }

    /// Moves when children of some parent are to be stopped.
    pub fn stopping(&self) -> watch::Receiver<u64> {
        self.stopping.subscribe()
    }

    /// Moves when jobs were put in line for a time to come.
    pub fn later(&self) -> watch::Receiver<u64> {
        self.later.subscribe()
    }

    /// After a commit: tells this process, and the others.
    pub(super) fn tell(&self, notes: Notes) {
        let bits =
            [(notes.work, WORK), (notes.cancel, CANCEL), (notes.stopping, STOPPING), (notes.later, LATER)];
        let bits = bits.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
        if bits == 0 {
            return;
        }
        self.hear(bits);
        if let Some(outbound) = &self.outbound {
            outbound.pending.fetch_or(bits, Ordering::AcqRel);
            outbound.ring.notify_one();
        }
    }

    /// Tells this process and the others that a run has ended which may have held others back, by a cap.
    pub fn tell_of_room(&self) {
        self.tell(Notes { work: true, ..Notes::default() });
    }

    /// Tells this process alone that jobs may be claimed.
    pub(super) fn work_here(&self) {
        self.hear(WORK);
    }

    fn hear(&self, bits: u8) {
        let counters =
            [(WORK, &self.work), (CANCEL, &self.cancel), (STOPPING, &self.stopping), (LATER, &self.later)];
        for (bit, counter) in counters {
            if bits & bit != 0 {
                counter.send_modify(|count| *count += 1);
            }
        }
    }

    pub(super) fn stop(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn notify(db: Db, channel: String, outbound: Arc<Outbound>) {
    loop {
        outbound.ring.notified().await;
        let bits = outbound.pending.swap(0, Ordering::AcqRel);
        if bits == 0 {
            continue;
        }
        let sent = async {
            let mut conn = db.aside().await?;
            execute!(&mut conn, "SELECT pg_notify($1, $2)", channel.as_str(), bits.to_string())
        };
        match sent.await {
            Ok(_) => {}
            Err(StoreError::Closed) => return,
            // the others' polls will find it
            Err(error) => tracing::debug!(%error, "a notification was not sent"),
        }
        tokio::time::sleep(COALESCE).await;
    }
}

async fn listen(db: Db, channel: String, wakes: Wakes) {
    loop {
        match hear_until_broken(&db, &channel, &wakes).await {
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "notifications are not heard; polling goes on"),
            Ok(()) => {}
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn hear_until_broken(db: &Db, channel: &str, wakes: &Wakes) -> Result<(), StoreError> {
    let Some(mut listener) = db.listener().await? else { return Ok(()) };
    let broken = |error| StoreError::from_sqlx("LISTEN", error);
    listener.listen(channel).await.map_err(broken)?;
    // what came before the LISTEN is found by looking now
    wakes.hear(ALL);
    loop {
        // none: the connection broke and was made anew, so something may have been missed
        let heard = listener.try_recv().await.map_err(broken)?;
        let bits = heard.map_or(Some(ALL), |heard| heard.payload().parse().ok());
        wakes.hear(bits.unwrap_or(ALL));
    }
}
