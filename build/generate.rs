//! From the checked spec to the client with its types, and to the typed mocks.

use openapiv3::{ObjectType, OpenAPI, PathItem, ReferenceOr, Schema, SchemaKind, StatusCode, Type};
use proc_macro2::TokenStream;
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl};
use schemars::schema::{InstanceType, SchemaObject, StringValidation};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::check::{FORMATS, OPERATION, REPLACED};
use crate::spec::{Spec, SpecError, schema_pointer};

/// The type of a text of a request.
const TEXT: &str = "::smol_str::SmolStr";

/// The client, generated from the answers of success only: where an error has a type and the
/// body of an answer is not of it, the generated code loses status and headers. Without a type
/// for errors each of them arrives whole, and `src/error.rs` reads it.
pub fn client(spec: &Spec) -> Result<String, SpecError> {
    let mut api = openapi(spec)?;
    without_default(spec, &mut api)?;
    without_required_null(spec, &mut api)?;
    without_error_responses(spec, &mut api)?;
    let code = Generator::new(&settings(spec))
        .generate_tokens(&api)
        .map_err(|error| spec.error("", &format!("progenitor: {error}")))?;
    let code = pretty(spec, code)?;
    assert_generated(spec, &code)?;
    Ok(code)
}

/// Typed mocks of the whole contract, errors included.
pub fn mocks(spec: &Spec) -> Result<String, SpecError> {
    let mut api = openapi(spec)?;
    without_default(spec, &mut api)?;
    without_required_null(spec, &mut api)?;
    let code = Generator::new(&settings(spec))
        .httpmock(&api, "crate::generated")
        .map_err(|error| spec.error("", &format!("progenitor: {error}")))?;
    pretty(spec, code)
}

/// The spec as the generator takes it. Its own errors do not say where; so the parts are tried
/// first, and a part that does not fit is named.
fn openapi(spec: &Spec) -> Result<OpenAPI, SpecError> {
    fn part<T: DeserializeOwned>(spec: &Spec, pointer: &str) -> Result<(), SpecError> {
        match spec.value.pointer(pointer).cloned().map(serde_json::from_value::<T>) {
            Some(Err(error)) => Err(spec.error(pointer, &format!("not OpenAPI 3.0: {error}"))),
            _ => Ok(()),
        }
    }
    for name in members(spec, "/components/schemas") {
        part::<ReferenceOr<Schema>>(spec, &schema_pointer(&name))?;
    }
    for status in members(spec, &format!("{OPERATION}/responses")) {
        let pointer = format!("{OPERATION}/responses/{status}");
        part::<ReferenceOr<openapiv3::Response>>(spec, &pointer)?;
    }
    for index in 0.. {
        let pointer = format!("{OPERATION}/parameters/{index}");
        if spec.value.pointer(&pointer).is_none() {
            break;
        }
        part::<ReferenceOr<openapiv3::Parameter>>(spec, &pointer)?;
    }
    part::<ReferenceOr<openapiv3::RequestBody>>(spec, &format!("{OPERATION}/requestBody"))?;
    part::<openapiv3::Operation>(spec, OPERATION)?;
    part::<openapiv3::Paths>(spec, "/paths")?;
    part::<openapiv3::Info>(spec, "/info")?;
    part::<Vec<openapiv3::Server>>(spec, "/servers")?;
    part::<openapiv3::Components>(spec, "/components")?;
    part::<OpenAPI>(spec, "")?;
    serde_json::from_value(spec.value.clone())
        .map_err(|error| spec.error("", &format!("not OpenAPI 3.0: {error}")))
}

