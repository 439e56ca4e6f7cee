//! What is sent again, what is not, and what can be seen of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lon_batch::mock::{Answer, Sandbox};
use lon_batch::reqwest::StatusCode;
use lon_batch::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use lon_batch::{Client, ClientBuilder, Error, ErrorCode, RetryPolicy};
use tokio::io::AsyncWriteExt;

use crate::log;
use crate::support::{
    ACCEPTED, KEY, NUMBER, RawServer, answer, assert_no_secrets, batch, client_of, own_client,
    printed, read_request,
};

/// The default, in a hurry.
fn quick() -> RetryPolicy {
    RetryPolicy::default().base_delay(Duration::from_millis(2)).max_delay(Duration::from_millis(10))
}

const BUSY: Answer = Answer::TooManyRequests { retry_after: None };

fn failing(status: u16) -> Answer {
    Answer::Error { status: StatusCode::from_u16(status).unwrap(), code: ErrorCode::InternalError }
}

async fn sandbox_with(answers: impl IntoIterator<Item = Answer>) -> Sandbox {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next(answers);
    sandbox
}

fn client(sandbox: &Sandbox, policy: RetryPolicy) -> Client {
    sandbox.client().retry(policy).build().unwrap()
}

#[tokio::test]
async fn a_busy_platform_is_asked_again_by_default() {
    let sandbox = sandbox_with([BUSY, BUSY]).await;
    let client = sandbox.client().build().unwrap();
    let response = client.send(&batch(&["a"])).await.unwrap();
    assert!(response.all_accepted());
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (3, 1));
}

#[tokio::test]
async fn every_try_sends_the_same_bytes() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    let server = RawServer::start(move |mut stream| {
        let seen = Arc::clone(&requests);
        async move {
            let request = read_request(&mut stream).await;
            let tries = {
                let mut seen = seen.lock().unwrap();
                seen.push(request);
                seen.len()
            };
            let answer = if tries < 3 {
                answer("429 Too Many Requests", "connection: close\r\n", "")
            } else {
                answer("200 OK", "connection: close\r\n", ACCEPTED)
            };
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await;
    let client = client_of(server.base_url()).retry(quick()).build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].ends_with(r#""user":{"msisdn":"+6591234567"}}]}"#));
    assert!(seen.iter().all(|request| *request == seen[0]));
}

/// A resolver that finds the name only after some tries, as after an outage of the network.
struct Late {
    failures: AtomicUsize,
    address: SocketAddr,
}

impl Resolve for Late {
    fn resolve(&self, _: Name) -> Resolving {
        let left = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let addresses: Result<Addrs, _> = match left {
            Ok(_) => Err("no such name".into()),
            Err(_) => Ok(Box::new([self.address].into_iter())),
        };
        Box::pin(async { addresses })
    }
}

fn reached_after(failures: usize, sandbox: &Sandbox) -> ClientBuilder {
    let address: SocketAddr = sandbox.base_url()["http://".len()..].parse().unwrap();
    let late = Late { failures: AtomicUsize::new(failures), address };
    let http = own_client().dns_resolver(Arc::new(late));
    sandbox.client().base_url(format!("http://localhost:{}", address.port())).http_client(http)
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_again() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = reached_after(3, &sandbox).retry(quick()).build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (1, 1));

    let policy = quick().max_attempts(3);
    let client = reached_after(3, &sandbox).retry(policy).build().unwrap();
    let error = client.send(&batch(&["a"])).await.unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error:?}");
    assert_eq!(sandbox.requests(), 1);
}

#[tokio::test]
async fn tries_are_bounded_in_number() {
    let sandbox = sandbox_with([BUSY; 9]).await;
    let three = client(&sandbox, quick().max_attempts(3));
    let error = three.send(&batch(&["a"])).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (3, 0));

    for policy in [RetryPolicy::never(), quick().max_attempts(0)] {
        let before = sandbox.requests();
        client(&sandbox, policy).send(&batch(&["a"])).await.unwrap_err();
        assert_eq!(sandbox.requests() - before, 1);
    }
}

