//! Checks the parts of the spec that the generator and the handwritten code rely on.
//!
//! progenitor panics on most violations or ignores them. A linter checks the rest of the file.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use crate::spec::{Spec, SpecError, entries, escape, members, ref_name, schema_pointer};

/// The operation that the client is generated from.
pub const OPERATION: &str = "/paths/~1api~1v1~1subaccounts~1{subAccountId}~1lon~1batch/post";

/// Schemas with a handwritten type. Enums of responses have generated types of their own.
pub const REPLACED: [(&str, &str); 2] =
    [("SubAccountId", "crate::types::SubAccountId"), ("Recipient", "crate::phone::Recipient")];

/// Schemas that handwritten code refers to. The enums have handwritten meanings.
const NEEDED: [&str; 11] = [
    "BatchRequest",
    "Message",
    "Content",
    "SmsFallback",
    "Icon",
    "BatchResponse",
    "MessageResult",
    "MessageState",
    "ErrorBody",
    "ErrorCode",
    "DeliveryReceipt",
];

/// The pattern that `src/types/sub_account.rs` checks without a regex engine.
const SUB_ACCOUNT_ID_PATTERN: &str = r"^[A-Za-z0-9\-._&]{3,50}$";

pub fn check(spec: &Spec) -> Result<(), SpecError> {
    let version = spec.require("/openapi", "it states the version of OpenAPI")?;
    if !version.as_str().is_some_and(|it| it.starts_with("3.0.")) {
        return Err(spec.error("/openapi", "the generator supports OpenAPI 3.0.x only"));
    }
    for (name, schema) in members(spec.require("/components/schemas", "the types are made of it")?)
    {
        check_keywords(spec, &schema_pointer(name), schema)?;
    }
    check_references(spec, &spec.value, "")?;
    for name in NEEDED.into_iter().chain(REPLACED.map(|(name, _)| name)) {
        spec.require(&schema_pointer(name), "handwritten code uses its type")?;
    }
    check_operation(spec)?;
    check_servers(spec)?;
    let pattern = format!("{}/pattern", schema_pointer("SubAccountId"));
    if spec.require(&pattern, "ids are checked against it")? != SUB_ACCOUNT_ID_PATTERN {
        let rule = "differs from what `src/types/sub_account.rs` checks; change it there and in \
                    `build/check.rs` too";
        return Err(spec.error(&pattern, rule));
    }
    for (name, schema) in members(&spec.value["components"]["schemas"]) {
        if schema.get("enum").is_some() {
            values(spec, name)?;
        }
        if spec.reachable(&schema_pointer(name)).contains(name) {
            return Err(
                spec.error(&schema_pointer(name), "contains itself; the build cannot map it")
            );
        }
    }
    check_no_shared_objects(spec)
}

/// Checks that every keyword of a schema, and of nested schemas, has a value of the right type.
fn check_keywords(spec: &Spec, pointer: &str, schema: &Value) -> Result<(), SpecError> {
    if !schema.is_object() {
        return Err(spec.error(pointer, "has to be a mapping"));
    }
    let is_object = schema["type"] == "object";
    if is_object && !pointer["/components/schemas/".len()..].bytes().all(|it| it != b'/') {
        let rule = "an object has to be a schema of its own; move it to components/schemas and \
                    refer to it";
        return Err(spec.error(pointer, rule));
    }
    for (keyword, value) in members(schema) {
        let at = format!("{pointer}/{}", escape(keyword));
        let (right, expected) = match keyword.as_str() {
            "$ref" | "title" | "description" | "format" | "pattern" => {
                (value.is_string(), "a string")
            }
            "maxLength" | "minLength" | "maxItems" | "minItems" => {
                (value.is_u64(), "a whole number, 0 or more")
            }
            "minimum" | "maximum" => (value.is_number(), "a number"),
            "nullable" | "deprecated" | "additionalProperties" | "x-ignore-case" => {
                (value.is_boolean(), "true or false")
            }
            "enum" => (!entries(value).is_empty(), "a list of at least one value"),
            "required" | "x-enum-varnames" | "x-enum-descriptions" => {
                let strings = entries(value).iter().all(Value::is_string);
                (value.is_array() && strings, "a list of strings")
            }
            "type" => {
                let types = ["string", "integer", "number", "boolean", "array", "object"];
                let known = value.as_str().is_some_and(|it| types.contains(&it));
                (known, "string, integer, number, boolean, array or object")
            }
            "properties" => {
                for (name, member) in members(value) {
                    check_keywords(spec, &format!("{at}/{}", escape(name)), member)?;
                }
                (value.is_object(), "a mapping")
            }
            "items" => {
                check_keywords(spec, &at, value)?;
                continue;
            }
            "allOf" | "oneOf" | "anyOf" | "not" => (false, "left out; the build cannot map it"),
            _ => continue,
        };
        if !right {
            return Err(spec.error(&at, &format!("has to be {expected}")));
        }
    }
    if schema["type"] == "array" && schema["items"].is_null() {
        return Err(spec.error(pointer, "an array needs `items`"));
    }
    for (index, name) in entries(&schema["required"]).iter().enumerate() {
        if schema["properties"][name.as_str().unwrap_or_default()].is_null() {
            let at = format!("{pointer}/required/{index}");
            return Err(spec.error(&at, "requires a member that is not among the properties"));
        }
    }
    Ok(())
}

