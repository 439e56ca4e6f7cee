//! Parses a request strictly: it guesses, drops and converts nothing.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::invalid::{Invalid, Problem, Rule, Subject};
use crate::json::{OnlyObject, type_of, without_byte_order_mark};
use crate::redact;
use crate::types::BatchRequest;

/// Parses a request, or reports the first malformed value. No error repeats a value.
pub(super) fn request(json: &[u8]) -> Result<BatchRequest, Invalid> {
    let json = without_byte_order_mark(json);
    let not_json =
        |error: &serde_json::Error| Rule::NotJson { line: error.line(), column: error.column() };
    let value: Value =
        serde_json::from_slice(json).map_err(|error| malformed("", not_json(&error)))?;
    let read = &mut serde_json::Deserializer::from_slice(json);
    let OnlyObject(request) = serde_path_to_error::deserialize(read).map_err(|error| {
        let rule = Rule::Malformed(without_value(error.inner()));
        malformed(&printable(error.path()), rule)
    })?;
    let written = serde_json::to_value(&request).unwrap_or_default();
    same_types(&value, &written, "").map_or(Ok(request), Err)
}

/// Parses a request from any self-describing format.
pub(super) fn request_of<'de, D: Deserializer<'de>>(read: D) -> Result<BatchRequest, D::Error> {
    let request =
        OnlyObject::deserialize(read).map_err(|error| D::Error::custom(without_value(&error)))?;
    Ok(request.0)
}

fn malformed(path: &str, rule: Rule) -> Invalid {
    Invalid::new(Subject::Batch, vec![Problem::new(path, rule)])
}

/// A path in which the last member may be unknown, and its name even a phone number.
fn printable(path: &Path) -> String {
    let text = path.to_string();
    match path.iter().next_back() {
        Some(Segment::Map { key }) => {
            let above = text.strip_suffix(key.as_str()).unwrap_or_default();
            format!("{above}{}", redact::mask(key, &[]))
        }
        Some(_) => text,
        None => String::new(),
    }
}

/// An error of serde without the repeated value. serde writes "invalid type: {value},
/// expected {type}" and "unknown field `{name}`, expected {names}".
fn without_value(error: &impl ToString) -> String {
    let error = error.to_string();
    let text = error.rsplit_once(" at line ").map_or(&*error, |(text, _)| text);
    let expected = match text.rfind(", expected ").map_or("", |at| &text[at..]) {
        rust if rust.starts_with(", expected struct ") => ", expected an object",
        ", expected a sequence" => ", expected an array",
        expected => expected,
    };
    let repeats = [
        ("invalid type", "wrong type"),
        ("invalid value", "wrong value"),
        ("invalid length", "wrong length"),
        ("unknown variant", "not a value of the API"),
        ("unknown field", "not a member of the API"),
    ];
    // Some formats prepend a path.
    match repeats.into_iter().find(|(phrase, _)| text.contains(phrase)) {
        Some((_, label)) => format!("{label}{expected}"),
        None => redact::mask(text, &[]),
    }
}

/// The first value that was converted: an array to an object, or a number to a string. Derived
/// types and texts accept both.
fn same_types(read: &Value, written: &Value, path: &str) -> Option<Invalid> {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => read.iter().find_map(|(name, value)| {
            let separator = if path.is_empty() { "" } else { "." };
            same_types(value, written.get(name)?, &format!("{path}{separator}{name}"))
        }),
        (Value::Array(read), Value::Array(written)) => {
            let mut pairs = read.iter().zip(written).enumerate();
            pairs.find_map(|(at, (read, written))| {
                same_types(read, written, &format!("{path}[{at}]"))
            })
        }
        _ if type_of(read) == type_of(written) => None,
        _ => {
            let rule = Rule::Malformed(format!("wrong type, expected {}", type_of(written)));
            Some(malformed(path, rule))
        }
    }
}
