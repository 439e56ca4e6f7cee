//! Answers that are not a success, and successes that cannot be read.

use std::time::{Duration, SystemTime};

use lon_batch::{
    ApiError, BatchResponse, Client, Error, ErrorCode, MayHaveBeenSent, OpaqueId, UnreadableReason,
};

use crate::support::{
    ACCEPTED, KEY, NUMBER, RawServer, answer, assert_no_secrets, batch, client_of, printed,
};

const ENVELOPE: &str = r#"{"code":1001,"message":"Provided subAccountId","errorId":"e-1","timestamp":"2017-04-19T02:31:19.4297387+00:00"}"#;
/// Every status of the platform and of gateways in front of it.
const STATUSES: [u16; 13] = [400, 401, 403, 404, 410, 413, 422, 426, 429, 500, 502, 503, 504];

async fn send(answer: impl Into<Vec<u8>>) -> Result<BatchResponse, Error> {
    let server = RawServer::answering(answer).await;
    let client = client_of(server.base_url()).build().unwrap();
    let result = client.send(&batch(&["a"])).await;
    assert_eq!(server.connections(), 1, "sent once");
    if let Err(error) = &result {
        assert_no_secrets(&printed(error));
    }
    result
}

async fn fails(answer: impl Into<Vec<u8>>) -> Error {
    send(answer).await.unwrap_err()
}

