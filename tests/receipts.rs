//! Parses the events that the platform posts to a callback URL, malformed ones included.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use lon_batch::receipt::{DeliveryReceipt, Event, EventError, MAX_EVENT_BYTES, OtherEvent, Stage};
use lon_batch::types::{
    Channel, ErrorCode, EventType, MessageState, Namespace, ReceiptErrorCode, StatusDetail,
};
use serde_json::{Value, json};

use crate::common::receipt::{
    UMID, contract, full_receipt, members, put, schema_violations, type_violations, with, without,
};
use crate::common::{NUMBER, assert_no_secrets, printed};

/// Ids of the caller. Logs do not mask them.
const CLIENT_IDS: [&str; 2] = ["/payload/clientMessageId", "/payload/clientBatchId"];

/// The members that every receipt needs.
const REQUIRED: [&str; 4] =
    ["/payload", "/payload/umid", "/payload/status", "/payload/status/state"];

/// A receipt of version 8, which has no `version`.
fn version_8() -> Value {
    let mut event = without("/version");
    event["payload"]["user"]["channelUserId"] = "6500000000".into();
    event
}

/// A receipt of a future version, with new members everywhere.
fn version_10() -> Value {
    let mut event = with("/version", 10.into());
    event["tenant"] = json!({"id": [1, null, {}]});
    event["payload"]["price"] = json!({"total": 0.014, "currency": "EUR"});
    event["payload"]["user"]["lineId"] = Value::Null;
    event["payload"]["status"]["tries"] = json!([{"state": "sent"}]);
    event
}

fn event(value: &Value) -> Event {
    Event::from_json(value.to_string().as_bytes()).unwrap()
}

/// Parses a receipt of a LON message.
fn receipt(value: &Value) -> DeliveryReceipt {
    match event(value) {
        Event::Receipt(receipt) => *receipt,
        other => panic!("{other:?}"),
    }
}

fn other(body: impl AsRef<[u8]>) -> OtherEvent {
    match Event::from_json(body.as_ref()).unwrap() {
        Event::Other(event) => event,
        other => panic!("{other:?}"),
    }
}

fn error(body: impl AsRef<[u8]>) -> EventError {
    Event::from_json(body.as_ref()).unwrap_err()
}

/// Parses a receipt of any channel, and writes it again.
fn rewritten(value: &Value) -> Value {
    let event = event(value);
    serde_json::to_value(event.receipt().unwrap_or_else(|| panic!("{value}"))).unwrap()
}

#[test]
fn every_lon_state_and_detail_parses_in_every_version() {
    let statuses = "queued sent rejected undelivered undelivered/rejected_by_operator \
        undelivered/undelivered_to_recipient delivered delivered/delivered_to_operator \
        delivered/delivered_to_carrier delivered/delivered_to_recipient";
    for (mut sent, version, channel_user_id) in [
        (version_8(), None, "6500000000"),
        (full_receipt(), Some(9), "U1"),
        (version_10(), Some(10), "U1"),
    ] {
        let read = receipt(&sent);
        assert!(read.is_lon());
        assert_eq!(read.version, version);
        assert_eq!(read.umid(), &UMID);
        assert_eq!(read.client_message_id(), Some("aaa-1"));
        assert_eq!(read.client_batch_id(), Some("aaa_batch"));
        assert_eq!(read.timestamp().unwrap(), &"2020-01-04T08:20:02.31Z");
        assert_eq!(read.error_code(), Some(ReceiptErrorCode::AbsentSubscriber));
        assert_eq!(read.namespace, Some(Namespace::ChatApps));
        assert_eq!(read.event_type, Some(EventType::OutboundMessageStatusChanged));
        let payload = read.payload.unwrap();
        assert_eq!(payload.batch_id.as_deref(), Some("cf3cbbf5-3e2d-ea11-815d-020897df5459"));
        assert_eq!(payload.sub_account_id.as_deref(), Some("my-subaccount"));
        let user = payload.user.unwrap();
        assert_eq!(user.msisdn.as_deref(), Some("+6500000000"));
        assert_eq!(user.country.as_deref(), Some("SG"));
        assert_eq!(user.channel_user_id.as_deref(), Some(channel_user_id));

        for status in statuses.split_whitespace() {
            let (state, detail) = match status.split_once('/') {
                Some((state, detail)) => (state, Some(detail)),
                None => (status, None),
            };
            sent["payload"]["status"]["state"] = state.into();
            put(&mut sent, "/payload/status/detail", detail.map(Value::from));
            let read = receipt(&sent);
            // An unlisted value compares equal to a listed one with the same text.
            assert!(!matches!(read.state(), MessageState::Other(_)), "{state}");
            assert!(!matches!(read.detail(), Some(StatusDetail::Other(_))), "{detail:?}");
            assert_eq!(read.state().as_str(), state);
            assert_eq!(read.detail().map(StatusDetail::as_str), detail);
            assert_eq!(read.stage().map(Stage::as_str), Some(state));
        }
    }
}

