//! What is read of an event that the platform posts to a callback URL, however odd.

mod common;

use std::time::{Duration, SystemTime};

use lon_batch::receipt::{
    DeliveryReceipt, Event, EventProblem, MAX_EVENT_BYTES, OtherEvent, Stage, UnreadableEvent,
};
use lon_batch::types::{
    Channel, ErrorCode, EventType, MessageState, Namespace, ReceiptErrorCode, StatusDetail,
};
use serde_json::{Value, json};

use crate::common::receipt::{UMID, contract, full_receipt, schema_violations, type_violations};
use crate::common::{NUMBER, assert_no_secrets, printed};

/// Ids of the caller.
const OWN_IDS: [&str; 2] = ["/payload/clientMessageId", "/payload/clientBatchId"];

/// The members that every receipt needs.
const NEEDED: [&str; 4] = ["/payload", "/payload/umid", "/payload/status", "/payload/status/state"];

/// What a log has of its clientMessageId.
const ID: &str = r#"(clientMessageId "aaa-1")"#;

/// A receipt of version 8, which does not say its version.
fn version_8() -> Value {
    let mut event = full_receipt();
    event.as_object_mut().unwrap().remove("version");
    event["payload"]["user"]["channelUserId"] = "6500000000".into();
    event
}

/// The same in a version that there is not yet, with new members everywhere.
fn version_10() -> Value {
    let mut event = full_receipt();
    event["version"] = 10.into();
    event["tenant"] = json!({"id": [1, null, {}]});
    event["payload"]["price"] = json!({"total": 0.014, "currency": "EUR"});
    event["payload"]["user"]["lineId"] = Value::Null;
    event["payload"]["status"]["tries"] = json!([{"state": "sent"}]);
    event
}

/// The event with one place changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut event = full_receipt();
    put(&mut event, pointer, Some(value));
    event
}

fn put(event: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
}

fn event(value: &Value) -> Event {
    Event::from_json(&serde_json::to_vec(value).unwrap()).unwrap()
}

/// The receipt of a LON message.
fn read(value: &Value) -> DeliveryReceipt {
    match event(value) {
        Event::Receipt(receipt) => *receipt,
        other => panic!("{other:?}"),
    }
}

fn other(value: &Value) -> OtherEvent {
    match event(value) {
        Event::Other(event) => event,
        other => panic!("{other:?}"),
    }
}

fn unreadable(body: impl AsRef<[u8]>) -> UnreadableEvent {
    Event::from_json(body.as_ref()).unwrap_err()
}

/// Every member that a receipt may have, by the contract: its place, its type, whether it has to be
/// there.
fn members() -> Vec<(String, String, bool)> {
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
    let schema = &spec["components"]["schemas"]["DeliveryReceipt"];
    below(&spec, schema, "", &mut found);
    found
}

#[test]
fn every_state_and_detail_of_lon_in_every_version() {
    use MessageState::{Delivered, Queued, Rejected, Sent, Undelivered};
    use StatusDetail::{
        DeliveredToCarrier, DeliveredToOperator, DeliveredToRecipient, RejectedByOperator,
        UndeliveredToRecipient,
    };
    let cases = [
        ("queued", None, Queued, None, Stage::Accepted),
        ("sent", None, Sent, None, Stage::Sent),
        ("delivered", None, Delivered, None, Stage::Delivered),
        (
            "delivered",
            Some("delivered_to_operator"),
            Delivered,
            Some(DeliveredToOperator),
            Stage::Delivered,
        ),
        (
            "delivered",
            Some("delivered_to_carrier"),
            Delivered,
            Some(DeliveredToCarrier),
            Stage::Delivered,
        ),
        (
            "delivered",
            Some("delivered_to_recipient"),
            Delivered,
            Some(DeliveredToRecipient),
            Stage::Delivered,
        ),
        ("undelivered", None, Undelivered, None, Stage::Undelivered),
        (
            "undelivered",
            Some("rejected_by_operator"),
            Undelivered,
            Some(RejectedByOperator),
            Stage::Undelivered,
        ),
        (
            "undelivered",
            Some("undelivered_to_recipient"),
            Undelivered,
            Some(UndeliveredToRecipient),
            Stage::Undelivered,
        ),
        ("rejected", None, Rejected, None, Stage::Rejected),
    ];
    let versions = [
        (version_8(), None, "6500000000"),
        (full_receipt(), Some(9), "U1"),
        (version_10(), Some(10), "U1"),
    ];
    for (state, detail, is_state, is_detail, stage) in cases {
        for (sent, version, channel_user_id) in &versions {
            let mut sent = sent.clone();
            sent["payload"]["status"]["state"] = state.into();
            put(&mut sent, "/payload/status/detail", detail.map(Value::from));
            let receipt = read(&sent);
            assert_eq!(receipt.state(), &is_state);
            // `Other` with the same text would be equal.
            assert!(!matches!(receipt.state(), MessageState::Other(_)));
            assert_eq!(receipt.detail(), is_detail.as_ref());
            assert!(!matches!(receipt.detail(), Some(StatusDetail::Other(_))));
            assert_eq!(receipt.stage(), stage);
            assert!(receipt.is_lon());
            assert_eq!(receipt.version, *version);
            assert_eq!(receipt.umid(), &UMID);
            assert_eq!(receipt.client_message_id(), Some("aaa-1"));
            assert_eq!(receipt.client_batch_id(), Some("aaa_batch"));
            assert_eq!(receipt.timestamp().unwrap(), &"2020-01-04T08:20:02.31Z");
            assert_eq!(receipt.error_code(), Some(ReceiptErrorCode::AbsentSubscriber));
            assert_eq!(receipt.namespace, Some(Namespace::ChatApps));
            assert_eq!(receipt.event_type, Some(EventType::OutboundMessageStatusChanged));
            let payload = receipt.payload.as_ref().unwrap();
            assert_eq!(payload.batch_id.as_deref(), Some("cf3cbbf5-3e2d-ea11-815d-020897df5459"));
            assert_eq!(payload.sub_account_id.as_deref(), Some("my-subaccount"));
            let user = payload.user.as_ref().unwrap();
            assert_eq!(user.msisdn.as_deref(), Some("+6500000000"));
            assert_eq!(user.country.as_deref(), Some("SG"));
            assert_eq!(user.channel_user_id.as_deref(), Some(*channel_user_id));
        }
    }
}

