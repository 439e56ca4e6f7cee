//! When a batch is retried, and after how long.

use std::borrow::Borrow;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::outcome::{Outcome, OutcomeKind};
use crate::types::BatchResponse;

/// When the client retries a batch, and after which delay.
///
/// By default, it retries only if the attempt provably did nothing: it could not connect, or the
/// platform answered 429. A batch that may have been sent is retried only with
/// [`resend_ambiguous_and_risk_duplicates`](Self::resend_ambiguous_and_risk_duplicates).
///
/// | what happened | retried? | delay |
/// |---|---|---|
/// | could not connect | yes | random, up to `base_delay`, doubled for each further retry, at most `max_delay` |
/// | 429 without `Retry-After` | yes | the same |
/// | 429 with `Retry-After`, in seconds or as a date | yes | that time plus the same random delay; if it exceeds the rest of `max_elapsed`, the error is returned at once |
/// | timeout, connection lost, 5xx, 303, 408, 499, a truncated 429 | only with `resend_ambiguous_and_risk_duplicates` | as after a 429 |
/// | every other error, and any response that may list accepted messages | never | |
///
/// Each attempt is a [`tracing`] event, at level `WARN` if a retry follows and else at `DEBUG`. Its
/// fields are `messages` (in the batch), `http.request.resend_count` (0 for the first attempt),
/// `accepted` and `rejected` (the counts of a response), `http.response.status_code`, `outcome` and
/// `delay_ms` (of a failed attempt). No phone number, text or key is among them.
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
}

/// 5 attempts within 60 seconds, with a backoff from 200 ms to 10 seconds.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            max_elapsed: Duration::from_secs(60),
            base_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
            resend_ambiguous: false,
        }
    }
}

impl RetryPolicy {
    /// Never retries.
    pub fn never() -> Self {
        Self::default().max_attempts(1)
    }

    /// For bulk runs: 20 attempts for each batch within 10 minutes, with a backoff of up to 30
    /// seconds.
    pub fn patient() -> Self {
        Self::default()
            .max_attempts(20)
            .max_elapsed(Duration::from_secs(600))
            .max_delay(Duration::from_secs(30))
    }

    /// Sets the maximum number of attempts, including the first. Default: 5. 0 counts as 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the retry deadline. No attempt starts later than this after the first. Default: 60
    /// seconds. A running attempt still has the client's full timeout.
    #[must_use]
    pub fn max_elapsed(mut self, time: Duration) -> Self {
        self.max_elapsed = time;
        self
    }

    /// Sets the backoff base. The delay before retry *n* is random between 0 and
    /// `base_delay × 2^(n−1)`, capped by `max_delay`. Default: 200 ms.
    #[must_use]
    pub fn base_delay(mut self, delay: Duration) -> Self {
        self.base_delay = delay;
        self
    }

    /// Caps the backoff. Default: 10 seconds. `Retry-After` is added to it.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Also retries a batch that may have been sent: after a timeout, a lost connection, a 5xx.
    ///
    /// **People can get the same message twice or more often**, and you pay for each: the platform
    /// has no idempotency key and cannot detect the duplicate. Use it only if a duplicate is better
    /// than a missing message.
    ///
    /// If one attempt may have been sent and no later one gets a 2xx, the error reports the batch
    /// as unknown. A later rejection proves nothing about the earlier attempt.
    /// [`Client::send_message`](crate::Client::send_message) and bulk runs therefore report it as
    /// unknown. [`Client::send`](crate::Client::send) returns the last response as it is.
    #[must_use]
    pub fn resend_ambiguous_and_risk_duplicates(mut self) -> Self {
        self.resend_ambiguous = true;
        self
    }

    /// See [`max_elapsed`](Self::max_elapsed).
    #[cfg(feature = "bulk")]
    pub(crate) fn longest(&self) -> Duration {
        self.max_elapsed
    }

