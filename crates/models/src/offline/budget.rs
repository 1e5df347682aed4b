//! How much one draw from a schema may take: a short schema can ask for more than any machine holds.

use std::cell::Cell;

use serde_json::Value;

/// What one draw may take. Spent by whatever is drawn or copied, so that it bounds memory and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// JSON values that are drawn, copied or looked at, those within others too.
    pub(super) values: usize,
    /// Of texts and of the names of members.
    pub(super) bytes: usize,
}

impl Budget {
    /// More than fits the longest answers of today's models (128k tokens), and some 20 MB of memory.
    pub(super) const USUAL: Self = Self { values: 200_000, bytes: 4 << 20 };
}

/// Why a draw ends without an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The schema asks for more than a [`Budget`].
    TooLarge,
    Other(String),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

/// What is left of a [`Budget`].
#[derive(Debug)]
pub(super) struct Purse {
    values: Cell<usize>,
    bytes: Cell<usize>,
}

impl Purse {
    pub(super) const fn new(budget: Budget) -> Self {
        Self { values: Cell::new(budget.values), bytes: Cell::new(budget.bytes) }
    }

    /// # Errors
    /// [`Fault::TooLarge`]: so much isn't left.
    pub(super) fn spend(&self, values: usize, bytes: usize) -> Result<(), Fault> {
        let left = self.values.get().checked_sub(values).zip(self.bytes.get().checked_sub(bytes));
        let (values, bytes) = left.ok_or(Fault::TooLarge)?;
        self.values.set(values);
        self.bytes.set(bytes);
        Ok(())
    }

    /// A copy of a part of the schema, paid for before it is made.
    pub(super) fn copy(&self, part: &Value) -> Result<Value, Fault> {
        self.pay_for(part)?;
        Ok(part.clone())
    }

    /// Pays for a value and all within it. Nesting is bounded: what is read from JSON is at most 128 deep.
    pub(super) fn pay_for(&self, part: &Value) -> Result<(), Fault> {
        match part {
            Value::String(text) => self.spend(1, text.len()),
            Value::Array(items) => {
                self.spend(1, 0)?;
                items.iter().try_for_each(|item| self.pay_for(item))
            }
            Value::Object(members) => {
                self.spend(1, 0)?;
                members.iter().try_for_each(|(name, member)| {
                    self.spend(0, name.len())?;
                    self.pay_for(member)
                })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => self.spend(1, 0),
        }
    }
}
