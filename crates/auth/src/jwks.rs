//! An issuer's keys: fetched, kept, and served stale while the issuer is down.

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use windrow_core::SharedClock;

use crate::error::AuthError;
use crate::jwk::{KeySet, VerifyingKey, read_key_set};

/// After a fetch, how long an unknown key id starts no other, whether the issuer answered or not: whoever makes up key ids can't make
/// us flood it.
const REFETCH: Duration = Duration::from_secs(30);
/// How long to leave an issuer alone that did not answer while keys of it are missing or past their time: the logins of known users wait
/// for them.
const RETRY: Duration = Duration::from_secs(5);
/// How long keys outlive their cache time while the issuer is down.
const STALE: Duration = Duration::from_secs(3600);
/// A key set has a few KiB.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Whose keys, and for whom tokens must be.
#[derive(Clone, Debug)]
pub struct JwksSettings {
    /// Exactly as tokens name it.
    pub issuer: String,
    /// Where the key set is.
    pub jwks_url: String,
    /// Audiences of which a token must name one in `aud`.
    pub audiences: Vec<String>,
    /// Clients of which a token must name one in `client_id` (an ID token of Cognito: in `aud`).
    pub client_ids: Vec<String>,
    /// How long keys are used before they are fetched again.
    pub cache: Duration,
}

/// The keys of one issuer.
pub(crate) struct JwksClient {
    url: String,
    cache: Duration,
    http: reqwest::Client,
    clock: SharedClock,
    state: RwLock<State>,
    /// Held while fetching: one request at a time goes to the issuer.
    fetching: Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Arc<KeySet>,
    /// When `keys` were fetched, on the monotonic clock.
    fetched: Option<Duration>,
    /// When the issuer was asked last, and whether it answered.
    asked: Option<(Duration, bool)>,
}

/// What the cache says about a key.
enum Cached {
    Fresh(VerifyingKey),
    /// Usable if the issuer can't be asked.
    Stale(VerifyingKey),
    /// The keys are recent and it is not among them.
    Unknown,
    /// There are no keys, or they are too old.
    Empty,
}

impl fmt::Debug for JwksClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksClient").field("url", &self.url).finish()
    }
}

impl JwksClient {
    /// `http` should have short timeouts: logins wait for it.
    pub(crate) fn new(url: String, cache: Duration, http: reqwest::Client, clock: SharedClock) -> Self {
        Self { url, cache, http, clock, state: RwLock::default(), fetching: Mutex::new(()) }
    }

    /// The key of this id.
    pub(crate) async fn key(&self, kid: &str) -> Result<VerifyingKey, AuthError> {
        let stale = match self.cached(kid) {
            Cached::Fresh(key) => return Ok(key),
            Cached::Stale(key) => Some(key),
            Cached::Unknown | Cached::Empty => None,
        };
        let turn = match (&stale, self.fetching.try_lock()) {
            (_, Ok(turn)) => turn,
            // Somebody is asking the issuer already; no login waits for it that need not.
            (Some(key), Err(_)) => return Ok(key.clone()),
            (None, Err(_)) => self.fetching.lock().await,
        };
        // While this login waited for its turn another may have fetched.
        let now = self.cached(kid);
        if let Cached::Fresh(key) = now {
            return Ok(key);
        }
        if self.may_ask(matches!(now, Cached::Unknown)) {
            self.fetch().await;
        }
        drop(turn);
        match (self.cached(kid), stale) {
            (Cached::Fresh(key) | Cached::Stale(key), _) => Ok(key),
            (Cached::Unknown, _) => Err(AuthError::UnknownKey),
            (Cached::Empty, _) => Err(AuthError::Unavailable),
        }
    }

    fn cached(&self, kid: &str) -> Cached {
        let state = self.read();
        let Some(fetched) = state.fetched else { return Cached::Empty };
        let age = self.clock.monotonic().saturating_sub(fetched);
        if age >= self.cache + STALE {
            return Cached::Empty;
        }
        match state.keys.get(kid) {
            Some(key) if age < self.cache => Cached::Fresh(key.clone()),
            Some(key) => Cached::Stale(key.clone()),
            None => Cached::Unknown,
        }
    }

    /// Whether the issuer may be asked again. `unknown`: for a key id that it had not the last time.
    fn may_ask(&self, unknown: bool) -> bool {
        let now = self.clock.monotonic();
        match self.read().asked {
            None => true,
            Some((at, answered)) => {
                now.saturating_sub(at) >= if answered || unknown { REFETCH } else { RETRY }
            }
        }
    }

    async fn fetch(&self) {
        let asked = self.clock.monotonic();
        let result = self.download().await;
        let mut state = self.state.write().expect("nothing panics while it holds the keys");
        state.asked = Some((asked, result.is_ok()));
        match result {
            Ok(keys) => {
                tracing::debug!(url = self.url, keys = keys.len(), "fetched the issuer's keys");
                state.keys = Arc::new(keys);
                state.fetched = Some(asked);
            }
            Err(reason) => tracing::warn!(url = self.url, reason, "the issuer's keys can't be fetched"),
        }
    }

    async fn download(&self) -> Result<KeySet, String> {
        let request = self.http.get(&self.url).header("accept", "application/json");
        let mut response = request.send().await.map_err(|e| e.without_url().to_string())?;
        if !response.status().is_success() {
            return Err(format!("the answer is {}", response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| e.without_url().to_string())? {
            document.extend_from_slice(&chunk);
            if document.len() > MAX_DOCUMENT {
                return Err("the key set is larger than a MiB".to_owned());
            }
        }
        let keys = read_key_set(&document).map_err(|e| format!("the answer is no key set: {e}"))?;
        // An empty set would lock everybody out: taken for a fault of the issuer's, and the old keys stay.
        if keys.is_empty() { Err("the key set holds no usable key".to_owned()) } else { Ok(keys) }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().expect("nothing panics while it holds the keys")
    }
}
