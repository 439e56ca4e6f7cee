//! What became of each message.

use std::fmt;
use std::sync::Arc;

use crate::{
    Disagreement, Error, ErrorCode, Invalid, Message, MessageResult, OpaqueId, ReceivedText, Rule,
    Verdict,
};

/// What became of one message of a run. Every message that was taken from the input has exactly
/// one.
#[derive(Clone, Debug)]
pub enum Fate {
    /// The platform took the message. Whether it was delivered is told by its receipts.
    Accepted {
        /// The id that the platform gave to the message.
        umid: Option<OpaqueId>,
    },
    /// The platform took the batch and will not send this message. Mend it, then send it again.
    Rejected {
        /// The platform's code.
        code: Option<ErrorCode>,
        /// The platform's words, or this crate's for the code.
        reason: Option<ReceivedText>,
        /// The id that the platform gave to the message.
        umid: Option<OpaqueId>,
    },
    /// The platform took nothing of the batch that the message was in. It can be sent again, once
    /// what the error names is mended.
    Refused(Arc<Error>),
    /// The message may have been sent. Do not send it again before its receipts tell.
    Unknown(UnknownReason),
    /// The message was not sent. It can be sent, once what the reason names is mended.
    NotSent(NotSentReason),
}

/// Why nobody knows whether a message was sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum UnknownReason {
    /// No answer, or one that cannot be read:
    /// [`MayHaveBeenSent`](Error::MayHaveBeenSent) or
    /// [`AcceptedUnreadable`](Error::AcceptedUnreadable).
    Error(Arc<Error>),
    /// The answer has no entry for the message, or several, or one that settles nothing.
    NotSettled,
    /// The platform rejected the message when it was sent again, and may have taken it before:
    /// only with
    /// [`resend_ambiguous_and_risk_duplicates`](crate::RetryPolicy::resend_ambiguous_and_risk_duplicates).
    RejectedWhenSentAgain {
        /// The platform's code.
        code: Option<ErrorCode>,
        /// The platform's words, or this crate's for the code.
        reason: Option<ReceivedText>,
        /// The id that the platform gave to the message that it rejected.
        umid: Option<OpaqueId>,
    },
    /// The task that sent it ended in the middle: its runtime was shut down.
    Interrupted,
}

/// Why a message was not sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NotSentReason {
    /// Something is wrong with the message; places are those in the message. Or it has the
    /// clientMessageId of another in its batch.
    Invalid(Invalid),
    /// No connection was made, however often it was tried.
    NoConnection(Arc<Error>),
    /// The run was stopped before; see [`Summary::stop`](super::Summary::stop).
    Stopped,
}

/// What ended a run before the end of its input.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stop {
    /// It was cancelled, or dropped.
    Cancelled,
    /// The platform refuses whatever the run sends: the key, the sub-account, the address or the
    /// version of the API is wrong.
    Refused(Arc<Error>),
    /// A batch was tried as often and as long as the [`RetryPolicy`](crate::RetryPolicy) allows,
    /// or the platform asked for a longer wait than that.
    GaveUp(Arc<Error>),
    /// So many batches in a row got no answer that settles anything; see
    /// [`stop_after_unknown`](super::Bulk::stop_after_unknown).
    Unanswered {
        /// How many.
        batches: u32,
        /// The last error; there is none where the last answer could be read.
        error: Option<Arc<Error>>,
    },
    /// An item of the input was bad, and the run was told to end there. What was taken before it
    /// was sent.
    BadItem {
        /// Its position.
        position: u64,
    },
    /// The input panicked. What was taken before was sent.
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
    /// What became of it.
    pub fate: Fate,
}

/// An item of the input that is no message.
#[derive(Debug)]
#[non_exhaustive]
pub struct BadItem {
    /// The position of the item in the input, counted from 0.
    pub position: u64,
    /// What the input said.
    pub error: super::BoxError,
}

/// What became of the messages of one batch, as soon as it is known.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BatchOutcome {
    /// The messages, in the order of the input. Of a batch that was halved, those of one half.
    /// There are none where only bad items are to be told.
    pub messages: Vec<MessageOutcome>,
    /// Bad items that the input gave since the outcome before this one.
    pub bad_items: Vec<BadItem>,
    /// The id that the platform gave to the batch.
    pub batch_id: Option<OpaqueId>,
    /// How many requests were made for the batch.
    pub attempts: u32,
    /// Where the answer does not agree with itself. It does not change the fates: each is that of
    /// the message's own entry.
    pub disagreements: Vec<Disagreement>,
}

