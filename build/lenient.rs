//! Makes the spec lenient for received data. Sent data stays strict.

use serde_json::{Map, Value, json};

use crate::check::{open_enums, received_schemas};
use crate::spec::{Spec, ref_name};

/// Formats and their handwritten text types. Each string of the spec gets one of them.
pub const TEXTS: [(&str, &str); 3] = [
    ("text", "crate::types::Text"),
    ("client-id", "crate::types::ClientId"),
    ("timestamp", "crate::types::Timestamp"),
];

/// Members with the caller's own ids, which are never masked.
const CLIENT_IDS: [&str; 2] = ["clientBatchId", "clientMessageId"];

/// Makes everything that the platform sends optional, nullable, open and unlimited, so that a
/// malformed field does not turn an accepted batch into an error.
///
/// Enums become handwritten open types. Lists become a type that is bounded in memory.
pub fn lenient(spec: &Spec) -> Value {
    let mut api = spec.value.clone();
    let schemas = &mut api["components"]["schemas"];
    for name in received_schemas(spec) {
        let schema = &mut schemas[&name];
        let Some(object) = schema.as_object_mut() else {
            continue;
        };
        object
            .retain(|keyword, _| !matches!(keyword.as_str(), "required" | "additionalProperties"));
        for (member, value) in object.get_mut("properties").into_iter().flat_map(members_mut) {
            *value = lenient_member(member, value);
        }
    }
    let received = received_schemas(spec);
    for (name, schema) in members_mut(schemas) {
        if !received.contains(name) {
            for (member, value) in schema.get_mut("properties").into_iter().flat_map(members_mut) {
                if is_text(value) {
                    *value = string_schema(member, value, false);
                }
            }
        }
    }
    for name in open_enums(spec) {
        // `build/tables.rs` generates its type.
        schemas[name] = json!({ "type": "object" });
    }
    api
}

fn lenient_member(name: &str, schema: &Value) -> Value {
    let mut member = match schema["type"].as_str() {
        _ if is_text(schema) => string_schema(name, schema, true),
        Some("array") => {
            let items = ref_name(&schema["items"]).unwrap_or_default();
            return json!({ "$ref": format!("#/components/schemas/{}", list_name(items)) });
        }
        Some(kind) => json!({ "type": kind, "description": schema["description"] }),
        None => return schema.clone(),
    };
    if schema["type"] == "integer" {
        member["format"] = json!("int64");
    }
    member["nullable"] = json!(true);
    member
}

fn string_schema(name: &str, schema: &Value, received: bool) -> Value {
    let format = match schema["format"].as_str() {
        _ if CLIENT_IDS.contains(&name) => "client-id",
        Some("date-time") if received => "timestamp",
        _ => "text",
    };
    json!({ "type": "string", "format": format, "description": schema["description"] })
}

fn is_text(schema: &Value) -> bool {
    schema["type"] == "string" && schema.get("enum").is_none()
}

/// The name of the type of a received list of these items.
pub fn list_name(items: &str) -> String {
    format!("{items}List")
}

/// The item schemas of all received lists.
pub fn lists(spec: &Spec) -> Vec<String> {
    let names = received_schemas(spec).into_iter();
    let members = names.flat_map(|name| match &spec.schema(&name)["properties"] {
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    });
    let items = members.filter_map(|member| ref_name(member.get("items")?).map(str::to_owned));
    items.collect()
}

fn members_mut(node: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    node.as_object_mut().into_iter().flat_map(Map::iter_mut)
}
