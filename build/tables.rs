//! Generates open enums, limits, regions, constructors and request validation from the checked
//! spec.

use heck::ToSnakeCase;
use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::quote;
use serde_json::Value;

use crate::check::{OPERATION, REPLACED, open_enums, values};
use crate::generate::pretty;
use crate::spec::{
    Spec, SpecError, entries, escape, is_required, members, ref_name, schema_pointer,
};

pub fn tables(spec: &Spec) -> Result<String, SpecError> {
    let limits = limits(spec)?;
    let regions = regions(spec);
    let enums = open_enums(spec).into_iter().map(|name| open_enum(spec, &name));
    let enums = enums.collect::<Result<Vec<_>, _>>()?;
    let requests = request_objects(spec).map(|name| request_object(spec, &name));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    pretty(spec, quote! { #limits #regions #(#enums)* #(#requests)* })
}

fn limits(spec: &Spec) -> Result<TokenStream, SpecError> {
    let limit = |schema: &str, below: &str| {
        let pointer = format!("{}{below}", schema_pointer(schema));
        let value = spec.require(&pointer, "the crate has a constant for it")?;
        Ok::<_, SpecError>(Literal::u64_unsuffixed(value.as_u64().unwrap_or_default()))
    };
    let messages = limit("BatchRequest", "/properties/messages/maxItems")?;
    let batch_id = limit("BatchRequest", "/properties/clientBatchId/maxLength")?;
    let message_id = limit("Message", "/properties/clientMessageId/maxLength")?;
    let source = limit("SmsFallback", "/properties/source/maxLength")?;
    let (min_id, max_id) =
        (limit("SubAccountId", "/minLength")?, limit("SubAccountId", "/maxLength")?);
    Ok(quote! {
        /// The maximum number of messages in a batch.
        pub const MAX_MESSAGES_PER_BATCH: usize = #messages;
        /// The maximum length of a clientBatchId in characters.
        pub const MAX_CLIENT_BATCH_ID_CHARS: usize = #batch_id;
        /// The maximum length of a clientMessageId in characters.
        pub const MAX_CLIENT_MESSAGE_ID_CHARS: usize = #message_id;
        /// The maximum length of the source of an SMS in characters.
        pub const MAX_SMS_SOURCE_CHARS: usize = #source;
        pub(crate) const SUB_ACCOUNT_ID_CHARS: ::std::ops::RangeInclusive<usize> = #min_id..=#max_id;
    })
}

fn regions(spec: &Spec) -> TokenStream {
    let regions = entries(&spec.value["servers"]).iter().map(|server| {
        let text = |name: &str| server[name].as_str().unwrap_or_default();
        let (name, url, words) = (ident(text("x-region")), text("url"), text("description"));
        let doc = format!(" {words}, `{url}`.");
        quote! { #[doc = #doc] #name = #url, #words; }
    });
    quote! { crate::types::region::regions! { #(#regions)* } }
}

fn open_enum(spec: &Spec, name: &str) -> Result<TokenStream, SpecError> {
    let schema = spec.schema(name);
    let is_number = schema["type"] == "integer";
    let ignores_case = schema["x-ignore-case"] == true;
    let mut doc = format!(" {}", schema["description"].as_str().unwrap_or(name));
    if ignores_case {
        doc.push_str(" Case-insensitive.");
    }
    let variants = values(spec, name)?.into_iter().map(|known| {
        let (variant, text) = (ident(&known.variant), known.description);
        if let Some(number) = known.value.as_i64() {
            let (doc, number) = (format!(" {number}: {text}"), Literal::i64_unsuffixed(number));
            quote! { #[doc = #doc] #variant = #number, #text; }
        } else {
            let (doc, value) = (format!(" {text}"), known.value.as_str());
            quote! { #[doc = #doc] #variant = #value; }
        }
    });
    let name = ident(name);
    Ok(if is_number {
        quote! { crate::types::open_enum::open_number! { #[doc = #doc] #name { #(#variants)* } } }
    } else {
        quote! {
            crate::types::open_enum::open_text! { #ignores_case #[doc = #doc] #name { #(#variants)* } }
        }
    })
}

/// The names of the generated request objects.
fn request_objects(spec: &Spec) -> impl Iterator<Item = String> {
    let names = spec.reachable(&format!("{OPERATION}/requestBody")).into_iter();
    names.filter(|name| is_object(spec, name))
}

fn is_object(spec: &Spec, name: &str) -> bool {
    let generated = REPLACED.iter().all(|(replaced, _)| *replaced != name);
    generated && spec.schema(name)["type"] == "object"
}

/// Generates the constructor of a request object, and the validation of its members.
fn request_object(spec: &Spec, name: &str) -> Result<TokenStream, SpecError> {
    let checks = members(&spec.schema(name)["properties"])
        .map(|(member, _)| check_member(spec, name, member))
        .collect::<Result<Vec<_>, _>>()?;
    let new = constructor(spec, name)?;
    let name = ident(name);
    Ok(quote! {
        #new
        impl crate::request::validate::Validate for super::types::#name {
            #[allow(unused_variables)]
            fn validate(
                &self,
                path: &crate::request::validate::Path<'_>,
                found: &mut crate::request::validate::Found,
            ) {
                #(#checks)*
            }
        }
    })
}

/// Generates the validation of one member. A keyword that nothing enforces is an error.
fn check_member(spec: &Spec, owner: &str, name: &str) -> Result<TokenStream, SpecError> {
    const ENFORCED_ELSEWHERE: [&str; 6] =
        ["$ref", "type", "description", "example", "default", "deprecated"];
    let (field, schema) = (field(name), &spec.schema(owner)["properties"][name]);
    let required = is_required(spec.schema(owner), name);
    let (text, value) = if required {
        (quote! { Some(self.#field.as_str()) }, quote! { Some(&self.#field) })
    } else {
        (quote! { self.#field.as_deref() }, quote! { self.#field.as_ref() })
    };
    let below = |schema: &Value| ref_name(schema).is_some_and(|name| is_object(spec, name));
    let number = |keyword: &str| schema[keyword].as_u64().map(Literal::u64_unsuffixed);
    let mut checks = TokenStream::new();
    if below(schema) {
        checks.extend(quote! { found.object(path, #name, #value); });
    }
    for (keyword, value) in members(schema) {
        checks.extend(match (keyword.as_str(), value.as_str()) {
            ("maxLength", _) => {
                let max = number("maxLength");
                quote! { found.length(path, #name, #text, #max); }
            }
            ("format", Some("uri")) => quote! { found.url(path, #name, #text); },
            ("items", _) if below(value) => {
                let min = number("minItems").unwrap_or(Literal::u64_unsuffixed(0));
                let max = number("maxItems").map_or_else(|| quote! { usize::MAX }, |it| quote! { #it });
                quote! {
                    if #required || !self.#field.is_empty() {
                        found.list(path, #name, &self.#field, #min..=#max);
                    }
                }
            }
            ("minItems" | "maxItems", _) => continue,
            (other, _) if ENFORCED_ELSEWHERE.contains(&other) || other.starts_with("x-") => continue,
            _ => {
                let at = format!("{}/properties/{}/{keyword}", schema_pointer(owner), escape(name));
                let rule = "nothing enforces it; add a rule to `build/tables.rs`, or make it a schema of its own";
                return Err(spec.error(&at, rule));
            }
        });
    }
    Ok(checks)
}

/// Generates `new` with the required members. The others start unset, so a new optional member is
/// not a breaking change.
fn constructor(spec: &Spec, name: &str) -> Result<Option<TokenStream>, SpecError> {
    let schema = spec.schema(name);
    let required: Vec<_> = entries(&schema["required"]).iter().filter_map(Value::as_str).collect();
    if required.is_empty() {
        return Ok(None);
    }
    let parameters = required.iter().map(|member| {
        let (field, schema) = (field(member), &schema["properties"][*member]);
        let rust = match (ref_name(schema), ref_name(&schema["items"])) {
            (Some("Content"), _) => quote! { crate::request::MessageContent },
            (Some(name), _) => rust_type(spec, name),
            (None, Some(items)) => {
                let items = rust_type(spec, items);
                quote! { Vec<#items> }
            }
            (None, None) => {
                let at = format!("{}/properties/{}", schema_pointer(name), escape(member));
                let rule = "a required member of a request has to be a `$ref`, or an array of one";
                return Err(spec.error(&at, rule));
            }
        };
        Ok(quote! { #field: impl Into<#rust> })
    });
    let parameters = parameters.collect::<Result<Vec<_>, _>>()?;
    let fields = members(&schema["properties"]).map(|(member, _)| {
        let field = field(member);
        if required.contains(&member.as_str()) {
            quote! { #field: #field.into() }
        } else {
            quote! { #field: Default::default() }
        }
    });
    let doc = format!(" Creates a `{name}` from its required members.");
    let name = ident(name);
    Ok(Some(quote! {
        impl super::types::#name {
            #[doc = #doc]
            pub fn new(#(#parameters),*) -> Self {
                Self { #(#fields),* }
            }
        }
    }))
}

/// The Rust type of a named schema.
pub fn rust_type(spec: &Spec, name: &str) -> TokenStream {
    if let Some((_, rust)) = REPLACED.iter().find(|(replaced, _)| *replaced == name) {
        return rust.parse().expect("a path is tokens");
    }
    let module = if open_enums(spec).contains(name) { ident("tables") } else { ident("types") };
    let name = ident(name);
    quote! { crate::generated::#module::#name }
}

/// The name of a field, equal to progenitor's.
pub fn field(property: &str) -> Ident {
    let name = property.to_snake_case();
    syn::parse_str(&name).unwrap_or_else(|_| ident(&format!("{name}_")))
}

fn ident(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}
