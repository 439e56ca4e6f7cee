//! What this crate needs of the spec, checked before anything is generated.
//!
//! The generator panics or stays silent on much of this. Each rule here says where it is broken.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::spec::{Spec, SpecError, escape, schema_pointer};

/// The operation that the client is made of.
pub const OPERATION: &str = "/paths/~1api~1v1~1subaccounts~1{subAccountId}~1lon~1batch/post";
pub const OPERATION_ID: &str = "sendLonBatch";

/// The pattern that `src/sub_account.rs` checks without a regex engine.
const SUB_ACCOUNT_ID_PATTERN: &str = r"^[A-Za-z0-9\-._&]{3,50}$";

/// Schemas that handwritten types of the crate stand for.
pub const REPLACED: [(&str, &str); 12] = [
    ("SubAccountId", "crate::SubAccountId"),
    ("Recipient", "crate::Recipient"),
    ("SharedContent", "crate::SharedContent"),
    ("SharedSmsFallback", "crate::SharedSmsFallback"),
    ("Icon", "crate::Icon"),
    ("MessageState", "crate::MessageState"),
    ("StatusDetail", "crate::StatusDetail"),
    ("ErrorCode", "crate::ErrorCode"),
    ("Namespace", "crate::receipt::Namespace"),
    ("EventType", "crate::receipt::EventType"),
    ("Channel", "crate::receipt::Channel"),
    ("ReceiptErrorCode", "crate::receipt::ReceiptErrorCode"),
];

/// Formats of strings that handwritten types of the crate stand for.
pub const FORMATS: [(&str, &str); 3] = [
    ("opaque-id", "crate::OpaqueId"),
    ("lenient-date-time", "crate::Timestamp"),
    ("received-text", "crate::ReceivedText"),
];

/// Schemas whose values are open: each becomes an enum with a variant for unknown values.
pub const OPEN: [&str; 8] = [
    "Icon",
    "MessageState",
    "StatusDetail",
    "ErrorCode",
    "Namespace",
    "EventType",
    "Channel",
    "ReceiptErrorCode",
];

/// The schema of what the platform posts to a callback URL.
pub const RECEIPT: &str = "DeliveryReceipt";

/// Without these a receipt says nothing about a message; nothing else of it has to be there.
const RECEIPT_REQUIRES: [(&str, &str); 4] = [
    (RECEIPT, "payload"),
    ("ReceiptPayload", "umid"),
    ("ReceiptPayload", "status"),
    ("ReceiptStatus", "state"),
];

pub fn check(spec: &Spec) -> Result<(), SpecError> {
    version(spec)?;
    schemas(spec)?;
    references(spec, &spec.value, "")?;
    operation(spec)?;
    servers(spec)?;
    mapped(spec)?;
    limits(spec)?;
    callback(spec)?;
    let mut seen = HashSet::new();
    for name in ["BatchResponse", RECEIPT] {
        response_is_open(spec, &schema_pointer(name), &mut seen)?;
    }
    Ok(())
}

fn version(spec: &Spec) -> Result<(), SpecError> {
    match spec.at("/openapi", "it says the version of OpenAPI")? {
        Value::String(version) if version.starts_with("3.0.") => Ok(()),
        _ => Err(spec.error("/openapi", "the generator reads OpenAPI 3.0.x only")),
    }
}

/// Every schema of the components, with all that is below it: known keywords of the right type.
fn schemas(spec: &Spec) -> Result<(), SpecError> {
    let pointer = "/components/schemas";
    let all = object(spec, pointer, spec.at(pointer, "the types are made of it")?)?;
    for (name, value) in all {
        schema(spec, &schema_pointer(name), value)?;
    }
    Ok(())
}

fn object<'a>(
    spec: &Spec,
    pointer: &str,
    value: &'a Value,
) -> Result<&'a Map<String, Value>, SpecError> {
    value.as_object().ok_or_else(|| spec.error(pointer, "has to be a mapping"))
}

