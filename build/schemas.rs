//! Generates JSON Schema of the request types from the checked spec (feature `schemars`).

use quote::quote;
use serde_json::{Map, Value, json};

use crate::check::OPERATION;
use crate::generate::pretty;
use crate::spec::{Spec, SpecError, ref_name};
use crate::tables::rust_type;

/// Generates an implementation for each request schema.
pub fn schemas(spec: &Spec) -> Result<String, SpecError> {
    let names = spec.reachable(&format!("{OPERATION}/requestBody"));
    let impls = names.iter().map(|name| {
        let (rust, json) = (rust_type(spec, name), inlined(spec, spec.schema(name)).to_string());
        let wrappers = (name == "Content").then(|| {
            quote! { crate::request::MessageContent crate::request::SharedContent }
        });
        quote! { crate::types::schema::json_schema! { #name #json #rust #wrappers } }
    });
    pretty(spec, quote! { #(#impls)* })
}

/// A schema with inlined references, in the keywords of JSON Schema.
fn inlined(spec: &Spec, schema: &Value) -> Value {
    if let Some(name) = ref_name(schema) {
        return inlined(spec, spec.schema(name));
    }
    let below = |value: &Value| {
        let members = value.as_object().into_iter().flatten();
        members.map(|(name, member)| (name.clone(), inlined(spec, member))).collect::<Map<_, _>>()
    };
    let keywords = schema.as_object().into_iter().flatten();
    let keywords = keywords.map(|(keyword, value)| match keyword.as_str() {
        "example" => ("examples".to_owned(), json!([value])),
        "items" => (keyword.clone(), inlined(spec, value)),
        "properties" => (keyword.clone(), below(value).into()),
        _ => (keyword.clone(), value.clone()),
    });
    keywords.collect::<Map<_, _>>().into()
}
