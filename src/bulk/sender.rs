//! Sends one chunk of messages: checks it, journals it, retries it, halves it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::StatusCode;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::journal::{Chunk, Journal};
use super::outcome::{MessageOutcome, Stop};
use super::pace::Pace;
use crate::client::Client;
use crate::error::Error;
use crate::invalid::{Invalid, Problem, Rule, Subject};
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::validate;
use crate::transport::retry::{Next, Retries, RetryPolicy, decisive};
use crate::types::{BatchRequest, BatchResponse, ErrorCode, Message};

/// Sends one chunk of messages at a time, as a run does. Made by
/// [`Bulk::sender`](super::Bulk::sender).
///
/// Use it to build a loop of your own, for instance over a queue in a database. Clones form a group:
/// they share one pause, one maximum rate and one journal.
///
/// ```
/// use lon_batch::{Content, Message, Msisdn, OutcomeKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sandbox = lon_sandbox::Sandbox::start().await?;
/// # let client = lon_batch::Client::builder(sandbox.sub_account_id(), sandbox.api_key()).base_url(sandbox.base_url()).build()?;
/// let sender = client.bulk("reminders").sender()?;
/// let message = Message::new(Msisdn::parse("+66812345678")?, Content::new("Hello"));
/// let sent = sender.send(vec![message.client_message_id("abc-123")]).await;
/// assert_eq!(sent.messages[0].outcome.kind, OutcomeKind::Accepted);
/// assert!(sent.stop.is_none());
/// # Ok(())
/// # }
/// ```
pub struct Sender<J = ()> {
    pub(super) group: Arc<Group<J>>,
}

/// The state that the clones of a sender share.
pub(super) struct Group<J> {
    pub client: Client,
    pub retry: RetryPolicy,
    pub pace: Pace,
    pub journal: J,
    pub cancel: CancellationToken,
    /// The most messages of a request.
    pub max_messages: usize,
    /// The start of the id of each chunk, and the number of the next.
    pub prefix: String,
    pub next: AtomicU64,
}

/// The outcomes of the messages of a chunk, and what they mean for the next one.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Sent {
    /// The messages in their order, each with its outcome.
    pub messages: Vec<MessageOutcome>,
    /// How many requests were made.
    pub requests: u32,
    /// Contradictions in the responses, one sentence each; see
    /// [`Report::disagreements`](crate::Report::disagreements).
    pub disagreements: Vec<String>,
    /// The error of the last attempt that failed for good.
    pub error: Option<Arc<Error>>,
    /// Why no other chunk should be sent: the account is wrong, retries are exhausted, the journal
    /// failed, or the sender was cancelled.
    pub stop: Option<Stop>,
}

/// Valid messages of a chunk that are sent in one request, with their places in the chunk.
struct Piece {
    places: Vec<u64>,
    messages: Vec<Message>,
    /// Whether an earlier attempt may have sent them.
    sent_before: bool,
}

impl<J: Journal> Sender<J> {
    /// Sends the messages and returns an outcome for each. A request has at most
    /// [`max_messages_per_batch`](super::Bulk::max_messages_per_batch) of them.
    ///
    /// Invalid messages, recipients that are not allowed, and messages with the clientMessageId of an
    /// earlier one are not sent; the others are. The sender retries as its policy allows. A chunk that
    /// is too large (413, code 3013 or 1100) is sent in halves, down to single messages. The
    /// [journal](Journal) sees each attempt.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers, and with the journal.
    ///
    /// # Cancellation
    /// [`Bulk::cancel_with`](super::Bulk::cancel_with) ends waiting; what is in flight finishes. If
    /// you drop the future instead, messages may have been sent that are journalled and not settled.
    pub async fn send(&self, messages: Vec<Message>) -> Sent {
        let mut sent = Sent::default();
        let mut pieces = self.valid(messages, &mut sent).cut(self.group.max_messages);
        while let Some(piece) = pieces.pop() {
            let span = self.group.client.span(piece.messages.len());
            let halves = self.send_piece(piece, &mut sent).instrument(span).await;
            pieces.extend(halves.unwrap_or_default());
        }
        sent.messages.sort_unstable_by_key(|it| it.position);
        sent
    }

