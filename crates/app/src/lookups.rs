//! Users of many requests looked up together: while one statement is under way, whoever arrives waits for the next, so that a
//! busy server asks once for all of them. A lookup never shares a statement that began before it, so a change of a role is seen by
//! the very next request.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use windrow_store::users::{self, User};
use windrow_store::{Db, StoreError};

type Answer = Result<Option<User>, StoreError>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lookups {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By subject.
    waiting: HashMap<String, Vec<oneshot::Sender<Answer>>>,
    /// Whether somebody serves who waits.
    served: bool,
}

impl Lookups {
    pub(crate) fn new(db: Db) -> Self {
        Self { shared: Arc::new(Shared { db, state: Mutex::default() }) }
    }

    /// The user with this subject.
    pub(crate) async fn user(&self, sub: &str) -> Answer {
        let (reply, answer) = oneshot::channel();
        let idle = {
            let mut state = self.shared.lock();
            state.waiting.entry(sub.to_owned()).or_default().push(reply);
            !std::mem::replace(&mut state.served, true)
        };
        if idle {
            // not in this request's own task: it may be dropped, and others wait for the same answer
            tokio::spawn(serve(Arc::clone(&self.shared)));
        }
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic in between leaves the map as whole as it was
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits now; none when nobody does, and then nobody serves any more.
    fn next(&self) -> Option<HashMap<String, Vec<oneshot::Sender<Answer>>>> {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.served = !waiting.is_empty();
        state.served.then_some(waiting)
    }

    async fn look(&self, subs: &BTreeSet<&str>) -> Result<HashMap<String, User>, StoreError> {
        let mut conn = self.db.read().await?;
        let found = users::by_subs(&mut conn, subs).await?;
        Ok(found.into_iter().map(|user| (user.sub.clone(), user)).collect())
    }
}

/// Leaves nobody waiting for a task that is gone, should a lookup panic.
struct Serving(Arc<Shared>);

impl Drop for Serving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.lock() = State::default();
        }
    }
}

async fn serve(shared: Arc<Shared>) {
    let _serving = Serving(Arc::clone(&shared));
    while let Some(waiting) = shared.next() {
        let subs = waiting.keys().map(String::as_str).collect();
        let found = shared.look(&subs).await;
        for (sub, replies) in waiting {
            let answer = found.as_ref().map(|users| users.get(&sub).cloned()).map_err(Clone::clone);
            for reply in replies {
                // whoever asked may have gone away
                let _ = reply.send(answer.clone());
            }
        }
    }
}
