//! Errors from responses on the wire, and their texts.

mod common;

use std::time::{Duration, SystemTime};

use lon_batch::error::Unreadable;
use lon_batch::response::UnreadableReason;
use lon_batch::types::{Text, Timestamp};
use lon_batch::{
    ApiError, Batch, BatchResponse, Client, Error, ErrorCode, Outcome, OutcomeKind, RetryPolicy,
};
use serde_json::{Value, json};

use OutcomeKind::{Accepted, NotSent, Unknown};
use common::{
    ACCEPTED, KEY, NUMBER, RawServer, assert_no_secrets, batch, client_without_retries,
    http_response, message, printed,
};

const ENVELOPE: &str = r#"{"code":1001,"message":"Provided subAccountId","errorId":"e-1","timestamp":"2017-04-19T02:31:19.4297387+00:00"}"#;
/// Every status of the platform and of gateways in front of it.
const STATUSES: [u16; 13] = [400, 401, 403, 404, 410, 413, 422, 426, 429, 500, 502, 503, 504];

async fn send_to(
    client: impl FnOnce(String) -> Client,
    batch: &Batch,
    answer: Vec<u8>,
) -> Result<BatchResponse, Error> {
    let server = RawServer::answering(answer).await;
    let result = client(server.base_url()).send(batch).await;
    assert_eq!(server.connections(), 1, "sent once");
    if let Err(error) = &result {
        assert_no_secrets(&printed(error));
        assert_no_secrets(&format!("{0} {0:?}", Outcome::from(error)));
    }
    result
}

async fn send(answer: impl Into<Vec<u8>>) -> Result<BatchResponse, Error> {
    let client = |url| client_without_retries(url).build().unwrap();
    send_to(client, &batch(&["a"]), answer.into()).await
}

async fn error_for_response(answer: impl Into<Vec<u8>>) -> Error {
    send(answer).await.unwrap_err()
}

/// The error for a response with a status and a body.
async fn error_for_status(status: u16, body: impl AsRef<[u8]>) -> Error {
    error_for_response(http_response(&format!("{status} X"), "", body)).await
}

