//! The sandbox's clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// Runs at a speed, and can be moved forward.
pub(crate) struct Clock {
    start: DateTime<Utc>,
    since: Instant,
    speed: f64,
    advanced: Mutex<Duration>,
}

impl Clock {
    pub fn new(speed: f64) -> Self {
        Self {
            start: SystemTime::now().into(),
            since: Instant::now(),
            speed,
            advanced: Mutex::default(),
        }
    }

    pub fn stands_still(&self) -> bool {
        self.speed == 0.0
    }

    fn advanced(&self) -> MutexGuard<'_, Duration> {
        self.advanced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed(&self) -> Duration {
        let seconds = self.since.elapsed().as_secs_f64() * self.speed;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The time since the start of the sandbox.
    pub fn now(&self) -> Duration {
        self.elapsed().saturating_add(*self.advanced())
    }

    pub fn advance(&self, by: Duration) {
        let mut advanced = self.advanced();
        *advanced = advanced.saturating_add(by);
    }

    /// The moment, in the platform's format.
    pub fn timestamp(&self, time: Duration) -> String {
        let time = TimeDelta::from_std(time).ok();
        let moment = time.and_then(|time| self.start.checked_add_signed(time));
        let moment = moment.unwrap_or(DateTime::<Utc>::MAX_UTC);
        moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
    }

    /// When the clock shows this time unless it is moved. `None` if it never does.
    pub fn instant(&self, time: Duration) -> Option<Instant> {
        let seconds = time.saturating_sub(self.now()).as_secs_f64() / self.speed;
        Instant::now().checked_add(Duration::try_from_secs_f64(seconds).ok()?)
    }
}