#[test]
fn states_details_and_codes_that_nobody_knows_are_kept() {
    let mut sent = full_receipt();
    sent["payload"]["status"] = json!({
        "state": "teleported", "detail": "by_beam", "errorCode": 77, "errorMessage": null,
    });
    let receipt = read(&sent);
    assert_eq!(receipt.state(), &MessageState::Other("teleported".into()));
    assert_eq!(receipt.detail(), Some(&StatusDetail::Other("by_beam".into())));
    assert_eq!(receipt.error_code(), Some(ReceiptErrorCode::Other(77)));
    assert_eq!(receipt.reason(), None);
    assert_eq!(receipt.stage(), Stage::Unknown);
    let written = serde_json::to_value(&receipt).unwrap();
    put(&mut sent, "/payload/status/errorMessage", None);
    assert_eq!(written, sent);
}

#[test]
fn no_optional_member_has_to_be_there_or_to_be_what_it_should() {
    let members = members();
    assert!(members.len() >= 20);
    let mut optional = 0;
    for (place, kind, _) in &members {
        assert!(full_receipt().pointer(place).is_some(), "{place} is new: put it into the example");
        if NEEDED.contains(&place.as_str()) {
            continue;
        }
        optional += 1;
        let mut without = full_receipt();
        put(&mut without, place, None);
        let odd = match kind.as_str() {
            "string" => vec![json!([]), json!({}), json!(["text"]), json!({"a": "text"})],
            "integer" => vec![
                json!("nine"),
                json!(""),
                json!(1.5),
                json!(1e300),
                json!(u64::MAX),
                json!("99999999999999999999"),
                json!(true),
                json!([9]),
                json!({"value": 9}),
            ],
            "object" => vec![json!("text"), json!(5), json!(false), json!([{"a": 1}])],
            kind => panic!("{place} is of the type {kind}: think of what is odd there"),
        };
        let odd = odd.into_iter().chain([Value::Null]);
        let events = odd.map(|value| with(place, value)).chain([without.clone()]);
        for sent in events {
            let event = event(&sent);
            let receipt = event.receipt().unwrap_or_else(|| panic!("{sent}"));
            assert_eq!(serde_json::to_value(receipt).unwrap(), without, "{sent}");
            let is_lon = place != "/payload/channel";
            assert_eq!(matches!(event, Event::Receipt(_)), is_lon, "{sent}");
        }
    }
    assert_eq!(optional, members.len() - NEEDED.len());

    // All of them at once.
    let least = json!({"payload": {"umid": "1", "status": {"state": "sent"}}});
    let event = event(&least);
    let receipt = event.receipt().unwrap();
    assert_eq!(serde_json::to_value(receipt).unwrap(), least);
    assert_eq!(receipt.client_message_id(), None);
    assert_eq!(receipt.client_batch_id(), None);
    assert_eq!((receipt.detail(), receipt.timestamp()), (None, None));
    assert_eq!((receipt.error_code(), receipt.reason()), (None, None));
    assert!(!receipt.is_lon());
}

#[test]
fn what_can_be_taken_for_a_text_or_a_number_is() {
    for (odd, kept) in [
        (json!(5), "5"),
        (json!(-5), "-5"),
        (json!(1.5), "1.5"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(true), "true"),
        (json!(""), ""),
    ] {
        for (place, kind, _) in members() {
            let is_empty = kept.is_empty() && NEEDED.contains(&place.as_str());
            if kind != "string" || is_empty || place == "/eventType" {
                continue;
            }
            let event = event(&with(&place, odd.clone()));
            let written = serde_json::to_value(event.receipt().unwrap()).unwrap();
            assert_eq!(written, with(&place, kept.into()), "{place}");
        }
    }
    for place in ["/version", "/payload/status/errorCode"] {
        for odd in ["42", " 42 "] {
            let written = serde_json::to_value(read(&with(place, odd.into()))).unwrap();
            assert_eq!(written, with(place, 42.into()));
        }
        // One with a `+` is a phone number.
        let written = serde_json::to_value(read(&with(place, "+42".into()))).unwrap();
        let mut without = full_receipt();
        put(&mut without, place, None);
        assert_eq!(written, without);
    }
    let empty = json!({"clientMessageId": "", "clientBatchId": ""});
    let mut sent = full_receipt();
    for (name, text) in empty.as_object().unwrap() {
        sent["payload"][name] = text.clone();
    }
    assert_eq!(read(&sent).client_message_id(), None);
    assert_eq!(read(&sent).client_batch_id(), None);
}

#[test]
fn an_event_type_that_is_no_text_says_nothing() {
    let mut without = full_receipt();
    put(&mut without, "/eventType", None);
    for odd in [json!(5), json!(true), json!(null), json!([]), json!({})] {
        let receipt = read(&with("/eventType", odd.clone()));
        assert_eq!(receipt.event_type, None);
        let written = serde_json::to_value(&receipt).unwrap();
        assert_eq!(written, without);
        assert_eq!(read(&written), receipt);
        let other = other(&json!({"eventType": odd, "payload": {"umid": "a"}}));
        assert_eq!(other.event_type, None);
    }
}

