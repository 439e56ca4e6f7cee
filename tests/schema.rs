//! The JSON Schema of the types of a request (feature `schemars`).

#![cfg(feature = "schemars")]

mod common;

use lon_batch::request::MessageContent;
use lon_batch::types::{Action, Encoding, ListItem};
use lon_batch::{Batch, Content, Icon, Message, Recipient, SharedContent, SmsFallback};
use schemars::schema_for;
use serde_json::json;

use common::{batch, message};

#[test]
fn the_schema_of_a_batch_refuses_what_the_contract_does() {
    let schema = serde_json::to_value(schema_for!(Batch)).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::to_value(batch(&["a", "b"])).unwrap()));
    let user = json!({"msisdn": "+6591234567"});
    let content = json!({"title": "Hello"});
    for wrong in [
        json!({"messages": []}),
        json!({"messages": [{"user": user}]}),
        json!({"messages": [{"user": user, "content": {"titel": "Hello"}}]}),
        json!({"messages": [{"user": user, "content": {"icon": "newIcon"}}]}),
        json!({"messages": [{"user": user, "content": content, "clientMessageId": "x".repeat(51)}]}),
        json!({"messages": [{"user": {"msisdn": 5}, "content": content}]}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn every_type_of_a_request_has_a_schema() {
    let of_message = serde_json::to_value(schema_for!(Message)).unwrap();
    assert_eq!(of_message["title"], "Message");
    assert_eq!(of_message["properties"]["clientMessageId"]["maxLength"], 50);
    assert_eq!(of_message["properties"]["user"]["required"], json!(["msisdn"]));
    let of_content = serde_json::to_value(schema_for!(Content)).unwrap();
    let icons = of_content["properties"]["icon"]["enum"].as_array().unwrap();
    assert_eq!(icons.len(), Icon::KNOWN.len());
    // A shared content has the same schema as an own one.
    for shared in [schema_for!(SharedContent), schema_for!(MessageContent)] {
        assert_eq!(serde_json::to_value(shared).unwrap(), of_content);
    }
    for (schema, title) in [
        (schema_for!(Recipient), "Recipient"),
        (schema_for!(SmsFallback), "SmsFallback"),
        (schema_for!(Icon), "Icon"),
        (schema_for!(Encoding), "Encoding"),
        (schema_for!(ListItem), "ListItem"),
        (schema_for!(Action), "Action"),
        (schema_for!(Batch), "Batch"),
    ] {
        assert_eq!(serde_json::to_value(schema).unwrap()["title"], title);
    }
    let message = serde_json::to_value(message("a")).unwrap();
    assert!(jsonschema::validator_for(&of_message).unwrap().is_valid(&message));
}
