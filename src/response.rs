//! Responses, and the outcome of each message in them.

pub(crate) mod lenient;

use std::cell::LazyCell;
use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::json::{OnlyObject, without_byte_order_mark};
use crate::outcome::{Outcome, OutcomeKind};
use crate::redact;
use crate::request::Batch;
use crate::types::{BatchRequest, BatchResponse, ErrorCode, Message, MessageResult, MessageState};

/// The body of a 2xx, as the generated client parses it. An array, or an object without any usable
/// response member, is an error.
#[derive(Debug)]
pub struct ResponseBody(pub(crate) BatchResponse);

impl<'de> Deserialize<'de> for ResponseBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let OnlyObject(response) = OnlyObject::<BatchResponse>::deserialize(deserializer)?;
        if response.is_empty() {
            return Err(serde::de::Error::custom("no member of a response"));
        }
        Ok(Self(response))
    }
}

impl MessageState {
    /// The outcome for a state. `failed` and `rejected` both mean that the platform will not send
    /// the message. `unknown`, `error` and unlisted states are `Unknown`.
    pub fn outcome(&self) -> OutcomeKind {
        match self {
            Self::Queued
            | Self::Accepted
            | Self::Sent
            | Self::Delivered
            | Self::Undelivered
            | Self::Read
            | Self::Ok => OutcomeKind::Accepted,
            Self::Failed | Self::Rejected => OutcomeKind::Rejected,
            _ => OutcomeKind::Unknown,
        }
    }
}

impl MessageResult {
    /// The state that the platform reports.
    pub fn state(&self) -> Option<&MessageState> {
        self.status.as_ref()?.state.as_ref()
    }

    /// The error code. The platform's 0 means no error.
    pub fn error_code(&self) -> Option<ErrorCode> {
        let code = self.status.as_ref()?.error_code?;
        (code.value() != 0).then_some(code)
    }

    /// The outcome for state and error code. An accepted state with an error code is `Unknown`.
    pub fn outcome(&self) -> OutcomeKind {
        match self.state().map(MessageState::outcome) {
            Some(OutcomeKind::Accepted) if self.error_code().is_some() => OutcomeKind::Unknown,
            Some(kind) => kind,
            None => OutcomeKind::Unknown,
        }
    }

    /// The outcome with its umid, code and reason.
    fn to_outcome(&self, ids: &[&str]) -> Outcome {
        let mut outcome = Outcome::new(self.outcome());
        outcome.umid.clone_from(&self.umid);
        outcome.code = self.error_code();
        let message = self.status.as_ref().and_then(|status| status.error_message.as_deref());
        let message =
            message.filter(|text| !text.trim().is_empty() && outcome.kind != OutcomeKind::Accepted);
        outcome.reason = match message {
            Some(message) => Some(redact::printable(message, ids).into()),
            None => outcome.code.and_then(ErrorCode::reason).map(Into::into),
        };
        if outcome.kind == OutcomeKind::Unknown && outcome.reason.is_none() {
            outcome.reason = Some(match self.state() {
                Some(state) => {
                    let state = redact::printable(state.as_str(), ids);
                    format!("its state is {state}").into()
                }
                None => "its entry in the response has no state".into(),
            });
        }
        outcome
    }
}

impl BatchResponse {
    /// Parses a response like [`Client::send`](crate::Client::send), for instance one that you
    /// stored, or the repaired body of an [`Unreadable`](crate::error::Unreadable).
    ///
    /// Members of the wrong type are dropped, a result that is not an object counts as empty, and a
    /// byte order mark is skipped.
    ///
    /// # Errors
    /// The body is empty, truncated, not JSON or not a response. The error repeats no value.
    pub fn from_json(json: &[u8]) -> Result<Self, UnreadableReason> {
        let json = without_byte_order_mark(json);
        match serde_json::from_slice::<ResponseBody>(json) {
            Ok(ResponseBody(response)) => Ok(response),
            Err(_) => match lenient::response(json) {
                Ok(response) if !response.is_empty() => Ok(response),
                Ok(_) => Err(UnreadableReason::NotAResponse),
                Err(error) => Err(UnreadableReason::from(&error)),
            },
        }
    }

