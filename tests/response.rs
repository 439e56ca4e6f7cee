//! Responses: parsing, also of malformed ones, and the outcome of each message.

mod common;

use std::time::{Duration, SystemTime};

use lon_batch::response::UnreadableReason;
use lon_batch::types::{MessageResult, MessageState, StatusDetail, Text, Timestamp};
use lon_batch::{Batch, BatchResponse, Content, ErrorCode, Message, Outcome, OutcomeKind};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use OutcomeKind::{Accepted, Rejected, Unknown};
use common::{assert_no_secrets, batch, msisdn};

fn parse(json: &str) -> Result<BatchResponse, UnreadableReason> {
    BatchResponse::from_json(json.as_bytes())
}

fn read(value: &Value) -> BatchResponse {
    parse(&value.to_string()).unwrap()
}

fn entry(id: &str, state: &str) -> Value {
    json!({"umid": format!("umid-{id}"), "clientMessageId": id, "status": {"state": state}})
}

/// The outcome of a message whose status in the response has these members.
fn outcome(status: &Value) -> Outcome {
    let result = json!({"umid": "u", "clientMessageId": "a", "status": status});
    let response = read(&json!({"batchId": "b", "messages": [result]}));
    response.report(&batch(&["a"])).outcomes()[0].clone()
}

fn kinds(response: &BatchResponse, ids: &[&str]) -> Vec<OutcomeKind> {
    let batch = batch(ids);
    response.report(&batch).outcomes().iter().map(|outcome| outcome.kind).collect()
}

// Parsing

