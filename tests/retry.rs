//! Retries: number, delays and logs of attempts.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lon_batch::bulk::Stop;
use lon_batch::reqwest::StatusCode;
use lon_batch::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use lon_batch::{Client, ClientBuilder, Error, ErrorCode, Outcome, OutcomeKind, RetryPolicy};
use lon_sandbox::{Answer, Rejection, Sandbox};
use tokio::io::AsyncWriteExt;
use tokio::task::LocalSet;

use common::ledger::{Ledger, Reported, json_id};
use common::{
    ACCEPTED, KEY, NUMBER, RawServer, assert_no_secrets, batch, client_for, client_without_retries,
    custom_http_client, http_response, log, message, printed, read_request, within_10s,
};

/// The default, with short delays.
fn quick() -> RetryPolicy {
    RetryPolicy::default().base_delay(Duration::from_millis(2)).max_delay(Duration::from_millis(10))
}

fn resending() -> RetryPolicy {
    quick().resend_ambiguous_and_risk_duplicates()
}

const BUSY: Answer = Answer::TooManyRequests { retry_after: None };

fn failing(status: u16) -> Answer {
    Answer::Error { status, code: 2000 }
}

fn raw_response(status: u16, headers: &[(http::HeaderName, &str)], body: &'static str) -> Answer {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), (*value).to_owned()));
    Answer::Exactly { status, headers: headers.collect(), body: body.into() }
}

/// A 2xx whose body cannot be parsed.
fn unreadable() -> Answer {
    raw_response(200, &[], "accepted")
}

async fn sandbox_with(answers: impl IntoIterator<Item = Answer>) -> Sandbox {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next(answers);
    sandbox
}

fn client(sandbox: &Sandbox, policy: RetryPolicy) -> Client {
    client_for(sandbox).retry(policy).build().unwrap()
}

async fn error_of(client: &Client) -> Error {
    within_10s(client.send(&batch(&["a"]))).await.unwrap_err()
}