    /// The range of the delay before the next attempt. `None` if no attempt follows.
    fn delay(
        &self,
        error: &Error,
        attempt: u32,
        spent: Duration,
    ) -> Option<RangeInclusive<Duration>> {
        let is_ambiguous = error.outcome() == OutcomeKind::Unknown;
        if !error.retry_can_help() || (is_ambiguous && !self.resend_ambiguous) {
            return None;
        }
        let left = self.max_elapsed.saturating_sub(spent);
        let at_least = error.retry_after().unwrap_or_default();
        if attempt >= self.max_attempts || left.is_zero() || at_least > left {
            return None;
        }
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let backoff = self.base_delay.saturating_mul(doubled).min(self.max_delay);
        Some(at_least..=at_least.saturating_add(backoff).min(left))
    }
}

/// The attempts for one batch: counts them, logs them, and decides whether another follows.
pub(crate) struct Retries<'a> {
    policy: &'a RetryPolicy,
    messages: usize,
    first_began: Option<Instant>,
    attempts: u32,
    /// The first error after which the batch may have been sent.
    ambiguous: Option<Error>,
}

/// The step after an attempt.
pub(crate) enum Next {
    /// Retry after this delay. Until then every message has this outcome.
    Retry {
        /// The time to wait.
        delay: Duration,
        #[cfg_attr(not(feature = "bulk"), allow(dead_code, reason = "a journal records it"))]
        outcome: Outcome,
    },
    /// No retry follows.
    Finished {
        /// The result of the last attempt.
        result: Result<BatchResponse, Error>,
        /// The error of an attempt before the last that may have been sent.
        earlier: Option<Error>,
    },
}

/// The error that decides the outcome of the batch. `retry_is_safe` of the last error describes only
/// the last attempt; an earlier one may have been sent.
pub(crate) fn decisive<E: Borrow<Error>>(last: E, earlier: Option<E>) -> E {
    if last.borrow().retry_is_safe() { earlier.unwrap_or(last) } else { last }
}

impl<'a> Retries<'a> {
    pub fn new(policy: &'a RetryPolicy, messages: usize) -> Self {
        Self { policy, messages, first_began: None, attempts: 0, ambiguous: None }
    }

    /// An attempt begins now. Time before the first does not count.
    pub fn begin(&mut self) {
        self.first_began.get_or_insert_with(Instant::now);
        self.attempts += 1;
    }

    /// Decides what follows an attempt.
    pub fn after(&mut self, result: Result<BatchResponse, Error>) -> Next {
        let spent = self.first_began.map_or(Duration::ZERO, |began| began.elapsed());
        let error = result.as_ref().err();
        let delay = error.and_then(|error| self.policy.delay(error, self.attempts, spent));
        let delay = delay.map(|range| random_in(&range));
        self.log(&result, delay);
        match (result, delay) {
            (Err(error), Some(delay)) => {
                let outcome = Outcome::from(self.ambiguous.as_ref().unwrap_or(&error));
                if error.outcome() == OutcomeKind::Unknown {
                    self.ambiguous.get_or_insert(error);
                }
                Next::Retry { delay, outcome }
            }
            (result, _) => Next::Finished { result, earlier: self.ambiguous.take() },
        }
    }

    fn log(&self, result: &Result<BatchResponse, Error>, delay: Option<Duration>) {
        let (messages, resend_count) = (self.messages, self.attempts.saturating_sub(1));
        let error = match result {
            Ok(response) => {
                // A count beyond that may be a phone number in the wrong place.
                let count = |it: Option<i64>| {
                    it.and_then(|it| usize::try_from(it).ok()).filter(|it| *it <= messages)
                };
                tracing::debug!(
                    messages,
                    "http.request.resend_count" = resend_count,
                    accepted = count(response.accepted_count),
                    rejected = count(response.rejected_count),
                    "the platform accepted the batch"
                );
                return;
            }
            Err(error) => error,
        };
        let status = error.status().map(|status| status.as_u16());
        let outcome = error.outcome().as_str();
        if let Some(delay) = delay {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                messages,
                "http.request.resend_count" = resend_count,
                "http.response.status_code" = status,
                outcome,
                delay_ms,
                "retrying a batch"
            );
        } else {
            tracing::debug!(
                messages,
                "http.request.resend_count" = resend_count,
                "http.response.status_code" = status,
                outcome,
                "an attempt failed"
            );
        }
    }
}

