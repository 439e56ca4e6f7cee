//! Readers of an answer: methods on the generated types of a response.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::check::Checker;
use crate::generated::tables::MESSAGE_RESULT;
use crate::received::reason;
use crate::{
    Batch, BatchResponse, ErrorCode, Message, MessageResult, MessageState, OpaqueId, ReceivedText,
    UnreadableReason,
};

/// What the platform decided about one message when it took the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The platform took the message. Whether it was delivered is told by its receipts.
    Accepted,
    /// The platform will not send the message.
    Rejected,
    /// Neither can be told: the answer does not settle it. The message may have been taken.
    Unclear,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unclear => "unclear",
        })
    }
}

impl MessageState {
    /// The verdict that a state stands for. `failed` and `rejected` mean that the message will
    /// not be sent; `unknown`, `error` and states that the spec does not list settle nothing.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Queued
            | Self::Accepted
            | Self::Sent
            | Self::Delivered
            | Self::Undelivered
            | Self::Read
            | Self::Ok => Verdict::Accepted,
            Self::Failed | Self::Rejected => Verdict::Rejected,
            _ => Verdict::Unclear,
        }
    }
}

impl MessageResult {
    /// The verdict on the message, from its state. A state that says accepted beside the code of an
    /// error settles nothing.
    pub fn verdict(&self) -> Verdict {
        match self.state().map(MessageState::verdict) {
            Some(Verdict::Accepted) if self.error_code().is_some() => Verdict::Unclear,
            Some(verdict) => verdict,
            None => Verdict::Unclear,
        }
    }

    /// The state that the platform tells.
    pub fn state(&self) -> Option<&MessageState> {
        self.status.as_ref()?.state.as_ref()
    }

    /// The code of an error; the platform's 0 stands for none.
    pub fn error_code(&self) -> Option<ErrorCode> {
        let code = self.status.as_ref()?.error_code?;
        (code.value() != 0).then_some(code)
    }

    /// Why the message was rejected, in the platform's words or else in this crate's words for
    /// the code.
    pub fn reason(&self) -> Option<&str> {
        let told = self.status.as_ref()?.error_message.as_ref();
        reason(told, self.error_code().and_then(ErrorCode::reason))
    }
}

impl BatchResponse {
    /// Whether nothing is told that an answer to a batch tells.
    pub(crate) fn says_nothing(&self) -> bool {
        self.batch_id.is_none()
            && self.accepted_count.is_none()
            && self.rejected_count.is_none()
            && self.messages.is_none()
    }

    /// An answer whose entries have details of types that they should not have, read without
    /// those: one odd detail does not lose the verdicts of a thousand messages.
    fn without_odd_details(body: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(body).ok()?;
        for entry in value.get_mut("messages")?.as_array_mut()? {
            if !MESSAGE_RESULT.prune(entry, &mut Checker::default()) {
                *entry = Value::Object(Map::new());
            }
        }
        serde_json::from_value(value).ok()
    }

    /// Reads an answer from its JSON, as [`Client::send`](crate::Client::send) reads it: for an
    /// answer that was stored, or the body that an [`Unreadable`](crate::Unreadable) kept.
    ///
    /// # Errors
    /// Why it cannot be read, without repeating a value, as an error of serde would.
    pub fn from_json(json: &[u8]) -> Result<Self, UnreadableReason> {
        match serde_json::from_slice::<Self>(json) {
            Ok(response) if response.says_nothing() => Err(UnreadableReason::NoAnswer),
            Ok(response) => Ok(response),
            Err(error) => {
                Self::without_odd_details(json).ok_or_else(|| UnreadableReason::of(&error))
            }
        }
    }

    /// The verdicts that the answer lists; none where the request did not ask for them.
    pub fn results(&self) -> &[MessageResult] {
        self.messages.as_deref().unwrap_or_default()
    }

    /// The messages that the platform will not send.
    pub fn rejected(&self) -> impl Iterator<Item = &MessageResult> {
        let results = self.results().iter();
        results.filter(|result| result.verdict() == Verdict::Rejected)
    }

