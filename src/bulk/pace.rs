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
/// After a 429 the rate is half of what went out, at most once for the requests that were on their
/// way together. While batches are taken it grows in steps, up to the ceiling and no further than
/// it is used: additive increase, multiplicative decrease.
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
                measured: Measured { since: start, count: 0.0, last: 0.0 },
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
        if state.cut.is_some_and(|cut| went_out <= cut) {
            return;
        }
        let now = Instant::now();
        let measured = state.measured.rate();
        // What a slow answer held back was not too much.
        let rate = state.rate.map_or(measured, |rate| rate.min(measured));
        let floor = self.unit.floor().min(state.rate.unwrap_or(f64::INFINITY));
        state.peak = state.peak.max(rate);
        state.cut = Some(now);
        self.change(&mut state, (rate / 2.0).max(floor), now);
    }

    /// A batch was taken.
    pub(super) fn speed_up(&self) {
        let mut state = self.state();
        let now = Instant::now();
        let Some(rate) = state.rate else { return };
        let full = self.ceiling == Some(rate) || rate > 2.0 * state.measured.rate();
        if full || now.saturating_duration_since(state.changed) < Self::GROWS_EVERY {
            return;
        }
        let least = if self.ceiling.is_none() { Self::LEAST_STEP } else { 0.0 };
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

#[cfg(test)]
mod tests {
    use super::{Pacer, Rate};
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long so many turns take, one after the other.
    async fn turns(pacer: &Pacer, turns: u32, messages: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..turns {
            pacer.turn(messages).await;
        }
        start.elapsed().as_secs_f64()
    }

    fn close(found: f64, expected: f64) {
        let near = (expected - 0.05)..=(expected * 1.1 + 0.05);
        assert!(near.contains(&found), "{found}, and not {expected}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_ceiling_nothing_is_held_back() {
        let pacer = Pacer::new(None, 1000);
        close(turns(&pacer, 10_000, 1000).await, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_holds_back() {
        let pacer = Pacer::new(Some(Rate::RequestsPerSecond(10.0)), 1000);
        close(turns(&pacer, 101, 1000).await, 10.0);
        let pacer = Pacer::new(Some(Rate::MessagesPerSecond(10_000.0)), 1000);
        close(turns(&pacer, 101, 1000).await, 10.0);
        // Small batches cost what they have.
        let pacer = Pacer::new(Some(Rate::MessagesPerSecond(10_000.0)), 100);
        close(turns(&pacer, 101, 100).await, 1.0);
        let pacer = Pacer::new(Some(Rate::RequestsPerSecond(0.5)), 1000);
        close(turns(&pacer, 3, 1).await, 4.0);
        // Far above what a timer of milliseconds can tell apart.
        let pacer = Pacer::new(Some(Rate::RequestsPerSecond(5_000.0)), 1);
        close(turns(&pacer, 10_001, 1).await, 2.0);
        // Beyond what can be counted.
        let pacer = Pacer::new(Some(Rate::MessagesPerSecond(f64::MAX)), 1000);
        close(turns(&pacer, 1000, 1000).await, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_all_and_the_longest_stands() {
        let pacer = Pacer::new(None, 1000);
        pacer.pause(3 * SECOND);
        pacer.pause(SECOND);
        let start = Instant::now();
        tokio::join!(pacer.turn(1), pacer.turn(1), pacer.turn(1));
        close(start.elapsed().as_secs_f64(), 3.0);
        // A pause that comes while one is waited for is waited for, too.
        pacer.pause(SECOND);
        let start = Instant::now();
        tokio::join!(pacer.turn(1), async {
            tokio::time::sleep(SECOND / 2).await;
            pacer.pause(2 * SECOND);
        });
        close(start.elapsed().as_secs_f64(), 2.5);
        pacer.pause(Duration::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_halves_the_rate_once_for_what_was_on_its_way() {
        let pacer = Pacer::new(Some(Rate::RequestsPerSecond(100.0)), 1000);
        turns(&pacer, 300, 1).await;
        let went_out = Instant::now();
        for _ in 0..8 {
            pacer.slow_down(went_out);
        }
        close(turns(&pacer, 100, 1).await, 2.0);
        // Another, of a request that went out at the new rate.
        pacer.slow_down(Instant::now());
        close(turns(&pacer, 100, 1).await, 4.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_without_a_ceiling_halves_what_went_out() {
        let pacer = Pacer::new(None, 1000);
        for _ in 0..100 {
            tokio::time::sleep(SECOND / 50).await;
            pacer.turn(1000).await;
        }
        pacer.slow_down(Instant::now());
        close(turns(&pacer, 50, 1000).await, 2.0);
    }

    /// Lets out what may go out for a while, and tells how many that were.
    async fn at_full_speed(pacer: &Pacer, time: Duration) -> f64 {
        let start = Instant::now();
        let mut out = 0.0;
        loop {
            pacer.turn(1).await;
            if start.elapsed() >= time {
                return out;
            }
            out += 1.0;
            pacer.speed_up();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_grows_back_to_the_ceiling_in_steps() {
        let pacer = Pacer::new(Some(Rate::RequestsPerSecond(100.0)), 1000);
        at_full_speed(&pacer, 3 * SECOND).await;
        pacer.slow_down(Instant::now());
        let rate = || pacer.state().rate.unwrap();
        let cut = rate();
        assert!((45.0..=51.0).contains(&cut), "{cut}");
        // Steps of 5, every 0.2 s.
        at_full_speed(&pacer, SECOND).await;
        let grown = rate() - cut;
        assert!((15.0..=25.0).contains(&grown), "{grown}");
        at_full_speed(&pacer, 3 * SECOND).await;
        assert!((rate() - 100.0).abs() < 1e-9, "{}", rate());
        let out = at_full_speed(&pacer, SECOND).await;
        assert!((98.0..=102.0).contains(&out), "{out}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_is_not_used_does_not_grow() {
        for ceiling in [None, Some(Rate::RequestsPerSecond(1_800.0))] {
            let pacer = Pacer::new(ceiling, 1000);
            pacer.turn(1).await;
            pacer.slow_down(Instant::now());
            // Answers are slow: ten a second, for ten minutes.
            for _ in 0..6_000 {
                tokio::time::sleep(SECOND / 10).await;
                pacer.turn(1).await;
                pacer.speed_up();
            }
            let rate = pacer.state().rate.unwrap();
            assert!(rate <= 120.0, "{rate}");
            pacer.slow_down(Instant::now());
            let rate = pacer.state().rate.unwrap();
            assert!((4.5..=5.5).contains(&rate), "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_does_not_go_down_to_nothing_and_never_above_the_ceiling() {
        for (rate, floor) in [
            (Rate::RequestsPerSecond(1.0), 0.1),
            (Rate::MessagesPerSecond(1000.0), 100.0),
            (Rate::RequestsPerSecond(0.02), 0.02),
            (Rate::MessagesPerSecond(10.0), 10.0),
        ] {
            let pacer = Pacer::new(Some(rate), 10);
            for _ in 0..100 {
                tokio::time::sleep(SECOND).await;
                pacer.slow_down(Instant::now());
            }
            let found = pacer.state().rate.unwrap();
            assert!((found - floor).abs() < 1e-9, "{rate:?}: {found}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_rate_lets_nothing_out_early() {
        let pacer = Pacer::new(Some(Rate::RequestsPerSecond(10.0)), 1000);
        at_full_speed(&pacer, 3 * SECOND).await;
        pacer.slow_down(Instant::now());
        let out = at_full_speed(&pacer, 3 * SECOND).await;
        // From 5 a second to 10, in ten steps: no more than 7.5 a second for the first two, and 10
        // for the third.
        assert!((20.0..=26.0).contains(&out), "{out}");
    }
}
