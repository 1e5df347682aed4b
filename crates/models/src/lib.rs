//! Models: who answers a prompt, what it costs, and how hard each may be used.
//!
//! [`Models`] resolves a name (an alias, a model id, `openai:NAME`, `offline`) to a [`Model`], which knows its price, its
//! tokenizer and its limits, and calls its [`ModelProvider`]. Two providers are built in: any OpenAI-compatible server, and
//! `offline`, an n-gram model that needs no network.
//!
//! This crate may touch the network, and nothing else: no database, no files, no money. It says what a call may cost
//! ([`Model::worst_case`]), what it did cost ([`Model::cost`]) and, when it failed, what is known of its bill
//! ([`ModelError::billing`]); reserving, settling and retrying are its caller's.

mod breaker;
pub mod error;
mod limits;
pub mod model;
pub mod offline;
pub mod openai;
pub mod price;
pub mod provider;
pub mod registry;
pub mod request;
pub mod response;
pub mod settings;
pub mod structured;
pub mod tokens;

pub use error::{Billing, ModelError, RetryAdvice};
pub use model::{Admission, Approach, Model};
pub use offline::Offline;
pub use openai::OpenAi;
pub use price::Price;
pub use provider::ModelProvider;
pub use registry::{Models, ResolveError, SettingsError};
pub use request::{Message, ModelRequest, Role};
pub use response::{FinishReason, ModelResponse, Usage};
pub use settings::{ApiKey, BreakerSettings, Limits, ModelsSettings, ProviderSettings};
pub use structured::{check_schema, validate_json};
pub use tokens::{TokenBound, Tokenizer};