#[test]
fn unlisted_states_details_and_codes_are_kept() {
    let status = json!({"state": "teleported", "detail": "by_beam", "errorCode": 77});
    let sent = with("/payload/status", status);
    let read = receipt(&sent);
    assert_eq!(read.state(), &MessageState::Other("teleported".into()));
    assert_eq!(read.detail(), Some(&StatusDetail::Other("by_beam".into())));
    assert_eq!(read.error_code(), Some(ReceiptErrorCode::Other(77)));
    assert_eq!((read.stage(), read.reason()), (None, None));
    assert_eq!(rewritten(&sent), sent);
}

#[test]
fn optional_members_may_be_missing_or_malformed() {
    for (place, kind, _) in members() {
        assert!(full_receipt().pointer(&place).is_some(), "add {place} to the full receipt");
        if REQUIRED.contains(&&*place) {
            continue;
        }
        let malformed = match &*kind {
            "string" => json!([null, [], {}, ["text"], {"a": "text"}]),
            "integer" => json!([
                null, "nine", "", 1.5, 1e300, u64::MAX, "99999999999999999999", true, [9], {"a": 9}
            ]),
            "object" => json!([null, "text", 5, false, [{"a": 1}]]),
            kind => panic!("{place} is of type {kind}: add malformed values of it"),
        };
        let malformed = malformed.as_array().unwrap().iter();
        let expected = without(&place);
        for sent in malformed.map(|it| with(&place, it.clone())).chain([expected.clone()]) {
            assert_eq!(rewritten(&sent), expected, "{sent}");
            let is_lon = matches!(event(&sent), Event::Receipt(_));
            assert_eq!(is_lon, place != "/payload/channel", "{sent}");
        }
    }

    let minimal = json!({"payload": {"umid": "1", "status": {"state": "sent"}}});
    assert_eq!(rewritten(&minimal), minimal);
    let event = event(&minimal);
    let read = event.receipt().unwrap();
    assert_eq!((read.client_message_id(), read.client_batch_id()), (None, None));
    assert_eq!((read.detail(), read.timestamp()), (None, None));
    assert_eq!((read.error_code(), read.reason()), (None, None));
    assert!(!read.is_lon());
}

#[test]
fn numbers_and_booleans_become_text_and_any_text_is_kept() {
    let long = "x".repeat(1000);
    let texts = ["", " ", "0", "not-a-uuid", "D03CBBF5", "ä/漢字 🎫", &long];
    let converted = [
        (json!(5), "5"),
        (json!(-5), "-5"),
        (json!(1.5), "1.5"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(true), "true"),
    ];
    for (value, text) in converted.into_iter().chain(texts.map(|text| (json!(text), text))) {
        for (place, kind, _) in members() {
            let is_missing = text.is_empty() && REQUIRED.contains(&&*place);
            if kind == "string" && !is_missing && place != "/eventType" {
                assert_eq!(rewritten(&with(&place, value.clone())), with(&place, text.into()));
            }
        }
    }
    for place in ["/version", "/payload/status/errorCode"] {
        assert_eq!(rewritten(&with(place, "42".into())), with(place, 42.into()));
        assert_eq!(rewritten(&with(place, " 42 ".into())), with(place, 42.into()));
        // With a `+` it is a phone number.
        assert_eq!(rewritten(&with(place, "+42".into())), without(place));
    }
    assert_eq!(receipt(&with(CLIENT_IDS[0], "".into())).client_message_id(), None);
    assert_eq!(receipt(&with(CLIENT_IDS[1], "".into())).client_batch_id(), None);
}

#[test]
fn an_event_type_that_is_not_text_is_ignored() {
    for value in [json!(5), json!(true), json!(null), json!([]), json!({})] {
        assert_eq!(rewritten(&with("/eventType", value.clone())), without("/eventType"));
        let event = json!({"eventType": value, "payload": {"umid": "a"}});
        assert_eq!(other(event.to_string()).event_type, None);
    }
}

#[test]
fn timestamps_keep_their_text_and_convert_if_they_are_times() {
    let at = |seconds, nanos| Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
    for (text, time) in [
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
        let read = receipt(&with("/payload/status/timestamp", text.into()));
        assert_eq!(read.timestamp().unwrap(), &text);
        assert_eq!(read.timestamp().unwrap().to_system_time(), time, "{text}");
    }
}

