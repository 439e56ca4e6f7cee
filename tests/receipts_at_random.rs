//! Properties of every event that anyone can post to a webhook.

mod common;

use lon_batch::receipt::{DeliveryReceipt, Event, MAX_EVENT_BYTES};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::common::receipt::{full_receipt, put, type_violations, with, without};

/// Names of a receipt's members, and any other names.
fn name() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 21] = [
        "version",
        "namespace",
        "eventType",
        "description",
        "payload",
        "umid",
        "batchId",
        "clientMessageId",
        "clientBatchId",
        "subAccountId",
        "channel",
        "user",
        "msisdn",
        "country",
        "channelUserId",
        "status",
        "state",
        "detail",
        "timestamp",
        "errorCode",
        "errorMessage",
    ];
    prop_oneof![4 => select(&KNOWN[..]).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Any JSON.
fn value() -> impl Strategy<Value = Value> {
    const TEXTS: [&str; 7] = [
        "",
        "LineNotification",
        "delivered",
        "2020-01-04T08:20:02.31Z",
        "36",
        "outbound_message_status_changed",
        "+6591234567",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(&TEXTS[..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            vec((name(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn members() -> impl Strategy<Value = Map<String, Value>> {
    vec((name(), value()), 0..12).prop_map(|members| members.into_iter().collect())
}

/// Text that is not empty.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("empty text counts as missing", |text| !text.is_empty())
}

fn event(value: &Value) -> Event {
    Event::from_json(&serde_json::to_vec(value).unwrap()).unwrap()
}

/// Checks the properties of every body.
fn assert_sound(body: &[u8]) -> Result<(), TestCaseError> {
    let (line, debug) = match Event::from_json(body) {
        Ok(event) => {
            if let Some(receipt) = event.receipt() {
                prop_assert!(!receipt.umid().is_empty());
                prop_assert!(!receipt.state().as_str().is_empty());
            }
            (event.to_string(), format!("{event:?}"))
        }
        Err(error) => {
            prop_assert_eq!(error.status() == 413, body.len() > MAX_EVENT_BYTES);
            (error.to_string(), format!("{error:?}"))
        }
    };
    prop_assert!(!line.is_empty() && !line.contains(char::is_control), "{}", line);
    prop_assert!(!debug.contains("91234567"), "{}", debug);
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(
        bytes in vec(any::<u8>(), 0..200),
        json in "[\\[\\]{}\":,\\\\a-z0-9eE+. -]{0,60}",
    ) {
        assert_sound(&bytes)?;
        assert_sound(json.as_bytes())?;
        assert_sound(format!("{{\"eventType\": \"outbound_message_status_changed\", {json}}}").as_bytes())?;
    }

    #[test]
    fn no_damaged_receipt_makes_the_parser_panic(
        from in 0_usize..600, length in 0_usize..40, new in vec(any::<u8>(), 0..8)
    ) {
        let mut body = serde_json::to_vec(&full_receipt()).unwrap();
        let from = from.min(body.len());
        let to = (from + length).min(body.len());
        body.splice(from..to, new);
        assert_sound(&body)?;
    }

    #[test]
    fn no_json_makes_the_parser_panic(value in value(), members in members()) {
        assert_sound(value.to_string().as_bytes())?;
        let mut event = Value::Object(members);
        assert_sound(event.to_string().as_bytes())?;
        event["eventType"] = "outbound_message_status_changed".into();
        assert_sound(event.to_string().as_bytes())?;
        event["payload"] = value;
        assert_sound(event.to_string().as_bytes())?;
    }

    /// Malformed members do not hide the umid and the state.
    #[test]
    fn a_receipt_with_a_umid_and_a_state_always_parses(
        umid in text(), state in text(),
        envelope in members(), payload in members(), status in members(), user in value(),
    ) {
        let mut sent = Value::Object(envelope);
        sent["eventType"] = "outbound_message_status_changed".into();
        sent["payload"] = Value::Object(payload);
        sent["payload"]["user"] = user;
        sent["payload"]["umid"] = umid.as_str().into();
        sent["payload"]["status"] = Value::Object(status);
        sent["payload"]["status"]["state"] = state.as_str().into();
        let event = event(&sent);
        let receipt = event.receipt().unwrap();
        prop_assert_eq!(receipt.umid(), &umid.as_str());
        prop_assert_eq!(receipt.state().as_str(), &state);
        prop_assert_eq!(receipt.is_lon(), matches!(&event, Event::Receipt(_)));
        let _ = (receipt.stage(), receipt.detail(), receipt.reason(), receipt.error_code());
        let _ = receipt.timestamp().map(lon_batch::types::Timestamp::to_system_time);

        // It has the types of the spec, and parses back equal.
        let written = serde_json::to_value(receipt).unwrap();
        prop_assert_eq!(type_violations(&written), Vec::<String>::new());
        let stored: DeliveryReceipt = serde_json::from_value(written.clone()).unwrap();
        prop_assert_eq!(&stored, receipt);
        let again = self::event(&written);
        prop_assert_eq!(again.receipt(), Some(receipt));
        prop_assert_eq!(again.to_string(), event.to_string());
    }

    /// A malformed member does not change the others.
    #[test]
    fn a_malformed_member_does_not_change_the_others(
        place in select(&[
            "/version", "/namespace", "/description", "/payload/batchId", "/payload/clientMessageId",
            "/payload/clientBatchId", "/payload/subAccountId", "/payload/user",
            "/payload/user/msisdn", "/payload/user/country", "/payload/user/channelUserId",
            "/payload/status/detail", "/payload/status/timestamp", "/payload/status/errorCode",
            "/payload/status/errorMessage", "/payload/status/new", "/new",
        ][..]),
        malformed in value(),
    ) {
        let event = event(&with(place, malformed));
        prop_assert!(matches!(event, Event::Receipt(_)));
        let mut written = serde_json::to_value(event.receipt().unwrap()).unwrap();
        put(&mut written, place, None);
        prop_assert_eq!(written, without(place));
    }

    /// The body of a receipt of another channel is kept byte for byte.
    #[test]
    fn receipts_of_other_channels_keep_their_body(payload in members(), channel in "[a-z]{0,9}") {
        let mut sent = with("/payload", Value::Object(payload));
        put(&mut sent, "/payload/umid", Some(json!("a")));
        put(&mut sent, "/payload/status", Some(json!({"state": "sent"})));
        put(&mut sent, "/payload/channel", Some(json!(channel)));
        let body = serde_json::to_vec_pretty(&sent).unwrap();
        match Event::from_json(&body).unwrap() {
            Event::OtherChannel(other) => prop_assert_eq!(other.body, body),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    /// The body of an event of another type is kept byte for byte.
    #[test]
    fn other_events_are_kept_byte_for_byte(members in members(), event_type in "[a-z]{0,9}") {
        let mut sent = Value::Object(members);
        sent["eventType"] = json!(event_type);
        let body = serde_json::to_vec_pretty(&sent).unwrap();
        match Event::from_json(&body).unwrap() {
            Event::Other(event) | Event::OldFormat(event) => prop_assert_eq!(event.body, body),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }
}
