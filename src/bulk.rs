//! Any number of messages, each with an outcome.
//!
//! [`Client::bulk`] sets up a run. It takes messages from an iterator or a stream, cuts them into
//! batches, keeps several in flight, and reports the outcome of each batch as it comes.
//!
//! ```
//! use lon_batch::{Content, Message, Msisdn, SharedContent};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sandbox = lon_sandbox::Sandbox::start().await?;
//! # let client = lon_batch::Client::builder(sandbox.sub_account_id(), sandbox.api_key());
//! # let client = client.base_url(sandbox.base_url()).build()?;
//! let content = SharedContent::from(Content::new("We are moving"));
//! let numbers = ["+66812345678", "+66812345679"];
//! let messages = numbers.map(|number| {
//!     Msisdn::parse(number).map(|to| Message::new(to, content.clone()))
//! });
//!
//! let mut run = client.bulk("moving-2026-11").send(messages)?;
//! while let Some(batch) = run.next().await {
//!     for sent in batch.messages {
//!         println!("{}: {}", sent.position, sent.outcome);
//!     }
//! }
//! let counts = run.summary().counts;
//! assert_eq!((counts.taken, counts.accepted), (2, 2));
//! # Ok(())
//! # }
//! ```
//!
//! # Outcomes
//! Every message that was read from the input gets exactly one [`Outcome`](crate::Outcome), also
//! after the run was cancelled or the input failed or panicked. [`Counts`] always add up.
//!
//! Messages and results are matched by clientMessageId. A message without one gets
//! `{run id}-{position}`. In a response that lists results, a message with none or several is unknown.
//! If a response lists no results, its counts decide when they are unambiguous.
//!
//! If two messages of one chunk have the same clientMessageId, the second is not sent. In different
//! chunks both are sent, because a run does not remember every id. Leave duplicate rows out of the
//! input.
//!
//! # When a run retries, halves and stops
//! | result of a chunk | retried? | outcome of its messages | the run |
//! |---|---|---|---|
//! | 2xx that can be parsed | no | each its own: accepted, rejected or unknown | continues; stops after 10 in a row that leave all messages unknown |
//! | 2xx that cannot be parsed | never | unknown | continues; stops after 10 in a row |
//! | could not connect | as the policy allows | not sent, once it gives up | pauses; stops when it gives up |
//! | 429 | as the policy allows | not sent, once it gives up | pauses; stops when it gives up |
//! | 413, or 400 or 422 with code 3013 or 1100 | in two halves, down to one message | not sent, if one message alone is refused | continues; stops if one message alone gets 400 or 422 |
//! | 400 or 422 about the account (code 1001, 1012, 1014, 1200, 1201, 2002, 2003) | no | not sent | stops |
//! | another 400 or 422 | no | not sent | continues |
//! | 401, 403, 404, 410, 426, any other 3xx or 4xx | no | not sent | stops |
//! | timeout, connection lost, 5xx, 303, 408, 499 | only with [`resend_ambiguous_and_risk_duplicates`](RetryPolicy::resend_ambiguous_and_risk_duplicates) | unknown | continues; pauses if there is a `Retry-After`; stops after 10 in a row ([`stop_after_unknown`](Bulk::stop_after_unknown)), or if the code is about the account |
//! | a message is invalid, or its recipient is not allowed | no | not sent, that message alone | continues |
//! | its [`Journal`] failed | no | `sending` failed: not sent; `settled` failed: that of the attempt | stops |
//! | the [`Deadline`] of its journal passed | no | not sent | continues |
//! | cancelled | no | waiting: not sent; in flight: as it comes | stops |
//!
//! The policy is [`RetryPolicy::patient`] unless you set another. A pause holds for all chunks of
//! the run: for the backoff, or for `Retry-After`. A `Retry-After` that is longer than the policy's
//! time ends the run. After an earlier attempt that may have been sent, `not sent` and `rejected`
//! become unknown. After a stop the run reads nothing more: messages that wait are
//! not sent, chunks in flight finish, and [`Summary::stop`] has the reason.
//!
//! # Memory
//! A run holds [`concurrency`](Bulk::concurrency) chunks and one more, however long the input is and
//! however slowly you read outcomes. Shared content is not copied.
//!
//! # Tracing
//! A run is a [`tracing`] span `run`, and each chunk a span `send_batch` below it; see
//! [`RetryPolicy`] for the events of its attempts. Neither contains phone numbers, texts, your ids or
//! the key.

