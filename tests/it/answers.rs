//! What is read of an answer, however odd, and how it is held against the batch.

use std::time::{Duration, SystemTime};

use lon_batch::{
    BatchResponse, Disagreement, ErrorCode, MessageState, OpaqueId, StatusDetail, Timestamp,
    Verdict,
};
use serde_json::{Value, json};

use crate::support::{assert_no_secrets, batch};

fn read(value: Value) -> BatchResponse {
    serde_json::from_value(value).unwrap()
}

fn entry(id: &str, state: &str) -> Value {
    json!({"umid": format!("umid-{id}"), "clientMessageId": id, "status": {"state": state}})
}

#[test]
fn null_and_missing_are_the_same() {
    let absent = read(json!({}));
    let null = read(json!({
        "batchId": null, "clientBatchId": null, "acceptedCount": null, "rejectedCount": null,
        "messages": null,
    }));
    assert_eq!(absent, null);
    let bare = json!({"messages": [
        {},
        {"umid": null, "clientMessageId": null, "user": null, "status": null},
        {"user": {"msisdn": null, "country": null}, "status": {
            "state": null, "detail": null, "errorCode": null, "errorMessage": null, "timestamp": null,
        }},
    ]});
    let results = read(bare);
    assert_eq!(results.results().len(), 3);
    let coded = |code: i64, text: &str| {
        let status = json!({"state": "queued", "errorCode": code, "errorMessage": text});
        read(json!({ "messages": [{ "status": status }] })).results()[0].clone()
    };
    assert_eq!(coded(0, "").verdict(), Verdict::Accepted);
    assert_eq!(coded(0, "").error_code(), None);
    assert_eq!(coded(3038, "").verdict(), Verdict::Unclear);
    assert_eq!(coded(3038, " ").reason(), ErrorCode::TemplateNotFound.reason());
    for result in results.results() {
        assert_eq!(result.verdict(), Verdict::Unclear);
        assert_eq!((result.error_code(), result.reason()), (None, None));
    }
}

#[test]
fn odd_values_decode_and_keep_their_text() {
    let sent = json!({
        "batchId": "not-a-uuid",
        "acceptedCount": -1,
        "rejectedCount": 20000,
        "futureMember": {"a": [1]},
        "messages": [{
            "umid": "cf3cbbf5-3e2d-ea11-815d-020897df5459",
            "user": {"msisdn": "+65000001", "country": "?", "channelUserId": "x"},
            "status": {
                "state": "teleported",
                "detail": "by_beam",
                "errorCode": 9999,
                "errorMessage": "",
                "timestamp": "yesterday",
                "more": true,
            },
        }],
    });
    let response = read(sent);
    let result = &response.results()[0];
    let status = result.status.as_ref().unwrap();
    assert_eq!(status.state, Some(MessageState::Other("teleported".into())));
    assert_eq!(status.detail, Some(StatusDetail::from("by_beam")));
    assert_eq!(result.error_code(), Some(ErrorCode::Other(9999)));
    assert_eq!(status.timestamp.as_ref().unwrap().as_str(), "yesterday");
    assert_eq!(status.timestamp.as_ref().unwrap().to_system_time(), None);
    let written = serde_json::to_value(&response).unwrap();
    assert_eq!(written["messages"][0]["status"]["state"], "teleported");
    assert_eq!(written["messages"][0]["status"]["errorCode"], 9999);
    assert_eq!(written["batchId"], "not-a-uuid");
    // Ids and texts of other JSON types are kept as their text.
    let other = read(json!({"batchId": 5, "messages": [{"user": {"msisdn": 6_591_234_567_u64}}]}));
    assert_eq!(other.batch_id.as_deref(), Some("5"));
    for (odd, kept) in [(json!(-5), "-5"), (json!(1.5), "1.5"), (json!(true), "true")] {
        let response = read(json!({ "batchId": odd }));
        assert_eq!(response.batch_id.as_deref(), Some(kept));
    }
    let user = other.results()[0].user.as_ref().unwrap();
    assert_eq!(user.msisdn.as_deref(), Some("6591234567"));
    assert_no_secrets(&format!("{other:?}"));
}