fn api(error: &Error) -> &ApiError {
    match error {
        Error::Refused(error) | Error::MayHaveBeenSent(MayHaveBeenSent::Answered(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_status_decides_whatever_the_body_is() {
    let html = "<html><body><h1>502 Bad\n Gateway</h1></body></html>";
    // Body, code, message, error id, excerpt.
    let bodies: [(&str, Option<i64>, Option<&str>, Option<&str>, Option<&str>); 10] = [
        (ENVELOPE, Some(1001), Some("Provided subAccountId"), Some("e-1"), None),
        (r#"{"code": 1200}"#, Some(1200), None, None, None),
        (r#"{"message": "Only words"}"#, None, Some("Only words"), None, None),
        (
            r#"{"code": null, "message": null, "errorId": null, "timestamp": null}"#,
            None,
            None,
            None,
            Some(r#"{"code": null, "message": null, "errorId": null, "timestamp": null}"#),
        ),
        (
            r#"{"code": "1002", "message": 5, "errorId": {}, "timestamp": 7}"#,
            Some(1002),
            None,
            None,
            None,
        ),
        (html, None, None, None, Some("<html><body><h1>502 Bad Gateway</h1></body></html>")),
        ("upstream timed out", None, None, None, Some("upstream timed out")),
        ("", None, None, None, None),
        (r#"["a"]"#, None, None, None, Some(r#"["a"]"#)),
        (r#"{"error": "x"}"#, None, None, None, Some(r#"{"error": "x"}"#)),
    ];
    for status in STATUSES {
        for (body, code, message, id, excerpt) in bodies {
            let error = fails(answer(&format!("{status} X"), "", body)).await;
            let what = format!("{status} {body}");
            let refused = matches!(error, Error::Refused(_));
            assert_eq!(refused, status < 500, "{what}");
            assert_eq!(error.may_have_been_sent(), status >= 500, "{what}");
            assert_eq!(error.is_retryable(), status == 429, "{what}");
            assert_eq!(error.status().unwrap(), status, "{what}");
            assert_eq!(error.code(), code.map(ErrorCode::from), "{what}");
            assert_eq!(error.error_id().map(OpaqueId::as_str), id, "{what}");
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
async fn errors_say_what_to_do_next() {
    for (status, advice) in [
        (401, "check the API key"),
        (403, "allow-list"),
        (404, "region"),
        (410, "newer lon-batch"),
        (413, "fewer messages"),
        (426, "TLS 1.3"),
        (429, "slow down"),
        (400, "check the sub-account id"),
        (500, "sending it again can deliver it twice"),
    ] {
        let text = fails(answer(&format!("{status} X"), "", ENVELOPE)).await.to_string();
        assert!(text.contains(advice), "{text}");
    }
}

#[tokio::test]
async fn statuses_that_http_does_not_know_leave_it_open() {
    for status in [599, 600, 999] {
        let error = fails(answer(&format!("{status} X"), "", "")).await;
        assert!(error.may_have_been_sent(), "{error:?}");
    }
    // Gateways answer these when they give up on a server behind them, which may have the batch.
    for status in [408, 499] {
        let error = fails(answer(&format!("{status} X"), "", "")).await;
        assert!(error.may_have_been_sent(), "{error:?}");
    }
    for status in [402, 405, 407, 409, 418, 451, 498] {
        let error = fails(answer(&format!("{status} X"), "", "")).await;
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_large_body_is_kept_in_part() {
    let mut body = format!("{{\"filler\": \"{}", "x".repeat(2 * 1024 * 1024)).into_bytes();
    body.extend_from_slice(b"\"}");
    let error = fails(answer("502 X", "", &body)).await;
    assert_eq!(api(&error).excerpt().unwrap().chars().count(), 303);
    assert!(error.to_string().len() < 1000);
    assert!(printed(&error).len() < 4000);
    let long = format!(r#"{{"code": 1000, "message": "{}"}}"#, "m".repeat(2000));
    let error = fails(answer("400 X", "", long)).await;
    assert_eq!(api(&error).message().unwrap().len(), 303);
}

#[tokio::test]
async fn retry_after_in_every_form() {
    for (value, seconds) in [
        ("7", Some(7)),
        ("0", Some(0)),
        ("1.5", Some(2)),
        ("-3", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("99999999999999999999999999", Some(u64::from(u32::MAX))),
    ] {
        for status in [429, 503] {
            let headers = format!("retry-after: {value}\r\n");
            let error = fails(answer(&format!("{status} X"), &headers, "")).await;
            assert_eq!(error.retry_after(), seconds.map(Duration::from_secs), "{value}");
        }
    }
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
    let error = fails(answer("429 X", &format!("retry-after: {date}\r\n"), "")).await;
    let wait = error.retry_after().unwrap();
    assert!(wait > Duration::from_secs(80) && wait <= Duration::from_secs(100), "{wait:?}");
    assert_eq!(fails(answer("429 X", "", "")).await.retry_after(), None);
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let elsewhere = RawServer::answering(answer("200 OK", "", ACCEPTED)).await;
    for status in [301, 302, 303, 307, 308] {
        let headers = format!("location: {}/api\r\n", elsewhere.base_url());
        let error = fails(answer(&format!("{status} X"), &headers, "")).await;
        assert_eq!(error.status().unwrap(), status);
        // "See other" says that the request was carried out.
        assert_eq!(error.may_have_been_sent(), status == 303);
        assert!(error.to_string().contains("redirects are not followed"), "{error}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn an_accepted_batch_with_an_unreadable_answer() {
    use UnreadableReason::{Cut, Empty, NoAnswer, NotJson, Type};
    let (line, column) = (1, 1);
    for (status, body, reason) in [
        (200, "", Empty),
        (202, "", Empty),
        (200, "<html>OK</html>", NotJson { line, column }),
        (202, "OK", NotJson { line, column }),
        (200, r#"{"acceptedCount": 1, "mess"#, Cut),
        (200, r#"["x"]"#, Type { line, column: 5 }),
        (200, r#""x""#, Type { line, column: 3 }),
        (200, "null", Type { line, column: 4 }),
        (200, r#"{"acceptedCount": "+6591234567"}"#, Type { line, column: 31 }),
        (200, r#"{"messages": {}}"#, Type { line, column: 14 }),
        (201, r#"{"messages": 5}"#, Type { line, column: 14 }),
        (200, "{}", NoAnswer),
        (200, r#"{"code": 1001, "message": "no", "errorId": "e-9"}"#, NoAnswer),
    ] {
        let error = fails(answer(&format!("{status} X"), "", body)).await;
        let Error::AcceptedUnreadable(unreadable) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(unreadable.status(), status, "{body}");
        assert_eq!(unreadable.body(), body.as_bytes());
        match (unreadable.reason(), reason) {
            (Type { line: 1, column: found }, Type { column, .. }) => {
                assert!(found.abs_diff(column) <= 1, "{body}: {found}");
            }
            (found, reason) => assert_eq!(found, reason, "{body}"),
        }
        assert!(error.may_have_been_sent() && !error.is_retryable());
        assert_eq!(error.status().unwrap(), status);
        assert!(error.to_string().contains("do not send it again"), "{error}");
    }
    let error = fails("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(matches!(&error, Error::AcceptedUnreadable(it) if it.reason() == Empty), "{error:?}");
}

#[tokio::test]
async fn an_unreadable_body_is_kept_whole_within_bounds() {
    let body = "x".repeat(3 * 1024 * 1024);
    let error = fails(answer("200 OK", "", body)).await;
    let Error::AcceptedUnreadable(unreadable) = error else {
        panic!("{error:?}");
    };
    assert_eq!(unreadable.body().len(), 2 * 1024 * 1024);
}

#[tokio::test]
async fn an_echoed_key_and_number_are_redacted() {
    let message = format!("Key {KEY} of {NUMBER} is bad");
    let envelope = format!(r#"{{"code": 1200, "message": "{message}", "errorId": "{NUMBER}"}}"#);
    let error = fails(answer("401 X", "", envelope)).await;
    assert_eq!(api(&error).message(), Some("Key [redacted] of +********67 is bad"));
    let error = fails(answer("502 X", "", format!("<p>{message}</p>"))).await;
    let shown = "<p>Key [redacted] of +********67 is bad</p>";
    assert_eq!(api(&error).excerpt(), Some(shown));
    // The kept body is as it came, but for the key.
    let error = fails(answer("200 OK", "", &message)).await;
    let Error::AcceptedUnreadable(unreadable) = &error else {
        panic!("{error:?}");
    };
    let kept = String::from_utf8(unreadable.body().to_vec()).unwrap();
    assert_eq!(kept, format!("Key [redacted] of {NUMBER} is bad"));
    // A key that stands where the kept body ends is not kept in part.
    for before in 2 * 1024 * 1024 - KEY.len()..=2 * 1024 * 1024 {
        let body = format!("{}{KEY}{KEY}", "x".repeat(before));
        let error = fails(answer("200 OK", "", &body)).await;
        let Error::AcceptedUnreadable(unreadable) = &error else {
            panic!("{error:?}");
        };
        let kept = String::from_utf8_lossy(unreadable.body()).into_owned();
        assert!(!kept.contains(&KEY[..4]), "{before}");
    }
    // Nor one that the end of a short body cuts in two.
    let error =
        fails(format!("HTTP/1.1 401 X\r\ncontent-length: 99\r\n\r\nKey {}", &KEY[..20])).await;
    assert_eq!(api(&error).excerpt(), Some("Key"));
    let body = format!("{}{KEY}", " ".repeat(64 * 1024 - 20));
    assert_eq!(api(&fails(answer("502 X", "", body)).await).excerpt(), None);
}

async fn fails_with_key(key: &str, answer: Vec<u8>) -> Error {
    let server = RawServer::answering(answer).await;
    let client = Client::builder("my-subaccount", key).base_url(server.base_url());
    let client = client.build().unwrap();
    client.send(&batch(&["a"])).await.unwrap_err()
}

#[tokio::test]
async fn a_key_is_redacted_however_it_is_escaped() {
    let key = "abc+def/ghi&jkl";
    for body in [
        r#"{"code": 1200, "message": "Key abc\u002Bdef\/ghi\u0026jkl is bad"}"#,
        r#"{"code": 1200, "message": "Key abc+def/ghi&amp;jkl is bad"}"#,
        r#"{"error": ["Key abc\u002Bdef\/ghi\u0026jkl is bad"]}"#,
        r#"{"code": 1200, "message": "\u001b[31mKey abc+def/ghi&jkl\nis bad", "errorId": "abc+def/ghi&jkl"}"#,
    ] {
        let error = fails_with_key(key, answer("401 X", "", body)).await;
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
        let error = fails_with_key(key, answer("502 X", "", body)).await;
        let excerpt = api(&error).excerpt().unwrap();
        assert!(excerpt.contains("[redacted]"), "{excerpt}");
        assert!(!excerpt.contains("st") && !excerpt.contains("key"), "{excerpt}");
    }
}

#[tokio::test]
async fn an_odd_detail_does_not_lose_the_verdicts() {
    let good = r#"{"clientMessageId": "a", "status": {"state": "queued"}}"#;
    for odd in [
        r#"{"status": {"errorCode": "none"}}"#,
        r#"{"status": {"errorCode": 3038.5, "errorMessage": ["x"]}, "umid": {}}"#,
        r#"{"status": "queued", "user": "+6591234567", "clientMessageId": []}"#,
        "null",
        "5",
        "[]",
    ] {
        let body =
            format!(r#"{{"acceptedCount": 1, "rejectedCount": 0, "messages": [{odd}, {good}]}}"#);
        let response = send(answer("200 OK", "", body)).await.unwrap();
        let batch = batch(&["a"]);
        let report = response.report(&batch);
        assert_eq!(report.outcomes()[0].verdict, lon_batch::Verdict::Accepted, "{odd}");
        assert_eq!(report.unmatched().len(), 1);
        assert_eq!(report.unmatched()[0].verdict(), lon_batch::Verdict::Unclear);
        assert!(!report.all_accepted());
    }
}
