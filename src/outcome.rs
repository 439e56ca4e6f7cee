//! The outcome of a message: the same four for one batch and for many.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{ErrorCode, Text};

/// The outcome of one message, as plain data to store and count.
///
/// | [`kind`](Self::kind) | meaning | what to do |
/// |---|---|---|
/// | accepted | the platform accepted the message | wait for its delivery receipts |
/// | rejected | the platform will not send the message, and says why | fix the cause and resend |
/// | not sent | it provably never reached the platform, or the platform refused its whole batch | retry later if the reason is 429 or a failed connection, otherwise fix the cause and resend |
/// | unknown | it may have been sent | do not resend until a receipt settles it, unless a duplicate is acceptable |
///
/// `Display` writes one line without phone numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[must_use = "an outcome says whether the message was sent"]
pub struct Outcome {
    /// Which of the four outcomes it is.
    pub kind: OutcomeKind,
    /// The platform's message id. If the outcome is unknown, it belongs to one attempt, and another
    /// attempt may have a different id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umid: Option<Text>,
    /// The HTTP status, if `send` failed after a response. It can be a 2xx whose body could not be
    /// parsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The platform's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The reason, as text from the platform or from this crate. Phone numbers are masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

/// The four outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// `accepted`: the platform accepted the message.
    Accepted,
    /// `rejected`: the platform will not send the message.
    Rejected,
    /// `not_sent`: the message provably did not reach the platform, or the platform refused the
    /// whole batch.
    NotSent,
    /// `unknown`: the message may have been sent.
    Unknown,
}

impl OutcomeKind {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Rejected, Self::NotSent, Self::Unknown];

    /// The name that serde writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
        }
    }

    /// Whether resending cannot deliver the message twice: it was rejected or not sent.
    pub fn can_be_resent(self) -> bool {
        matches!(self, Self::Rejected | Self::NotSent)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotSent => "not sent",
            other => other.as_str(),
        })
    }
}

impl Outcome {
    /// An outcome with only its kind.
    pub fn new(kind: OutcomeKind) -> Self {
        Self { kind, umid: None, status: None, code: None, reason: None }
    }

    /// Changes rejected or not sent to unknown if an earlier attempt may have been sent: a later
    /// attempt proves nothing about that one.
    pub(crate) fn unknown_if_sent_earlier(mut self, earlier_may_have_been_sent: bool) -> Self {
        if earlier_may_have_been_sent && self.kind.can_be_resent() {
            let reason = self.reason.as_deref().unwrap_or("no reason given");
            self.reason = Some(
                format!(
                    "{} when retried, but an earlier attempt may have been sent: {reason}",
                    self.kind
                )
                .into(),
            );
            self.kind = OutcomeKind::Unknown;
        }
        self
    }

    /// Sets the reason. The caller masks phone numbers in it.
    pub(crate) fn with_reason(mut self, reason: impl Into<Box<str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(status) = self.status {
            write!(f, ", HTTP {status}")?;
        }
        if let Some(code) = self.code {
            write!(f, ", code {code}")?;
        }
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}
