//! A record of what leaves, written before it leaves.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::outcome::Outcome;
use crate::types::{BatchRequest, Message};

/// A durable record of a run: which messages may have been sent, and their outcomes.
///
/// Set it with [`Bulk::journal`](super::Bulk::journal). For each attempt to send a chunk of messages
/// the sender
///
/// 1. waits for everything that it has to wait for: its rate, a pause, a backoff;
/// 2. calls [`sending`](Self::sending), and goes on only when that returned `Ok`;
/// 3. sends the chunk at once, or sends nothing if the deadline has passed;
/// 4. calls [`settled`](Self::settled) with an outcome for every message.
///
/// Each `sending` that returned `Ok` is followed by exactly one `settled`. After a 429, a failed
/// connection or a 413 the chunk is settled as not sent. The retry, or each half, is a chunk of its
/// own with its own `sending`.
///
/// # After a crash
/// The messages in flight are exactly those of chunks with `sending` and without `settled`. They
/// include every message that the platform accepted without a recorded outcome. They are unknown, as
/// are messages settled as unknown: do not resend either until a receipt settles them. Messages
/// without a record, and those settled as not sent or rejected, can be sent in a new run; see
/// [`Bulk::skip`](super::Bulk::skip).
///
/// The same holds if the journal panics, the runtime shuts down or a
/// [`Sender::send`](super::Sender::send) is dropped while a chunk is in flight. After [`Run::cancel`](super::Run::cancel) or a dropped
/// [`Run`](super::Run) chunks in flight finish and are settled, as long as the runtime lives.
///
/// # Ids
/// Records by clientMessageId need ids that are unique in the run, because a run sends messages with
/// the same id if they are in different chunks. Otherwise record the [id of the chunk](Chunk::id) too.
///
/// # Errors
/// If `sending` fails, the chunk is not sent and the run stops with
/// [`Stop::Journal`](super::Stop::Journal). If the record was written and only the reply was lost, the
/// chunk counts as in flight, which is safe. If `settled` fails, the run stops too, and the caller
/// still gets the outcomes.
///
/// ```
/// use std::collections::HashMap;
/// use std::convert::Infallible;
/// use std::sync::Mutex;
/// use lon_batch::bulk::{Chunk, Deadline, Journal};
/// use lon_batch::{Outcome, OutcomeKind};
///
/// /// In memory, to show the shape. A real journal writes to disk before it returns.
/// #[derive(Default)]
/// struct InMemory(Mutex<HashMap<String, Option<OutcomeKind>>>);
///
/// impl Journal for InMemory {
///     type Error = Infallible;
///
///     async fn sending(&self, chunk: &Chunk) -> Result<Option<Deadline>, Infallible> {
///         let ids = chunk.client_message_ids().map(|id| (id.to_owned(), None));
///         self.0.lock().unwrap().extend(ids);
///         Ok(None)
///     }
///
///     async fn settled(&self, chunk: &Chunk, outcomes: &[Outcome]) -> Result<(), Infallible> {
///         let ids = chunk.client_message_ids().zip(outcomes);
///         let kinds = ids.map(|(id, outcome)| (id.to_owned(), Some(outcome.kind)));
///         self.0.lock().unwrap().extend(kinds);
///         Ok(())
///     }
/// }
/// ```
pub trait Journal: Send + Sync + 'static {
    /// The error of the store.
    type Error: Error + Send + Sync + 'static;

    /// Records that the messages of a chunk are in flight, before any of them leaves.
    ///
    /// It may return a time after which the chunk must not leave any more, for instance because
    /// another process will then treat it as unknown.
    ///
    /// # Errors
    /// The record may not have been written. The chunk is not sent, and the run stops.
    fn sending(
        &self,
        chunk: &Chunk,
    ) -> impl Future<Output = Result<Option<Deadline>, Self::Error>> + Send;

    /// Records what is known of the messages after the attempt, in the order of the chunk.
    ///
    /// The outcomes include earlier attempts of the same run: a message that an earlier attempt may
    /// have sent is unknown, whatever this attempt proves. So the latest record of a message stands.
    ///
    /// # Errors
    /// The record may not have been written. The run stops.
    fn settled(
        &self,
        chunk: &Chunk,
        outcomes: &[Outcome],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// No journal.
impl Journal for () {
    type Error = Infallible;

    async fn sending(&self, _: &Chunk) -> Result<Option<Deadline>, Infallible> {
        Ok(None)
    }

    async fn settled(&self, _: &Chunk, _: &[Outcome]) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<J: Journal> Journal for Arc<J> {
    type Error = J::Error;

    fn sending(
        &self,
        chunk: &Chunk,
    ) -> impl Future<Output = Result<Option<Deadline>, Self::Error>> + Send {
        (**self).sending(chunk)
    }

    fn settled(
        &self,
        chunk: &Chunk,
        outcomes: &[Outcome],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).settled(chunk, outcomes)
    }
}

/// The messages of one attempt: at most 1,000, all of them valid.
///
/// `Debug` shows its id and the number of messages.
pub struct Chunk {
    pub(super) request: BatchRequest,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("id", &self.id())
            .field("messages", &self.messages().len())
            .finish()
    }
}

impl Chunk {
    /// The clientBatchId of the attempt: `{run id}-{random}-{number}`. No other attempt has the
    /// same. It comes back in delivery receipts.
    pub fn id(&self) -> &str {
        self.request.client_batch_id.as_deref().unwrap_or_default()
    }

    /// The messages.
    pub fn messages(&self) -> &[Message] {
        &self.request.messages
    }

    /// The clientMessageIds of the messages; empty for a message without one. In a run every message
    /// has one. With a [`Sender`](super::Sender), set them yourself.
    pub fn client_message_ids(&self) -> impl ExactSizeIterator<Item = &str> {
        self.messages().iter().map(|it| it.client_message_id.as_deref().unwrap_or_default())
    }
}

/// The last moment at which a chunk may leave.
///
/// The sender compares it right before the attempt. Connecting comes after that, so leave a margin of
/// the connect timeout. A process that is stopped between the comparison and the socket can still
/// send late.
///
/// It has passed as soon as one of two clocks says so: the monotonic clock, or the system's clock,
/// which also counts the time that the machine was suspended. If the system's clock is set forward,
/// the deadline passes too early, and nothing is sent. If that clock is set back during a suspend, the
/// deadline passes too late.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    monotonic: Instant,
    system: SystemTime,
    after: Duration,
}

impl Deadline {
    /// The deadline this long from now. Make it before you write the record, so that a slow commit
    /// counts.
    pub fn after(time: Duration) -> Self {
        Self { monotonic: Instant::now(), system: SystemTime::now(), after: time }
    }

    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        self.monotonic.elapsed() >= self.after
            || self.system.elapsed().is_ok_and(|elapsed| elapsed >= self.after)
    }
}
