//! Jobs: submitting, looking, deciding.

mod act;
mod approve;
mod batch;
mod canonical;
mod dead_letters;
mod look;
mod submit;
mod validate;
pub(crate) mod view;

pub use dead_letters::DeadLetterAct;
pub(crate) use look::own_head;
pub use submit::SubmitReply;
