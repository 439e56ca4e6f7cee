//! Judging a request by the published contract, from nothing but its JSON.
//!
//! The facts are from the reference page
//! <https://developer.8x8.com/connect/reference/send-lon-messages> unless a comment names another
//! source.

use std::collections::HashSet;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

/// "It is possible to send up to 1,000 messages per request." (The schema on the same page says
/// 10,000. The sentence is about this endpoint, so it counts.)
const MAX_MESSAGES: usize = 1_000;
/// "Possible values: <= 100 characters."
const MAX_CLIENT_BATCH_ID: usize = 100;
/// "Possible values: <= 50 characters."
const MAX_CLIENT_MESSAGE_ID: usize = 50;
/// "Max length 16 chars."
const MAX_SMS_SOURCE: usize = 16;
/// Not documented: larger than any valid batch of ordinary texts.
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;

const PATH: (&str, &str) = ("/api/v1/subaccounts/", "/lon/batch");

/// The type of a member of a request.
enum Shape {
    Text,
    Bool,
    OneOf(&'static [&'static str]),
    Object(&'static [(&'static str, Shape)]),
    /// A list of such objects.
    List(&'static [(&'static str, Shape)]),
    /// Judged apart.
    Any,
}

/// Every member of a batch that the page lists.
const BATCH: &[(&str, Shape)] = &[
    ("clientBatchId", Shape::Text),
    ("messages", Shape::Any),
    ("includeMessagesInResponse", Shape::Bool),
];

/// Every member of a message that the page lists. It lists icons too, but other icons are taken:
/// LINE adds some from time to time.
const MESSAGE: &[(&str, Shape)] = &[
    ("user", Shape::Object(&[("msisdn", Shape::Text), ("country", Shape::Text)])),
    ("clientMessageId", Shape::Text),
    ("content", Shape::Object(CONTENT)),
    ("dlrCallbackUrl", Shape::Text),
    ("smsFallback", Shape::Object(SMS_FALLBACK)),
];

const CONTENT: &[(&str, Shape)] = &[
    ("title", Shape::Text),
    ("company", Shape::Text),
    ("icon", Shape::Text),
    ("emphasis", Shape::Object(LABELLED)),
    ("list", Shape::List(LABELLED)),
    ("greeting", Shape::Text),
    ("explanation", Shape::Text),
    ("actions", Shape::List(&[("title", Shape::Text), ("url", Shape::Text)])),
];

const LABELLED: &[(&str, Shape)] = &[("label", Shape::Text), ("content", Shape::Text)];

const SMS_FALLBACK: &[(&str, Shape)] = &[
    ("text", Shape::Text),
    ("source", Shape::Text),
    ("encoding", Shape::OneOf(&["AUTO", "GSM7", "UCS2"])),
];

impl Shape {
    fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text => value.is_string(),
            Self::Bool => value.is_boolean(),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Object(members) => fits(value, members),
            Self::List(members) => value
                .as_array()
                .is_some_and(|values| values.iter().all(|value| fits(value, members))),
        }
    }
}

/// Whether a value is an object that has only these members, each of its type.
fn fits(value: &Value, members: &[(&str, Shape)]) -> bool {
    value.as_object().is_some_and(|object| {
        object.iter().all(|(name, value)| {
            members.iter().any(|(member, shape)| member == name && shape.fits(value))
        })
    })
}

/// Why a message is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The code, as in `errorCode` of the response.
    pub code: i64,
    /// The text, as in `errorMessage` of the response.
    pub reason: String,
}

/// With the sandbox's own text for the code, or else `Rejected`.
impl From<i64> for Rejection {
    fn from(code: i64) -> Self {
        Self { code, reason: reason(code).unwrap_or("Rejected").to_owned() }
    }
}

/// A text for each code that the contract uses; those of 1001, 1200, 2000 and 3038 are from the
/// samples on the page.
pub(crate) fn reason(code: i64) -> Option<&'static str> {
    Some(match code {
        429 => "Too many requests",
        1000 => "Invalid parameter",
        1001 => "Provided subAccountId doesn't belongs to your account",
        1100 => "Bulk limit reached",
        1200 => "Request was not authenticated properly",
        1300 => "Not found",
        2000 => "Internal server error",
        3001 => "User is missing",
        3002 => "MSISDN is missing",
        3003 => "Invalid MSISDN",
        3004 => "Content is missing",
        3009 => "clientMessageId is too long",
        3011 => "SMS source is too long",
        3012 => "Messages are missing",
        3013 => "Too many messages",
        3014 => "clientBatchId is too long",
        3018 => "Invalid country code",
        3020 => "Invalid DR callback URL",
        3038 => "Template not found for provided name and language",
        _ => return None,
    })
}

/// Why a whole request is refused.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub code: i64,
}

impl Refusal {
    pub const TOO_LARGE: Self = Self { status: StatusCode::PAYLOAD_TOO_LARGE, code: 1100 };

    const fn bad_request(code: i64) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code }
    }
}

