//! The delivery receipts that the sandbox posts: what is set of them.

mod chaos;
mod clock;
mod envelope;
mod outbox;
mod post;
mod record;
mod step;

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::record::Accepted;
use clock::Clock;
pub(crate) use outbox::{Addressed, Move, Outbox};
pub use record::{NotPosted, PostedReceipt, ReceiptFate, ReceiptTry, TryOutcome};
pub use step::Step;

type Plan = dyn Fn(&Accepted) -> Vec<Step> + Send + Sync;

/// What the sandbox posts of delivery receipts, where and when; for
/// [`SandboxBuilder::receipts`](crate::SandboxBuilder::receipts).
///
/// Without any setting each accepted message that has a `dlrCallbackUrl` is queued at once, sent after 1 s and
/// delivered, with the detail `delivered_to_recipient`, after 2 s. To post nothing, plan nothing:
/// `Receipts::new().plan(|_| Vec::new())`.
///
/// # Where to
/// Receipts go to this machine only: to a URL of plain http whose host is a loopback address or
/// `localhost`, which is taken for `127.0.0.1` and `::1`. No name is looked up. A message with
/// another URL is accepted all the same, nothing is sent there, and the [record](PostedReceipt)
/// says why.
///
/// Each post has a connection of its own, and at most 64 are on their way at a time. No redirect
/// is followed.
///
/// # Again
/// As the platform does: after a connection error, no answer within [`TIME_OUT`](Self::TIME_OUT),
/// a 4xx or a 5xx the same is posted again, by [`RETRY_AFTER`](Self::RETRY_AFTER). Any other
/// answer ends it.
///
/// # The clock
/// All times are by the sandbox's clock, but for the time-out. It goes with real time unless it
/// has another [`speed`](Self::speed) or is [moved by the test](Self::manual_clock).
pub struct Receipts {
    callback_url: Option<String>,
    authorization: Option<String>,
    version: Version,
    speed: Option<f64>,
    start: Option<SystemTime>,
    plan: Box<Plan>,
}

/// The version of the envelope.
#[derive(Clone, Copy)]
enum Version {
    Eight,
    Nine,
}

impl Receipts {
    /// How long an answer is waited for, in real time whatever the clock. How long the platform
    /// waits is not documented.
    pub const TIME_OUT: Duration = Duration::from_secs(10);

    /// When a receipt is posted again: how long after the try before was due. After the last it is
    /// given up.
    pub const RETRY_AFTER: [Duration; 4] = [
        Duration::from_secs(1),
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_secs(90),
    ];

    /// The settings described above.
    #[must_use]
    pub fn new() -> Self {
        Self {
            callback_url: None,
            authorization: None,
            version: Version::Nine,
            speed: Some(1.0),
            start: None,
            plan: Box::new(|_| delivered()),
        }
    }

    /// The callback URL of the account: for messages without one of their own.
    #[must_use]
    pub fn account_callback_url(mut self, url: impl Into<String>) -> Self {
        self.callback_url = Some(url.into());
        self
    }

    /// The value of the `Authorization` header of every post, word for word. There is no such
    /// header unless it is set.
    #[must_use]
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Posts the envelope of version 8 instead of 9: without the version, and with a
    /// `channelUserId` that repeats the digits of the phone number.
    #[must_use]
    pub fn version_8(mut self) -> Self {
        self.version = Version::Eight;
        self
    }

    /// How many seconds of the sandbox's clock are a second of real time: at 1000, a second takes
    /// a millisecond. It has to be a number greater than 0. Posts may overlap.
    #[must_use]
    pub fn speed(mut self, speed: f64) -> Self {
        self.speed = Some(speed);
        self
    }

    /// The sandbox's clock stands still but for [`Sandbox::advance`](crate::Sandbox::advance) and
    /// [`Sandbox::receipts_settled`](crate::Sandbox::receipts_settled), which carry out one post
    /// after the other: in the order in which they are due, and where several are due at the same
    /// time in the order in which they were planned.
    #[must_use]
    pub fn manual_clock(mut self) -> Self {
        self.speed = None;
        self
    }

    /// What the sandbox's clock shows when the sandbox starts; the time of the system unless it is
    /// set. The timestamps of receipts follow from it.
    #[must_use]
    pub fn clock_starts_at(mut self, time: SystemTime) -> Self {
        self.start = Some(time);
        self
    }

    /// The receipts of each message that has somewhere to post them to.
    ///
    /// The plan is asked when the message is accepted, before the batch is answered.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lon_sandbox::{Receipts, Step};
    ///
    /// let second = Duration::from_secs(1);
    /// let receipts = Receipts::new().plan(move |message| {
    ///     let mut steps = vec![
    ///         Step::new("queued").times(2),
    ///         // It comes after the receipt of the state that follows.
    ///         Step::new("sent").at(second).posted_at(3 * second),
    ///     ];
    ///     steps.push(if message.msisdn.ends_with("99") {
    ///         Step::new("undelivered").at(2 * second).error(36)
    ///     } else {
    ///         Step::new("delivered").at(2 * second)
    ///     });
    ///     steps
    /// });
    /// # let _ = receipts;
    /// ```
    #[must_use]
    pub fn plan(mut self, plan: impl Fn(&Accepted) -> Vec<Step> + Send + Sync + 'static) -> Self {
        self.plan = Box::new(plan);
        self
    }

    /// Plans at random, each message by [`Step::at_random`]: outcomes, receipts that come late,
    /// out of order or several times. The same seed plans the same for the same umid.
    #[must_use]
    pub fn chaos(self, seed: u64) -> Self {
        self.plan(move |message| Step::at_random(seed, &message.umid))
    }

    /// The clock and the outbox of a sandbox that starts now.
    pub(crate) fn open(self, sub_account_id: &str, kept: usize) -> io::Result<Outbox> {
        let refuse = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        let is_speed = |speed: f64| speed.is_finite() && speed > 0.0;
        if !self.speed.is_none_or(is_speed) {
            return Err(refuse("the speed of receipts is no number greater than 0"));
        }
        let start = self.start.unwrap_or_else(SystemTime::now);
        let clock = Clock::new(start, self.speed)
            .ok_or_else(|| refuse("the clock of receipts starts outside the calendar"))?;
        let authorization = self.authorization.map(|value| {
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                refuse("the Authorization value of receipts has characters that no header has")
            })?;
            value.set_sensitive(true);
            Ok::<_, io::Error>(value)
        });
        Ok(Outbox::new(
            outbox::Settings {
                sub_account_id: sub_account_id.into(),
                callback_url: self.callback_url,
                authorization: authorization.transpose()?,
                version: self.version,
                plan: self.plan,
                kept,
            },
            clock,
        ))
    }
}

impl Default for Receipts {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").finish_non_exhaustive()
    }
}

/// What becomes of a message unless it is planned otherwise.
fn delivered() -> Vec<Step> {
    vec![
        Step::new("queued"),
        Step::new("sent").at(Duration::from_secs(1)),
        Step::new("delivered").at(Duration::from_secs(2)).detail("delivered_to_recipient"),
    ]
}