    /// The messages that can be sent. The others get their outcomes.
    fn valid(&self, messages: Vec<Message>, sent: &mut Sent) -> Piece {
        let mut request = BatchRequest::new(messages);
        let found = validate::problems(&request);
        if found.is_empty() && request.messages.iter().all(|it| self.group.client.allows(&it.user))
        {
            let places = (0..request.messages.len() as u64).collect();
            return Piece { places, messages: request.messages, sent_before: false };
        }
        let mut problems = Vec::new();
        problems.resize_with(request.messages.len(), Vec::new);
        for problem in found {
            if let Some(of_message) = problem.message().and_then(|it| problems.get_mut(it)) {
                of_message.push(problem);
            }
        }
        let messages = std::mem::take(&mut request.messages);
        let mut piece = Piece { places: Vec::new(), messages: Vec::new(), sent_before: false };
        for (place, (message, problems)) in (0..).zip(messages.into_iter().zip(problems)) {
            let is_allowed = self.group.client.allows(&message.user);
            if problems.is_empty() && is_allowed {
                piece.places.push(place);
                piece.messages.push(message);
                continue;
            }
            let duplicate_of = problems.iter().find_map(|problem| match problem.rule {
                Rule::Duplicate { first } => Some(first as u64),
                _ => None,
            });
            let reason =
                if is_allowed { invalid(problems) } else { "recipient not allowed".into() };
            let outcome = Outcome::new(OutcomeKind::NotSent).with_reason(reason);
            sent.messages.push(MessageOutcome { position: place, message, outcome, duplicate_of });
        }
        piece
    }

    /// Sends a piece until it has outcomes, or returns its halves.
    async fn send_piece(&self, mut piece: Piece, sent: &mut Sent) -> Option<Vec<Piece>> {
        let group = &*self.group;
        let count = piece.messages.len();
        let not_sent = |why: &str| vec![Outcome::new(OutcomeKind::NotSent).with_reason(why); count];
        let mut retries = Retries::new(&group.retry, count);
        let outcomes = loop {
            if sent.stop.is_none() && !self.turn(count).await {
                sent.stop = Some(Stop::Cancelled);
            }
            if sent.stop.is_some() {
                break not_sent("the run stopped");
            }
            let chunk = self.chunk(&mut piece);
            let deadline = match group.journal.sending(&chunk).await {
                Ok(deadline) => deadline,
                Err(error) => {
                    piece.messages = chunk.request.messages;
                    sent.stop = Some(Stop::Journal(Arc::new(error)));
                    break not_sent("the journal failed before it was sent");
                }
            };
            if deadline.is_some_and(|deadline| deadline.has_passed()) {
                let outcomes = after(not_sent("its deadline passed before it was sent"), &piece);
                self.settle(&chunk, &outcomes, sent).await;
                piece.messages = chunk.request.messages;
                break outcomes;
            }
            retries.begin();
            sent.requests += 1;
            let result = group.client.attempt(&chunk.request).await;
            if let Some(wait) = result.as_ref().err().and_then(Error::retry_after) {
                // A longer wait ends the run.
                group.pace.pause(wait.min(group.retry.longest()));
            }
            match retries.after(result) {
                Next::Retry { delay, outcome } => {
                    group.pace.pause(delay);
                    let outcomes = after(vec![outcome; count], &piece);
                    self.settle(&chunk, &outcomes, sent).await;
                    piece.messages = chunk.request.messages;
                    piece.sent_before |= outcomes[0].kind == OutcomeKind::Unknown;
                }
                Next::Finished { result, earlier } => {
                    let (outcomes, is_too_large) =
                        finish(result, earlier.as_ref(), &chunk, &piece, sent, &group.retry);
                    self.settle(&chunk, &outcomes, sent).await;
                    piece.messages = chunk.request.messages;
                    if is_too_large {
                        return Some(piece.cut(count.div_ceil(2)));
                    }
                    break outcomes;
                }
            }
        };
        let outcomes = after(outcomes, &piece);
        let messages = piece.places.into_iter().zip(piece.messages).zip(outcomes);
        sent.messages.extend(messages.map(|((position, message), outcome)| MessageOutcome {
            position,
            message,
            outcome,
            duplicate_of: None,
        }));
        None
    }

    /// Waits until an attempt may start; `false` if the run was cancelled.
    async fn turn(&self, messages: usize) -> bool {
        tokio::select! {
            biased;
            () = self.group.cancel.cancelled() => false,
            () = self.group.pace.turn(messages) => true,
        }
    }

    /// The messages of a piece, as the chunk of one attempt.
    fn chunk(&self, piece: &mut Piece) -> Chunk {
        let mut request = BatchRequest::new(std::mem::take(&mut piece.messages));
        let number = self.group.next.fetch_add(1, Ordering::Relaxed);
        request.client_batch_id = Some(format!("{}-{number}", self.group.prefix).into());
        request.include_messages_in_response = Some(true);
        Chunk { request }
    }

    async fn settle(&self, chunk: &Chunk, outcomes: &[Outcome], sent: &mut Sent) {
        if let Err(error) = self.group.journal.settled(chunk, outcomes).await {
            sent.stop = Some(Stop::Journal(Arc::new(error)));
        }
    }
}

