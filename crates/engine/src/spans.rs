//! Where spans stand in a distributed trace.
//!
//! The platform opens spans as `tracing` has them and passes [`TraceParent`]s on from request to job to run. Whether they
//! leave the process is the binary's business: it [installs](install) what exports them. Without it a
//! [`TraceParent`] is handed on as it came, which the standard allows to those who record nothing.

use std::sync::OnceLock;

use tracing::Span;
use windrow_core::TraceParent;

/// Exports spans to somewhere.
pub trait Tracer: Send + Sync {
    /// Puts a span that nobody has entered yet under a parent, which may be another process's.
    fn join(&self, span: &Span, parent: TraceParent);

    /// Where a span stands; none when it is not exported.
    fn position(&self, span: &Span) -> Option<TraceParent>;
}

static TRACER: OnceLock<Box<dyn Tracer>> = OnceLock::new();

/// Has spans exported from now on, for the rest of the process. A second one changes nothing.
pub fn install(tracer: Box<dyn Tracer>) {
    let _the_first_stays = TRACER.set(tracer);
}

/// Puts a span that nobody has entered yet under a parent, if there is one.
pub fn join(span: &Span, parent: Option<TraceParent>) {
    if let (Some(tracer), Some(parent)) = (TRACER.get(), parent) {
        tracer.join(span, parent);
    }
}

/// Where a span stands, so that what it sets going elsewhere can be put under it; `otherwise` when spans stay here.
pub fn position(span: &Span, otherwise: Option<TraceParent>) -> Option<TraceParent> {
    TRACER.get().and_then(|tracer| tracer.position(span)).or(otherwise)
}