#[test]
fn null_and_missing_are_the_same() {
    let null = json!({
        "batchId": null, "clientBatchId": null, "acceptedCount": null, "rejectedCount": null,
        "messages": null,
    });
    assert_eq!(serde_json::from_value::<BatchResponse>(null).unwrap(), BatchResponse::default());
    let bare = read(&json!({"messages": [
        {},
        {"umid": null, "clientMessageId": null, "user": null, "status": null},
        {"user": {"msisdn": null, "country": null}, "status": {
            "state": null, "detail": null, "errorCode": null, "errorMessage": null, "timestamp": null,
        }},
    ]}));
    assert_eq!(bare.results().len(), 3);
    assert_eq!(bare.results()[..2], [MessageResult::default(), MessageResult::default()]);
    for result in bare.results() {
        assert_eq!((result.outcome(), result.error_code()), (Unknown, None));
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
    let response = read(&sent);
    assert_eq!((response.accepted_count, response.rejected_count), (Some(-1), Some(20000)));
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
    let other = read(&json!({"batchId": 5, "messages": [{"user": {"msisdn": 6_591_234_567_u64}}]}));
    assert_eq!(other.batch_id.as_deref(), Some("5"));
    for (odd, kept) in [(json!(-5), "-5"), (json!(1.5), "1.5"), (json!(true), "true")] {
        let response = read(&json!({ "batchId": odd }));
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
        // Values compare by their text.
        assert_eq!(MessageState::Other(state.as_str().into()), *state);
    }
    assert_ne!(MessageState::from("Queued"), MessageState::Queued);
    assert_eq!(ErrorCode::Other(3038), ErrorCode::TemplateNotFound);
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
}

#[test]
fn timestamps_of_every_published_shape_are_times() {
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
fn dotnet_zero_and_malformed_timestamps_are_none() {
    for text in [
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:00",
        "0001-01-01T00:00:00.0000000",
        "",
        "2020-01-04",
        "1578125985",
    ] {
        assert_eq!(Timestamp::from(text).to_system_time(), None, "{text}");
    }
    assert!(Timestamp::from("0001-01-02T00:00:00Z").to_system_time().is_some());
}

#[test]
fn a_body_that_is_no_response_says_why() {
    use UnreadableReason::{Empty, NotAResponse, Truncated};
    let not_json = |line, column| UnreadableReason::NotJson { line, column };
    for (body, reason, text) in [
        ("", Empty, "it is empty"),
        ("\u{feff}", Empty, "it is empty"),
        (r#"{"acceptedCount": 1, "mess"#, Truncated, "it is truncated"),
        (r#"{"acceptedCount": 1, "messages": [{"#, Truncated, "it is truncated"),
        (r#"{"acceptedCount": 1, "rejectedCount": 0"#, Truncated, "it is truncated"),
        ("<html>OK</html>", not_json(1, 1), "it is not JSON, line 1, column 1"),
        ("{\n  \"acceptedCount\": 1,,", not_json(2, 22), "it is not JSON, line 2, column 22"),
        (r#"{"acceptedCount": 1} {}"#, not_json(1, 22), "it is not JSON, line 1, column 22"),
        ("[1,null,null,null,0]", NotAResponse, "it is not a response to a batch"),
        (r#"["x"]"#, NotAResponse, "it is not a response to a batch"),
        ("[]", NotAResponse, "it is not a response to a batch"),
        (r#""x""#, NotAResponse, "it is not a response to a batch"),
        ("null", NotAResponse, "it is not a response to a batch"),
        ("5", NotAResponse, "it is not a response to a batch"),
        ("{}", NotAResponse, "it is not a response to a batch"),
        (r#"{"acceptedCount": null}"#, NotAResponse, "it is not a response to a batch"),
        (r#"{"acceptedCount": "one"}"#, NotAResponse, "it is not a response to a batch"),
        (r#"{"acceptedCount": "+6591234567"}"#, NotAResponse, "it is not a response to a batch"),
        (r#"{"messages": {}}"#, NotAResponse, "it is not a response to a batch"),
        (r#"{"messages": 5}"#, NotAResponse, "it is not a response to a batch"),
        (r#"{"code": 1001, "errorId": "e"}"#, NotAResponse, "it is not a response to a batch"),
    ] {
        assert_eq!(parse(body), Err(reason), "{body}");
        assert_eq!(reason.to_string(), text);
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let body = r#"{"acceptedCount": 1, "rejectedCount": 0}"#;
    let odd = r#"{"acceptedCount": 1, "rejectedCount": 0, "batchId": {}}"#;
    assert_eq!(parse(&format!("\u{feff}{body}")), parse(body));
    assert_eq!(parse(&format!("\u{feff}{odd}")), parse(body));
    assert!(parse(&format!("\u{feff}\u{feff}{body}")).is_err());
}

#[test]
fn an_odd_member_does_not_lose_the_others() {
    for odd in [
        r#""batchId": {}"#,
        r#""batchId": ["x"]"#,
        r#""clientBatchId": {"a": 1}"#,
        r#""batchId": "a", "batchId": "b""#,
        r#""batchId": "\ud800""#,
        r#""x": 1e999"#,
    ] {
        let body = format!(
            r#"{{"acceptedCount": 1, {odd}, "rejectedCount": "0", "messages": [{}]}}"#,
            entry("a", "queued")
        );
        let response = parse(&body).unwrap_or_else(|reason| panic!("{odd}: {reason}"));
        assert_eq!(response.accepted_count, Some(1), "{odd}");
        assert_eq!(response.rejected_count, Some(0), "an integer as a string");
        assert_eq!(kinds(&response, &["a"]), [Accepted], "{odd}");
    }
    let body = b"{\"acceptedCount\": 1, \"rejectedCount\": 0, \"batchId\": \"caf\xe9\"}";
    let response = BatchResponse::from_json(body).unwrap();
    assert_eq!(response.batch_id.as_deref(), Some("caf\u{fffd}"), "not UTF-8");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"acceptedCount": 1, "rejectedCount": 0, "batchId": {deep}}}"#);
    assert_eq!(kinds(&parse(&body).unwrap(), &["a"]), [Accepted]);
}

#[test]
fn an_odd_entry_does_not_lose_the_others() {
    let good = entry("a", "queued");
    for odd in [
        r#"{"status": {"errorCode": "none"}}"#,
        r#"{"status": {"errorCode": 3038.5, "errorMessage": ["x"]}, "umid": {}}"#,
        r#"{"status": "queued", "user": "+6591234567", "clientMessageId": []}"#,
        r#"{"clientMessageId": "b", "clientMessageId": "c"}"#,
        "null",
        "5",
        "true",
        r#""queued""#,
        "[]",
        // The members in the order of the type.
        r#"["a", {"state": "queued"}, "u", null]"#,
    ] {
        for messages in [format!("{odd}, {good}"), format!("{good}, {odd}")] {
            let body =
                format!(r#"{{"acceptedCount": 1, "rejectedCount": 0, "messages": [{messages}]}}"#);
            let response = parse(&body).unwrap();
            assert_eq!(response.results().len(), 2, "{odd}");
            let batch = batch(&["a"]);
            let report = response.report(&batch);
            assert_eq!(report.outcomes()[0].kind, Accepted, "{odd}");
            assert_eq!(report.outcomes()[0].umid.as_deref(), Some("umid-a"), "{odd}");
            assert_eq!(report.unmatched().len(), 1);
            assert_eq!(report.unmatched()[0].outcome(), Unknown);
            assert!(!report.all_accepted());
        }
    }
}

#[test]
fn an_odd_entry_keeps_what_is_right_in_it() {
    let odd = json!({
        "umid": {"x": 1},
        "clientMessageId": "a",
        "user": 5,
        "status": {
            "state": "rejected", "errorCode": " 3038 ", "errorMessage": ["x"], "timestamp": {},
        },
    });
    let body = json!({"acceptedCount": 0, "rejectedCount": 1, "messages": [odd]});
    let response = read(&body);
    let batch = batch(&["a"]);
    let report = response.report(&batch);
    let outcome = &report.outcomes()[0];
    assert_eq!((outcome.kind, outcome.code), (Rejected, Some(ErrorCode::TemplateNotFound)));
    assert_eq!(outcome.umid, None);
    assert_eq!(outcome.reason.as_deref(), ErrorCode::TemplateNotFound.reason());
    let status = response.results()[0].status.as_ref().unwrap();
    assert_eq!((&status.error_message, &status.timestamp), (&None, &None));

    // An array is not an object, although a derived type parses from one.
    let status = json!(["by_beam", null, null, "queued", null]);
    for umid in [json!({}), json!("u")] {
        let odd = json!({"clientMessageId": "a", "umid": umid, "status": status});
        let response = read(&json!({"acceptedCount": 1, "rejectedCount": 0, "messages": [odd]}));
        assert_eq!(response.results()[0].status, None);
        assert_eq!(kinds(&response, &["a"]), [Unknown]);
    }

    // An error code counts in any notation, even if it is unreadable.
    let accepted = |code| json!({"state": "queued", "errorCode": code});
    assert_eq!(outcome_kind(&accepted(json!("0"))), Accepted);
    assert_eq!(outcome_kind(&accepted(json!("3038"))), Unknown);
    assert_eq!(outcome_kind(&accepted(json!(0.0))), Accepted);
    assert_eq!(outcome_kind(&accepted(json!(null))), Accepted);
    for odd in [json!(3038.0), json!("none"), json!([]), json!({"code": 1}), json!(u64::MAX)] {
        assert_eq!(outcome_kind(&accepted(odd.clone())), Unknown, "{odd}");
    }
}

fn outcome_kind(status: &Value) -> OutcomeKind {
    outcome(status).kind
}

#[test]
fn a_rejection_that_the_response_counts_as_accepted_is_unknown() {
    let (queued, rejected) = (entry("a", "queued"), entry("b", "rejected"));
    let counted = |accepted: i64| {
        let counts =
            json!({"acceptedCount": accepted, "rejectedCount": 1, "messages": [queued, rejected]});
        kinds(&read(&counts), &["a", "b"])
    };
    assert_eq!(counted(0), [Accepted, Rejected]);
    assert_eq!(counted(1), [Accepted, Rejected]);
    assert_eq!(counted(2), [Accepted, Unknown]);
    // With a repeated or malformed list, the counts do not decide.
    for messages in [
        format!(r#""messages": [{queued}], "messages": null"#),
        format!(r#""messages": [{queued}], "messages": [{rejected}]"#),
        r#""messages": {"a": "queued"}"#.to_owned(),
    ] {
        let body = format!(r#"{{"acceptedCount": 0, "rejectedCount": 1, {messages}}}"#);
        let kinds = kinds(&parse(&body).unwrap(), &["a"]);
        assert!(kinds == [Unknown] || kinds == [Accepted], "{body}: {kinds:?}");
    }
}

#[test]
fn a_reason_is_one_short_line_for_any_text() {
    let status = |text: &str| json!({"state": "rejected", "errorMessage": text});
    let forged = outcome(&status("no\nERROR forged \u{1b}[31m\r\n+65\n9123\n4567"));
    assert_eq!(forged.reason.as_deref(), Some("no ERROR forged [31m +** **** **67"));
    let long = outcome(&status(&"1".repeat(1_000_000)));
    assert_eq!(long.reason.as_deref(), Some(format!("{}...", "*".repeat(300)).as_str()));
    let state = outcome(&json!({"state": "x".repeat(1_000_000)}));
    assert!(state.to_string().chars().count() < 400);
}

#[test]
fn more_than_2000_entries_are_counted_but_not_kept() {
    let list = |entries: Vec<Value>| {
        let messages = serde_json::to_string(&entries).unwrap();
        parse(&format!(r#"{{"acceptedCount": 2, "rejectedCount": 0, "messages": {messages}}}"#))
    };
    let all = list(vec![json!({}); 2000]).unwrap().messages.unwrap();
    assert_eq!((all.len(), all.omitted()), (2000, 0));
    for odd in [json!({}), json!(5)] {
        let mut entries = vec![entry("a", "queued")];
        entries.resize(2500, odd.clone());
        entries[1999] = entry("b", "queued");
        entries[2000] = entry("c", "queued");
        let response = list(entries).unwrap();
        let kept = response.messages.as_ref().unwrap();
        assert_eq!((kept.len(), kept.omitted()), (2000, 500), "{odd}");
        assert_eq!(kinds(&response, &["a", "b", "c"]), [Accepted, Accepted, Unknown], "{odd}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_hostile_response_of_16_mib_takes_less_than_64_mib() {
    const SERVER: &str = "LON_BATCH_TEST_SERVER";
    if let Ok(server) = std::env::var(SERVER) {
        let client = common::client_without_retries(server).build().unwrap();
        let result = client.send(&batch(&["a"])).await;
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        println!("{}\n{peak}", if result.is_ok() { "Decoded" } else { "Failed" });
        return;
    }
    let head = br#"{"acceptedCount": 1, "rejectedCount": 0, "messages": ["#;
    let size = 16 * 1024 * 1024;
    let list = |first: &str, entry: &str| {
        let mut body = [head, first.as_bytes()].concat();
        while body.len() + entry.len() < size - 100 {
            body.extend_from_slice(entry.as_bytes());
        }
        body.extend_from_slice(b"{}]}");
        body
    };
    let keys = common::KEY.repeat((size - 100) / common::KEY.len());
    let keys = format!(r#"{{"acceptedCount": 1, "rejectedCount": 0, "batchId": "{keys}"}}"#);
    let members: String = (0..).map(|name| format!("\"{name}\": [[]], ")).take(900_000).collect();
    let members = format!(r#"{{"acceptedCount": 1, {members}"batchId": {{}}}}"#);
    assert!(members.len() < size);
    // One large entry, and many members that are each small enough to be parsed.
    let lists = |bytes: usize| format!("[{}[]]", "[],".repeat(bytes / 3));
    let odd = r#"{"acceptedCount": 1, "batchId": {}, "messages": "#;
    let entry = format!(r#"[{{"status": {{"state": "queued"}}, "x": {}}}]"#, lists(size - 200));
    let entry = format!("{odd}{entry}}}");
    let large = (0..200).map(|name| format!("\"{name}\": {}, ", lists(64_000)));
    let large = format!(r#"{{"acceptedCount": 1, {}"batchId": {{}}}}"#, large.collect::<String>());
    let mut cases = JoinSet::new();
    for (status, body, expected) in [
        (200, entry.into_bytes(), "Decoded"),
        (200, large.into_bytes(), "Decoded"),
        (200, list("", "{},"), "Decoded"),
        (200, list("5,", "{},"), "Decoded"),
        (200, list("", "{},").into_iter().chain(*b"x").collect(), "Failed"),
        (200, keys.into_bytes(), "Decoded"),
        (200, members.into_bytes(), "Decoded"),
        (429, list("5,", "{},"), "Failed"),
        (502, vec![b'7'; size], "Failed"),
    ] {
        cases.spawn(async move {
            let start = String::from_utf8_lossy(&body[..80]).into_owned();
            let answer = common::http_response(&format!("{status} X"), "", body);
            let server = common::RawServer::answering(answer).await;
            let mut child =
                common::this_test_again("a_hostile_response_of_16_mib_takes_less_than_64_mib");
            child.env(SERVER, server.base_url());
            let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap();
            let output = String::from_utf8(output.unwrap().stdout).unwrap();
            assert!(output.contains(expected), "{start}: {output}");
            let peak = output.split("VmHWM:").nth(1).unwrap_or_else(|| panic!("{output}"));
            let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
            assert!((16 * 1024..64 * 1024).contains(&peak), "{start}: {peak} kB");
        });
    }
    cases.join_all().await;
}

// Outcomes

#[test]
fn the_state_decides_the_outcome() {
    for (state, kind) in [
        ("queued", Accepted),
        ("accepted", Accepted),
        ("sent", Accepted),
        ("delivered", Accepted),
        ("undelivered", Accepted),
        ("read", Accepted),
        ("ok", Accepted),
        ("failed", Rejected),
        ("rejected", Rejected),
        ("unknown", Unknown),
        ("error", Unknown),
        ("teleported", Unknown),
        ("Queued", Unknown),
        ("", Unknown),
    ] {
        assert_eq!(MessageState::from(state).outcome(), kind, "{state}");
        assert_eq!(outcome(&json!({ "state": state })).kind, kind, "{state}");
    }
}

#[test]
fn an_outcome_has_what_the_platform_says_about_the_message() {
    let template = ErrorCode::TemplateNotFound;
    for (status, kind, code, reason) in [
        (json!({"state": "queued"}), Accepted, None, None),
        (json!({"state": "queued", "errorMessage": "fine"}), Accepted, None, None),
        // The platform's 0 means no error.
        (json!({"state": "queued", "errorCode": 0, "errorMessage": ""}), Accepted, None, None),
        (
            json!({"state": "rejected", "errorCode": 3038, "errorMessage": "Not +65 9123 4567"}),
            Rejected,
            Some(template),
            Some("Not +** **** **67"),
        ),
        (
            json!({"state": "rejected", "errorCode": 3038}),
            Rejected,
            Some(template),
            template.reason(),
        ),
        (
            json!({"state": "rejected", "errorCode": 3038, "errorMessage": " "}),
            Rejected,
            Some(template),
            template.reason(),
        ),
        (
            json!({"state": "failed", "errorCode": 9999}),
            Rejected,
            Some(ErrorCode::Other(9999)),
            None,
        ),
        (json!({"state": "rejected"}), Rejected, None, None),
        // An accepted state with an error code is unknown.
        (json!({"state": "queued", "errorCode": 3038}), Unknown, Some(template), template.reason()),
        (
            json!({"state": "queued", "errorCode": 9999}),
            Unknown,
            Some(ErrorCode::Other(9999)),
            Some("its state is queued"),
        ),
        (json!({"state": "error"}), Unknown, None, Some("its state is error")),
        (json!({"state": "at +6591234567"}), Unknown, None, Some("its state is at +********67")),
        (json!({}), Unknown, None, Some("its entry in the response has no state")),
        (json!({"errorMessage": "lost"}), Unknown, None, Some("lost")),
    ] {
        let outcome = outcome(&status);
        assert_eq!(outcome.kind, kind, "{status}");
        assert_eq!(outcome.umid.as_deref(), Some("u"), "{status}");
        assert_eq!((outcome.code, outcome.status), (code, None), "{status}");
        assert_eq!(outcome.reason.as_deref(), reason, "{status}");
    }
}

#[test]
fn results_match_only_by_id() {
    let batch = batch(&["a", "b", "c", "d"]);
    let response = read(&json!({
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
    let outcomes: Vec<_> = report
        .iter()
        .map(|(message, outcome)| {
            let id = message.client_message_id.as_deref().unwrap();
            (id, outcome.kind, outcome.umid.as_deref())
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("a", Accepted, Some("umid-a")),
            ("b", Rejected, Some("umid-b")),
            ("c", Unknown, None),
            ("d", Accepted, Some("umid-d")),
        ]
    );
    assert_eq!(report.outcomes()[2].reason.as_deref(), Some("the response has no result for it"));
    let accepted: Vec<_> = report.of_kind(Accepted).map(|(message, _)| message).collect();
    assert_eq!(accepted, [&batch.messages()[0], &batch.messages()[3]]);
    let unmatched: Vec<_> =
        report.unmatched().iter().map(|it| it.umid.as_ref().map(Text::as_str)).collect();
    assert_eq!(unmatched, [Some("x"), Some("umid-z")]);
    assert_eq!(
        report.disagreements(),
        ["acceptedCount and rejectedCount: 3, sent: 4", "acceptedCount: 2, listed as accepted: 4"]
    );
    assert!(!report.all_accepted());
}

#[test]
fn one_message_without_an_id_matches_the_one_entry_without_an_id() {
    let without_id = |count: usize| {
        let message = Message::new(msisdn(), Content::new("Hello"));
        Batch::builder().messages(vec![message; count]).build().unwrap()
    };
    let queued = json!({"umid": "u", "status": {"state": "queued"}});
    for (batch, entries, kind) in [
        (without_id(1), json!([queued]), Accepted),
        (without_id(1), json!([queued, queued]), Unknown),
        (without_id(1), json!([entry("a", "queued")]), Unknown),
        (without_id(1), json!([]), Unknown),
        (without_id(2), json!([queued, queued]), Unknown),
        (without_id(2), json!([queued]), Unknown),
        (batch(&["a"]), json!([queued]), Unknown),
    ] {
        let accepted = batch.len();
        let body = json!({"acceptedCount": accepted, "rejectedCount": 0, "messages": entries});
        let response = read(&body);
        let report = response.report(&batch);
        assert!(report.outcomes().iter().all(|outcome| outcome.kind == kind), "{entries}");
        assert_eq!(report.all_accepted(), kind == Accepted, "{entries}");
    }
}

#[test]
fn a_repeated_result_is_unknown() {
    let batch = batch(&["a", "b"]);
    let response = read(&json!({
        "acceptedCount": 2,
        "rejectedCount": 0,
        "messages": [entry("a", "queued"), entry("b", "queued"), entry("a", "rejected")],
    }));
    let report = response.report(&batch);
    assert_eq!(report.outcomes()[0].kind, Unknown);
    assert_eq!(
        report.outcomes()[0].reason.as_deref(),
        Some("the response has several results for it")
    );
    assert_eq!(report.outcomes()[1].kind, Accepted);
    assert_eq!(
        report.disagreements(),
        ["rejectedCount: 0, listed as rejected: 1", "2 results for messages[0]"]
    );
    assert!(!report.all_accepted());
}

#[test]
fn unambiguous_counts_decide_if_there_is_no_list() {
    let ids = ["a", "b"];
    let counted = |counts: Value| kinds(&read(&counts), &ids);
    for (accepted, rejected, kind) in [
        (2, 0, Accepted),
        (0, 2, Rejected),
        (1, 1, Unknown),
        (1, 0, Unknown),
        (3, 0, Unknown),
        (0, 0, Unknown),
        (0, 1, Unknown),
        (2, 2, Unknown),
        (2, -2, Unknown),
        (-2, 0, Unknown),
    ] {
        let counts = json!({"acceptedCount": accepted, "rejectedCount": rejected});
        assert_eq!(counted(counts), [kind, kind], "{accepted} {rejected}");
    }
    assert_eq!(counted(json!({"acceptedCount": 2})), [Unknown, Unknown]);
    assert_eq!(counted(json!({"rejectedCount": 2})), [Unknown, Unknown]);
    assert_eq!(
        counted(json!({"acceptedCount": 2, "rejectedCount": 0, "messages": null})),
        [Accepted, Accepted]
    );
    // A list decides, even an empty one.
    let listed = json!({"acceptedCount": 2, "rejectedCount": 0, "messages": []});
    assert_eq!(counted(listed), [Unknown, Unknown]);
    let listed = json!({"acceptedCount": 2, "rejectedCount": 0, "messages": [entry("a", "sent")]});
    assert_eq!(counted(listed), [Accepted, Unknown]);
}

#[test]
fn all_accepted_means_every_message_and_no_contradiction() {
    let batch = batch(&["a", "b"]);
    let response = |accepted: i64, rejected: i64, messages: &Value| {
        read(&json!({"acceptedCount": accepted, "rejectedCount": rejected, "messages": messages}))
    };
    let both = json!([entry("a", "queued"), entry("b", "sent")]);
    for good in [response(2, 0, &both), response(2, 0, &Value::Null)] {
        let report = good.report(&batch);
        assert!(report.all_accepted());
        assert_eq!(report.disagreements(), [""; 0]);
    }
    for (bad, disagreements) in [
        (response(0, 0, &json!([])), vec!["acceptedCount and rejectedCount: 0, sent: 2"]),
        (
            response(1, 1, &both),
            vec![
                "acceptedCount: 1, listed as accepted: 2",
                "rejectedCount: 1, listed as rejected: 0",
            ],
        ),
        (
            response(2, 0, &json!([entry("a", "queued"), entry("b", "error")])),
            vec!["acceptedCount: 2, listed as accepted: 1"],
        ),
        (
            response(1, 0, &json!([entry("a", "queued")])),
            vec!["acceptedCount and rejectedCount: 1, sent: 2"],
        ),
        (
            response(3, 0, &both),
            vec![
                "acceptedCount and rejectedCount: 3, sent: 2",
                "acceptedCount: 3, listed as accepted: 2",
            ],
        ),
        (response(1, 0, &Value::Null), vec!["acceptedCount and rejectedCount: 1, sent: 2"]),
        (
            response(
                2,
                0,
                &json!([entry("a", "queued"), entry("b", "sent"), entry("z", "unknown")]),
            ),
            vec![],
        ),
        (read(&json!({ "messages": both })), vec!["a count is missing"]),
        // The platform may have sent a phone number as a count.
        (
            response(6_591_234_567, 0, &Value::Null),
            vec!["acceptedCount and rejectedCount: ********67, sent: 2"],
        ),
        (
            response(i64::MAX, i64::MAX, &Value::Null),
            vec!["acceptedCount and rejectedCount: *****************07, sent: 2"],
        ),
    ] {
        let report = bad.report(&batch);
        assert_eq!(report.disagreements(), disagreements);
        assert!(!report.all_accepted(), "{bad:?}");
    }
}

#[test]
fn debug_masks_numbers_and_shows_the_callers_ids() {
    let id = "20261124-0001234";
    let response = read(&json!({
        "clientBatchId": "20261124-0000001",
        "batchId": "+65/9123/4567",
        "acceptedCount": 0,
        "rejectedCount": 1,
        "messages": [{
            "clientMessageId": id,
            "umid": "65912345678",
            "user": {"msisdn": "+6591234567", "country": "+6591234567"},
            "status": {
                "state": "+6591234567",
                "detail": "+6591234567",
                "errorCode": 6_591_234_567_u64,
                "errorMessage": format!("{id}: no route to +65 9123 4567"),
                "timestamp": "+6591234567",
            },
        }],
    }));
    let batch = batch(&[id]);
    let report = response.report(&batch);
    let outcome = &report.outcomes()[0];
    assert_eq!(outcome.reason.as_deref(), Some("20261124-0001234: no route to +** **** **67"));
    for debug in [
        format!("{response:?} {response:#?}"),
        format!("{report:?} {report:#?}"),
        format!("{outcome:?} {outcome}"),
    ] {
        assert_no_secrets(&debug);
        assert!(!debug.contains("9123"), "{debug}");
        assert!(debug.contains(id), "{debug}");
    }
    assert!(format!("{response:?}").contains("20261124-0000001"));
    // The texts themselves are complete, for programs.
    let status = response.results()[0].status.as_ref().unwrap();
    let whole = "20261124-0001234: no route to +65 9123 4567";
    assert_eq!(status.error_message.as_deref(), Some(whole));
}
