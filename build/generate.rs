//! Generates the client, its types and the typed mocks from the checked spec.

use openapiv3::{OpenAPI, Operation};
use proc_macro2::TokenStream;
use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl};
use quote::ToTokens as _;
use serde_json::{Value, json};
use syn::{Item, parse_quote};

use crate::check::{OPERATION, REPLACED, open_enums};
use crate::lenient::{TEXTS, lenient, list_name, lists};
use crate::spec::{Spec, SpecError, members, ref_name, schema_pointer};
use crate::tables::field;

const CONTENT: &str = "MessageContent";
const RESPONSE: &str = "ResponseBody";

/// Generates the client with its types.
pub fn client(spec: &Spec) -> Result<String, SpecError> {
    let mut api = generator_input(spec)?;
    successes_only(spec, &mut api)?;
    let code = Generator::new(&settings(spec))
        .generate_tokens(&openapi(spec, api)?)
        .map_err(|error| spec.error("", &format!("progenitor: {error}")))?;
    let mut file = parse(spec, code)?;
    finish_types(spec, &mut file)?;
    let code = prettyplease::unparse(&file);
    assert_mapped(spec, &code)?;
    Ok(code)
}

/// Generates typed mocks of all documented responses.
pub fn mocks(spec: &Spec) -> Result<String, SpecError> {
    let code = Generator::new(&settings(spec))
        .httpmock(&openapi(spec, generator_input(spec)?)?, "crate::generated")
        .map_err(|error| spec.error("", &format!("progenitor: {error}")))?;
    pretty(spec, code)
}

pub fn pretty(spec: &Spec, code: TokenStream) -> Result<String, SpecError> {
    parse(spec, code).map(|file| prettyplease::unparse(&file))
}

fn parse(spec: &Spec, code: TokenStream) -> Result<syn::File, SpecError> {
    syn::parse2(code).map_err(|error| spec.error("", &format!("generated invalid Rust: {error}")))
}

/// The spec as passed to progenitor. Each simplification is a function that gives its reason and
/// fails the build when it no longer applies.
fn generator_input(spec: &Spec) -> Result<Value, SpecError> {
    let mut api = lenient(spec);
    let schemas = &mut api["components"]["schemas"];
    without_defaults(spec, schemas)?;
    own_or_shared_content(spec, schemas)?;
    for name in lists(spec) {
        schemas[list_name(&name)] = json!({ "type": "object" });
    }
    Ok(api)
}

/// progenitor always sends a member that has a `default`. Unset members must be absent, so defaults
/// are removed.
fn without_defaults(spec: &Spec, schemas: &mut Value) -> Result<(), SpecError> {
    let mut removed = 0;
    for schema in schemas.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for property in properties.into_iter().flat_map(|all| all.values_mut()) {
            removed += usize::from(
                property.as_object_mut().is_some_and(|it| it.remove("default").is_some()),
            );
        }
    }
    require_applied(spec, removed > 0, "/components/schemas", "without_defaults")
}

/// A message has its own or shared content. The spec has only one content schema.
fn own_or_shared_content(spec: &Spec, schemas: &mut Value) -> Result<(), SpecError> {
    let content = &mut schemas["Message"]["properties"]["content"];
    let found = ref_name(content) == Some("Content");
    *content = json!({ "$ref": schema_pointer(CONTENT).replacen('/', "#/", 1) });
    schemas[CONTENT] = json!({ "type": "object" });
    let pointer = format!("{}/properties/content", schema_pointer("Message"));
    require_applied(spec, found, &pointer, "own_or_shared_content")
}

/// Keeps only the 2xx responses. If the body of a documented error is not the documented JSON, the
/// generated code loses status and headers. An untyped error keeps both, and `src/error.rs` parses
/// it. A 2xx gets a handwritten type, because a derived struct also parses from a JSON array.
fn successes_only(spec: &Spec, api: &mut Value) -> Result<(), SpecError> {
    let pointer = format!("{OPERATION}/responses");
    let Some(responses) = api.pointer_mut(&pointer).and_then(Value::as_object_mut) else {
        return Err(spec.error(&pointer, "has to be a mapping"));
    };
    let documented = responses.len();
    responses.retain(|status, _| status.starts_with('2'));
    let removed = documented - responses.len();
    for response in responses.values_mut() {
        let schema = json!({ "$ref": schema_pointer(RESPONSE).replacen('/', "#/", 1) });
        response["content"]["application/json"]["schema"] = schema;
    }
    api["components"]["schemas"][RESPONSE] = json!({ "type": "object" });
    require_applied(spec, removed > 0, &pointer, "successes_only")
}

fn require_applied(spec: &Spec, applied: bool, pointer: &str, step: &str) -> Result<(), SpecError> {
    if applied {
        return Ok(());
    }
    let rule = format!("the step `{step}` of `build/generate.rs` no longer applies; remove it");
    Err(spec.error(pointer, &rule))
}

