//! From the bytes that the platform posts to an event.

use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::change::reason;
use super::{
    Channel, DeliveryReceipt, EventType, Namespace, ReceiptErrorCode, ReceiptStatus, Stage,
};
use crate::json::{type_of, without_byte_order_mark};
use crate::redact::Masked;
use crate::response::lenient;
use crate::types::{MessageState, StatusDetail, Text, Timestamp};

/// Bytes of an event that are read. A receipt has some 600.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// Bytes that are kept of what cannot be read.
const KEPT: usize = 64 * 1024;

/// Characters of an event in a log.
const LINE: usize = 400;

/// What the platform posted to a callback URL.
///
/// One URL gets everything: receipts of all channels, messages from users, events of the account.
/// Every one of them is to be answered with a 2xx: after an error the platform posts it four more
/// times.
///
/// `Display` writes what it is in a line for a log, without phone numbers, in at most 400
/// characters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A receipt of a LON message.
    Receipt(Box<DeliveryReceipt>),
    /// A receipt of a message of another channel, or one that does not tell its channel. That of
    /// an SMS fallback may be one; it is not documented under which channel those come.
    OtherChannel(Box<DeliveryReceipt>),
    /// A receipt in the old flat format, which has no payload and is not read. The owner of the
    /// account has to delete the old webhook and to make a new one, as the platform's
    /// [guide](https://developer.8x8.com/connect/docs/webhook-migration-guide) tells.
    OldFormat(OtherEvent),
    /// Another event: a message from a user, an event of the account, or one that this crate does
    /// not know.
    Other(OtherEvent),
}

/// An event that is no receipt, as it came.
#[derive(Clone)]
#[non_exhaustive]
pub struct OtherEvent {
    /// The product that it comes from.
    pub namespace: Option<Namespace>,
    /// What it is about.
    pub event_type: Option<EventType>,
    /// The whole of it, a JSON object, but for a mark of its encoding (BOM). It may have phone
    /// numbers and messages of users in it.
    pub body: Bytes,
}

/// What was posted cannot be read.
///
/// Neither `Display` nor `Debug` has anything of the body in it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("what was posted cannot be read: {problem}")]
pub struct UnreadableEvent {
    problem: EventProblem,
    body: Bytes,
}

/// Why what was posted cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventProblem {
    /// It is larger than [`MAX_EVENT_BYTES`].
    #[error("{found} bytes, at most {max}")]
    TooLarge {
        /// How many bytes it has.
        found: usize,
        /// How many it may have.
        max: usize,
    },
    /// It is not JSON.
    #[error("it is not JSON, line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is JSON that cannot be taken in: nested deeper than 128 levels, or with a number that is
    /// too large.
    #[error("it is JSON nested too deep, or with too large a number, line {line}, column {column}")]
    BeyondLimits {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// It is JSON and no object.
    #[error("{found} where an object is due")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// It is a receipt without its umid or its state, or with one of another type.
    #[error("a delivery receipt without what it needs: {field} is {found}")]
    Receipt {
        /// The path in the JSON, such as `payload.umid`.
        field: &'static str,
        /// The type of its value, such as `a list`, or `missing`, also for `null` and an empty
        /// text.
        found: &'static str,
    },
}

/// The members that every receipt needs, and whether each is an object; the others are texts.
const NEEDED: [(&str, bool); 4] = [
    ("payload", true),
    ("payload.umid", false),
    ("payload.status", true),
    ("payload.status.state", false),
];

impl Event {
    /// Reads what the platform posted: the body of the request, whole.
    ///
    /// A receipt is read whatever version it has and whatever else is in it: unknown members and
    /// values, nulls, odd details. Members of another type than they should have are left out, but
    /// for those that it cannot do without.
    ///
    /// # Errors
    /// It is too large, not JSON, JSON nested too deep or with too large a number, no object, or a
    /// receipt without a umid, a status or its state.
    pub fn from_json(body: &[u8]) -> Result<Self, UnreadableEvent> {
        Self::read(body).map_err(|problem| UnreadableEvent {
            problem,
            body: Bytes::copy_from_slice(&body[..body.len().min(KEPT)]),
        })
    }

    fn read(body: &[u8]) -> Result<Self, EventProblem> {
        if body.len() > MAX_EVENT_BYTES {
            return Err(EventProblem::TooLarge { found: body.len(), max: MAX_EVENT_BYTES });
        }
        let body = without_byte_order_mark(body);
        // Most of what comes is a receipt with nothing odd in it. One has no lists, which a derived
        // reader would take for objects.
        if memchr::memchr(b'[', body).is_none()
            && let Ok(receipt) = serde_json::from_slice::<DeliveryReceipt>(body)
            && receipt.is_whole()
            && receipt
                .event_type
                .as_ref()
                .is_none_or(|it| *it == EventType::OutboundMessageStatusChanged)
        {
            return Ok(Self::of_receipt(receipt));
        }
        let value = read_json(body)?;
        if !value.is_object() {
            let found = type_of(&value);
            return Err(EventProblem::NotAnObject { found });
        }
        if is_receipt(&value) {
            return read_receipt(value);
        }
        let event = OtherEvent {
            namespace: text(&value, "namespace").map(Into::into),
            event_type: text(&value, "eventType").map(Into::into),
            body: Bytes::copy_from_slice(body),
        };
        Ok(if is_old_format(&value) { Self::OldFormat(event) } else { Self::Other(event) })
    }

