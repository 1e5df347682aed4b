//! The audit log: written with what it tells about, read by admins.

use serde_json::Value;
use windrow_api_types::{AuditEntry, AuditQuery, Page};
use windrow_core::Timestamp;
use windrow_store::audit::{self, AuditFilter, Entry, NewEntry};
use windrow_store::{StoreError, Tx};

use crate::{Actor, App, AppError, Authority, cursor};

/// The longest reason, in characters.
const MAX_REASON: usize = 1000;

impl App {
    /// Newest first.
    pub async fn list_audit(&self, actor: &Actor, query: &AuditQuery) -> Result<Page<AuditEntry>, AppError> {
        actor.may_administer()?;
        let before = cursor::decode(query.cursor.as_deref())?;
        let filter = AuditFilter {
            actor: query.actor.as_deref(),
            action: query.action.as_deref(),
            target: query.target.as_deref(),
            request_id: None,
        };
        let size = query.size();
        let rows = audit::list(&mut self.read().await?, &filter, before, size + 1).await?;
        let Page { items, next_cursor } = cursor::page(rows, size, |row| row.id, entry);
        Ok(Page { items: items.into_iter().collect::<Result<_, _>>()?, next_cursor })
    }

    /// A line about an act by somebody, as of now; to be written in the transaction of the act.
    pub(crate) fn audit_line(
        &self,
        by: Authority<'_>,
        action: &'static str,
        target: String,
        reason: &str,
    ) -> AuditLine {
        AuditLine {
            at: self.now(),
            actor: by.name().to_owned(),
            action,
            target,
            reason: reason.trim().to_owned(),
            request_id: by.request_id().map(str::to_owned),
            before: None,
            after: None,
        }
    }
}

/// A line that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct AuditLine {
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    pub(crate) action: &'static str,
    pub(crate) target: String,
    pub(crate) reason: String,
    pub(crate) request_id: Option<String>,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

impl AuditLine {
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), AppError> {
        let entry = NewEntry {
            at: self.at,
            actor: &self.actor,
            action: self.action,
            target: &self.target,
            before: self.before.as_ref().map(Value::to_string),
            after: self.after.as_ref().map(Value::to_string),
            reason: &self.reason,
            request_id: self.request_id.as_deref(),
        };
        Ok(audit::append(tx, entry).await?)
    }
}

pub(crate) fn entry(row: Entry) -> Result<AuditEntry, AppError> {
    let json = |text: Option<String>| {
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| {
            AppError::internal(StoreError::invariant("audit_log", "state_before", row.id, error))
        })
    };
    Ok(AuditEntry {
        id: row.id,
        at: row.at,
        before: json(row.state_before)?,
        after: json(row.state_after)?,
        actor: row.actor,
        action: row.action,
        target: row.target,
        reason: row.reason,
        request_id: row.request_id,
    })
}

/// What is audited needs a reason that somebody can read later.
pub(crate) fn check_reason(reason: &str) -> Result<(), AppError> {
    let length = reason.trim().chars().count();
    if (1..=MAX_REASON).contains(&length) {
        Ok(())
    } else {
        Err(AppError::invalid(
            "/reason",
            format!("must have 1 to {MAX_REASON} characters; it is kept in the audit log"),
        ))
    }
}
