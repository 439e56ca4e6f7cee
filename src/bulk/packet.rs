//! The messages of one batch, until they have their outcomes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::progress::Progress;
use crate::outcome::{Outcome, OutcomeKind};
use crate::types::{BatchRequest, Message};

/// Messages that were taken from the input and have no outcome yet.
///
/// However it ends, each of its messages is counted once: where a packet is dropped before its
/// messages have their outcomes, they were not sent, or may have been if they were on the wire.
pub(super) struct Packet {
    pub request: BatchRequest,
    pub positions: Vec<u64>,
    unsettled: AtomicUsize,
    on_the_wire: AtomicBool,
    progress: Progress,
}

impl Packet {
    /// Without messages yet.
    pub fn new(run_id: &str, progress: &Progress) -> Self {
        let mut request = BatchRequest::new(Vec::new());
        request.client_batch_id = Some(run_id.into());
        request.include_messages_in_response = Some(true);
        Self {
            request,
            positions: Vec::new(),
            unsettled: AtomicUsize::new(0),
            on_the_wire: AtomicBool::new(false),
            progress: progress.clone(),
        }
    }

    /// A request with some of its messages.
    pub fn request_of(&self, places: &[usize]) -> BatchRequest {
        let messages = places.iter().map(|place| self.request.messages[*place].clone());
        let mut request = BatchRequest::new(messages.collect::<Vec<_>>());
        request.client_batch_id.clone_from(&self.request.client_batch_id);
        request.include_messages_in_response = self.request.include_messages_in_response;
        request
    }

    pub fn push(&mut self, position: u64, message: Message) {
        self.request.messages.push(message);
        self.positions.push(position);
        *self.unsettled.get_mut() += 1;
    }

    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// From here on its messages may have been sent, or no longer.
    pub fn set_on_the_wire(&self, may_have_been_sent: bool) {
        self.on_the_wire.store(may_have_been_sent, Ordering::Release);
    }

    /// Counts the outcomes of some of its messages.
    pub fn settle(&self, outcomes: impl IntoIterator<Item = OutcomeKind>) {
        let mut settled = 0;
        self.progress.settle(outcomes.into_iter().inspect(|_| settled += 1));
        self.unsettled.fetch_sub(settled, Ordering::AcqRel);
    }

    /// The outcome of a message whose packet is given up here.
    pub fn given_up(&self) -> Outcome {
        if self.on_the_wire.load(Ordering::Acquire) {
            Outcome::new(OutcomeKind::Unknown).with_reason("the task that sent it ended midway")
        } else {
            Outcome::new(OutcomeKind::NotSent).with_reason("the run stopped")
        }
    }

    /// Its messages and their positions, out of a packet whose task has ended. The open ones among
    /// them are the caller's to count.
    pub fn into_messages(mut packet: Arc<Self>) -> impl Iterator<Item = (u64, Message)> {
        packet.unsettled.store(0, Ordering::Release);
        let (positions, messages) = match Arc::get_mut(&mut packet) {
            Some(packet) => (
                std::mem::take(&mut packet.positions),
                std::mem::take(&mut packet.request.messages),
            ),
            None => (packet.positions.clone(), packet.request.messages.clone()),
        };
        positions.into_iter().zip(messages)
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let unsettled = *self.unsettled.get_mut();
        if unsettled > 0 {
            self.progress.settle(std::iter::repeat_n(self.given_up().kind, unsettled));
        }
    }
}
