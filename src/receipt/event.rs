//! Parses the body of a post into an event.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};

use super::{DeliveryReceipt, EventType, Namespace};
use crate::json::{OnlyObject, type_of, without_byte_order_mark};
use crate::redact::mask;
use crate::response::lenient;

/// The maximum size of an event, in bytes. A receipt has about 600.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// The maximum number of characters of an event in a log.
const MAX_LINE: usize = 400;

/// A post to a callback URL.
///
/// One URL receives receipts of all channels, messages from users, and events of the account.
/// Answer all of them with 2xx: after an error, the platform posts an event up to four more times.
///
/// `Display` describes it in one line of at most 400 characters, without phone numbers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A receipt of a LON message.
    Receipt(Box<DeliveryReceipt>),
    /// A receipt of another channel or without a channel, for instance of an SMS fallback. The
    /// platform does not document the channel of those.
    OtherChannel(Box<OtherReceipt>),
    /// An event in the old flat format, which has no `payload`. It is not parsed. The owner of the
    /// account has to replace the old webhook; see the platform's
    /// [guide](https://developer.8x8.com/connect/docs/webhook-migration-guide).
    OldFormat(OtherEvent),
    /// Any other event: a message from a user, an event of the account.
    Other(OtherEvent),
}

/// A receipt of another channel, with the members that only that channel has, such as `smsCount`
/// and `price` of an SMS.
#[derive(Clone)]
#[non_exhaustive]
pub struct OtherReceipt {
    /// The members that it has in common with a receipt of a LON message.
    pub receipt: DeliveryReceipt,
    /// The whole event, a JSON object. It may contain phone numbers.
    pub body: Bytes,
}

/// An event that is not a receipt.
#[derive(Clone)]
#[non_exhaustive]
pub struct OtherEvent {
    /// The product that it comes from.
    pub namespace: Option<Namespace>,
    /// The kind of event.
    pub event_type: Option<EventType>,
    /// The whole event, a JSON object. It may contain phone numbers and messages from users.
    pub body: Bytes,
}

/// Why a post is not an event. It contains nothing of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The body is larger than [`MAX_EVENT_BYTES`].
    #[error("the event has {found} bytes, at most {MAX_EVENT_BYTES}")]
    TooLarge {
        /// The size of the body, in bytes.
        found: usize,
    },
    /// The body is not JSON, or exceeds what `serde_json` parses: too deeply nested, or a number out of
    /// range.
    #[error("the event cannot be parsed as JSON: line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// The body is JSON, but not an object.
    #[error("the event is {found}, expected a JSON object")]
    NotAnObject {
        /// The type of the body, such as `an array`.
        found: &'static str,
    },
    /// The body is a receipt, but lacks a member that every receipt has.
    #[error("the delivery receipt is incomplete: {field} is {found}")]
    Incomplete {
        /// The path of the member, such as `payload.umid`.
        field: &'static str,
        /// `missing`, also for `null` and empty text, or the type of an unusable value, such as
        /// `an array`.
        found: &'static str,
    },
}

/// The members that every receipt needs: whether each is an object. The others are text.
const REQUIRED: [(&str, bool); 4] = [
    ("payload", true),
    ("payload.umid", false),
    ("payload.status", true),
    ("payload.status.state", false),
];

impl Event {
    /// Parses the body of a post.
    ///
    /// It accepts receipts of any version. Unknown members and values, nulls and a byte order mark
    /// do no harm, and a member of an unexpected type is left out.
    ///
    /// # Errors
    /// The body is larger than [`MAX_EVENT_BYTES`], is not a JSON object, or is a receipt without a
    /// umid or a state.
    pub fn from_json(body: &[u8]) -> Result<Self, EventError> {
        if body.len() > MAX_EVENT_BYTES {
            return Err(EventError::TooLarge { found: body.len() });
        }
        let body = without_byte_order_mark(body);
        let is_receipt = |event_type: Option<&EventType>| {
            event_type.is_none_or(|it| *it == EventType::OutboundMessageStatusChanged)
        };
        if let Ok(OnlyObject(receipt)) = serde_json::from_slice::<OnlyObject<DeliveryReceipt>>(body)
            && receipt.is_complete()
            && is_receipt(receipt.event_type.as_ref())
        {
            return Ok(Self::of(receipt, body));
        }

        let mut members = parse_object(body)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let namespace = text("namespace").map(Namespace::from);
        let event_type = text("eventType").map(EventType::from);
        let looks_like_receipt = || {
            let payload = members.get("payload").and_then(Value::as_object);
            payload.is_some_and(|it| it.contains_key("umid") && it.contains_key("status"))
        };
        if is_receipt(event_type.as_ref()) && (event_type.is_some() || looks_like_receipt()) {
            if event_type.is_none() {
                // A number or boolean would become the text of another type.
                members.remove("eventType");
            }
            return parse_receipt(members).map(|receipt| Self::of(receipt, body));
        }
        let is_flat = is_flat(&members);
        let event = OtherEvent { namespace, event_type, body: Bytes::copy_from_slice(body) };
        Ok(if is_flat { Self::OldFormat(event) } else { Self::Other(event) })
    }