fn schema(spec: &Spec, pointer: &str, value: &Value) -> Result<(), SpecError> {
    for (keyword, value) in object(spec, pointer, value)? {
        let at = format!("{pointer}/{}", escape(keyword));
        let expected = match keyword.as_str() {
            "$ref" | "title" | "description" | "format" | "pattern" => {
                (!value.is_string()).then_some("has to be a string")
            }
            "maxLength" | "minLength" | "maxItems" | "minItems" => {
                (!value.is_u64()).then_some("has to be a whole number, 0 or more")
            }
            "minimum" | "maximum" => (!value.is_number()).then_some("has to be a number"),
            "nullable" | "deprecated" | "readOnly" | "writeOnly" => {
                (!value.is_boolean()).then_some("has to be true or false")
            }
            "enum" => value
                .as_array()
                .is_none_or(|values| values.is_empty() || !values.iter().all(Value::is_string))
                .then_some("has to be a list of strings"),
            "required" => value
                .as_array()
                .is_none_or(|names| !names.iter().all(Value::is_string))
                .then_some("has to be a list of names"),
            "type" => (!matches!(
                value.as_str(),
                Some("string" | "integer" | "number" | "boolean" | "array" | "object")
            ))
            .then_some("has to be one of string, integer, number, boolean, array, object"),
            "additionalProperties" => {
                (!value.is_boolean()).then_some("has to be true or false here")
            }
            "example" | "default" => None,
            "properties" => {
                for (name, member) in object(spec, &at, value)? {
                    schema(spec, &format!("{at}/{}", escape(name)), member)?;
                }
                None
            }
            "items" => {
                schema(spec, &at, value)?;
                None
            }
            "allOf" => {
                let parts = value.as_array().filter(|parts| parts.len() == 1);
                let [part] = parts.map_or(&[][..], Vec::as_slice) else {
                    return Err(spec.error(&at, "has to be a list of one schema here"));
                };
                schema(spec, &format!("{at}/0"), part)?;
                None
            }
            extension if extension.starts_with("x-") => None,
            _ => Some("is no keyword of a schema that this crate reads"),
        };
        if let Some(rule) = expected {
            return Err(spec.error(&at, rule));
        }
    }
    if let (Some(Value::Array(required)), properties) =
        (value.get("required"), value.get("properties"))
    {
        for (index, name) in required.iter().enumerate() {
            let known = name
                .as_str()
                .is_some_and(|name| properties.is_some_and(|all| all.get(name).is_some()));
            if !known {
                return Err(spec.error(
                    &format!("{pointer}/required/{index}"),
                    "requires a member that is not among the properties",
                ));
            }
        }
    }
    if value.get("type") == Some(&Value::from("array")) && value.get("items").is_none() {
        return Err(spec.error(pointer, "an array has to say its items"));
    }
    Ok(())
}

/// Every `$ref` leads somewhere, and no schema contains itself.
fn references(spec: &Spec, value: &Value, pointer: &str) -> Result<(), SpecError> {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let at = format!("{pointer}/{}", escape(name));
                if let ("$ref", Some(target)) = (name.as_str(), value.as_str()) {
                    let found =
                        target.strip_prefix('#').and_then(|target| spec.value.pointer(target));
                    if found.is_none() {
                        return Err(spec.error(&at, &format!("`{target}` does not exist")));
                    }
                }
                // Examples are data: a `$ref` in one would be a member of a message.
                if !matches!(name.as_str(), "example" | "examples") {
                    references(spec, value, &at)?;
                }
            }
            Ok(())
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| references(spec, item, &format!("{pointer}/{index}"))),
        _ => Ok(()),
    }
}

