//! From the checked spec to the tables and checks that the handwritten code builds on.

use heck::ToSnakeCase;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::quote;
use serde_json::Value;

use crate::check::{OPEN, RECEIPT, REPLACED, is_required, known_values};
use crate::generate::pretty;
use crate::spec::{Spec, SpecError, escape, schema_pointer};

pub fn tables(spec: &Spec) -> Result<String, SpecError> {
    let limits = limits(spec)?;
    let regions = regions(spec)?;
    let open = OPEN.iter().map(|name| open_enum(spec, name)).collect::<Result<Vec<_>, _>>()?;
    let request = shape(spec, &schema_pointer("BatchRequest"), Side::Request, 0)?;
    let result = shape(spec, &schema_pointer("MessageResult"), Side::Response, 0)?;
    let receipt = shape(spec, &schema_pointer(RECEIPT), Side::Response, 0)?;
    let mut checks = Vec::new();
    check_impls(spec, "BatchRequest", &mut Vec::new(), &mut checks)?;
    pretty(
        spec,
        quote! {
            #limits
            #regions
            #(#open)*
            pub(crate) static BATCH_REQUEST: crate::shape::Shape = #request;
            pub(crate) static MESSAGE_RESULT: crate::shape::Shape = #result;
            pub(crate) static DELIVERY_RECEIPT: crate::shape::Shape = #receipt;
            #(#checks)*
        },
    )
}

fn limits(spec: &Spec) -> Result<TokenStream, SpecError> {
    let number = |pointer: String| {
        let value = spec.at(&pointer, "the crate has a constant of it")?;
        let value = value.as_u64().expect("checked as a keyword");
        Ok::<_, SpecError>(Literal::u64_unsuffixed(value))
    };
    let member = |schema: &str, member: &str, keyword: &str| {
        number(format!("{}/properties/{member}/{keyword}", schema_pointer(schema)))
    };
    let messages = member("BatchRequest", "messages", "maxItems")?;
    let batch_id = member("BatchRequest", "clientBatchId", "maxLength")?;
    let message_id = member("Message", "clientMessageId", "maxLength")?;
    let source = member("SmsFallback", "source", "maxLength")?;
    let id = schema_pointer("SubAccountId");
    let (min_id, max_id) = (number(format!("{id}/minLength"))?, number(format!("{id}/maxLength"))?);
    Ok(quote! {
        /// Messages that one batch takes at most.
        pub const MAX_MESSAGES_PER_BATCH: usize = #messages;
        /// Characters that a clientBatchId has at most.
        pub const MAX_CLIENT_BATCH_ID_CHARS: usize = #batch_id;
        /// Characters that a clientMessageId has at most.
        pub const MAX_CLIENT_MESSAGE_ID_CHARS: usize = #message_id;
        /// Characters that the source of an SMS has at most.
        pub const MAX_SMS_SOURCE_CHARS: usize = #source;
        pub(crate) const SUB_ACCOUNT_ID_CHARS: ::std::ops::RangeInclusive<usize> = #min_id..=#max_id;
    })
}