    fn is_empty(&self) -> bool {
        self.batch_id.is_none()
            && self.accepted_count.is_none()
            && self.rejected_count.is_none()
            && self.results().is_empty()
    }

    /// The results in the response. Empty if the request did not ask for them.
    pub fn results(&self) -> &[MessageResult] {
        self.messages.as_deref().unwrap_or_default()
    }

    /// The outcome of every message of a batch of this size, if the response has no list of results
    /// and its counts are unambiguous.
    fn outcome_of_all(&self, sent: usize) -> Option<OutcomeKind> {
        let is_all = |count: Option<i64>| count.map(usize::try_from) == Some(Ok(sent));
        match (self.accepted_count, self.rejected_count) {
            _ if self.messages.is_some() => None,
            (accepted, Some(0)) if is_all(accepted) => Some(OutcomeKind::Accepted),
            (Some(0), rejected) if is_all(rejected) => Some(OutcomeKind::Rejected),
            _ => None,
        }
    }

    /// Matches the response with its batch and gives every message an outcome.
    pub fn report<'a>(&'a self, batch: &'a Batch) -> Report<'a> {
        self.report_on(batch.request())
    }

    pub(crate) fn report_on<'a>(&'a self, request: &'a BatchRequest) -> Report<'a> {
        Report::new(self, request)
    }
}

/// The outcome of every message of a batch. Created by [`BatchResponse::report`].
///
/// Results are matched to messages by clientMessageId, never by order or phone number. The one
/// exception is a batch of one message without an id, if the response has exactly one result and
/// that has no id either. A message with no result, or several, is unknown. If the response has no
/// list of results, its counts decide when they are unambiguous.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    messages: &'a [Message],
    outcomes: Vec<Outcome>,
    unmatched: Vec<&'a MessageResult>,
    disagreements: Vec<String>,
}

impl<'a> Report<'a> {
    fn new(response: &'a BatchResponse, request: &'a BatchRequest) -> Self {
        let messages = request.messages.as_slice();
        let id_of = |index: usize| messages.get(index)?.client_message_id.as_deref();
        let indexes = LazyCell::new(|| {
            let ids = (0..messages.len()).filter_map(|index| Some((id_of(index)?, index)));
            ids.collect::<HashMap<_, _>>()
        });
        let mut matched: Vec<Option<&MessageResult>> = vec![None; messages.len()];
        let mut times = vec![0_usize; messages.len()];
        let is_single = messages.len() == 1 && response.results().len() == 1 && id_of(0).is_none();
        let mut unmatched = Vec::new();
        for (at, result) in response.results().iter().enumerate() {
            let id = result.client_message_id.as_deref();
            // Results may have any order. Most often they are in the order of the batch.
            let index = match id {
                Some(id) if id_of(at) == Some(id) => Some(at),
                Some(id) => indexes.get(id).copied(),
                // The only result belongs to the only message; neither has an id.
                None if is_single => Some(0),
                None => None,
            };
            match index {
                Some(index) => {
                    times[index] += 1;
                    matched[index] = Some(result);
                }
                None => unmatched.push(result),
            }
        }
        let of_all = response.outcome_of_all(messages.len());
        let outcomes =
            matched.iter().zip(&times).enumerate().map(|(index, (result, times))| {
                match (of_all, result, times) {
                    (Some(kind), ..) => Outcome::new(kind),
                    (None, Some(result), 1) => {
                        let batch_id = request.client_batch_id.as_deref();
                        let ids: Vec<_> = id_of(index).into_iter().chain(batch_id).collect();
                        result.to_outcome(&ids)
                    }
                    (None, Some(_), _) => Outcome::new(OutcomeKind::Unknown)
                        .with_reason("the response has several results for it"),
                    (None, None, _) => Outcome::new(OutcomeKind::Unknown)
                        .with_reason("the response has no result for it"),
                }
            });
        let mut outcomes: Vec<_> = outcomes.collect();
        if counts_rejected_as_accepted(response, &outcomes) {
            for outcome in outcomes.iter_mut().filter(|it| it.kind == OutcomeKind::Rejected) {
                outcome.kind = OutcomeKind::Unknown;
                outcome.reason = Some("rejected, but the response counts it as accepted".into());
            }
        }
        let mut disagreements = disagreements(response, messages.len());
        for (index, times) in times.iter().enumerate().filter(|(_, times)| **times > 1) {
            disagreements.push(format!("{times} results for messages[{index}]"));
        }
        Self { messages, outcomes, unmatched, disagreements }
    }