#[test]
fn ids_are_whatever_they_are() {
    let long = "x".repeat(1000);
    for id in ["not-a-uuid", "0", "ä/漢字 🎫", " ", "D03CBBF5", &long] {
        for place in ["umid", "batchId", "clientMessageId", "clientBatchId", "subAccountId"] {
            let receipt = read(&with(&format!("/payload/{place}"), id.into()));
            let written = serde_json::to_value(&receipt).unwrap();
            assert_eq!(written["payload"][place], id);
        }
    }
}

#[test]
fn timestamps_of_every_shape() {
    let at = |seconds, nanos| Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
    for (text, moment) in [
        ("2020-01-04T08:20:02Z", at(1_578_126_002, 0)),
        ("2020-01-04T08:20:02.31Z", at(1_578_126_002, 310_000_000)),
        ("2020-01-04T08:20:02.4297387Z", at(1_578_126_002, 429_738_700)),
        ("2020-01-04T08:20:02.4297387+00:00", at(1_578_126_002, 429_738_700)),
        ("2020-01-04T08:20:02+00:00", at(1_578_126_002, 0)),
        ("2020-01-04T16:20:02.31+08:00", at(1_578_126_002, 310_000_000)),
        ("2020-01-04T08:20:02", at(1_578_126_002, 0)),
        ("2020-01-04T08:20:02.31", at(1_578_126_002, 310_000_000)),
        ("", None),
        ("yesterday", None),
        ("2020-13-04T08:20:02Z", None),
        ("9999999-01-04T08:20:02Z", None),
        ("1578126002", None),
    ] {
        let receipt = read(&with("/payload/status/timestamp", text.into()));
        assert_eq!(receipt.timestamp().unwrap(), &text);
        assert_eq!(receipt.timestamp().unwrap().to_system_time(), moment, "{text}");
    }
    let receipt = read(&with("/payload/status/timestamp", json!(1_578_126_002)));
    assert_eq!(receipt.timestamp().unwrap(), &"1578126002");
    assert_eq!(receipt.timestamp().unwrap().to_system_time(), None);
}

#[test]
fn channel_namespace_and_event_type_in_any_case() {
    for (channel, namespace, event_type) in [
        ("LineNotification", "ChatApps", "outbound_message_status_changed"),
        ("LINENOTIFICATION", "CHATAPPS", "OUTBOUND_MESSAGE_STATUS_CHANGED"),
        ("linenotification", "chatapps", "Outbound_Message_Status_Changed"),
        ("lineNOTIFICATION", "chatApps", "outbound_Message_status_Changed"),
    ] {
        let mut sent = full_receipt();
        sent["payload"]["channel"] = channel.into();
        sent["namespace"] = namespace.into();
        sent["eventType"] = event_type.into();
        let receipt = read(&sent);
        assert!(receipt.is_lon());
        assert!(matches!(receipt.channel(), Some(Channel::LineNotification)));
        assert!(matches!(receipt.namespace, Some(Namespace::ChatApps)));
        assert!(matches!(receipt.event_type, Some(EventType::OutboundMessageStatusChanged)));
    }
    assert_eq!(Channel::Other("RCS".into()), Channel::from("rcs"));
    // The case of what is no ASCII letter is another letter.
    assert_ne!(Channel::from("é"), Channel::from("É"));
    let inbound = other(&json!({"eventType": "INBOUND_message_received"}));
    assert!(matches!(inbound.event_type, Some(EventType::InboundMessageReceived)));
}

