//! When a request is sent again, and after how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::Instant;
use tower::retry::budget::{Budget as _, TpsBudget};

use crate::{BatchResponse, Error};

/// When a batch is sent again by itself, and after how long.
///
/// Only what provably did nothing is sent again: there was no connection, or the platform answered
/// 429. What may have been sent is not, unless you ask for it in so many words with
/// [`resend_ambiguous_and_risk_duplicates`](Self::resend_ambiguous_and_risk_duplicates).
///
/// | what happened | sent again? | after |
/// |---|---|---|
/// | no connection was made | yes | a random time up to `base_delay`, doubled with each try, at most `max_delay` |
/// | 429 without `Retry-After` | yes | the same |
/// | 429 with `Retry-After`, in seconds or as a date | yes | that time and up to such a random one more; where it is longer than what is left of `max_elapsed` the error is returned at once |
/// | time-out, connection lost, 5xx, 303, 408, 499 | only with `resend_ambiguous_and_risk_duplicates` | as after a 429 |
/// | every other error, and an accepted batch whose answer is unreadable | never | |
///
/// Tries are bounded by [`max_attempts`](Self::max_attempts), by [`max_elapsed`](Self::max_elapsed)
/// and by a [`budget`](Self::budget) that all clones of a client share, so that an outage does not
/// multiply traffic. A try sends the same bytes as the one before it.
///
/// Each try is told to [`tracing`] as an event with the fields `attempt`, `messages` (of the
/// batch), `status`, `outcome` and `delay_ms`: at the level `WARN` where it is sent again, else
/// `DEBUG`. No phone number, text or key is among them.
///
/// ```
/// use std::time::Duration;
/// use lon_batch::{Client, RetryPolicy};
///
/// let client = Client::builder("my-subaccount", "my-api-key")
///     .retry(RetryPolicy::default().max_attempts(3).max_elapsed(Duration::from_secs(20)))
///     .build();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    max_attempts: u32,
    max_elapsed: Duration,
    base_delay: Duration,
    max_delay: Duration,
    resend_ambiguous: bool,
    budget_per_second: u32,
    budget_percent: u32,
}

/// 5 tries in 60 seconds, delays of at most 200 ms at first and 10 seconds in the end, and a
/// budget of 10 retries a second and 20 % of the batches.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            max_elapsed: Duration::from_secs(60),
            base_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
            resend_ambiguous: false,
            budget_per_second: 10,
            budget_percent: 20,
        }
    }
}

impl RetryPolicy {
    /// Nothing is ever sent again by itself.
    pub fn never() -> Self {
        Self::default().max_attempts(1)
    }

    /// For a run of many batches: 20 tries of each in 10 minutes, and delays of at most 30 seconds.
    pub fn patient() -> Self {
        Self::default()
            .max_attempts(20)
            .max_elapsed(Duration::from_secs(600))
            .max_delay(Duration::from_secs(30))
    }

    /// How often a batch is sent at most, the first time included: 5 unless it is set. 0 is taken
    /// for 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How long after the start of the first try another may start: 60 seconds unless it is set.
    /// The time that a try takes is bounded by the time-out of the client.
    #[must_use]
    pub fn max_elapsed(mut self, time: Duration) -> Self {
        self.max_elapsed = time;
        self
    }

    /// The longest delay before the second try: 200 ms unless it is set. It doubles with each
    /// further try; the delay is a random time between zero and that.
    #[must_use]
    pub fn base_delay(mut self, delay: Duration) -> Self {
        self.base_delay = delay;
        self
    }

    /// The longest delay before any try, but for what `Retry-After` asks for: 10 seconds unless it
    /// is set.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Also sends again what may have been sent: after a time-out, a lost connection, a 5xx.
    ///
    /// **People can get the same message twice, or more often**, and each is paid for: the platform
    /// has no idempotency key, and does not know that the second batch is the first. It is for
    /// messages of which twice is better than not at all.
    ///
    /// A message that a later try rejects may have been taken by an earlier one: a
    /// [run](crate::bulk) tells its fate as unknown, a verdict of
    /// [`Client::send`](crate::Client::send) is that of the last try alone. Where one try may have been sent and none
    /// after it was accepted, the error says so, whatever the last try came to.
    #[must_use]
    pub fn resend_ambiguous_and_risk_duplicates(mut self) -> Self {
        self.resend_ambiguous = true;
        self
    }