#[test]
fn channel_namespace_and_event_type_ignore_case() {
    for change in [str::to_owned, str::to_ascii_uppercase, str::to_ascii_lowercase] {
        let mut sent = with("/payload/channel", change("LineNotification").into());
        sent["namespace"] = change("ChatApps").into();
        sent["eventType"] = change("outbound_message_Status_changed").into();
        let read = receipt(&sent);
        assert!(matches!(read.channel(), Some(Channel::LineNotification)));
        assert!(matches!(read.namespace, Some(Namespace::ChatApps)));
        assert!(matches!(read.event_type, Some(EventType::OutboundMessageStatusChanged)));
    }
    let inbound = other(r#"{"eventType": "INBOUND_message_received"}"#);
    assert!(matches!(inbound.event_type, Some(EventType::InboundMessageReceived)));
    assert_eq!(Channel::Other("RCS".into()), Channel::from("rcs"));
    // Only ASCII letters have a case.
    assert_ne!(Channel::from("é"), Channel::from("É"));
}

#[test]
fn receipts_of_other_channels_are_separate_from_lon() {
    for (channel, known) in [
        ("sms", Channel::Sms),
        ("SMS", Channel::Sms),
        ("WhatsApp", Channel::WhatsApp),
        ("line", Channel::Line),
        ("LINE", Channel::Line),
        ("Viber", Channel::Viber),
        ("Telepathy", Channel::Other("Telepathy".into())),
        ("Line Notification", Channel::Other("Line Notification".into())),
        ("", Channel::Other("".into())),
    ] {
        let sent = with("/payload/channel", channel.into());
        let event = event(&sent);
        let Event::OtherChannel(other) = &event else {
            panic!("{channel}: {event:?}");
        };
        assert!(!other.receipt.is_lon());
        assert_eq!(event.receipt(), Some(&other.receipt));
        assert_eq!(other.receipt.client_message_id(), Some("aaa-1"));
        let found = other.receipt.channel().unwrap();
        assert_eq!(found, &known);
        assert_eq!(matches!(found, Channel::Other(_)), matches!(known, Channel::Other(_)));
        assert_eq!(other.body, sent.to_string());
    }
}

#[test]
fn a_receipt_of_another_channel_keeps_the_members_of_that_channel() {
    let sms = json!({
        "namespace": "SMS", "eventType": "outbound_message_status_changed",
        "payload": {
            "umid": UMID, "batchId": null, "clientMessageId": "aaa-1",
            "source": "Info", "destination": NUMBER,
            "status": {"state": "delivered", "timestamp": "2020-01-04T08:20:02Z"},
            "price": {"total": 0.0375, "perSms": 0.0375, "currency": "EUR"}, "smsCount": 1,
        },
    });
    let mut malformed = sms.clone();
    malformed["description"] = json!(["malformed"]);
    for sent in [sms, malformed] {
        // The body has no byte order mark.
        let event = Event::from_json(format!("\u{feff}{sent}").as_bytes()).unwrap();
        assert_no_secrets(&format!("{event} {event:?} {event:#?}"));
        let Event::OtherChannel(other) = event else {
            panic!("{event:?}");
        };
        assert!(matches!(other.receipt.namespace, Some(Namespace::Sms)));
        assert_eq!(other.receipt.channel(), None);
        assert_eq!(other.receipt.client_message_id(), Some("aaa-1"));
        let body: Value = serde_json::from_slice(&other.body).unwrap();
        assert_eq!(body["payload"]["price"]["total"], 0.0375);
        assert_eq!(body["payload"]["smsCount"], 1);
        assert_eq!(body, sent);
    }
}

#[test]
fn events_display_in_the_words_of_the_platform() {
    let with_channel = |channel: &str| with("/payload/channel", channel.into());
    let sent = json!({
        "umid": UMID, "channel": "LineNotification", "status": {"state": "sent", "errorCode": 0}
    });
    let rest = format!(r#"{UMID} (clientMessageId "aaa-1") is undelivered, receipt code 1"#);
    for (event, expected) in [
        (full_receipt(), format!("delivery receipt: {rest}")),
        (with("/payload", sent), format!("delivery receipt: {UMID} is sent")),
        (with_channel("SMS"), format!("delivery receipt of channel sms: {rest}")),
        (with_channel("Fax"), format!("delivery receipt of channel Fax: {rest}")),
        (without("/payload/channel"), format!("delivery receipt without a channel: {rest}")),
    ] {
        assert_eq!(self::event(&event).to_string(), expected);
    }
    for (namespace, event_type, expected) in [
        (
            "CHATAPPS".into(),
            "Inbound_message_received".into(),
            "event inbound_message_received of ChatApps",
        ),
        ("Account".into(), "sub_account_created".into(), "event sub_account_created of Account"),
        (Value::Null, "ping".into(), "event ping"),
        ("ChatApps".into(), Value::Null, "event without a type of ChatApps"),
        (Value::Null, Value::Null, "event without a type"),
    ] {
        let event = event(&json!({"namespace": namespace, "eventType": event_type}));
        assert_eq!(event.to_string(), expected);
    }
}

#[test]
fn other_events_are_kept_byte_for_byte() {
    let inbound = r#"{ "payload" : {"umid":"5", "umid":"6", "user":{"msisdn":"+6500000000"},
        "content":{"text":"h\u00e4 \/"}, "n": 1.10},
        "namespace":"ChatApps" , "eventType":"inbound_message_received", "version": 9 }
        "#;
    for body in [
        inbound,
        r#"{"namespace":"Account","eventType":"sub_account_created","payload":{"id":"x"}}"#,
        "{}",
        // It has the members of a receipt, but another type.
        r#"{"eventType":"other","payload":{"umid":"a","status":{"state":"sent"}}}"#,
        // It has no type, and lacks a member of a receipt.
        r#"{"payload":{"umid":"a"}}"#,
        r#"{"payload":["umid","status"]}"#,
        // It has only a part of the old format.
        r#"{"status":"a"}"#,
        r#"{"umid":"a","status":"a","payload":{}}"#,
        r#"{"UMID":"a","Payload":{}}"#,
        r#"{"umid":"a","status":"a","namespace":"Other"}"#,
        r#"{"umid":"a","Namespace":"Other"}"#,
        // serde_json gives this name a special meaning.
        r#"{"$serde_json::private::RawValue":"[1]"}"#,
    ] {
        let event = other(body);
        assert_eq!(event.body, body);
        let sent: Value = serde_json::from_str(body).unwrap();
        assert_eq!(event.namespace.as_ref().map(Namespace::as_str), sent["namespace"].as_str());
        assert_eq!(event.event_type.as_ref().map(EventType::as_str), sent["eventType"].as_str());
        assert!(Event::Other(event).receipt().is_none());
    }
}

