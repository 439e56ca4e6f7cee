//! Decodes responses with odd details: one odd member or entry does not lose the others.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::json::OnlyObject;
use crate::outcome::OutcomeKind;
use crate::types::{BatchResponse, ErrorCode, MessageResult, ReceivedList};

/// An odd value of more bytes than this is left out unread, so that none fills the memory.
const ODD_BYTES: usize = 64 * 1024;
/// A body of more bytes that is not UTF-8 is not repaired: a copy of it would fill the memory.
const NOT_UTF8_BYTES: usize = 4 * 1024 * 1024;
/// Members of a response that are read beside its messages, and the most bytes of each.
const ODD_MEMBERS: usize = 100;
const MEMBER_BYTES: usize = 4 * 1024;

/// An object, as far as its members have the right types. `None` if the text is no JSON object.
///
/// Every member of a received type is optional, so each can be tried alone: it is kept if the type
/// decodes from it. A member that holds an object keeps what is right in that.
pub(crate) fn object<T: DeserializeOwned>(json: &str) -> Option<T> {
    if let Ok(OnlyObject(object)) = serde_json::from_str(json) {
        return Some(object);
    }
    if json.len() > ODD_BYTES {
        return None;
    }
    members(serde_json::from_str(json).ok()?)
}

/// The same for an object that was parsed already, of any size.
pub(crate) fn members<T: DeserializeOwned>(members: Map<String, Value>) -> Option<T> {
    serde_json::from_value(prune(Value::Object(members), &fits::<T>)?).ok()
}

fn fits<T: DeserializeOwned>(value: &Value) -> bool {
    OnlyObject::<T>::deserialize(value).is_ok()
}

/// The part of a value that `fits` accepts.
fn prune(value: Value, fits: &dyn Fn(&Value) -> bool) -> Option<Value> {
    // All members of a received object are optional, so an empty one fits where one is expected.
    // A member of an unknown name accepts any value.
    let is_object = fits(&Value::Object(Map::new())) && !fits(&Value::Bool(true));
    match value {
        Value::Object(members) if is_object => {
            let kept = members.into_iter().filter_map(|(name, member)| {
                let fits =
                    |value: &Value| fits(&Map::from_iter([(name.clone(), value.clone())]).into());
                prune(member, &fits).map(|member| (name.clone(), member))
            });
            Some(Value::Object(kept.collect())).filter(fits)
        }
        value if fits(&value) => Some(value),
        // A whole number as a float, and as a text. One with a `+` is a phone number.
        Value::Number(number) if number.is_f64() => {
            number.to_string().strip_suffix(".0")?.parse::<i64>().ok().map(Value::from).filter(fits)
        }
        Value::String(text) if !text.contains('+') => {
            text.trim().parse::<i64>().ok().map(Value::from).filter(fits)
        }
        _ => None,
    }
}

/// A response to a batch, as far as its members and entries have the right types.
///
/// # Errors
/// The body is no JSON object.
pub(super) fn response(body: &[u8]) -> serde_json::Result<BatchResponse> {
    match std::str::from_utf8(body) {
        Err(_) if body.len() <= NOT_UTF8_BYTES => {
            serde_json::from_str::<Lenient>(&String::from_utf8_lossy(body))
        }
        // The parser reports where the text ends.
        Err(_) => serde_json::from_slice::<Lenient>(body),
        Ok(body) => serde_json::from_str::<Lenient>(body),
    }
    .map(|lenient| lenient.0)
}

/// Whether the body of a refusal may say that the platform accepted messages after all: it counts
/// some, lists one that is not rejected, or has counts or a list that cannot be read.
pub(crate) fn may_list_accepted(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Members<'a> {
        #[serde(borrow)]
        accepted_count: Option<&'a RawValue>,
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
    }

    let response = BatchResponse::from_json(body).unwrap_or_default();
    let is_open = |list: &ReceivedList<MessageResult>| {
        list.omitted() > 0 || list.iter().any(|it| it.outcome() != OutcomeKind::Rejected)
    };
    if response.messages.as_ref().is_some_and(is_open) {
        return true;
    }
    match (response.accepted_count, serde_json::from_slice::<Members<'_>>(body)) {
        (Some(count), _) if count != 0 => true,
        (count, Ok(members)) => {
            let has_list = members.messages.is_some_and(|list| list.get().trim() != "[]");
            (members.accepted_count.is_some() && count.is_none())
                || (has_list && response.results().is_empty())
        }
        // A list of results is no response, but it says more than a refusal does.
        (_, Err(_)) => {
            let is_list = body.trim_ascii_start().starts_with(b"[");
            is_list && memchr::memmem::find(body, b"\"status\"").is_some()
        }
    }
}

struct Lenient(BatchResponse);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Lenient;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Lenient, A::Error> {
                let mut odd = Map::new();
                let mut messages = None;
                while let Some(name) = members.next_key::<String>()? {
                    let raw = members.next_value::<&RawValue>()?.get();
                    if name == "messages" && raw != "null" {
                        // A list that is unreadable or not the only one leaves all messages open.
                        let entries = serde_json::from_str::<ReceivedList<Entry>>(raw);
                        let entries = entries.ok().filter(|_| messages.is_none());
                        let entries = entries.map(|entries| entries.map(|entry| entry.0));
                        messages = Some(entries.unwrap_or_default());
                    } else if raw.len() <= MEMBER_BYTES
                        && odd.len() < ODD_MEMBERS
                        && let Ok(value) = serde_json::from_str(raw)
                    {
                        odd.insert(name, value);
                    }
                }
                let pruned = prune(Value::Object(odd), &fits::<BatchResponse>);
                let response = pruned.and_then(|value| serde_json::from_value(value).ok());
                let mut response: BatchResponse = response.unwrap_or_default();
                response.messages = messages;
                Ok(Lenient(response))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// An entry, as far as its members have the right types. If it is no object, it is empty.
struct Entry(MessageResult);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if let Ok(OnlyObject(result)) = serde_json::from_str(raw) {
            return Ok(Self(result));
        }
        let entry = Some(raw).filter(|raw| raw.len() <= ODD_BYTES);
        let entry: Value = entry.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        // A code that cannot be read is a code: the message may not be accepted.
        let has_code = !entry["status"]["errorCode"].is_null();
        let Value::Object(entry) = entry else {
            return Ok(Self(MessageResult::default()));
        };
        let mut result: MessageResult = members(entry).unwrap_or_default();
        if let Some(status) = result.status.as_mut().filter(|_| has_code) {
            status.error_code.get_or_insert(ErrorCode::Other(i64::MIN));
        }
        Ok(Self(result))
    }
}
