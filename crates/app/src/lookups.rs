//! Who sends a request, for many requests looked up together: while one statement is under way, whoever arrives waits for the
//! next, so that a busy server asks once for all of them. A lookup never shares a statement that began before it, so a change of a
//! role, or a revoked key, is seen by the very next request.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use windrow_core::OwnerId;
use windrow_store::api_keys::{self, ApiKey};
use windrow_store::users::{self, User};
use windrow_store::{Conn, Db, StoreError};

/// What one statement finds for many keys.
pub(crate) trait Lookup: Clone + Send + Sync + 'static {
    type Key: Ord + Hash + Clone + Send + Sync;

    fn find(
        conn: &mut Conn,
        keys: &BTreeSet<Self::Key>,
    ) -> impl Future<Output = Result<HashMap<Self::Key, Self>, StoreError>> + Send;
}

/// A user, by subject.
#[derive(Clone)]
pub(crate) struct OfSubject(pub(crate) User);

impl Lookup for OfSubject {
    type Key = String;

    async fn find(conn: &mut Conn, subs: &BTreeSet<String>) -> Result<HashMap<String, Self>, StoreError> {
        let found = users::by_subs(conn, subs).await?;
        Ok(found.into_iter().map(|user| (user.sub.clone(), Self(user))).collect())
    }
}

impl Lookup for User {
    type Key = OwnerId;

    async fn find(conn: &mut Conn, ids: &BTreeSet<OwnerId>) -> Result<HashMap<OwnerId, Self>, StoreError> {
        let found = users::by_ids(conn, ids).await?;
        Ok(found.into_iter().map(|user| (user.id, user)).collect())
    }
}

/// By the SHA-256 of its secret.
impl Lookup for ApiKey {
    type Key = [u8; 32];

    async fn find(
        conn: &mut Conn,
        hashes: &BTreeSet<[u8; 32]>,
    ) -> Result<HashMap<[u8; 32], Self>, StoreError> {
        api_keys::by_hashes(conn, hashes).await
    }
}

type Answer<L> = Result<Option<L>, StoreError>;
type Waiting<L> = HashMap<<L as Lookup>::Key, Vec<oneshot::Sender<Answer<L>>>>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lookups<L: Lookup> {
    shared: Arc<Shared<L>>,
}

impl<L: Lookup> std::fmt::Debug for Lookups<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookups").finish_non_exhaustive()
    }
}

struct Shared<L: Lookup> {
    db: Db,
    state: Mutex<State<L>>,
}

struct State<L: Lookup> {
    waiting: Waiting<L>,
    /// Whether somebody serves who waits.
    served: bool,
}

impl<L: Lookup> Default for State<L> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), served: false }
    }
}

impl<L: Lookup> Lookups<L> {
    pub(crate) fn new(db: Db) -> Self {
        Self { shared: Arc::new(Shared { db, state: Mutex::default() }) }
    }

    pub(crate) async fn get(&self, key: L::Key) -> Answer<L> {
        let (reply, answer) = oneshot::channel();
        let idle = {
            let mut state = self.shared.lock();
            state.waiting.entry(key).or_default().push(reply);
            !std::mem::replace(&mut state.served, true)
        };
        if idle {
            // not in this request's own task: it may be dropped, and others wait for the same answer
            tokio::spawn(serve(Arc::clone(&self.shared)));
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl<L: Lookup> Shared<L> {
    fn lock(&self) -> MutexGuard<'_, State<L>> {
        // a panic in between leaves the map as whole as it was
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits now; none when nobody does, and then nobody serves any more.
    fn next(&self) -> Option<Waiting<L>> {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.served = !waiting.is_empty();
        state.served.then_some(waiting)
    }

    async fn look(&self, keys: &BTreeSet<L::Key>) -> Result<HashMap<L::Key, L>, StoreError> {
        L::find(&mut self.db.read().await?, keys).await
    }
}

/// Leaves nobody waiting for a task that is gone, should a lookup panic.
struct Serving<L: Lookup>(Arc<Shared<L>>);

impl<L: Lookup> Drop for Serving<L> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.lock() = State::default();
        }
    }
}

async fn serve<L: Lookup>(shared: Arc<Shared<L>>) {
    let _serving = Serving(Arc::clone(&shared));
    while let Some(waiting) = shared.next() {
        let found = shared.look(&waiting.keys().cloned().collect()).await;
        for (key, replies) in waiting {
            let answer = found.as_ref().map(|found| found.get(&key).cloned()).map_err(Clone::clone);
            for reply in replies {
                // whoever asked may have gone away
                let _ = reply.send(answer.clone());
            }
        }
    }
}