/// Checks that the target of every `$ref` exists.
fn check_references(spec: &Spec, node: &Value, pointer: &str) -> Result<(), SpecError> {
    for (name, below) in members(node) {
        let at = format!("{pointer}/{}", escape(name));
        if let ("$ref", Some(target)) = (name.as_str(), below.as_str()) {
            let found = target.strip_prefix('#').map(|it| spec.value.pointer(it));
            if found.flatten().is_none() {
                return Err(spec.error(&at, &format!("`{target}` does not exist")));
            }
        }
        check_references(spec, below, &at)?;
    }
    for (index, below) in entries(node).iter().enumerate() {
        check_references(spec, below, &format!("{pointer}/{index}"))?;
    }
    Ok(())
}

/// Checks the operation, its parameter, and the types of its bodies. progenitor supports one type
/// for all successes and one for all errors.
fn check_operation(spec: &Spec) -> Result<(), SpecError> {
    spec.require(OPERATION, "the client is generated from this operation")?;
    let is = |pointer: &str, expected: &str| {
        let pointer = format!("{OPERATION}/{pointer}");
        if spec.require(&pointer, &format!("expected `{expected}`"))? == expected {
            return Ok(());
        }
        Err(spec.error(&pointer, &format!("has to be `{expected}`")))
    };
    let body = |pointer: &str, name: &str| {
        let pointer = format!("{pointer}/content/application~1json/schema/$ref");
        is(&pointer, &format!("#/components/schemas/{name}"))
    };
    is("operationId", "sendLonBatch")?;
    is("parameters/0/name", "subAccountId")?;
    body("requestBody", "BatchRequest")?;
    let responses = spec.require(&format!("{OPERATION}/responses"), "the client reads them")?;
    for (status, _) in members(responses) {
        match status.as_bytes() {
            [b'2', _, _] => body(&format!("responses/{status}"), "BatchResponse")?,
            [b'3'..=b'5', _, _] => body(&format!("responses/{status}"), "ErrorBody")?,
            _ => {
                let rule = "has to be a status of three digits; the generator treats `default` \
                            as a success";
                return Err(spec.error(&format!("{OPERATION}/responses/{status}"), rule));
            }
        }
    }
    spec.require(&format!("{OPERATION}/responses/200"), "it answers a batch")?;
    let receipts = spec.reachable(&format!("{OPERATION}/callbacks"));
    if !receipts.contains("DeliveryReceipt") {
        let rule = "has to post a `DeliveryReceipt`, which the crate parses";
        return Err(spec.error(&format!("{OPERATION}/callbacks"), rule));
    }
    Ok(())
}

/// Checks that each server is a region.
fn check_servers(spec: &Spec) -> Result<(), SpecError> {
    let servers = entries(spec.require("/servers", "the regions are made of it")?);
    if servers.is_empty() {
        return Err(spec.error("/servers", "has to be a list of at least one server"));
    }
    let mut regions = HashSet::new();
    for (index, server) in servers.iter().enumerate() {
        let error =
            |member: &str, rule: &str| Err(spec.error(&format!("/servers/{index}/{member}"), rule));
        let text = |member: &str| server[member].as_str().unwrap_or_default();
        if !text("url").starts_with("https://") || text("url").ends_with('/') {
            return error("url", "has to be an https URL without a slash at its end");
        }
        if !is_variant(text("x-region")) || !regions.insert(text("x-region")) {
            return error("x-region", "has to be a name of its own, such as `AsiaPacific`");
        }
        if text("description").is_empty() {
            return error("description", "has to be the name of the region");
        }
    }
    Ok(())
}