/// Parses the spec for progenitor. Parse errors have no position, so the operation is parsed first.
fn openapi(spec: &Spec, api: Value) -> Result<OpenAPI, SpecError> {
    let error = |pointer: &str, error| spec.error(pointer, &format!("not OpenAPI 3.0: {error}"));
    let operation = spec.require(OPERATION, "the client is generated from it")?.clone();
    serde_json::from_value::<Operation>(operation).map_err(|it| error(OPERATION, it))?;
    serde_json::from_value(api).map_err(|it| error("", it))
}

fn settings(spec: &Spec) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Positional)
        .with_hooks(HooksMode::Expected)
        .with_inner_type("crate::transport::Transport".parse().expect("a path"))
        .with_derive("PartialEq");
    let impls = || [TypeImpl::Display, TypeImpl::FromStr].into_iter();
    for (name, rust) in replaced(spec) {
        settings.with_replacement(name, rust, impls());
    }
    for (format, rust) in TEXTS {
        let schema = json!({ "type": "string", "format": format });
        let schema = serde_json::from_value(schema).expect("a schema");
        settings.with_conversion(schema, rust, impls());
    }
    settings
}

/// Schemas whose types progenitor does not generate.
fn replaced(spec: &Spec) -> Vec<(String, String)> {
    let own = |name: &str, rust: &str| (name.to_owned(), rust.to_owned());
    let mut all: Vec<_> = REPLACED.map(|(name, rust)| own(name, rust)).into();
    all.push(own(CONTENT, "crate::request::MessageContent"));
    all.push(own(RESPONSE, "crate::response::ResponseBody"));
    all.extend(open_enums(spec).iter().map(|name| own(name, &format!("crate::types::{name}"))));
    all.extend(lists(spec).iter().map(|name| {
        let rust = format!("crate::types::ReceivedList<crate::generated::types::{name}>");
        (list_name(name), rust)
    }));
    all
}

/// Makes every type `#[non_exhaustive]`, so that a new member is not a breaking change, and completes
/// the fields that are references.
fn finish_types(spec: &Spec, file: &mut syn::File) -> Result<(), SpecError> {
    let types = file.items.iter_mut().find_map(|item| match item {
        Item::Mod(module) if module.ident == "types" => module.content.as_mut(),
        _ => None,
    });
    let Some((_, types)) = types else {
        return Err(spec.error("/components/schemas", "the generator made no types"));
    };
    for item in types {
        match item {
            Item::Struct(object) => {
                object.attrs.push(parse_quote!(#[non_exhaustive]));
                let schema = spec.schema(&object.ident.to_string());
                for (name, member) in members(&schema["properties"]) {
                    let name = field(name);
                    let mut fields = object.fields.iter_mut();
                    if let Some(field) = fields.find(|it| it.ident.as_ref() == Some(&name)) {
                        finish_field(spec, field, member);
                    }
                }
            }
            Item::Enum(list) => list.attrs.push(parse_quote!(#[non_exhaustive])),
            _ => {}
        }
    }
    Ok(())
}

/// `OpenAPI` 3.0 allows no description beside a `$ref`, so the field gets that of its schema. An
/// optional object parses only from an object; a derived struct also parses from an array.
fn finish_field(spec: &Spec, field: &mut syn::Field, member: &Value) {
    let schema = ref_name(member).map(|name| spec.schema(name));
    let description = member["description"].as_str();
    let description = description.or_else(|| schema?["description"].as_str());
    let has_doc = field.attrs.iter().any(|it| it.path().is_ident("doc"));
    if let Some(text) = description.filter(|_| !has_doc) {
        let text = format!(" {text}");
        field.attrs.push(parse_quote!(#[doc = #text]));
    }
    let is_optional = field.ty.to_token_stream().to_string().contains("Option");
    if is_optional && schema.is_some_and(|schema| schema["type"] == "object") {
        let decode = "crate::json::optional_object";
        field.attrs.push(parse_quote!(#[serde(default, deserialize_with = #decode)]));
    }
}

/// Fails if a replacement or conversion matches nothing, or if a string has no conversion.
/// progenitor ignores both.
fn assert_mapped(spec: &Spec, code: &str) -> Result<(), SpecError> {
    let texts = TEXTS.map(|(_, rust)| rust.to_owned()).into_iter();
    for rust in replaced(spec).into_iter().map(|(_, rust)| rust).chain(texts) {
        let is_mapped = code.replace(char::is_whitespace, "").contains(&rust);
        if !is_mapped {
            let rule = format!("nothing that is generated uses `{rust}`");
            return Err(spec.error("/components/schemas", &rule));
        }
    }
    for (unmapped, rule) in [
        ("Option<::std::string::String>", "a string is left without a text type"),
        ("Error::ErrorResponse", "a typed error is left, which loses status and headers"),
    ] {
        if code.contains(unmapped) {
            return Err(spec.error("/components/schemas", rule));
        }
    }
    Ok(())
}