impl Stop {
    /// Whether what was taken is sent all the same.
    pub(super) fn ends_the_input_alone(&self) -> bool {
        matches!(self, Self::BadItem { .. } | Self::InputPanicked { .. })
    }
}

/// Which of the five fates a message has: its name, to be written down and counted by.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FateKind {
    /// [`Fate::Accepted`], `accepted`.
    Accepted,
    /// [`Fate::Rejected`], `rejected`.
    Rejected,
    /// [`Fate::Refused`], `refused`.
    Refused,
    /// [`Fate::Unknown`], `unknown`.
    Unknown,
    /// [`Fate::NotSent`], `not_sent`.
    NotSent,
}

impl FateKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::Rejected, Self::Refused, Self::Unknown, Self::NotSent];

    /// The name, as serde writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::NotSent => "not_sent",
        }
    }
}

impl fmt::Display for FateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Fate {
    /// Which of the five it is.
    pub fn kind(&self) -> FateKind {
        match self {
            Self::Accepted { .. } => FateKind::Accepted,
            Self::Rejected { .. } => FateKind::Rejected,
            Self::Refused(_) => FateKind::Refused,
            Self::Unknown(_) => FateKind::Unknown,
            Self::NotSent(_) => FateKind::NotSent,
        }
    }

    /// Of a message that the answer to its batch speaks of.
    pub(super) fn of(verdict: Verdict, result: Option<&MessageResult>, sent_before: bool) -> Self {
        let umid = || result.and_then(|result| result.umid.clone());
        match verdict {
            Verdict::Accepted => Self::Accepted { umid: umid() },
            Verdict::Rejected => {
                let umid = umid();
                let code = result.and_then(MessageResult::error_code);
                let reason = result.and_then(MessageResult::reason).map(Into::into);
                if sent_before {
                    Self::Unknown(UnknownReason::RejectedWhenSentAgain { code, reason, umid })
                } else {
                    Self::Rejected { code, reason, umid }
                }
            }
            Verdict::Unclear => Self::Unknown(UnknownReason::NotSettled),
        }
    }

    /// The error that the message shares with its batch.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Refused(error)
            | Self::Unknown(UnknownReason::Error(error))
            | Self::NotSent(NotSentReason::NoConnection(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether the message can be sent again without a doubt that anything is delivered twice:
    /// it was refused, rejected or not sent. It is false of a message that has the clientMessageId
    /// of another in its batch, since the other may be the same message, and may have been sent.
    ///
    /// Whether sending it again helps is another question: what was rejected, refused or invalid
    /// has to be mended first.
    pub fn can_be_sent_again(&self) -> bool {
        match self {
            Self::NotSent(NotSentReason::Invalid(invalid)) => {
                let mut rules = invalid.problems().iter().map(|problem| &problem.rule);
                !rules.any(|rule| matches!(rule, Rule::Duplicate { .. }))
            }
            Self::Rejected { .. } | Self::Refused(_) | Self::NotSent(_) => true,
            Self::Accepted { .. } | Self::Unknown(_) => false,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { .. } => f.write_str("accepted"),
            Self::Rejected { code, reason, .. } => {
                f.write_str("rejected")?;
                if let Some(code) = code {
                    write!(f, ", code {code}")?;
                }
                // The words may have the number in them; `Debug` masks it.
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason:?}"))
            }
            Self::Refused(error) => write!(f, "refused with its batch: {error}"),
            Self::Unknown(reason) => write!(f, "unknown: {reason}"),
            Self::NotSent(reason) => write!(f, "not sent: {reason}"),
        }
    }
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::NotSettled => f.write_str("the answer does not settle it"),
            Self::RejectedWhenSentAgain { .. } => {
                f.write_str("rejected when sent again, and maybe taken before")
            }
            Self::Interrupted => f.write_str("the sending task ended in the middle"),
        }
    }
}

impl fmt::Display for NotSentReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => {
                let mut between = "";
                for problem in invalid.problems() {
                    write!(f, "{between}{problem}")?;
                    between = "; ";
                }
                Ok(())
            }
            Self::NoConnection(error) => error.fmt(f),
            Self::Stopped => f.write_str("the run stopped before its turn came"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Refused(error) => write!(f, "whatever is sent is refused: {error}"),
            Self::GaveUp(error) => write!(f, "gave up: {error}"),
            Self::Unanswered { batches, error } => {
                write!(f, "{batches} batches in a row without an answer that settles anything")?;
                error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            Self::BadItem { position } => write!(f, "item {position} of the input is bad"),
            Self::InputPanicked { position } => {
                write!(f, "the input panicked at item {position}")
            }
        }
    }
}