/// Checks that requests and responses share no object: requests are strict, responses lenient.
fn check_no_shared_objects(spec: &Spec) -> Result<(), SpecError> {
    let requests = spec.reachable(&format!("{OPERATION}/requestBody"));
    let responses = received_schemas(spec);
    for name in requests.intersection(&responses) {
        if spec.schema(name)["type"] == "object" {
            let rule = "used by both requests and responses; copy the schema and give each side \
                        its own";
            return Err(spec.error(&schema_pointer(name), rule));
        }
    }
    for name in &responses {
        for (member, schema) in members(&spec.schema(name)["properties"]) {
            if schema["type"] == "array" && ref_name(&schema["items"]).is_none() {
                let at = format!("{}/properties/{}/items", schema_pointer(name), escape(member));
                return Err(spec.error(&at, "the items of a response have to be a `$ref`"));
            }
        }
    }
    Ok(())
}

/// The names of all schemas that the platform sends.
pub fn received_schemas(spec: &Spec) -> BTreeSet<String> {
    let mut names = spec.reachable(&format!("{OPERATION}/responses"));
    names.extend(spec.reachable(&format!("{OPERATION}/callbacks")));
    names
}

/// Enums that accept unlisted values: all that the platform sends, and `Icon`, so that a new icon
/// needs no release.
pub fn open_enums(spec: &Spec) -> BTreeSet<String> {
    let mut names = received_schemas(spec);
    names.insert("Icon".to_owned());
    names.retain(|name| spec.schema(name).get("enum").is_some());
    names
}

/// A value of an open enum.
pub struct EnumValue {
    pub variant: String,
    pub value: Value,
    pub description: String,
}

/// The values of an enum, with their names and descriptions.
pub fn values(spec: &Spec, name: &str) -> Result<Vec<EnumValue>, SpecError> {
    let (schema, pointer) = (spec.schema(name), schema_pointer(name));
    let listed = entries(&schema["enum"]);
    let parallel = |keyword: &str| match entries(&schema[keyword]) {
        list if list.is_empty() || list.len() == listed.len() => Ok(list),
        list => {
            let (found, expected) = (list.len(), listed.len());
            let rule = format!("{found} entries for {expected} values");
            Err(spec.error(&format!("{pointer}/{keyword}"), &rule))
        }
    };
    // progenitor names the variants of a closed enum, and panics if two names are equal.
    let is_closed = !open_enums(spec).contains(name);
    let names = parallel("x-enum-varnames")?;
    let descriptions = parallel("x-enum-descriptions")?;
    let mut seen = HashSet::new();
    let values = listed.iter().enumerate().map(|(index, value)| {
        let error = |keyword: &str, rule: &str| {
            Err(spec.error(&format!("{pointer}/{keyword}/{index}"), rule))
        };
        let right = match schema["type"].as_str() {
            Some("integer") => value.is_i64(),
            _ => value.is_string(),
        };
        if !right {
            return error("enum", "differs from the `type` of the schema");
        }
        let mut text = value.to_string();
        if schema["x-ignore-case"] == true || is_closed {
            text.make_ascii_lowercase();
        }
        if !seen.insert(text) {
            return error("enum", "is listed twice");
        }
        let text = |list: &[Value]| list.get(index)?.as_str().map(str::to_owned);
        let variant =
            text(names).unwrap_or_else(|| pascal_case(value.as_str().unwrap_or_default()));
        if !is_variant(&variant) || variant == "Other" || !seen.insert(variant.clone()) {
            let rule = "has no name of its own; list names in `x-enum-varnames`";
            return error(if names.is_empty() { "enum" } else { "x-enum-varnames" }, rule);
        }
        Ok(EnumValue {
            description: text(descriptions).unwrap_or_else(|| format!("`{value}`.")),
            variant,
            value: value.clone(),
        })
    });
    values.collect()
}

/// Converts values such as `thbCircle` and `delivered_to_operator` to variant names.
fn pascal_case(value: &str) -> String {
    let words = value.split('_').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

fn is_variant(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|letter| letter.is_ascii_alphanumeric())
        && name != "Self"
}