    fn of_receipt(receipt: DeliveryReceipt) -> Self {
        let receipt = Box::new(receipt);
        if receipt.is_lon() { Self::Receipt(receipt) } else { Self::OtherChannel(receipt) }
    }

    /// The receipt, of whichever channel.
    pub fn receipt(&self) -> Option<&DeliveryReceipt> {
        match self {
            Self::Receipt(receipt) | Self::OtherChannel(receipt) => Some(receipt),
            Self::OldFormat(_) | Self::Other(_) => None,
        }
    }
}

/// Reads JSON. A byte of another encoding, or half of a character, in some text does not lose the
/// rest.
fn read_json(body: &[u8]) -> Result<Value, EventProblem> {
    let json = String::from_utf8_lossy(body);
    // `Value` takes some names of members for marks of its own.
    let read = |json: &str| {
        if json.trim_start().starts_with('{') {
            serde_json::from_str::<Map<String, Value>>(json).map(Value::Object)
        } else {
            serde_json::from_str::<Value>(json)
        }
    };
    read(&json).or_else(|error| {
        let (line, column) = (error.line(), error.column());
        // JSON itself knows no depth and no largest number.
        let is_json = serde_json::from_str::<IgnoredAny>(&json).is_ok();
        if !is_json {
            return Err(EventProblem::NotJson { line, column });
        }
        read(&with_whole_characters(&json)).map_err(|_| EventProblem::BeyondLimits { line, column })
    })
}

/// JSON with U+FFFD in place of every half of a character that is written as `\ud83d`: of an emoji
/// that was cut in two. JSON allows it, texts of Rust cannot have it.
fn with_whole_characters(json: &str) -> String {
    let mut whole = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, escape)) = rest.split_once('\\') {
        whole.push_str(before);
        let second = escape.get(5..).and_then(|it| it.strip_prefix('\\'));
        let (written, length) = match (code_unit(escape), second.and_then(code_unit)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => (&escape[..11], 11),
            (Some(0xd800..0xe000), _) => ("ufffd", 5),
            // Any other escape: the letter behind a backslash is not the start of another.
            _ => {
                let length = escape.chars().next().map_or(0, char::len_utf8);
                (&escape[..length], length)
            }
        };
        whole.push('\\');
        whole.push_str(written);
        rest = &escape[length..];
    }
    whole.push_str(rest);
    whole
}

/// The number in `u0041`, at the start of a text.
fn code_unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix('u')?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

/// Whether an event says that it is a receipt, or says nothing and looks like one.
fn is_receipt(value: &Value) -> bool {
    match text(value, "eventType") {
        Some(event_type) => EventType::from(event_type) == EventType::OutboundMessageStatusChanged,
        None => value.get("payload").is_some_and(|payload| {
            payload.get("umid").is_some() && payload.get("status").is_some()
        }),
    }
}

/// The old format has the members of the payload at the top.
fn is_old_format(value: &Value) -> bool {
    let has = |wanted: &str| {
        let mut names = value.as_object().into_iter().flat_map(Map::keys);
        names.any(|name| name.eq_ignore_ascii_case(wanted))
    };
    has("umid") && has("status") && !has("payload") && !has("namespace")
}

fn read_receipt(mut value: Value) -> Result<Event, EventProblem> {
    for (field, is_object) in NEEDED {
        let found = match value.pointer(&format!("/{}", field.replace('.', "/"))) {
            None | Some(Value::Null) => "missing",
            Some(Value::Object(_)) if is_object => continue,
            // An empty umid would be that of every message without one.
            Some(Value::String(text)) if !is_object && text.is_empty() => "missing",
            Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) if !is_object => continue,
            Some(other) => type_of(other),
        };
        return Err(EventProblem::Receipt { field, found });
    }
    // Written as a text, a type that says nothing would make another event of it.
    if text(&value, "eventType").is_none() {
        value["eventType"].take();
    }
    let members = value.as_object_mut().map(std::mem::take).unwrap_or_default();
    let receipt = lenient::members(members).filter(DeliveryReceipt::is_whole);
    let unread = EventProblem::Receipt { field: "payload", found: "missing" };
    receipt.map(Event::of_receipt).ok_or(unread)
}

impl DeliveryReceipt {
    fn status(&self) -> Option<&ReceiptStatus> {
        self.payload.as_ref()?.status.as_ref()
    }

    /// Whether it has what a receipt needs.
    fn is_whole(&self) -> bool {
        let state = self.status().and_then(|status| status.state.as_ref());
        !self.umid().is_empty() && state.is_some_and(|state| !state.as_str().is_empty())
    }