#[tokio::test]
async fn tries_are_bounded_in_time() {
    let sandbox = sandbox_with([BUSY; 9]).await;
    let policy = quick().max_elapsed(Duration::ZERO);
    let error = client(&sandbox, policy).send(&batch(&["a"])).await;
    assert!(error.unwrap_err().is_retryable());
    assert_eq!(sandbox.requests(), 1);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let second = Duration::from_secs(1);
    let sandbox = sandbox_with([Answer::TooManyRequests { retry_after: Some(1) }]).await;
    let start = Instant::now();
    let client = client(&sandbox, quick());
    client.send(&batch(&["a"])).await.unwrap();
    assert!(start.elapsed() >= second, "{:?}", start.elapsed());
    assert_eq!(sandbox.requests(), 2);

    // As a date, which has no fractions of a second: between 1 and 2 seconds from now.
    let date = httpdate::fmt_http_date(SystemTime::now() + 2 * second);
    let mut headers = http::HeaderMap::new();
    headers.insert("retry-after", date.parse().unwrap());
    sandbox.answer_next([Answer::Exactly {
        status: StatusCode::TOO_MANY_REQUESTS,
        headers,
        body: "".into(),
    }]);
    let start = Instant::now();
    client.send(&batch(&["a"])).await.unwrap();
    let waited = start.elapsed();
    assert!(waited >= second.mul_f64(0.9), "{waited:?}");
    assert_eq!(sandbox.requests(), 4);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_returned_at_once() {
    let sandbox = sandbox_with([Answer::TooManyRequests { retry_after: Some(61) }]).await;
    let client = sandbox.client().build().unwrap();
    let start = Instant::now();
    let error = client.send(&batch(&["a"])).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(61)));
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(sandbox.requests(), 1);
}

#[tokio::test]
async fn what_may_have_been_sent_or_was_refused_is_sent_once() {
    let answers = [
        failing(500),
        failing(502),
        failing(503),
        failing(504),
        failing(408),
        failing(400),
        failing(401),
        failing(404),
        failing(413),
        Answer::HangUp,
        Answer::AcceptAndHangUp,
        Answer::AcceptAndFail,
        Answer::Exactly {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: [(http::header::RETRY_AFTER, "0".parse().unwrap())].into_iter().collect(),
            body: "<html>".into(),
        },
        Answer::Exactly {
            status: StatusCode::OK,
            headers: http::HeaderMap::new(),
            body: "taken".into(),
        },
    ];
    for answer in answers {
        let sandbox = sandbox_with([answer.clone()]).await;
        let client = client(&sandbox, quick());
        let error = client.send(&batch(&["a"])).await.unwrap_err();
        assert!(!error.is_retryable(), "{answer:?}: {error:?}");
        assert_eq!(sandbox.requests(), 1, "{answer:?}");
    }
    // And after the time-out, which the platform does not know of.
    let sandbox = sandbox_with([Answer::Late(Duration::from_secs(600))]).await;
    let client = client(&sandbox, quick());
    let client = client.with_timeout(Duration::from_secs(2));
    let error = client.send(&batch(&["a"])).await.unwrap_err();
    assert!(error.may_have_been_sent());
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (1, 1));
}

#[tokio::test]
async fn who_asks_for_it_gets_duplicates() {
    let policy = || quick().resend_ambiguous_and_risk_duplicates();
    let lost = [Answer::AcceptAndFail, Answer::AcceptAndHangUp, failing(503), Answer::HangUp];
    let sandbox = sandbox_with(lost).await;
    let response = client(&sandbox, policy()).send(&batch(&["a"])).await;
    assert!(response.unwrap().all_accepted());
    assert_eq!((sandbox.requests(), sandbox.accepted_count()), (5, 3));

    // An accepted batch is not sent again, whatever its answer is.
    let sandbox = sandbox_with([Answer::Exactly {
        status: StatusCode::OK,
        headers: http::HeaderMap::new(),
        body: "taken".into(),
    }])
    .await;
    let error = client(&sandbox, policy()).send(&batch(&["a"])).await;
    assert!(matches!(error.unwrap_err(), Error::AcceptedUnreadable(_)));
    assert_eq!(sandbox.requests(), 1);
}

