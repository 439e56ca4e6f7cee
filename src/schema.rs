//! JSON Schema of the types of a request, from the spec. Feature `schemars`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{Batch, BatchRequest, Shared};

macro_rules! json_schema {
    ($type:path, $name:literal, $json:literal) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                // The build wrote it.
                serde_json::from_str($json).unwrap_or_default()
            }
        }
    };
}
pub(crate) use json_schema;

/// The schema of a [`BatchRequest`]. What no schema can say, such as that no clientMessageId
/// stands twice, is not in it.
impl JsonSchema for Batch {
    fn schema_name() -> Cow<'static, str> {
        "Batch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BatchRequest::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Shared<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
