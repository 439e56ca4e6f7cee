//! JSON parsing beyond derived types.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;

/// Strips a leading byte order mark. RFC 8259 allows parsers to ignore it.
pub(crate) fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The name of a JSON value's type.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Parses a derived struct only from an object. Derived structs also parse from an array.
pub(crate) struct OnlyObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OnlyObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsMap<D>(D);

        impl<'de, D: Deserializer<'de>> Deserializer<'de> for AsMap<D> {
            type Error = D::Error;

            fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
                self.0.deserialize_map(visitor)
            }

            // `RawValue` is a newtype struct.
            fn deserialize_newtype_struct<V: Visitor<'de>>(
                self,
                name: &'static str,
                visitor: V,
            ) -> Result<V::Value, D::Error> {
                self.0.deserialize_newtype_struct(name, visitor)
            }

            serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
                option unit unit_struct seq tuple tuple_struct map struct enum identifier
                ignored_any
            }
        }

        T::deserialize(AsMap(deserializer)).map(Self)
    }
}

/// Parses an optional member that must be an object.
pub(crate) fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<OnlyObject<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// Parses a string. A number or a boolean becomes its text. No error repeats the value.
pub(crate) fn deserialize_as_string<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    make: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    struct AnyText<F>(F);

    impl<T, F: FnOnce(&str) -> T> Visitor<'_> for AnyText<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            Ok(self.0(text))
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
            Ok(self.0(if value { "true" } else { "false" }))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
            Ok(self.0(&value.to_string()))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
            Ok(self.0(&value.to_string()))
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
            Ok(self.0(&value.to_string()))
        }
    }

    deserializer.deserialize_any(AnyText(make))
}
