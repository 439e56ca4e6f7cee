//! Reads a request from JSON, with every member that is missing, unknown or of another type told.
//!
//! A derived reader stops at the first of them, and repeats the value in its error.

use serde_json::{Map, Value};

use crate::check::Checker;
use crate::mask::Masked;
use crate::problem::Rule;

/// The shape of a value of a request. The build fills in the shape of a batch from the spec.
pub(crate) enum Shape {
    String,
    /// A text of a closed list.
    OneOf(&'static [&'static str]),
    Boolean,
    #[allow(dead_code, reason = "the spec may get a member that is a number")]
    Integer,
    Array(&'static Shape),
    Object(&'static [Member]),
}

pub(crate) struct Member {
    pub name: &'static str,
    pub required: bool,
    pub shape: Shape,
}

impl Shape {
    /// Collects what is wrong with a value. A `null` stands for a member that is not set.
    pub fn check<'a>(&'a self, value: &'a Value, checker: &mut Checker<'a>) {
        match (self, value) {
            (Self::String, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => {}
            (Self::Integer, Value::Number(number)) if number.is_i64() => {}
            (Self::OneOf(listed), Value::String(text)) => {
                if !listed.contains(&text.as_str()) {
                    checker.problem(Rule::NotListed {
                        found: text.chars().count(),
                        expected: listed.join(", "),
                    });
                }
            }
            (Self::Array(shape), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    checker.at(index, |checker| shape.check(item, checker));
                }
            }
            (Self::Object(members), Value::Object(object)) => {
                check_members(members, object, checker);
            }
            _ => checker.problem(Rule::Type {
                found: type_of(value),
                expected: self.name(),
            }),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::String | Self::OneOf(_) => "a text",
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

fn check_members<'a>(
    members: &'a [Member],
    object: &'a Map<String, Value>,
    checker: &mut Checker<'a>,
) {
    for member in members {
        match object.get(member.name) {
            None | Some(Value::Null) if member.required => {
                checker.below(member.name, |checker| checker.problem(Rule::Missing));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                checker.below(member.name, |checker| member.shape.check(value, checker));
            }
        }
    }
    for name in object.keys() {
        if members.iter().all(|member| member.name != name) {
            let expected: Vec<_> = members.iter().map(|member| member.name).collect();
            let expected = expected.join(", ");
            checker.below(shown(name), |checker| {
                checker.problem(Rule::Unknown { expected });
            });
        }
    }
}

/// The name of a member that the API does not have, where it is a name and not a number or a text.
fn shown(name: &str) -> &str {
    let is_name = name.len() <= 50
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && Masked(name).to_string() == name;
    if is_name { name } else { "(a member)" }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Takes out every member that is `null`: it is not set, and is not sent.
pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
