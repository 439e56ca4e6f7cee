//! Brings the messages of a batch to their outcomes: sends, retries, halves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outcome::Stop;
use super::pace::Pacer;
use super::packet::Packet;
use super::progress::Progress;
use crate::client::Client;
use crate::error::Error;
use crate::invalid::{Invalid, Rule, Subject};
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::validate;
use crate::transport::retry::{self, Attempts, RetryPolicy};
use crate::types::{BatchRequest, BatchResponse, ErrorCode, Text};

/// What all packets of a run share.
pub(super) struct Courier {
    pub client: Client,
    pub retry: RetryPolicy,
    pub pacer: Pacer,
    pub progress: Progress,
    /// Cancelled when nothing more may be sent.
    pub stop: CancellationToken,
    pub stop_after_unknown: Option<u32>,
    pub sizes: Sizes,
    pub unknown_in_a_row: AtomicU32,
}

/// How many messages a batch may have, as far as is known.
pub(super) struct Sizes {
    /// As the caller wants it.
    asked: usize,
    state: Mutex<Learned>,
}

struct Learned {
    /// As the platform wants it.
    most: usize,
    /// The largest batch that it took.
    taken: usize,
}

/// What became of a packet.
#[derive(Default)]
pub(super) struct Delivery {
    /// An outcome for each message, but for those that are to be sent in two halves.
    pub outcomes: Vec<Option<Outcome>>,
    /// What is wrong with messages, by their places.
    pub invalid: HashMap<usize, Invalid>,
    pub batch_id: Option<Text>,
    pub attempts: u32,
    pub disagreements: Vec<String>,
}

impl Delivery {
    /// Of a packet that is given up here: its messages are counted.
    pub fn given_up(packet: &Packet) -> Self {
        let outcomes = vec![Some(packet.given_up()); packet.len()];
        packet.settle(outcomes.iter().flatten().map(|outcome| outcome.kind));
        Self { outcomes, ..Self::default() }
    }

    /// One outcome for all messages at these places.
    fn all(&mut self, places: &[usize], outcome: Option<&Outcome>) {
        for place in places {
            self.outcomes[*place] = outcome.cloned();
        }
    }
}

impl Sizes {
    pub fn new(messages: usize) -> Self {
        let state = Mutex::new(Learned { most: messages, taken: 0 });
        Self { asked: messages, state }
    }

    fn state(&self) -> MutexGuard<'_, Learned> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages to put into the next batch.
    pub fn messages(&self) -> usize {
        self.state().most
    }

    /// The platform took a batch.
    fn was_taken(&self, messages: usize) {
        let mut state = self.state();
        state.taken = state.taken.max(messages);
    }

    /// Whether the platform ever took a batch.
    fn anything_was_taken(&self) -> bool {
        self.state().taken > 0
    }

    /// The platform said that a batch is too large. What it took before it takes again.
    fn too_large(&self, messages: usize) {
        let mut state = self.state();
        let half = state.taken.max(messages.div_ceil(2));
        state.most = state.most.min(half);
    }

    /// One message alone was too large: what was learned on the way to it was learned from it.
    fn was_one_message(&self) {
        self.state().most = self.asked;
    }
}

/// What a refusal means for the run.
enum Refusal {
    /// Something is wrong with this batch alone.
    OfTheBatch,
    TooManyBytes,
    TooManyMessages,
    /// It will be the same for every batch.
    OfEverything,
}

impl Refusal {
    /// The status decides; a code says more of a 400 or 422, under which all kinds of codes come.
    fn of(error: &Error) -> Self {
        match error.status() {
            Some(StatusCode::PAYLOAD_TOO_LARGE) => Self::TooManyBytes,
            Some(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => {
                match error.code() {
                    code if is_about_the_account(code) => Self::OfEverything,
                    Some(ErrorCode::TooManyMessages | ErrorCode::BulkLimitReached) => {
                        Self::TooManyMessages
                    }
                    _ => Self::OfTheBatch,
                }
            }
            _ => Self::OfEverything,
        }
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

/// A batch of a run, which keeps the pace of the run.
struct Paced<'a> {
    courier: &'a Courier,
    packet: &'a Packet,
    request: &'a BatchRequest,
}

impl Attempts for Paced<'_> {
    async fn attempt(&self) -> Result<BatchResponse, Error> {
        self.courier.client.attempt(self.request).await
    }

    async fn turn(&self) -> bool {
        let may_start = tokio::select! {
            biased;
            () = self.courier.stop.cancelled() => false,
            () = self.courier.pacer.turn(self.request.messages.len()) => true,
        };
        if may_start {
            self.packet.set_on_the_wire(true);
            self.courier.progress.request();
        }
        may_start
    }

    /// Paces the run by what an attempt came to.
    fn ended(&self, result: &Result<BatchResponse, Error>, began: Instant) {
        let (pacer, longest) = (&self.courier.pacer, self.courier.retry.longest());
        match result {
            Ok(_) => pacer.speed_up(),
            Err(error) => {
                if error.status() == Some(StatusCode::TOO_MANY_REQUESTS) {
                    pacer.slow_down(began);
                }
                if let Some(wait) = error.retry_after() {
                    // A longer wait ends the run.
                    pacer.pause(wait.min(longest));
                }
            }
        }
    }

    async fn back_off(&self, delay: Duration, sent: bool) {
        self.packet.set_on_the_wire(sent);
        self.courier.pacer.pause(delay);
    }
}

impl Courier {
    /// Nothing more is sent; the first reason stands.
    pub fn stop(&self, reason: Stop) {
        self.progress.stop(reason);
        self.stop.cancel();
    }