fn members(spec: &Spec, pointer: &str) -> Vec<String> {
    match spec.value.pointer(pointer) {
        Some(Value::Object(members)) => members.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A member with a `default` is generated as one that is always sent. Members that nobody set
/// stay off the wire, so the generator is not shown the default.
fn without_default(spec: &Spec, api: &mut OpenAPI) -> Result<(), SpecError> {
    let mut removed = 0;
    for object in objects(api) {
        for property in object.properties.values_mut() {
            if let ReferenceOr::Item(property) = property {
                removed += usize::from(property.schema_data.default.take().is_some());
            }
        }
    }
    no_longer_applies(spec, removed, "/components/schemas", "without_default")
}

/// A member that is required and may be null is generated as one that makes an answer unreadable
/// when it is left out. An accepted batch stays one, so the generator is not shown `required`.
fn without_required_null(spec: &Spec, api: &mut OpenAPI) -> Result<(), SpecError> {
    let mut removed = 0;
    for object in objects(api) {
        let properties = &object.properties;
        let before = object.required.len();
        object.required.retain(|name| {
            !matches!(properties.get(name), Some(ReferenceOr::Item(property)) if property.schema_data.nullable)
        });
        removed += before - object.required.len();
    }
    no_longer_applies(spec, removed, "/components/schemas", "without_required_null")
}

fn objects(api: &mut OpenAPI) -> impl Iterator<Item = &mut ObjectType> {
    let schemas = api.components.iter_mut().flat_map(|all| all.schemas.values_mut());
    schemas.filter_map(|schema| match schema {
        ReferenceOr::Item(Schema {
            schema_kind: SchemaKind::Type(Type::Object(object)), ..
        }) => Some(object),
        _ => None,
    })
}

fn without_error_responses(spec: &Spec, api: &mut OpenAPI) -> Result<(), SpecError> {
    let mut removed = 0;
    for path in api.paths.paths.values_mut() {
        if let ReferenceOr::Item(PathItem { post: Some(operation), .. }) = path {
            let responses = &mut operation.responses.responses;
            let before = responses.len();
            responses.retain(|status, _| matches!(status, StatusCode::Code(200..=299)));
            removed += before - responses.len();
        }
    }
    let pointer = format!("{OPERATION}/responses");
    no_longer_applies(spec, removed, &pointer, "without_error_responses")
}

fn no_longer_applies(
    spec: &Spec,
    changes: usize,
    pointer: &str,
    step: &str,
) -> Result<(), SpecError> {
    if changes > 0 {
        return Ok(());
    }
    let rule = format!("the step `{step}` of the build finds nothing to do here; remove the step");
    Err(spec.error(pointer, &rule))
}

fn settings(spec: &Spec) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Positional)
        .with_hooks(HooksMode::Expected)
        .with_inner_type("crate::exchange::Exchange".parse().expect("a path is tokens"))
        .with_derive("PartialEq");
    for (name, rust) in REPLACED {
        let impls = [TypeImpl::Display, TypeImpl::FromStr];
        settings.with_replacement(name, rust, impls.into_iter());
    }
    for (format, rust) in FORMATS {
        settings.with_conversion(string(Some(format), None), rust, [].into_iter());
    }
    // A text of a request is a SmolStr: most are short or the same in every message, and a String
    // would put each on the heap. Limits of length are checked on a whole batch (`src/check.rs`),
    // with all other problems; generated they would be newtypes, each with an error of its own.
    for limit in lengths(&spec.value).into_iter().map(Some).chain([None]) {
        for format in [None, Some("uri")] {
            let impls = [TypeImpl::Display, TypeImpl::FromStr];
            settings.with_conversion(string(format, limit), TEXT, impls.into_iter());
        }
    }
    settings
}

fn string(format: Option<&str>, max_length: Option<u32>) -> SchemaObject {
    SchemaObject {
        instance_type: Some(InstanceType::String.into()),
        format: format.map(str::to_owned),
        string: max_length.map(|limit| {
            Box::new(StringValidation { max_length: Some(limit), ..StringValidation::default() })
        }),
        ..SchemaObject::default()
    }
}

/// Every `maxLength` that the spec has.
fn lengths(value: &Value) -> Vec<u32> {
    let mut found = Vec::new();
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_u64().map(u32::try_from) {
                    Some(Ok(limit)) if name == "maxLength" => found.push(limit),
                    _ => found.extend(lengths(value)),
                }
            }
        }
        Value::Array(items) => found.extend(items.iter().flat_map(lengths)),
        _ => {}
    }
    found.sort_unstable();
    found.dedup();
    found
}

pub fn pretty(spec: &Spec, code: TokenStream) -> Result<String, SpecError> {
    let file = syn::parse2(code)
        .map_err(|error| spec.error("", &format!("what was generated is no Rust: {error}")))?;
    Ok(prettyplease::unparse(&file))
}

/// A replacement or a conversion that matches nothing is silent in the generator, and so is a
/// typed error that comes back.
fn assert_generated(spec: &Spec, code: &str) -> Result<(), SpecError> {
    let schemas = REPLACED.map(|(name, rust)| (schema_pointer(name), rust));
    let formats = FORMATS.map(|(_, rust)| ("/components/schemas".to_owned(), rust));
    let text = [("/components/schemas".to_owned(), TEXT)];
    for (pointer, rust) in schemas.into_iter().chain(formats).chain(text) {
        if !code.contains(rust) {
            let rule =
                format!("nothing that is generated uses `{rust}`, the type that stands for it");
            return Err(spec.error(&pointer, &rule));
        }
    }
    if code.contains("Error::ErrorResponse") {
        let rule = "the generated client has a typed error, which loses status and headers";
        return Err(spec.error(&format!("{OPERATION}/responses"), rule));
    }
    Ok(())
}
