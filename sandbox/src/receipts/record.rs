//! What became of each receipt.

use std::time::Duration;

/// A receipt that the sandbox planned, and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostedReceipt {
    /// The id that the sandbox gave to the message.
    pub umid: String,
    /// The clientMessageId of the message.
    pub client_message_id: Option<String>,
    /// The state that the message came to.
    pub state: String,
    /// What the state says more precisely.
    pub detail: Option<String>,
    /// When the message came to the state.
    pub timestamp: String,
    /// Why the message was not delivered.
    pub error_code: Option<i64>,
    /// The tries to post it that have ended, in that order.
    pub tries: Vec<ReceiptTry>,
    /// What became of it so far.
    pub fate: ReceiptFate,
}

/// A try to post a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiptTry {
    /// Which of the times that the receipt is posted this is, counted from 0; see
    /// [`Step::times`](super::Step::times).
    pub copy: u32,
    /// When it was due, counted from when the message was accepted, by the sandbox's clock.
    pub at: Duration,
    /// What came of it.
    pub outcome: TryOutcome,
}

/// What came of a try to post a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryOutcome {
    /// The receiver answered with this status.
    Answered(u16),
    /// There was no connection, or it broke before an answer. The text says how.
    ConnectionFailed(String),
    /// There was no answer within [`Receipts::TIME_OUT`](super::Receipts::TIME_OUT).
    TimedOut,
}

/// What became of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiptFate {
    /// It is still to be posted, or on its way.
    Due,
    /// The receiver answered at least once with a status below 400. Copies of it may be due.
    Taken,
    /// Every try failed, and none follows.
    GivenUp,
    /// It was never posted and never will be.
    NotPosted(NotPosted),
}

/// Why a receipt is not posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPosted {
    /// The callback URL is not one of plain http.
    #[error("the callback URL is not one of plain http")]
    NotHttp,
    /// The host of the callback URL is neither a loopback address nor `localhost`.
    #[error("the host of the callback URL is neither a loopback address nor localhost")]
    NotLoopback,
    /// The plan says [`times(0)`](super::Step::times).
    #[error("the receipt is planned to be lost")]
    Lost,
}

impl TryOutcome {
    /// Whether the same is posted again after it, unless it was the last try.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Answered(status) => *status >= 400,
            Self::ConnectionFailed(_) | Self::TimedOut => true,
        }
    }
}

/// How far a receipt has come.
#[derive(Debug)]
pub(super) struct Progress {
    pub not_posted: Option<NotPosted>,
    pub tries: Vec<ReceiptTry>,
    /// The copies that are due or on their way.
    pub open: u32,
}

impl Progress {
    pub fn fate(&self) -> ReceiptFate {
        if let Some(reason) = self.not_posted {
            ReceiptFate::NotPosted(reason)
        } else if self.tries.iter().any(|it| !it.outcome.is_failure()) {
            ReceiptFate::Taken
        } else if self.open > 0 {
            ReceiptFate::Due
        } else {
            ReceiptFate::GivenUp
        }
    }
}
