//! Any number of messages, each with a known fate.
//!
//! [`Client::bulk`] sets up a run. It takes messages from an iterator or a stream, cuts them into
//! batches, sends several at a time, and tells what became of each batch as it comes.
//!
//! ```
//! use lon_batch::bulk::Fate;
//! use lon_batch::{Content, Message, Msisdn, SharedContent};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sandbox = lon_batch::mock::Sandbox::start().await?;
//! # let client = sandbox.client().build()?;
//! let content = SharedContent::from(Content::new("We are moving"));
//! let numbers = ["+66812345678", "+66812345679"];
//! let messages = numbers.map(|number| {
//!     Msisdn::parse(number).map(|to| Message::new(to, content.clone()))
//! });
//!
//! let mut run = client.bulk("moving-2026-11").send(messages)?;
//! while let Some(batch) = run.next().await {
//!     for outcome in batch.messages {
//!         match outcome.fate {
//!             Fate::Accepted { umid } => println!("{}: {umid:?}", outcome.position),
//!             fate => println!("{}: {fate}", outcome.position),
//!         }
//!     }
//! }
//! let counts = run.summary().counts;
//! assert_eq!((counts.taken, counts.accepted), (2, 2));
//! # Ok(())
//! # }
//! ```
//!
//! # Fates
//! Every message that was taken from the input gets exactly one [`Fate`], also after the run was
//! cancelled, or the input failed or panicked. [`Counts`] always add up.
//!
//! A message is paired with its verdict by its clientMessageId and by nothing else. One that has
//! none gets `{run id}-{position}`. An answer that leaves a message out, has it twice or says
//! nothing of it leaves that message unknown, and no other. One that lists no message at all
//! settles them by its counts, where those leave no doubt.
//!
//! Of two messages with one clientMessageId in one batch the second is not sent. In different
//! batches both are: a run does not remember every id. Where a row that stands twice in the input
//! must not be sent twice, leave it out of the input.
//!
//! # What is decided when
//! | what happened to a batch | sent again? | fate of its messages | the run |
//! |---|---|---|---|
//! | 2xx that can be read | no | each its own: accepted, rejected, or unknown | goes on, by and by faster |
//! | 2xx that cannot be read | never | unknown | goes on; stops after 10 in a row |
//! | no connection was made | as the policy says | not sent, once it gives up | all wait; stops when it gives up |
//! | 429 | as the policy says | refused, once it gives up | all wait, then go on at half of what went out; stops when it gives up |
//! | 413 | in two halves, down to one message | refused, of one message alone | goes on, with smaller bodies unless such were taken |
//! | 400 or 422 with code 3013 or 1100 | in two halves, down to one message | refused, of one message alone | goes on, with smaller batches unless such were taken; stops where one message is too many and none was ever taken |
//! | 400 or 422 about the account (code 1001, 1012, 1014, 1200, 1201, 2002, 2003) | no | refused | stops |
//! | another 400 or 422 | no | refused | goes on |
//! | 401, 403, 404, 410, 426, any other 3xx or 4xx | no | refused | stops |
//! | time-out, connection lost, 5xx, 303, 408, 499 | only with [`resend_ambiguous_and_risk_duplicates`](RetryPolicy::resend_ambiguous_and_risk_duplicates) | unknown | goes on; all wait where there is a `Retry-After`; stops after 10 in a row ([`stop_after_unknown`](Bulk::stop_after_unknown)), and where one has a code about the account |
//! | a message was found wrong here | no | not sent, that message alone | goes on |
//! | cancelled | no | of what waits: not sent; of what is on its way: as it comes | stops |
//!
//! The policy is [`RetryPolicy::patient`] unless another is set. A `Retry-After` that is longer than
//! what is left of its time ends the run instead of being slept through. A run that stops takes
//! nothing more from its input: messages that were taken and wait are "not sent", requests that are
//! on their way go on to their end, and [`Summary::stop`] tells why.
//!
//! # What it costs
//! In memory are [`concurrency`](Bulk::concurrency) batches and one more, however long the input is
//! and however slowly outcomes are read: while nobody asks for outcomes nothing is taken. A content
//! that messages share is copied for none of them, and written to JSON once for the whole run.

mod courier;
mod fate;
mod pace;
mod packet;
mod progress;
mod run;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::task::JoinSet;
pub use tokio_util::sync::CancellationToken;

use crate::problem::Problem;
use crate::{
    Client, Invalid, MAX_CLIENT_MESSAGE_ID_CHARS, MAX_MESSAGES_PER_BATCH, Message, RetryPolicy,
    Rule,
};
use courier::{Courier, Sizes};
pub use fate::{
    BadItem, BatchOutcome, Fate, FateKind, MessageOutcome, NotSentReason, Stop, UnknownReason,
};
use pace::Pacer;
use packet::Packet;
pub use progress::{Counts, Progress, Summary};
pub use run::Run;
use run::{Input, Settings};