    fn of(receipt: DeliveryReceipt, body: &[u8]) -> Self {
        if receipt.is_lon() {
            return Self::Receipt(Box::new(receipt));
        }
        let body = Bytes::copy_from_slice(body);
        Self::OtherChannel(Box::new(OtherReceipt { receipt, body }))
    }

    /// The receipt, of whatever channel. `None` if the event is not a receipt.
    pub fn receipt(&self) -> Option<&DeliveryReceipt> {
        match self {
            Self::Receipt(receipt) => Some(receipt),
            Self::OtherChannel(other) => Some(&other.receipt),
            Self::OldFormat(_) | Self::Other(_) => None,
        }
    }
}

/// Parses an object, also if its text is not valid Unicode.
fn parse_object(body: &[u8]) -> Result<Map<String, Value>, EventError> {
    let json = String::from_utf8_lossy(body);
    // A `Value` would mistake a member with a name that serde_json reserves.
    let error = match serde_json::from_str::<Map<String, Value>>(&json) {
        Ok(members) => return Ok(members),
        Err(error) => error,
    };
    if let Ok(members) = serde_json::from_str(&without_surrogates(&json)) {
        return Ok(members);
    }
    match serde_json::from_str::<Value>(&json) {
        Ok(value) if !value.is_object() => Err(EventError::NotAnObject { found: type_of(&value) }),
        _ => Err(EventError::NotJson { line: error.line(), column: error.column() }),
    }
}

/// Replaces the escapes of surrogates, such as `\ud83d`, by U+FFFD. An emoji that was cut in two has
/// a single one, which JSON permits and Rust's strings do not.
fn without_surrogates(json: &str) -> String {
    let mut parts = json.split("\\u");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
            Some(0xd800..=0xdfff) => text.extend(["\\ufffd", &part[4..]]),
            _ => text.extend(["\\u", part]),
        }
    }
    text
}

/// Parses a receipt without its malformed members.
fn parse_receipt(members: Map<String, Value>) -> Result<DeliveryReceipt, EventError> {
    let value = Value::Object(members);
    for (field, is_object) in REQUIRED {
        let found = match value.pointer(&format!("/{}", field.replace('.', "/"))) {
            Some(Value::Object(_)) if is_object => continue,
            None | Some(Value::Null) => "missing",
            // An empty umid would be that of every message without one.
            Some(Value::String(text)) if !is_object && text.is_empty() => "missing",
            Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) if !is_object => continue,
            Some(other) => type_of(other),
        };
        return Err(EventError::Incomplete { field, found });
    }
    let Value::Object(members) = value else { unreachable!("made from an object") };
    let receipt = lenient::members(members).filter(DeliveryReceipt::is_complete);
    receipt.ok_or(EventError::Incomplete { field: "payload", found: "missing" })
}

/// Whether an event is in the old format: its umid is at the top, in any case of letters, and it
/// has neither a namespace nor a payload object.
fn is_flat(members: &Map<String, Value>) -> bool {
    let get = |name: &str| {
        let mut found = members.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value).filter(|value| !value.is_null())
    };
    get("umid").is_some()
        && get("namespace").is_none()
        && get("payload").is_none_or(|payload| !payload.is_object())
}

impl EventError {
    /// The status to answer: 400 if the body is not JSON, 413 if it is too large, and otherwise 200,
    /// because posting it again would not help.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotJson { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotAnObject { .. } | Self::Incomplete { .. } => StatusCode::OK,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            Self::Receipt(receipt) => format!("delivery receipt: {}", summary(receipt)),
            Self::OtherChannel(other) => match other.receipt.channel() {
                Some(channel) => {
                    let channel = word(channel.as_str());
                    format!("delivery receipt of channel {channel}: {}", summary(&other.receipt))
                }
                None => format!("delivery receipt without a channel: {}", summary(&other.receipt)),
            },
            Self::OldFormat(_) => {
                "event in the old flat format, which is not parsed: the owner of the account has \
                 to delete the old webhook and create a new one, see \
                 https://developer.8x8.com/connect/docs/webhook-migration-guide"
                    .to_owned()
            }
            Self::Other(OtherEvent { namespace, event_type, .. }) => {
                let mut line = match event_type {
                    Some(event_type) => format!("event {}", word(event_type.as_str())),
                    None => "event without a type".to_owned(),
                };
                if let Some(namespace) = namespace {
                    line = format!("{line} of {}", word(namespace.as_str()));
                }
                line
            }
        };
        write!(f, "{line:.MAX_LINE$}")
    }
}

/// A receipt in one line.
fn summary(receipt: &DeliveryReceipt) -> String {
    let id = receipt.client_message_id();
    let id = id.map_or_else(String::new, |id| format!(" (clientMessageId {id:?})"));
    let code = receipt.error_code();
    let code = code.map_or_else(String::new, |code| format!(", receipt code {code}"));
    format!("{}{id} is {}{code}", word(receipt.umid()), word(receipt.state().as_str()))
}

/// The platform's own word, without phone numbers and without line breaks.
fn word(text: &str) -> String {
    mask(text, &[]).escape_debug().to_string()
}

impl fmt::Debug for OtherReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherReceipt")
            .field("receipt", &self.receipt)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
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
