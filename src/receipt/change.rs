//! One thing that the platform told of a message.

use std::cmp::Ordering;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Channel, DeliveryReceipt, ReceiptErrorCode, Stage};
use crate::types::{ErrorCode, MessageResult, MessageState, StatusDetail, Text, Timestamp};

/// A state that the platform reported for a message, in a response or in a receipt.
///
/// The same state, detail and timestamp of one message, in receipts of one channel, are one change,
/// however often they are reported. A change that comes from an [`Outcome`](crate::Outcome) has no
/// timestamp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The state.
    pub state: MessageState,
    /// What the state says more precisely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<StatusDetail>,
    /// When the state was observed, by the platform's clock: in UTC, with as many digits as it
    /// needs. A text that is no moment is as it was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The channel of the receipt, where that is not the one of LON: of an SMS fallback, say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Why the message was not sent or not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The same in words, the platform's or else this crate's for the code. The platform's may
    /// have a phone number in them; `Debug` masks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// Why a message was not sent or not delivered: one of two lists, in which the same number means
/// different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Of the answer to a batch.
    Api(ErrorCode),
    /// Of a delivery receipt.
    Receipt(ReceiptErrorCode),
}

impl Code {
    fn rank(self) -> (u8, i64) {
        match self {
            Self::Api(code) => (0, code.value()),
            Self::Receipt(code) => (1, code.value()),
        }
    }
}

impl Change {
    /// A change to a state without a moment.
    pub(super) fn to(state: MessageState, code: Option<ErrorCode>, reason: Option<&str>) -> Self {
        Self {
            state,
            detail: None,
            timestamp: None,
            channel: None,
            code: code.map(Code::Api),
            reason: reason.map(Into::into),
        }
    }

    /// What an answer to a batch tells of a message; nothing where it has no state.
    pub(super) fn of_result(result: &MessageResult) -> Option<Self> {
        let status = result.status.as_ref()?;
        let code = result.error_code();
        let reason = reason(status.error_message.as_ref(), code.and_then(ErrorCode::reason));
        Some(Self {
            detail: status.detail.clone(),
            timestamp: status.timestamp.as_ref().map(in_utc),
            ..Self::to(status.state.clone()?, code, reason)
        })
    }

    /// What a receipt tells.
    pub(super) fn of_receipt(receipt: &DeliveryReceipt) -> Self {
        Self {
            state: receipt.state().clone(),
            detail: receipt.detail().cloned(),
            timestamp: receipt.timestamp().map(in_utc),
            channel: receipt.channel().cloned().filter(|_| !receipt.is_lon()),
            code: receipt.error_code().map(Code::Receipt),
            reason: receipt.reason().map(Into::into),
        }
    }

    /// How far the message has come with it, by the state.
    pub fn stage(&self) -> Stage {
        self.state.stage()
    }

    /// When the state was observed, where that is a moment.
    pub fn at(&self) -> Option<SystemTime> {
        self.timestamp.as_ref()?.to_system_time()
    }

    fn key(&self) -> (&str, [Option<&str>; 3]) {
        let detail = self.detail.as_ref().map(StatusDetail::as_str);
        let timestamp = self.timestamp.as_ref().map(Timestamp::as_str);
        let channel = self.channel.as_ref().map(Channel::as_str);
        (self.state.as_str(), [detail, timestamp, channel])
    }

    /// The order of a history: by time, then by how far the message has come.
    pub(super) fn in_time(&self, other: &Self) -> Ordering {
        self.at()
            .cmp(&other.at())
            .then_with(|| self.stage().cmp(&other.stage()))
            .then_with(|| self.key().cmp(&other.key()))
    }

    /// Takes in another telling of the same change. Of two codes with their reasons the greater is
    /// kept, so that it does not matter which came first.
    fn take_in(&mut self, other: Self) {
        if other.cause() > self.cause() {
            self.code = other.code;
            self.reason = other.reason;
        }
    }

    fn cause(&self) -> (Option<(u8, i64)>, Option<&Text>) {
        (self.code.map(Code::rank), self.reason.as_ref())
    }
}