#[test]
fn known_words_and_codes_round_trip() {
    for state in MessageState::KNOWN {
        assert_eq!(MessageState::from(state.as_str()), *state);
        assert!(!matches!(MessageState::from(state.as_str()), MessageState::Other(_)));
    }
    let codes: Vec<_> = ErrorCode::KNOWN.iter().map(|code| code.value()).collect();
    let listed = [429, 1014, 1100, 1200, 1201, 1300, 1400, 2000, 2001, 2002, 2003, 3060];
    let listed = listed.into_iter().chain(1000..=1012).chain(3001..=3053);
    let mut listed: Vec<i64> = listed.collect();
    listed.sort_unstable();
    assert_eq!(codes, listed);
    for code in ErrorCode::KNOWN {
        assert!(!matches!(ErrorCode::from(code.value()), ErrorCode::Other(_)));
        assert!(code.reason().is_some_and(|reason| reason.ends_with('.')));
    }
    assert_eq!(ErrorCode::from(3038), ErrorCode::TemplateNotFound);
    assert_eq!(ErrorCode::from(7).reason(), None);
    assert_eq!(
        serde_json::from_value::<ErrorCode>(json!("3038")).unwrap(),
        ErrorCode::TemplateNotFound
    );
}

#[test]
fn verdicts_are_those_of_the_states() {
    use Verdict::{Accepted, Rejected, Unclear};
    for (state, verdict) in [
        ("queued", Accepted),
        ("accepted", Accepted),
        ("sent", Accepted),
        ("delivered", Accepted),
        ("undelivered", Accepted),
        ("read", Accepted),
        ("ok", Accepted),
        ("failed", Rejected),
        ("rejected", Rejected),
        ("unknown", Unclear),
        ("error", Unclear),
        ("teleported", Unclear),
    ] {
        assert_eq!(MessageState::from(state).verdict(), verdict, "{state}");
    }
}

#[test]
fn timestamps_of_every_published_shape() {
    let at = |seconds, nanos| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    for (text, moment) in [
        ("2020-06-17T04:17:21.06Z", at(1_592_367_441, 60_000_000)),
        ("2017-04-19T02:31:19.4297387+00:00", at(1_492_569_079, 429_738_700)),
        ("2020-01-04T08:19:45Z", at(1_578_125_985, 0)),
        ("2020-01-04T08:19:45", at(1_578_125_985, 0)),
        ("1969-12-31T23:59:58.5Z", SystemTime::UNIX_EPOCH - Duration::from_millis(1500)),
        ("2020-01-04T16:19:45.5+08:00", at(1_578_125_985, 500_000_000)),
    ] {
        assert_eq!(Timestamp::from(text).to_system_time(), Some(moment), "{text}");
    }
}

#[test]
fn entries_are_paired_by_id_and_by_nothing_else() {
    let batch = batch(&["a", "b", "c", "d"]);
    let response = read(json!({
        "acceptedCount": 2,
        "rejectedCount": 1,
        "messages": [
            entry("d", "queued"),
            {"umid": "x", "user": {"msisdn": "+6591234567"}, "status": {"state": "queued"}},
            entry("b", "rejected"),
            entry("z", "queued"),
            entry("a", "queued"),
        ],
    }));
    let report = response.report(&batch);
    let verdicts: Vec<_> = report
        .outcomes()
        .iter()
        .map(|outcome| (outcome.index, outcome.verdict, outcome.umid().map(OpaqueId::as_str)))
        .collect();
    assert_eq!(
        verdicts,
        [
            (0, Verdict::Accepted, Some("umid-a")),
            (1, Verdict::Rejected, Some("umid-b")),
            (2, Verdict::Unclear, None),
            (3, Verdict::Accepted, Some("umid-d")),
        ]
    );
    let unanswered: Vec<_> = report.unanswered().map(|outcome| outcome.index).collect();
    assert_eq!(unanswered, [2]);
    assert_eq!(report.unmatched().len(), 2);
    assert_eq!(
        report.disagreements(),
        [
            Disagreement::Sent { counted: 3, sent: 4 },
            Disagreement::Accepted { counted: 2, listed: 4 },
        ]
    );
    assert!(!report.all_accepted());
}