fn operation(spec: &Spec) -> Result<(), SpecError> {
    let operation = spec.at(OPERATION, "the client is made of this operation, at this path")?;
    let id = format!("{OPERATION}/operationId");
    if operation.get("operationId") != Some(&Value::from(OPERATION_ID)) {
        return Err(spec.error(&id, &format!("has to be `{OPERATION_ID}`")));
    }
    let body = format!("{OPERATION}/requestBody/content/application~1json/schema/$ref");
    let body_is = spec.at(&body, "the body is a BatchRequest")?;
    if body_is != "#/components/schemas/BatchRequest" {
        return Err(spec.error(&body, "has to be `#/components/schemas/BatchRequest`"));
    }
    let parameter = format!("{OPERATION}/parameters/0/name");
    if spec.at(&parameter, "the path has a parameter")? != "subAccountId" {
        return Err(spec.error(&parameter, "has to be `subAccountId`"));
    }

    let pointer = format!("{OPERATION}/responses");
    let responses = object(spec, &pointer, spec.at(&pointer, "the client reads them")?)?;
    for (status, response) in responses {
        let at = format!("{pointer}/{status}");
        let expected = match status.parse::<u16>() {
            Ok(200..=299) => "BatchResponse",
            Ok(300..=599) => "ErrorBody",
            _ => {
                return Err(spec.error(
                    &at,
                    "has to be a status of three digits (the generator takes `default` for a success)",
                ));
            }
        };
        let schema = format!("{at}/content/application~1json/schema/$ref");
        let wanted = format!("#/components/schemas/{expected}");
        if response.pointer("/content/application~1json/schema/$ref")
            != Some(&Value::from(wanted.as_str()))
        {
            return Err(spec.error(
                &schema,
                &format!("has to be `{wanted}` (the generator takes one type for all successes and one for all errors)"),
            ));
        }
    }
    if !responses.contains_key("200") {
        return Err(spec.error(&pointer, "has to have a 200, the answer to a batch"));
    }
    Ok(())
}

/// What the platform posts to a callback URL is the receipt that the crate reads.
fn callback(spec: &Spec) -> Result<(), SpecError> {
    let pointer = format!("{OPERATION}/callbacks");
    let callbacks = spec.at(&pointer, "the platform posts receipts to it")?;
    let mut has_one = false;
    for (name, expressions) in object(spec, &pointer, callbacks)? {
        let at = format!("{pointer}/{}", escape(name));
        for expression in object(spec, &at, expressions)?.keys() {
            let schema = format!(
                "{at}/{}/post/requestBody/content/application~1json/schema/$ref",
                escape(expression)
            );
            let wanted = format!("#/components/schemas/{RECEIPT}");
            if spec.at(&schema, "the crate reads what is posted")? != wanted.as_str() {
                return Err(spec.error(&schema, &format!("has to be `{wanted}`")));
            }
            has_one = true;
        }
    }
    if !has_one {
        let rule = "has to have a callback, which the platform posts receipts to";
        return Err(spec.error(&pointer, rule));
    }
    Ok(())
}

fn servers(spec: &Spec) -> Result<(), SpecError> {
    let servers = spec.at("/servers", "the regions are made of it")?.as_array();
    let Some(servers) = servers.filter(|servers| !servers.is_empty()) else {
        return Err(spec.error("/servers", "has to be a list of at least one server"));
    };
    let mut regions = HashSet::new();
    for (index, server) in servers.iter().enumerate() {
        let url = format!("/servers/{index}/url");
        match server.get("url").and_then(Value::as_str) {
            Some(text) if text.starts_with("https://") && !text.ends_with('/') => {}
            _ => {
                return Err(spec.error(&url, "has to be an https URL without a slash at its end"));
            }
        }
        let region = format!("/servers/{index}/x-region");
        let name = server.get("x-region").and_then(Value::as_str);
        match name.filter(|name| is_variant(name)) {
            Some(name) if regions.insert(name) => {}
            Some(_) => return Err(spec.error(&region, "names a region that another server has")),
            None => {
                return Err(spec.error(&region, "has to be the region's name, as `AsiaPacific`"));
            }
        }
        if !server.get("description").is_some_and(Value::is_string) {
            return Err(spec.error(
                &format!("/servers/{index}/description"),
                "has to be the region's name in words",
            ));
        }
    }
    Ok(())
}