/// What an input says of an item that is no message.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An item of the input of a run: a [`Message`], or a `Result` with one whose error can be sent to
/// another thread.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message of a run",
    label = "give it `Message` or `Result<Message, E>`, where `E` is an error that is `Send + Sync`"
)]
pub trait IntoMessage {
    /// The message, or why there is none.
    ///
    /// # Errors
    /// The item is a bad one.
    fn into_message(self) -> Result<Message, BoxError>;
}

impl IntoMessage for Message {
    fn into_message(self) -> Result<Message, BoxError> {
        Ok(self)
    }
}

impl<E: Into<BoxError>> IntoMessage for Result<Message, E> {
    fn into_message(self) -> Result<Message, BoxError> {
        self.map_err(Into::into)
    }
}

/// The highest rate of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many requests a second, those that are sent again included.
    RequestsPerSecond(f64),
    /// So many messages a second, those that are sent again included.
    MessagesPerSecond(f64),
}

impl Client {
    /// Sets up a run of any number of messages; see [`bulk`](crate::bulk).
    ///
    /// The run id is your own name for the run, 1 to 36 characters: it is the clientBatchId of its
    /// batches, and `{run id}-{position}` is the clientMessageId of a message that has none. So give
    /// each run another, and the same to none.
    pub fn bulk(&self, run_id: impl Into<String>) -> Bulk {
        Bulk {
            client: self.clone(),
            run_id: run_id.into(),
            concurrency: Bulk::DEFAULT_CONCURRENCY,
            max_messages: MAX_MESSAGES_PER_BATCH,
            max_body_bytes: Bulk::DEFAULT_MAX_BODY_BYTES,
            max_wait: Bulk::DEFAULT_MAX_WAIT,
            max_rate: None,
            retry: RetryPolicy::patient(),
            stop_at_bad_item: false,
            stop_after_unknown: Some(Bulk::DEFAULT_STOP_AFTER_UNKNOWN),
            cancel: CancellationToken::new(),
        }
    }
}

/// Sets up a [`Run`]. Made by [`Client::bulk`].
#[must_use = "a run starts with `send` or `send_stream`"]
pub struct Bulk {
    client: Client,
    run_id: String,
    concurrency: usize,
    max_messages: usize,
    max_body_bytes: usize,
    max_wait: Duration,
    max_rate: Option<Rate>,
    retry: RetryPolicy,
    stop_at_bad_item: bool,
    stop_after_unknown: Option<u32>,
    cancel: CancellationToken,
}

impl Bulk {
    /// Batches that are on their way at a time unless it is set.
    pub const DEFAULT_CONCURRENCY: usize = 4;
    /// Bytes of a body at most unless it is set: 4 MiB. 8x8 states no limit.
    pub const DEFAULT_MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
    /// How long messages that are not enough for a batch wait for more unless it is set.
    pub const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(1);
    /// Batches in a row without an answer that end a run unless it is set.
    pub const DEFAULT_STOP_AFTER_UNKNOWN: u32 = 10;
    /// Characters of a run id at most: what a position leaves of a clientMessageId.
    pub const MAX_RUN_ID_CHARS: usize = MAX_CLIENT_MESSAGE_ID_CHARS - "-1000000000000".len();

