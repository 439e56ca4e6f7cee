//! The JSON Schema that users can publish for their files of messages.

use lon_batch::{Batch, Content, Icon, Message};
use schemars::schema_for;
use serde_json::json;

use crate::support::{batch, message};

#[test]
fn it_judges_as_the_spec_does() {
    let schema = serde_json::to_value(schema_for!(Batch)).unwrap();
    let judge = jsonschema::validator_for(&schema).unwrap();
    assert!(judge.is_valid(&serde_json::to_value(batch(&["a", "b"])).unwrap()));
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
        assert!(!judge.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn every_type_of_a_request_has_one() {
    let of_message = serde_json::to_value(schema_for!(Message)).unwrap();
    assert_eq!(of_message["title"], "Message");
    assert_eq!(of_message["properties"]["clientMessageId"]["maxLength"], 50);
    assert_eq!(of_message["properties"]["user"]["required"], json!(["msisdn"]));
    let of_content = serde_json::to_value(schema_for!(Content)).unwrap();
    let icons = of_content["properties"]["icon"]["enum"].as_array().unwrap();
    assert_eq!(icons.len(), Icon::KNOWN.len());
    let message = serde_json::to_value(message("a")).unwrap();
    assert!(jsonschema::validator_for(&of_message).unwrap().is_valid(&message));
}