#[tokio::test]
async fn a_429_is_retried_by_default() {
    let sandbox = sandbox_with([BUSY, BUSY]).await;
    let client = client_for(&sandbox).build().unwrap();
    let batch = batch(&["a"]);
    let response = within_10s(client.send(&batch)).await.unwrap();
    assert!(response.report(&batch).all_accepted());
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (3, 1));
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    let server = RawServer::start(move |mut stream| {
        let seen = Arc::clone(&requests);
        async move {
            let request = read_request(&mut stream).await;
            let attempts = {
                let mut seen = seen.lock().unwrap();
                seen.push(request);
                seen.len()
            };
            let answer = if attempts < 3 {
                http_response("429 Too Many Requests", "connection: close\r\n", "")
            } else {
                http_response("200 OK", "connection: close\r\n", ACCEPTED)
            };
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await;
    let client = client_without_retries(server.base_url()).retry(quick()).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].ends_with(r#""user":{"msisdn":"+6591234567"}}]}"#));
    assert!(seen.iter().all(|request| *request == seen[0]));
}

/// A resolver that fails a few times before it finds the name, as after a network outage.
struct FlakyResolver {
    lookups: Arc<AtomicUsize>,
    failures: usize,
    address: SocketAddr,
}

impl Resolve for FlakyResolver {
    fn resolve(&self, _: Name) -> Resolving {
        let fails = self.lookups.fetch_add(1, Ordering::SeqCst) < self.failures;
        let addresses: Result<Addrs, _> = if fails {
            Err("no such name".into())
        } else {
            Ok(Box::new([self.address].into_iter()))
        };
        Box::pin(async { addresses })
    }
}

/// A client whose first DNS lookups fail, and its number of lookups.
fn client_with_dns_failures(
    failures: usize,
    sandbox: &Sandbox,
) -> (ClientBuilder, Arc<AtomicUsize>) {
    let address: SocketAddr = sandbox.base_url()["http://".len()..].parse().unwrap();
    let lookups = Arc::new(AtomicUsize::new(0));
    let late = FlakyResolver { lookups: Arc::clone(&lookups), failures, address };
    let http = custom_http_client().dns_resolver(Arc::new(late));
    let client = client_for(sandbox).base_url(format!("http://localhost:{}", address.port()));
    (client.http_client(http), lookups)
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_retried() {
    let sandbox = Sandbox::start().await.unwrap();
    let (client, lookups) = client_with_dns_failures(3, &sandbox);
    let client = client.retry(quick()).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (1, 1));
    assert_eq!(lookups.load(Ordering::SeqCst), 4);

    let (client, lookups) = client_with_dns_failures(3, &sandbox);
    let client = client.retry(quick().max_attempts(3)).build().unwrap();
    let error = error_of(&client).await;
    assert!(matches!(error, Error::NoConnection(_)), "{error:?}");
    assert_eq!((sandbox.requests(), lookups.load(Ordering::SeqCst)), (1, 3));
}

#[tokio::test]
async fn attempts_are_bounded_in_number() {
    let sandbox = sandbox_with([BUSY; 20]).await;
    for (policy, attempts) in [
        (quick(), 5),
        (quick().max_attempts(3), 3),
        (RetryPolicy::never(), 1),
        (quick().max_attempts(0), 1),
    ] {
        let before = sandbox.requests();
        let error = error_of(&client(&sandbox, policy)).await;
        assert_eq!(error.status(), Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(sandbox.requests() - before, attempts);
    }
    assert_eq!(sandbox.accepted_count(), 0);
}

#[tokio::test]
async fn attempts_are_bounded_in_time() {
    let sandbox = sandbox_with([BUSY; 9]).await;
    let error = error_of(&client(&sandbox, quick().max_elapsed(Duration::ZERO))).await;
    assert!(error.retry_is_safe() && error.retry_can_help());
    assert_eq!(sandbox.requests(), 1);
}

#[tokio::test]
async fn a_retry_waits_as_long_as_retry_after_asks() {
    let second = Duration::from_secs(1);
    let sandbox = sandbox_with([Answer::TooManyRequests { retry_after: Some(1) }]).await;
    let start = Instant::now();
    let client = client(&sandbox, quick());
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    assert!(start.elapsed() >= second, "{:?}", start.elapsed());
    assert_eq!(sandbox.requests(), 2);

    // As a date, which has no fraction of a second: 1 to 2 seconds from now.
    let date = httpdate::fmt_http_date(SystemTime::now() + 2 * second);
    sandbox.answer_next([raw_response(429, &[(http::header::RETRY_AFTER, &date)], "")]);
    let start = Instant::now();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    let waited = start.elapsed();
    assert!(waited >= second.mul_f64(0.9), "{waited:?}");
    assert_eq!(sandbox.requests(), 4);
}

#[tokio::test]
async fn a_retry_after_beyond_the_time_of_the_policy_is_returned_at_once() {
    let sandbox = sandbox_with([Answer::TooManyRequests { retry_after: Some(61) }]).await;
    let client = client_for(&sandbox).build().unwrap();
    let error = error_of(&client).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(61)));
    assert_eq!(sandbox.requests(), 1);
}

/// A server whose answers have this status and one of these headers each, in order.
async fn with_headers(status: &'static str, headers: Vec<String>) -> RawServer {
    let next = Arc::new(AtomicUsize::new(0));
    let headers = Arc::new(headers);
    RawServer::start(move |mut stream| {
        let (next, headers) = (Arc::clone(&next), Arc::clone(&headers));
        async move {
            read_request(&mut stream).await;
            let headers = &headers[next.fetch_add(1, Ordering::SeqCst)];
            let answer = http_response(status, &format!("connection: close\r\n{headers}"), "");
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date_and_anything_else_is_ignored() {
    const LONGEST: u64 = u32::MAX as u64;
    const DATE: &str = "date: Sun, 06 Nov 1994 08:49:30 GMT\r\n";
    let table = [
        (DATE, "0", Some(0)),
        (DATE, "7", Some(7)),
        ("", "7", Some(7)),
        (DATE, " 7 ", Some(7)),
        // A fraction is rounded up.
        (DATE, "1.5", Some(2)),
        (DATE, "2.0", Some(2)),
        (DATE, "-1", None),
        (DATE, "+1", None),
        (DATE, "1.", None),
        (DATE, ".5", None),
        (DATE, "", None),
        (DATE, "soon", None),
        (DATE, "1e3", None),
        (DATE, "99999999999999999999999", Some(LONGEST)),
        (DATE, "18446744073709551615.9", Some(LONGEST)),
        // A date is compared with the response's own date.
        (DATE, "Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
        (DATE, "Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
        (DATE, "Sun, 06 Nov 1994 08:49:20 GMT", Some(0)),
        // Without one, with the local clock.
        ("", "Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("date: today\r\n", "Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("", "Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST)),
    ];
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let headers = table.iter().map(|(date, text, _)| format!("{date}retry-after: {text}\r\n"));
        let server = with_headers(status, headers.chain([String::new()]).collect()).await;
        let client = client_without_retries(server.base_url()).build().unwrap();
        for (date, text, seconds) in table {
            let error = error_of(&client).await;
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(error.retry_after(), expected, "{text:?}, {date:?}");
            assert_eq!(error.api_error().unwrap().retry_after(), expected);
        }
        assert_eq!(error_of(&client).await.retry_after(), None, "no header");
    }
}

#[tokio::test]
async fn a_batch_that_was_refused_or_may_have_been_sent_is_sent_once() {
    const LISTED: &str = r#"{"acceptedCount": 1, "rejectedCount": 0}"#;
    let retry_now = [(http::header::RETRY_AFTER, "0")];
    for answer in [
        failing(500),
        failing(502),
        failing(503),
        failing(504),
        failing(408),
        failing(499),
        failing(303),
        failing(400),
        failing(401),
        failing(404),
        failing(413),
        Answer::HangUp,
        Answer::AcceptAndHangUp,
        Answer::AcceptAndFail,
        Answer::AcceptAndCut,
        raw_response(503, &retry_now, "<html>"),
        // A refusal whose body lists accepted messages.
        raw_response(429, &retry_now, LISTED),
        raw_response(400, &[], LISTED),
        unreadable(),
    ] {
        let sandbox = sandbox_with([answer.clone()]).await;
        let client = client(&sandbox, quick());
        let error = error_of(&client).await;
        let refused = matches!(error.status().map(|it| it.as_u16()), Some(400 | 401 | 404 | 413));
        let listed = matches!(&answer, Answer::Exactly { body, .. } if *body == LISTED);
        let expected = if refused && !listed { OutcomeKind::NotSent } else { OutcomeKind::Unknown };
        assert_eq!(error.outcome(), expected, "{answer:?}: {error:?}");
        assert!(!(error.retry_is_safe() && error.retry_can_help()), "{answer:?}: {error:?}");
        assert_eq!(sandbox.requests(), 1, "{answer:?}");
    }
    // Nor after a timeout, which the platform does not notice.
    let sandbox = sandbox_with([Answer::Late(Duration::from_secs(600))]).await;
    let client = client_for(&sandbox).retry(quick()).connect_timeout(Duration::from_millis(500));
    let client = client.build().unwrap().with_timeout(Duration::from_secs(1)).unwrap();
    let error = error_of(&client).await;
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (1, 1));
}

#[tokio::test]
async fn resend_ambiguous_can_duplicate() {
    let lost = [Answer::AcceptAndFail, Answer::AcceptAndHangUp, failing(503), Answer::HangUp];
    let sandbox = sandbox_with(lost).await;
    let batch = batch(&["a"]);
    let response = within_10s(client(&sandbox, resending()).send(&batch)).await.unwrap();
    assert!(response.report(&batch).all_accepted());
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (5, 3));

    // A batch with a 2xx is never resent, even if its body cannot be parsed.
    for answer in [unreadable(), Answer::AcceptAndCut] {
        let sandbox = sandbox_with([answer]).await;
        let error = error_of(&client(&sandbox, resending())).await;
        assert!(matches!(error, Error::AcceptedUnreadable(_)), "{error:?}");
        assert_eq!(sandbox.requests(), 1);
    }
}

#[tokio::test]
async fn resend_ambiguous_reports_unknown_when_a_later_attempt_is_refused() {
    for last in [failing(400), failing(401), BUSY] {
        let answers = [Answer::AcceptAndFail, last.clone(), last.clone(), last.clone(), last];
        let sandbox = sandbox_with(answers.clone()).await;
        let error = error_of(&client(&sandbox, resending())).await;
        assert_eq!(error.outcome(), OutcomeKind::Unknown, "{error:?}");
        assert_eq!(error.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert_eq!(sandbox.accepted_count(), 1);

        let again = sandbox_with(answers).await;
        let outcome = within_10s(client(&again, resending()).send_message(message("a"))).await;
        assert_eq!(outcome, Outcome::from(&error));
        assert_eq!(again.requests(), sandbox.requests());
    }
}

/// A sandbox that rejects a repeated message.
async fn sandbox_rejecting_duplicates(ledger: &Ledger) -> Sandbox {
    let ledger = ledger.clone();
    let sandbox = Sandbox::builder().judge(move |message| {
        let again = ledger.accept_count(json_id(message)) > 0;
        ledger.accept(json_id(message));
        again.then(|| Rejection::from(1400))
    });
    sandbox.start().await.unwrap()
}

#[tokio::test]
async fn resend_ambiguous_reports_unknown_when_a_later_attempt_is_rejected() {
    let ledger = Ledger::default();
    let sandbox = sandbox_rejecting_duplicates(&ledger).await;
    sandbox.answer_next([Answer::AcceptAndFail]);
    let outcome = within_10s(client(&sandbox, resending()).send_message(message("a"))).await;
    // The first attempt was accepted, so "rejected" would be false.
    assert_eq!(outcome.kind, OutcomeKind::Unknown, "{outcome}");
    assert!(!outcome.kind.can_be_resent());
    assert_eq!(outcome.code, Some(ErrorCode::ResendingIntervalViolation));
    assert!(outcome.umid.is_some(), "the id of the attempt that was rejected");
    let reason = outcome.reason.as_deref().unwrap();
    let expected = "rejected when retried, but an earlier attempt may have been sent: ";
    assert!(reason.starts_with(expected), "{reason}");
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (2, 1));

    // A rejection of the only attempt counts, also after an attempt that did nothing.
    for answers in [vec![], vec![BUSY]] {
        let sandbox = sandbox_rejecting_duplicates(&ledger).await;
        sandbox.answer_next(answers);
        let outcome = within_10s(client(&sandbox, resending()).send_message(message("a"))).await;
        assert_eq!(outcome.kind, OutcomeKind::Rejected, "{outcome}");
    }
}

/// The requests for one message, and its outcome.
type RequestsAndOutcome = (u64, Outcome);

/// Sends the same message with `send`, with `send_message` and in a run, each to its own sandbox.
async fn send_by_each_api(
    policy: &RetryPolicy,
    start: impl AsyncFn() -> (Sandbox, Client, Arc<AtomicUsize>),
) -> [RequestsAndOutcome; 3] {
    let requests_and_outcome = |sandbox: &Sandbox, lookups: &AtomicUsize, outcome| {
        let lookups = u64::try_from(lookups.load(Ordering::SeqCst)).unwrap();
        (sandbox.requests().max(lookups), outcome)
    };
    let (sandbox, client, lookups) = start().await;
    let batch = lon_batch::Batch::builder().message(message("a"));
    let batch = batch.include_messages_in_response(true).build().unwrap();
    let outcome = match within_10s(client.send(&batch)).await {
        Ok(response) => response.report(&batch).outcomes()[0].clone(),
        Err(error) => Outcome::from(&error),
    };
    let sent = requests_and_outcome(&sandbox, &lookups, outcome);

    let (sandbox, client, lookups) = start().await;
    let outcome = within_10s(client.send_message(message("a"))).await;
    let sent_message = requests_and_outcome(&sandbox, &lookups, outcome);

    let (sandbox, client, lookups) = start().await;
    let run = client.bulk("run").retry(policy.clone()).send([message("a")]).unwrap();
    let reported = Reported::by(run).await;
    assert!(!matches!(reported.summary.stop, Some(Stop::Cancelled)));
    let ran = requests_and_outcome(&sandbox, &lookups, reported.outcome(0).clone());
    assert_eq!(reported.counts().requests, ran.0);
    [sent, sent_message, ran]
}

#[tokio::test]
async fn a_run_makes_the_same_attempts_as_a_single_send_for_the_same_answers() {
    let too_long = || Answer::TooManyRequests { retry_after: Some(61) };
    let now = || Answer::TooManyRequests { retry_after: Some(0) };
    let accepted_and_failed = || Answer::AcceptAndFail;
    let rejected = || {
        Answer::Edited(|answer| {
            let status = &mut answer["messages"][0]["status"];
            status["state"] = "rejected".into();
            status["errorCode"] = 3038.into();
        })
    };
    // Answers, and the expected number of requests by default and with resending.
    let cases = [
        (vec![], 1, 1),
        (vec![rejected()], 1, 1),
        (vec![now()], 2, 2),
        (vec![now(), now(), now()], 2, 2),
        (vec![too_long()], 1, 1),
        (vec![failing(503)], 1, 2),
        (vec![failing(503), failing(503), failing(503)], 1, 2),
        (vec![failing(408), unreadable()], 1, 2),
        (vec![now(), failing(500)], 2, 2),
        (vec![accepted_and_failed(), BUSY], 1, 2),
        (vec![accepted_and_failed(), failing(400)], 1, 2),
        (vec![Answer::HangUp], 1, 2),
        (vec![Answer::AcceptAndHangUp], 1, 2),
        (vec![failing(400)], 1, 1),
        (vec![failing(401)], 1, 1),
        (vec![failing(413)], 1, 1),
        (vec![unreadable()], 1, 1),
        (vec![Answer::AcceptAndCut], 1, 1),
    ];
    let (all, mut running) = (LocalSet::new(), Vec::new());
    for (answers, by_default, resent) in cases {
        for (policy, attempts) in [
            (RetryPolicy::never(), 1),
            (quick().max_attempts(2), by_default),
            (resending().max_attempts(2), resent),
        ] {
            let answers = answers.clone();
            // A run slows down after a 429, so the cases run concurrently.
            running.push(all.spawn_local(async move {
                let start = async || {
                    let sandbox = sandbox_with(answers.clone()).await;
                    let client = client(&sandbox, policy.clone());
                    (sandbox, client, Arc::default())
                };
                let [sent, sent_message, ran] = send_by_each_api(&policy, start).await;
                assert_eq!(sent.0, attempts, "{answers:?} {policy:?}: {}", sent.1);
                assert_eq!(sent_message, sent, "{answers:?} {policy:?}");
                assert_eq!(ran, sent, "{answers:?} {policy:?}");
            }));
        }
    }
    for case in running {
        all.run_until(case).await.unwrap();
    }
    // With failing connects.
    for (failures, attempts) in [(1, 2), (2, 3), (9, 3)] {
        let policy = quick().max_attempts(3);
        let start = async || {
            let sandbox = Sandbox::start().await.unwrap();
            let (client, lookups) = client_with_dns_failures(failures, &sandbox);
            (sandbox, client.retry(policy.clone()).build().unwrap(), lookups)
        };
        let [sent, sent_message, ran] = send_by_each_api(&policy, start).await;
        let kind = if failures < 3 { OutcomeKind::Accepted } else { OutcomeKind::NotSent };
        assert_eq!((sent.0, sent.1.kind), (attempts, kind));
        assert_eq!((&sent_message, &ran), (&sent, &sent));
    }
}

#[tokio::test]
async fn attempts_are_logged_without_texts_numbers_and_keys() {
    log::start_capture();

    let body = format!(r#"{{"code": 429, "message": "Jane Doe {NUMBER} {KEY}"}}"#);
    let busy = http_response("429 Too Many Requests", "retry-after: 1\r\n", body);
    let server = RawServer::answering(busy).await;
    let client =
        client_without_retries(server.base_url()).retry(quick().max_attempts(2)).build().unwrap();
    let error = within_10s(client.send(&batch(&["order-1", "b"]))).await.unwrap_err();
    assert_no_secrets(&printed(&error));

    let log = log::drain();
    let ours: Vec<_> = log.lines().filter(|line| line.contains("lon_batch")).collect();
    assert_eq!(ours.len(), 2, "{log}");
    let (host, port) = (server.address.ip(), server.address.port());
    let span = format!(
        "send_batch{{messages=2 http.request.method=\"POST\" server.address=\"{host}\" \
         server.port={port}}}: lon_batch::transport::retry: "
    );
    for (line, level, fields) in [
        (
            ours[0],
            " WARN ",
            "retrying a batch messages=2 http.request.resend_count=0 \
             http.response.status_code=429 outcome=\"not_sent\" delay_ms=1",
        ),
        (
            ours[1],
            " DEBUG ",
            "an attempt failed messages=2 http.request.resend_count=1 \
             http.response.status_code=429 outcome=\"not_sent\"",
        ),
    ] {
        assert!(line.contains(level) && line.contains(&format!("{span}{fields}")), "{line}");
    }
    let taken = RawServer::answering(http_response("202 Accepted", "", ACCEPTED)).await;
    let client = client_without_retries(taken.base_url()).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    let last = log::drain();
    let fields = "the platform accepted the batch messages=1 http.request.resend_count=0 accepted=1 rejected=0";
    assert!(last.contains(fields), "{last}");
    for hidden in ["order-1", "Jane", "Hello", "my-subaccount"] {
        assert!(!ours.concat().contains(hidden), "{log}");
    }
    // No other crate logs them either, at any level.
    assert_no_secrets(&log);
    assert_no_secrets(&last);
}
