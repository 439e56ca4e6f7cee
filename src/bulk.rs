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
//! Every message taken from the input gets exactly one [`Outcome`](crate::Outcome), also after the
//! run was cancelled, or the input failed or panicked. [`Counts`] always add up.
//!
//! A message is matched with its result by its clientMessageId and by nothing else. A message without
//! one gets `{run id}-{position}`. If a response has no result for a message, or several, that message
//! is unknown, and no other is. If it lists no results at all, its counts settle all messages as long
//! as they leave no doubt.
//!
//! If two messages of one batch have the same clientMessageId, the second is not sent. In different
//! batches both are sent, because a run does not remember every id. Leave duplicate rows out of the
//! input.
//!
//! # What is decided when
//! | what happened to a batch | retried? | outcome of its messages | the run |
//! |---|---|---|---|
//! | 2xx that can be read | no | each its own: accepted, rejected or unknown | continues and speeds up gradually |
//! | 2xx that cannot be read | never | unknown | continues; stops after 10 in a row |
//! | no connection | as the policy allows | not sent, once it gives up | all wait; stops when it gives up |
//! | 429 | as the policy allows | not sent, once it gives up | all wait, then continue at half the rate; stops when it gives up |
//! | 413 | in two halves, down to one message | not sent, if one message alone is too large | continues with smaller batches, unless such were accepted |
//! | 400 or 422 with code 3013 or 1100 | in two halves, down to one message | not sent, if one message alone is too many | the same; stops if one message is too many and no batch was ever accepted |
//! | 400 or 422 about the account (code 1001, 1012, 1014, 1200, 1201, 2002, 2003) | no | not sent | stops |
//! | another 400 or 422 | no | not sent | continues |
//! | 401, 403, 404, 410, 426, any other 3xx or 4xx | no | not sent | stops |
//! | timeout, connection lost, 5xx, 303, 408, 499 | only with [`resend_ambiguous_and_risk_duplicates`](RetryPolicy::resend_ambiguous_and_risk_duplicates) | unknown | continues; all wait if there is a `Retry-After`; stops after 10 in a row ([`stop_after_unknown`](Bulk::stop_after_unknown)), or if the code is about the account |
//! | a message is invalid, or its recipient is not allowed | no | not sent, that message alone | continues |
//! | cancelled | no | waiting: not sent; in flight: as it comes | stops |
//!
//! The policy is [`RetryPolicy::patient`] unless you set another. A `Retry-After` that is longer than
//! what is left of its time ends the run. A run that stops takes nothing more from its input:
//! messages that wait are not sent, batches in flight finish, and [`Summary::stop`] says why.
//!
//! # Memory
//! A run holds [`concurrency`](Bulk::concurrency) batches and one more, however long the input is and
//! however slowly you read outcomes: it reads input only while you poll it. A shared content is not
//! copied.

mod courier;
mod outcome;
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

use crate::client::Client;
use crate::invalid::{Invalid, Problem, Subject};
use crate::transport::retry::RetryPolicy;
use crate::types::{MAX_CLIENT_MESSAGE_ID_CHARS, MAX_MESSAGES_PER_BATCH, Message};
use courier::{Courier, Sizes};
pub use outcome::{BadItem, BatchOutcome, MessageOutcome, Stop};
use pace::Pacer;
use packet::Packet;
pub use progress::{Counts, Progress, Summary};
pub use run::Run;
use run::{Input, Settings};

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

/// The maximum send rate of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Requests per second, retries included.
    RequestsPerSecond(f64),
    /// Messages per second, retries included.
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
    max_wait: Duration,
    max_rate: Option<Rate>,
    retry: RetryPolicy,
    stop_at_bad_item: bool,
    stop_after_unknown: Option<u32>,
    cancel: CancellationToken,
}

impl Bulk {
    /// The default number of batches in flight.
    pub const DEFAULT_CONCURRENCY: usize = 4;
    /// The default time that messages wait for a batch to fill.
    pub const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(1);
    /// The default number of consecutive batches without a known outcome that stops a run.
    pub const DEFAULT_STOP_AFTER_UNKNOWN: u32 = 10;
    /// The most characters in a run id: a position has to fit behind it in a clientMessageId.
    pub const MAX_RUN_ID_CHARS: usize = MAX_CLIENT_MESSAGE_ID_CHARS - "-1000000000000".len();

    /// Sets how many batches are in flight at a time. Default: 4. The run holds one batch more in
    /// memory.
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.concurrency = batches;
        self
    }

    /// Sets the most messages in a batch. Default: 1,000.
    pub fn max_messages_per_batch(mut self, messages: usize) -> Self {
        self.max_messages = messages;
        self
    }

    /// Sets how long messages wait for a batch to fill, if the input is a stream. Default: 1 second.
    pub fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// Sets the maximum send rate. Default: unlimited. Batches leave whole, the first at once. After a
    /// 429 the run is slower, and speeds up gradually to this rate.
    pub fn max_rate(mut self, rate: Rate) -> Self {
        self.max_rate = Some(rate);
        self
    }

    /// Sets when the run retries a batch. Default: [`RetryPolicy::patient`], whatever the policy of
    /// the client is.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets whether a bad item ends the input: everything before it is sent, and nothing after it.
    /// Default: it does not.
    pub fn stop_at_bad_item(mut self, stop: bool) -> Self {
        self.stop_at_bad_item = stop;
        self
    }

    /// Stops the run after this many consecutive batches without a known outcome, which bounds what an
    /// outage leaves unknown. Default: 10; `None` for never.
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
            sizes: Sizes::new(self.max_messages),
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
        let mut setting = |name: &str, why: String| problems.push(Problem::setting(name, why));
        let (found, max) = (self.run_id.chars().count(), Self::MAX_RUN_ID_CHARS);
        if !(1..=max).contains(&found) {
            setting("run_id", format!("{found} characters; a run id has 1 to {max}"));
        }
        if self.concurrency == 0 {
            setting("concurrency", "has to be 1 or more".to_owned());
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

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk")
            .field("run_id", &self.run_id)
            .field("concurrency", &self.concurrency)
            .field("max_messages", &self.max_messages)
            .field("max_wait", &self.max_wait)
            .field("max_rate", &self.max_rate)
            .field("retry", &self.retry)
            .field("stop_at_bad_item", &self.stop_at_bad_item)
            .field("stop_after_unknown", &self.stop_after_unknown)
            .finish_non_exhaustive()
    }
}