    /// Whether the platform took every message, by its counts and by what it lists. To be sure
    /// that it speaks of every message that was sent, ask the [`report`](Self::report).
    pub fn all_accepted(&self) -> bool {
        self.rejected_count == Some(0)
            && self.accepted_count.is_some_and(|accepted| accepted > 0)
            && self.results().iter().all(|result| result.verdict() == Verdict::Accepted)
    }

    /// The verdict on every message of a batch of so many, where the answer lists none of them and
    /// its counts leave no doubt.
    pub(crate) fn verdict_on_all(&self, sent: usize) -> Option<Verdict> {
        let is_all = |count: Option<i64>| count.map(usize::try_from) == Some(Ok(sent));
        match (self.messages.is_none(), self.accepted_count, self.rejected_count) {
            (true, accepted, Some(0)) if is_all(accepted) => Some(Verdict::Accepted),
            (true, Some(0), rejected) if is_all(rejected) => Some(Verdict::Rejected),
            _ => None,
        }
    }

    /// The answer held against the batch that it answers: a verdict for every message.
    pub fn report<'a>(&'a self, batch: &'a Batch) -> Report<'a> {
        self.report_on(batch.messages())
    }

    pub(crate) fn report_on<'a>(&'a self, messages: &'a [Message]) -> Report<'a> {
        Report::new(self, messages)
    }
}

/// An answer held against the batch that it answers. Made by [`BatchResponse::report`].
///
/// Messages and verdicts are paired by clientMessageId and by nothing else: not by their order,
/// and not by their phone numbers.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    outcomes: Vec<Outcome<'a>>,
    unmatched: Vec<&'a MessageResult>,
    disagreements: Vec<Disagreement>,
}

/// What became of one message of a batch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outcome<'a> {
    /// Where the message stands in the batch, counted from 0.
    pub index: usize,
    /// The message.
    pub message: &'a Message,
    /// The verdict. It is [`Verdict::Unclear`] where the answer has no entry for the message, or
    /// several.
    pub verdict: Verdict,
    /// The entry of the answer that has the message's clientMessageId, the first where there are
    /// several.
    pub result: Option<&'a MessageResult>,
}

impl<'a> Outcome<'a> {
    /// The id that the platform gave to the message.
    pub fn umid(&self) -> Option<&'a OpaqueId> {
        self.result?.umid.as_ref()
    }

    /// See [`MessageResult::error_code`].
    pub fn error_code(&self) -> Option<ErrorCode> {
        self.result?.error_code()
    }

    /// See [`MessageResult::reason`].
    pub fn reason(&self) -> Option<&'a str> {
        self.result?.reason()
    }
}

/// Something in an answer that does not agree with something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// The two counts do not add up to the messages that were sent.
    #[error("{counted} messages counted, {sent} sent")]
    Sent {
        /// acceptedCount and rejectedCount together.
        counted: i64,
        /// Messages of the batch.
        sent: usize,
    },
    /// acceptedCount is not the number of entries that are accepted.
    #[error("acceptedCount is {counted}, {listed} entries are accepted")]
    Accepted {
        /// acceptedCount.
        counted: i64,
        /// Entries with an accepted state.
        listed: usize,
    },
    /// rejectedCount is not the number of entries that are rejected.
    #[error("rejectedCount is {counted}, {listed} entries are rejected")]
    Rejected {
        /// rejectedCount.
        counted: i64,
        /// Entries with a rejected state.
        listed: usize,
    },
    /// A count is missing.
    #[error("a count is missing")]
    NoCount,
    /// Several entries have the clientMessageId of one message.
    #[error("{times} entries for messages[{message}]")]
    Repeated {
        /// The message, counted from 0.
        message: usize,
        /// How many entries there are for it.
        times: usize,
    },
}

