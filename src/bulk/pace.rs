//! How fast a run goes: a pause that all its workers keep, and a rate that adapts.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, ReasonablyRealtime};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::Rate;

/// Lets batches out one by one.
///
/// After a 429 the rate is halved, at most once for the requests that were on their way together.
/// While batches are taken it grows in steps, up to the ceiling: additive increase, multiplicative
/// decrease.
pub(super) struct Pacer {
    unit: Unit,
    ceiling: Option<f64>,
    /// Messages of a batch at most.
    batch: u32,
    clock: RunClock,
    state: Mutex<State>,
}

/// What a rate counts.
#[derive(Clone, Copy)]
enum Unit {
    Requests,
    Messages,
}

struct State {
    paused_until: Instant,
    /// Per second. Without one nothing is held back.
    rate: Option<f64>,
    limiter: Option<Limiter>,
    /// The ceiling, or the highest rate at which there was a 429.
    peak: f64,
    /// When the rate was last cut, and last changed.
    cut: Option<Instant>,
    changed: Instant,
    measured: Measured,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, RunClock, NoOpMiddleware<Nanos>>;

/// The clock of tokio, which tests can stop.
#[derive(Clone)]
struct RunClock {
    start: Instant,
}

impl Clock for RunClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.start.elapsed().into()
    }
}

impl ReasonablyRealtime for RunClock {}

/// What went out in the last whole second, or in the one that runs.
struct Measured {
    since: Instant,
    count: f64,
    last: f64,
}

impl Measured {
    const WINDOW: Duration = Duration::from_secs(1);

    fn add(&mut self, cells: u32, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= Self::WINDOW {
            self.last = self.count / elapsed.as_secs_f64();
            self.count = 0.0;
            self.since = now;
        }
        self.count += f64::from(cells);
    }

    fn rate(&self) -> f64 {
        self.last.max(self.count)
    }
}

impl Unit {
    /// Below this the rate is not cut.
    fn floor(self) -> f64 {
        match self {
            Self::Requests => 0.1,
            Self::Messages => 100.0,
        }
    }
}

impl Pacer {
    const GROWS_EVERY: Duration = Duration::from_millis(200);
    /// Steps from nothing to the peak.
    const STEPS: f64 = 20.0;
    /// Requests per second of a step at least, where there is no ceiling to come back to: at its
    /// start a run does not know how fast it could be.
    const LEAST_STEP: f64 = 1.0;

    pub(super) fn new(ceiling: Option<Rate>, batch: usize) -> Self {
        let (unit, ceiling) = match ceiling {
            None => (Unit::Requests, None),
            Some(Rate::RequestsPerSecond(rate)) => (Unit::Requests, Some(rate)),
            Some(Rate::MessagesPerSecond(rate)) => (Unit::Messages, Some(rate)),
        };
        let start = Instant::now();
        let clock = RunClock { start };
        let batch = u32::try_from(batch).unwrap_or(u32::MAX);
        let limiter = ceiling.and_then(|rate| limiter(unit, rate, batch, &clock));
        Self {
            unit,
            ceiling,
            batch,
            clock,
            state: Mutex::new(State {
                paused_until: start,
                rate: ceiling,
                limiter,
                peak: ceiling.unwrap_or(0.0),
                cut: None,
                changed: start,
                measured: Measured {
                    since: start,
                    count: 0.0,
                    last: 0.0,
                },
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a batch of so many messages may go out.
    pub(super) async fn turn(&self, messages: usize) {
        while let Some(wait) = self.wait(messages) {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self, messages: usize) -> Option<Duration> {
        let mut state = self.state();
        let now = Instant::now();
        let pause = state.paused_until.saturating_duration_since(now);
        if !pause.is_zero() {
            return Some(pause);
        }
        let cells = match self.unit {
            Unit::Requests => 1,
            Unit::Messages => u32::try_from(messages).unwrap_or(u32::MAX),
        };
        if let (Some(limiter), Some(n)) = (&state.limiter, NonZeroU32::new(cells)) {
            // The limiter holds a whole batch, so the outer result is never an error.
            if let Ok(Err(early)) = limiter.check_n(n) {
                return Some(early.wait_time_from(self.clock.now()));
            }
        }
        state.measured.add(cells, now);
        None
    }

    /// Nothing goes out for this time, from now.
    pub(super) fn pause(&self, time: Duration) {
        let Some(until) = Instant::now().checked_add(time) else {
            return;
        };
        let mut state = self.state();
        state.paused_until = state.paused_until.max(until);
    }

    /// A request that went out at this time got a 429.
    pub(super) fn slow_down(&self, went_out: Instant) {
        let mut state = self.state();
        if state.cut.is_some_and(|cut| went_out < cut) {
            return;
        }
        let now = Instant::now();
        let rate = state.rate.unwrap_or_else(|| state.measured.rate());
        state.peak = state.peak.max(rate);
        state.cut = Some(now);
        self.change(&mut state, (rate / 2.0).max(self.unit.floor()), now);
    }

    /// A batch was taken.
    pub(super) fn speed_up(&self) {
        let mut state = self.state();
        let now = Instant::now();
        let Some(rate) = state.rate else { return };
        if self.ceiling == Some(rate)
            || now.saturating_duration_since(state.changed) < Self::GROWS_EVERY
        {
            return;
        }
        let least = if self.ceiling.is_none() {
            Self::LEAST_STEP
        } else {
            0.0
        };
        let step = (state.peak / Self::STEPS).max(least);
        let rate = (rate + step).min(self.ceiling.unwrap_or(f64::INFINITY));
        self.change(&mut state, rate, now);
    }

    fn change(&self, state: &mut State, rate: f64, now: Instant) {
        state.rate = Some(rate);
        state.changed = now;
        state.limiter = limiter(self.unit, rate, self.batch, &self.clock);
        // A new limiter is full. What it lets out at once was let out by the one before it.
        if let Some(limiter) = &state.limiter {
            let _ = limiter.check_n(burst(self.unit, rate, self.batch));
        }
    }
}

/// What may go out at once: one batch, and no less than what falls due between two ticks of the
/// timer.
fn burst(unit: Unit, rate: f64, batch: u32) -> NonZeroU32 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let least = match unit {
        Unit::Requests => 1,
        Unit::Messages => batch,
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let due = (rate / TICKS_PER_SECOND) as u32;
    NonZeroU32::new(least.max(due)).unwrap_or(NonZeroU32::MIN)
}

/// `None` where the rate is beyond what can be counted.
fn limiter(unit: Unit, rate: f64, batch: u32, clock: &RunClock) -> Option<Limiter> {
    let period = Duration::try_from_secs_f64(1.0 / rate).ok()?;
    let quota = Quota::with_period(period)?.allow_burst(burst(unit, rate, batch));
    Some(RateLimiter::direct_with_clock(quota, clock.clone()))
}
