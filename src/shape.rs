//! Finds every member of a JSON value that is missing, unknown or of another type, and takes it out
//! so that the rest can be read.
//!
//! A derived reader stops at the first of them, and repeats the value in its error.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::check::Checker;
use crate::mask::Masked;
use crate::problem::Rule;

/// The shape of a value. The build fills in the shapes of a request and of an entry of an answer
/// from the spec.
pub(crate) enum Shape {
    String,
    /// A text of a closed list.
    OneOf(&'static [&'static str]),
    Boolean,
    #[allow(dead_code, reason = "the spec may get a member that is a number")]
    Integer,
    /// A whole number of a response, also one that is written as a text.
    ReceivedInteger,
    /// A text of a response, also a number or a truth value.
    ReceivedText,
    Array(&'static Shape),
    Object(&'static [Member]),
    /// An object of a response, with members that the spec does not know.
    OpenObject(&'static [Member]),
}

pub(crate) struct Member {
    pub name: &'static str,
    pub required: bool,
    pub shape: Shape,
}

impl Shape {
    /// Collects what is wrong with a value and takes it out, so that the rest can be read. A
    /// `null` stands for a member that is not set. Tells whether there is a rest.
    pub(crate) fn prune(&self, value: &mut Value, checker: &mut Checker<'_>) -> bool {
        if let Self::ReceivedInteger = self
            && let Ok(number) = crate::received::number(&*value)
        {
            // Generated code reads a number alone.
            *value = number.into();
            return true;
        }
        let rule = match (self, &mut *value) {
            (Self::String, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => return true,
            (Self::Integer, Value::Number(number)) if number.is_i64() => return true,
            (Self::ReceivedText, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                return true;
            }
            (Self::OneOf(listed), Value::String(text)) => {
                if listed.contains(&text.as_str()) {
                    return true;
                }
                Rule::NotListed { found: text.chars().count(), expected: listed.join(", ") }
            }
            (Self::Array(shape), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    // What is taken out leaves its place, for the count.
                    if !checker.at(index, |checker| shape.prune(item, checker)) {
                        *item = Value::Null;
                    }
                }
                return true;
            }
            (Self::Object(members), Value::Object(object)) => {
                prune_members(*members, object, checker);
                prune_unknown(members, object, checker);
                return true;
            }
            (Self::OpenObject(members), Value::Object(object)) => {
                return prune_open(members, object, checker);
            }
            _ => Rule::Type { found: type_of(value), expected: self.name() },
        };
        checker.problem(rule);
        false
    }

    fn name(&self) -> &'static str {
        match self {
            Self::String | Self::OneOf(_) | Self::ReceivedText => "a text",
            Self::Boolean => "true or false",
            Self::Integer | Self::ReceivedInteger => "a whole number",
            Self::Array(_) => "a list",
            Self::Object(_) | Self::OpenObject(_) => "an object",
        }
    }
}

fn prune_members(
    members: impl IntoIterator<Item = &'static Member>,
    object: &mut Map<String, Value>,
    checker: &mut Checker<'_>,
) {
    for member in members {
        let name = member.name;
        match object.get_mut(name) {
            None | Some(Value::Null) if member.required => {
                checker.below(name, |checker| checker.problem(Rule::Missing));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                if !checker.below(name, |checker| member.shape.prune(value, checker)) {
                    object.remove(name);
                }
            }
        }
    }
}

/// Takes out members that cannot be read, and tells whether every one is left that has to be there.
/// Only the lack of those is a problem.
fn prune_open(
    members: &'static [Member],
    object: &mut Map<String, Value>,
    checker: &mut Checker<'_>,
) -> bool {
    let (required, optional): (Vec<_>, Vec<_>) = members.iter().partition(|it| it.required);
    prune_members(optional, object, &mut Checker::default());
    prune_members(required.iter().copied(), object, checker);
    required.iter().all(|it| object.get(it.name).is_some_and(|value| !value.is_null()))
}

fn prune_unknown(
    members: &'static [Member],
    object: &mut Map<String, Value>,
    checker: &mut Checker<'_>,
) {
    object.retain(|name, _| {
        let known = members.iter().any(|member| member.name == name);
        if !known {
            let expected: Vec<_> = members.iter().map(|member| member.name).collect();
            let expected = expected.join(", ");
            checker.problem_below(shown(name), Rule::Unknown { expected });
        }
        known
    });
}

/// The name of a member that the API does not have, where it is a name and not a number or a text.
fn shown(name: &str) -> &str {
    let is_name = name.len() <= 50
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && Masked(name).to_string() == name;
    if is_name { name } else { "(a member)" }
}

pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Takes out every `null`: a member that is not set, an entry of a list that was taken out.
pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            items.iter_mut().for_each(without_nulls);
        }
        _ => {}
    }
}

/// The name of a member, in formats that have others than texts too. No error repeats it.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::received::with_text(deserializer, |text| Self(text.to_owned()))
    }
}

/// A value in which no member stands twice: what is lost where the last is taken in silence can be
/// a list of messages.
pub(crate) type Strict = Tree<true>;

/// A value as it stands, of members that stand twice the last. (`Value` takes some names for marks
/// of its own and reads more than what stands there.)
pub(crate) type Lenient = Tree<false>;

pub(crate) struct Tree<const EACH_ONCE: bool>(pub(crate) Value);

impl<'de, const EACH_ONCE: bool> Deserialize<'de> for Tree<EACH_ONCE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue<const EACH_ONCE: bool>;

        impl<'de, const EACH_ONCE: bool> Visitor<'de> for AnyValue<EACH_ONCE> {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value that JSON has")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
                inner.deserialize_any(self)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Tree::<EACH_ONCE>(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(list.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some((Name(name), Tree::<EACH_ONCE>(member))) = members.next_entry()? {
                    if object.insert(name, member).is_some() && EACH_ONCE {
                        return Err(A::Error::custom("a member stands twice in one object"));
                    }
                }
                Ok(object.into())
            }
        }

        deserializer.deserialize_any(AnyValue::<EACH_ONCE>).map(Self)
    }
}