#[test]
fn flat_events_of_the_old_format_are_recognized() {
    let delivery = json!({
        "eventType": "outboundMessageDelivery", "umid": "a", "channel": "line",
        "user": {"msisdn": NUMBER, "channelUserId": &NUMBER[1..]},
        "status": "DELIVERED TO DEVICE", "timestamp": "2018-09-01T07:11:02Z", "version": 4,
    });
    let inbound = json!({
        "eventType": "inboundMessage", "umid": "a", "channel": "line",
        "user": {"msisdn": NUMBER, "channelUserId": &NUMBER[1..]},
        "content": {"text": "Hello"}, "timestamp": "2018-09-01T07:11:02Z", "version": 4,
    });
    let sms_delivery = json!({"UMID": "a", "Status": "DELIVERED", "Destination": NUMBER});
    let sms_inbound =
        json!({"UMID": "a", "Source": NUMBER, "Destination": "Info", "Payload": "Hello"});
    for old in [delivery, inbound, sms_delivery, sms_inbound, json!({"umid": "a"})] {
        let event = event(&old);
        assert_no_secrets(&format!("{event} {event:?} {event:#?}"));
        assert!(event.receipt().is_none());
        for part in [
            "old flat format",
            "delete the old webhook and create a new one",
            "https://developer.8x8.com/connect/docs/webhook-migration-guide",
        ] {
            assert!(event.to_string().contains(part), "{part}: {event}");
        }
        let Event::OldFormat(kept) = event else {
            panic!("{event:?}");
        };
        assert_eq!(kept.body, old.to_string());
        assert_eq!(kept.event_type.as_ref().map(EventType::as_str), old["eventType"].as_str());
    }
}

#[test]
fn invalid_utf8_is_replaced() {
    let mut body = full_receipt().to_string().into_bytes();
    let at = body.windows(5).position(|it| it == b"aaa-1").unwrap();
    body[at] = 0xff;
    let event = Event::from_json(&body).unwrap();
    let read = event.receipt().unwrap();
    assert_eq!(read, &receipt(&with(CLIENT_IDS[0], "\u{fffd}aa-1".into())));
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let marked = Event::from_json(format!("\u{feff}{}", full_receipt()).as_bytes()).unwrap();
    assert_eq!(marked.receipt(), Some(&receipt(&full_receipt())));
    assert_eq!(other("\u{feff}{}").body, "{}");
    // Only one, at the start.
    for body in ["\u{feff}\u{feff}{}", "{}\u{feff}"] {
        assert_eq!(error(body).status(), 400);
    }
}

