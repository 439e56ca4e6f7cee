//! The receipts of one message.

use std::cmp::Ordering;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Channel, DeliveryReceipt, ReceiptErrorCode, Stage};
use crate::types::{MessageState, StatusDetail, Text, Timestamp};

/// The changes that receipts reported of one message, in any order and any number of times.
///
/// Keep it next to your message, for instance as JSON. Two histories of the same receipts are
/// equal, whatever the order in which the receipts arrived.
///
/// A history with an SMS fallback contains the receipts of both: append each receipt with the
/// message's umid or clientMessageId, whatever its channel.
///
/// ```
/// use lon_batch::receipt::{Channel, DeliveryReceipt, History, Stage};
///
/// let receipt = |state| DeliveryReceipt::builder("message-1", state);
/// let mut history = History::new();
/// history.append(&receipt("delivered").channel("sms").build());
/// history.append(&receipt("undelivered").error(46).build());
///
/// // The notification did not arrive, but its SMS did.
/// assert_eq!(history.stage(), Some(Stage::Delivered));
/// assert_eq!(history.current().unwrap().channel, Some(Channel::Sms));
/// assert!(!history.is_contradictory());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Change>", into = "Vec<Change>")]
pub struct History {
    /// Sorted, without duplicates.
    changes: Vec<Change>,
}

/// A change of a message's state, as a receipt reported it.
///
/// Changes are ordered by stage, then by time. In JSON, a member without a value is absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The platform's id of the message.
    pub umid: Text,
    /// The channel: an SMS fallback has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The state.
    pub state: MessageState,
    /// Details of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<StatusDetail>,
    /// When the platform observed the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Why the message was not sent or not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ReceiptErrorCode>,
    /// The platform's words for it. They may contain a phone number; `Debug` masks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<Text>,
}

impl History {
    /// The maximum number of changes that a history keeps, so that its size is bounded. It drops
    /// the earliest stages first. Real messages have about three.
    pub const MAX_CHANGES: usize = 64;

    /// An empty history.
    pub const fn new() -> Self {
        Self { changes: Vec::new() }
    }

    /// Appends the change that a receipt reports. Returns whether the history changed: `false` for
    /// a receipt that arrived before.
    pub fn append(&mut self, receipt: &DeliveryReceipt) -> bool {
        self.insert(Change::of(receipt))
    }

    /// Appends all changes of another history.
    pub fn merge(&mut self, other: &Self) {
        for change in &other.changes {
            self.insert(change.clone());
        }
    }

    fn insert(&mut self, change: Change) -> bool {
        let Err(place) = self.changes.binary_search(&change) else {
            return false;
        };
        if self.changes.len() < Self::MAX_CHANGES {
            self.changes.insert(place, change);
            return true;
        }
        if place == 0 {
            return false;
        }
        // Keeping the greatest makes the result independent of the order.
        self.changes[..place].rotate_left(1);
        self.changes[place - 1] = change;
        true
    }

    /// The greatest stage reported. `None` if no receipt reported a state with a stage.
    pub fn stage(&self) -> Option<Stage> {
        self.current()?.stage()
    }

    /// The change that reported the [stage](Self::stage), the latest if several did: with the
    /// channel that delivered the message, or with the reason why it was not delivered.
    pub fn current(&self) -> Option<&Change> {
        self.changes.last()
    }

    /// All changes, by stage and then by time. States without a stage come first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether receipts of the same umid and channel reported different final stages, such as
    /// `undelivered` and `delivered`. An SMS fallback that is delivered after its notification was
    /// not is no contradiction, as long as its receipts have a channel or umid of their own. The
    /// platform does not document whether they do.
    pub fn is_contradictory(&self) -> bool {
        let is_final = |change: &Change| change.stage().is_some_and(Stage::is_final);
        let first = self.changes.iter().position(is_final).unwrap_or(self.changes.len());
        let finals = &self.changes[first..];
        finals.iter().enumerate().any(|(index, one)| {
            finals[index..].iter().any(|other| {
                one.umid == other.umid
                    && one.channel == other.channel
                    && one.stage() != other.stage()
            })
        })
    }
}

impl From<Vec<Change>> for History {
    fn from(changes: Vec<Change>) -> Self {
        let mut history = Self::new();
        for change in changes {
            history.insert(change);
        }
        history
    }
}

impl From<History> for Vec<Change> {
    fn from(history: History) -> Self {
        history.changes
    }
}

impl Change {
    fn of(receipt: &DeliveryReceipt) -> Self {
        Self {
            umid: receipt.umid().clone(),
            channel: receipt.channel().cloned(),
            state: receipt.state().clone(),
            detail: receipt.detail().cloned(),
            timestamp: receipt.timestamp().cloned(),
            code: receipt.error_code(),
            error_message: receipt.error_message().map(Into::into),
        }
    }

    /// The stage of the state.
    pub fn stage(&self) -> Option<Stage> {
        self.state.stage()
    }

    /// Why the message was not sent or not delivered: the platform's words, or else those of this
    /// crate for the code.
    pub fn reason(&self) -> Option<&str> {
        self.error_message.as_deref().or_else(|| self.code?.reason())
    }

    /// The timestamp as a time. `None` if it is missing or not a time.
    pub fn at(&self) -> Option<SystemTime> {
        self.timestamp.as_ref()?.to_system_time()
    }

    /// Everything that distinguishes two changes.
    fn key(&self) -> (&str, [Option<&str>; 4], Option<i64>, &str) {
        (
            &self.umid,
            [
                self.channel.as_ref().map(Channel::as_str),
                self.detail.as_ref().map(StatusDetail::as_str),
                self.timestamp.as_deref(),
                self.error_message.as_deref(),
            ],
            self.code.map(ReceiptErrorCode::value),
            self.state.as_str(),
        )
    }
}

impl Ord for Change {
    fn cmp(&self, other: &Self) -> Ordering {
        self.stage()
            .cmp(&other.stage())
            .then_with(|| self.at().cmp(&other.at()))
            .then_with(|| self.key().cmp(&other.key()))
    }
}

impl PartialOrd for Change {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Change {}
