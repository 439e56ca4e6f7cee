//! The client: its settings, its `Debug` output, and single messages.

mod common;

use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lon_batch::invalid::{Rule, Subject};
use lon_batch::{
    Batch, Client, ClientBuilder, Content, Error, ErrorCode, Invalid, Message, Msisdn, Outcome,
    OutcomeKind, Recipient, Region, RetryPolicy, SmsFallback,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use OutcomeKind::{Accepted, NotSent, Rejected, Unknown};
use common::{
    ACCEPTED, KEY, RawServer, assert_no_secrets, batch, client_without_retries, http_response,
    message, msisdn, printed, read_request,
};

fn lines(error: &Invalid) -> Vec<String> {
    assert_no_secrets(&printed(error));
    assert_eq!(error.subject(), Subject::Client);
    error.problems().iter().map(ToString::to_string).collect()
}

fn refused(builder: ClientBuilder) -> Vec<String> {
    lines(&builder.build().unwrap_err())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// Settings

#[test]
fn a_sub_account_id_has_3_to_50_characters_of_the_pattern() {
    for id in ["abc", "A-b.c_d&9", &"x".repeat(50)] {
        let client = Client::builder(id, KEY).build().unwrap();
        assert_eq!(client.sub_account_id().as_str(), id);
    }
    for id in ["", "ab", &"x".repeat(51), "a b c", "abc\n", " abc", "a/b/c", "日本語", "abc%20"]
    {
        let error = Client::builder(id, KEY).build().unwrap_err();
        let found = id.chars().count();
        assert_eq!(
            error.to_string(),
            format!(
                "invalid client settings: sub_account_id: {found} characters; a sub-account id has \
                 3 to 50, each an ASCII letter or digit or one of - . _ &"
            )
        );
        assert!(matches!(error.problems()[0].rule, Rule::Setting(_)));
        assert_eq!(error.problems()[0].message(), None);
    }
}

#[test]
fn an_api_key_is_eight_or_more_visible_ascii_characters() {
    for key in [
        "",
        "seven77",
        "with space",
        "with\ttab",
        "line line\n",
        "ring bell\u{7}",
        "ключключ",
        "delete\u{7f}\u{7f}",
    ] {
        assert_eq!(
            refused(Client::builder("abc", key)),
            ["api_key: an API key is 8 or more visible ASCII characters"],
        );
    }
    assert!(Client::builder("abc", "eight888").build().is_ok());
    assert!(Client::builder("abc", "~!@#$%^&*()_+{}|:\"<>?").build().is_ok());
}

#[test]
fn a_base_url_is_https_or_http_to_this_machine() {
    for (url, shown) in [
        ("https://chatapps.8x8.com", "https://chatapps.8x8.com"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com/a/b/", "https://example.com/a/b"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://127.1.2.3:1", "http://127.1.2.3:1"),
        ("http://[::1]:1/x", "http://[::1]:1/x"),
    ] {
        assert_eq!(client_without_retries(url).build().unwrap().base_url(), shown);
    }
    let to_another_machine = "http to another machine would show the API key; use https";
    let with_credentials = "has credentials; pass the API key to `Client::builder`";
    for (url, why) in [
        ("", "not an absolute URL"),
        ("chatapps.8x8.com", "not an absolute URL"),
        ("ftp://example.com", "not an https URL"),
        ("file:///etc", "not an https URL"),
        ("http://example.com", to_another_machine),
        ("http://[2001:db8::1]", to_another_machine),
        ("http://192.168.0.1", to_another_machine),
        ("http://localhost.example.com", to_another_machine),
        ("http://127.0.0.1.example.com", to_another_machine),
        ("https://user@example.com", with_credentials),
        ("https://:0123456789@example.com", with_credentials),
        ("https://example.com?a=b", "has a query or a fragment"),
        ("https://example.com#a", "has a query or a fragment"),
    ] {
        assert_eq!(refused(client_without_retries(url)), [format!("base_url: {why}")], "{url}");
    }
}

#[test]
fn a_timeout_is_longer_than_the_connect_timeout() {
    let not_longer =
        "timeout: not longer than connect_timeout; a dead host would leave batches unknown";
    let builder = || client_without_retries("http://127.0.0.1:9");
    for (timeout, connect_timeout) in [(10, 10), (9, 10), (60, 60), (1, 2)] {
        let builder = builder().timeout(seconds(timeout)).connect_timeout(seconds(connect_timeout));
        assert_eq!(refused(builder), [not_longer], "{timeout} {connect_timeout}");
    }
    assert_eq!(refused(builder().connect_timeout(seconds(60))), [not_longer]);
    assert!(builder().connect_timeout(Duration::from_millis(59_999)).build().is_ok());
    assert!(builder().timeout(seconds(11)).connect_timeout(seconds(10)).build().is_ok());
    assert_eq!(
        refused(builder().timeout(Duration::ZERO)),
        ["timeout: 0 seconds; every attempt would time out"]
    );
    assert_eq!(
        refused(builder().connect_timeout(Duration::ZERO)),
        ["connect_timeout: 0 seconds; no attempt could connect"]
    );
}

#[test]
fn the_default_connect_timeout_is_10_seconds_or_half_of_a_shorter_timeout() {
    let not_longer =
        "timeout: not longer than connect_timeout; a dead host would leave batches unknown";
    // The shortest valid timeout reveals the connect timeout.
    for (timeout, connect_timeout) in [(60, 10), (20, 10), (8, 4), (2, 1)] {
        let client =
            client_without_retries("http://127.0.0.1:9").timeout(seconds(timeout)).build().unwrap();
        let error = client.with_timeout(seconds(connect_timeout)).unwrap_err();
        assert_eq!(lines(&error), [not_longer]);
        let longer = seconds(connect_timeout) + Duration::from_nanos(1);
        assert!(client.with_timeout(longer).is_ok());
    }
    assert_eq!(ClientBuilder::DEFAULT_TIMEOUT, seconds(60));
    assert_eq!(ClientBuilder::DEFAULT_CONNECT_TIMEOUT, seconds(10));
}

#[tokio::test]
async fn with_timeout_changes_the_copy_alone() {
    let client =
        client_without_retries("http://127.0.0.1:9").connect_timeout(Duration::from_millis(1));
    let client = client.build().unwrap();
    let copy = client.with_timeout(Duration::from_millis(300)).unwrap();
    assert!(format!("{client:?}").contains("timeout: 60s"), "{client:?}");
    assert!(format!("{copy:?}").contains("timeout: 300ms"), "{copy:?}");
    assert_eq!(
        lines(&client.with_timeout(Duration::ZERO).unwrap_err()),
        ["timeout: 0 seconds; every attempt would time out"]
    );
    let silent = RawServer::start(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let client =
        client_without_retries(silent.base_url()).connect_timeout(Duration::from_millis(100));
    let client = client.build().unwrap();
    let error = client.with_timeout(Duration::from_millis(300)).unwrap().send(&batch(&["a"])).await;
    assert!(matches!(error, Err(Error::TimedOut(_))), "{error:?}");
}

#[test]
fn every_problem_of_the_settings_is_reported_at_once() {
    let builder = Client::builder("a", "")
        .base_url("nowhere")
        .timeout(Duration::ZERO)
        .connect_timeout(Duration::ZERO);
    let error = builder.build().unwrap_err();
    let paths: Vec<_> = error.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["sub_account_id", "base_url", "api_key", "timeout"]);
    let text = error.to_string();
    assert!(text.starts_with("invalid client settings, 4 problems:\n  sub_account_id: "), "{text}");
}

#[test]
fn the_regions_are_those_of_the_spec() {
    assert_eq!(Region::default(), Region::AsiaPacific);
    let regions: Vec<_> =
        Region::ALL.iter().map(|region| (region.name(), region.base_url())).collect();
    assert_eq!(
        regions,
        [
            ("Asia Pacific", "https://chatapps.8x8.com"),
            ("North America", "https://chatapps.us.8x8.com"),
            ("Europe", "https://chatapps.8x8.uk"),
            ("Indonesia", "https://chatapps.8x8.id"),
        ]
    );
    for region in Region::ALL {
        let client = Client::builder("abc", KEY).region(*region).build().unwrap();
        assert_eq!(client.base_url(), region.base_url());
        for name in [region.name().to_lowercase().replace(' ', "-"), region.name().to_uppercase()] {
            assert_eq!(name.parse(), Ok(*region));
        }
    }
    assert_eq!(
        "Mars".parse::<Region>().unwrap_err().to_string(),
        "not a region, expected one of Asia Pacific, North America, Europe, Indonesia"
    );
}

#[test]
fn clients_and_futures_go_between_threads() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_send<T: Send>(_: &T) {}
    let client = client_without_retries("http://127.0.0.1:9").build().unwrap();
    is_shared(&client);
    let batch = batch(&["a"]);
    is_send(&client.send(&batch));
    is_send(&client.send_message(message("a")));
}

#[test]
fn debug_shows_no_key() {
    // A caller may have passed the API key as another setting.
    let builder = Client::builder(KEY, KEY).base_url(format!("https://{KEY}.example.com"));
    assert_no_secrets(&format!("{builder:?} {builder:#?}"));
    let client = client_without_retries("https://example.com").timeout(seconds(5)).build().unwrap();
    let debug = format!("{client:?} {client:#?}");
    assert_no_secrets(&debug);
    assert!(debug.contains("my-subaccount") && debug.contains("https://example.com"), "{debug}");
}

// Settings of the environment. Setting variables in this process is unsafe, so each case runs in a
// process of its own.

const AS_CHILD: &str = "LON_BATCH_TEST_FROM_ENV";

#[test]
fn from_env_takes_its_settings_from_the_environment_of_the_process() {
    if std::env::var_os(AS_CHILD).is_some() {
        match Client::from_env() {
            Ok(client) => println!("{} {}", client.sub_account_id(), client.base_url()),
            Err(error) => {
                assert_eq!(error.subject(), Subject::Client);
                println!("{error}");
            }
        }
        return;
    }
    let not_set = "not set";
    let complete = [("LON_SUB_ACCOUNT", "my-subaccount"), ("LON_API_KEY", KEY)];
    let and = |more: &[(&'static str, &'static str)]| [&complete, more].concat();
    for (variables, expected) in [
        (complete.to_vec(), "my-subaccount https://chatapps.8x8.com".to_owned()),
        (
            and(&[("LON_REGION", "asia-pacific")]),
            "my-subaccount https://chatapps.8x8.com".to_owned(),
        ),
        (and(&[("LON_REGION", "Indonesia")]), "my-subaccount https://chatapps.8x8.id".to_owned()),
        (
            and(&[("LON_BASE_URL", "http://127.0.0.1:9/x/")]),
            "my-subaccount http://127.0.0.1:9/x".to_owned(),
        ),
        // An empty variable counts as not set.
        (
            and(&[("LON_REGION", ""), ("LON_BASE_URL", "http://127.0.0.1:9")]),
            "my-subaccount http://127.0.0.1:9".to_owned(),
        ),
        (
            and(&[("LON_REGION", "Europe"), ("LON_BASE_URL", "https://chatapps.8x8.uk")]),
            "invalid client settings: LON_BASE_URL: set together with LON_REGION; set one of them"
                .to_owned(),
        ),
        (
            and(&[("LON_REGION", "mars")]),
            "invalid client settings: LON_REGION: not a region, expected one of Asia Pacific, \
             North America, Europe, Indonesia"
                .to_owned(),
        ),
        (
            and(&[("LON_BASE_URL", "http://example.com")]),
            "invalid client settings: base_url: http to another machine would show the API key; \
             use https"
                .to_owned(),
        ),
        (
            vec![("LON_SUB_ACCOUNT", "my-subaccount")],
            format!("invalid client settings: LON_API_KEY: {not_set}"),
        ),
        (
            vec![("LON_SUB_ACCOUNT", ""), ("LON_API_KEY", KEY)],
            format!("invalid client settings: LON_SUB_ACCOUNT: {not_set}"),
        ),
        (
            vec![("LON_REGION", "Europe"), ("LON_BASE_URL", "x")],
            format!(
                "invalid client settings, 3 problems:\n  LON_SUB_ACCOUNT: {not_set}\n  LON_API_KEY: \
                 {not_set}\n  LON_BASE_URL: set together with LON_REGION; set one of them"
            ),
        ),
    ] {
        let variables = variables.iter().map(|(name, value)| (*name, OsString::from(value)));
        let output = from_env(variables);
        assert!(output.contains(&format!("\n{expected}\n")), "{expected:?} is not in {output:?}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"caf\xe9".to_vec());
        let variables = [("LON_SUB_ACCOUNT", "abc".into()), ("LON_API_KEY", odd)];
        let output = from_env(variables);
        assert!(
            output.contains("\ninvalid client settings: LON_API_KEY: not Unicode\n"),
            "{output:?}"
        );
    }
}

/// The output of a process that makes a client from these variables.
fn from_env(variables: impl IntoIterator<Item = (&'static str, OsString)>) -> String {
    let name = "from_env_takes_its_settings_from_the_environment_of_the_process";
    let mut child = common::this_test_again(name);
    for variable in ["LON_SUB_ACCOUNT", "LON_API_KEY", "LON_REGION", "LON_BASE_URL"] {
        child.env_remove(variable);
    }
    let output = child.env(AS_CHILD, "1").envs(variables).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert_no_secrets(&output);
    output
}

// Allowed recipients

#[tokio::test]
async fn only_to_refuses_a_whole_batch_before_anything_is_sent() {
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let national = Recipient::national("91234567", "SG").unwrap();
    let to = |recipient: Recipient| Message::new(recipient, Content::new("Hello"));
    let other: Recipient = "+6591234568".parse::<Msisdn>().unwrap().into();
    let client = client_without_retries(server.base_url()).only_to([msisdn()]).build().unwrap();
    for (recipients, first) in [
        (vec![other], 0),
        (vec![msisdn().into(), other, msisdn().into(), other], 1),
        // Recipients are compared exactly.
        (vec![national], 0),
    ] {
        let batch = Batch::builder().messages(recipients.into_iter().map(to)).build().unwrap();
        let error = client.send(&batch).await.unwrap_err();
        assert_no_secrets(&printed(&error));
        assert!(
            matches!(error, Error::RecipientNotAllowed { message } if message == first),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            format!(
                "nothing was sent: messages[{first}] is to a recipient that \
                 `ClientBuilder::only_to` does not list"
            )
        );
        let advice = (error.outcome(), error.retry_is_safe(), error.retry_can_help());
        assert_eq!(advice, (NotSent, true, false));
        assert_eq!((error.status(), error.code(), error.api_error().is_none()), (None, None, true));
        let outcome = Outcome::from(&error);
        assert_eq!(outcome.to_string(), "not sent: recipient not allowed");
    }
    let outcome = client.send_message(to(other)).await;
    assert_eq!(outcome.to_string(), "not sent: recipient not allowed");
    let nobody =
        client_without_retries(server.base_url()).only_to(Vec::<Recipient>::new()).build().unwrap();
    assert_eq!(nobody.send_message(to(other)).await.kind, NotSent);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn only_to_lets_listed_recipients_through() {
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let national = Recipient::national("91234567", "SG").unwrap();
    let listed = [Recipient::from(msisdn()), national];
    let client = client_without_retries(server.base_url()).only_to(listed).build().unwrap();
    for (sent, recipient) in listed.into_iter().enumerate() {
        let message = Message::new(recipient, Content::new("Hello"));
        client.send(&Batch::builder().message(message).build().unwrap()).await.unwrap();
        assert_eq!(server.connections(), sent + 1);
    }
    // Without the setting every recipient is allowed.
    client_without_retries(server.base_url()).build().unwrap().send(&batch(&["a"])).await.unwrap();
    assert_eq!(server.connections(), 3);
}

// A single message

/// The outcome of a message for a response, and the body that the server got.
async fn outcome(message: Message, answer: Vec<u8>) -> (Outcome, Value) {
    let answer = Arc::new(answer);
    let got = Arc::new(Mutex::new(String::new()));
    let server = {
        let got = Arc::clone(&got);
        RawServer::start(move |mut stream| {
            let (answer, got) = (Arc::clone(&answer), Arc::clone(&got));
            async move {
                let request = read_request(&mut stream).await;
                let (_, body) = request.split_once("\r\n\r\n").unwrap();
                body.clone_into(&mut got.lock().unwrap());
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    };
    let client = client_without_retries(server.base_url()).build().unwrap();
    let outcome = client.send_message(message).await;
    assert_eq!(server.connections(), 1, "sent once");
    assert_no_secrets(&format!("{outcome} {outcome:?}"));
    let got = serde_json::from_str(&got.lock().unwrap()).unwrap();
    (outcome, got)
}

fn success(body: &Value) -> Vec<u8> {
    http_response("200 OK", "", body.to_string())
}

#[tokio::test]
async fn send_message_asks_for_the_result_of_its_message() {
    let result =
        json!({"umid": "u-1", "clientMessageId": "abc-123", "status": {"state": "queued"}});
    let body = json!({"acceptedCount": 1, "rejectedCount": 0, "messages": [result]});
    let (outcome, got) = outcome(message("abc-123"), success(&body)).await;
    assert_eq!((outcome.kind, outcome.umid.as_deref()), (Accepted, Some("u-1")));
    assert_eq!((outcome.status, outcome.code, outcome.reason), (None, None, None));
    let content = json!({"title": "Hello"});
    let user = json!({"msisdn": "+6591234567"});
    assert_eq!(
        got,
        json!({
            "includeMessagesInResponse": true,
            "messages": [{"clientMessageId": "abc-123", "content": content, "user": user}],
        })
    );
}

#[tokio::test]
async fn send_message_matches_a_message_without_an_id_with_the_one_result_without_an_id() {
    let result = |id: Option<&str>| json!({"clientMessageId": id, "status": {"state": "queued"}});
    for (results, kind) in [
        (vec![result(None)], Accepted),
        (vec![result(Some("a"))], Unknown),
        (vec![result(None), result(None)], Unknown),
        (vec![result(None), result(Some("a"))], Unknown),
    ] {
        let body = json!({"acceptedCount": 1, "rejectedCount": 0, "messages": results});
        let without_id = Message::new(msisdn(), Content::new("Hello"));
        let (outcome, got) = outcome(without_id, success(&body)).await;
        assert_eq!(outcome.kind, kind, "{body}");
        assert_eq!(got["messages"][0].get("clientMessageId"), None, "none is made up");
    }
}

#[tokio::test]
async fn send_message_returns_a_rejection_with_its_reason() {
    let result = json!({
        "umid": "u-1",
        "clientMessageId": "a",
        "status": {"state": "rejected", "errorCode": 3038, "errorMessage": "Not to +6591234567"},
    });
    let body = json!({"acceptedCount": 0, "rejectedCount": 1, "messages": [result]});
    let (outcome, _) = outcome(message("a"), success(&body)).await;
    assert_eq!(outcome.kind, Rejected);
    assert_eq!(outcome.umid.as_deref(), Some("u-1"));
    assert_eq!(outcome.code, Some(ErrorCode::TemplateNotFound));
    assert_eq!(outcome.reason.as_deref(), Some("Not to +********67"));
}

#[tokio::test]
async fn send_message_without_a_matching_result_reports_unknown() {
    let status = json!({"state": "queued"});
    let no_result = "unknown: the response has no result for it";
    for (messages, text) in [
        (json!([{"umid": "u-1", "status": status}]), no_result),
        (json!([{"umid": "u-1", "clientMessageId": "b", "status": status}]), no_result),
        (json!([{"user": {"msisdn": "+6591234567"}, "status": status}]), no_result),
        (json!([]), no_result),
        (
            json!([
                {"clientMessageId": "a", "status": status},
                {"clientMessageId": "a", "status": status},
            ]),
            "unknown: the response has several results for it",
        ),
    ] {
        let body = json!({"acceptedCount": 1, "rejectedCount": 0, "messages": messages});
        let (outcome, _) = outcome(message("a"), success(&body)).await;
        assert_eq!(outcome.to_string(), text, "{messages}");
    }
    // Without a list, the counts decide.
    for (accepted, rejected, kind) in [(1, 0, Accepted), (0, 1, Rejected), (0, 0, Unknown)] {
        let body = json!({"acceptedCount": accepted, "rejectedCount": rejected});
        assert_eq!(outcome(message("a"), success(&body)).await.0.kind, kind, "{body}");
    }
}

#[tokio::test]
async fn send_message_reports_errors_as_outcomes() {
    let code = r#"{"code": 1002, "message": "Not E.164"}"#;
    for (answer, text) in [
        (http_response("400 X", "", code), "not sent, HTTP 400, code 1002: Not E.164"),
        (http_response("429 X", "", ""), "not sent, HTTP 429: HTTP 429 Too Many Requests"),
        (http_response("503 X", "", ""), "unknown, HTTP 503: HTTP 503 Service Unavailable"),
        (
            http_response("200 OK", "", "OK"),
            "unknown, HTTP 200: the response cannot be parsed: it is not JSON, line 1, column 1",
        ),
        (
            http_response("429 X", "", ACCEPTED),
            "unknown, HTTP 429: {\"acceptedCount\": 1, \"rejectedCount\": 0}",
        ),
    ] {
        assert_eq!(outcome(message("a"), answer).await.0.to_string(), text);
    }
    let (lost, _) = outcome(message("a"), Vec::new()).await;
    assert_eq!((lost.kind, lost.status, lost.code), (Unknown, None, None));
    assert!(lost.reason.unwrap().starts_with("the connection was lost: "));

    let silent = RawServer::start(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let client = client_without_retries(silent.base_url())
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let late = client.send_message(message("a")).await;
    assert_eq!(late.to_string(), "unknown: no response in time");

    // Nothing listens at this address any more.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client_without_retries(format!("http://{closed}")).build().unwrap();
    let unreached = client.send_message(message("a")).await;
    assert_eq!((unreached.kind, unreached.status, unreached.code), (NotSent, None, None));
    assert!(unreached.reason.unwrap().starts_with("no connection: "));
}

#[tokio::test]
async fn send_message_sends_nothing_if_the_message_is_invalid() {
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let invalid = message(&"x".repeat(51)).sms_fallback(SmsFallback::default());
    let outcome = client.send_message(invalid).await;
    assert_eq!((outcome.kind, outcome.status, outcome.code), (NotSent, None, None));
    assert_eq!(
        outcome.reason.as_deref(),
        Some(
            "invalid batch, 2 problems: messages[0].clientMessageId: 51 characters, at most 50; \
             messages[0].smsFallback: no text is set, so no SMS would be sent"
        )
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn send_message_reports_a_rejection_after_an_ambiguous_attempt_as_unknown() {
    let result = |state: &str| {
        let result = json!({"clientMessageId": "a", "status": {"state": state}});
        let accepted = i64::from(state == "queued");
        json!({"acceptedCount": accepted, "rejectedCount": 1 - accepted, "messages": [result]})
    };
    let policy = RetryPolicy::default().base_delay(Duration::ZERO).max_attempts(2);
    let policy = policy.resend_ambiguous_and_risk_duplicates();
    for (first, second, kind, reason) in [
        (
            "503 X",
            success(&result("rejected")),
            Unknown,
            Some(
                "rejected when retried, but an earlier attempt may have been sent: no reason given",
            ),
        ),
        ("503 X", success(&result("queued")), Accepted, None),
        // Nothing was sent before.
        ("429 X", success(&result("rejected")), Rejected, None),
        ("503 X", http_response("400 X", "", ""), Unknown, Some("HTTP 503 Service Unavailable")),
    ] {
        let attempts = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new([http_response(first, "", ""), second]);
        let server = RawServer::start(move |mut stream| {
            let (attempts, answers) = (Arc::clone(&attempts), Arc::clone(&answers));
            async move {
                read_request(&mut stream).await;
                let attempt = attempts.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&answers[attempt]).await;
                let _ = stream.shutdown().await;
            }
        })
        .await;
        let client =
            client_without_retries(server.base_url()).retry(policy.clone()).build().unwrap();
        let outcome = client.send_message(message("a")).await;
        assert_eq!(server.connections(), 2);
        assert_eq!((outcome.kind, outcome.reason.as_deref()), (kind, reason));
    }
}