    /// How many retries a client and all its clones may make: so many a second, and so many in
    /// a hundred batches (at most 1,000), both over ten seconds. 10 and 20 unless it is set. Where
    /// nothing is left of it, the error is returned at once.
    #[must_use]
    pub fn budget(mut self, per_second: u32, percent: u32) -> Self {
        self.budget_per_second = per_second;
        self.budget_percent = percent;
        self
    }

    /// See [`max_elapsed`](Self::max_elapsed).
    pub(crate) fn longest(&self) -> Duration {
        self.max_elapsed
    }

    /// What to do after a try.
    fn decide(&self, happened: Happened, attempt: u32, spent: Duration) -> Decision {
        let retry_after = match happened {
            Happened::NoConnection => None,
            Happened::TooManyRequests { retry_after } => retry_after,
            Happened::MayHaveBeenSent { retry_after } if self.resend_ambiguous => retry_after,
            Happened::MayHaveBeenSent { .. } | Happened::Settled => return Decision::Return,
        };
        let left = self.max_elapsed.saturating_sub(spent);
        let at_least = retry_after.unwrap_or_default();
        if attempt >= self.max_attempts || left.is_zero() || at_least > left {
            return Decision::Return;
        }
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let backoff = self.base_delay.saturating_mul(doubled).min(self.max_delay);
        Decision::SendAgain { after: at_least..=at_least.saturating_add(backoff).min(left) }
    }
}

/// What a try came to, as far as sending it again goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happened {
    NoConnection,
    TooManyRequests {
        retry_after: Option<Duration>,
    },
    MayHaveBeenSent {
        retry_after: Option<Duration>,
    },
    /// It was accepted, or sending it again is of no use.
    Settled,
}

impl Happened {
    fn of(result: &Result<BatchResponse, Error>) -> Self {
        let Err(error) = result else {
            return Self::Settled;
        };
        let retry_after = error.retry_after();
        match error {
            Error::NotSent(_) => Self::NoConnection,
            Error::Refused(error) if error.status() == StatusCode::TOO_MANY_REQUESTS => {
                Self::TooManyRequests { retry_after }
            }
            Error::MayHaveBeenSent(_) => Self::MayHaveBeenSent { retry_after },
            Error::Invalid(_) | Error::Refused(_) | Error::AcceptedUnreadable(_) => Self::Settled,
        }
    }
}

/// What to do after a try.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// The result stands.
    Return,
    /// The same bytes are sent again after a random time out of these.
    SendAgain { after: RangeInclusive<Duration> },
}

/// The retries that a client and its clones may make.
pub(crate) struct Budget(TpsBudget);

impl Budget {
    pub(crate) fn of(policy: &RetryPolicy) -> Self {
        const WINDOW: Duration = Duration::from_secs(10);
        // The bounds are those that the type asserts.
        let per_second = policy.budget_per_second.min(1_000_000);
        let share = f32::from(u16::try_from(policy.budget_percent.min(1000)).unwrap_or(0)) / 100.0;
        Self(TpsBudget::new(WINDOW, per_second, share))
    }
}

/// The tries of one batch.
pub(crate) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    budget: &'a Budget,
    messages: usize,
    started: Option<Instant>,
    made: u32,
    patient: bool,
    /// The first error after which the batch may have been sent, where it was sent again.
    ambiguous: Option<Error>,
}

/// What comes after a try.
pub(crate) enum Next {
    Done(Result<BatchResponse, Error>),
    SendAgain { after: Duration },
}

impl<'a> Attempts<'a> {
    /// Of a batch of so many messages.
    pub(crate) fn new(policy: &'a RetryPolicy, budget: &'a Budget, messages: usize) -> Self {
        Self { policy, budget, messages, started: None, made: 0, patient: false, ambiguous: None }
    }