fn regions(spec: &Spec) -> Result<TokenStream, SpecError> {
    let servers = spec.at("/servers", "the regions are made of it")?;
    let text = |server: &Value, name: &str| server[name].as_str().unwrap_or_default().to_owned();
    let regions = servers.as_array().into_iter().flatten().map(|server| {
        let name = ident(&text(server, "x-region"));
        let (url, description) = (text(server, "url"), text(server, "description"));
        let doc = format!(" {description}, `{url}`.");
        quote! { #[doc = #doc] #name = #url, #description; }
    });
    Ok(quote! { crate::region::regions! { #(#regions)* } })
}

fn open_enum(spec: &Spec, name: &str) -> Result<TokenStream, SpecError> {
    let values = known_values(spec, name)?;
    let schema = spec.at(&schema_pointer(name), "it is an open list")?;
    let mut doc = format!(" {}", schema["description"].as_str().unwrap_or(name));
    let ignores_case = schema["x-ignore-case"] == true;
    if ignores_case {
        doc.push_str(" The case of its ASCII letters does not matter.");
    }
    let variants = values.iter().map(|known| {
        let variant = ident(&known.variant);
        let mut doc = format!(" {}", known.description);
        let value = match known.value.as_i64() {
            Some(number) => {
                doc = format!(" {number}: {}", known.description);
                Literal::i64_unsuffixed(number)
            }
            None => Literal::string(known.value.as_str().unwrap_or_default()),
        };
        if known.value.is_i64() {
            let text = known.description.as_str();
            quote! { #[doc = #doc] #variant = #value, #text; }
        } else {
            quote! { #[doc = #doc] #variant = #value; }
        }
    });
    let name = ident(name);
    let (make, case) = if schema["type"] == "integer" {
        (quote! { crate::open::open_number }, quote! {})
    } else if ignores_case {
        (quote! { crate::open::open_text }, quote! { ignoring_case })
    } else {
        (quote! { crate::open::open_text }, quote! { exact })
    };
    Ok(quote! { #make! { #case #[doc = #doc] #name { #(#variants)* } } })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Request,
    Response,
}

/// The shape of a value as JSON: strict for a request, open for a response.
fn shape(spec: &Spec, pointer: &str, side: Side, depth: usize) -> Result<TokenStream, SpecError> {
    if depth > 16 {
        return Err(spec.error(pointer, "a schema cannot contain itself here"));
    }
    let schema = spec.at(pointer, "the request is made of it")?;
    if let Some(target) = target(schema) {
        return shape(spec, target, side, depth + 1);
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    Ok(match kind {
        "boolean" => quote! { crate::shape::Shape::Boolean },
        "integer" if side == Side::Response => quote! { crate::shape::Shape::ReceivedInteger },
        "integer" => quote! { crate::shape::Shape::Integer },
        "string" if side == Side::Response => quote! { crate::shape::Shape::ReceivedText },
        "string" => match &schema["enum"] {
            // An open list takes any text.
            Value::Array(values) if !OPEN.iter().any(|open| pointer == schema_pointer(open)) => {
                let values = values.iter().filter_map(Value::as_str);
                quote! { crate::shape::Shape::OneOf(&[#(#values),*]) }
            }
            _ => quote! { crate::shape::Shape::String },
        },
        "array" => {
            let items = shape(spec, &format!("{pointer}/items"), side, depth + 1)?;
            quote! { crate::shape::Shape::Array(&#items) }
        }
        "object" => {
            let mut members = Vec::new();
            for name in properties(schema) {
                let nullable = schema["properties"][name]["nullable"] == true;
                let required = is_required(schema, name) && !nullable;
                let below = format!("{pointer}/properties/{}", escape(name));
                let shape = shape(spec, &below, side, depth + 1)?;
                members.push(quote! {
                    crate::shape::Member { name: #name, required: #required, shape: #shape }
                });
            }
            match side {
                Side::Request => quote! { crate::shape::Shape::Object(&[#(#members),*]) },
                Side::Response => quote! { crate::shape::Shape::OpenObject(&[#(#members),*]) },
            }
        }
        _ => return Err(spec.error(pointer, "cannot be read without a type")),
    })
}

/// `impl Check` for a type of the request and for the types below it: what the spec limits.
fn check_impls(
    spec: &Spec,
    name: &str,
    done: &mut Vec<String>,
    code: &mut Vec<TokenStream>,
) -> Result<(), SpecError> {
    if done.iter().any(|other| other == name) {
        return Ok(());
    }
    done.push(name.to_owned());
    let pointer = schema_pointer(name);
    let schema = spec.at(&pointer, "the request is made of it")?;
    let mut statements = Vec::new();
    for property in properties(schema) {
        let at = format!("{pointer}/properties/{}", escape(property));
        let member = &schema["properties"][property];
        let field = field(property);
        if let Some(below) = object_below(spec, member) {
            check_impls(spec, &below, done, code)?;
            let one = quote! { checker.member(#property, value) };
            statements.push(if is_required(schema, property) {
                quote! { let value = &self.#field; #one; }
            } else {
                quote! { if let Some(value) = &self.#field { #one; } }
            });
            continue;
        }
        if member["type"] == "string" {
            if member.get("enum").is_some() {
                let rule = "a list of values has to be a schema of its own, with a `$ref` to it";
                return Err(spec.error(&format!("{at}/enum"), rule));
            }
            if !matches!(member["format"].as_str(), None | Some("uri")) {
                let rule = "a text of a request has no format but `uri` here";
                return Err(spec.error(&format!("{at}/format"), rule));
            }
        }
        for keyword in ["minLength", "pattern", "minimum", "maximum"] {
            if member.get(keyword).is_some() {
                return Err(spec.error(
                    &format!("{at}/{keyword}"),
                    "nothing in this crate checks it; teach `build/tables.rs` to, or give the value a type of its own",
                ));
            }
        }
        let text = if is_required(schema, property) {
            quote! { Some(self.#field.as_str()) }
        } else {
            quote! { self.#field.as_deref() }
        };
        if let Some(max) = member["maxLength"].as_u64() {
            let max = Literal::u64_unsuffixed(max);
            statements.push(quote! { checker.max_chars(#property, #text, #max); });
        }
        if member["format"] == "uri" {
            statements.push(quote! { checker.http_url(#property, #text); });
        }
        if member["type"] == "array" {
            let Some(below) = object_below(spec, &member["items"]) else {
                return Err(spec.error(
                    &at,
                    "the items of a list of a request have to be a `$ref` to an object",
                ));
            };
            check_impls(spec, &below, done, code)?;
            let min = Literal::u64_unsuffixed(member["minItems"].as_u64().unwrap_or(0));
            let max = member["maxItems"].as_u64().map(Literal::u64_unsuffixed);
            let max = max.map_or_else(|| quote! { usize::MAX }, |max| quote! { #max });
            statements.push(quote! {
                checker.items(#property, &self.#field, #min..=#max);
            });
        }
    }
    let name = ident(name);
    code.extend(constructor(spec, &pointer, schema, &name)?);
    code.push(quote! {
        impl crate::check::Limits for super::types::#name {
            #[allow(unused_variables)]
            fn limits<'a>(&'a self, checker: &mut crate::check::Checker<'a>) {
                #(#statements)*
            }
        }
    });
    Ok(())
}

/// A constructor with the members that are required, in their order in the spec, for a type that
/// cannot be made from nothing. The builders do not have to name members that may be unset.
fn constructor(
    spec: &Spec,
    pointer: &str,
    schema: &Value,
    name: &Ident,
) -> Result<Option<TokenStream>, SpecError> {
    let Some(required) = schema["required"].as_array().filter(|all| !all.is_empty()) else {
        return Ok(None);
    };
    let mut parameters = Vec::new();
    for member in required.iter().filter_map(Value::as_str) {
        let at = format!("{pointer}/properties/{}", escape(member));
        let schema = &spec.value.pointer(&at).unwrap_or(&Value::Null);
        let (list, schema) = match &schema["items"] {
            Value::Null => (false, *schema),
            items => (true, items),
        };
        let Some(name) = target_name(schema) else {
            return Err(spec.error(
                &at,
                "a required member of a request has to be a `$ref`, or a list of a `$ref`",
            ));
        };
        let rust = rust_type(name);
        let field = field(member);
        parameters.push(if list {
            quote! { #field: Vec<#rust> }
        } else {
            quote! { #field: #rust }
        });
    }
    let fields = properties(schema).map(|property| {
        let field = field(property);
        if is_required(schema, property) {
            quote! { #field }
        } else {
            quote! { #field: Default::default() }
        }
    });
    Ok(Some(quote! {
        impl super::types::#name {
            pub(crate) fn required(#(#parameters),*) -> Self {
                Self { #(#fields),* }
            }
        }
    }))
}

/// The Rust type of a named schema.
pub fn rust_type(name: &str) -> TokenStream {
    if let Some((_, rust)) = REPLACED.iter().find(|(replaced, _)| *replaced == name) {
        return rust.parse().expect("a path is tokens");
    }
    let name = ident(name);
    quote! { super::types::#name }
}

/// The name of the generated object that a member holds, seen through aliases.
fn object_below(spec: &Spec, member: &Value) -> Option<String> {
    let name = target_name(member)?;
    let schema = spec.value.pointer(&schema_pointer(name))?;
    if target(schema).is_some() {
        return object_below(spec, schema);
    }
    let generated = REPLACED.iter().all(|(replaced, _)| *replaced != name);
    (generated && schema["type"] == "object").then(|| name.to_owned())
}

/// The pointer that a schema refers to, plainly or as the one part of an `allOf`.
pub fn target(schema: &Value) -> Option<&str> {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref"));
    reference?.as_str()?.strip_prefix('#')
}

/// The name of the schema that a schema refers to.
fn target_name(schema: &Value) -> Option<&str> {
    target(schema)?.strip_prefix("/components/schemas/")
}

fn properties(schema: &Value) -> impl Iterator<Item = &String> {
    schema["properties"].as_object().into_iter().flat_map(|all| all.keys())
}

/// The name of a field, as the generator makes it.
fn field(property: &str) -> Ident {
    let name = property.to_snake_case();
    match syn::parse_str(&name) {
        Ok(name) => name,
        Err(_) => ident(&format!("{name}_")),
    }
}

fn ident(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}
