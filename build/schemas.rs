//! From the checked spec to JSON Schema of the types of a request (feature `schemars`).

use proc_macro2::TokenStream;
use quote::quote;
use serde_json::{Map, Value, json};

use crate::generate::pretty;
use crate::spec::{Spec, SpecError, schema_pointer};
use crate::tables::{rust_type, target};

/// An implementation for each named schema below `BatchRequest`.
pub fn schemas(spec: &Spec) -> Result<String, SpecError> {
    let mut names = Vec::new();
    named_below(spec, "BatchRequest", &mut names)?;
    let impls = names.iter().map(|name| implementation(spec, name));
    let impls = impls.collect::<Result<Vec<_>, _>>()?;
    pretty(spec, quote! { #(#impls)* })
}

fn implementation(spec: &Spec, name: &str) -> Result<TokenStream, SpecError> {
    let schema = spec.at(&schema_pointer(name), "the request is made of it")?;
    let json = inlined(spec, schema)?.to_string();
    let rust = rust_type(name);
    Ok(quote! { crate::schema::json_schema! { #rust, #name, #json } })
}

/// The names of the schemas that a schema is made of, itself first, but for aliases.
fn named_below(spec: &Spec, name: &str, names: &mut Vec<String>) -> Result<(), SpecError> {
    fn targets<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.extend(target.strip_prefix("#/components/schemas/"));
                }
                members.values().for_each(|member| targets(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| targets(item, found)),
            _ => {}
        }
    }
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    let schema = spec.at(&schema_pointer(name), "the request is made of it")?;
    if target(schema).is_none() {
        names.push(name.to_owned());
    }
    let mut below = Vec::new();
    targets(schema, &mut below);
    below.into_iter().try_for_each(|name| named_below(spec, name, names))
}

/// The schema with every reference in its place, and without what only the contract knows.
fn inlined(spec: &Spec, schema: &Value) -> Result<Value, SpecError> {
    if let Some(pointer) = target(schema) {
        return inlined(spec, spec.at(pointer, "it is referred to")?);
    }
    let Some(keywords) = schema.as_object() else {
        return Ok(schema.clone());
    };
    let mut plain = Map::new();
    for (keyword, value) in keywords {
        let (keyword, value) = match keyword.as_str() {
            "example" => ("examples", json!([value])),
            "items" => ("items", inlined(spec, value)?),
            "properties" => {
                let members = value.as_object().into_iter().flatten();
                let members =
                    members.map(|(name, member)| Ok((name.clone(), inlined(spec, member)?)));
                ("properties", members.collect::<Result<Map<_, _>, SpecError>>()?.into())
            }
            other => (other, value.clone()),
        };
        plain.insert(keyword.to_owned(), value);
    }
    Ok(Value::Object(plain))
}
