//! A run: takes messages, cuts batches, keeps several in flight, and reports their outcomes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::BoxError;
use super::courier::{Courier, Delivery};
use super::outcome::{BadItem, BatchOutcome, MessageOutcome, Stop};
use super::packet::Packet;
use super::progress::{Progress, Summary};
use crate::types::Message;

/// Bad items that are kept until they are told.
const BAD_ITEMS: usize = 1000;

/// A run of messages through a [`Client`](crate::Client): a stream of outcomes, batch by batch. Made
/// by [`Bulk::send`](super::Bulk::send).
///
/// Call [`next`](Self::next) until it returns `None`; then every message taken from the input has its
/// outcome. The run is pull-driven: it reads input only while you poll it. Batches in flight finish
/// either way.
///
/// # Dropping it
/// A run that is dropped takes nothing more. Batches in flight finish, unless their runtime shuts
/// down; [`Progress`] counts their outcomes, and nobody sees them.
#[must_use = "nothing is taken or sent until it is asked for with `next` or `finish`"]
pub struct Run<'a> {
    pub(super) courier: Arc<Courier>,
    pub(super) id: String,
    pub(super) input: Option<Input<'a>>,
    pub(super) settings: Settings,
    /// The position of the next item.
    pub(super) position: u64,
    /// Messages that are not enough for a batch yet, and since when.
    pub(super) filling: Packet,
    pub(super) filling_since: Option<Pin<Box<Sleep>>>,
    pub(super) bad_items: Vec<BadItem>,
    /// Halves of batches that were too large.
    pub(super) halves: VecDeque<Packet>,
    pub(super) tasks: JoinSet<Delivery>,
    pub(super) packets: HashMap<Id, Arc<Packet>>,
    pub(super) stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    pub(super) ended: bool,
}

/// What a run does, beside what its courier does.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub concurrency: usize,
    pub max_wait: Duration,
    pub stop_at_bad_item: bool,
}

/// Where messages come from.
pub(super) enum Input<'a> {
    Iterator(Box<dyn Iterator<Item = Result<Message, BoxError>> + Send + 'a>),
    Stream(Pin<Box<dyn Stream<Item = Result<Message, BoxError>> + Send + 'a>>),
}

impl Input<'_> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, BoxError>>> {
        match self {
            Self::Iterator(iterator) => Poll::Ready(iterator.next()),
            Self::Stream(stream) => stream.as_mut().poll_next(cx),
        }
    }
}