    /// Brings the messages of a packet to their outcomes, and counts them.
    pub async fn deliver(&self, packet: &Packet) -> Delivery {
        let mut delivery = Delivery {
            outcomes: vec![None; packet.len()],
            invalid: invalid(packet),
            ..Delivery::default()
        };
        for (place, message) in packet.request.messages.iter().enumerate() {
            let reason = match delivery.invalid.get(&place) {
                Some(invalid) => invalid.to_string(),
                None if self.client.allows(&message.user) => continue,
                None => "recipient not allowed".to_owned(),
            };
            let outcome = Outcome::new(OutcomeKind::NotSent).with_reason(reason);
            delivery.outcomes[place] = Some(outcome);
        }
        let places: Vec<_> =
            (0..packet.len()).filter(|place| delivery.outcomes[*place].is_none()).collect();
        if places.len() == packet.len() {
            self.send(packet, &packet.request, &places, &mut delivery).await;
        } else if !places.is_empty() {
            let request = packet.request_of(&places);
            self.send(packet, &request, &places, &mut delivery).await;
        }
        packet.settle(delivery.outcomes.iter().flatten().map(|outcome| outcome.kind));
        packet.set_on_the_wire(false);
        delivery
    }

    /// Sends a request whose messages have these places in the packet.
    async fn send(
        &self,
        packet: &Packet,
        request: &BatchRequest,
        places: &[usize],
        delivery: &mut Delivery,
    ) {
        let messages = places.len();
        let batch = Paced { courier: self, packet, request };
        let sent = retry::send(&self.retry, &batch, messages).await;
        delivery.attempts = sent.attempts;
        let outcome = match sent.result {
            Some(Ok(response)) => {
                self.sizes.was_taken(messages);
                let report = response.report_on(request);
                delivery.disagreements = report.disagreements().to_vec();
                delivery.batch_id.clone_from(&response.batch_id);
                let mut settled = false;
                for (outcome, place) in report.into_outcomes().into_iter().zip(places) {
                    settled |= outcome.kind != OutcomeKind::Unknown;
                    delivery.outcomes[*place] =
                        Some(outcome.unknown_if_sent_earlier(sent.was_sent_before));
                }
                if settled {
                    self.unknown_in_a_row.store(0, Ordering::Relaxed);
                } else {
                    self.one_more_unknown(None);
                }
                return;
            }
            Some(Err(error)) => self.outcome_after(error, messages),
            None => Some(Outcome::new(OutcomeKind::NotSent).with_reason("the run stopped")),
        };
        delivery.all(places, outcome.as_ref());
    }

    /// What an error makes of the messages of a batch, and of the run; `None` if they are to be
    /// sent in two halves.
    fn outcome_after(&self, error: Error, messages: usize) -> Option<Outcome> {
        let error = Arc::new(error);
        let outcome = Outcome::from(&*error);
        let stop_with = |stop: fn(Arc<Error>) -> Stop| self.stop(stop(Arc::clone(&error)));
        if outcome.kind == OutcomeKind::Unknown {
            let wait = error.retry_after();
            if is_about_the_account(error.code()) {
                stop_with(Stop::Refused);
            } else if wait.is_some_and(|wait| wait > self.retry.longest()) {
                stop_with(Stop::GaveUp);
            }
            self.one_more_unknown(Some(&error));
            return Some(outcome);
        }
        let Error::Refused(_) = &*error else {
            stop_with(Stop::GaveUp);
            return Some(outcome);
        };
        self.unknown_in_a_row.store(0, Ordering::Relaxed);
        if error.retry_can_help() {
            stop_with(Stop::GaveUp);
            return Some(outcome);
        }
        match Refusal::of(&error) {
            Refusal::TooManyBytes | Refusal::TooManyMessages if messages > 1 => {
                self.sizes.too_large(messages);
                return None;
            }
            Refusal::TooManyMessages if !self.sizes.anything_was_taken() => {
                stop_with(Stop::Refused);
            }
            Refusal::TooManyBytes | Refusal::TooManyMessages => self.sizes.was_one_message(),
            Refusal::OfTheBatch => {}
            Refusal::OfEverything => stop_with(Stop::Refused),
        }
        Some(outcome)
    }

    /// One more batch of whose messages nothing is known.
    fn one_more_unknown(&self, error: Option<&Arc<Error>>) {
        let batches = self.unknown_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if self.stop_after_unknown.is_some_and(|most| batches >= most) {
            let error = error.cloned();
            self.stop(Stop::Unanswered { batches, error });
        }
    }
}

/// What is wrong with the messages of a packet, by their places in it.
fn invalid(packet: &Packet) -> HashMap<usize, Invalid> {
    let mut problems: HashMap<_, Vec<_>> = HashMap::new();
    for mut problem in validate::problems(&packet.request) {
        let Some(place) = problem.message() else {
            continue;
        };
        let (_, path) = problem.path.split_once(']').unwrap_or_default();
        problem.path = path.trim_start_matches('.').into();
        if let Rule::Duplicate { first } = &mut problem.rule {
            *first = usize::try_from(packet.positions[*first]).unwrap_or(usize::MAX);
        }
        problems.entry(place).or_default().push(problem);
    }
    let invalid = problems.into_iter();
    invalid.map(|(place, problems)| (place, Invalid::new(Subject::Message, problems))).collect()
}
