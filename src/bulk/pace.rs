//! When the next attempt of a group of senders may start: a shared pause and a maximum rate.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, ReasonablyRealtime};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The maximum send rate of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Requests per second, retries included.
    RequestsPerSecond(f64),
    /// Messages per second, retries included.
    MessagesPerSecond(f64),
}

/// The pause and the rate of a group of senders.
pub(super) struct Pace {
    limit: Option<(Rate, Limiter)>,
    clock: TokioClock,
    paused_until: Mutex<Option<Instant>>,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// The clock of tokio, which tests can pause.
#[derive(Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

impl ReasonablyRealtime for TokioClock {}

impl Pace {
    /// `largest` is the most messages of a chunk.
    pub fn new(rate: Option<Rate>, largest: usize) -> Self {
        let clock = TokioClock(Instant::now());
        let limit = rate.and_then(|rate| {
            let quota = quota(rate, largest)?;
            Some((rate, RateLimiter::direct_with_clock(quota, clock.clone())))
        });
        Self { limit, clock, paused_until: Mutex::new(None) }
    }

    /// Waits until a chunk of this many messages may leave.
    pub async fn turn(&self, messages: usize) {
        while let Some(wait) = self.wait(messages) {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self, messages: usize) -> Option<Duration> {
        let paused_until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = paused_until.map(|it| it.saturating_duration_since(Instant::now()));
        if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            return Some(pause);
        }
        let (rate, limiter) = self.limit.as_ref()?;
        let cells = match rate {
            Rate::RequestsPerSecond(_) => 1,
            Rate::MessagesPerSecond(_) => u32::try_from(messages).unwrap_or(u32::MAX),
        };
        // The burst holds a whole chunk, so the outer result is never an error.
        match limiter.check_n(NonZeroU32::new(cells)?) {
            Ok(Err(early)) => Some(early.wait_time_from(self.clock.now())),
            _ => None,
        }
    }

    /// Pauses all senders of the group for this long from now. The longest pause stands.
    pub fn pause(&self, time: Duration) {
        let until = Instant::now().checked_add(time);
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused_until = (*paused_until).max(until);
    }
}

/// A quota that lets a whole chunk out at once, and what falls due between two ticks of the timer.
/// `None` if the rate is beyond what can be counted.
fn quota(rate: Rate, largest: usize) -> Option<Quota> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let (per_second, chunk) = match rate {
        Rate::RequestsPerSecond(rate) => (rate, 1),
        Rate::MessagesPerSecond(rate) => (rate, u32::try_from(largest).unwrap_or(u32::MAX)),
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let due = (per_second / TICKS_PER_SECOND) as u32;
    let period = Duration::try_from_secs_f64(1.0 / per_second).ok()?;
    let burst = NonZeroU32::new(chunk.max(due))?;
    Some(Quota::with_period(period)?.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    use super::{Pace, Rate};
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_rate_delays_chunks() {
        for (rate, turns, messages, seconds) in [
            (None, 10_000, 1000, 0.0),
            (Some(Rate::RequestsPerSecond(10.0)), 101, 1000, 10.0),
            (Some(Rate::RequestsPerSecond(0.5)), 3, 1, 4.0),
            (Some(Rate::MessagesPerSecond(10_000.0)), 101, 1000, 10.0),
            // Small chunks cost what they hold, and the first of them may leave at once.
            (Some(Rate::MessagesPerSecond(10_000.0)), 110, 100, 1.0),
            // Many chunks per tick of the timer.
            (Some(Rate::RequestsPerSecond(5_000.0)), 10_050, 1, 2.0),
            // Beyond what can be counted.
            (Some(Rate::MessagesPerSecond(f64::MAX)), 1000, 1000, 0.0),
        ] {
            let pace = Pace::new(rate, 1000);
            let start = Instant::now();
            for _ in 0..turns {
                pace.turn(messages).await;
            }
            let found = start.elapsed().as_secs_f64();
            let near = (seconds - 0.05)..=(seconds * 1.1 + 0.05);
            assert!(near.contains(&found), "{rate:?}: {found} seconds, expected {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_pause_holds_for_all() {
        let pace = Pace::new(None, 1000);
        pace.pause(3 * SECOND);
        pace.pause(SECOND);
        let start = Instant::now();
        tokio::join!(pace.turn(1), pace.turn(1));
        assert_eq!(start.elapsed().as_secs(), 3);
        // A pause that starts during another one is waited for, too.
        pace.pause(SECOND);
        let start = Instant::now();
        tokio::join!(pace.turn(1), async {
            tokio::time::sleep(SECOND / 2).await;
            pace.pause(2 * SECOND);
        });
        assert!(start.elapsed() >= Duration::from_millis(2500), "{:?}", start.elapsed());
        // A pause that has no end in the calendar of the clock is ignored.
        pace.pause(Duration::MAX);
        pace.turn(1).await;
    }
}
