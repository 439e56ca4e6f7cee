//! A run: reads messages, cuts chunks, keeps several in flight, and reports their outcomes.

use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::{Instrument, Span};

use super::BoxError;
use super::journal::Journal;
use super::outcome::{BadItem, BatchOutcome, MessageOutcome, Stop};
use super::progress::{Counts, Progress, Summary};
use super::sender::{Sender, Sent};
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::{HintKind, MessageContent, SharedContent, hints};
use crate::types::{MAX_MESSAGES_PER_BATCH, Message};

/// Bad items that are kept until they are reported.
const BAD_ITEMS: usize = 1000;
/// Items that are read before other tasks get a turn, in case `skip` leaves out most of them.
const ITEMS_PER_POLL: usize = 2 * MAX_MESSAGES_PER_BATCH;

/// A run of messages through a [`Client`](crate::Client): a stream of outcomes, chunk by chunk. Made
/// by [`Bulk::send`](super::Bulk::send).
///
/// Call [`next`](Self::next) until it returns `None`; then every message that was read has its
/// outcome. The run reads input and starts chunks only while you poll it. Chunks in flight finish
/// either way, and their outcomes wait for you.
///
/// # Dropping it
/// A dropped run reads nothing more. Chunks in flight finish and are journalled, unless the runtime
/// shuts down; [`Progress`] counts their outcomes, and nobody sees them.
///
/// # Panics
/// A panic of the input, of `skip` or of the journal propagates to the caller of `next` and ends the
/// input or the run. Poll again to get the outcomes of the other chunks in flight. If the journal
/// panics, the messages of its chunk count as unknown and are not reported.
#[must_use = "nothing is read or sent until it is polled with `next` or `finish`"]
pub struct Run<'a, J = ()> {
    pub(super) sender: Sender<J>,
    pub(super) settings: Settings<'a>,
    pub(super) progress: Progress,
    pub(super) input: Option<Input<'a>>,
    /// The position of the next item.
    pub(super) position: u64,
    /// Messages of the next chunk with their positions, and the time until they leave as they are.
    pub(super) filling: (Vec<u64>, Vec<Message>),
    pub(super) fill_until: Option<Pin<Box<Sleep>>>,
    pub(super) bad_items: Vec<BadItem>,
    pub(super) chunks: JoinSet<BatchOutcome>,
    /// An outcome to return, kept here because the input may panic before it is returned.
    pub(super) finished: Option<BatchOutcome>,
    pub(super) hints: SharedHints,
    pub(super) cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    pub(super) span: Span,
    pub(super) state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// The input or `skip` is being called. If that is still the state at the next poll, it panicked.
    Reading,
    Ended,
}

/// The settings of a run that its sender does not need.
pub(super) struct Settings<'a> {
    pub run_id: String,
    pub concurrency: usize,
    pub max_wait: Duration,
    pub stop_at_bad_item: bool,
    pub stop_after_unknown: Option<u32>,
    pub skip: Option<Box<Skip<'a>>>,
}

pub(super) type Skip<'a> = dyn FnMut(u64, &Message) -> bool + Send + 'a;