fn random_in(range: &RangeInclusive<Duration>) -> Duration {
    let width = range.end().saturating_sub(*range.start());
    range.start().saturating_add(width.mul_f64(fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::{RetryPolicy, random_in};
    use crate::error::Error;
    use crate::types::BatchRequest;
    use http::{HeaderMap, StatusCode};
    use std::time::Duration;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn answered(status: u16, retry_after: Option<u64>) -> Error {
        let status = StatusCode::from_u16(status).unwrap();
        let retry_after = retry_after.map(|it| ("retry-after".parse().unwrap(), it.into()));
        let headers = HeaderMap::from_iter(retry_after);
        Error::from_response(&BatchRequest::new(Vec::new()), status, &headers, b"", false)
    }

    #[test]
    fn delays_by_what_happened() {
        let policy = RetryPolicy::default().max_attempts(4).max_elapsed(ms(10_000));
        let policy = policy.base_delay(ms(100)).max_delay(ms(300));
        let resends = policy.clone().resend_ambiguous_and_risk_duplicates();
        let no_connection = Error::without_request();
        let (busy, unknown) = (|wait| answered(429, wait), |wait| answered(503, wait));
        for (policy, error, attempt, spent, expected) in [
            (&policy, &no_connection, 1, 0, Some((0, 100))),
            (&policy, &no_connection, 2, 0, Some((0, 200))),
            (&policy, &no_connection, 3, 0, Some((0, 300))), // max_delay
            (&policy, &no_connection, 4, 0, None),           // the last attempt
            (&policy, &no_connection, 1, 9_950, Some((0, 50))), // what is left
            (&policy, &no_connection, 1, 10_000, None),
            (&policy, &busy(None), 1, 0, Some((0, 100))),
            (&policy, &busy(Some(0)), 1, 0, Some((0, 100))),
            (&policy, &busy(Some(2)), 3, 0, Some((2_000, 2_300))),
            (&policy, &busy(Some(2)), 1, 8_000, Some((2_000, 2_000))),
            (&policy, &busy(Some(2)), 1, 8_001, None), // longer than what is left
            (&policy, &busy(Some(u64::MAX)), 1, 0, None),
            (&policy, &unknown(Some(0)), 1, 0, None),
            (&policy, &answered(400, Some(0)), 1, 0, None),
            (&resends, &unknown(None), 1, 0, Some((0, 100))),
            (&resends, &unknown(Some(2)), 1, 0, Some((2_000, 2_100))),
            (&resends, &unknown(None), 4, 0, None),
            (&resends, &answered(400, Some(0)), 1, 0, None),
            (&RetryPolicy::never(), &busy(Some(0)), 1, 0, None),
        ] {
            let expected = expected.map(|(from, to)| ms(from)..=ms(to));
            let delay = policy.delay(error, attempt, ms(spent));
            assert_eq!(delay, expected, "{error}, attempt {attempt}, {spent} ms spent");
        }
    }

    #[test]
    fn delays_do_not_overflow_and_use_the_whole_range() {
        let policy = RetryPolicy::default().max_attempts(u32::MAX).max_elapsed(Duration::MAX);
        let policy = policy.base_delay(Duration::MAX).max_delay(Duration::MAX);
        for attempt in [1, 32, 33, 34, u32::MAX - 1] {
            let delay = policy.delay(&Error::without_request(), attempt, ms(1)).unwrap();
            assert_eq!(delay, ms(0)..=Duration::MAX.saturating_sub(ms(1)));
            assert!(delay.contains(&random_in(&delay)));
        }
        let range = ms(100)..=ms(200);
        let delays: Vec<_> = (0..1000).map(|_| random_in(&range)).collect();
        assert!(delays.iter().all(|delay| range.contains(delay)));
        assert!(delays.iter().any(|delay| *delay < ms(120)));
        assert!(delays.iter().any(|delay| *delay > ms(180)));
    }
}