/// A batch that was read, with a verdict for each message.
pub(crate) struct Judged {
    pub client_batch_id: Option<String>,
    /// Whether the response lists the messages.
    pub listed: bool,
    pub messages: Vec<(Value, Option<Rejection>)>,
}

pub(crate) type Judge = dyn Fn(&Value) -> Option<Rejection> + Send + Sync;

/// The account, and the rules for its messages.
pub(crate) struct Contract {
    pub sub_account_id: String,
    pub api_key: String,
    pub approved_titles: Option<HashSet<String>>,
    pub judge: Option<Box<Judge>>,
}

impl Contract {
    /// Judges a request: first the whole, then each message.
    pub fn judge(&self, head: &Parts, body: Result<Bytes, Refusal>) -> Result<Judged, Refusal> {
        let (before, after) = PATH;
        let path = head.uri.path().strip_prefix(before);
        let sub_account = path.and_then(|path| path.strip_suffix(after));
        let Some(sub_account) = sub_account.filter(|_| head.method == Method::POST) else {
            return Err(Refusal { status: StatusCode::NOT_FOUND, code: 1300 });
        };
        let key = format!("Bearer {}", self.api_key);
        if head.headers.get(AUTHORIZATION).is_none_or(|given| given != key.as_str()) {
            return Err(Refusal { status: StatusCode::UNAUTHORIZED, code: 1200 });
        }
        if sub_account != self.sub_account_id {
            return Err(Refusal::bad_request(1001));
        }
        let Ok(mut batch) = serde_json::from_slice::<Value>(&body?) else {
            return Err(Refusal::bad_request(1000));
        };
        if !fits(&batch, BATCH) {
            return Err(Refusal::bad_request(1000));
        }
        let Some(Value::Array(messages)) = batch.get_mut("messages").map(Value::take) else {
            return Err(Refusal::bad_request(3012));
        };
        if messages.is_empty() {
            return Err(Refusal::bad_request(3012));
        }
        if messages.len() > MAX_MESSAGES {
            return Err(Refusal::bad_request(3013));
        }
        let client_batch_id = batch.get("clientBatchId").and_then(Value::as_str);
        if client_batch_id.is_some_and(|id| id.chars().count() > MAX_CLIENT_BATCH_ID) {
            return Err(Refusal::bad_request(3014));
        }
        Ok(Judged {
            client_batch_id: client_batch_id.map(str::to_owned),
            listed: batch.get("includeMessagesInResponse") == Some(&Value::Bool(true)),
            messages: messages
                .into_iter()
                .map(|message| {
                    let rejection = self.rejection(&message);
                    (message, rejection)
                })
                .collect(),
        })
    }

    fn rejection(&self, message: &Value) -> Option<Rejection> {
        if let Some(code) = self.broken_rule(message) {
            return Some(code.into());
        }
        self.judge.as_ref().and_then(|judge| judge(message))
    }

    /// The code of the first rule that a message breaks.
    fn broken_rule(&self, message: &Value) -> Option<i64> {
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let is_longer =
            |pointer: &str, max| text(pointer).is_some_and(|text| text.chars().count() > max);
        if message.get("user").is_none() {
            return Some(3001);
        }
        let Some(msisdn) = text("/user/msisdn") else {
            return Some(3002);
        };
        let country = text("/user/country");
        if country.is_some_and(|country| !is_country(country)) {
            return Some(3018);
        }
        let is_number = is_e164(msisdn) || (country.is_some() && is_national(msisdn));
        if !is_number {
            return Some(3003);
        }
        let content = message.get("content").and_then(Value::as_object);
        if content.is_none_or(serde_json::Map::is_empty) {
            return Some(3004);
        }
        if is_longer("/clientMessageId", MAX_CLIENT_MESSAGE_ID) {
            return Some(3009);
        }
        if is_longer("/smsFallback/source", MAX_SMS_SOURCE) {
            return Some(3011);
        }
        if text("/dlrCallbackUrl").is_some_and(|url| !is_http_url(url)) {
            return Some(3020);
        }
        if !fits(message, MESSAGE) {
            return Some(1000);
        }
        let titles = self.approved_titles.as_ref()?;
        let is_approved = text("/content/title").is_some_and(|title| titles.contains(title));
        (!is_approved).then_some(3038)
    }
}

/// `^\+[1-9][0-9]{6,14}$`: E.164 allows 15 digits. The shortest is not documented, and 7 is shorter
/// than any number in use.
fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| !digits.starts_with('0') && is_digits(digits, 7))
}

/// A number as dialled within a country. Its shape is not documented.
fn is_national(text: &str) -> bool {
    is_digits(text, 4)
}

fn is_digits(text: &str, at_least: usize) -> bool {
    (at_least..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// "Like 'sg', 'uk'": two letters. Which of them are countries is not documented.
fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn is_http_url(text: &str) -> bool {
    let is_http = |url: Url| matches!(url.scheme(), "http" | "https");
    text.contains("://") && Url::parse(text).is_ok_and(is_http)
}