    /// A try starts now.
    pub(crate) fn start(&mut self) {
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.budget.0.deposit();
        }
    }

    /// What comes after a try that was started.
    pub(crate) fn after(
        &mut self,
        status: Option<StatusCode>,
        result: Result<BatchResponse, Error>,
    ) -> Next {
        self.made += 1;
        let spent = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        let decision = self.policy.decide(Happened::of(&result), self.made, spent);
        let delay = match decision {
            Decision::SendAgain { after } if self.budget.0.withdraw() => Some(random_in(&after)),
            Decision::SendAgain { after } if self.patient => {
                let left = self.policy.max_elapsed.saturating_sub(spent);
                Some(random_in(&after).max(self.policy.max_delay.min(left)))
            }
            Decision::SendAgain { .. } | Decision::Return => None,
        };
        self.tell(status, &result, delay);
        match delay {
            None => Next::Done(self.settle(result)),
            Some(after) => {
                if let Err(error) = result {
                    self.note(error);
                }
                Next::SendAgain { after }
            }
        }
    }

    /// Whether a try before the last may have been sent.
    pub(crate) fn may_have_been_sent_before(&self) -> bool {
        self.ambiguous.is_some()
    }

    /// The same, for a sender that waits longer where nothing is left of the budget.
    pub(crate) fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Makes no more tries. The error, where one of those that were made may have been sent.
    pub(crate) fn give_up(&mut self) -> Option<Error> {
        self.ambiguous.take()
    }

    fn note(&mut self, error: Error) {
        if error.may_have_been_sent() {
            self.ambiguous.get_or_insert(error);
        }
    }

    /// The result of all tries: an error that says that nothing was sent holds for the last of
    /// them alone.
    fn settle(&mut self, result: Result<BatchResponse, Error>) -> Result<BatchResponse, Error> {
        match (result, self.ambiguous.take()) {
            (Err(error), Some(earlier)) if !error.may_have_been_sent() => Err(earlier),
            (result, earlier) => {
                self.ambiguous = earlier;
                result
            }
        }
    }

    fn tell(
        &self,
        status: Option<StatusCode>,
        result: &Result<BatchResponse, Error>,
        delay: Option<Duration>,
    ) {
        let (attempt, messages) = (self.made, self.messages);
        let outcome = result.as_ref().map_or_else(outcome, |_| "accepted");
        let status = status.map(|status| status.as_u16());
        if let Some(delay) = delay {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(attempt, messages, status, outcome, delay_ms, "sends a batch again");
        } else {
            tracing::debug!(attempt, messages, status, outcome, "sent a batch");
        }
    }
}

/// What an error says of a try, in a word.
fn outcome(error: &Error) -> &'static str {
    match error {
        Error::Invalid(_) => "invalid",
        Error::NotSent(_) => "not sent",
        Error::Refused(_) => "refused",
        Error::MayHaveBeenSent(_) => "may have been sent",
        Error::AcceptedUnreadable(_) => "accepted, answer unreadable",
    }
}