mod journal;
mod outcome;
mod pace;
mod progress;
mod run;
mod sender;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::task::JoinSet;
pub use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::invalid::{Invalid, Problem, Subject};
use crate::transport::retry::RetryPolicy;
use crate::types::{MAX_CLIENT_MESSAGE_ID_CHARS, MAX_MESSAGES_PER_BATCH, Message};
pub use journal::{Chunk, Deadline, Journal};
pub use outcome::{BadItem, BatchOutcome, MessageOutcome, Stop};
use pace::Pace;
pub use pace::Rate;
pub use progress::{Counts, HintCount, Progress, Summary};
pub use run::Run;
use run::{Input, Settings, SharedHints, State};
use sender::Group;
pub use sender::{Sender, Sent};

/// The error of an input item that is no message.
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

impl Client {
    /// Sets up a run of any number of messages; see [`bulk`](crate::bulk).
    ///
    /// The run id is your own name for the run, 1 to 36 characters. `{run id}-{position}` is the
    /// clientMessageId of a message that has none, and `{run id}-{random}-{number}` the clientBatchId
    /// of each request. Use another for each run, unless a run continues one that crashed; see
    /// [`Bulk::skip`].
    pub fn bulk(&self, run_id: impl Into<String>) -> Bulk<'static> {
        Bulk {
            client: self.clone(),
            journal: (),
            run: Settings {
                run_id: run_id.into(),
                concurrency: Bulk::DEFAULT_CONCURRENCY,
                max_wait: Bulk::DEFAULT_MAX_WAIT,
                stop_at_bad_item: false,
                stop_after_unknown: Some(Bulk::DEFAULT_STOP_AFTER_UNKNOWN),
                skip: None,
            },
            max_messages: MAX_MESSAGES_PER_BATCH,
            max_rate: None,
            retry: RetryPolicy::patient(),
            cancel: CancellationToken::new(),
        }
    }
}

/// Sets up a [`Run`] or a [`Sender`]. Made by [`Client::bulk`].
#[must_use = "a run starts with `send` or `send_stream`"]
pub struct Bulk<'a, J = ()> {
    client: Client,
    journal: J,
    run: Settings<'a>,
    max_messages: usize,
    max_rate: Option<Rate>,
    retry: RetryPolicy,
    cancel: CancellationToken,
}

impl Bulk<'static> {
    /// The default number of chunks in flight.
    pub const DEFAULT_CONCURRENCY: usize = 4;
    /// The default time that messages wait for a chunk to fill.
    pub const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(1);
    /// The default number of consecutive chunks without a known outcome that stops a run.
    pub const DEFAULT_STOP_AFTER_UNKNOWN: u32 = 10;
    /// The most characters in a run id: a position has to fit behind it in a clientMessageId.
    pub const MAX_RUN_ID_CHARS: usize = MAX_CLIENT_MESSAGE_ID_CHARS - "-1000000000000".len();
}

impl<'a, J: Journal> Bulk<'a, J> {
    /// Sets how many chunks are in flight at a time. Default: 4. The run holds one chunk more in
    /// memory.
    pub fn concurrency(mut self, chunks: usize) -> Self {
        self.run.concurrency = chunks;
        self
    }

    /// Sets the most messages in a request. Default: 1,000.
    pub fn max_messages_per_batch(mut self, messages: usize) -> Self {
        self.max_messages = messages;
        self
    }

