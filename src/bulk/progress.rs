//! How far a run is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::fate::{Fate, Stop};

/// How far a run is, to be asked from anywhere and at any time, also after the run was dropped.
///
/// Cloning it copies a pointer.
#[derive(Clone)]
pub struct Progress(Arc<Inner>);

struct Inner {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    /// When the last fate was told.
    last: Option<Instant>,
    stop: Option<Stop>,
    /// Nothing more is taken.
    closed: bool,
}

/// Messages, counted by their fates.
///
/// `taken` is always the sum of `accepted`, `rejected`, `refused`, `unknown`, `not_sent` and
/// [`pending`](Self::pending).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages that were taken from the input.
    pub taken: u64,
    /// See [`Fate::Accepted`].
    pub accepted: u64,
    /// See [`Fate::Rejected`].
    pub rejected: u64,
    /// See [`Fate::Refused`].
    pub refused: u64,
    /// See [`Fate::Unknown`].
    pub unknown: u64,
    /// See [`Fate::NotSent`].
    pub not_sent: u64,
    /// Items of the input that were no messages. They have no fates.
    pub bad_items: u64,
    /// Requests that were made, each time that a batch was sent again included.
    pub requests: u64,
}

impl Counts {
    /// Messages whose fate is known.
    pub fn settled(&self) -> u64 {
        self.accepted + self.rejected + self.refused + self.unknown + self.not_sent
    }

    /// Messages that were taken, and whose fate is not known yet: on their way, or waiting.
    pub fn pending(&self) -> u64 {
        self.taken.saturating_sub(self.settled())
    }

    fn add(&mut self, fate: &Fate) {
        *match fate {
            Fate::Accepted { .. } => &mut self.accepted,
            Fate::Rejected { .. } => &mut self.rejected,
            Fate::Refused(_) => &mut self.refused,
            Fate::Unknown(_) => &mut self.unknown,
            Fate::NotSent(_) => &mut self.not_sent,
        } += 1;
    }
}

/// How far a run is, or how it ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Messages by fate.
    pub counts: Counts,
    /// The time from the start of the run to now, or to the last fate where none is open.
    pub elapsed: Duration,
    /// What ended the run before the end of its input.
    pub stop: Option<Stop>,
    /// Whether every message has its fate and none will be taken any more.
    pub ended: bool,
}

impl Summary {
    /// Messages with a fate per second, since the run started.
    pub fn messages_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            #[allow(clippy::cast_precision_loss, reason = "a rate")]
            let settled = self.counts.settled() as f64;
            settled / seconds
        } else {
            0.0
        }
    }
}

/// One line: the messages by fate, and what ended the run.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { taken, accepted, rejected, refused, unknown, not_sent, bad_items, requests } =
            self.counts;
        write!(
            f,
            "{taken} messages taken: {accepted} accepted, {rejected} rejected, {refused} refused, \
             {unknown} unknown, {not_sent} not sent"
        )?;
        match self.counts.pending() {
            0 => {}
            pending => write!(f, ", {pending} pending")?,
        }
        if bad_items > 0 {
            write!(f, "; {bad_items} bad items")?;
        }
        write!(f, "; {requests} requests")?;
        match &self.stop {
            Some(stop) => write!(f, "; stopped: {stop}"),
            None => Ok(()),
        }
    }
}

impl Progress {
    pub(super) fn start() -> Self {
        Self(Arc::new(Inner { started: Instant::now(), state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the run is now. It takes a lock for the time of a copy.
    pub fn summary(&self) -> Summary {
        let state = self.state();
        let now = Instant::now();
        let end = match state.last {
            Some(last) if state.counts.pending() == 0 => last,
            _ => now,
        };
        Summary {
            counts: state.counts,
            elapsed: end.saturating_duration_since(self.0.started),
            stop: state.stop.clone(),
            ended: state.closed && state.counts.pending() == 0,
        }
    }

    pub(super) fn take(&self, messages: usize) {
        self.state().counts.taken += messages as u64;
    }

    pub(super) fn bad_item(&self) {
        self.state().counts.bad_items += 1;
    }

    pub(super) fn request(&self) {
        self.state().counts.requests += 1;
    }

    pub(super) fn settle<'a>(&self, fates: impl IntoIterator<Item = &'a Fate>) {
        let mut state = self.state();
        for fate in fates {
            state.counts.add(fate);
        }
        state.last = Some(Instant::now());
    }

    /// What ended the run. The first reason stands, but for one that only ended the input.
    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.state();
        if state.stop.as_ref().is_none_or(Stop::ends_the_input_alone) {
            state.stop = Some(stop);
        }
    }

    /// Nothing more is taken from the input.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.summary()).finish()
    }
}
