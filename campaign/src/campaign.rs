//! A campaign: its states, and what can be done with it.

use std::fmt;
use std::sync::Arc;

use lon_batch::{MAX_MESSAGES_PER_BATCH, OutcomeKind};

use crate::error::{Error, Result};
use crate::report::{Recipients, Standing, Totals};
use crate::store::{CampaignRow, Store};

/// A message to each of any number of recipients.
///
/// It is a draft while recipients are imported. [`seal`](Self::seal) fixes them, and
/// [`send`](Self::send) sends to them, in any number of processes and as often as needed: it
/// continues where others stopped, and a finished campaign sends nothing.
#[derive(Clone)]
pub struct Campaign {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) id: i64,
    pub(crate) name: Arc<str>,
    pub(crate) unique_numbers: bool,
}

/// The state of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Recipients are being imported.
    Draft,
    /// Chunks may be claimed.
    Sending,
    /// Every recipient has its outcome.
    Done,
    /// Sending stopped, and the reason says why. [`Campaign::resume`] continues it.
    Stopped,
    /// Nothing more is sent.
    Cancelled,
}

/// Which recipients to send to again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Those whose message the platform rejected.
    Rejected,
    /// Those whose message provably was not sent.
    NotSent,
    /// Those whose message may have been sent. They can get it twice.
    UnknownAndRiskDuplicates,
}

impl State {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Draft => 0,
            Self::Sending => 1,
            Self::Done => 2,
            Self::Stopped => 3,
            Self::Cancelled => 4,
        }
    }

    pub(crate) fn from_number(number: i64) -> Result<Self> {
        let all = [Self::Draft, Self::Sending, Self::Done, Self::Stopped, Self::Cancelled];
        let found = all.into_iter().find(|state| state.number() == number);
        found.ok_or(Error::Damaged("the state of a campaign"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Draft => "a draft",
            Self::Sending => "sending",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        })
    }
}

impl Campaign {
    pub(crate) fn new(store: Arc<dyn Store>, row: CampaignRow) -> Self {
        let unique_numbers = row.unique_numbers;
        Self { store, id: row.id, name: row.name.into(), unique_numbers }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state, and the reason if it is [`State::Stopped`].
    ///
    /// # Errors
    /// The database failed.
    pub async fn state(&self) -> Result<(State, Option<String>)> {
        let row = self.store.get(self.id).await?;
        Ok((State::from_number(row.state)?, row.reason))
    }

    /// Fixes the recipients of a draft and lets it send. Does nothing if it was sealed before.
    ///
    /// # Errors
    /// The database failed.
    pub async fn seal(&self) -> Result<()> {
        self.store.seal(self.id, chunk_size()).await
    }

    /// Stops sending for good. After it returns, no new chunk is claimed. Chunks in flight finish.
    /// Does nothing to a campaign that is done.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cancel(&self) -> Result<()> {
        let from = [State::Draft, State::Sending, State::Stopped].map(State::number);
        self.store.set_state(self.id, &from, State::Cancelled.number(), None).await?;
        Ok(())
    }

    /// Lets a stopped campaign send again. Does nothing in any other state.
    ///
    /// # Errors
    /// The database failed.
    pub async fn resume(&self) -> Result<()> {
        let (from, to) = ([State::Stopped.number()], State::Sending.number());
        self.store.set_state(self.id, &from, to, None).await?;
        Ok(())
    }

    /// Makes a new attempt for recipients whose latest outcome permits it, and lets the campaign
    /// send. Returns their number.
    ///
    /// If a late response or a receipt shows that a message was accepted, its new attempt is
    /// withdrawn, unless it is already claimed.
    ///
    /// # Errors
    /// The campaign is neither done nor stopped, a chunk is in flight, or the database failed.
    pub async fn retry(&self, which: Retry) -> Result<u64> {
        let kind = match which {
            Retry::Rejected => OutcomeKind::Rejected,
            Retry::NotSent => OutcomeKind::NotSent,
            Retry::UnknownAndRiskDuplicates => OutcomeKind::Unknown,
        };
        let mut positions = Vec::new();
        let mut recipients = self.recipients();
        while let Some(recipient) = recipients.next().await? {
            if recipient.standing == Standing::Outcome(kind) {
                positions.push(i64::try_from(recipient.position).unwrap_or(i64::MAX));
            }
        }
        let (state, _) = self.state().await?;
        if !self.store.retry(self.id, &positions, chunk_size()).await? {
            let hint =
                "only a campaign that is done or stopped, with nothing in flight, can be retried";
            return Err(Error::State { name: self.name.to_string(), state, hint });
        }
        Ok(positions.len() as u64)
    }

    /// A report of every recipient, in the order of the input.
    pub fn recipients(&self) -> Recipients {
        Recipients::new(self)
    }

    /// The number of recipients by outcome and code. It reads every recipient: some seconds for a
    /// million.
    ///
    /// # Errors
    /// The database failed.
    pub async fn totals(&self) -> Result<Totals> {
        let mut totals = Totals::default();
        let mut recipients = self.recipients();
        while let Some(recipient) = recipients.next().await? {
            totals.add(&recipient);
        }
        Ok(totals)
    }
}

pub(crate) fn chunk_size() -> i64 {
    i64::try_from(MAX_MESSAGES_PER_BATCH).unwrap_or(i64::MAX)
}

impl fmt::Debug for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Campaign").field("name", &self.name).finish_non_exhaustive()
    }
}