    /// The channel of the message.
    pub fn channel(&self) -> Option<&Channel> {
        self.payload.as_ref()?.channel.as_ref()
    }

    /// Whether the message is a LON message, by its channel.
    pub fn is_lon(&self) -> bool {
        self.channel() == Some(&Channel::LineNotification)
    }

    /// The id that the platform gave to the message. Empty if it is missing, which it never is in
    /// what [`Event::from_json`] returns.
    pub fn umid(&self) -> &Text {
        static MISSING: LazyLock<Text> = LazyLock::new(Text::default);
        self.payload.as_ref().and_then(|payload| payload.umid.as_ref()).unwrap_or(&MISSING)
    }

    /// The clientMessageId of the request; `None` if it is missing or empty.
    pub fn client_message_id(&self) -> Option<&str> {
        let id = self.payload.as_ref()?.client_message_id.as_deref()?;
        (!id.is_empty()).then_some(id)
    }

    /// The clientBatchId of the request; `None` if it is missing or empty.
    pub fn client_batch_id(&self) -> Option<&str> {
        let id = self.payload.as_ref()?.client_batch_id.as_deref()?;
        (!id.is_empty()).then_some(id)
    }

    /// The state of the message. [`MessageState::Unknown`] if it is missing, which it never is in
    /// what [`Event::from_json`] returns.
    pub fn state(&self) -> &MessageState {
        let state = self.status().and_then(|status| status.state.as_ref());
        state.unwrap_or(&MessageState::Unknown)
    }

    /// How far the message has come, by its state.
    pub fn stage(&self) -> Stage {
        self.state().stage()
    }

    /// What the state says more precisely.
    pub fn detail(&self) -> Option<&StatusDetail> {
        self.status()?.detail.as_ref()
    }

    /// When the state was observed, by the platform's clock.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.status()?.timestamp.as_ref()
    }

    /// Why the message was not delivered; 0 stands for none.
    pub fn error_code(&self) -> Option<ReceiptErrorCode> {
        let code = self.status()?.error_code?;
        (code != ReceiptErrorCode::NoError).then_some(code)
    }

    /// Why the message was not delivered, in the platform's words or else in this crate's words
    /// for the code. The platform's may have a phone number in them.
    pub fn reason(&self) -> Option<&str> {
        let words = self.status()?.error_message.as_ref();
        reason(words, self.error_code().and_then(ReceiptErrorCode::reason))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            Self::Receipt(lon) => format!("delivery receipt: {}", summary(lon)),
            Self::OtherChannel(other) => match other.channel() {
                Some(channel) => {
                    format!("delivery receipt of channel {channel:?}: {}", summary(other))
                }
                None => format!("delivery receipt without a channel: {}", summary(other)),
            },
            Self::OldFormat(_) => {
                "delivery receipt in the old flat format, which is not read: the \
                 owner of the account has to delete the old webhook and make a new one, see \
                 https://developer.8x8.com/connect/docs/webhook-migration-guide"
                    .to_owned()
            }
            Self::Other(event) => {
                let kind = match (&event.namespace, &event.event_type) {
                    (Some(namespace), Some(kind)) => format!("{namespace:?}, {kind:?}"),
                    (None, Some(kind)) => format!("{kind:?}"),
                    (Some(namespace), None) => format!("{namespace:?}, of no type"),
                    (None, None) => "of no type".to_owned(),
                };
                format!("event that is no delivery receipt: {kind}")
            }
        };
        write!(f, "{line:.LINE$}")
    }
}

/// What a receipt says, in a line.
fn summary(receipt: &DeliveryReceipt) -> String {
    let umid = Masked(receipt.umid()).to_string();
    let id = receipt.client_message_id();
    let id = id.map_or_else(String::new, |id| format!(" (clientMessageId {id:?})"));
    let code = receipt.error_code();
    let code = code.map_or_else(String::new, |code| format!(", receipt code {code}"));
    // A line break in an id would begin another line of the log.
    let umid = umid.escape_debug();
    format!("{umid}{id} is {:?}{code}", receipt.state())
}

impl fmt::Debug for OtherEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherEvent")
            .field("namespace", &self.namespace)
            .field("event_type", &self.event_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

impl UnreadableEvent {
    /// Why it cannot be read.
    pub fn problem(&self) -> &EventProblem {
        &self.problem
    }

    /// The place of what is missing or of another type, as `payload.umid`, where it is a receipt.
    pub fn field(&self) -> Option<&str> {
        match &self.problem {
            EventProblem::Receipt { field, .. } => Some(field),
            _ => None,
        }
    }

    /// What was posted, its first 64 KiB. It may have phone numbers in it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// How to answer it: 400 where it is not JSON, 413 where it is too large, else 200, since
    /// posting it again would not mend it.
    pub fn status(&self) -> StatusCode {
        match self.problem {
            EventProblem::NotJson { .. } => StatusCode::BAD_REQUEST,
            EventProblem::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::OK,
        }
    }
}

impl fmt::Debug for UnreadableEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreadableEvent")
            .field("problem", &self.problem)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}