/// A response that says it has more bytes than come.
fn truncated(status: u16, body: &str) -> Vec<u8> {
    let length = body.len() + 1;
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn api(error: &Error) -> &ApiError {
    match error {
        Error::Refused(error) | Error::Ambiguous(error) => error,
        other => panic!("{other:?}"),
    }
}

fn unreadable(error: &Error) -> &Unreadable {
    match error {
        Error::AcceptedUnreadable(unreadable) => unreadable,
        other => panic!("{other:?}"),
    }
}

/// The three answers of an error: outcome, whether a retry is safe, whether it can help.
fn classify(error: &Error) -> (OutcomeKind, bool, bool) {
    assert_eq!(Outcome::from(error).kind, error.outcome());
    (error.outcome(), error.retry_is_safe(), error.retry_can_help())
}

const REFUSED: (OutcomeKind, bool, bool) = (NotSent, true, false);
const BUSY: (OutcomeKind, bool, bool) = (NotSent, true, true);
const AMBIGUOUS: (OutcomeKind, bool, bool) = (Unknown, false, true);
const UNREADABLE: (OutcomeKind, bool, bool) = (Unknown, false, false);

// The meaning of a response

#[tokio::test]
async fn status_decides_for_bodies_without_results() {
    let html = "<html><body><h1>502 Bad\n Gateway</h1></body></html>";
    let nulls = r#"{"code": null, "message": null, "errorId": null, "timestamp": null}"#;
    let marked = format!("\u{feff}{ENVELOPE}");
    // Body, code, message, error id.
    let envelopes = [
        (ENVELOPE, Some(1001), Some("Provided subAccountId"), Some("e-1")),
        (marked.as_str(), Some(1001), Some("Provided subAccountId"), Some("e-1")),
        (r#"{"code": 1200}"#, Some(1200), None, None),
        (r#"{"message": "Only words"}"#, None, Some("Only words"), None),
        (
            r#"{"code": "1002", "message": 5, "errorId": {}, "timestamp": 7}"#,
            Some(1002),
            Some("5"),
            None,
        ),
        (
            r#"{"code": [], "message": "Words", "errorId": true, "more": 1}"#,
            None,
            Some("Words"),
            Some("true"),
        ),
    ];
    // Body, excerpt.
    let others = [
        (nulls, Some(nulls)),
        (html, Some("<html><body><h1>502 Bad Gateway</h1></body></html>")),
        ("upstream timed out", Some("upstream timed out")),
        ("", None),
        (r#"["a"]"#, Some(r#"["a"]"#)),
        (r#"{"error": "x"}"#, Some(r#"{"error": "x"}"#)),
    ];
    let envelopes = envelopes.map(|(body, code, message, id)| (body, code, message, id, None));
    let others = others.map(|(body, excerpt)| (body, None, None, None, excerpt));
    let bodies: Vec<_> = envelopes.into_iter().chain(others).collect();
    for status in STATUSES {
        for &(body, code, message, id, excerpt) in &bodies {
            let error = error_for_status(status, body).await;
            let what = format!("{status} {body}");
            let expected = match status {
                429 => BUSY,
                400..500 => REFUSED,
                _ => AMBIGUOUS,
            };
            assert_eq!(classify(&error), expected, "{what}");
            assert_eq!(matches!(error, Error::Refused(_)), status < 500, "{what}");
            assert_eq!(error.status().unwrap(), status, "{what}");
            assert_eq!(error.code(), code.map(ErrorCode::from), "{what}");
            assert_eq!(error.error_id().map(Text::as_str), id, "{what}");
            assert_eq!(api(&error).message(), message, "{what}");
            assert_eq!(api(&error).excerpt(), excerpt, "{what}");
            let text = error.to_string();
            assert!(text.contains(&format!("HTTP {status}")), "{text}");
            for part in [message, id].into_iter().flatten() {
                assert!(text.contains(part), "{text}");
            }
            let says = if status < 500 { "refused" } else { "may have been sent" };
            assert!(text.contains(says), "{text}");
        }
    }
}

#[tokio::test]
async fn other_statuses_are_ambiguous_unless_they_prove_that_nothing_was_processed() {
    // Gateways answer 408 and 499 when an upstream server does not respond, although it may have the
    // batch. Some statuses are unknown to HTTP.
    for status in [408, 499, 599, 600, 999] {
        assert_eq!(classify(&error_for_status(status, "").await), AMBIGUOUS, "{status}");
    }
    for status in [402, 405, 407, 409, 418, 451, 498] {
        assert_eq!(classify(&error_for_status(status, "").await), REFUSED, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let elsewhere = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let headers = format!("location: {}/api\r\n", elsewhere.base_url());
        let error = error_for_response(http_response(&format!("{status} X"), &headers, "")).await;
        assert_eq!(error.status().unwrap(), status);
        // "See other" says that the request was carried out.
        let expected = if status == 303 { AMBIGUOUS } else { REFUSED };
        assert_eq!(classify(&error), expected, "{status}");
        // Advice to fix and resend is for a refusal only.
        let has_advice = error.to_string().contains("redirects are not followed");
        assert_eq!(has_advice, status != 303, "{error}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_refusal_that_lists_accepted_messages_is_ambiguous() {
    let entry = |state: &str| json!({"clientMessageId": "a", "status": {"state": state}});
    let accepted = json!({"acceptedCount": 1, "rejectedCount": 0, "messages": [entry("queued")]});
    // As long as a response to the largest batch.
    let mut long = accepted.clone();
    long["messages"] = (0..1000).map(|_| json!({"umid": "u".repeat(300)})).collect();
    assert!(long.to_string().len() > 300_000);
    let mut odd = accepted.clone();
    odd["batchId"] = json!({});
    let bodies = [
        accepted.to_string(),
        format!("\u{feff}{accepted}"),
        odd.to_string(),
        long.to_string(),
        r#"{"acceptedCount": 1, "rejectedCount": null, "messages": null}"#.to_owned(),
        json!({"code": 1100, "message": "no", "messages": [5, entry("sent")]}).to_string(),
        // Nothing proves that these were not accepted.
        json!({"messages": [entry("accepted_by_line")], "rejectedCount": 0}).to_string(),
        json!({"acceptedCount": -1, "messages": [entry("unknown"), entry("error"), {}]})
            .to_string(),
        json!({"messages": [{"status": {"state": "sent", "errorCode": 1}}], "code": 1}).to_string(),
        r#"{"acceptedCount": 1.0, "code": 429, "message": "Too many requests, slow down"}"#.into(),
        r#"{"acceptedCount": [1], "code": 429, "message": "Too many requests, slow"}"#.into(),
        r#"{"messages": {"a": "queued"}, "code": 429, "message": "Too many requests"}"#.into(),
        r#"[{"clientMessageId": "a", "status": {"state": "queued"}, "umid": "u"}, 1]"#.into(),
    ];
    for body in bodies {
        for status in [400, 403, 404, 413, 422, 429, 302] {
            let error = error_for_status(status, &body).await;
            assert!(matches!(error, Error::Ambiguous(_)), "{status} {}", &body[..60]);
            // Neither safe nor of use: the platform has the batch.
            assert_eq!(classify(&error), (OutcomeKind::Unknown, false, false), "{status}");
            let text = error.to_string();
            assert!(!text.contains("; slow down") && !text.contains("smaller"), "{text}");
        }
    }
    for body in [
        json!({"acceptedCount": 0, "rejectedCount": 1, "messages": [entry("rejected")]})
            .to_string(),
        r#"{"acceptedCount": 0, "messages": []}"#.to_owned(),
        r#"{"acceptedCount": null, "messages": null}"#.to_owned(),
        r#"{"errors": {"messages": ["The messages field is required."], "acceptedCount": 1}}"#
            .to_owned(),
    ] {
        assert_eq!(classify(&error_for_status(400, &body).await), REFUSED, "{body}");
        assert_eq!(classify(&error_for_status(429, &body).await), BUSY, "{body}");
    }
}

#[tokio::test]
async fn a_refusal_that_lists_accepted_messages_is_not_retried() {
    let policy = RetryPolicy::default().base_delay(Duration::ZERO);
    for (body, connections) in [(ACCEPTED, 1), ("{}", 5)] {
        let server = RawServer::answering(http_response("429 X", "", body)).await;
        let client =
            client_without_retries(server.base_url()).retry(policy.clone()).build().unwrap();
        client.send(&batch(&["a"])).await.unwrap_err();
        assert_eq!(server.connections(), connections, "{body}");
    }
}

#[tokio::test]
async fn a_truncated_429_is_ambiguous_and_the_status_decides_any_other() {
    for body in ["", ENVELOPE, r#"{"acceptedCount": 1, "#, "<html>"] {
        for (status, expected) in [
            (429, AMBIGUOUS),
            (400, REFUSED),
            (413, REFUSED),
            (302, REFUSED),
            (303, AMBIGUOUS),
            (408, AMBIGUOUS),
            (503, AMBIGUOUS),
        ] {
            let error = error_for_response(truncated(status, body)).await;
            assert_eq!(classify(&error), expected, "{status} {body}");
            assert_eq!(error.status().unwrap(), status);
        }
    }
    // The error keeps the part that arrived.
    let error = error_for_response(truncated(429, ENVELOPE)).await;
    assert_eq!(error.code(), Some(ErrorCode::IllegalSubAccountId));
    assert_eq!(api(&error).message(), Some("Provided subAccountId"));
    // A body of more than 16 MiB is truncated, too.
    let error = error_of_size(429, 16 * 1024 * 1024 + 1).await;
    assert_eq!(classify(&error), AMBIGUOUS);
    let error = error_of_size(429, 16 * 1024 * 1024).await;
    assert_eq!(classify(&error), BUSY);
}

async fn error_of_size(status: u16, size: usize) -> Error {
    error_for_status(status, vec![b'x'; size]).await
}

#[tokio::test]
async fn unparseable_2xx_is_accepted_unreadable_and_unknown() {
    use UnreadableReason::{Empty, NotAResponse, NotJson, Truncated};
    let (line, column) = (1, 1);
    for (status, body, reason) in [
        (200, "", Empty),
        (202, "", Empty),
        (200, "<html>OK</html>", NotJson { line, column }),
        (202, "OK", NotJson { line, column }),
        (200, r#"{"acceptedCount": 1, "mess"#, Truncated),
        (200, "[1,null,null,null,0]", NotAResponse),
        (202, "[1,null,null,null,0]", NotAResponse),
        (200, r#""x""#, NotAResponse),
        (200, "null", NotAResponse),
        (200, r#"{"messages": {}}"#, NotAResponse),
        (201, r#"{"messages": 5}"#, NotAResponse),
        (200, "{}", NotAResponse),
        (200, r#"{"code": 1001, "message": "no", "errorId": "e-9"}"#, NotAResponse),
    ] {
        let error = error_for_status(status, body).await;
        assert_eq!(unreadable(&error).status(), status, "{body}");
        assert_eq!(unreadable(&error).body(), body.as_bytes());
        assert_eq!(unreadable(&error).reason(), reason, "{body}");
        assert_eq!(classify(&error), UNREADABLE);
        assert_eq!(error.status().unwrap(), status);
        assert!(error.to_string().contains("; do not resend the batch; "), "{error}");
    }
    let error = error_for_response("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(unreadable(&error).reason(), Empty);
    let error = error_for_response(truncated(200, r#"{"acceptedCount": 1, "#)).await;
    assert_eq!(unreadable(&error).reason(), Truncated);
    assert_eq!(
        error.to_string(),
        "the platform accepted the batch (HTTP 200 OK), but the response cannot be parsed: it is \
         truncated; do not resend the batch; 21 bytes of the body are kept"
    );
    // The part that arrived is a complete response.
    let response = send(truncated(200, ACCEPTED)).await.unwrap();
    assert_eq!(response.accepted_count, Some(1));
}

#[tokio::test]
async fn a_success_with_odd_details_is_no_error() {
    let good = r#"{"clientMessageId": "a", "status": {"state": "queued", "errorCode": "0"}}"#;
    for status in [200, 201, 202] {
        let body = format!(
            "\u{feff}{{\"acceptedCount\": 1, \"rejectedCount\": \"0\", \"messages\": [5, {good}]}}"
        );
        let response = send(http_response(&format!("{status} X"), "", body)).await.unwrap();
        let batch = batch(&["a"]);
        let report = response.report(&batch);
        assert_eq!(report.outcomes()[0].kind, Accepted, "{status}");
        assert_eq!(report.unmatched().len(), 1);
    }
}

#[tokio::test]
async fn an_error_becomes_the_outcome_of_every_message() {
    let outcome = |error: &Error| {
        let Outcome { kind, umid: None, status, code, reason, .. } = Outcome::from(error) else {
            panic!("an error has no umid");
        };
        (kind, status, code.map(ErrorCode::value), reason.unwrap().into_string())
    };
    for (status, body, kind, code, reason) in [
        (400, ENVELOPE, NotSent, Some(1001), "Provided subAccountId"),
        (401, r#"{"code": 1200}"#, NotSent, Some(1200), "The API key is missing or wrong."),
        (429, "", NotSent, None, "HTTP 429 Too Many Requests"),
        (502, "<p>Call +65 9123 4567</p>", Unknown, None, "<p>Call +** **** **67</p>"),
        (200, "{", Unknown, None, "the response cannot be parsed: it is truncated"),
    ] {
        let error = error_for_status(status, body).await;
        assert_eq!(outcome(&error), (kind, Some(status), code, reason.to_owned()));
    }
}

#[tokio::test]
async fn retry_after_is_a_number_of_seconds_or_a_date() {
    let wait = async |headers: String| {
        let error = error_for_response(http_response("429 X", &headers, "")).await;
        assert_eq!(error.retry_after(), api(&error).retry_after());
        error.retry_after()
    };
    for (value, seconds) in [
        ("7", Some(7)),
        ("0", Some(0)),
        ("1.5", Some(2)),
        ("-3", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("99999999999999999999999999", Some(u64::from(u32::MAX))),
    ] {
        let found = wait(format!("retry-after: {value}\r\n")).await;
        assert_eq!(found, seconds.map(Duration::from_secs), "{value}");
    }
    let error = error_for_response(http_response("503 X", "retry-after: 7\r\n", "")).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
    let found = wait(format!("retry-after: {date}\r\n")).await.unwrap();
    assert!(found > Duration::from_secs(80) && found <= Duration::from_secs(100), "{found:?}");
    // The clock of the server is compared with itself.
    let dates = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:07 GMT";
    assert_eq!(wait(format!("{dates}\r\n")).await, Some(Duration::from_secs(30)));
    assert_eq!(wait(String::new()).await, None);
}

// Texts

#[tokio::test]
async fn an_error_says_what_happened_and_what_to_do() {
    for (status, headers, body, text) in [
        (
            "400 X",
            "",
            ENVELOPE,
            "the platform refused the batch: HTTP 400 Bad Request, code 1001, Provided subAccountId, \
             error id e-1; check the sub-account id, the API key and the region",
        ),
        (
            "400 X",
            "",
            r#"{"code": 1001}"#,
            "the platform refused the batch: HTTP 400 Bad Request, code 1001, The sub-account does \
             not belong to the account; check the sub-account id, the API key and the region",
        ),
        (
            "429 X",
            "retry-after: 7\r\n",
            "",
            "the platform refused the batch: HTTP 429 Too Many Requests, retry after 7 s; slow down, \
             then retry",
        ),
        (
            "502 X",
            "",
            "<h1>Bad\ngateway</h1>",
            "the batch may have been sent, and resending can duplicate it: HTTP 502 Bad Gateway, not \
             the platform's error format: \"<h1>Bad gateway</h1>\"",
        ),
        (
            "599 X",
            "",
            "",
            "the batch may have been sent, and resending can duplicate it: HTTP 599 <unknown status \
             code>",
        ),
    ] {
        let error = error_for_response(http_response(status, headers, body)).await;
        assert_eq!(error.to_string(), text);
    }
    for (status, body, advice) in [
        (302, "", "redirects are not followed; check the base URL"),
        (401, ENVELOPE, "check the API key; a LON sub-account has its own"),
        (403, ENVELOPE, "check the rights of the API key and the allow-list of source addresses"),
        (404, ENVELOPE, "check the sub-account id and the region or base URL"),
        (410, ENVELOPE, "this version of the API is gone; look for a newer lon-batch"),
        (413, ENVELOPE, "send smaller batches"),
        (413, "", "send smaller batches"),
        (426, ENVELOPE, "connect with TLS 1.3"),
        (429, ENVELOPE, "slow down, then retry"),
        (422, ENVELOPE, "check the sub-account id, the API key and the region"),
    ] {
        let text = error_for_status(status, body).await.to_string();
        assert!(text.ends_with(&format!("; {advice}")), "{text}");
    }
}

#[tokio::test]
async fn a_code_for_too_many_messages_advises_smaller_batches() {
    for code in [1100, 3013] {
        for status in [400, 413, 422, 429] {
            let text =
                error_for_status(status, json!({ "code": code }).to_string()).await.to_string();
            assert!(text.ends_with("; send smaller batches"), "{text}");
        }
    }
    let text = error_for_status(400, r#"{"code": 3012}"#).await.to_string();
    assert!(!text.contains("smaller"), "{text}");
}

#[tokio::test]
async fn the_texts_of_a_large_body_are_kept_in_part() {
    let mut body = format!("{{\"filler\": \"{}", "x".repeat(2 * 1024 * 1024)).into_bytes();
    body.extend_from_slice(b"\"}");
    let long = error_for_status(502, &body).await;
    assert_eq!(api(&long).excerpt().unwrap().chars().count(), 303);
    assert!(long.to_string().len() < 1000);
    assert!(printed(&long).len() < 4000);
    let words = "m".repeat(2000);
    let body = json!({"code": 1000, "message": words, "errorId": words, "timestamp": words});
    let long = error_for_status(400, body.to_string()).await;
    let kept = format!("{}...", &words[..300]);
    assert_eq!(api(&long).message(), Some(kept.as_str()));
    assert_eq!(api(&long).error_id().unwrap(), &kept.as_str());
    assert_eq!(api(&long).timestamp().unwrap(), &kept.as_str());
    // Numbers are masked before truncation, which may leave too few digits to recognise one.
    let body = json!({"message": format!("{}{NUMBER}", "m".repeat(296))});
    let long = error_for_status(400, body.to_string()).await;
    assert!(api(&long).message().unwrap().ends_with("mm+***..."), "{long}");
    // An unreadable success is kept up to 2 MiB.
    let error = error_for_status(200, "x".repeat(3 * 1024 * 1024)).await;
    assert_eq!(unreadable(&error).body().len(), 2 * 1024 * 1024);
}

#[tokio::test]
async fn a_timestamp_is_kept_as_text_and_a_number_in_its_place_masked() {
    for (text, kept) in [
        ("2017-04-19T02:31:19.4297387+00:00", "2017-04-19T02:31:19.4297387+00:00"),
        ("0001-01-01T00:00:00", "0001-01-01T00:00:00"),
        ("2017-04-19T02:31:19.6591234567Z", "****-**-19T**:**:**.********67Z"),
        ("2017-04-19T02:31:19+6591234567", "****-**-19T**:**:**+********67"),
        ("at +6591234567", "at +********67"),
    ] {
        let error =
            error_for_status(400, json!({"code": 1000, "timestamp": text}).to_string()).await;
        assert_eq!(api(&error).timestamp(), Some(&Timestamp::from(kept)));
    }
}

// Redaction

#[tokio::test]
async fn a_phone_number_is_masked_however_it_is_separated() {
    for (number, masked) in [
        ("+6591234567", "+********67"),
        ("+65 9123 4567", "+** **** **67"),
        ("(65)-9123.4567", "(**)-****.**67"),
        ("+65/9123/4567", "+**/****/**67"),
        ("+65\u{2013}9123\u{2013}4567", "+**\u{2013}****\u{2013}**67"),
        ("+65\u{2011}9123\u{2011}4567", "+**\u{2011}****\u{2011}**67"),
        ("65\u{b7}9123\u{b7}4567", "**\u{b7}****\u{b7}**67"),
        ("65_9123,4567:", "**_****,**67:"),
        ("6'5'9'1'2'3'4'5", "*'*'*'*'*'*'4'5"),
        ("65 : 9123 : 4567", "** : **** : **67"),
        ("６５９１２３４５６７", "********６７"),
    ] {
        for (status, body) in [
            (400, json!({"code": 1002, "message": format!("Is {number} right?")}).to_string()),
            (400, json!({"code": 1002, "errorId": format!("Is {number} right?")}).to_string()),
            (502, format!("Is {number} right?")),
        ] {
            let error = error_for_status(status, body).await;
            let text = error.to_string();
            assert!(text.contains(&format!("Is {masked} right?")), "{text}");
            let printed = printed(&error);
            assert!(!printed.contains("9123") && !printed.contains("9'1"), "{printed}");
            let outcome = format!("{:?}", Outcome::from(&error));
            assert!(!outcome.contains("9123") && !outcome.contains("9'1"), "{outcome}");
        }
    }
    // The narrow space is white space, which becomes one space.
    let error = error_for_status(502, "Is 65\u{202f}9123\u{202f}4567 right?").await;
    assert_eq!(api(&error).excerpt(), Some("Is ** **** **67 right?"));
}

#[tokio::test]
async fn a_phone_number_in_a_json_number_is_masked() {
    let error = error_for_status(400, r#"{"code": 66812345678, "message": 66812345678}"#).await;
    assert_eq!(error.code(), Some(ErrorCode::Other(66_812_345_678)));
    assert_eq!(
        error.to_string(),
        "the platform refused the batch: HTTP 400 Bad Request, code *********78, *********78"
    );
    let debug = format!("{error:?} {error:#?} {:?}", Outcome::from(&error));
    assert!(!debug.contains("66812") && !debug.contains("6681"), "{debug}");
    for body in
        [r#"{"code": -66812345678}"#, r#"{"x": 66812345678}"#, "66812345678", "[668123.45678]"]
    {
        let error = error_for_status(400, body).await;
        let printed = printed(&error);
        assert!(!printed.contains("66812") && printed.contains("78"), "{printed}");
    }
}

#[tokio::test]
async fn the_callers_ids_appear_unmasked_in_errors() {
    let (of_message, of_batch) = ("20261124-0001234", "campaign 2026-11-24 0001");
    let batch = Batch::builder().client_batch_id(of_batch).message(message(of_message));
    let batch = batch.message(message("a-1")).build().unwrap();
    let text = format!("{of_message} of {of_batch}: {NUMBER} is bad, and 20261124-0001235 too");
    let shown = format!("{of_message} of {of_batch}: +********67 is bad, and ********-*****35 too");
    for (status, body) in [(400, json!({ "message": text }).to_string()), (502, text.clone())] {
        let client = |url| client_without_retries(url).build().unwrap();
        let answer = http_response(&format!("{status} X"), "", body);
        let error = send_to(client, &batch, answer).await.unwrap_err();
        for text in [error.to_string(), format!("{error:?}"), Outcome::from(&error).to_string()] {
            assert!(text.contains(&shown), "{text}");
        }
    }
    // Only as a whole word.
    let client = |url| client_without_retries(url).build().unwrap();
    let part = http_response("502 X", "", format!("9{of_message}"));
    let error = send_to(client, &batch, part).await.unwrap_err();
    assert_eq!(api(&error).excerpt(), Some("*********-*****34"));
}

#[tokio::test]
async fn an_echoed_key_is_redacted_in_errors() {
    let message = format!("Key {KEY} of {NUMBER} is bad");
    let envelope = json!({"code": 1200, "message": message, "errorId": NUMBER});
    let echoed = error_for_status(401, envelope.to_string()).await;
    assert_eq!(api(&echoed).message(), Some("Key [redacted] of +********67 is bad"));
    let echoed = error_for_status(502, format!("<p>{message}</p>")).await;
    let shown = "<p>Key [redacted] of +********67 is bad</p>";
    assert_eq!(api(&echoed).excerpt(), Some(shown));
    // The kept body is as it came, except for the key.
    let echoed = error_for_status(200, &message).await;
    let kept = String::from_utf8(unreadable(&echoed).body().to_vec()).unwrap();
    assert_eq!(kept, format!("Key [redacted] of {NUMBER} is bad"));
    // Not even a part is kept where the kept body ends.
    for before in 2 * 1024 * 1024 - KEY.len()..=2 * 1024 * 1024 {
        let echoed = error_for_status(200, format!("{}{KEY}{KEY}", "x".repeat(before))).await;
        let kept = String::from_utf8_lossy(unreadable(&echoed).body()).into_owned();
        assert!(!kept.contains(&KEY[..4]), "{before}");
    }
    // Nor at the end of a truncated body.
    let echoed = error_for_response(truncated(401, &format!("Key {}", &KEY[..20]))).await;
    assert_eq!(api(&echoed).excerpt(), Some("Key [redacted]"));
    let body = format!("{}{KEY}", " ".repeat(64 * 1024 - 20));
    assert_eq!(api(&error_for_status(502, body).await).excerpt(), Some("[redacted]"));
}

async fn send_with_key(key: &str, answer: Vec<u8>) -> Result<BatchResponse, Error> {
    let client = |url| Client::builder("my-subaccount", key).base_url(url).build().unwrap();
    send_to(client, &batch(&["a"]), answer).await
}

#[tokio::test]
async fn a_key_is_redacted_however_it_is_escaped() {
    let key = "abc+def/ghi&jkl";
    for body in [
        r#"{"code": 1200, "message": "Key abc+def/ghi&jkl is bad"}"#,
        r#"{"code": 1200, "message": "Key abc\u002Bdef\/ghi\u0026jkl is bad"}"#,
        r#"{"code": 1200, "message": "Key \u0061bc\u002bdef\u002fghi&jkl is bad"}"#,
        r#"{"code": 1200, "message": "Key abc+def/ghi&amp;jkl is bad"}"#,
        r#"{"code": 1200, "message": "Key abc&#43;def&#x2F;ghi&#38;jkl is bad"}"#,
        r#"{"code": 1200, "message": "Key abc%2bdef%2Fghi%26jkl is bad"}"#,
        r#"{"error": ["Key abc\u002Bdef\/ghi\u0026jkl is bad"]}"#,
        r#"{"code": 1200, "message": "\u001b[31mKey abc+def/ghi&jkl\nis bad", "errorId": "abc+def/ghi&jkl"}"#,
    ] {
        let error = send_with_key(key, http_response("401 X", "", body)).await.unwrap_err();
        let text = printed(&error);
        assert!(text.contains("Key [redacted]"), "{text}");
        assert!(!text.contains("def") && !text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn a_key_that_json_escapes_is_redacted_in_both_forms() {
    let key = r#"te"st\key"#;
    let escaped = serde_json::to_string(key).unwrap();
    for body in [format!("<p>{key}</p>"), format!(r#"{{"error": {escaped}}}"#)] {
        let error = send_with_key(key, http_response("502 X", "", body)).await.unwrap_err();
        let excerpt = api(&error).excerpt().unwrap();
        assert!(excerpt.contains("[redacted]"), "{excerpt}");
        assert!(!excerpt.contains("st") && !excerpt.contains("key"), "{excerpt}");
    }
}

#[tokio::test]
async fn a_key_that_a_readable_success_echoes_is_redacted() {
    let key = "abc+def/ghi&jkl";
    for echoed in [
        "abc+def/ghi&jkl",
        r"abc\u002bdef\/ghi\u0026jkl",
        r"\u0061\u0062\u0063\u002B\u0064\u0065\u0066\u002F\u0067\u0068\u0069\u0026\u006A\u006B\u006C",
        "abc%2Bdef%2Fghi%26jkl",
        "abc+def/ghi&amp;jkl",
    ] {
        let mut body = json!({
            "batchId": "KEY", "clientBatchId": "KEY", "acceptedCount": 1, "rejectedCount": 2,
            "messages": [
                {"clientMessageId": "a", "umid": "KEY", "status": {"state": "queued"}},
                {"clientMessageId": "KEY", "user": {"msisdn": "KEY", "country": "KEY"},
                    "status": {"state": "rejected", "errorMessage": "Not with KEY", "timestamp": "KEY"}},
                {"status": {"state": "KEY", "detail": "KEY"}},
            ],
        })
        .to_string()
        .replace("KEY", echoed);
        // Typed, and leniently.
        for _ in 0..2 {
            let response = send_with_key(key, http_response("200 OK", "", &body)).await.unwrap();
            let json = serde_json::to_value(&response).unwrap();
            assert_eq!(json["messages"][0]["umid"], "[redacted]");
            assert_eq!(json["messages"][1]["clientMessageId"], "[redacted]");
            assert_eq!(json["messages"][1]["status"]["errorMessage"], "Not with [redacted]");
            assert_eq!(json["messages"][2]["status"]["state"], "[redacted]");
            assert_eq!(json["batchId"], "[redacted]");
            let shown = format!("{json} {response:?} {:?}", response.report(&batch(&["a"])));
            assert!(!shown.contains("def") && !shown.contains("ghi"), "{shown}");
            body = body.replace("\"acceptedCount\":1", "\"acceptedCount\":\"1\"");
        }
    }
    // A key is no part of a longer word of the response, but any match is removed.
    let whole: Value =
        json!({"acceptedCount": 1, "rejectedCount": 0, "batchId": format!("x{KEY}y")});
    let response = send(http_response("200 OK", "", whole.to_string())).await.unwrap();
    assert_eq!(response.batch_id.as_deref(), Some("x[redacted]y"));
}