impl<'a> Report<'a> {
    fn new(response: &'a BatchResponse, messages: &'a [Message]) -> Self {
        let mut outcomes: Vec<_> = messages
            .iter()
            .enumerate()
            .map(|(index, message)| Outcome {
                index,
                message,
                verdict: Verdict::Unclear,
                result: None,
            })
            .collect();
        let id_of = |index: usize| messages.get(index)?.client_message_id.as_deref();
        let by_id = LazyCell::new(|| {
            let ids = (0..messages.len()).filter_map(|index| Some((id_of(index)?, index)));
            ids.collect::<HashMap<_, _>>()
        });
        let mut unmatched = Vec::new();
        let mut times = vec![0_usize; outcomes.len()];
        for (place, result) in response.results().iter().enumerate() {
            let id = result.client_message_id.as_ref().map(ReceivedText::as_str);
            // Ids are paired wherever they stand; most often they stand where they were sent.
            let index = match id {
                Some(id) if id_of(place) == Some(id) => Some(place),
                Some(id) => by_id.get(id).copied(),
                None => None,
            };
            let Some(index) = index else {
                unmatched.push(result);
                continue;
            };
            times[index] += 1;
            let outcome = &mut outcomes[index];
            outcome.verdict = match outcome.result {
                None => result.verdict(),
                Some(_) => Verdict::Unclear,
            };
            outcome.result = outcome.result.or(Some(result));
        }
        let repeated = times.into_iter().enumerate().filter(|(_, times)| *times > 1);
        let mut disagreements = counts(response, messages.len());
        disagreements
            .extend(repeated.map(|(message, times)| Disagreement::Repeated { message, times }));
        Self { outcomes, unmatched, disagreements }
    }

    /// What became of each message, in the order of the batch, one for each.
    pub fn outcomes(&self) -> &[Outcome<'a>] {
        &self.outcomes
    }

    /// The messages with a verdict.
    pub fn with_verdict(&self, verdict: Verdict) -> impl Iterator<Item = &Outcome<'a>> {
        self.outcomes.iter().filter(move |outcome| outcome.verdict == verdict)
    }

    /// The messages that were sent and have no entry in the answer.
    pub fn unanswered(&self) -> impl Iterator<Item = &Outcome<'a>> {
        self.outcomes.iter().filter(|outcome| outcome.result.is_none())
    }

    /// The entries of the answer that have the clientMessageId of no message of the batch, or
    /// none.
    pub fn unmatched(&self) -> &[&'a MessageResult] {
        &self.unmatched
    }

    /// Where the counts, the entries and the batch do not agree.
    pub fn disagreements(&self) -> &[Disagreement] {
        &self.disagreements
    }

    /// Whether every message of the batch has an accepted entry, and nothing disagrees.
    pub fn all_accepted(&self) -> bool {
        self.disagreements.is_empty()
            && self.unmatched.is_empty()
            && self.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Accepted)
    }
}

fn counts(response: &BatchResponse, sent: usize) -> Vec<Disagreement> {
    let (Some(accepted), Some(rejected)) = (response.accepted_count, response.rejected_count)
    else {
        return vec![Disagreement::NoCount];
    };
    let differs = |counted: i64, count: usize| usize::try_from(counted) != Ok(count);
    let mut found = Vec::new();
    let counted = accepted.saturating_add(rejected);
    if differs(counted, sent) {
        found.push(Disagreement::Sent { counted, sent });
    }
    if response.messages.is_some() {
        let listed = |verdict| {
            let results = response.results().iter();
            results.filter(|result| result.verdict() == verdict).count()
        };
        let (listed_accepted, listed_rejected) =
            (listed(Verdict::Accepted), listed(Verdict::Rejected));
        if differs(accepted, listed_accepted) {
            let (counted, listed) = (accepted, listed_accepted);
            found.push(Disagreement::Accepted { counted, listed });
        }
        if differs(rejected, listed_rejected) {
            let (counted, listed) = (rejected, listed_rejected);
            found.push(Disagreement::Rejected { counted, listed });
        }
    }
    found
}
