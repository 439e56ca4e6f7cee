//! Parses malformed responses: one malformed member or result does not lose the others.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::json::OnlyObject;
use crate::outcome::OutcomeKind;
use crate::types::{BatchResponse, ErrorCode, MessageResult, ReceivedList};

/// Larger malformed values are dropped unparsed to bound memory.
const ODD_BYTES: usize = 64 * 1024;
/// A larger body that is not UTF-8 is not repaired, because that needs a copy of it.
const NOT_UTF8_BYTES: usize = 4 * 1024 * 1024;
/// The maximum number of members besides `messages`, and the maximum size of each. Others are
/// dropped.
const ODD_MEMBERS: usize = 100;
const MEMBER_BYTES: usize = 4 * 1024;

/// Parses an object and drops members of the wrong type. `None` if the text is not a JSON object.
///
/// Every member of a received type is optional, so each is tested alone: it is kept if the type
/// parses from it. The same applies to nested objects.
pub(crate) fn object<T: DeserializeOwned>(json: &str) -> Option<T> {
    if let Ok(OnlyObject(object)) = serde_json::from_str(json) {
        return Some(object);
    }
    if json.len() > ODD_BYTES {
        return None;
    }
    members(serde_json::from_str(json).ok()?)
}

/// The same for a parsed object of any size.
pub(crate) fn members<T: DeserializeOwned>(members: Map<String, Value>) -> Option<T> {
    serde_json::from_value(prune(Value::Object(members), &fits::<T>)?).ok()
}

fn fits<T: DeserializeOwned>(value: &Value) -> bool {
    OnlyObject::<T>::deserialize(value).is_ok()
}

/// The part of a value that `fits` accepts.
fn prune(value: Value, fits: &dyn Fn(&Value) -> bool) -> Option<Value> {
    // All members of a received object are optional, so an empty object fits where an object is
    // expected. A member with an unknown name accepts any value.
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
        // An integer written as a float or a string. A string with a `+` is a phone number.
        Value::Number(number) if number.is_f64() => {
            number.to_string().strip_suffix(".0")?.parse::<i64>().ok().map(Value::from).filter(fits)
        }
        Value::String(text) if !text.contains('+') => {
            text.trim().parse::<i64>().ok().map(Value::from).filter(fits)
        }
        _ => None,
    }
}

/// Parses a response and drops members of the wrong type, also in its results.
///
/// # Errors
/// The body is not a JSON object.
pub(super) fn response(body: &[u8]) -> serde_json::Result<BatchResponse> {
    match std::str::from_utf8(body) {
        Err(_) if body.len() <= NOT_UTF8_BYTES => {
            serde_json::from_str::<Lenient>(&String::from_utf8_lossy(body))
        }
        // The parser reports the position of the invalid byte.
        Err(_) => serde_json::from_slice::<Lenient>(body),
        Ok(body) => serde_json::from_str::<Lenient>(body),
    }
    .map(|lenient| lenient.0)
}

/// Whether the body of a refusal may report accepted messages: it counts some, lists one that is
/// not rejected, or has a malformed count or list.
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
        // An array of results is not a response, but it may report accepted messages.
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
                        // A malformed or repeated list leaves every message unknown.
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

/// A result without its malformed members; empty if it is not an object.
struct Entry(MessageResult);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if let Ok(OnlyObject(result)) = serde_json::from_str(raw) {
            return Ok(Self(result));
        }
        let entry = Some(raw).filter(|raw| raw.len() <= ODD_BYTES);
        let entry: Value = entry.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        // An unreadable error code still counts as an error, so the message must not be reported as
        // accepted.
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
