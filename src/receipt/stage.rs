//! How far a message has come.

use std::fmt;

use crate::types::MessageState;

/// How far a message has come, by the states that the platform tells of it.
///
/// The order is the one in which a message moves, and the one by which a state is chosen where
/// several are known: the greatest. It is never a matter of which came last.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing is known, or nothing that settles anything: no state, `unknown`, `error`, or a state
    /// that the spec does not list. The message may have been sent.
    #[default]
    Unknown,
    /// The platform took the message: `queued`, `accepted`, `ok`.
    Accepted,
    /// The message went to LINE; nothing has come back yet: `sent`.
    Sent,
    /// The platform did not send the message: `rejected`, `failed`. Final.
    Rejected,
    /// The notification did not reach the user: `undelivered`. Final, but that its SMS fallback, if
    /// it has one, may still come.
    Undelivered,
    /// The message reached the user: `delivered`, and `read`, which LON never reports. Final.
    Delivered,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Accepted,
        Self::Sent,
        Self::Rejected,
        Self::Undelivered,
        Self::Delivered,
    ];

    /// Whether no other is due after it.
    pub fn is_final(self) -> bool {
        self >= Self::Rejected
    }

    /// The name, as serde writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
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
    /// How far a message has come that is in this state.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Queued | Self::Accepted | Self::Ok => Stage::Accepted,
            Self::Sent => Stage::Sent,
            Self::Delivered | Self::Read => Stage::Delivered,
            Self::Undelivered => Stage::Undelivered,
            Self::Failed | Self::Rejected => Stage::Rejected,
            _ => Stage::Unknown,
        }
    }
}
