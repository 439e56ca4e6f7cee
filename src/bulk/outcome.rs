//! The reports of a run: outcomes of messages, bad items, and the reason of a stop.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::invalid::{Invalid, Rule};
use crate::outcome::Outcome;
use crate::types::{Message, Text};

/// The reason why a run ended before its input.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stop {
    /// It was cancelled, or dropped.
    Cancelled,
    /// The platform refuses everything that the run sends: the key, the sub-account, the address or
    /// the version of the API is wrong.
    Refused(Arc<Error>),
    /// A batch was tried as often and as long as the [`RetryPolicy`](crate::RetryPolicy) allows,
    /// or the platform asked for a longer wait than that.
    GaveUp(Arc<Error>),
    /// This many consecutive batches ended without a known outcome; see
    /// [`stop_after_unknown`](super::Bulk::stop_after_unknown).
    Unanswered {
        /// How many.
        batches: u32,
        /// The last error; `None` if the last response could be read.
        error: Option<Arc<Error>>,
    },
    /// An item of the input was bad, and the run was set to end there. Everything before it was
    /// sent.
    BadItem {
        /// Its position.
        position: u64,
    },
    /// The input panicked. Everything before that was sent.
    InputPanicked {
        /// The position of the item that was asked for.
        position: u64,
    },
}

/// A message and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageOutcome {
    /// The position of the message in the input, counted from 0, bad items included.
    pub position: u64,
    /// The message, with the clientMessageId that it was sent with.
    pub message: Message,
    /// Its outcome.
    pub outcome: Outcome,
    /// The problems of a message that was not sent because it is invalid. Paths are those in the
    /// message.
    pub invalid: Option<Invalid>,
}

impl MessageOutcome {
    /// Whether resending cannot deliver the message twice: it was rejected or not sent.
    ///
    /// It is false of a message that has the clientMessageId of another in its batch, since the
    /// other may be the same message, and may have been sent.
    pub fn can_be_resent(&self) -> bool {
        let problems = self.invalid.iter().flat_map(Invalid::problems);
        let is_duplicate =
            problems.into_iter().any(|problem| matches!(problem.rule, Rule::Duplicate { .. }));
        self.outcome.kind.can_be_resent() && !is_duplicate
    }
}

/// An item of the input that is no message.
#[derive(Debug)]
#[non_exhaustive]
pub struct BadItem {
    /// The position of the item in the input, counted from 0.
    pub position: u64,
    /// The error of the input.
    pub error: super::BoxError,
}

/// The outcomes of one batch, as soon as they are known.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BatchOutcome {
    /// The messages, in the order of the input. A batch that was halved reports each half by
    /// itself. The list is empty if there are only bad items to report.
    pub messages: Vec<MessageOutcome>,
    /// Bad items since the outcome before this one.
    pub bad_items: Vec<BadItem>,
    /// The id that the platform gave to the batch.
    pub batch_id: Option<Text>,
    /// How many requests were made for the batch.
    pub attempts: u32,
    /// Where the response contradicts itself, a sentence each; see
    /// [`Report::disagreements`](crate::Report::disagreements).
    pub disagreements: Vec<String>,
}

impl Stop {
    /// Whether the run still sends the messages that it took.
    pub(super) fn ends_the_input_alone(&self) -> bool {
        matches!(self, Self::BadItem { .. } | Self::InputPanicked { .. })
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Refused(error) => write!(f, "every batch would be refused: {error}"),
            Self::GaveUp(error) => write!(f, "gave up: {error}"),
            Self::Unanswered { batches, error } => {
                write!(f, "{batches} batches in a row without a known outcome")?;
                error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            Self::BadItem { position } => write!(f, "item {position} of the input is bad"),
            Self::InputPanicked { position } => {
                write!(f, "the input panicked at item {position}")
            }
        }
    }
}
