//! The state that all use cases share.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use windrow_auth::Authenticator;
use windrow_blob::{BlobStore, InstallationSalt, OwnerHash};
use windrow_core::{OwnerId, SharedClock, Timestamp};
use windrow_engine::WorkloadRegistry;
use windrow_json_schema::{Formats, Schema};
use windrow_models::Models;
use windrow_store::users::User;
use windrow_store::{Conn, MigrationSet, Store, Tx, UnitFuture};

use crate::health::Successes;
use crate::lookups::{Lookups, OfSubject};
use crate::watch::Watchers;
use crate::webhooks::Webhooks;
use crate::{AppError, AppSettings, KeptLines};

/// All that the use cases stand on. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<AppInner>);

/// What an [`App`] is made of.
pub struct AppParts {
    pub store: Store,
    /// The platform's and the workloads', for readiness.
    pub migrations: Vec<MigrationSet>,
    pub blob: BlobStore,
    pub salt: InstallationSalt,
    pub authenticator: Authenticator,
    pub models: Arc<Models>,
    pub workloads: WorkloadRegistry,
    /// Signs webhooks.
    pub webhooks: Webhooks,
    /// What is kept of the log; none where log lines only leave the processes.
    pub log: Option<Arc<dyn KeptLines>>,
    pub clock: SharedClock,
    pub settings: AppSettings,
}

/// The parts, and what is worked out from them once.
pub struct AppInner {
    pub parts: AppParts,
    pub(crate) spec_schemas: BTreeMap<String, Schema>,
    pub(crate) watchers: Watchers,
    pub(crate) subjects: Lookups<OfSubject>,
    pub(crate) owners: Lookups<User>,
    /// When the schema was last found complete, on the monotonic clock.
    pub(crate) schema_seen: Mutex<Option<Duration>>,
    pub(crate) successes: tokio::sync::Mutex<Successes>,
}

/// A workload that can't be served.
#[derive(Debug, thiserror::Error)]
#[error("the spec schema of the workload {workload} is no JSON Schema: {problem}")]
pub struct BuildError {
    pub workload: String,
    pub problem: String,
}

impl App {
    /// # Errors
    /// When a workload's spec schema is not a JSON Schema.
    pub fn new(parts: AppParts) -> Result<Self, BuildError> {
        let mut spec_schemas = BTreeMap::new();
        for name in parts.workloads.names() {
            let Some(workload) = parts.workloads.get(name) else { continue };
            let schema = Schema::compile(&workload.spec_schema(), Formats::Ignored)
                .map_err(|error| BuildError { workload: name.to_owned(), problem: error.to_string() })?;
            spec_schemas.insert(name.to_owned(), schema);
        }
        let watchers = Watchers::new(parts.store.db().clone());
        let db = parts.store.db();
        let (subjects, owners) = (Lookups::new(db.clone()), Lookups::new(db.clone()));
        let (schema_seen, successes) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(AppInner {
            parts,
            spec_schemas,
            watchers,
            subjects,
            owners,
            schema_seen,
            successes,
        })))
    }
}

impl Deref for App {
    type Target = AppInner;

    fn deref(&self) -> &AppInner {
        &self.0
    }
}

impl AppInner {
    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// A connection for reads, a workload's own too.
    ///
    /// # Errors
    /// [`AppError::DatabaseUnavailable`].
    pub async fn read(&self) -> Result<Conn, AppError> {
        Ok(self.parts.store.read().await?)
    }

    /// Runs a use case's writes in one transaction and returns once it is on disk. An error undoes all of them. The work
    /// may be run more than once, so it has no effects outside the transaction.
    pub async fn write<T, F>(&self, work: F) -> Result<T, AppError>
    where
        F: for<'a> FnMut(&'a mut Tx) -> UnitFuture<'a, T, AppError> + Send + 'static,
        T: Send + 'static,
    {
        self.parts.store.unit(work).await
    }

    pub(crate) fn owner_hash(&self, owner: OwnerId) -> OwnerHash {
        OwnerHash::new(owner, &self.parts.salt)
    }
}