    /// How many batches are on their way at a time: 4 unless it is set. What is in memory is so
    /// many batches and one more.
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.concurrency = batches;
        self
    }

    /// How many messages a batch has at most: 1,000 unless it is set.
    pub fn max_messages_per_batch(mut self, messages: usize) -> Self {
        self.max_messages = messages;
        self
    }

    /// How many bytes a body has at most: 4 MiB unless it is set. A batch that would have more is
    /// sent in parts; a message that has more alone is not sent.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// How long messages wait for more, where a stream has too few for a batch: 1 second unless it
    /// is set.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// The rate that the run keeps to; none unless it is set. What falls due is let out a batch at a
    /// time, the first at once. After a 429 the run is slower, and comes back to it by and by.
    pub fn max_rate(mut self, rate: Rate) -> Self {
        self.max_rate = Some(rate);
        self
    }

    /// When a batch is sent again by itself: [`RetryPolicy::patient`] unless it is set, whatever
    /// the client's own policy is. The budget is that of the client; where nothing is left of it, a
    /// run waits longer.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Whether a bad item of the input ends it: what was taken before is sent, and nothing after.
    /// It does not unless it is set.
    pub fn stop_at_bad_item(mut self, stop: bool) -> Self {
        self.stop_at_bad_item = stop;
        self
    }

    /// After how many batches in a row of whose messages all are unknown the run is stopped: 10
    /// unless it is set; `None` for never. It bounds what an outage leaves unknown.
    pub fn stop_after_unknown(mut self, batches: impl Into<Option<u32>>) -> Self {
        self.stop_after_unknown = batches.into();
        self
    }

    /// A token that cancels the run, as [`Run::cancel`] does.
    pub fn cancel_with(mut self, token: &CancellationToken) -> Self {
        self.cancel = token.child_token();
        self
    }

    /// Starts the run. Messages are taken, and sent, as the [`Run`] is asked for outcomes: with
    /// [`next`](Run::next) or [`finish`](Run::finish). An iterator that is given by reference
    /// (`by_ref`) has what was not taken when the run is over.
    ///
    /// # Errors
    /// A run id, or a setting, that is out of its range: each of them.
    pub fn send<'a, I>(self, messages: I) -> Result<Run<'a>, Invalid>
    where
        I: IntoIterator<Item: IntoMessage + 'a, IntoIter: Send + 'a>,
    {
        let messages = messages.into_iter().map(IntoMessage::into_message);
        self.start(Input::Iterator(Box::new(messages)))
    }

    /// Starts the run with messages of a stream. They are taken as the [`Run`] is asked for
    /// outcomes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_stream<'a, S>(self, messages: S) -> Result<Run<'a>, Invalid>
    where
        S: Stream<Item: IntoMessage> + Send + 'a,
    {
        self.start(Input::Stream(Box::pin(Messages(Box::pin(messages)))))
    }

    fn start(self, input: Input<'_>) -> Result<Run<'_>, Invalid> {
        self.check()?;
        let progress = Progress::start();
        let courier = Courier {
            client: self.client,
            retry: self.retry,
            pacer: Pacer::new(self.max_rate, self.max_messages),
            progress: progress.clone(),
            stop: self.cancel.clone(),
            stop_after_unknown: self.stop_after_unknown,
            sizes: Sizes::new(self.max_messages, self.max_body_bytes),
            unknown_in_a_row: AtomicU32::new(0),
        };
        Ok(Run {
            courier: Arc::new(courier),
            filling: Packet::new(&self.run_id, &progress),
            id: self.run_id,
            input: Some(input),
            settings: Settings {
                concurrency: self.concurrency,
                max_wait: self.max_wait,
                stop_at_bad_item: self.stop_at_bad_item,
            },
            position: 0,
            filling_since: None,
            bad_items: Vec::new(),
            halves: VecDeque::new(),
            tasks: JoinSet::new(),
            packets: HashMap::new(),
            stopped: Box::pin(self.cancel.cancelled_owned()),
            ended: false,
        })
    }

    /// Everything that is wrong with the settings.
    fn check(&self) -> Result<(), Invalid> {
        let mut problems = Vec::new();
        let mut note = |name: &str, rule| problems.push(Problem::new(name, rule));
        let (found, max) = (self.run_id.chars().count(), Self::MAX_RUN_ID_CHARS);
        if found == 0 || found > max {
            note("run_id", Rule::RunId { found, max });
        }
        if self.concurrency == 0 {
            note("concurrency", Rule::Range("1 or more"));
        }
        if self.max_body_bytes == 0 {
            note("max_body_bytes", Rule::Range("1 or more"));
        }
        if !(1..=MAX_MESSAGES_PER_BATCH).contains(&self.max_messages) {
            note("max_messages_per_batch", Rule::Range("1 to 1,000"));
        }
        if let Some(Rate::RequestsPerSecond(rate) | Rate::MessagesPerSecond(rate)) = self.max_rate
            && !(rate.is_finite() && rate >= 0.001)
        {
            note("max_rate", Rule::Range("0.001 a second or more"));
        }
        if problems.is_empty() { Ok(()) } else { Err(Invalid::new(problems)) }
    }
}

/// A stream of messages, whatever its items are.
struct Messages<S>(Pin<Box<S>>);

impl<S: Stream<Item: IntoMessage>> Stream for Messages<S> {
    type Item = Result<Message, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.get_mut().0.as_mut().poll_next(cx));
        Poll::Ready(item.map(IntoMessage::into_message))
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("run_id", &self.run_id)
            .field("concurrency", &self.concurrency)
            .field("max_messages", &self.max_messages)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_wait", &self.max_wait)
            .field("max_rate", &self.max_rate)
            .field("retry", &self.retry)
            .field("stop_at_bad_item", &self.stop_at_bad_item)
            .field("stop_after_unknown", &self.stop_after_unknown)
            .finish_non_exhaustive()
    }
}