/// The source of messages.
pub(super) enum Input<'a> {
    Iterator(Box<dyn Iterator<Item = Result<Message, BoxError>> + Send + 'a>),
    Stream(Pin<Box<dyn Stream<Item = Result<Message, BoxError>> + Send + 'a>>),
}

/// The hints of the last shared content: most messages of a run share it.
#[derive(Default)]
pub(super) struct SharedHints {
    content: Option<SharedContent>,
    hints: Vec<HintKind>,
}

impl<J: Journal> Run<'_, J> {
    /// Waits for the outcomes of the next chunk that has finished, in any order, and meanwhile reads
    /// input and starts chunks. Returns `None` once every message that was read has its outcome. If
    /// you drop the call before it is ready, nothing is lost.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers, and with the input, `skip` or the journal.
    pub async fn next(&mut self) -> Option<BatchOutcome> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Runs to the end and returns only the summary.
    ///
    /// # Panics
    /// As [`next`](Self::next).
    pub async fn finish(mut self) -> Summary {
        while self.next().await.is_some() {}
        self.summary()
    }

    /// Reads the next chunk if the input has enough messages, or has ended.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.position + ITEMS_PER_POLL as u64;
        while self.filling.1.len() < self.sender.group.max_messages {
            if self.is_stopped() {
                return Poll::Pending;
            }
            if self.position >= until {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some(input) = &mut self.input else {
                return Poll::Ready(());
            };
            if self.bad_items.len() >= BAD_ITEMS {
                // They are reported first.
                return Poll::Pending;
            }
            self.state = State::Reading;
            let item = match input {
                Input::Iterator(iterator) => Poll::Ready(iterator.next()),
                Input::Stream(stream) => stream.as_mut().poll_next(cx),
            };
            match item {
                Poll::Ready(Some(item)) => {
                    self.read(item);
                    self.position += 1;
                }
                Poll::Ready(None) => {
                    self.state = State::Running;
                    self.input = None;
                }
                Poll::Pending => {
                    self.state = State::Running;
                    if self.filling.1.is_empty() {
                        return Poll::Pending;
                    }
                    let max_wait = self.settings.max_wait;
                    let sleep = || Box::pin(tokio::time::sleep(max_wait));
                    return self.fill_until.get_or_insert_with(sleep).as_mut().poll(cx);
                }
            }
            self.state = State::Running;
        }
        Poll::Ready(())
    }

    fn read(&mut self, item: Result<Message, BoxError>) {
        let position = self.position;
        let mut message = match item {
            Ok(message) => message,
            Err(error) => {
                self.bad_items.push(BadItem { position, error });
                self.progress.count(|counts| counts.bad_items += 1);
                if self.settings.stop_at_bad_item {
                    self.progress.stop(Stop::BadItem { position });
                    self.input = None;
                }
                return;
            }
        };
        let id = || format!("{}-{position}", self.settings.run_id).into();
        message.client_message_id.get_or_insert_with(id);
        if self.settings.skip.as_mut().is_some_and(|skip| skip(position, &message)) {
            self.progress.count(|counts| counts.skipped += 1);
            return;
        }
        self.progress.count(|counts| counts.taken += 1);
        for hint in self.hints.of(&message) {
            self.progress.hint(position, hint);
        }
        self.filling.0.push(position);
        self.filling.1.push(message);
    }

    /// Starts chunks until enough are in flight.
    fn start_chunks(&mut self, cx: &mut Context<'_>) {
        while self.chunks.len() < self.settings.concurrency && !self.is_stopped() {
            if self.fill(cx).is_pending() || self.filling.1.is_empty() {
                return;
            }
            self.fill_until = None;
            let (positions, messages) = mem::take(&mut self.filling);
            let chunk = InFlight {
                sender: self.sender.clone(),
                progress: self.progress.clone(),
                stop_after_unknown: self.settings.stop_after_unknown,
                open: positions.len() as u64,
            };
            self.chunks.spawn(chunk.send(positions, messages).instrument(self.span.clone()));
        }
    }

    /// Bad items, and after a stop the messages that were read and will not be sent.
    fn report_waiting(&mut self, stopped: bool) -> BatchOutcome {
        let bad_items = mem::take(&mut self.bad_items);
        if !stopped {
            return BatchOutcome { bad_items, ..BatchOutcome::default() };
        }
        let (positions, messages) = mem::take(&mut self.filling);
        let messages = positions.into_iter().zip(messages).map(|(position, message)| {
            let outcome = Outcome::new(OutcomeKind::NotSent).with_reason("the run stopped");
            MessageOutcome { position, message, outcome, duplicate_of: None }
        });
        let messages: Vec<_> = messages.collect();
        self.progress.settle(&messages, 0);
        BatchOutcome { messages, bad_items, ..BatchOutcome::default() }
    }

    /// Whether nothing is left to read or to report but chunks in flight.
    fn is_drained(&self) -> bool {
        self.input.is_none() && self.filling.1.is_empty()
    }
}

