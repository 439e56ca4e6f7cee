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
