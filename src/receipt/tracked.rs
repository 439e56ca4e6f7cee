//! What a tracker tells of its messages.

use std::fmt;

use super::change::Changes;
use super::namesakes::Namesakes;
use super::row::{Row, Umid};
use super::{Change, MessageTracker, Stage};
use crate::types::Text;

/// A message and all that is known of it.
#[derive(Clone, Copy)]
pub struct TrackedMessage<'a> {
    pub(super) tracker: &'a MessageTracker,
    pub(super) row: &'a Row,
}

/// How many messages are in which stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// In [`Stage::Unknown`]: they may have been sent.
    pub unknown: u64,
    /// In [`Stage::Accepted`].
    pub accepted: u64,
    /// In [`Stage::Sent`].
    pub sent: u64,
    /// In [`Stage::Rejected`].
    pub rejected: u64,
    /// In [`Stage::Undelivered`].
    pub undelivered: u64,
    /// In [`Stage::Delivered`].
    pub delivered: u64,
    /// Those with final states that contradict each other.
    pub contradictory: u64,
    /// Those that the platform took although it had taken another with the same clientMessageId.
    pub taken_again: u64,
}

impl<'a> TrackedMessage<'a> {
    /// The id that the platform gave to it; `None` while it is not known.
    pub fn umid(&self) -> Option<Text> {
        (self.row.umid != Umid::NotKnown).then(|| self.row.umid.to_string().into())
    }

    /// Its clientMessageId, where it has one that is known.
    pub fn client_message_id(&self) -> Option<&'a str> {
        let id = self.row.client_message_id.as_str();
        (!id.is_empty()).then_some(id)
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        let by_id = self.by_id().flat_map(|row| row.changes.stages());
        // What came by the id alone may be of another send: it never ends this one badly.
        let by_id = by_id.filter(|it| !matches!(it, Stage::Rejected | Stage::Undelivered));
        by_id.fold(self.row.stage(), Stage::max)
    }

    /// The change that is shown, with the state, its detail, its time and why; `None` where
    /// nothing was told.
    pub fn current(&self) -> Option<Change> {
        let stage = self.stage();
        let shown = self.history().into_iter();
        shown.filter(|it| it.stage() == stage).max_by(Change::in_time)
    }

    /// Everything that was told of it, each change once, the oldest first by the platform's clock.
    pub fn history(&self) -> Vec<Change> {
        let mut all = Changes::default();
        for change in self.rows().flat_map(|row| row.changes.iter()) {
            all.add(change);
        }
        let mut history: Vec<_> = all.iter().collect();
        history.sort_by(Change::in_time);
        history
    }

    /// Whether its umid was told to be in several stages of which each is final. What came by its
    /// clientMessageId alone contradicts nothing: it may have been of another send, or of the SMS
    /// that comes where the notification did not.
    pub fn is_contradictory(&self) -> bool {
        if !self.row.is_by_umid() {
            return false;
        }
        let mut last = None;
        let mut finals = self.row.changes.stages().filter(|stage| stage.is_final());
        finals.any(|stage| last.replace(stage).is_some_and(|it| it != stage))
    }

    /// How many messages with its clientMessageId the platform took and did not reject. More than
    /// one, where ids are not used again, means that it was sent twice.
    pub fn times_taken(&self) -> usize {
        // One without an id has no namesakes, itself included.
        let own = usize::from(self.row.is_taken());
        self.namesakes().taken().count().max(own)
    }

    /// Whether the platform took it, and has another with its clientMessageId that counts before.
    pub(super) fn is_taken_again(&self) -> bool {
        let mut taken = self.namesakes().taken();
        self.row.is_taken() && taken.any(|other| other.umid < self.row.umid)
    }

    /// What belongs to it: its own row, and what is known by its clientMessageId alone.
    pub(super) fn rows(self) -> impl Iterator<Item = &'a Row> {
        std::iter::once(self.row).chain(self.by_id())
    }

    fn by_id(self) -> impl Iterator<Item = &'a Row> {
        self.namesakes().of(self.row)
    }

    fn namesakes(self) -> Namesakes<'a> {
        self.tracker.namesakes_of(self.row)
    }
}

impl Counts {
    /// All messages.
    pub fn total(&self) -> u64 {
        Stage::ALL.iter().map(|stage| self.of(*stage)).sum()
    }

    /// The messages in a stage.
    pub fn of(&self, stage: Stage) -> u64 {
        let mut counts = *self;
        *counts.of_mut(stage)
    }

    /// The messages in a final stage: of LON nothing more is due. One that is undelivered may still
    /// come as its SMS fallback.
    pub fn settled(&self) -> u64 {
        let last = Stage::ALL.iter().filter(|stage| stage.is_final());
        last.map(|stage| self.of(*stage)).sum()
    }

    pub(super) fn of_mut(&mut self, stage: Stage) -> &mut u64 {
        match stage {
            Stage::Unknown => &mut self.unknown,
            Stage::Accepted => &mut self.accepted,
            Stage::Sent => &mut self.sent,
            Stage::Rejected => &mut self.rejected,
            Stage::Undelivered => &mut self.undelivered,
            Stage::Delivered => &mut self.delivered,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages:", self.total())?;
        let mut between = " ";
        for stage in Stage::ALL {
            write!(f, "{between}{} {stage}", self.of(stage))?;
            between = ", ";
        }
        if self.contradictory > 0 {
            write!(f, "; {} contradictory", self.contradictory)?;
        }
        if self.taken_again > 0 {
            write!(f, "; {} taken again", self.taken_again)?;
        }
        Ok(())
    }
}

impl fmt::Debug for TrackedMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedMessage")
            .field("umid", &self.umid())
            .field("client_message_id", &self.client_message_id())
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
}
