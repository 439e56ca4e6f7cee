//! The time of the sandbox.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// Tells how long the sandbox has been running, in its own time.
pub struct Clock {
    start: DateTime<Utc>,
    kind: Kind,
}

enum Kind {
    /// Real time, times the speed.
    Scaled { since: Instant, speed: f64 },
    /// What it was moved to.
    Manual(Mutex<Duration>),
}

impl Clock {
    /// One that goes with real time, times the speed, or else one that is moved; `None` where the
    /// calendar does not have its start.
    pub(super) fn new(start: SystemTime, speed: Option<f64>) -> Option<Self> {
        let from_1970 = match start.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => TimeDelta::from_std(after).ok()?,
            Err(before) => -TimeDelta::from_std(before.duration()).ok()?,
        };
        let start = DateTime::<Utc>::UNIX_EPOCH.checked_add_signed(from_1970)?;
        let kind = match speed {
            Some(speed) => Kind::Scaled { since: Instant::now(), speed },
            None => Kind::Manual(Mutex::default()),
        };
        Some(Self { start, kind })
    }

    pub fn is_manual(&self) -> bool {
        matches!(self.kind, Kind::Manual(_))
    }

    pub fn now(&self) -> Duration {
        match &self.kind {
            Kind::Scaled { since, speed } => {
                let seconds = since.elapsed().as_secs_f64() * speed;
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
            Kind::Manual(now) => *lock(now),
        }
    }

    /// The moment, as the platform writes it.
    pub fn timestamp(&self, time: Duration) -> String {
        let moment = TimeDelta::from_std(time).ok();
        moment
            .and_then(|time| self.start.checked_add_signed(time))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
            .format("%Y-%m-%dT%H:%M:%S%.6fZ")
            .to_string()
    }

    /// The real time of a moment; `None` where it will not come.
    pub(super) fn instant(&self, time: Duration) -> Option<Instant> {
        let Kind::Scaled { since, speed } = &self.kind else {
            return None;
        };
        let real = Duration::try_from_secs_f64(time.as_secs_f64() / speed).ok()?;
        since.checked_add(real)
    }

    /// Moves a manual clock, never back.
    pub(super) fn move_to(&self, time: Duration) {
        if let Kind::Manual(now) = &self.kind {
            let mut now = lock(now);
            *now = time.max(*now);
        }
    }
}

fn lock(now: &Mutex<Duration>) -> MutexGuard<'_, Duration> {
    now.lock().unwrap_or_else(PoisonError::into_inner)
}