/// Outcomes with respect to earlier attempts that may have sent the messages.
fn after(outcomes: Vec<Outcome>, piece: &Piece) -> Vec<Outcome> {
    if !piece.sent_before {
        return outcomes;
    }
    outcomes.into_iter().map(|outcome| outcome.unknown_if_sent_earlier(true)).collect()
}

/// The outcomes after the last attempt, and whether the messages are to be sent in halves.
fn finish(
    result: Result<BatchResponse, Error>,
    earlier: Option<&Error>,
    chunk: &Chunk,
    piece: &Piece,
    sent: &mut Sent,
    policy: &RetryPolicy,
) -> (Vec<Outcome>, bool) {
    let count = chunk.messages().len();
    match result {
        Ok(response) => {
            let report = response.report_on(&chunk.request);
            sent.disagreements.extend_from_slice(report.disagreements());
            (after(report.into_outcomes(), piece), false)
        }
        Err(error) => {
            // The last error decides what follows. An earlier one may leave the outcome open.
            let error = Arc::new(error);
            let halve = count > 1 && is_too_large(&error);
            if !halve {
                sent.stop = stop_after(&error, policy);
                sent.error = Some(Arc::clone(&error));
            }
            let outcome = Outcome::from(decisive(&*error, earlier));
            (after(vec![outcome; count], piece), halve)
        }
    }
}

/// Why no other chunk should be sent after this error; `None` if another may fare better.
fn stop_after(error: &Arc<Error>, policy: &RetryPolicy) -> Option<Stop> {
    let refused = || Some(Stop::Refused(Arc::clone(error)));
    let gave_up = || Some(Stop::GaveUp(Arc::clone(error)));
    let is_bad_request =
        matches!(error.status(), Some(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY));
    match &**error {
        _ if is_about_the_account(error.code()) => refused(),
        _ if error.retry_after().is_some_and(|wait| wait > policy.longest()) => gave_up(),
        _ if error.outcome() == OutcomeKind::Unknown => None,
        Error::NoConnection(_) => gave_up(),
        _ if error.retry_can_help() => gave_up(),
        _ if error.status() == Some(StatusCode::PAYLOAD_TOO_LARGE) => None,
        // One message is too many: no other will be accepted.
        _ if is_bad_request && !is_too_large(error) => None,
        _ => refused(),
    }
}

fn is_about_the_account(code: Option<ErrorCode>) -> bool {
    matches!(
        code,
        Some(
            ErrorCode::IllegalSubAccountId
                | ErrorCode::InvalidIpAddress
                | ErrorCode::InsecureProtocol
                | ErrorCode::Unauthorized
                | ErrorCode::Forbidden
                | ErrorCode::ApiVersion
                | ErrorCode::Product
        )
    )
}

/// Whether the platform refused a chunk because of its size.
fn is_too_large(error: &Error) -> bool {
    let Error::Refused(refusal) = error else {
        return false;
    };
    let is_code_of_size =
        matches!(refusal.code(), Some(ErrorCode::TooManyMessages | ErrorCode::BulkLimitReached));
    match refusal.status() {
        StatusCode::PAYLOAD_TOO_LARGE => true,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => is_code_of_size,
        _ => false,
    }
}

impl Piece {
    /// Cuts the piece into pieces of at most `most` messages, the last first.
    fn cut(mut self, most: usize) -> Vec<Self> {
        if self.places.len() <= most {
            return if self.places.is_empty() { Vec::new() } else { vec![self] };
        }
        let mut pieces = Vec::new();
        while !self.places.is_empty() {
            let at = (self.places.len() - 1) / most * most;
            pieces.push(Self {
                places: self.places.split_off(at),
                messages: self.messages.split_off(at),
                sent_before: self.sent_before,
            });
        }
        pieces
    }
}

/// The problems of one message, with paths within the message.
fn invalid(problems: Vec<Problem>) -> String {
    let is_duplicate = |it: &Problem| matches!(it.rule, Rule::Duplicate { .. });
    if problems.iter().all(is_duplicate) {
        return "an earlier message has the same clientMessageId, so it would not be matched"
            .into();
    }
    let problems = problems.into_iter().filter(|it| !is_duplicate(it)).map(|mut problem| {
        let (_, path) = problem.path.split_once(']').unwrap_or_default();
        problem.path = path.trim_start_matches('.').into();
        problem
    });
    Invalid::new(Subject::Message, problems.collect()).to_line()
}

impl<J> Clone for Sender<J> {
    fn clone(&self) -> Self {
        Self { group: Arc::clone(&self.group) }
    }
}

impl<J> fmt::Debug for Sender<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("client", &self.group.client)
            .field("retry", &self.group.retry)
            .finish_non_exhaustive()
    }
}