impl Run<'_> {
    /// The outcome of the next batch; `None` once every message that was taken has its outcome.
    ///
    /// Batches come as they are settled, not in the order of the input. A call that is dropped
    /// before it is ready loses nothing.
    ///
    /// # Panics
    /// Outside a tokio runtime with its timers on.
    pub async fn next(&mut self) -> Option<BatchOutcome> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Runs to the end and returns the sums alone.
    ///
    /// # Panics
    /// As [`next`](Self::next).
    pub async fn finish(mut self) -> Summary {
        while self.next().await.is_some() {}
        self.summary()
    }

    /// Takes nothing more. Batches in flight finish, and messages that wait are not sent.
    /// [`next`](Self::next) still returns the outcomes of both.
    pub fn cancel(&self) {
        self.courier.stop.cancel();
    }

    /// The progress of the run, for another task to read.
    pub fn progress(&self) -> Progress {
        self.courier.progress.clone()
    }

    /// How far the run is, or how it ended.
    pub fn summary(&self) -> Summary {
        self.courier.progress.summary()
    }

    fn is_stopped(&self) -> bool {
        self.courier.stop.is_cancelled()
    }

    fn packet(&self) -> Packet {
        Packet::new(&self.id, &self.courier.progress)
    }

    /// Starts as many batches as may be on their way at a time.
    fn start_batches(&mut self, cx: &mut Context<'_>) {
        while self.tasks.len() < self.settings.concurrency && !self.is_stopped() {
            let packet = match self.halves.pop_front() {
                Some(half) => half,
                None => match self.take(cx) {
                    Poll::Ready(Some(packet)) => packet,
                    Poll::Ready(None) | Poll::Pending => return,
                },
            };
            let packet = Arc::new(packet);
            let task = {
                let (courier, packet) = (Arc::clone(&self.courier), Arc::clone(&packet));
                async move { courier.deliver(&packet).await }
            };
            let id = self.tasks.spawn(task).id();
            self.packets.insert(id, packet);
        }
    }

    /// Takes a batch from the input; `None` at its end.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Packet>> {
        let before = self.filling.len();
        let taken = self.fill(cx);
        self.courier.progress.take(self.filling.len() - before);
        ready!(taken);
        Poll::Ready(self.filled())
    }

    /// What was taken and is not on its way yet, whether it is enough for a batch or not.
    fn filled(&mut self) -> Option<Packet> {
        self.filling_since = None;
        let empty = self.packet();
        let packet = std::mem::replace(&mut self.filling, empty);
        (packet.len() > 0).then_some(packet)
    }

    /// Ready when what was taken is to be sent.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let enough = self.courier.sizes.messages();
        while self.filling.len() < enough {
            let Some(input) = &mut self.input else {
                return Poll::Ready(());
            };
            let item = catch_unwind(AssertUnwindSafe(|| input.poll_next(cx)));
            let Ok(item) = item else {
                let position = self.position;
                self.end_input(Stop::InputPanicked { position });
                return Poll::Ready(());
            };
            match item {
                Poll::Ready(Some(item)) => self.take_item(item),
                Poll::Ready(None) => self.close_input(),
                Poll::Pending if self.filling.len() > 0 => return self.wait_for_more(cx),
                Poll::Pending => return Poll::Pending,
            }
            if self.bad_items.len() >= BAD_ITEMS {
                // They are told first, whatever waits.
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn take_item(&mut self, item: Result<Message, BoxError>) {
        let position = self.position;
        self.position += 1;
        match item {
            Ok(mut message) => {
                let id = || format!("{}-{position}", self.id).into();
                message.client_message_id.get_or_insert_with(id);
                self.filling.push(position, message);
            }
            Err(error) => {
                self.courier.progress.bad_item();
                self.bad_items.push(BadItem { position, error });
                if self.settings.stop_at_bad_item {
                    self.end_input(Stop::BadItem { position });
                }
            }
        }
    }

    /// Takes nothing more, and sends what was taken.
    fn end_input(&mut self, reason: Stop) {
        self.courier.progress.stop(reason);
        self.close_input();
    }

    fn close_input(&mut self) {
        let input = self.input.take();
        if catch_unwind(AssertUnwindSafe(|| drop(input))).is_err() {
            let position = self.position;
            self.courier.progress.stop(Stop::InputPanicked { position });
        }
    }

    /// Ready when the messages that are not enough for a batch have waited long enough.
    fn wait_for_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let max_wait = self.settings.max_wait;
        let sleep =
            self.filling_since.get_or_insert_with(|| Box::pin(tokio::time::sleep(max_wait)));
        sleep.as_mut().poll(cx)
    }

    /// What a task that ended has to tell; `None` where all its messages go on in halves.
    fn settle(&mut self, ended: Result<(Id, Delivery), JoinError>) -> Option<BatchOutcome> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let packet = self.packets.remove(&id)?;
        let delivery = match ended {
            Ok((_, delivery)) => delivery,
            Err(_) => Delivery::given_up(&packet),
        };
        self.tell(packet, delivery)
    }

    /// What became of a packet; `None` where all its messages go on in halves.
    fn tell(&mut self, packet: Arc<Packet>, delivery: Delivery) -> Option<BatchOutcome> {
        let mut messages = Vec::with_capacity(delivery.outcomes.len());
        let mut open = Vec::new();
        let mut invalid = delivery.invalid;
        let all = Packet::into_messages(packet).zip(delivery.outcomes).enumerate();
        for (place, ((position, message), outcome)) in all {
            match outcome {
                Some(outcome) => {
                    let invalid = invalid.remove(&place);
                    messages.push(MessageOutcome { position, message, outcome, invalid });
                }
                None => open.push((position, message)),
            }
        }
        self.halve(open);
        if messages.is_empty() {
            return None;
        }
        Some(BatchOutcome {
            messages,
            bad_items: std::mem::take(&mut self.bad_items),
            batch_id: delivery.batch_id,
            attempts: delivery.attempts,
            disagreements: delivery.disagreements,
        })
    }

    fn halve(&mut self, open: Vec<(u64, Message)>) {
        let half = open.len().div_ceil(2);
        let (mut first, mut second) = (self.packet(), self.packet());
        for (index, (position, message)) in open.into_iter().enumerate() {
            let packet = if index < half { &mut first } else { &mut second };
            packet.push(position, message);
        }
        for half in [second, first] {
            if half.len() > 0 {
                self.halves.push_front(half);
            }
        }
    }

    /// Whether nothing is to be taken or sent, and nothing is on its way.
    fn is_over(&self) -> bool {
        self.input.is_none()
            && self.filling.len() == 0
            && self.halves.is_empty()
            && self.tasks.is_empty()
    }

    fn only_bad_items(&mut self) -> BatchOutcome {
        BatchOutcome { bad_items: std::mem::take(&mut self.bad_items), ..BatchOutcome::default() }
    }

    /// Of a run that was stopped: messages that were taken and will not be sent.
    fn unsent(&mut self) -> Option<BatchOutcome> {
        self.close_input();
        let packet = self.halves.pop_front().or_else(|| self.filled())?;
        let delivery = Delivery::given_up(&packet);
        self.tell(Arc::new(packet), delivery)
    }
}

