//! How far a run is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::Stop;
use crate::outcome::OutcomeKind;

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
    /// When the last outcome was known.
    last: Option<Instant>,
    stop: Option<Stop>,
    /// Nothing more is taken.
    closed: bool,
}

/// Messages, counted by their outcomes.
///
/// `taken` is always the sum of `accepted`, `rejected`, `not_sent`, `unknown` and
/// [`pending`](Self::pending).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages that were taken from the input.
    pub taken: u64,
    /// See [`OutcomeKind::Accepted`].
    pub accepted: u64,
    /// See [`OutcomeKind::Rejected`].
    pub rejected: u64,
    /// See [`OutcomeKind::NotSent`].
    pub not_sent: u64,
    /// See [`OutcomeKind::Unknown`].
    pub unknown: u64,
    /// Items of the input that were no messages. They have no outcomes.
    pub bad_items: u64,
    /// Requests that were made, retries included.
    pub requests: u64,
}

impl Counts {
    /// Messages whose outcome is known.
    pub fn settled(&self) -> u64 {
        self.accepted + self.rejected + self.not_sent + self.unknown
    }

    /// Messages that were taken, and whose outcome is not known yet: in flight, or waiting.
    pub fn pending(&self) -> u64 {
        self.taken.saturating_sub(self.settled())
    }

    fn add(&mut self, outcome: OutcomeKind) {
        *match outcome {
            OutcomeKind::Accepted => &mut self.accepted,
            OutcomeKind::Rejected => &mut self.rejected,
            OutcomeKind::NotSent => &mut self.not_sent,
            OutcomeKind::Unknown => &mut self.unknown,
        } += 1;
    }
}

/// How far a run is, or how it ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Messages by outcome.
    pub counts: Counts,
    /// The time from the start of the run to now, or to the last outcome if none is open.
    pub elapsed: Duration,
    /// What ended the run before the end of its input.
    pub stop: Option<Stop>,
    /// Whether every message has its outcome and none will be taken any more.
    pub ended: bool,
}

impl Summary {
    /// Messages with an outcome per second, since the run started.
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

/// One line: the messages by outcome, and what ended the run.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { taken, accepted, rejected, not_sent, unknown, bad_items, requests } =
            self.counts;
        write!(
            f,
            "{taken} messages taken: {accepted} accepted, {rejected} rejected, {not_sent} not sent, \
             {unknown} unknown"
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

    pub(super) fn settle(&self, outcomes: impl IntoIterator<Item = OutcomeKind>) {
        let mut state = self.state();
        for outcome in outcomes {
            state.counts.add(outcome);
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