#[test]
fn receipts_of_other_channels_are_told_from_those_of_lon() {
    for (channel, known, shown) in [
        ("sms", Some(Channel::Sms), "Sms"),
        ("SMS", Some(Channel::Sms), "Sms"),
        ("whatsapp", Some(Channel::WhatsApp), "WhatsApp"),
        ("WhatsApp", Some(Channel::WhatsApp), "WhatsApp"),
        ("line", Some(Channel::Line), "Line"),
        ("LINE", Some(Channel::Line), "Line"),
        ("viber", Some(Channel::Viber), "Viber"),
        ("Viber", Some(Channel::Viber), "Viber"),
        ("Telepathy", None, r#"Other("Telepathy")"#),
        ("Line Notification", None, r#"Other("Line Notification")"#),
        ("", None, r#"Other("")"#),
    ] {
        let event = event(&with("/payload/channel", channel.into()));
        let Event::OtherChannel(receipt) = &event else {
            panic!("{channel}: {event:?}");
        };
        assert!(!receipt.is_lon());
        assert_eq!(receipt.umid(), &UMID);
        assert_eq!(receipt.client_message_id(), Some("aaa-1"));
        let is_other = matches!(receipt.channel(), Some(Channel::Other(_)));
        assert_eq!(is_other, known.is_none(), "{channel}");
        let known = known.unwrap_or_else(|| Channel::Other(channel.into()));
        assert_eq!(receipt.channel(), Some(&known));
        assert_eq!(
            event.to_string(),
            format!(
                "delivery receipt of channel {shown}: {UMID} {ID} is Undelivered, receipt code 1"
            )
        );
    }

    // In the shape of a receipt of the SMS API, which has no channel.
    let sms = json!({
        "namespace": "SMS",
        "eventType": "outbound_message_status_changed",
        "description": "SMS delivery receipt",
        "payload": {
            "umid": UMID,
            "batchId": null,
            "clientMessageId": "aaa-1",
            "clientBatchId": null,
            "subAccountId": "my-subaccount",
            "country": "SG",
            "source": "Info",
            "destination": "+6500000000",
            "status": {"state": "delivered", "timestamp": "2020-01-04T08:20:02Z"},
            "price": {"total": 0.0375, "perSms": 0.0375, "currency": "EUR"},
            "smsCount": 1,
        },
    });
    let event = event(&sms);
    assert!(matches!(event, Event::OtherChannel(_)), "{event:?}");
    let receipt = event.receipt().unwrap();
    assert!(matches!(receipt.namespace, Some(Namespace::Sms)));
    assert_eq!(receipt.channel(), None);
    assert_eq!(receipt.client_message_id(), Some("aaa-1"));
    assert_eq!(
        event.to_string(),
        format!("delivery receipt without a channel: {UMID} {ID} is Delivered")
    );
}

#[test]
fn a_lon_receipt_in_a_line_of_a_log() {
    assert_eq!(
        event(&full_receipt()).to_string(),
        format!("delivery receipt: {UMID} {ID} is Undelivered, receipt code 1")
    );
    let mut fine = with("/payload/status", json!({"state": "sent", "errorCode": 0}));
    put(&mut fine, "/payload/clientMessageId", None);
    assert_eq!(event(&fine).to_string(), format!("delivery receipt: {UMID} is Sent"));
}

#[test]
fn other_events_are_kept_byte_for_byte() {
    let inbound = r#"{ "payload" : {"umid":"5", "umid":"6", "user":{"msisdn":"+6500000000"},
        "content":{"text":"h\u00e4 \/"}, "n": 1.10},
        "namespace":"ChatApps" , "eventType":"inbound_message_received", "version": 9 }
        "#;
    for (body, namespace, event_type, display) in [
        (
            inbound,
            Some(Namespace::ChatApps),
            Some(EventType::InboundMessageReceived),
            "event that is no delivery receipt: ChatApps, InboundMessageReceived",
        ),
        (
            r#"{"namespace":"Account","eventType":"sub_account_created","payload":{"id":"x"}}"#,
            Some(Namespace::Other("Account".into())),
            Some(EventType::Other("sub_account_created".into())),
            r#"event that is no delivery receipt: Other("Account"), Other("sub_account_created")"#,
        ),
        (
            r#"{"namespace":"ChatApps"}"#,
            Some(Namespace::ChatApps),
            None,
            "event that is no delivery receipt: ChatApps, of no type",
        ),
        (
            r#"{"eventType":"ping"}"#,
            None,
            Some(EventType::Other("ping".into())),
            r#"event that is no delivery receipt: Other("ping")"#,
        ),
        ("{}", None, None, "event that is no delivery receipt: of no type"),
        // It has what a receipt has, and says that it is none.
        (
            r#"{"eventType":"other","payload":{"umid":"a","status":{"state":"sent"}}}"#,
            None,
            Some(EventType::Other("other".into())),
            r#"event that is no delivery receipt: Other("other")"#,
        ),
        // It does not say what it is, and lacks what a receipt has.
        (
            r#"{"payload":{"umid":"a"}}"#,
            None,
            None,
            "event that is no delivery receipt: of no type",
        ),
        (
            r#"{"payload":["umid", "status"]}"#,
            None,
            None,
            "event that is no delivery receipt: of no type",
        ),
        // Of the old format but for a part.
        (r#"{"umid":"a"}"#, None, None, "event that is no delivery receipt: of no type"),
        (r#"{"status":"a"}"#, None, None, "event that is no delivery receipt: of no type"),
        (
            r#"{"umid":"a","status":"a","payload":{}}"#,
            None,
            None,
            "event that is no delivery receipt: of no type",
        ),
        (
            r#"{"umid":"a","status":"a","namespace":"Other"}"#,
            Some(Namespace::Other("Other".into())),
            None,
            r#"event that is no delivery receipt: Other("Other"), of no type"#,
        ),
    ] {
        let event = Event::from_json(body.as_bytes()).unwrap();
        assert_eq!(event.to_string(), display);
        assert!(event.receipt().is_none());
        let Event::Other(other) = event else {
            panic!("{body}: {event:?}");
        };
        assert_eq!(other.body, body);
        assert_eq!(other.namespace, namespace);
        assert_eq!(other.event_type, event_type);
    }
}

#[test]
fn the_old_flat_format_is_named() {
    let old = json!({
        "eventType": "outboundMessageDelivery",
        "channel": "line",
        "user": {"msisdn": NUMBER, "channelUserId": &NUMBER[1..]},
        "umid": "0f9d1b52-77ab-e811-814f-022a22cc1c71",
        "status": "DELIVERED TO DEVICE",
        "subAccountId": "my-subaccount_line",
        "clientMessageId": null,
        "clientBatchId": null,
        "timestamp": "2018-09-01T07:11:02Z",
        "error": null,
        "price": null,
        "currency": null,
        "version": 4,
    });
    let mut named_otherwise = old.clone();
    put(&mut named_otherwise, "/umid", None);
    put(&mut named_otherwise, "/status", None);
    put(&mut named_otherwise, "/UMID", Some("a".into()));
    put(&mut named_otherwise, "/Status", Some("b".into()));
    let mut untyped = old.clone();
    put(&mut untyped, "/eventType", None);
    for old in [old, named_otherwise, untyped] {
        let event = event(&old);
        let text = format!("{event} {event:?} {event:#?}");
        assert_no_secrets(&text);
        assert!(event.receipt().is_none());
        for part in [
            "old flat format",
            "delete the old webhook and make a new one",
            "https://developer.8x8.com/connect/docs/webhook-migration-guide",
        ] {
            assert!(event.to_string().contains(part), "{part}: {event}");
        }
        let Event::OldFormat(kept) = event else {
            panic!("{event:?}");
        };
        assert_eq!(kept.body, serde_json::to_vec(&old).unwrap());
        assert_eq!(kept.event_type.as_ref().map(EventType::as_str), old["eventType"].as_str());
    }
}

#[test]
fn a_byte_of_another_encoding_does_not_lose_the_rest() {
    let whole = serde_json::to_string(&full_receipt()).unwrap();
    let mut odd = whole.clone().into_bytes();
    odd[whole.find("aaa-1").unwrap()] = 0xff;
    let read = Event::from_json(&odd).unwrap();
    let receipt = read.receipt().unwrap();
    let expected = Event::from_json(whole.as_bytes()).unwrap();
    let expected = expected.receipt().unwrap();
    assert_eq!(receipt.client_message_id(), Some("\u{fffd}aa-1"));
    assert_eq!(receipt.umid(), expected.umid());
    assert_eq!(receipt.state(), expected.state());
}

#[test]
fn a_mark_of_the_encoding_is_passed_over() {
    let inbound = json!({"eventType": "inbound_message_received"}).to_string();
    for body in [full_receipt().to_string(), inbound.clone()] {
        let marked = Event::from_json(format!("\u{feff}{body}").as_bytes()).unwrap();
        let plain = Event::from_json(body.as_bytes()).unwrap();
        assert_eq!(marked.receipt(), plain.receipt());
        assert_eq!(marked.to_string(), plain.to_string());
    }
    let marked = Event::from_json(format!("\u{feff}{inbound}").as_bytes()).unwrap();
    let Event::Other(event) = marked else {
        panic!("{marked}");
    };
    assert_eq!(event.body, inbound);
    // One, at the start.
    for body in ["\u{feff}\u{feff}{}", "{}\u{feff}"] {
        assert_eq!(unreadable(body).status(), 400);
    }
}

#[test]
fn half_of_a_character_does_not_lose_the_rest() {
    let posted = with("/payload/status/errorMessage", "HERE".into()).to_string();
    for (written, text) in [
        (r"cut \ud83d", "cut \u{fffd}"),
        (r"\ud83d and more", "\u{fffd} and more"),
        (r"\udfab", "\u{fffd}"),
        (r"\uDE00\uD83D", "\u{fffd}\u{fffd}"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\ud83d\n", "\u{fffd}\n"),
        (r"\\ud83d \ud83d", "\\ud83d \u{fffd}"),
        (r"\\\ud83d", "\\\u{fffd}"),
        ("\u{1f600} \\ud83d\u{e4}", "\u{1f600} \u{fffd}\u{e4}"),
        (r"\\ \/ \u0041 \ude00", "\\ / A \u{fffd}"),
    ] {
        let body = posted.replace("HERE", written);
        let event = Event::from_json(body.as_bytes()).unwrap();
        let receipt = event.receipt().unwrap();
        assert_eq!(receipt.umid(), &UMID, "{written}");
        assert_eq!(receipt.reason(), Some(text), "{written}");
    }
    // What is not JSON for another reason stays so.
    for body in [r#"{"a": "\ud83d"#, r#"{"a": "\ud83"}"#, r#"{"a": "\ud83d" 1}"#, r#"{"a\"#] {
        assert_eq!(unreadable(body).status(), 400, "{body}");
    }
}

#[test]
fn names_that_mean_something_to_the_reader_of_json_are_names() {
    let posted = r#"{"$serde_json::private::RawValue": "[1]"}"#;
    let Ok(Event::Other(event)) = Event::from_json(posted.as_bytes()) else {
        panic!("no event");
    };
    assert_eq!(event.body, posted);
}

#[test]
fn what_is_no_json() {
    let whole = serde_json::to_string_pretty(&full_receipt()).unwrap();
    let cut = &whole[..whole.len() / 2];
    let twice = format!("{whole}{whole}");
    let unclosed = "[".repeat(100_000);
    let bodies: [(&[u8], usize); 7] = [
        (b"", 1),
        (b" \n\t", 2),
        (b"<html><body>Bad gateway</body></html>", 1),
        (cut.as_bytes(), cut.lines().count()),
        (twice.as_bytes(), whole.lines().count()),
        (b"\xff\xfe{\0}\0", 1),
        (unclosed.as_bytes(), 1),
    ];
    for (body, at_line) in bodies {
        let error = unreadable(body);
        let EventProblem::NotJson { line, column } = *error.problem() else {
            panic!("{error:?}");
        };
        assert_eq!(line, at_line, "{error}");
        assert_eq!(
            error.to_string(),
            format!("what was posted cannot be read: it is not JSON, line {line}, column {column}")
        );
        assert_eq!(error.status(), 400);
        assert_eq!(error.body(), &body[..body.len().min(64 * 1024)]);
        assert_eq!(error.field(), None);
    }
}

#[test]
fn a_list_is_never_taken_for_an_object() {
    // As a derived reader would take it: every member, in the order of their names.
    let listed = |object: &Value| {
        let mut members: Vec<_> = object.as_object().unwrap().iter().collect();
        members.sort_by_key(|(name, _)| *name);
        members.into_iter().map(|(_, value)| value).cloned().collect::<Value>()
    };
    let listed_at = |place: &str| with(place, listed(full_receipt().pointer(place).unwrap()));
    for place in ["/payload", "/payload/status"] {
        let error = unreadable(listed_at(place).to_string());
        assert_eq!(error.field(), Some(&*place[1..].replace('/', ".")));
    }
    assert_eq!(read(&listed_at("/payload/user")).payload.unwrap().user, None);
    let error = unreadable(listed(&full_receipt()).to_string());
    assert_eq!(error.problem(), &EventProblem::NotAnObject { found: "an array" });
}

#[test]
fn json_that_is_no_object() {
    for (body, what) in [
        ("[]", "an array"),
        (r#"[{"eventType": "x"}]"#, "an array"),
        (r#""+6591234567""#, "a string"),
        ("6591234567", "a number"),
        ("null", "null"),
        (" true ", "a boolean"),
    ] {
        let error = unreadable(body);
        assert_eq!(error.problem(), &EventProblem::NotAnObject { found: what }, "{body}");
        assert_eq!(
            error.to_string(),
            format!("what was posted cannot be read: {what} where an object is due")
        );
        assert_eq!(error.status(), 200);
        assert_eq!(error.body(), body.as_bytes());
        assert_eq!(error.field(), None);
        assert_no_secrets(&printed(&error));
    }
}

#[test]
fn a_receipt_without_what_it_needs_names_it_and_is_kept() {
    let gone = "missing";
    let mut cases = Vec::new();
    for (place, odd) in [
        (
            "/payload",
            vec![
                (None, gone),
                (Some(Value::Null), gone),
                (Some(json!("x")), "a string"),
                (Some(json!([1])), "an array"),
                (Some(json!(1)), "a number"),
                (Some(json!(true)), "a boolean"),
            ],
        ),
        (
            "/payload/umid",
            vec![
                (None, gone),
                (Some(Value::Null), gone),
                (Some(json!("")), gone),
                (Some(json!([UMID])), "an array"),
                (Some(json!({"id": UMID})), "an object"),
            ],
        ),
        (
            "/payload/status",
            vec![
                (None, gone),
                (Some(Value::Null), gone),
                (Some(json!("delivered")), "a string"),
                (Some(json!([{"state": "sent"}])), "an array"),
            ],
        ),
        (
            "/payload/status/state",
            vec![
                (None, gone),
                (Some(Value::Null), gone),
                (Some(json!("")), gone),
                (Some(json!(["sent"])), "an array"),
                (Some(json!({})), "an object"),
            ],
        ),
    ] {
        for (value, found) in odd {
            let mut sent = full_receipt();
            put(&mut sent, place, value);
            cases.push((sent, place[1..].replace('/', "."), found));
        }
    }
    for (mut sent, field, found) in cases {
        // Neither version nor channel make a difference.
        for channel in [json!("LineNotification"), json!("sms"), Value::Null] {
            if sent["payload"].is_object() {
                sent["payload"]["channel"] = channel;
            }
            let body = serde_json::to_vec_pretty(&sent).unwrap();
            let error = unreadable(&body);
            assert_eq!(error.field(), Some(field.as_str()), "{sent}");
            let EventProblem::Receipt { field: named, found: is } = *error.problem() else {
                panic!("{error:?}");
            };
            assert_eq!((named, is), (field.as_str(), found));
            assert_eq!(
                error.to_string(),
                format!(
                    "what was posted cannot be read: a delivery receipt without what it needs: \
                     {field} is {found}"
                )
            );
            assert_eq!(error.status(), 200);
            assert_eq!(error.body(), body);
        }
    }
    // What looks like a receipt without saying that it is one.
    let error = unreadable(r#"{"payload": {"umid": null, "status": {"state": "sent"}}}"#);
    assert_eq!(error.field(), Some("payload.umid"));
    // Of several, one.
    let error = unreadable(with("/payload", json!({})).to_string());
    assert!(matches!(error.field(), Some("payload.umid" | "payload.status")));
}

#[test]
fn the_body_of_what_cannot_be_read_is_kept_up_to_a_bound() {
    let kept = 64 * 1024;
    let mut sent = with("/payload/umid", Value::Null);
    for bytes in [kept - 1, kept, kept + 1, MAX_EVENT_BYTES] {
        sent["padding"] = "".into();
        let padding = bytes - serde_json::to_vec(&sent).unwrap().len();
        sent["padding"] = "x".repeat(padding).into();
        let body = serde_json::to_vec(&sent).unwrap();
        assert_eq!(body.len(), bytes);
        let error = unreadable(&body);
        assert_eq!(error.body(), &body[..bytes.min(kept)]);
        assert!(format!("{error:?}").contains(&format!("{} bytes", bytes.min(kept))));
    }
}

#[test]
fn what_is_too_large() {
    let mut body = serde_json::to_vec(&full_receipt()).unwrap();
    body.resize(MAX_EVENT_BYTES, b' ');
    let event = Event::from_json(&body).unwrap();
    assert!(matches!(event, Event::Receipt(_)));

    body.push(b' ');
    let error = unreadable(&body);
    assert_eq!(error.problem(), &EventProblem::TooLarge { found: 262_145, max: 262_144 });
    assert_eq!(error.to_string(), "what was posted cannot be read: 262145 bytes, at most 262144");
    assert_eq!(error.status(), 413);
    assert_eq!(error.body(), &body[..64 * 1024]);
    assert_eq!(error.field(), None);
}

#[test]
fn a_large_event_is_read_in_spite_of_an_odd_detail() {
    let mut sent = with("/description", json!(["odd"]));
    sent["payload"]["new"] = vec!["x".repeat(1000); 200].into();
    let mut expected = full_receipt();
    put(&mut expected, "/description", None);
    assert_eq!(serde_json::to_value(read(&sent)).unwrap(), expected);
}

#[test]
fn json_that_cannot_be_taken_in() {
    let nested = |depth: usize| {
        let list = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let event = with("/description", "HERE".into()).to_string();
        event.replace(r#""HERE""#, &list)
    };
    assert!(Event::from_json(nested(126).as_bytes()).is_ok());
    let at_the_top =
        |open: &str, close: &str| format!("{}null{}", open.repeat(100_000), close.repeat(100_000));
    let objects = format!("{}null{}", r#"{"":"#.repeat(40_000), "}".repeat(40_000));
    let number = with("/description", 17.into()).to_string();
    for body in [
        nested(127),
        nested(128),
        nested(100_000),
        at_the_top("[", "]"),
        objects,
        number.replace("17", "1e999"),
        number.replace("17", "-1e999"),
        number.replace("17", &"9".repeat(400)),
    ] {
        let error = unreadable(&body);
        let EventProblem::BeyondLimits { line: 1, column } = *error.problem() else {
            panic!("{error:?}");
        };
        assert_eq!(
            error.to_string(),
            format!(
                "what was posted cannot be read: it is JSON nested too deep, or with too large a \
                 number, line 1, column {column}"
            )
        );
        assert_eq!(error.status(), 200);
        assert_eq!(error.field(), None);
        let kept = body.len().min(64 * 1024);
        assert_eq!(error.body(), &body.as_bytes()[..kept]);
    }
    // A number that is small beyond limits is 0.
    assert!(Event::from_json(number.replace("17", "1e-999").as_bytes()).is_ok());
}

#[test]
fn receipt_codes_are_a_list_of_their_own() {
    use ReceiptErrorCode as Code;
    let table = [
        (1, Code::AbsentSubscriber, "absent"),
        (2, Code::Content, "content"),
        (3, Code::DataMissing, "missing"),
        (9, Code::EquipmentProtocol, "equipment"),
        (11, Code::Flooding, "many"),
        (14, Code::Internal, "platform"),
        (15, Code::InvalidDestination, "destination"),
        (18, Code::InvalidParameter, "parameter"),
        (23, Code::Connection, "connection"),
        (25, Code::Aborted, "aborted"),
        (29, Code::Phone, "phone"),
        (36, Code::Expired, "expired"),
        (41, Code::Rejected, "rejected"),
        (42, Code::NoCredit, "credit"),
        (43, Code::SpamFilter, "spam"),
        (46, Code::NotReachable, "reached"),
        (57, Code::Unknown, "unknown"),
        (61, Code::SessionExpired, "session"),
    ];
    let known: Vec<_> = Code::KNOWN.iter().map(|code| code.value()).collect();
    let listed = table.iter().map(|(number, _, _)| *number);
    assert_eq!(known, [0].into_iter().chain(listed).collect::<Vec<_>>());

    let coded = |code: Value, message: Value| {
        let mut sent = full_receipt();
        sent["payload"]["status"]["errorCode"] = code;
        sent["payload"]["status"]["errorMessage"] = message;
        read(&sent)
    };
    for (number, code, word) in table {
        let receipt = coded(number.into(), Value::Null);
        assert_eq!(receipt.error_code(), Some(code));
        assert!(!matches!(code, Code::Other(_)));
        let reason = receipt.reason().unwrap();
        assert!(reason.to_lowercase().contains(word), "{number}: {reason}");
        assert!(reason.ends_with('.'), "{number}: {reason}");
        for silent in ["", " ", "\t\n"] {
            assert_eq!(coded(number.into(), silent.into()).reason(), Some(reason));
        }
        let told = coded(number.into(), "In the platform's words".into());
        assert_eq!(told.reason(), Some("In the platform's words"));
        assert_eq!(told.error_code(), Some(code));
    }

    for none in [json!(0), json!("0"), Value::Null] {
        let receipt = coded(none.clone(), "".into());
        assert_eq!((receipt.error_code(), receipt.reason()), (None, None));
        let told = coded(none, "Still something".into());
        assert_eq!(told.error_code(), None);
        assert_eq!(told.reason(), Some("Still something"));
    }

    // Numbers of the API, which say something else there, and of other channels.
    for number in [1002, 3038, 1200, 429, 1000, 1054, 2000, 2025, -1, 8, i64::MAX] {
        let receipt = coded(number.into(), Value::Null);
        assert!(matches!(receipt.error_code(), Some(Code::Other(it)) if it == number));
        assert_eq!(receipt.reason(), None);
    }
    assert_eq!(ErrorCode::from(1002), ErrorCode::InvalidMsisdn, "which is no code of a receipt");
}

#[test]
fn a_stage_for_every_state_that_is_known() {
    for state in MessageState::KNOWN {
        let stage = match state.as_str() {
            "unknown" | "error" => Stage::Unknown,
            "queued" | "accepted" | "ok" => Stage::Accepted,
            "sent" => Stage::Sent,
            "rejected" | "failed" => Stage::Rejected,
            "undelivered" => Stage::Undelivered,
            "delivered" | "read" => Stage::Delivered,
            new => panic!("{new} is new: say how far a message has come that is in it"),
        };
        assert_eq!(state.stage(), stage, "{state}");
        let receipt = read(&with("/payload/status/state", state.as_str().into()));
        assert_eq!(receipt.stage(), stage, "{state}");
    }
    assert_eq!(MessageState::KNOWN.len(), 11);
    assert_eq!(MessageState::from("teleported").stage(), Stage::Unknown);

    let names = ["unknown", "accepted", "sent", "rejected", "undelivered", "delivered"];
    assert!(Stage::ALL.is_sorted());
    assert_eq!(Stage::ALL.map(Stage::as_str), names);
    assert_eq!(Stage::ALL.map(|stage| stage.to_string()), names);
    for (stage, name) in Stage::ALL.into_iter().zip(names) {
        assert_eq!(serde_json::to_value(stage).unwrap(), name);
        assert_eq!(serde_json::from_value::<Stage>(name.into()).unwrap(), stage);
    }
    assert_eq!(Stage::default(), Stage::Unknown);
    assert_eq!(Stage::ALL.map(Stage::is_final), [false, false, false, true, true, true]);
}

#[test]
fn no_phone_number_is_printed_wherever_it_stands() {
    let forms = [
        NUMBER,
        &NUMBER[1..],
        "91234567",
        "+65 9123 4567",
        "(65) 9123-4567",
        "No route to +6591234567, sorry",
        "lon-6591234567-1",
        "６５９１２３４５６７",
    ];
    let hidden = |text: &str| {
        assert_no_secrets(text);
        for part in ["9123", "4567", "９１２３"] {
            assert!(!text.contains(part), "{part} is in {text}");
        }
    };
    let mut places: Vec<_> = members()
        .into_iter()
        .filter(|(_, kind, _)| kind == "string")
        .map(|(place, _, _)| place)
        .collect();
    assert!(places.len() >= 15);
    places.push("/extra".into());
    places.push("/payload/user/extra".into());
    for form in forms {
        for place in &places {
            // The caller's own ids are printed whole.
            if !OWN_IDS.contains(&place.as_str()) {
                let event = event(&with(place, form.into()));
                hidden(&format!("{event}"));
                hidden(&format!("{event:?}"));
                hidden(&format!("{event:#?}"));
            }
            // A place that another event has it at.
            let mut other = with(place, form.into());
            if place != "/eventType" {
                other["eventType"] = "inbound_message_received".into();
            }
            let other = self::other(&other);
            hidden(&format!("{other:?} {other:#?}"));
        }
        let event_type = json!({"namespace": form, "eventType": form, "text": form});
        let event = event(&event_type);
        hidden(&format!("{event} {event:?} {event:#?}"));
        for body in [
            form.to_owned(),
            format!("{{\"a\": \"{form}\""),
            format!("{{\"a\": \"{form}\" 1}}"),
            format!("\"{form}\""),
            format!("{{\"a\": \"{form}\", \"b\": 1e999}}"),
            with("/payload/umid", json!([form])).to_string(),
            with("/payload/umid", json!({ form: form })).to_string(),
            with("/payload", json!({ form: form })).to_string(),
            with("/payload", form.into()).to_string(),
            with("/payload/status", form.into()).to_string(),
            with("/payload/status/state", json!([form])).to_string(),
            form.repeat(MAX_EVENT_BYTES),
        ] {
            let Err(error) = Event::from_json(body.as_bytes()) else {
                panic!("{body}");
            };
            hidden(&printed(&error));
            hidden(&format!("{:?}", error.problem()));
        }
    }
    // As a code it is a number.
    for form in [json!(&NUMBER[1..]), json!(6_591_234_567_i64)] {
        let event = event(&with("/payload/status/errorCode", form));
        hidden(&format!("{event} {event:?} {event:#?}"));
        let code = event.receipt().unwrap().error_code().unwrap();
        assert_eq!(code.value(), 6_591_234_567);
    }
    // In version 8 it stands twice.
    let mut sent = version_8();
    sent["payload"]["user"] = json!({"msisdn": NUMBER, "channelUserId": &NUMBER[1..]});
    let event = event(&sent);
    hidden(&format!("{event} {event:?} {event:#?}"));
    let user = event.receipt().unwrap().payload.as_ref().unwrap().user.as_ref().unwrap();
    assert_eq!(user.channel_user_id.as_deref(), Some(&NUMBER[1..]));
}

#[test]
fn ids_of_the_caller_are_printed_whole() {
    for id in ["order-20261124-0001", NUMBER] {
        for place in OWN_IDS {
            let event = event(&with(place, id.into()));
            assert!(format!("{event:?}").contains(&format!("{id:?}")), "{event:?}");
        }
        let line = event(&with("/payload/clientMessageId", id.into())).to_string();
        assert!(line.contains(&format!("(clientMessageId {id:?})")), "{line}");
    }
}

#[test]
fn a_line_for_a_log_is_one_line() {
    let long = "\u{2028}".repeat(50_000);
    for odd in ["a\nb", "a\r\nb", "a\u{2028}b", "a\u{1b}[2Jb", &long] {
        for place in [
            "/payload/umid",
            "/payload/clientMessageId",
            "/payload/status/state",
            "/payload/channel",
            "/eventType",
            "/namespace",
        ] {
            let line = event(&with(place, odd.into())).to_string();
            let breaks = |letter: char| letter.is_control() || letter == '\u{2028}';
            assert!(!line.contains(breaks), "{line:?}");
            assert!(line.chars().count() <= 400, "{line}");
        }
    }
}

#[test]
fn a_receipt_is_written_as_it_was_read() {
    for sent in [version_8(), full_receipt()] {
        let receipt = read(&sent);
        let written = serde_json::to_value(&receipt).unwrap();
        assert_eq!(written, sent);
        assert_eq!(read(&written), receipt);
        let stored: DeliveryReceipt = serde_json::from_value(written).unwrap();
        assert_eq!(stored, receipt);
    }
    // Members that nobody knows are lost, what is known stays.
    let written = serde_json::to_value(read(&version_10())).unwrap();
    assert_eq!(written, with("/version", 10.into()));
}

#[test]
fn the_examples_of_the_contract_are_receipts_by_the_contract() {
    let spec = contract();
    let mut examples = Vec::new();
    let callbacks = spec
        .pointer("/paths/~1api~1v1~1subaccounts~1{subAccountId}~1lon~1batch/post/callbacks")
        .unwrap();
    for expressions in callbacks.as_object().unwrap().values() {
        for path in expressions.as_object().unwrap().values() {
            examples.push(&path["post"]["requestBody"]["content"]["application/json"]["example"]);
        }
    }
    assert_eq!(examples.len(), 1);
    for example in examples {
        assert_eq!(schema_violations(example), Vec::<String>::new());
        let receipt = read(example);
        assert_eq!(&serde_json::to_value(&receipt).unwrap(), example);
        assert_eq!(receipt.stage(), Stage::Delivered);
        assert_eq!(receipt.client_message_id(), Some("aaa-1"));
    }
}

#[test]
fn what_is_read_is_a_receipt_by_the_contract_which_refuses_what_is_not() {
    for sent in [version_8(), full_receipt(), version_10()] {
        assert_eq!(schema_violations(&sent), Vec::<String>::new());
        let written = serde_json::to_value(read(&sent)).unwrap();
        assert_eq!(schema_violations(&written), Vec::<String>::new());
    }
    for (place, kind, required) in members() {
        let mut sent = full_receipt();
        put(&mut sent, &place, None);
        assert_eq!(schema_violations(&sent).is_empty(), !required, "{place}");
        assert_eq!(type_violations(&sent), Vec::<String>::new(), "{place}");
        let odd = with(&place, json!([kind]));
        assert!(!schema_violations(&odd).is_empty(), "{place}");
        assert!(!type_violations(&odd).is_empty(), "{place}");
    }
}