impl Stream for Run<'_> {
    type Item = BatchOutcome;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<BatchOutcome>> {
        let run = self.get_mut();
        loop {
            if run.ended {
                return Poll::Ready(None);
            }
            // The future wakes this task when the run is stopped from elsewhere.
            let stopped = run.is_stopped() || run.stopped.as_mut().poll(cx).is_ready();
            if stopped {
                if !run.is_over() {
                    run.courier.progress.stop(Stop::Cancelled);
                }
                if let Some(outcome) = run.unsent() {
                    return Poll::Ready(Some(outcome));
                }
            }
            let before = run.tasks.len();
            let outcome = match run.tasks.poll_join_next_with_id(cx) {
                Poll::Ready(Some(ended)) => run.settle(ended),
                Poll::Ready(None) | Poll::Pending => None,
            };
            let ended = run.tasks.len() < before;
            let running = run.tasks.len();
            // Before what ended is told, so that no batch waits for the reader.
            run.start_batches(cx);
            if outcome.is_some() {
                return Poll::Ready(outcome);
            }
            if run.bad_items.len() >= BAD_ITEMS {
                return Poll::Ready(Some(run.only_bad_items()));
            }
            let started = run.tasks.len() > running;
            if ended || started || run.is_stopped() != stopped {
                // Halves may wait, or what was started has to be looked at.
                continue;
            }
            if !run.tasks.is_empty() {
                return Poll::Pending;
            }
            // There is no batch that they could be told with.
            if !run.bad_items.is_empty() {
                return Poll::Ready(Some(run.only_bad_items()));
            }
            if stopped || run.is_over() {
                run.ended = true;
                run.courier.progress.close();
                return Poll::Ready(None);
            }
            return Poll::Pending;
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if !self.ended {
            if !self.is_over() {
                self.courier.progress.stop(Stop::Cancelled);
            }
            self.courier.progress.close();
            self.cancel();
        }
        // A request that is cut off may have been sent; one that ends is known.
        self.tasks.detach_all();
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("run_id", &self.id)
            .field("summary", &self.summary())
            .finish_non_exhaustive()
    }
}