fn mapped(spec: &Spec) -> Result<(), SpecError> {
    for (name, rust) in REPLACED {
        let why = format!("the crate has the type `{rust}` for it");
        spec.at(&schema_pointer(name), &why)?;
    }
    let closed = ["BatchRequest", "Message", "Recipient", "Content", "SmsFallback"];
    for name in closed {
        let pointer = format!("{}/additionalProperties", schema_pointer(name));
        if spec.at(&pointer, "objects of the request are closed")? != false {
            return Err(spec.error(&pointer, "has to be false, objects of the request are closed"));
        }
    }
    for name in OPEN {
        known_values(spec, name)?;
    }
    for (schema, member) in RECEIPT_REQUIRES {
        let pointer = schema_pointer(schema);
        if !is_required(spec.at(&pointer, "a receipt is made of it")?, member) {
            let rule = format!("has to require `{member}`, without which a receipt says nothing");
            return Err(spec.error(&pointer, &rule));
        }
        let nullable = format!("{pointer}/properties/{member}/nullable");
        if spec.value.pointer(&nullable) == Some(&Value::Bool(true)) {
            return Err(spec.error(&nullable, "cannot be null, a receipt without it says nothing"));
        }
    }
    for (name, members) in [("BatchRequest", &["messages"][..]), ("Message", &["user", "content"])]
    {
        let pointer = format!("{}/required", schema_pointer(name));
        if *spec.at(&pointer, "the builders give these")? != Value::from(members) {
            let rule = format!("has to be [{}], which the builders give", members.join(", "));
            return Err(spec.error(&pointer, &rule));
        }
    }
    Ok(())
}

/// A value of an open list.
pub struct KnownValue {
    pub variant: String,
    pub value: Value,
    pub description: String,
}

/// The values of an open list: `enum` in the request, where the contract is closed and only the
/// Rust type is open, `x-known-values` in the response.
pub fn known_values(spec: &Spec, name: &str) -> Result<Vec<KnownValue>, SpecError> {
    let schema = spec.at(&schema_pointer(name), "its values are listed there")?;
    let keyword = if schema.get("enum").is_some() { "enum" } else { "x-known-values" };
    let pointer = format!("{}/{keyword}", schema_pointer(name));
    let list = spec.at(&pointer, "it lists the values that are known")?;
    let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
        return Err(spec.error(&pointer, "has to be a list of at least one value"));
    };
    let wanted = schema.get("type").and_then(Value::as_str);
    let ignores_case = match schema.get("x-ignore-case") {
        None => false,
        Some(Value::Bool(ignores)) if wanted == Some("string") => *ignores,
        Some(_) => {
            let pointer = format!("{}/x-ignore-case", schema_pointer(name));
            return Err(spec.error(&pointer, "has to be true or false, of a list of texts"));
        }
    };
    let mut seen = HashSet::new();
    list.iter()
        .enumerate()
        .map(|(index, entry)| {
            let at = format!("{pointer}/{index}");
            let value = entry.get("value").unwrap_or(entry);
            for (member, text) in entry.as_object().into_iter().flatten() {
                if !matches!(member.as_str(), "value" | "name" | "description") {
                    let rule = "is not one of value, name, description (quote a text with a comma)";
                    return Err(spec.error(&format!("{at}/{}", escape(member)), rule));
                }
                if member != "value" && !text.is_string() {
                    return Err(spec.error(&format!("{at}/{member}"), "has to be a string"));
                }
            }
            let right = match wanted {
                Some("integer") => value.is_i64(),
                _ => value.is_string(),
            };
            if !right {
                return Err(spec.error(&at, "has to have a value of the type of the schema"));
            }
            let variant = match (entry.get("name").and_then(Value::as_str), value.as_str()) {
                (Some(name), _) => name.to_owned(),
                (None, Some(value)) => pascal_case(value),
                (None, None) => return Err(spec.error(&at, "a number has to have a name")),
            };
            if !is_variant(&variant) || variant == "Other" {
                let rule = format!("`{variant}` cannot be the name of a variant");
                return Err(spec.error(&at, &rule));
            }
            let mut text = value.to_string();
            if ignores_case {
                text.make_ascii_lowercase();
            }
            if !seen.insert(variant.clone()) || !seen.insert(text) {
                return Err(spec.error(&at, "is listed twice"));
            }
            let description = entry.get("description").and_then(Value::as_str);
            Ok(KnownValue {
                description: description.map_or_else(|| format!("`{value}`."), str::to_owned),
                variant,
                value: value.clone(),
            })
        })
        .collect()
}