/// Why something failed: in the platform's words, or else in this crate's for the code.
pub(super) fn reason<'a>(
    words: Option<&'a Text>,
    of_code: Option<&'static str>,
) -> Option<&'a str> {
    let words = words.map(Text::as_str);
    words.filter(|text| !text.trim().is_empty()).or(of_code)
}

/// The same moment is one text, however it was written.
fn in_utc(timestamp: &Timestamp) -> Timestamp {
    nanos(timestamp).map_or_else(|| timestamp.clone(), moment)
}

/// Nanoseconds since 1970, from 1677 to 2262.
fn nanos(timestamp: &Timestamp) -> Option<i64> {
    let nanos = timestamp.to_date_time()?.timestamp_nanos_opt()?;
    (nanos != NO_MOMENT).then_some(nanos)
}

fn moment(nanos: i64) -> Timestamp {
    let moment = DateTime::from_timestamp_nanos(nanos);
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
}

/// The changes of a message in little memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Box<[Packed]>);

/// Most changes are of LON, of a state, a detail and a moment that are known, and have no code.
#[derive(Clone, Debug)]
enum Packed {
    /// Places in the lists of known values, and nanoseconds since 1970.
    Plain {
        state: u8,
        detail: u8,
        at: i64,
    },
    Whole(Box<Change>),
}

/// Stands for a detail or a moment that is not there.
const NO_DETAIL: u8 = u8::MAX;
const NO_MOMENT: i64 = i64::MIN;

impl Changes {
    /// Takes in a change, and tells whether it was not known.
    pub(super) fn add(&mut self, change: Change) -> bool {
        let known = self.iter().position(|known| known.key() == change.key());
        if let Some(index) = known {
            let mut known = self.0[index].unpack();
            known.take_in(change);
            self.0[index] = Packed::pack(known);
            return false;
        }
        let mut changes = std::mem::take(&mut self.0).into_vec();
        changes.reserve_exact(1);
        changes.push(Packed::pack(change));
        self.0 = changes.into_boxed_slice();
        true
    }

    pub(super) fn stages(&self) -> impl Iterator<Item = Stage> + '_ {
        self.0.iter().map(|change| match change {
            Packed::Plain { state, .. } => MessageState::KNOWN[usize::from(*state)].stage(),
            Packed::Whole(change) => change.stage(),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Change> + '_ {
        self.0.iter().map(Packed::unpack)
    }
}

impl Serialize for Changes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Changes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut changes = Self::default();
        for change in Vec::deserialize(deserializer)? {
            changes.add(change);
        }
        Ok(changes)
    }
}

impl Packed {
    fn pack(change: Change) -> Self {
        match Self::plain(&change) {
            Some(plain) => plain,
            None => Self::Whole(Box::new(change)),
        }
    }

    fn plain(change: &Change) -> Option<Self> {
        if change.channel.is_some() || change.code.is_some() || change.reason.is_some() {
            return None;
        }
        let state = place(MessageState::KNOWN, &change.state)?;
        let detail = match &change.detail {
            Some(detail) => place(StatusDetail::KNOWN, detail)?,
            None => NO_DETAIL,
        };
        let at = match &change.timestamp {
            Some(timestamp) => nanos(timestamp)?,
            None => NO_MOMENT,
        };
        Some(Self::Plain { state, detail, at })
    }

    fn unpack(&self) -> Change {
        match self {
            Self::Whole(change) => (**change).clone(),
            Self::Plain { state, detail, at } => Change {
                state: MessageState::KNOWN[usize::from(*state)].clone(),
                detail: StatusDetail::KNOWN.get(usize::from(*detail)).cloned(),
                timestamp: (*at != NO_MOMENT).then(|| moment(*at)),
                channel: None,
                code: None,
                reason: None,
            },
        }
    }
}

/// The place of a value in a list of known ones.
fn place<T: PartialEq>(known: &[T], value: &T) -> Option<u8> {
    let place = known.iter().position(|other| other == value)?;
    u8::try_from(place).ok().filter(|place| *place != NO_DETAIL)
}
