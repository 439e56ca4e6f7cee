//! JSON Schema of the request types, from the spec. Feature `schemars`.

macro_rules! json_schema {
    ($name:literal $json:literal $($type:path)+) => {$(
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                // The build generated it.
                serde_json::from_str($json).unwrap_or_default()
            }
        }
    )+};
}
pub(crate) use json_schema;
