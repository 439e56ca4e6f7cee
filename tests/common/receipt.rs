//! A full receipt, and the spec's schema of receipts.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

#[path = "../../build/spec.rs"]
mod reader;

pub const UMID: &str = "d03cbbf5-3e2d-ea11-815d-020897df5459";

/// The committed spec.
pub fn contract() -> Value {
    let file = "spec/lon-batch.yaml";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    reader::Spec::parse(file, &text).unwrap().value
}

/// A receipt of version 9 with every member of the spec.
pub fn full_receipt() -> Value {
    json!({
        "version": 9,
        "namespace": "ChatApps",
        "eventType": "outbound_message_status_changed",
        "description": "ChatApps outbound message delivery receipt",
        "payload": {
            "umid": UMID,
            "batchId": "cf3cbbf5-3e2d-ea11-815d-020897df5459",
            "clientMessageId": "aaa-1",
            "clientBatchId": "aaa_batch",
            "subAccountId": "my-subaccount",
            "channel": "LineNotification",
            "user": {"msisdn": "+6500000000", "country": "SG", "channelUserId": "U1"},
            "status": {
                "state": "undelivered",
                "detail": "undelivered_to_recipient",
                "timestamp": "2020-01-04T08:20:02.31Z",
                "errorCode": 1,
                "errorMessage": "Absent subscriber",
            },
        },
    })
}

/// The full receipt with another value of a member.
pub fn with(pointer: &str, value: Value) -> Value {
    let mut receipt = full_receipt();
    put(&mut receipt, pointer, Some(value));
    receipt
}

/// The full receipt without a member.
pub fn without(pointer: &str) -> Value {
    let mut receipt = full_receipt();
    put(&mut receipt, pointer, None);
    receipt
}

/// Sets or removes a member.
pub fn put(event: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
}

/// All members that a receipt can have, by the spec: place, type, and whether it is required.
pub fn members() -> Vec<(String, String, bool)> {
    fn below(spec: &Value, schema: &Value, place: &str, found: &mut Vec<(String, String, bool)>) {
        for (name, member) in schema["properties"].as_object().unwrap() {
            let member = match member["$ref"].as_str() {
                Some(target) => spec.pointer(target.trim_start_matches('#')).unwrap(),
                None => member,
            };
            let place = format!("{place}/{name}");
            let kind = member["type"].as_str().unwrap();
            let required = schema["required"].as_array();
            let required = required.is_some_and(|all| all.iter().any(|it| it == name));
            found.push((place.clone(), kind.to_owned(), required));
            if kind == "object" {
                below(spec, member, &place, found);
            }
        }
    }
    let spec = contract();
    let mut found = Vec::new();
    below(&spec, &spec["components"]["schemas"]["DeliveryReceipt"], "", &mut found);
    assert!(found.len() >= 20);
    found
}

/// The schema violations of a receipt.
pub fn schema_violations(receipt: &Value) -> Vec<String> {
    static RECEIPT: LazyLock<Validator> = LazyLock::new(|| validator(contract()));
    errors(&RECEIPT, receipt)
}

/// The members of a receipt with a type other than in the spec. Missing members and unlisted values
/// are allowed.
pub fn type_violations(receipt: &Value) -> Vec<String> {
    fn loosen(schema: &mut Value) {
        match schema {
            Value::Object(rules) => {
                // A property may have the name of a rule.
                rules.retain(|name, rule| {
                    let is_rule = rule.is_array() || rule.is_string();
                    !(is_rule && matches!(name.as_str(), "required" | "enum" | "format"))
                });
                rules.values_mut().for_each(loosen);
            }
            Value::Array(schemas) => schemas.iter_mut().for_each(loosen),
            _ => {}
        }
    }
    static TYPES: LazyLock<Validator> = LazyLock::new(|| {
        let mut contract = contract();
        loosen(&mut contract["components"]["schemas"]);
        validator(contract)
    });
    errors(&TYPES, receipt)
}

fn validator(mut contract: Value) -> Validator {
    contract["$ref"] = Value::from("#/components/schemas/DeliveryReceipt");
    jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(&contract).unwrap()
}

fn errors(validator: &Validator, receipt: &Value) -> Vec<String> {
    validator.iter_errors(receipt).map(|error| error.to_string()).collect()
}
