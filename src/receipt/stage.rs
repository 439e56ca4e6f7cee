//! The later life of a message.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::MessageState;

/// How far a message has come after the platform accepted it.
///
/// Stages are ordered. A message's stage is the greatest one reported, so it never goes back.
/// Where final stages contradict each other, `Delivered` wins, because resending to a person who
/// has the message is the worse mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum Stage {
    /// The platform accepted the message: `queued`, `accepted`, `ok`.
    Queued = 10,
    /// The message went to LINE: `sent`. There may be no further receipt.
    Sent = 20,
    /// The platform did not send the message: `rejected`, `failed`. Final.
    Rejected = 30,
    /// The message did not reach the user: `undelivered`. Final, except that an SMS fallback may
    /// still be delivered.
    Undelivered = 40,
    /// The message reached the user: `delivered`, and `read`, which LON never reports. Final.
    Delivered = 50,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Sent, Self::Rejected, Self::Undelivered, Self::Delivered];

    /// The number to store in a database: 10, 20, 30, 40 or 50. It never changes, and greater
    /// numbers are later stages. Use 0 for a message without receipts.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// The stage with this [number](Self::number); `None` for any other number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.number() == number)
    }

    /// Whether the platform normally reports nothing after this stage, apart from an SMS fallback.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Rejected | Self::Undelivered | Self::Delivered)
    }

    /// The name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Rejected => "rejected",
            Self::Undelivered => "undelivered",
            Self::Delivered => "delivered",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl MessageState {
    /// The stage of a message in this state. `None` for `unknown`, `error` and states that the spec
    /// does not list.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Self::Queued | Self::Accepted | Self::Ok => Some(Stage::Queued),
            Self::Sent => Some(Stage::Sent),
            Self::Failed | Self::Rejected => Some(Stage::Rejected),
            Self::Undelivered => Some(Stage::Undelivered),
            Self::Delivered | Self::Read => Some(Stage::Delivered),
            _ => None,
        }
    }
}
