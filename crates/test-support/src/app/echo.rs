//! A workload that gives back what it was given.

use async_trait::async_trait;
use serde_json::{Value, json};
use windrow_core::FieldError;
use windrow_engine::{
    JobContext, Outcome, Output, PrepareError, Prepared, RunError, SubmitContext, Workload,
};
use windrow_store::{Conn, Db};

/// Echoes its spec's `text`. With `pin`, the stored spec says what `prepare` was told; with `refuse`, `prepare` refuses;
/// with `priced`, it wants a budget; with `hang`, `prepare` never ends; with `stale`, it is refused when it is approved.
/// `estimate` is what it is said to cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

#[async_trait]
impl Workload for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn spec_schema(&self) -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": ["text"],
            "additionalProperties": false,
            "properties": {
                "text": {"type": "string"},
                "times": {"type": "integer", "minimum": 1, "maximum": 10},
                "pin": {"type": "boolean"},
                "refuse": {"type": "boolean"},
                "priced": {"type": "boolean"},
                "estimate": {"type": "string"},
                "stale": {"type": "boolean"},
                "hang": {"type": "boolean"},
            },
        })
    }

    async fn prepare(
        &self,
        _db: &Db,
        submit: &SubmitContext<'_>,
        mut spec: Value,
    ) -> Result<Prepared, PrepareError> {
        let asked = |name: &str| spec.get(name).and_then(Value::as_bool).unwrap_or(false);
        if asked("refuse") {
            return Err(PrepareError::Invalid(vec![FieldError::new("/refuse", "was asked for")]));
        }
        if asked("priced") && submit.budget.is_none() {
            return Err(PrepareError::Invalid(vec![FieldError::new(
                "/priced",
                "a priced model needs a budget",
            )]));
        }
        if asked("hang") {
            std::future::pending::<()>().await;
        }
        if asked("pin") {
            spec["pinned"] = json!({"owner": submit.owner, "budget": submit.budget});
        }
        let estimate = spec.get("estimate").and_then(|usd| serde_json::from_value(usd.clone()).ok());
        Ok(Prepared { spec, estimate })
    }

    async fn recheck(
        &self,
        _conn: &mut Conn,
        submit: &SubmitContext<'_>,
        spec: &Value,
    ) -> Result<(), PrepareError> {
        if spec.get("stale").and_then(Value::as_bool).unwrap_or(false) {
            let message = format!("is no longer what {} USD pay for", submit.budget.unwrap_or_default());
            return Err(PrepareError::Invalid(vec![FieldError::new("/stale", message)]));
        }
        Ok(())
    }

    fn has_load(&self) -> bool {
        false
    }

    async fn run(&self, ctx: JobContext, _input: Value) -> Result<Outcome, RunError> {
        let spec: Value = ctx.spec()?;
        Ok(Outcome::Done(Output { result: spec, artifacts: Vec::new() }))
    }
}
