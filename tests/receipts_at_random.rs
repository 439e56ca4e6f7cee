//! Properties of every event that may be posted to a webhook.

mod common;

use lon_batch::receipt::{DeliveryReceipt, Event, MAX_EVENT_BYTES};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::common::receipt::{full_receipt, type_violations};

/// Names of members that a receipt has, and others.
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

/// A text that has something in it.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("a receipt needs it", |text| !text.is_empty())
}

fn event(value: &Value) -> Event {
    Event::from_json(&serde_json::to_vec(value).unwrap()).unwrap()
}

/// What holds of everything that is posted.
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
            prop_assert!(body.starts_with(error.body()));
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
    fn no_bytes_make_reading_panic(
        bytes in vec(any::<u8>(), 0..200),
        json in "[\\[\\]{}\":,\\\\a-z0-9eE+. -]{0,60}",
    ) {
        assert_sound(&bytes)?;
        assert_sound(json.as_bytes())?;
        assert_sound(format!("{{\"eventType\": \"outbound_message_status_changed\", {json}}}").as_bytes())?;
    }

    #[test]
    fn no_damage_makes_reading_panic(
        from in 0_usize..600, length in 0_usize..40, new in vec(any::<u8>(), 0..8)
    ) {
        let mut body = serde_json::to_vec(&full_receipt()).unwrap();
        let from = from.min(body.len());
        let to = (from + length).min(body.len());
        body.splice(from..to, new);
        assert_sound(&body)?;
    }

    #[test]
    fn no_json_makes_reading_panic(value in value(), members in members()) {
        assert_sound(value.to_string().as_bytes())?;
        let mut event = Value::Object(members);
        assert_sound(event.to_string().as_bytes())?;
        event["eventType"] = "outbound_message_status_changed".into();
        assert_sound(event.to_string().as_bytes())?;
        event["payload"] = value;
        assert_sound(event.to_string().as_bytes())?;
    }

    /// Whatever else is there and whatever it is, the message and its state are read.
    #[test]
    fn a_receipt_with_a_umid_and_a_state_is_always_read(
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

        // A receipt that was read has the types of the spec, and reads back equal.
        let written = serde_json::to_value(receipt).unwrap();
        prop_assert_eq!(type_violations(&written), Vec::<String>::new());
        let stored: DeliveryReceipt = serde_json::from_value(written.clone()).unwrap();
        prop_assert_eq!(&stored, receipt);
        let again = self::event(&written);
        prop_assert_eq!(again.receipt(), Some(receipt));
        prop_assert_eq!(again.to_string(), event.to_string());
    }

    /// A member that is odd does not touch the others.
    #[test]
    fn odd_details_leave_the_rest_as_it_is(
        place in select(&[
            "/version", "/namespace", "/description", "/payload/batchId", "/payload/clientMessageId",
            "/payload/clientBatchId", "/payload/subAccountId", "/payload/user",
            "/payload/user/msisdn", "/payload/user/country", "/payload/user/channelUserId",
            "/payload/status/detail", "/payload/status/timestamp", "/payload/status/errorCode",
            "/payload/status/errorMessage", "/payload/status/new", "/new",
        ][..]),
        odd in value(),
    ) {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let without = |mut event: Value| {
            event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            event
        };
        let mut sent = full_receipt();
        sent.pointer_mut(parent).unwrap()[name] = odd;
        let event = event(&sent);
        prop_assert!(matches!(event, Event::Receipt(_)));
        let written = serde_json::to_value(event.receipt().unwrap()).unwrap();
        prop_assert_eq!(without(written), without(full_receipt()));
    }

    /// An event that says it is another is kept whole.
    #[test]
    fn other_events_are_kept_as_they_came(members in members(), event_type in "[a-z]{0,9}") {
        let mut sent = Value::Object(members);
        sent["eventType"] = json!(event_type);
        let body = serde_json::to_vec_pretty(&sent).unwrap();
        match Event::from_json(&body).unwrap() {
            Event::Other(event) | Event::OldFormat(event) => prop_assert_eq!(event.body, body),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }
}