/// The full receipt as text, with JSON that `Value` cannot represent.
fn body_with(place: &str, json: &str) -> String {
    with(place, "HERE".into()).to_string().replace(r#""HERE""#, json)
}

#[test]
fn values_beyond_the_parser_are_harmless_only_in_unknown_members() {
    let deep = format!("{}null{}", r#"{"":"#.repeat(20_000), "}".repeat(20_000));
    for json in ["[1e999]", "-1e999", &"9".repeat(400), &deep] {
        for place in ["/new", "/payload/new", "/payload/user/new", "/payload/status/new"] {
            let event = Event::from_json(body_with(place, json).as_bytes()).unwrap();
            assert_eq!(event.receipt(), Some(&receipt(&full_receipt())));
        }
        for place in ["/description", CLIENT_IDS[0], "/payload/status/errorMessage"] {
            assert!(matches!(error(body_with(place, json)), EventError::NotJson { line: 1, .. }));
        }
    }
    // A number too close to 0 is 0.
    let event = Event::from_json(body_with(CLIENT_IDS[0], "1e-999").as_bytes()).unwrap();
    assert_eq!(event.receipt().unwrap().client_message_id(), Some("0"));
    let nested = |depth| body_with("/description", &("[".repeat(depth) + &"]".repeat(depth)));
    assert!(Event::from_json(nested(126).as_bytes()).is_ok());
    assert!(matches!(error(nested(127)), EventError::NotJson { line: 1, .. }));
}

#[test]
fn half_of_an_emoji_becomes_a_replacement_character() {
    for (json, text) in [
        (r"cut \ud83d", "cut \u{fffd}"),
        (r"\uDE00 and more", "\u{fffd} and more"),
        (r"\ud83d\u0041\n", "\u{fffd}A\n"),
        (r"\ud83d\ude00", "😀"),
        // Only in a body with half of one, a whole one is lost too.
        (r"\ud83d\ude00 \ud83d", "\u{fffd}\u{fffd} \u{fffd}"),
    ] {
        let body = body_with("/payload/status/errorMessage", &format!("\"{json}\""));
        let event = Event::from_json(body.as_bytes()).unwrap();
        assert_eq!(event.receipt().unwrap().reason(), Some(text), "{json}");
        let inbound = format!(r#"{{"eventType": "inbound_message_received", "text": "{json}"}}"#);
        assert!(matches!(Event::from_json(inbound.as_bytes()), Ok(Event::Other(_))), "{json}");
    }
}

#[test]
fn a_body_that_is_not_json_is_an_error() {
    let whole = serde_json::to_string_pretty(&full_receipt()).unwrap();
    let cut = &whole[..whole.len() / 2];
    let bodies: [(&[u8], usize); 9] = [
        (b"", 1),
        (b" \n\t", 2),
        (b"<html><body>Bad gateway</body></html>", 1),
        (cut.as_bytes(), cut.lines().count()),
        (&[whole.as_bytes(), whole.as_bytes()].concat(), whole.lines().count()),
        (b"\xff\xfe{\0}\0", 1),
        (br#"{"a": "\ud83"}"#, 1),
        (&b"[".repeat(100_000), 1),
        (&br#"{"":"#.repeat(40_000), 1),
    ];
    for (body, expected) in bodies {
        let error = error(body);
        let EventError::NotJson { line, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(line, expected, "{error}");
    }
}

#[test]
fn a_body_that_is_not_an_object_is_an_error() {
    for (body, found) in [
        ("[]", "an array"),
        (r#"[{"eventType": "x"}]"#, "an array"),
        (r#""text""#, "a string"),
        ("5", "a number"),
        ("null", "null"),
        (" true ", "a boolean"),
    ] {
        assert_eq!(error(body), EventError::NotAnObject { found }, "{body}");
    }
}

#[test]
fn an_array_never_parses_as_an_object() {
    // A derived type would parse from it: all members, in the order of their names.
    let array = |object: &Value| {
        let members = object.as_object().unwrap().clone();
        BTreeMap::from_iter(members).into_values().collect::<Value>()
    };
    let array_at = |place| with(place, array(full_receipt().pointer(place).unwrap()));
    for (place, field) in [("/payload", "payload"), ("/payload/status", "payload.status")] {
        let expected = EventError::Incomplete { field, found: "an array" };
        assert_eq!(error(array_at(place).to_string()), expected);
    }
    assert_eq!(receipt(&array_at("/payload/user")).payload.unwrap().user, None);
    let expected = EventError::NotAnObject { found: "an array" };
    assert_eq!(error(array(&full_receipt()).to_string()), expected);
}

#[test]
fn an_incomplete_receipt_names_the_member() {
    for (field, values) in [
        ("payload", json!([null, "x", [1], 1, true])),
        ("payload.umid", json!([null, "", [UMID], {"id": UMID}])),
        ("payload.status", json!([null, "delivered", [{"state": "sent"}]])),
        ("payload.status.state", json!([null, "", ["sent"], {}])),
    ] {
        let place = format!("/{}", field.replace('.', "/"));
        let values = values.as_array().unwrap().iter().map(|value| {
            let found = match value {
                Value::String(text) if !text.is_empty() => "a string",
                Value::Null | Value::String(_) => "missing",
                Value::Array(_) => "an array",
                Value::Object(_) => "an object",
                Value::Number(_) => "a number",
                Value::Bool(_) => "a boolean",
            };
            (with(&place, value.clone()), found)
        });
        for (mut sent, found) in values.chain([(without(&place), "missing")]) {
            for channel in ["LineNotification", "sms"] {
                if sent["payload"].is_object() {
                    sent["payload"]["channel"] = channel.into();
                }
                let expected = EventError::Incomplete { field, found };
                assert_eq!(error(sent.to_string()), expected, "{sent}");
            }
        }
    }
    // It has the members of a receipt, but no type.
    let expected = EventError::Incomplete { field: "payload.umid", found: "missing" };
    assert_eq!(error(r#"{"payload": {"umid": null, "status": {"state": "sent"}}}"#), expected);
}

#[test]
fn the_size_of_an_event_is_limited() {
    let mut body = full_receipt().to_string().into_bytes();
    body.resize(MAX_EVENT_BYTES, b' ');
    assert!(Event::from_json(&body).is_ok());
    body.push(b' ');
    assert_eq!(error(&body), EventError::TooLarge { found: 262_145 });

    // A malformed member does not lower the limit.
    let mut large = with("/description", json!(["malformed"]));
    large["payload"]["new"] = vec!["x".repeat(1000); 200].into();
    assert_eq!(rewritten(&large), without("/description"));
}

#[test]
fn every_error_has_a_text_and_a_status() {
    let no_umid = EventError::Incomplete { field: "payload.umid", found: "missing" };
    for (error, status, text) in [
        (EventError::TooLarge { found: 7 }, 413, "the event has 7 bytes, at most 262144"),
        (
            EventError::NotJson { line: 2, column: 7 },
            400,
            "the event cannot be parsed as JSON: line 2, column 7",
        ),
        (
            EventError::NotAnObject { found: "null" },
            200,
            "the event is null, expected a JSON object",
        ),
        (no_umid, 200, "the delivery receipt is incomplete: payload.umid is missing"),
    ] {
        assert_eq!((error.status().as_u16(), &*error.to_string()), (status, text));
    }
}

#[test]
fn receipt_codes_have_reasons_and_differ_from_api_codes() {
    use ReceiptErrorCode as Code;
    // The name of each code, and a word of its reason.
    let table = "1 AbsentSubscriber absent, 2 Content content, 3 DataMissing missing, \
        9 EquipmentProtocol equipment, 11 Flooding many, 14 Internal platform, \
        15 InvalidDestination destination, 18 InvalidParameter parameter, \
        23 Connection connection, 25 Aborted aborted, 29 Phone phone, 36 Expired expired, \
        41 Rejected rejected, 42 NoCredit credit, 43 SpamFilter spam, 46 NotReachable reach, \
        57 Unknown unknown, 61 SessionExpired session";
    let table: Vec<Vec<_>> = table.split(", ").map(|row| row.split(' ').collect()).collect();
    let known = Code::KNOWN.iter().map(|code| code.value().to_string());
    assert!(known.eq(["0"].into_iter().chain(table.iter().map(|row| row[0]))));

    let coded = |code: &Value, message: &str| {
        let mut sent = with("/payload/status/errorCode", code.clone());
        sent["payload"]["status"]["errorMessage"] = message.into();
        receipt(&sent)
    };
    for row in table {
        let (number, name, word) = (json!(row[0].parse::<i64>().unwrap()), row[1], row[2]);
        for message in ["", " ", "\t\n"] {
            let read = coded(&number, message);
            assert_eq!(format!("{:?}", read.error_code().unwrap()), name);
            let reason = read.reason().unwrap();
            assert!(reason.to_lowercase().contains(word), "{number}: {reason}");
            assert!(reason.ends_with('.'), "{number}: {reason}");
        }
        let read = coded(&number, "The platform's words");
        assert_eq!(format!("{:?}", read.error_code().unwrap()), name);
        assert_eq!(read.reason(), Some("The platform's words"));
    }
    for none in [json!(0), json!("0"), Value::Null] {
        for (message, reason) in
            [("", None), ("The platform's words", Some("The platform's words"))]
        {
            let read = coded(&none, message);
            assert_eq!((read.error_code(), read.reason()), (None, reason));
        }
    }
    // Codes of the API and of other channels.
    for number in [1002, 3038, 1200, 429, 1000, 1054, 2000, 2025, -1, 8, i64::MAX] {
        let read = coded(&number.into(), "");
        assert!(matches!(read.error_code(), Some(Code::Other(it)) if it == number));
        assert_eq!(read.reason(), None);
    }
    assert_eq!(ErrorCode::from(1002), ErrorCode::InvalidMsisdn);
}

#[test]
fn every_listed_state_has_the_right_stage() {
    for state in MessageState::KNOWN {
        let stage = match state.as_str() {
            "unknown" | "error" => None,
            "queued" | "accepted" | "ok" => Some(Stage::Queued),
            "sent" => Some(Stage::Sent),
            "rejected" | "failed" => Some(Stage::Rejected),
            "undelivered" => Some(Stage::Undelivered),
            "delivered" | "read" => Some(Stage::Delivered),
            new => panic!("{new} is new: add its stage"),
        };
        assert_eq!(state.stage(), stage, "{state}");
        let read = receipt(&with("/payload/status/state", state.as_str().into()));
        assert_eq!(read.stage(), stage, "{state}");
    }
    assert_eq!(MessageState::KNOWN.len(), 11);
    assert_eq!(MessageState::from("teleported").stage(), None);
}

#[test]
fn stages_are_ordered_and_have_stable_names_and_numbers() {
    let table = [
        (Stage::Queued, "queued", 10, false),
        (Stage::Sent, "sent", 20, false),
        (Stage::Rejected, "rejected", 30, true),
        (Stage::Undelivered, "undelivered", 40, true),
        (Stage::Delivered, "delivered", 50, true),
    ];
    assert_eq!(Stage::ALL, table.map(|row| row.0));
    assert!(Stage::ALL.is_sorted());
    for (stage, name, number, is_final) in table {
        assert_eq!(stage.as_str(), name);
        assert_eq!(format!("{stage:>12}"), format!("{name:>12}"));
        assert_eq!(serde_json::to_value(stage).unwrap(), name);
        assert_eq!(serde_json::from_value::<Stage>(name.into()).unwrap(), stage);
        assert_eq!(stage.number(), number);
        assert_eq!(Stage::from_number(number), Some(stage));
        assert_eq!(stage.is_final(), is_final);
    }
    for number in [i16::MIN, -10, 0, 9, 11, 60, i16::MAX] {
        assert_eq!(Stage::from_number(number), None);
    }
}

#[test]
fn no_phone_number_is_printed() {
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
    let assert_masked = |text: &str| {
        assert_no_secrets(text);
        for part in ["9123", "4567", "９１２３"] {
            assert!(!text.contains(part), "{part} is in {text}");
        }
    };
    let assert_event_masked = |value: &Value| {
        let event = event(value);
        assert_masked(&format!("{event} {event:?} {event:#?}"));
    };
    let texts = members().into_iter().filter(|(_, kind, _)| kind == "string").map(|it| it.0);
    let places: Vec<_> = texts.chain(["/extra".into(), "/payload/user/extra".into()]).collect();
    assert!(places.len() >= 17);
    for form in forms {
        for place in &places {
            let mut sent = with(place, form.into());
            if !CLIENT_IDS.contains(&&**place) {
                assert_event_masked(&sent);
            }
            if place != "/eventType" {
                sent["eventType"] = "inbound_message_received".into();
                assert_event_masked(&sent);
            }
        }
        assert_event_masked(&json!({"namespace": form, "eventType": form, "text": form}));
        for body in [
            form.to_owned(),
            format!("\"{form}\""),
            format!("{{\"a\": \"{form}\" 1}}"),
            with("/payload/umid", json!({ form: form })).to_string(),
            with("/payload/status", form.into()).to_string(),
            form.repeat(MAX_EVENT_BYTES),
        ] {
            assert_masked(&printed(&error(body)));
        }
    }
    // A code is a number, and can be a phone number too.
    for code in [json!(&NUMBER[1..]), json!(6_591_234_567_i64)] {
        let sent = with("/payload/status/errorCode", code);
        assert_event_masked(&sent);
        assert_eq!(receipt(&sent).error_code().unwrap().value(), 6_591_234_567);
    }
    // Version 8 repeats the number.
    let mut sent = version_8();
    sent["payload"]["user"] = json!({"msisdn": NUMBER, "channelUserId": &NUMBER[1..]});
    assert_event_masked(&sent);
    let user = receipt(&sent).payload.unwrap().user.unwrap();
    assert_eq!(user.channel_user_id.as_deref(), Some(&NUMBER[1..]));
}

#[test]
fn ids_of_the_caller_are_printed_whole() {
    for id in ["order-20261124-0001", NUMBER] {
        for place in CLIENT_IDS {
            let event = event(&with(place, id.into()));
            assert!(format!("{event:?}").contains(&format!("{id:?}")), "{event:?}");
        }
        let line = event(&with(CLIENT_IDS[0], id.into())).to_string();
        assert!(line.contains(&format!("(clientMessageId {id:?})")), "{line}");
    }
}

#[test]
fn an_event_displays_in_one_line_of_limited_length() {
    let long = "\u{2028}".repeat(50_000);
    let places = [
        "/payload/umid",
        CLIENT_IDS[0],
        "/payload/status/state",
        "/payload/channel",
        "/eventType",
        "/namespace",
    ];
    for text in ["a\nb", "a\r\nb", "a\u{2028}b", "a\u{1b}[2Jb", &long] {
        for place in places {
            let mut sent = with(place, text.into());
            if place == "/namespace" {
                sent["eventType"] = "ping".into();
            }
            let line = event(&sent).to_string();
            assert!(!line.contains(|it: char| it.is_control() || it == '\u{2028}'), "{line:?}");
            assert!(line.chars().count() <= 400, "{line}");
        }
    }
}

#[test]
fn a_receipt_is_written_as_it_was_read() {
    let spec = contract();
    let example = spec
        .pointer("/paths/~1api~1v1~1subaccounts~1{subAccountId}~1lon~1batch/post/callbacks")
        .and_then(|it| it.as_object()?.values().next()?.as_object()?.values().next())
        .map(|path| path["post"]["requestBody"]["content"]["application/json"]["example"].clone());
    for sent in [version_8(), full_receipt(), example.unwrap()] {
        assert_eq!(schema_violations(&sent), Vec::<String>::new());
        let read = receipt(&sent);
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written, sent);
        assert_eq!(serde_json::from_value::<DeliveryReceipt>(written).unwrap(), read);
    }
    // Unknown members are dropped.
    assert_eq!(rewritten(&version_10()), with("/version", 10.into()));
}

#[test]
fn the_schemas_of_the_tests_report_violations() {
    for (place, kind, required) in members() {
        let missing = without(&place);
        assert_eq!(schema_violations(&missing).is_empty(), !required, "{place}");
        assert_eq!(type_violations(&missing), Vec::<String>::new(), "{place}");
        let malformed = with(&place, json!([kind]));
        assert!(!schema_violations(&malformed).is_empty(), "{place}");
        assert!(!type_violations(&malformed).is_empty(), "{place}");
    }
}

#[test]
fn the_builder_makes_receipts_of_the_spec() {
    let assert_valid = |built: &DeliveryReceipt, expected: &Value| {
        let written = serde_json::to_value(built).unwrap();
        assert_eq!(&written, expected);
        assert_eq!(type_violations(&written), Vec::<String>::new());
        assert_eq!(event(&written).receipt(), Some(built));
    };
    let mut expected = full_receipt();
    expected["payload"] = json!({
        "umid": UMID,
        "subAccountId": "my-subaccount",
        "channel": "LineNotification",
        "user": {},
        "status": {"state": "sent"},
    });
    let minimal = DeliveryReceipt::builder(UMID, "sent").build();
    assert!(minimal.is_lon());
    assert_valid(&minimal, &expected);

    let built = DeliveryReceipt::builder(UMID, "undelivered")
        .client_message_id("aaa-1")
        .client_batch_id("aaa_batch")
        .channel("sms")
        .detail("undelivered_to_recipient")
        .timestamp("2020-01-04T08:20:02.31Z")
        .error(1)
        .build();
    let mut expected = with("/payload/channel", "sms".into());
    expected["payload"]["user"] = json!({});
    for place in ["batchId", "status/errorMessage"] {
        put(&mut expected, &format!("/payload/{place}"), None);
    }
    assert_valid(&built, &expected);
    assert_eq!(schema_violations(&expected), Vec::<String>::new());
}