    /// Sets how long messages wait for a chunk to fill, if the input is a stream. Default: 1 second.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.run.max_wait = time;
        self
    }

    /// Sets the maximum send rate. Default: unlimited. Chunks leave whole, the first at once.
    pub fn max_rate(mut self, rate: Rate) -> Self {
        self.max_rate = Some(rate);
        self
    }

    /// Sets when a chunk is retried. Default: [`RetryPolicy::patient`], whatever the policy of the
    /// client is.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets whether a bad item ends the input: everything before it is sent, and nothing after it.
    /// Default: it does not.
    pub fn stop_at_bad_item(mut self, stop: bool) -> Self {
        self.run.stop_at_bad_item = stop;
        self
    }

    /// Stops the run after this many consecutive chunks without a known outcome, which bounds what an
    /// outage leaves unknown. Default: 10; `None` for never.
    pub fn stop_after_unknown(mut self, chunks: impl Into<Option<u32>>) -> Self {
        self.run.stop_after_unknown = chunks.into();
        self
    }

    /// A token that cancels the run, as [`Run::cancel`] does.
    pub fn cancel_with(mut self, token: &CancellationToken) -> Self {
        self.cancel = token.child_token();
        self
    }

    /// Records in a journal what may have been sent, before it is sent.
    pub fn journal<K: Journal>(self, journal: K) -> Bulk<'a, K> {
        let Self { client, journal: _, run, max_messages, max_rate, retry, cancel } = self;
        Bulk { client, journal, run, max_messages, max_rate, retry, cancel }
    }

    /// Leaves out the messages for which `skip` returns true: those that an earlier run sent, may have
    /// sent, or had rejected.
    ///
    /// It gets the position of each message and the message with its clientMessageId. Positions count
    /// skipped messages, so with the same run id and the same input every message keeps its id.
    pub fn skip(mut self, skip: impl FnMut(u64, &Message) -> bool + Send + 'a) -> Self {
        self.run.skip = Some(Box::new(skip));
        self
    }

    /// Starts the run. It reads messages, and sends them, while you poll the [`Run`] with
    /// [`next`](Run::next) or [`finish`](Run::finish). An iterator that is passed by reference
    /// (`by_ref`) keeps what the run did not read.
    ///
    /// # Errors
    /// Every setting that is out of its range, the run id among them.
    pub fn send<I>(self, messages: I) -> Result<Run<'a, J>, Invalid>
    where
        I: IntoIterator<Item: IntoMessage + 'a, IntoIter: Send + 'a>,
    {
        let messages = messages.into_iter().map(IntoMessage::into_message);
        self.start(Input::Iterator(Box::new(messages)))
    }

    /// Starts the run with messages of a stream; see [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_stream<S>(self, messages: S) -> Result<Run<'a, J>, Invalid>
    where
        S: Stream<Item: IntoMessage> + Send + 'a,
    {
        self.start(Input::Stream(Box::pin(Messages(Box::pin(messages)))))
    }

    /// A sender of one chunk at a time, with these settings and without a run. `concurrency`,
    /// `max_wait`, `skip`, `stop_at_bad_item` and `stop_after_unknown` do not apply to it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn sender(self) -> Result<Sender<J>, Invalid> {
        self.check()?;
        Ok(self.split().0)
    }

    fn start(self, input: Input<'a>) -> Result<Run<'a, J>, Invalid> {
        self.check()?;
        let (sender, settings) = self.split();
        Ok(Run {
            span: tracing::info_span!("run", concurrency = settings.concurrency),
            cancelled: Box::pin(sender.group.cancel.clone().cancelled_owned()),
            sender,
            settings,
            progress: Progress::start(),
            input: Some(input),
            position: 0,
            filling: (Vec::new(), Vec::new()),
            fill_until: None,
            bad_items: Vec::new(),
            chunks: JoinSet::new(),
            finished: None,
            hints: SharedHints::default(),
            state: State::Running,
        })
    }

    fn split(self) -> (Sender<J>, Settings<'a>) {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(8).collect();
        let group = Group {
            client: self.client,
            retry: self.retry,
            pace: Pace::new(self.max_rate, self.max_messages),
            journal: self.journal,
            cancel: self.cancel,
            max_messages: self.max_messages,
            prefix: format!("{}-{random}", self.run.run_id),
            next: AtomicU64::new(0),
        };
        (Sender { group: Arc::new(group) }, self.run)
    }

    /// Everything that is wrong with the settings.
    fn check(&self) -> Result<(), Invalid> {
        let mut problems = Vec::new();
        let mut setting = |name: &str, why: String| problems.push(Problem::setting(name, why));
        let (found, max) = (self.run.run_id.chars().count(), Bulk::MAX_RUN_ID_CHARS);
        if !(1..=max).contains(&found) {
            setting("run_id", format!("{found} characters; a run id has 1 to {max}"));
        }
        if self.run.concurrency == 0 {
            setting("concurrency", "has to be 1 or more".to_owned());
        }
        if self.run.stop_after_unknown == Some(0) {
            setting("stop_after_unknown", "has to be 1 or more, or `None`".to_owned());
        }
        if !(1..=MAX_MESSAGES_PER_BATCH).contains(&self.max_messages) {
            let most = MAX_MESSAGES_PER_BATCH;
            setting("max_messages_per_batch", format!("has to be 1 to {most}"));
        }
        if let Some(Rate::RequestsPerSecond(rate) | Rate::MessagesPerSecond(rate)) = self.max_rate
            && !(rate.is_finite() && rate >= 0.001)
        {
            setting("max_rate", "has to be 0.001 a second or more".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(Invalid::new(Subject::Run, problems)) }
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

impl<J> fmt::Debug for Bulk<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("run_id", &self.run.run_id)
            .field("concurrency", &self.run.concurrency)
            .field("max_messages", &self.max_messages)
            .field("max_wait", &self.run.max_wait)
            .field("max_rate", &self.max_rate)
            .field("retry", &self.retry)
            .field("stop_at_bad_item", &self.run.stop_at_bad_item)
            .field("stop_after_unknown", &self.run.stop_after_unknown)
            .finish_non_exhaustive()
    }
}
