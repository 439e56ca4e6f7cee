//! One packet's way: checked, written, sent as often as is allowed, and its answer read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    RetryPolicy, Rule, Verdict, batch, wire,
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
    /// As the caller wants it.
    asked: Size,
    state: Mutex<Learned>,
}

/// Of a batch.
#[derive(Clone, Copy)]
struct Size {
    messages: usize,
    bytes: usize,
}

struct Learned {
    /// As the platform wants it.
    most: Size,
    /// The largest that it did not mind.
    taken: Size,
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
    /// Of a packet that is given up here: its messages are counted.
    pub fn given_up(packet: &Packet) -> Self {
        let fates = vec![Some(packet.given_up()); packet.len()];
        packet.settle(fates.iter().flatten());
        Self { fates, ..Self::default() }
    }

    /// One fate for all messages at these places.
    fn all(&mut self, places: &[usize], fate: Option<&Fate>) {
        for place in places {
            self.fates[*place] = fate.cloned();
        }
    }
}

impl Sizes {
    pub fn new(messages: usize, bytes: usize) -> Self {
        let asked = Size { messages, bytes };
        Self {
            asked,
            state: Mutex::new(Learned {
                most: asked,
                taken: Size { messages: 0, bytes: 0 },
                of_message: wire::TYPICAL_MESSAGE,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, Learned> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages to put into the next batch.
    pub fn messages(&self) -> usize {
        let state = self.state();
        let fitting = state.most.bytes / state.of_message;
        state.most.messages.min(fitting).max(1)
    }

    /// Bytes that a message probably takes.
    fn of_message(&self) -> usize {
        self.state().of_message
    }

    /// Whether a body is small enough to be tried, or else how small it has to be. One message
    /// alone is tried, unless it is too large for the caller.
    fn check(&self, size: Size) -> Result<(), usize> {
        let mut state = self.state();
        if size.messages == 1 {
            let max = self.asked.bytes;
            return if size.bytes <= max { Ok(()) } else { Err(max) };
        }
        // Rounded up, so that the next batch is rather too small.
        state.of_message = size.bytes.div_ceil(size.messages);
        let max = state.most.bytes;
        if size.bytes <= max { Ok(()) } else { Err(max) }
    }

    /// The platform took a batch.
    fn was_taken(&self, size: Size) {
        let mut state = self.state();
        let taken = &mut state.taken;
        taken.bytes = taken.bytes.max(size.bytes);
        taken.messages = taken.messages.max(size.messages);
    }

    /// Whether the platform ever took a batch.
    fn anything_was_taken(&self) -> bool {
        self.state().taken.messages > 0
    }

    /// The platform said that a body has too many bytes. What it took before it takes again.
    fn too_many_bytes(&self, size: Size) {
        let mut state = self.state();
        let half = state.taken.bytes.max(size.bytes / 2);
        state.most.bytes = state.most.bytes.min(half);
    }

    /// The platform said that a batch has too many messages. What it took before it takes again.
    fn too_many_messages(&self, size: Size) {
        let mut state = self.state();
        let half = state.taken.messages.max(size.messages.div_ceil(2));
        state.most.messages = state.most.messages.min(half);
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
                    code if is_about_the_count(code) => Self::TooManyMessages,
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

fn is_about_the_count(code: Option<ErrorCode>) -> bool {
    matches!(code, Some(ErrorCode::TooManyMessages | ErrorCode::BulkLimitReached))
}

impl Courier {
    /// Nothing more is sent; the first reason stands.
    pub fn stop(&self, reason: Stop) {
        self.progress.stop(reason);
        self.stop.cancel();
    }

    /// Brings the messages of a packet to their fates, and counts them.
    pub async fn deliver(&self, packet: &Packet) -> Delivery {
        let mut delivery = Delivery { fates: vec![None; packet.len()], ..Delivery::default() };
        let invalid = invalid(packet);
        if invalid.is_empty() {
            let all: Vec<_> = (0..packet.len()).collect();
            self.send(packet, &packet.request, &all, &mut delivery).await;
        } else {
            let valid: Vec<_> =
                (0..packet.len()).filter(|index| !invalid.contains_key(index)).collect();
            if !valid.is_empty() {
                let request = packet.request_of(&valid);
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
        let size = Size { messages: places.len(), bytes: body.len() };
        if let Err(max) = self.sizes.check(size) {
            // Several messages are sent in two halves.
            let fate = (size.messages == 1).then(|| too_large(size.bytes, max));
            return delivery.all(places, fate.as_ref());
        }
        let (result, sent_before) = self.attempts(packet, body, places.len(), delivery).await;
        let fate = match result {
            Some(Ok(response)) => {
                self.sizes.was_taken(size);
                let report = response.report_on(&request.messages);
                let of_all = response.verdict_on_all(places.len());
                let mut settled = false;
                for (outcome, place) in report.outcomes().iter().zip(places) {
                    let verdict = of_all.unwrap_or(outcome.verdict);
                    settled |= verdict != Verdict::Unclear;
                    let fate = Fate::of(verdict, outcome.result, sent_before);
                    delivery.fates[*place] = Some(fate);
                }
                delivery.disagreements = report.disagreements().to_vec();
                delivery.batch_id.clone_from(&response.batch_id);
                if settled {
                    self.unknown_in_a_row.store(0, Ordering::Relaxed);
                } else {
                    self.one_more_unknown(None);
                }
                return;
            }
            Some(Err(error)) => self.fate_after(error, size),
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
            let (status, result) = self.client.attempt(body.clone()).await;
            self.note(&result, went_out);
            match attempts.after(status, result) {
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
    fn fate_after(&self, error: Error, size: Size) -> Option<Fate> {
        let error = Arc::new(error);
        let stop_with = |stop: fn(Arc<Error>) -> Stop| self.stop(stop(Arc::clone(&error)));
        match &*error {
            Error::MayHaveBeenSent(_) | Error::AcceptedUnreadable(_) => {
                let wait = error.retry_after();
                if is_about_the_account(error.code()) {
                    stop_with(Stop::Refused);
                } else if wait.is_some_and(|wait| wait > self.retry.longest()) {
                    stop_with(Stop::GaveUp);
                }
                self.one_more_unknown(Some(&error));
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
            Refusal::TooManyBytes if size.messages > 1 => {
                self.sizes.too_many_bytes(size);
                return None;
            }
            Refusal::TooManyMessages if size.messages > 1 => {
                self.sizes.too_many_messages(size);
                return None;
            }
            Refusal::TooManyMessages if !self.sizes.anything_was_taken() => {
                stop_with(Stop::Refused);
            }
            Refusal::TooManyBytes | Refusal::TooManyMessages => self.sizes.was_one_message(),
            Refusal::OfTheBatch => {}
            Refusal::OfEverything => stop_with(Stop::Refused),
        }
        Some(Fate::Refused(error))
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
    invalid.map(|(place, problems)| (place, Invalid::new(problems))).collect()
}
