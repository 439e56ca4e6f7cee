//! The reports of a run: outcomes of messages, bad items, and the reason of a stop.

use std::fmt;
use std::sync::Arc;

use super::BoxError;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::types::Message;

/// The reason why a run ended before its input.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stop {
    /// It was cancelled, or dropped.
    Cancelled,
    /// The platform refuses everything that the run sends: the key, the sub-account, the address or
    /// the version of the API is wrong.
    Refused(Arc<Error>),
    /// Retries are exhausted: a chunk was tried as often and as long as the
    /// [`RetryPolicy`](crate::RetryPolicy) allows, or the platform asked for a longer wait.
    GaveUp(Arc<Error>),
    /// This many consecutive chunks ended without a known outcome; see
    /// [`stop_after_unknown`](super::Bulk::stop_after_unknown).
    Unanswered {
        /// The number of chunks.
        chunks: u32,
        /// The last error; `None` if the last response could be parsed.
        error: Option<Arc<Error>>,
    },
    /// The [journal](super::Journal) failed. Nothing was sent that it had not recorded before. This
    /// reason replaces any other.
    Journal(Arc<dyn std::error::Error + Send + Sync>),
    /// An item of the input was bad, and the run was set to end there. Everything before it was
    /// sent.
    BadItem {
        /// Its position.
        position: u64,
    },
    /// The input or [`Bulk::skip`](super::Bulk::skip) panicked. Everything before that was sent.
    InputPanicked {
        /// The position of the next item.
        position: u64,
    },
}

impl Stop {
    /// A stop replaces one of less gravity.
    pub(super) fn gravity(&self) -> u8 {
        match self {
            // The run still sends the messages that it has read.
            Self::BadItem { .. } | Self::InputPanicked { .. } => 0,
            Self::Journal(_) => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Refused(error) => write!(f, "every batch would be refused: {error}"),
            Self::GaveUp(error) => write!(f, "gave up: {error}"),
            Self::Unanswered { chunks, error } => {
                write!(f, "{chunks} chunks in a row without a known outcome")?;
                error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            Self::Journal(error) => write!(f, "the journal failed: {error}"),
            Self::BadItem { position } => write!(f, "item {position} of the input is bad"),
            Self::InputPanicked { position } => {
                write!(f, "the input panicked at item {position}")
            }
        }
    }
}

/// A message and its outcome.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageOutcome {
    /// The position of the message in the input, counted from 0, bad items and skipped messages
    /// included. From a [`Sender`](super::Sender), the position in its chunk.
    pub position: u64,
    /// The message, with the clientMessageId that it was sent with.
    pub message: Message,
    /// Its outcome.
    pub outcome: Outcome,
    /// The position of the first message of its chunk that has the same clientMessageId. Only that one
    /// was to be sent.
    pub duplicate_of: Option<u64>,
}

impl MessageOutcome {
    /// Whether resending cannot deliver the message twice: it was rejected or not sent.
    ///
    /// It is false for a [duplicate](Self::duplicate_of), because the first of the two may be the same
    /// message and may have been sent.
    pub fn can_be_resent(&self) -> bool {
        self.outcome.kind.can_be_resent() && self.duplicate_of.is_none()
    }
}

/// An item of the input that is no message.
#[derive(Debug)]
#[non_exhaustive]
pub struct BadItem {
    /// The position of the item in the input, counted from 0.
    pub position: u64,
    /// The error of the input.
    pub error: BoxError,
}

/// The outcomes of one chunk, as soon as they are known.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BatchOutcome {
    /// The messages, in the order of the input. The list is empty if there are only bad items to
    /// report.
    pub messages: Vec<MessageOutcome>,
    /// Bad items since the outcome before this one.
    pub bad_items: Vec<BadItem>,
    /// How many requests were made for the chunk.
    pub requests: u32,
    /// Contradictions in the responses, one sentence each; see
    /// [`Report::disagreements`](crate::Report::disagreements).
    pub disagreements: Vec<String>,
}
