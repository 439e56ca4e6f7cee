//! One packet's way: checked, written, sent as often as is allowed, and its answer read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reqwest::StatusCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fate::{Fate, NotSentReason, Stop, UnknownReason};
use super::pace::Pacer;
use super::packet::Packet;
use super::progress::Progress;
use crate::retry::{Attempts, Next};
use crate::{
    BatchRequest, BatchResponse, Client, Disagreement, Error, ErrorCode, Invalid, OpaqueId,
    RetryPolicy, Rule, batch, wire,
};

/// What all packets of a run share.
pub(super) struct Courier {
    pub client: Client,
    pub retry: RetryPolicy,
    pub pacer: Pacer,
    pub progress: Progress,
    /// Cancelled when nothing more is to be sent.
    pub stop: CancellationToken,
    pub stop_after_unknown: Option<u32>,
    pub sizes: Sizes,
    pub unknown_in_a_row: AtomicU32,
}

/// How large a batch may be, as far as is known.
pub(super) struct Sizes {
    /// Messages of a batch.
    messages: AtomicUsize,
    bytes: Mutex<Bytesize>,
}

struct Bytesize {
    /// Bytes of a body at most, as the caller wants it and as the platform does.
    asked: usize,
    max: usize,
    /// The largest body that was not too large.
    taken: usize,
    /// Bytes of a message in the body before.
    of_message: usize,
}

/// What became of a packet.
#[derive(Default)]
pub(super) struct Delivery {
    /// A fate for each message, but for those that are to be sent in two halves.
    pub fates: Vec<Option<Fate>>,
    pub batch_id: Option<OpaqueId>,
    pub attempts: u32,
    pub disagreements: Vec<Disagreement>,
}

impl Delivery {
    /// One fate for all messages at these places.
    fn all(&mut self, places: &[usize], fate: Option<&Fate>) {
        for place in places {
            self.fates[*place] = fate.cloned();
        }
    }
}

impl Sizes {
    pub fn new(messages: usize, bytes: usize) -> Self {
        Self {
            messages: AtomicUsize::new(messages),
            bytes: Mutex::new(Bytesize {
                asked: bytes,
                max: bytes,
                taken: 0,
                of_message: 0,
            }),
        }
    }

    fn bytes(&self) -> std::sync::MutexGuard<'_, Bytesize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages to put into the next batch.
    pub fn messages(&self) -> usize {
        let messages = self.messages.load(Ordering::Relaxed);
        let bytes = self.bytes();
        let fitting = bytes.max.checked_div(bytes.of_message);
        fitting
            .map_or(messages, |fitting| messages.min(fitting))
            .max(1)
    }

    /// Bytes that a message probably takes.
    fn of_message(&self) -> usize {
        match self.bytes().of_message {
            0 => wire::TYPICAL_MESSAGE,
            of_message => of_message,
        }
    }

    /// Whether a body is small enough to be tried, or else how small it has to be. One message
    /// alone is tried, unless it is too large for the caller.
    fn check(&self, body: usize, messages: usize) -> Result<(), usize> {
        let mut bytes = self.bytes();
        // Rounded up, so that the next batch is rather too small.
        bytes.of_message = body.div_ceil(messages);
        let max = if messages == 1 {
            bytes.asked
        } else {
            bytes.max
        };
        if body <= max { Ok(()) } else { Err(max) }
    }

    /// The platform took a body, or minded something else.
    fn was_taken(&self, body: usize) {
        let mut bytes = self.bytes();
        bytes.taken = bytes.taken.max(body);
    }

    /// The platform said that a body has too many bytes.
    fn too_many_bytes(&self, body: usize) {
        let mut bytes = self.bytes();
        bytes.max = bytes.max.min(bytes.taken.max(body / 2));
    }