    /// The outcomes, in the order of the batch.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Each message with its outcome, in the order of the batch.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a Message, &Outcome)> {
        self.messages.iter().zip(&self.outcomes)
    }

    /// The messages with one kind of outcome.
    pub fn of_kind(&self, kind: OutcomeKind) -> impl Iterator<Item = (&'a Message, &Outcome)> {
        self.iter().filter(move |(_, outcome)| outcome.kind == kind)
    }

    pub(crate) fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }

    /// Results without a clientMessageId, or with one that no message of the batch has.
    pub fn unmatched(&self) -> &[&'a MessageResult] {
        &self.unmatched
    }

    /// Contradictions between the counts, the results and the batch, one sentence each, for logs. A
    /// rejected message that the counts include as accepted becomes unknown.
    pub fn disagreements(&self) -> &[String] {
        &self.disagreements
    }

    /// True if every message was accepted, every result belongs to a message of the batch, both
    /// counts are present, and nothing contradicts.
    pub fn all_accepted(&self) -> bool {
        self.disagreements.is_empty()
            && self.unmatched.is_empty()
            && self.outcomes.iter().all(|outcome| outcome.kind == OutcomeKind::Accepted)
    }
}

/// Whether `acceptedCount` is higher than the number of messages that are not rejected.
fn counts_rejected_as_accepted(response: &BatchResponse, outcomes: &[Outcome]) -> bool {
    let others = outcomes.iter().filter(|outcome| outcome.kind != OutcomeKind::Rejected).count();
    let counted = response.accepted_count.and_then(|count| usize::try_from(count).ok());
    response.messages.is_some() && counted.is_some_and(|counted| counted > others)
}

fn disagreements(response: &BatchResponse, sent: usize) -> Vec<String> {
    let (Some(accepted), Some(rejected)) = (response.accepted_count, response.rejected_count)
    else {
        return vec!["a count is missing".to_owned()];
    };
    let listed = |kind| {
        let results = response.messages.as_ref()?.iter();
        Some(results.filter(|result| result.outcome() == kind).count())
    };
    let counts = [
        ("acceptedCount and rejectedCount", accepted.saturating_add(rejected), Some(sent), "sent"),
        ("acceptedCount", accepted, listed(OutcomeKind::Accepted), "listed as accepted"),
        ("rejectedCount", rejected, listed(OutcomeKind::Rejected), "listed as rejected"),
    ];
    let differing = counts.into_iter().filter_map(|(name, counted, found, label)| {
        let found = found.filter(|found| usize::try_from(counted) != Ok(*found))?;
        // The platform may have sent a phone number as a count.
        let counted = redact::mask(&counted.to_string(), &[]);
        Some(format!("{name}: {counted}, {label}: {found}"))
    });
    differing.collect()
}

/// Why the response to an accepted batch cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableReason {
    /// The body is empty.
    #[error("it is empty")]
    Empty,
    /// It is truncated: the connection was lost, the attempt timed out, or it has more than 16 MiB.
    #[error("it is truncated")]
    Truncated,
    /// It is not JSON.
    #[error("it is not JSON, line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is JSON, but not an object with a usable response member.
    #[error("it is not a response to a batch")]
    NotAResponse,
}

impl From<&serde_json::Error> for UnreadableReason {
    fn from(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => Self::NotAResponse,
            Category::Eof if (line, column) == (1, 0) => Self::Empty,
            Category::Eof => Self::Truncated,
            Category::Syntax | Category::Io => Self::NotJson { line, column },
        }
    }
}
