//! A recipient of a campaign.

use std::fmt;

use serde_json::{Map, Value};

/// A recipient of a campaign: who, the id of the message, and what its text depends on.
///
/// `Debug` shows the id only.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Recipient {
    /// The clientMessageId of the message, unique in the campaign.
    pub client_message_id: String,
    /// The phone number.
    pub to: lon_batch::Recipient,
    /// Whatever the content of the message depends on.
    pub variables: Map<String, Value>,
}

impl Recipient {
    /// A recipient without variables. The id has at most 50 characters.
    pub fn new(client_message_id: impl Into<String>, to: impl Into<lon_batch::Recipient>) -> Self {
        Self { client_message_id: client_message_id.into(), to: to.into(), variables: Map::new() }
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient")
            .field("client_message_id", &self.client_message_id)
            .finish_non_exhaustive()
    }
}
