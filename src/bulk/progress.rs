//! The progress of a run: counts, and the reason of a stop.

use std::fmt;
use std::mem::discriminant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::{MessageOutcome, Stop};
use crate::outcome::OutcomeKind;
use crate::request::HintKind;

/// A handle to the progress of a run, to be read from anywhere and at any time, also after the run
/// was dropped.
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
    hints: Vec<HintCount>,
    last_outcome: Option<Instant>,
    stop: Option<Stop>,
    unknown_in_a_row: u32,
    /// Nothing more is read.
    closed: bool,
}

/// Messages, counted by their outcomes.
///
/// `taken` is always the sum of `accepted`, `rejected`, `not_sent`, `unknown` and
/// [`pending`](Self::pending).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages that were read from the input, without skipped ones.
    pub taken: u64,
    /// See [`OutcomeKind::Accepted`].
    pub accepted: u64,
    /// See [`OutcomeKind::Rejected`].
    pub rejected: u64,
    /// See [`OutcomeKind::NotSent`].
    pub not_sent: u64,
    /// See [`OutcomeKind::Unknown`].
    pub unknown: u64,
    /// Messages that [`Bulk::skip`](super::Bulk::skip) left out. They have no outcomes.
    pub skipped: u64,
    /// Items of the input that were no messages. They have no outcomes.
    pub bad_items: u64,
    /// Requests of the chunks that have outcomes, retries included.
    pub requests: u64,
}

impl Counts {
    /// Messages with an outcome.
    pub fn settled(&self) -> u64 {
        self.accepted + self.rejected + self.not_sent + self.unknown
    }

    /// Messages without an outcome yet: in flight, or waiting.
    pub fn pending(&self) -> u64 {
        self.taken.saturating_sub(self.settled())
    }

    fn add(&mut self, kind: OutcomeKind, messages: u64) {
        *match kind {
            OutcomeKind::Accepted => &mut self.accepted,
            OutcomeKind::Rejected => &mut self.rejected,
            OutcomeKind::NotSent => &mut self.not_sent,
            OutcomeKind::Unknown => &mut self.unknown,
        } += messages;
    }
}

/// A kind of [hint](crate::request::Hint), and how many messages of a run have it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HintCount {
    /// The hint of the first message that has one of this kind.
    pub first: HintKind,
    /// The position of that message.
    pub position: u64,
    /// How many messages have one of this kind.
    pub messages: u64,
}

/// The progress of a run, or its result.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Messages by outcome.
    pub counts: Counts,
    /// Probable mistakes in the messages, each kind once.
    pub hints: Vec<HintCount>,
    /// The time from the start of the run to now, or to the last outcome if none is pending.
    pub elapsed: Duration,
    /// The reason why the run ended before its input.
    pub stop: Option<Stop>,
    /// Whether every message has its outcome and no more are read.
    pub ended: bool,
}

impl Summary {
    /// Messages with an outcome per second, since the run started.
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    pub fn messages_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.counts.settled() as f64 / seconds } else { 0.0 }
    }
}

/// One line: the messages by outcome, and the reason of a stop.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        write!(
            f,
            "{} messages taken: {} accepted, {} rejected, {} not sent, {} unknown",
            counts.taken, counts.accepted, counts.rejected, counts.not_sent, counts.unknown
        )?;
        for (count, name) in [
            (counts.pending(), ", {} pending"),
            (counts.skipped, "; {} skipped"),
            (counts.bad_items, "; {} bad items"),
        ] {
            if count > 0 {
                f.write_str(&name.replace("{}", &count.to_string()))?;
            }
        }
        write!(f, "; {} requests", counts.requests)?;
        self.stop.as_ref().map_or(Ok(()), |stop| write!(f, "; stopped: {stop}"))
    }
}

impl Progress {
    pub(super) fn start() -> Self {
        Self(Arc::new(Inner { started: Instant::now(), state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The progress of the run at this moment. It takes a lock for the time of a copy.
    pub fn summary(&self) -> Summary {
        let state = self.state();
        let end = state.last_outcome.filter(|_| state.counts.pending() == 0);
        let end = end.unwrap_or_else(Instant::now);
        Summary {
            counts: state.counts,
            hints: state.hints.clone(),
            elapsed: end.saturating_duration_since(self.0.started),
            stop: state.stop.clone(),
            ended: state.closed && state.counts.pending() == 0,
        }
    }

    /// Counts items of the input.
    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.state().counts);
    }

    pub(super) fn hint(&self, position: u64, hint: HintKind) {
        let mut state = self.state();
        let is_same = |it: &&mut HintCount| discriminant(&it.first) == discriminant(&hint);
        match state.hints.iter_mut().find(is_same) {
            Some(count) => count.messages += 1,
            None => state.hints.push(HintCount { first: hint, position, messages: 1 }),
        }
    }

    /// Counts the outcomes of a chunk, and returns how many chunks in a row had no known outcome.
    pub(super) fn settle(&self, messages: &[MessageOutcome], requests: u32) -> u32 {
        let mut state = self.state();
        let (mut known, mut unknown) = (false, false);
        for MessageOutcome { outcome, .. } in messages {
            state.counts.add(outcome.kind, 1);
            unknown |= outcome.kind == OutcomeKind::Unknown;
            known |= match outcome.kind {
                OutcomeKind::Accepted | OutcomeKind::Rejected => true,
                OutcomeKind::NotSent => outcome.status.is_some(),
                OutcomeKind::Unknown => false,
            };
        }
        state.counts.requests += u64::from(requests);
        state.last_outcome = Some(Instant::now());
        if known {
            state.unknown_in_a_row = 0;
        } else if unknown {
            state.unknown_in_a_row += 1;
        }
        state.unknown_in_a_row
    }

    /// Counts messages whose outcomes nobody will see.
    pub(super) fn end_without_outcome(&self, kind: OutcomeKind, messages: u64) {
        self.state().counts.add(kind, messages);
    }

    /// Sets the reason of a stop. The first of the gravest stands: after a failure of the journal
    /// somebody has to compare records.
    pub(super) fn stop(&self, stop: Stop) {
        let mut state = self.state();
        if state.stop.as_ref().is_none_or(|first| first.gravity() < stop.gravity()) {
            state.stop = Some(stop);
        }
    }

    /// Nothing more is read from the input.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.summary()).finish()
    }
}
