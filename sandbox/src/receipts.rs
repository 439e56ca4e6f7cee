//! The delivery receipts that the sandbox posts: settings and record.

mod clock;
mod outbox;
mod post;
mod random;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Accepted;
pub(crate) use outbox::{Addressed, Outbox};

type Plan = dyn Fn(&Accepted) -> Vec<Step> + Send + Sync;

/// Which delivery receipts the sandbox posts, and when; for
/// [`SandboxBuilder::receipts`](crate::SandboxBuilder::receipts).
///
/// By default, each accepted message with a `dlrCallbackUrl` is `queued` at once, `sent` after one
/// second and `delivered` after two.
///
/// # Where to
/// The sandbox posts to `http` URLs on this machine only: a loopback address, or `localhost`, which
/// is `127.0.0.1`. It ignores any other callback URL, and follows no redirect. At most 64 posts are
/// in flight.
///
/// # Retries
/// After a connection error, no answer within [`TIMEOUT`](Self::TIMEOUT), a 4xx or a 5xx, it posts
/// the receipt again, like the platform: see [`RETRY_AFTER`](Self::RETRY_AFTER). Any other answer
/// acknowledges the receipt.
///
/// # The clock
/// All times but `TIMEOUT` are by the sandbox's clock. It runs at [`speed`](Self::speed), and
/// [`Sandbox::advance`](crate::Sandbox::advance) moves it forward.
pub struct Receipts {
    callback_url: Option<String>,
    authorization: Option<String>,
    speed: f64,
    plan: Box<Plan>,
}

/// A state that a message reaches, and how its receipt is posted.
///
/// Times count from the acceptance of the message.
#[derive(Clone, Debug)]
#[must_use]
pub struct Step {
    state: Cow<'static, str>,
    at: Duration,
    posted_at: Option<Duration>,
    times: u32,
    detail: Option<Cow<'static, str>>,
    error_code: Option<i64>,
    is_sms: bool,
}

/// A receipt in the record of the sandbox.
///
/// JSON has the members in camel case: `{"umid": "...", "clientMessageId": "abc-123", "channel":
/// "LineNotification", "state": "sent", "timestamp": "...", "attempts": [500, null, 200],
/// "acknowledged": true}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PostedReceipt {
    /// The id that the sandbox gave to the message.
    pub umid: String,
    /// The clientMessageId of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// The channel: `LineNotification`, or `sms` for an SMS fallback.
    pub channel: String,
    /// The state that the message reached.
    pub state: String,
    /// Details of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When the message reached the state.
    pub timestamp: String,
    /// Why the message was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i64>,
    /// The status of the answer to each post so far. `None` (`null`): no connection, or no answer.
    pub attempts: Vec<Option<u16>>,
    /// Whether the receiver answered any post with a status below 400.
    pub acknowledged: bool,
}

impl Receipts {
    /// How long the sandbox waits for an answer, in real time. The platform's time is not
    /// documented.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// How long after each failed attempt the sandbox posts a receipt again. After the fifth attempt
    /// it gives up. These are the platform's times.
    pub const RETRY_AFTER: [Duration; 4] = [
        Duration::from_secs(1),
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_secs(90),
    ];

    /// The default settings.
    #[must_use]
    pub fn new() -> Self {
        Self {
            callback_url: None,
            authorization: None,
            speed: 1.0,
            plan: Box::new(|_| {
                let second = Duration::from_secs(1);
                let delivered = Step::new("delivered").at(2 * second);
                vec![
                    Step::new("queued"),
                    Step::new("sent").at(second),
                    delivered.detail("delivered_to_recipient"),
                ]
            }),
        }
    }

    /// Sets the callback URL of the account, for messages without one. It must be on this machine.
    #[must_use]
    pub fn callback_url(mut self, url: impl Into<String>) -> Self {
        self.callback_url = Some(url.into());
        self
    }

    /// Sets the value of the `Authorization` header of every post. Default: none.
    #[must_use]
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Sets how many seconds the sandbox's clock advances in a second. At 0 it stands still until
    /// [`Sandbox::advance`](crate::Sandbox::advance) moves it, and receipts are posted one after the
    /// other in the order in which they are due.
    #[must_use]
    pub fn speed(mut self, speed: f64) -> Self {
        self.speed = speed;
        self
    }

    /// Sets the plan of each message. It runs when the message is accepted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use lon_sandbox::{Receipts, Step};
    ///
    /// let second = Duration::from_secs(1);
    /// let receipts = Receipts::new().plan(move |message| {
    ///     let mut steps = vec![
    ///         Step::new("queued").times(2),
    ///         // Out of order: posted after the next state.
    ///         Step::new("sent").at(second).posted_at(3 * second),
    ///     ];
    ///     if message.msisdn.ends_with("99") {
    ///         steps.push(Step::new("undelivered").at(2 * second).error(36));
    ///         steps.push(Step::new("delivered").at(4 * second).by_sms());
    ///     } else {
    ///         steps.push(Step::new("delivered").at(2 * second));
    ///     }
    ///     steps
    /// });
    /// # let _ = receipts;
    /// ```
    #[must_use]
    pub fn plan(mut self, plan: impl Fn(&Accepted) -> Vec<Step> + Send + Sync + 'static) -> Self {
        self.plan = Box::new(plan);
        self
    }

    /// Plans at random: one message of ten is rejected, three are undelivered, and the others are
    /// delivered, within 35 seconds. An undelivered message with an SMS fallback then has receipts
    /// of its SMS. One receipt of three is up to a minute late, and one of four is posted twice or
    /// three times.
    ///
    /// The same seed plans the same for the same umid.
    #[must_use]
    pub fn random(self, seed: u64) -> Self {
        self.plan(move |message| random::steps(seed, message))
    }
}

impl Step {
    /// The message reaches this state at once, and the receipt is posted once, at once.
    pub fn new(state: impl Into<Cow<'static, str>>) -> Self {
        Self {
            state: state.into(),
            at: Duration::ZERO,
            posted_at: None,
            times: 1,
            detail: None,
            error_code: None,
            is_sms: false,
        }
    }

    /// Sets when the message reaches the state: the timestamp of the receipt.
    pub fn at(mut self, time: Duration) -> Self {
        self.at = time;
        self
    }

    /// Sets when the receipt is first posted. Default: when the message reaches the state.
    pub fn posted_at(mut self, time: Duration) -> Self {
        self.posted_at = Some(time);
        self
    }

    /// Sets how many times the receipt is posted, whatever the answers. Each of them is retried by
    /// itself.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Sets the details of the state.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Sets the code that says why the message was not delivered.
    pub fn error(mut self, code: i64) -> Self {
        self.error_code = Some(code);
        self
    }

    /// The state is that of the SMS fallback. The platform does not document these receipts; the
    /// sandbox posts them in the namespace `SMS` and the channel `sms`, with the umid and the
    /// clientMessageId of the message.
    pub fn by_sms(mut self) -> Self {
        self.is_sms = true;
        self
    }

    fn channel(&self) -> &'static str {
        if self.is_sms { "sms" } else { "LineNotification" }
    }
}

impl Default for Receipts {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").field("speed", &self.speed).finish_non_exhaustive()
    }
}