#[tokio::test]
async fn a_refusal_does_not_hide_that_an_earlier_try_may_have_been_sent() {
    let policy = quick().resend_ambiguous_and_risk_duplicates();
    for last in [failing(400), failing(401)] {
        let sandbox = sandbox_with([Answer::AcceptAndFail, last]).await;
        let error = client(&sandbox, policy.clone()).send(&batch(&["a"])).await.unwrap_err();
        assert!(error.may_have_been_sent(), "{error:?}");
        assert_eq!(error.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert_eq!((sandbox.requests(), sandbox.accepted_count()), (2, 1));
    }
}

#[tokio::test]
async fn clones_share_a_budget() {
    let sandbox = sandbox_with(std::iter::repeat_n(BUSY, 200)).await;
    // One a second in ten seconds: ten retries for all together.
    let first = client(&sandbox, quick().budget(1, 0));
    let second = first.clone();
    for _ in 0..10 {
        first.send(&batch(&["a"])).await.unwrap_err();
        second.send(&batch(&["a"])).await.unwrap_err();
    }
    // Another window may have begun, on a machine that is very slow.
    let retries = sandbox.requests() - 20;
    assert!((10..=20).contains(&retries), "{retries} retries");

    let none = client(&sandbox, quick().budget(0, 0));
    let before = sandbox.requests();
    none.send(&batch(&["a"])).await.unwrap_err();
    assert_eq!(sandbox.requests() - before, 1);
}

#[tokio::test]
async fn a_budget_grows_with_what_is_sent() {
    let sandbox = Sandbox::start().await.unwrap();
    // One retry for every two batches.
    let client = client(&sandbox, quick().budget(0, 50));
    client.send(&batch(&["a"])).await.unwrap();
    sandbox.answer_next([BUSY, Answer::Contract, BUSY]);
    client.send(&batch(&["a"])).await.unwrap();
    client.send(&batch(&["a"])).await.unwrap_err();
    assert_eq!(sandbox.requests(), 4);
}

#[tokio::test]
async fn tries_can_be_seen_and_nobody_in_them() {
    log::listen();

    let body = format!(r#"{{"code": 429, "message": "Jane Doe {NUMBER} {KEY}"}}"#);
    let busy = answer("429 Too Many Requests", "retry-after: 1\r\n", body);
    let server = RawServer::answering(busy).await;
    let client = client_of(server.base_url()).retry(quick().max_attempts(2)).build().unwrap();
    let error = client.send(&batch(&["order-1", "b"])).await.unwrap_err();
    assert_no_secrets(&printed(&error));

    let log = log::take();
    let ours: Vec<_> = log.lines().filter(|line| line.contains("lon_batch")).collect();
    assert_eq!(ours.len(), 2, "{log}");
    assert!(ours[0].contains(" WARN "), "{log}");
    let fields =
        "sends a batch again attempt=1 messages=2 status=429 outcome=\"refused\" delay_ms=1";
    assert!(ours[0].contains(fields), "{log}");
    assert!(ours[1].contains(" DEBUG "), "{log}");
    let fields = "sent a batch attempt=2 messages=2 status=429 outcome=\"refused\"";
    assert!(ours[1].ends_with(fields), "{log}");
    let taken = RawServer::answering(answer("202 Accepted", "", ACCEPTED)).await;
    let client = client_of(taken.base_url()).build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    let last = log::take();
    let fields = "sent a batch attempt=1 messages=1 status=202 outcome=\"accepted\"";
    assert!(last.contains(fields), "{last}");
    for hidden in ["order-1", "Jane", "Hello", "my-subaccount"] {
        assert!(!ours.concat().contains(hidden), "{log}");
    }
    assert_no_secrets(&ours.concat());
}