#[test]
fn a_repeated_entry_settles_nothing() {
    let batch = batch(&["a", "b"]);
    let response = read(json!({
        "acceptedCount": 2,
        "rejectedCount": 0,
        "messages": [entry("a", "queued"), entry("b", "queued"), entry("a", "rejected")],
    }));
    let report = response.report(&batch);
    assert_eq!(report.outcomes()[0].verdict, Verdict::Unclear);
    assert_eq!(report.outcomes()[0].umid().unwrap(), &"umid-a");
    assert_eq!(report.outcomes()[1].verdict, Verdict::Accepted);
    assert_eq!(
        report.disagreements(),
        [
            Disagreement::Rejected { counted: 0, listed: 1 },
            Disagreement::Repeated { message: 0, times: 2 },
        ]
    );
}

#[test]
fn all_accepted_means_every_message_that_was_sent() {
    let batch = batch(&["a", "b"]);
    let counts = |accepted: i64, rejected: i64, messages: Value| {
        read(json!({"acceptedCount": accepted, "rejectedCount": rejected, "messages": messages}))
    };
    let both = json!([entry("a", "queued"), entry("b", "sent")]);
    let good = counts(2, 0, both.clone());
    assert!(good.all_accepted() && good.report(&batch).all_accepted());
    assert!(good.report(&batch).disagreements().is_empty());

    // The counts alone, as they come without includeMessagesInResponse.
    let counted = counts(2, 0, Value::Null);
    assert!(counted.all_accepted());
    assert!(counted.report(&batch).disagreements().is_empty());
    assert!(!counted.report(&batch).all_accepted());

    assert!(!counts(0, 0, json!([])).all_accepted());
    assert!(!counts(1, 1, both.clone()).all_accepted());
    assert!(!counts(2, 0, json!([entry("a", "queued"), entry("b", "error")])).all_accepted());
    let fewer = counts(1, 0, json!([entry("a", "queued")]));
    assert!(fewer.all_accepted() && !fewer.report(&batch).all_accepted());
    let more = counts(3, 0, both.clone());
    assert!(more.all_accepted() && !more.report(&batch).all_accepted());
    let stray = json!([entry("a", "queued"), entry("b", "sent"), entry("z", "unknown")]);
    let stray = counts(2, 0, stray);
    assert!(stray.report(&batch).disagreements().is_empty());
    assert!(!stray.report(&batch).all_accepted());
    let none = read(json!({ "messages": both }));
    assert!(!none.all_accepted());
    assert_eq!(none.report(&batch).disagreements(), [Disagreement::NoCount]);
    let huge = counts(i64::MAX, i64::MAX, Value::Null);
    assert_eq!(
        huge.report(&batch).disagreements(),
        [Disagreement::Sent { counted: i64::MAX, sent: 2 }]
    );
}

#[test]
fn numbers_that_come_back_are_masked_in_debug() {
    let response = read(json!({
        "messages": [{
            "user": {"msisdn": "+6591234567"},
            "status": {"state": "+6591234567", "errorMessage": "No route to +65 9123 4567"},
        }],
    }));
    let debug = format!("{response:?} {response:#?}");
    assert_no_secrets(&debug);
    assert!(!debug.contains("9123"), "{debug}");
    let batch = batch(&["a"]);
    let debug = format!("{:?}", response.report(&batch));
    assert_no_secrets(&debug);
    assert_eq!(response.results()[0].reason(), Some("No route to +65 9123 4567"));
}