fn limits(spec: &Spec) -> Result<(), SpecError> {
    let messages = format!("{}/properties/messages", schema_pointer("BatchRequest"));
    for keyword in ["minItems", "maxItems"] {
        spec.at(
            &format!("{messages}/{keyword}"),
            "the crate checks the number of messages against it",
        )?;
    }
    let id = schema_pointer("SubAccountId");
    let why = "the crate checks the sub-account id against it";
    spec.at(&format!("{id}/minLength"), why)?;
    spec.at(&format!("{id}/maxLength"), why)?;
    let pattern = format!("{id}/pattern");
    if spec.at(&pattern, why)? != SUB_ACCOUNT_ID_PATTERN {
        return Err(spec.error(
            &pattern,
            "`src/sub_account.rs` checks another pattern; change it there too, and in `build/check.rs`",
        ));
    }
    Ok(())
}

/// Nothing of an answer may make an accepted batch an error: no closed list, no closed object.
fn response_is_open(
    spec: &Spec,
    pointer: &str,
    seen: &mut HashSet<String>,
) -> Result<(), SpecError> {
    if !seen.insert(pointer.to_owned()) {
        return Ok(());
    }
    let schema = spec.at(pointer, "the response is made of it")?;
    for (keyword, rule) in [
        ("enum", "a response has no closed list; write x-known-values"),
        ("additionalProperties", "a response has no closed object"),
        ("maxLength", "a response has no limit of length"),
        ("pattern", "a response has no pattern"),
    ] {
        if schema.get(keyword).is_some() {
            return Err(spec.error(&format!("{pointer}/{keyword}"), rule));
        }
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        response_is_open(spec, target.trim_start_matches('#'), seen)?;
    }
    if schema.get("items").is_some() {
        response_is_open(spec, &format!("{pointer}/items"), seen)?;
    }
    let parts = schema.get("allOf").and_then(Value::as_array);
    for part in 0..parts.map_or(0, Vec::len) {
        response_is_open(spec, &format!("{pointer}/allOf/{part}"), seen)?;
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        for (name, member) in properties {
            let at = format!("{pointer}/properties/{}", escape(name));
            let lenient = member.get("nullable") == Some(&Value::Bool(true))
                || (member.get("$ref").is_some() && !is_required(schema, name));
            let owner = pointer.rsplit('/').next().unwrap_or_default();
            if !lenient && !RECEIPT_REQUIRES.contains(&(owner, name.as_str())) {
                return Err(spec.error(&at, "a member of a response has to be nullable"));
            }
            let format = member.get("format").and_then(Value::as_str);
            let reads_anything = FORMATS.iter().any(|(known, _)| format == Some(known));
            if member.get("type") == Some(&Value::from("string")) && !reads_anything {
                let formats = FORMATS.map(|(format, _)| format).join(", ");
                let rule = format!("a text of a response has to have one of the formats {formats}");
                return Err(spec.error(&at, &rule));
            }
            response_is_open(spec, &at, seen)?;
        }
    }
    Ok(())
}

pub fn is_required(schema: &Value, name: &str) -> bool {
    schema
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|required| required.iter().any(|other| other == name))
}

/// `thbCircle` and `delivered_to_operator` as names of variants.
fn pascal_case(value: &str) -> String {
    value
        .split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect()
}

fn is_variant(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric())
        && name != "Self"
}