fn random_in(range: &RangeInclusive<Duration>) -> Duration {
    let width = range.end().saturating_sub(*range.start());
    range.start().saturating_add(width.mul_f64(fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::Happened::{MayHaveBeenSent, NoConnection, Settled, TooManyRequests};
    use super::{Decision, Happened, RetryPolicy, random_in};
    use std::time::Duration;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Policy, what happened, attempt, milliseconds spent, and the delay from and to.
    type Row<'a> = (&'a RetryPolicy, Happened, u32, u64, Option<(u64, u64)>);

    #[test]
    fn decisions() {
        const RETURN: Option<(u64, u64)> = None;
        let some = |seconds| Some(Duration::from_secs(seconds));
        let policy = RetryPolicy::default()
            .max_attempts(4)
            .max_elapsed(ms(10_000))
            .base_delay(ms(100))
            .max_delay(ms(300));
        let resends = policy.clone().resend_ambiguous_and_risk_duplicates();
        let busy = |retry_after| TooManyRequests { retry_after };
        let unknown = |retry_after| MayHaveBeenSent { retry_after };
        #[rustfmt::skip]
        let table: [Row<'_>; 31] = [
            (&policy, NoConnection, 1, 0, Some((0, 100))),
            (&policy, NoConnection, 2, 0, Some((0, 200))),
            (&policy, NoConnection, 3, 0, Some((0, 300))), // 400, but for max_delay
            (&policy, NoConnection, 4, 0, RETURN),         // the last attempt
            (&policy, NoConnection, 5, 0, RETURN),
            (&policy, NoConnection, 1, 9_950, Some((0, 50))), // no longer than what is left
            (&policy, NoConnection, 1, 10_000, RETURN),
            (&policy, NoConnection, 1, 99_999, RETURN),
            (&policy, busy(None), 1, 0, Some((0, 100))),
            (&policy, busy(None), 4, 0, RETURN),
            (&policy, busy(some(0)), 1, 0, Some((0, 100))),
            (&policy, busy(some(2)), 1, 0, Some((2_000, 2_100))),
            (&policy, busy(some(2)), 3, 0, Some((2_000, 2_300))),
            (&policy, busy(some(10)), 1, 0, Some((10_000, 10_000))),
            (&policy, busy(some(10)), 1, 1, RETURN), // longer than what is left
            (&policy, busy(some(11)), 1, 0, RETURN),
            (&policy, busy(some(u64::MAX)), 1, 0, RETURN),
            (&policy, busy(some(2)), 1, 8_000, Some((2_000, 2_000))),
            (&policy, busy(some(2)), 1, 8_001, RETURN),
            (&policy, unknown(None), 1, 0, RETURN),
            (&policy, unknown(some(0)), 1, 0, RETURN),
            (&policy, Settled, 1, 0, RETURN),
            (&resends, unknown(None), 1, 0, Some((0, 100))),
            (&resends, unknown(None), 4, 0, RETURN),
            (&resends, unknown(some(2)), 1, 0, Some((2_000, 2_100))),
            (&resends, unknown(some(11)), 1, 0, RETURN),
            (&resends, unknown(None), 1, 10_000, RETURN),
            (&resends, Settled, 1, 0, RETURN),
            (&resends, NoConnection, 1, 0, Some((0, 100))),
            (&RetryPolicy::never(), NoConnection, 1, 0, RETURN),
            (&RetryPolicy::never(), busy(some(0)), 1, 0, RETURN),
        ];
        for (policy, happened, attempt, spent, expected) in table {
            let expected = expected.map_or(Decision::Return, |(from, to)| Decision::SendAgain {
                after: ms(from)..=ms(to),
            });
            assert_eq!(
                policy.decide(happened, attempt, ms(spent)),
                expected,
                "{happened:?}, attempt {attempt}, {spent} ms spent"
            );
        }
    }

    #[test]
    fn delays_do_not_overflow() {
        let policy = RetryPolicy::default()
            .max_attempts(u32::MAX)
            .max_elapsed(Duration::MAX)
            .base_delay(Duration::MAX)
            .max_delay(Duration::MAX);
        let after = Duration::ZERO..=Duration::MAX;
        for attempt in [1, 32, 33, 34, u32::MAX - 1] {
            let decided = policy.decide(NoConnection, attempt, ms(1));
            let to = Duration::MAX.saturating_sub(ms(1));
            assert_eq!(decided, Decision::SendAgain { after: ms(0)..=to });
        }
        assert!(after.contains(&random_in(&after)));
    }

    #[test]
    fn the_whole_range_of_delays_is_used() {
        let range = ms(100)..=ms(200);
        let delays: Vec<_> = (0..1000).map(|_| random_in(&range)).collect();
        assert!(delays.iter().all(|delay| range.contains(delay)));
        assert!(delays.iter().any(|delay| *delay < ms(120)));
        assert!(delays.iter().any(|delay| *delay > ms(180)));
    }
}