    /// The platform said that a batch has too many messages.
    fn too_many_messages(&self, messages: usize) {
        self.messages
            .fetch_min(messages.div_ceil(2), Ordering::Relaxed);
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
    fn of(error: &Error) -> Self {
        let (status, code) = (error.status(), error.code());
        if is_about_the_account(code) {
            return Self::OfEverything;
        }
        match status {
            Some(StatusCode::PAYLOAD_TOO_LARGE) => Self::TooManyBytes,
            _ if is_about_the_count(code) => Self::TooManyMessages,
            Some(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => Self::OfTheBatch,
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

fn is_about_the_count(code: Option<ErrorCode>) -> bool {
    matches!(
        code,
        Some(ErrorCode::TooManyMessages | ErrorCode::BulkLimitReached)
    )
}

impl Courier {
    /// Nothing more is sent; the first reason stands.
    pub fn stop(&self, reason: Stop) {
        self.progress.stop(reason);
        self.stop.cancel();
    }

    /// Brings the messages of a packet to their fates, and counts them.
    pub async fn deliver(&self, packet: &Packet) -> Delivery {
        let mut delivery = Delivery {
            fates: vec![None; packet.len()],
            ..Delivery::default()
        };
        let invalid = invalid(packet);
        if invalid.is_empty() {
            let all: Vec<_> = (0..packet.len()).collect();
            self.send(packet, &packet.request, &all, &mut delivery)
                .await;
        } else {
            let valid: Vec<_> = (0..packet.len())
                .filter(|index| !invalid.contains_key(index))
                .collect();
            if !valid.is_empty() {
                let mut request = packet.request.clone();
                let messages = &packet.request.messages;
                request.messages = valid.iter().map(|index| messages[*index].clone()).collect();
                self.send(packet, &request, &valid, &mut delivery).await;
            }
            for (index, invalid) in invalid {
                let reason = NotSentReason::Invalid(invalid);
                delivery.fates[index] = Some(Fate::NotSent(reason));
            }
        }
        packet.settle(delivery.fates.iter().flatten());
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
        let Ok(body) = wire::body(request, self.sizes.of_message()) else {
            let error = Arc::new(crate::error::not_made());
            let fate = Fate::NotSent(NotSentReason::NoConnection(error));
            return delivery.all(places, Some(&fate));
        };
        let size = body.len();
        if let Err(max) = self.sizes.check(size, places.len()) {
            // Several messages are sent in two halves.
            let fate = (places.len() == 1).then(|| too_large(size, max));
            return delivery.all(places, fate.as_ref());
        }
        let (result, sent_before) = self.attempts(packet, body, places.len(), delivery).await;
        let fate = match result {
            Some(Ok(response)) => {
                self.unknown_in_a_row.store(0, Ordering::Relaxed);
                self.sizes.was_taken(size);
                let report = response.report_on(&request.messages);
                for (outcome, place) in report.outcomes().iter().zip(places) {
                    let fate = Fate::of(outcome.verdict, outcome.result, sent_before);
                    delivery.fates[*place] = Some(fate);
                }
                delivery.disagreements = report.disagreements().to_vec();
                delivery.batch_id.clone_from(&response.batch_id);
                return;
            }
            Some(Err(error)) => self.fate_after(error, places.len(), size),
            None => Some(Fate::NotSent(NotSentReason::Stopped)),
        };
        delivery.all(places, fate.as_ref());
    }

    /// The result of the last try, or `None` where the run was stopped before one, and whether a
    /// try before it may have been sent.
    async fn attempts(
        &self,
        packet: &Packet,
        body: Bytes,
        messages: usize,
        delivery: &mut Delivery,
    ) -> (Option<Result<BatchResponse, Error>>, bool) {
        let mut attempts = Attempts::new(&self.retry, &self.client.budget, messages).patient();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return (attempts.give_up().map(Err), false),
                () = self.pacer.turn(messages) => {}
            }
            packet.set_on_the_wire(true);
            self.progress.request();
            delivery.attempts += 1;
            attempts.start();
            let went_out = Instant::now();
            let result = self.client.attempt(body.clone()).await;
            self.note(&result, went_out);
            match attempts.after(result) {
                Next::Done(result) => return (Some(result), attempts.may_have_been_sent_before()),
                Next::SendAgain { after } => {
                    packet.set_on_the_wire(attempts.may_have_been_sent_before());
                    self.pacer.pause(after);
                }
            }
        }
    }

    /// Paces the run by what a try came to.
    fn note(&self, result: &Result<BatchResponse, Error>, went_out: Instant) {
        match result {
            Ok(_) => self.pacer.speed_up(),
            Err(error) => {
                if error.status() == Some(StatusCode::TOO_MANY_REQUESTS) {
                    self.pacer.slow_down(went_out);
                }
                if let Some(wait) = error.retry_after() {
                    // A longer wait ends the run.
                    self.pacer.pause(wait.min(self.retry.longest()));
                }
            }
        }
    }

    /// What an error makes of the messages of a batch, and of the run; `None` where they are to be
    /// sent in two halves.
    fn fate_after(&self, error: Error, messages: usize, size: usize) -> Option<Fate> {
        let error = Arc::new(error);
        let stop_with = |stop: fn(Arc<Error>) -> Stop| self.stop(stop(Arc::clone(&error)));
        match &*error {
            Error::MayHaveBeenSent(_) | Error::AcceptedUnreadable(_) => {
                let batches = self.unknown_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                if is_about_the_account(error.code()) {
                    stop_with(Stop::Refused);
                } else if error
                    .retry_after()
                    .is_some_and(|wait| wait > self.retry.longest())
                {
                    stop_with(Stop::GaveUp);
                } else if self.stop_after_unknown.is_some_and(|most| batches >= most) {
                    let error = Arc::clone(&error);
                    self.stop(Stop::Unanswered { batches, error });
                }
                return Some(Fate::Unknown(UnknownReason::Error(error)));
            }
            Error::NotSent(_) => {
                stop_with(Stop::GaveUp);
                return Some(Fate::NotSent(NotSentReason::NoConnection(error)));
            }
            Error::Invalid(_) | Error::Refused(_) => {}
        }
        self.unknown_in_a_row.store(0, Ordering::Relaxed);
        if error.status() == Some(StatusCode::TOO_MANY_REQUESTS) {
            stop_with(Stop::GaveUp);
            return Some(Fate::Refused(error));
        }
        match Refusal::of(&error) {
            Refusal::TooManyBytes if messages > 1 => {
                self.sizes.too_many_bytes(size);
                return None;
            }
            Refusal::TooManyMessages if messages > 1 => {
                self.sizes.too_many_messages(messages);
                return None;
            }
            Refusal::TooManyBytes | Refusal::OfTheBatch => {}
            Refusal::TooManyMessages | Refusal::OfEverything => stop_with(Stop::Refused),
        }
        Some(Fate::Refused(error))
    }
}

fn too_large(found: usize, max: usize) -> Fate {
    let invalid = Invalid::setting("", Rule::TooLarge { found, max });
    Fate::NotSent(NotSentReason::Invalid(invalid))
}

/// What is wrong with the messages of a packet, by their places in it.
fn invalid(packet: &Packet) -> HashMap<usize, Invalid> {
    let mut problems: HashMap<_, Vec<_>> = HashMap::new();
    for mut problem in batch::check(&packet.request) {
        let Some(place) = problem.message() else {
            continue;
        };
        problem.path = problem.path_in_message();
        if let Rule::Duplicate { first } = &mut problem.rule {
            *first = usize::try_from(packet.positions[*first]).unwrap_or(usize::MAX);
        }
        problems.entry(place).or_default().push(problem);
    }
    let invalid = problems.into_iter();
    invalid
        .map(|(place, problems)| (place, Invalid::new(problems)))
        .collect()
}