impl<J> Run<'_, J> {
    /// Reads nothing more. Chunks in flight finish, and messages that wait are not sent.
    /// [`next`](Self::next) still returns the outcomes of both.
    pub fn cancel(&self) {
        self.sender.group.cancel.cancel();
    }

    /// The progress of the run, for another task to read.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The progress of the run at this moment, or its result.
    pub fn summary(&self) -> Summary {
        self.progress.summary()
    }

    fn is_stopped(&self) -> bool {
        self.sender.group.cancel.is_cancelled()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it panicked")]
struct Panicked;

/// A chunk that is being sent. If its task ends early, its messages count as unknown and the run stops.
struct InFlight<J> {
    sender: Sender<J>,
    progress: Progress,
    stop_after_unknown: Option<u32>,
    open: u64,
}

impl<J: Journal> InFlight<J> {
    async fn send(mut self, positions: Vec<u64>, messages: Vec<Message>) -> BatchOutcome {
        let Sent { mut messages, requests, disagreements, error, mut stop } =
            self.sender.send(messages).await;
        let chunks = self.progress.settle(&messages, requests);
        self.open = 0;
        if self.stop_after_unknown.is_some_and(|most| chunks >= most) {
            stop.get_or_insert(Stop::Unanswered { chunks, error });
        }
        if let Some(stop) = stop {
            self.progress.stop(stop);
            self.sender.group.cancel.cancel();
        }
        let position = |place: u64| positions[usize::try_from(place).unwrap_or_default()];
        for message in &mut messages {
            message.position = position(message.position);
            message.duplicate_of = message.duplicate_of.map(position);
        }
        BatchOutcome { messages, bad_items: Vec::new(), requests, disagreements }
    }
}

impl<J> Drop for InFlight<J> {
    fn drop(&mut self) {
        if self.open > 0 {
            self.progress.end_without_outcome(OutcomeKind::Unknown, self.open);
            self.progress.stop(if std::thread::panicking() {
                Stop::Journal(Arc::new(Panicked))
            } else {
                Stop::Cancelled
            });
            self.sender.group.cancel.cancel();
        }
    }
}

impl SharedHints {
    fn of(&mut self, message: &Message) -> Vec<HintKind> {
        let MessageContent::Shared(content) = &message.content else {
            return message.hints();
        };
        if self.content.as_ref().is_none_or(|last| !last.is_same(content)) {
            self.content = Some(content.clone());
            self.hints = hints::of_content(content);
        }
        hints::of_message(message, &self.hints)
    }
}

impl<J: Journal> Stream for Run<'_, J> {
    type Item = BatchOutcome;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<BatchOutcome>> {
        let run = self.get_mut();
        let span = run.span.clone();
        let _entered = span.enter();
        if run.state == State::Reading {
            let position = run.position;
            run.progress.stop(Stop::InputPanicked { position });
            run.state = State::Running;
            run.input = None;
        }
        if run.state == State::Ended {
            return Poll::Ready(None);
        }
        loop {
            if run.finished.is_none() {
                match run.chunks.poll_join_next(cx) {
                    Poll::Ready(Some(Ok(outcome))) => run.finished = Some(outcome),
                    Poll::Ready(Some(Err(error))) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime shuts down. The messages count as unknown.
                        Err(_) => continue,
                    },
                    Poll::Ready(None) | Poll::Pending => {}
                }
            }
            let in_flight = run.chunks.len();
            // Before the outcome is returned, so that no chunk waits for the reader.
            run.start_chunks(cx);
            if let Some(mut outcome) = run.finished.take() {
                outcome.bad_items = mem::take(&mut run.bad_items);
                return Poll::Ready(Some(outcome));
            }
            // The future wakes this task when the run is cancelled from elsewhere.
            let stopped = run.is_stopped() || run.cancelled.as_mut().poll(cx).is_ready();
            if stopped && !run.is_drained() {
                run.progress.stop(Stop::Cancelled);
            }
            if stopped {
                run.input = None;
            }
            let is_unsent = stopped && !run.filling.1.is_empty();
            if is_unsent || run.bad_items.len() >= BAD_ITEMS {
                return Poll::Ready(Some(run.report_waiting(stopped)));
            }
            if run.chunks.len() > in_flight {
                // A chunk that was started has to be polled for.
                continue;
            }
            if !run.chunks.is_empty() {
                return Poll::Pending;
            }
            if !run.bad_items.is_empty() {
                return Poll::Ready(Some(run.report_waiting(stopped)));
            }
            if !run.is_drained() {
                return Poll::Pending;
            }
            run.state = State::Ended;
            run.progress.close();
            let Counts { accepted, rejected, not_sent, unknown, requests, .. } =
                run.progress.summary().counts;
            tracing::info!(accepted, rejected, not_sent, unknown, requests, "the run ended");
            return Poll::Ready(None);
        }
    }
}

impl<J> Drop for Run<'_, J> {
    fn drop(&mut self) {
        if self.state != State::Ended {
            if self.state == State::Reading {
                self.progress.stop(Stop::InputPanicked { position: self.position });
            } else if self.input.is_some() || !self.filling.1.is_empty() {
                self.progress.stop(Stop::Cancelled);
            }
            self.progress.end_without_outcome(OutcomeKind::NotSent, self.filling.1.len() as u64);
            self.progress.close();
            self.cancel();
        }
        // A request that is cut off may have been sent; one that ends is known.
        self.chunks.detach_all();
    }
}

impl<J> fmt::Debug for Run<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("run_id", &self.settings.run_id)
            .field("summary", &self.summary())
            .finish_non_exhaustive()
    }
}
