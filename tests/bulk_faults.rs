//! The reports of a run when the network or the platform fails, compared with what the server
//! accepted.

mod common;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lon_batch::bulk::{Bulk, CancellationToken, Rate, Run, Stop};
use lon_batch::reqwest::StatusCode;
use lon_batch::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use lon_batch::{Client, Content, Error, ErrorCode, Message, Msisdn, Outcome, OutcomeKind};
use lon_sandbox::{Answer, Rejection, Sandbox};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use common::ledger::{Ledger, Reported, json_id, next_or_panic};
use common::runs::{bulk, hello, hellos, quick, settled};
use common::{
    RawServer, client_for, client_without_retries, custom_http_client, http_response, msisdn,
    read_request, within_10s,
};

const ACCEPTED: OutcomeKind = OutcomeKind::Accepted;
const NOT_SENT: OutcomeKind = OutcomeKind::NotSent;
const UNKNOWN: OutcomeKind = OutcomeKind::Unknown;

/// The answer of a server to a request that it has read.
#[derive(Clone, Copy)]
enum Step {
    Accept,
    Reset,
    AcceptAndReset,
    AcceptAndCut,
    /// The answer goes on for as long as the client reads it.
    AcceptAndGoOn,
    AcceptAndStall,
    /// Status line, headers and body.
    Say(&'static str, &'static str, &'static str),
    AcceptAndSay(&'static str, &'static str, &'static str),
}

/// The ids of the messages of a request.
fn ids(request: &str) -> Vec<String> {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let messages = body["messages"].as_array().unwrap().iter();
    messages.map(|message| message["clientMessageId"].as_str().unwrap().to_owned()).collect()
}

fn accepted(ids: &[String]) -> String {
    let messages = ids.iter().map(|id| {
        json!({"umid": format!("u-{id}"), "clientMessageId": id, "status": {"state": "queued"}})
    });
    json!({
        "batchId": "b", "acceptedCount": ids.len(), "rejectedCount": 0,
        "messages": messages.collect::<Vec<_>>(),
    })
    .to_string()
}

async fn act(mut stream: TcpStream, step: Step, ids: &[String], ledger: &Ledger) {
    if !matches!(step, Step::Reset | Step::Say(..)) {
        for id in ids {
            ledger.accept(id);
        }
    }
    let whole = http_response("200 OK", "connection: close\r\n", accepted(ids));
    let written = match step {
        Step::Accept => stream.write_all(&whole).await,
        Step::Reset | Step::AcceptAndReset => stream.set_zero_linger(),
        Step::AcceptAndCut => stream.write_all(&whole[..whole.len() / 2]).await,
        Step::AcceptAndGoOn => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut written = stream.write_all(head).await;
            while written.is_ok() {
                written = stream.write_all(b"1\r\n \r\n").await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        }
        Step::AcceptAndStall => std::future::pending().await,
        Step::Say(status, headers, body) | Step::AcceptAndSay(status, headers, body) => {
            let headers = format!("connection: close\r\n{headers}");
            stream.write_all(&http_response(status, &headers, body)).await
        }
    };
    written.unwrap();
}

/// A server of one request a connection, which takes a step for each, by its number and the ids of
/// its messages. Connections with the numbers in `unread` are reset before a request is read.
async fn server(
    ledger: &Ledger,
    unread: &'static [usize],
    step: impl Fn(usize, &[String]) -> Step + Send + Sync + 'static,
) -> RawServer {
    let (ledger, step) = (ledger.clone(), Arc::new(step));
    let requests = Arc::new(AtomicUsize::new(0));
    RawServer::start(move |mut stream| {
        let (ledger, step, requests) = (ledger.clone(), Arc::clone(&step), Arc::clone(&requests));
        async move {
            let number = requests.fetch_add(1, Ordering::SeqCst);
            if unread.contains(&number) {
                return stream.set_zero_linger().unwrap();
            }
            let ids = ids(&read_request(&mut stream).await);
            let step = step(number, &ids);
            act(stream, step, &ids, &ledger).await;
        }
    })
    .await
}

/// Batches of ten, one after the other.
fn tens(client: &Client) -> Bulk<'static> {
    bulk(client).concurrency(1).max_messages_per_batch(10)
}

/// Whether a message was taken and not sent because the run stopped.
fn is_stopped(outcome: &Outcome) -> bool {
    let reason = outcome.reason.as_deref();
    outcome.kind == NOT_SENT && outcome.status.is_none() && reason == Some("the run stopped")
}

/// The status in a status line.
fn status_of(line: &str) -> u16 {
    line[..3].parse().unwrap()
}

const JSON: &str = r#"{"code": 2000, "message": "Oh no", "errorId": "e", "timestamp": "t"}"#;
const HTML: &str = "<html><body>Bad gateway</body></html>";

#[tokio::test]
async fn a_batch_that_fails_has_one_outcome_and_the_run_continues() {
    const BUSY: &str = "429 Too Many Requests";
    let mut cases = vec![
        ("reset", Step::Reset, UNKNOWN),
        ("accepted and reset", Step::AcceptAndReset, UNKNOWN),
        ("half an answer", Step::AcceptAndCut, UNKNOWN),
        ("an answer without an end", Step::AcceptAndGoOn, UNKNOWN),
        ("a stall", Step::AcceptAndStall, UNKNOWN),
        ("busy", Step::Say(BUSY, "", ""), ACCEPTED),
        ("busy, JSON", Step::Say(BUSY, "retry-after: 0\r\n", JSON), ACCEPTED),
        ("unreadable", Step::AcceptAndSay("200 OK", "", HTML), UNKNOWN),
        ("empty", Step::AcceptAndSay("200 OK", "", ""), UNKNOWN),
        ("not an answer", Step::AcceptAndSay("200 OK", "", "{}"), UNKNOWN),
        ("bad request", Step::Say("400 Bad Request", "", JSON), NOT_SENT),
        ("bad request, HTML", Step::Say("400 Bad Request", "", HTML), NOT_SENT),
        ("unprocessable", Step::Say("422 Unprocessable", "", ""), NOT_SENT),
        ("request time-out", Step::Say("408 Request Timeout", "", ""), UNKNOWN),
    ];
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        for body in [JSON, HTML, ""] {
            cases.push((status, Step::Say(status, "", body), UNKNOWN));
            cases.push((status, Step::AcceptAndSay(status, "", body), UNKNOWN));
        }
        let again = "retry-after: 0\r\n";
        cases.push((status, Step::AcceptAndSay(status, again, JSON), UNKNOWN));
    }
    let mut running = JoinSet::new();
    for (name, second, expected) in cases {
        running.spawn(async move {
            let timeout = match second {
                Step::AcceptAndGoOn | Step::AcceptAndStall => Duration::from_secs(2),
                _ => Duration::from_secs(30),
            };
            let ledger = Ledger::default();
            let server = server(&ledger, &[], move |number, _| match number {
                1 => second,
                _ => Step::Accept,
            })
            .await;
            let client =
                client_without_retries(server.base_url()).timeout(timeout).build().unwrap();
            let reported = Reported::by(tens(&client).send(hellos(30)).unwrap()).await;
            reported.check(&ledger);
            for position in 0..30 {
                let of_the_second = (10..20).contains(&position);
                let expected = if of_the_second { expected } else { ACCEPTED };
                let outcome = reported.outcome(position);
                assert_eq!(outcome.kind, expected, "{name}: {position}");
                if let Step::Say(line, ..) | Step::AcceptAndSay(line, ..) = second
                    && expected != ACCEPTED
                {
                    assert_eq!(outcome.status, Some(status_of(line)), "{name}: {position}");
                }
                assert!(expected == ACCEPTED || outcome.reason.is_some(), "{name}: {position}");
            }
            let again = usize::from(expected == ACCEPTED);
            assert_eq!(server.connections(), 3 + again, "{name}");
            assert!(reported.summary.stop.is_none(), "{name}: {:?}", reported.summary);
        });
    }
    running.join_all().await;
}

#[tokio::test]
async fn a_batch_whose_connection_is_reset_unread_is_unknown_and_not_retried() {
    let ledger = Ledger::default();
    let server = server(&ledger, &[1], |_, _| Step::Accept).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let reported = Reported::by(tens(&client).send(hellos(30)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.count(UNKNOWN)), (20, 10));
    let lost = reported.outcome(10).to_string();
    assert!(lost.starts_with("unknown: the connection was lost: "), "{lost}");
    assert_eq!(server.connections(), 3, "nothing was sent again");
}

#[tokio::test]
async fn a_message_left_out_of_a_response_is_unknown_alone() {
    let ledger = Ledger::default();
    let sandbox = ledger
        .sandbox_with([Answer::Edited(|answer| {
            _ = answer["messages"].as_array_mut().unwrap().remove(500);
        })])
        .await;
    let client = client_for(&sandbox).build().unwrap();
    let reported = Reported::by(bulk(&client).send(hellos(1000)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.count(UNKNOWN)), (999, 1));
    assert_eq!(reported.outcome(500).kind, UNKNOWN);
}

#[tokio::test]
async fn a_refusal_that_holds_for_every_batch_stops_the_run() {
    const SUB_ACCOUNT: &str = r#"{"code": 1001, "message": "m", "errorId": "e", "timestamp": "t"}"#;
    let refused = [
        ("401 Unauthorized", JSON),
        ("401 Unauthorized", ""),
        ("403 Forbidden", HTML),
        ("404 Not Found", JSON),
        ("410 Gone", JSON),
        ("426 Upgrade Required", JSON),
        ("400 Bad Request", SUB_ACCOUNT),
        ("422 Unprocessable", SUB_ACCOUNT),
        ("403 Forbidden", r#"{"code": 1100}"#),
        ("405 Method Not Allowed", ""),
        ("407 Proxy Authentication Required", HTML),
        ("301 Moved Permanently", ""),
    ];
    for (status, body) in refused {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], move |number, _| match number {
            1 => Step::Say(status, "location: /there\r\n", body),
            _ => Step::Accept,
        })
        .await;
        let client = client_without_retries(server.base_url()).build().unwrap();
        let run = tens(&client).send(hellos(1000)).unwrap();
        let reported = Reported::by(run).await;
        reported.check(&ledger);
        assert_eq!(reported.count(ACCEPTED), 10, "{status}");
        assert_eq!(reported.refused(), 10, "{status}");
        assert_eq!(server.connections(), 2, "{status}");
        assert!(
            matches!(reported.summary.stop, Some(Stop::Refused(_))),
            "{status}: {:?}",
            reported.summary.stop
        );
        assert_eq!(reported.outcome(10).status, Some(status_of(status)), "{status}");
        for outcome in reported.messages.iter().filter(|it| it.position >= 20) {
            assert!(is_stopped(&outcome.outcome), "{status}: {}", outcome.outcome);
        }
    }
    // The code stops the run also if the batch may have been sent.
    let ledger = Ledger::default();
    let server = server(&ledger, &[], |_, _| {
        Step::AcceptAndSay("500 Internal Server Error", "", SUB_ACCOUNT)
    })
    .await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let reported = Reported::by(tens(&client).send(hellos(1000)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(UNKNOWN), server.connections()), (10, 1));
    assert!(matches!(reported.summary.stop, Some(Stop::Refused(_))));
}

#[tokio::test]
async fn batches_that_wait_for_their_turn_are_not_sent_after_a_stop() {
    let ledger = Ledger::default();
    // The first is refused at once, the second and third wait for their turn.
    let sandbox = ledger
        .sandbox_with([Answer::Error {
            status: StatusCode::UNAUTHORIZED.as_u16(),
            code: ErrorCode::Unauthorized.value(),
        }])
        .await;
    let client = client_for(&sandbox).build().unwrap();
    let run = tens(&client)
        .concurrency(3)
        .max_rate(Rate::RequestsPerSecond(0.01))
        .send(hellos(100))
        .unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!(sandbox.requests(), 1);
    assert_eq!(reported.refused(), 10);
    assert!((20..=40).contains(&reported.count(NOT_SENT)));
    assert!(reported.counts().taken < 100, "the rest stays in the input");
}

/// A server that takes this many messages at a time.
async fn takes_at_most(most: usize, ledger: &Ledger, step: Step) -> RawServer {
    server(ledger, &[], move |_, ids| if ids.len() > most { step } else { Step::Accept }).await
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved() {
    const TOO_MANY: &str = r#"{"code": 3013, "message": "m", "errorId": "e", "timestamp": "t"}"#;
    const BULK_LIMIT: &str = r#"{"code": 1100, "message": "m", "errorId": "e", "timestamp": "t"}"#;
    for step in [
        Step::Say("413 Payload Too Large", "", HTML),
        Step::Say("413 Payload Too Large", "", BULK_LIMIT),
        Step::Say("400 Bad Request", "", TOO_MANY),
        Step::Say("400 Bad Request", "", BULK_LIMIT),
        Step::Say("422 Unprocessable", "", BULK_LIMIT),
    ] {
        let ledger = Ledger::default();
        let server = takes_at_most(60, &ledger, step).await;
        let client = client_without_retries(server.base_url()).build().unwrap();
        let run = bulk(&client).concurrency(2).send(hellos(5000)).unwrap();
        let reported = Reported::by(run).await;
        reported.check(&ledger);
        assert_eq!(reported.count(ACCEPTED), 5000);
        // For each 1,000 messages, 1 + 2 + 4 + 8 + 16 requests are refused and 32 accepted.
        assert_eq!(server.connections(), 5 * 63);
    }
}

#[tokio::test]
async fn one_message_that_is_too_large_is_not_sent_alone() {
    let ledger = Ledger::default();
    let server = server(&ledger, &[], |_, ids| {
        if ids.iter().any(|id| id == "run-37") {
            Step::Say("413 Payload Too Large", "", "")
        } else {
            Step::Accept
        }
    })
    .await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let reported = Reported::by(bulk(&client).send(hellos(100)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.refused()), (99, 1));
    assert_eq!(reported.outcome(37).status, Some(413));
    assert!(reported.summary.stop.is_none());
}

#[tokio::test]
async fn refusals_for_size_now_and_then_do_not_stop_the_run() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |number| match number % 10 {
        9 => Answer::Error {
            status: StatusCode::BAD_REQUEST.as_u16(),
            code: ErrorCode::BulkLimitReached.value(),
        },
        _ => Answer::Contract,
    })
    .await;
    let client = client_for(&sandbox).build().unwrap();
    let run = bulk(&client).max_messages_per_batch(20);
    let reported = Reported::by(run.send(hellos(4000)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!(reported.count(ACCEPTED), 4000);
    assert!(sandbox.requests() < 300, "{}", sandbox.requests());
}

#[tokio::test]
async fn ten_responses_in_a_row_that_settle_nothing_stop_the_run() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |_| {
        Answer::Edited(|answer| {
            answer["messages"] = Value::Null;
            answer["acceptedCount"] = Value::Null;
        })
    })
    .await;
    let client = client_for(&sandbox).build().unwrap();
    let reported = Reported::by(tens(&client).send(hellos(1000)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(UNKNOWN), sandbox.requests()), (100, 10));
    let stop = reported.summary.stop;
    let unanswered = Stop::Unanswered { chunks: 10, error: None };
    assert_eq!(stop.unwrap().to_string(), unanswered.to_string());
}

#[tokio::test]
async fn a_platform_for_which_one_message_is_too_many_stops_the_run() {
    const BULK_LIMIT: &str = r#"{"code": 1100, "message": "m", "errorId": "e", "timestamp": "t"}"#;
    let ledger = Ledger::default();
    let limit = Step::Say("400 Bad Request", "", BULK_LIMIT);
    let server = takes_at_most(0, &ledger, limit).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let reported = Reported::by(tens(&client).send(hellos(1000)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.refused()), (0, 1));
    assert!(matches!(reported.summary.stop, Some(Stop::Refused(_))));
    assert_eq!(server.connections(), 5, "10, 5, 3, 2, 1");
}

/// A resolver that fails some times in the middle of a run.
struct Gone {
    address: SocketAddr,
    lookups: AtomicUsize,
    failing: std::ops::Range<usize>,
}

impl Resolve for Gone {
    fn resolve(&self, _: Name) -> Resolving {
        let gone = self.failing.contains(&self.lookups.fetch_add(1, Ordering::SeqCst));
        let address = self.address;
        Box::pin(async move {
            if gone {
                return Err("no such name".into());
            }
            Ok(Box::new([address].into_iter()) as Addrs)
        })
    }
}

fn client_of_gone(server: &RawServer, failing: std::ops::Range<usize>) -> Client {
    let (address, lookups) = (server.address, AtomicUsize::new(0));
    let resolver = Gone { address, lookups, failing };
    let http = custom_http_client().dns_resolver(Arc::new(resolver));
    client_without_retries(format!("http://localhost:{}", address.port()))
        .http_client(http)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_server_that_is_gone_for_a_while_gets_everything_once() {
    for at_a_time in [1, 4] {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], |_, _| Step::Accept).await;
        let client = client_of_gone(&server, 3..12);
        let run = tens(&client).concurrency(at_a_time).send(hellos(100)).unwrap();
        let reported = Reported::by(run).await;
        reported.check(&ledger);
        assert_eq!(reported.count(ACCEPTED), 100);
        assert_eq!(server.connections(), 10);
        // The nine attempts that reached nobody are counted.
        assert_eq!(reported.counts().requests, 19);
    }
}

#[tokio::test]
async fn a_server_that_stays_gone_stops_the_run() {
    for at_a_time in [1, 4] {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], |_, _| Step::Accept).await;
        let client = client_of_gone(&server, 2..usize::MAX);
        let run = tens(&client)
            .concurrency(at_a_time)
            .retry(quick().max_attempts(3))
            .send(hellos(1000))
            .unwrap();
        let reported = Reported::by(run).await;
        reported.check(&ledger);
        assert_eq!(reported.count(ACCEPTED), 20);
        assert_eq!(reported.count(ACCEPTED) + reported.count(NOT_SENT), reported.messages.len());
        // The batch that was given up, and what waited behind it.
        let gave_up = |it: &&Outcome| it.to_string().starts_with("not sent: no connection: ");
        let not_sent = || reported.messages.iter().map(|it| &it.outcome).skip(20);
        assert!(not_sent().any(|it| gave_up(&it)));
        assert!(not_sent().all(|it| gave_up(&it) || is_stopped(it)));
        let Some(Stop::GaveUp(error)) = &reported.summary.stop else { panic!() };
        assert!(matches!(**error, Error::NoConnection(_)), "{error:?}");
        assert!(reported.counts().taken <= 10 * (2 + 2 * at_a_time as u64));
    }
}

#[tokio::test]
async fn a_retry_after_beyond_the_policy_stops_the_run_at_once() {
    for (step, kind) in [
        (Step::Say("429 Too Many Requests", "retry-after: 3600\r\n", JSON), NOT_SENT),
        (Step::Say("503 Service Unavailable", "retry-after: 3600\r\n", JSON), UNKNOWN),
    ] {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], move |_, _| step).await;
        let client = client_without_retries(server.base_url()).build().unwrap();
        let start = Instant::now();
        let reported = Reported::by(tens(&client).send(hellos(1000)).unwrap()).await;
        assert!(start.elapsed() < Duration::from_secs(30));
        reported.check(&ledger);
        assert_eq!((reported.count(kind), server.connections()), (10, 1));
        assert!(reported.messages.iter().all(|it| it.outcome.status.is_some()));
        assert!(matches!(reported.summary.stop, Some(Stop::GaveUp(_))));
        let stop = reported.summary.stop.unwrap().to_string();
        assert!(stop.contains("retry after 3600 s"), "{stop}");
    }
}

/// A sandbox with these answers, by the number of the request, and when requests came.
async fn timed(
    ledger: &Ledger,
    answers: impl Fn(u64) -> Answer + Send + 'static,
) -> (Sandbox, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let sandbox = ledger.sandbox().answer_with(move |number| {
        noted.lock().unwrap().push(Instant::now());
        answers(number)
    });
    (sandbox.start().await.unwrap(), times)
}

#[tokio::test]
async fn a_retry_after_pauses_all_batches() {
    let unavailable = || Answer::Exactly {
        status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        headers: vec![("retry-after".to_owned(), "1".to_owned())],
        body: "".into(),
    };
    let busy = || Answer::TooManyRequests { retry_after: Some(1) };
    let cases: [(fn() -> Answer, usize); 2] = [(busy, 80), (unavailable, 70)];
    for (first, taken) in cases {
        let ledger = Ledger::default();
        let (sandbox, times) = timed(&ledger, move |number| match number {
            0 => first(),
            // Later than the first, and not long.
            1..4 => Answer::Late(Duration::from_millis(100)),
            _ => Answer::Contract,
        })
        .await;
        let client = client_for(&sandbox).build().unwrap();
        let run = tens(&client).concurrency(4).send(hellos(80)).unwrap();
        let reported = Reported::by(run).await;
        reported.check(&ledger);
        assert_eq!(reported.count(ACCEPTED), taken);
        let times = times.lock().unwrap();
        // Four left before the first answer. No other came within the second.
        let wait = times[4] - times[0];
        assert!(wait >= Duration::from_secs(1), "{wait:?}");
    }
}

#[tokio::test]
async fn batches_that_all_get_a_429_are_all_sent_later() {
    for retry_after in [None, Some(1)] {
        let ledger = Ledger::default();
        let (sandbox, _) = timed(&ledger, move |number| match number {
            0..4 => Answer::TooManyRequests { retry_after },
            _ => Answer::Contract,
        })
        .await;
        let client = client_for(&sandbox).build().unwrap();
        let run = tens(&client).concurrency(4).send(hellos(60)).unwrap();
        let reported = Reported::by(run).await;
        reported.check(&ledger);
        assert_eq!(reported.count(ACCEPTED), 60);
        assert_eq!(sandbox.requests(), 10);
    }
}

#[tokio::test]
async fn a_platform_that_answers_429_for_good_stops_the_run() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |number| match number {
        0 => Answer::Contract,
        _ => Answer::TooManyRequests { retry_after: None },
    })
    .await;
    let client = client_for(&sandbox).build().unwrap();
    let run = tens(&client).retry(quick().max_attempts(3)).send(hellos(1000)).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.refused()), (10, 10));
    assert!(matches!(reported.summary.stop, Some(Stop::GaveUp(_))));
    assert_eq!(sandbox.requests(), 4);
}

#[tokio::test]
async fn retries_of_a_run_end_with_max_elapsed() {
    let ledger = Ledger::default();
    let busy = Answer::TooManyRequests { retry_after: None };
    let sandbox = ledger.sandbox_with(vec![busy; 1000]).await;
    let client = client_for(&sandbox).build().unwrap();
    let policy = quick().max_delay(Duration::from_secs(50)).max_elapsed(Duration::from_millis(100));
    let start = Instant::now();
    let reported = Reported::by(tens(&client).retry(policy).send(hellos(10)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!(reported.refused(), 10);
    assert!(matches!(reported.summary.stop, Some(Stop::GaveUp(_))));
    assert!(start.elapsed() < Duration::from_secs(10));
    // Delays double, so only a few fit into the time.
    assert!(sandbox.requests() < 20, "{}", sandbox.requests());
}

#[tokio::test]
async fn waiting_for_the_first_turn_does_not_count_as_elapsed_time() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |number| match number {
        1 => Answer::TooManyRequests { retry_after: None },
        _ => Answer::Contract,
    })
    .await;
    let client = client_for(&sandbox).build().unwrap();
    // The second batch waits for a second before its first attempt, which is more than it has.
    let run = tens(&client)
        .concurrency(2)
        .max_rate(Rate::RequestsPerSecond(1.0))
        .retry(quick().max_elapsed(Duration::from_millis(800)))
        .send(hellos(20))
        .unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), sandbox.requests()), (20, 3));
}

#[tokio::test]
async fn an_outage_stops_the_run_after_ten_unknown_batches() {
    let ledger = Ledger::default();
    let failing = |_| Answer::Error {
        status: StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
        code: ErrorCode::InternalError.value(),
    };
    let (sandbox, _) = timed(&ledger, failing).await;
    let client = client_for(&sandbox).build().unwrap();
    let reported = Reported::by(tens(&client).send(hellos(1000)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(UNKNOWN), sandbox.requests()), (100, 10));
    assert!(matches!(reported.summary.stop, Some(Stop::Unanswered { chunks: 10, .. })));

    let run = tens(&client).stop_after_unknown(None).send(hellos(150)).unwrap();
    let reported = Reported::by(run).await;
    assert_eq!((reported.count(UNKNOWN), sandbox.requests()), (150, 25));
    assert!(reported.summary.stop.is_none());

    // A batch with a known outcome in between resets the count.
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, move |number| match number % 3 {
        2 => Answer::Contract,
        _ => failing(number),
    })
    .await;
    let client = client_for(&sandbox).build().unwrap();
    let run = tens(&client).stop_after_unknown(3).send(hellos(90)).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.count(UNKNOWN), reported.count(ACCEPTED)), (60, 30));
}

#[tokio::test]
async fn after_a_resend_the_last_error_decides_what_the_run_does() {
    let policy = || quick().resend_ambiguous_and_risk_duplicates();
    for (second, requests, stops) in
        [("401 Unauthorized", 2, true), ("413 Payload Too Large", 4, false), ("400 Bad", 2, false)]
    {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], move |number, _| match number {
            0 => Step::AcceptAndSay("503 Service Unavailable", "", ""),
            1 => Step::Say(second, "", ""),
            _ => Step::Say("422 Unprocessable", "", ""),
        })
        .await;
        let client = client_without_retries(server.base_url()).build().unwrap();
        let run = bulk(&client).retry(policy()).concurrency(1).send(hellos(10)).unwrap();
        let reported = Reported::by(run).await;
        reported.check(&ledger);
        // The first attempt may have sent them, whatever the others prove.
        assert_eq!((reported.count(UNKNOWN), server.connections()), (10, requests), "{second}");
        let stop = reported.summary.stop;
        assert_eq!(matches!(stop, Some(Stop::Refused(_))), stops, "{second}: {stop:?}");
    }
}

#[tokio::test]
async fn resend_ambiguous_can_duplicate_and_reports_unknown() {
    let policy = || quick().resend_ambiguous_and_risk_duplicates();
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox_with([Answer::AcceptAndFail, Answer::AcceptAndHangUp]).await;
    let client = client_for(&sandbox).build().unwrap();
    let reported = Reported::by(tens(&client).retry(policy()).send(hellos(10)).unwrap()).await;
    assert_eq!(reported.count(ACCEPTED), 10);
    assert_eq!((ledger.total(), sandbox.requests()), (30, 3));

    // It was taken the first time, and rejected the second: to say "rejected" would be a lie.
    let seen = Ledger::default();
    let judged = seen.clone();
    let sandbox = Sandbox::builder().judge(move |message| {
        let again = judged.accept_count(json_id(message)) > 0;
        judged.accept(json_id(message));
        again.then(|| Rejection::from(1400))
    });
    let sandbox = sandbox.start().await.unwrap();
    sandbox.answer_next([Answer::AcceptAndFail]);
    let client = client_for(&sandbox).build().unwrap();
    let reported = Reported::by(tens(&client).retry(policy()).send(hellos(5)).unwrap()).await;
    assert_eq!(reported.count(UNKNOWN), 5);
    let first = reported.outcome(0);
    assert_eq!(first.code, Some(ErrorCode::ResendingIntervalViolation));
    let expected = "rejected when retried, but an earlier attempt may have been sent: ";
    assert!(first.reason.as_deref().unwrap().starts_with(expected), "{first}");
    assert!(first.umid.is_some(), "the id of the attempt that was rejected");
    assert!(!reported.message(0).can_be_resent());

    // It may have been taken the first time, and the second was refused.
    let ledger = Ledger::default();
    let refused = Answer::Error {
        status: StatusCode::UNAUTHORIZED.as_u16(),
        code: ErrorCode::Unauthorized.value(),
    };
    let sandbox = ledger.sandbox_with([Answer::AcceptAndFail, refused]).await;
    let client = client_for(&sandbox).build().unwrap();
    let reported = Reported::by(tens(&client).retry(policy()).send(hellos(10)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(UNKNOWN), ledger.total()), (10, 10));
    // And the refusal ends the run no more than the first attempt did.
    assert_eq!(reported.outcome(0).status, Some(500));
}

#[tokio::test]
async fn a_run_cancelled_before_its_first_poll_takes_nothing() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let run = tens(&client).send(hellos(100)).unwrap();
    run.cancel();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.counts().taken, sandbox.requests()), (0, 0));
    assert!(matches!(reported.summary.stop, Some(Stop::Cancelled)));
}

#[tokio::test]
async fn a_run_cancelled_between_batches_leaves_nothing_unknown() {
    for outcomes in 1..6 {
        for at_a_time in [1, 3] {
            let ledger = Ledger::default();
            let sandbox = ledger.sandbox().start().await.unwrap();
            let client = client_for(&sandbox).build().unwrap();
            let mut run = tens(&client).concurrency(at_a_time).send(hellos(1000)).unwrap();
            let mut reported = Reported::nothing(&run);
            for _ in 0..outcomes {
                reported.add(within_10s(run.next()).await.unwrap());
            }
            run.cancel();
            while let Some(outcome) = within_10s(run.next()).await {
                reported.add(outcome);
            }
            reported.summary = run.summary();
            reported.check(&ledger);
            assert!(reported.count(ACCEPTED) >= 10 * outcomes);
            assert!(reported.counts().taken <= 10 * (outcomes + at_a_time) as u64);
            assert_eq!(reported.count(UNKNOWN), 0, "requests in flight end");
        }
    }
}

/// A run of three batches at a time, each answered late.
async fn in_flight(ledger: &Ledger) -> (Sandbox, Run<'static>) {
    let (sandbox, _) = timed(ledger, |_| Answer::Late(Duration::from_secs(1))).await;
    let client = client_for(&sandbox).build().unwrap();
    let run = tens(&client).concurrency(3).send(hellos(1000)).unwrap();
    (sandbox, run)
}

/// Polls a run, without an outcome, until the sandbox has this many requests.
async fn until_requests(run: &mut Run<'_>, sandbox: &Sandbox, requests: u64) {
    tokio::select! {
        biased;
        outcome = run.next() => panic!("{outcome:?}"),
        () = within_10s(async {
            while sandbox.requests() < requests {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }) => {}
    }
}

#[tokio::test]
async fn a_run_cancelled_or_dropped_with_requests_in_flight_counts_how_they_end() {
    let ledger = Ledger::default();
    let (sandbox, mut run) = in_flight(&ledger).await;
    until_requests(&mut run, &sandbox, 3).await;
    run.cancel();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.counts().taken), (30, 30));
    assert_eq!(sandbox.requests(), 3);

    let ledger = Ledger::default();
    let (sandbox, mut run) = in_flight(&ledger).await;
    until_requests(&mut run, &sandbox, 3).await;
    let progress = run.progress();
    drop(run);
    settled(&progress).await;
    let counts = progress.summary().counts;
    assert_eq!((counts.accepted, counts.taken), (30, 30));
    assert_eq!((ledger.total(), sandbox.requests()), (30, 3));
    assert!(matches!(progress.summary().stop, Some(Stop::Cancelled)));
}

#[tokio::test]
async fn a_run_cancelled_before_a_batch_is_halved_sends_no_half() {
    let ledger = Ledger::default();
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let (sandbox, _) = timed(&ledger, move |_| {
        cancelled.cancel();
        Answer::Error {
            status: StatusCode::PAYLOAD_TOO_LARGE.as_u16(),
            code: ErrorCode::BulkLimitReached.value(),
        }
    })
    .await;
    let client = client_for(&sandbox).build().unwrap();
    let run = tens(&client).cancel_with(&token).send(hellos(10)).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.count(NOT_SENT), sandbox.requests()), (10, 1));
}

#[tokio::test]
async fn a_run_cancelled_or_dropped_during_a_pause_sends_nothing_more() {
    for dropped in [false, true] {
        let ledger = Ledger::default();
        let (sandbox, _) =
            timed(&ledger, |_| Answer::TooManyRequests { retry_after: Some(100) }).await;
        let client = client_for(&sandbox).build().unwrap();
        let mut run = tens(&client).concurrency(3).send(hellos(1000)).unwrap();
        until_requests(&mut run, &sandbox, 3).await;
        let start = Instant::now();
        let progress = run.progress();
        if dropped {
            drop(run);
            settled(&progress).await;
        } else {
            run.cancel();
            let reported = Reported::by(run).await;
            reported.check(&ledger);
            assert_eq!(reported.count(NOT_SENT), 30);
        }
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(progress.summary().counts.not_sent, 30);
        assert_eq!((ledger.total(), sandbox.requests()), (0, 3));
    }
}

/// A stream that gives three messages and then waits forever.
struct Three(u32);

impl futures_core::Stream for Three {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.0 == 3 {
            return Poll::Pending;
        }
        self.0 += 1;
        Poll::Ready(Some(hello()))
    }
}

#[tokio::test]
async fn a_run_cancelled_or_dropped_while_a_batch_fills_sends_nothing() {
    for dropped in [false, true] {
        let ledger = Ledger::default();
        let sandbox = ledger.sandbox().start().await.unwrap();
        let client = client_for(&sandbox).build().unwrap();
        let token = CancellationToken::new();
        let run = tens(&client)
            .max_wait(Duration::from_secs(600))
            .cancel_with(&token)
            .send_stream(Three(0))
            .unwrap();
        let progress = run.progress();
        // Another task polls the run, and waits for the stream.
        let task = tokio::spawn(Reported::by(run));
        within_10s(async {
            while progress.summary().counts.pending() < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        if dropped {
            task.abort();
            assert!(within_10s(task).await.is_err_and(|error| error.is_cancelled()));
        } else {
            token.cancel();
            let reported = within_10s(task).await.unwrap();
            reported.check(&ledger);
            assert_eq!(reported.count(NOT_SENT), 3);
        }
        let counts = progress.summary().counts;
        assert_eq!((counts.not_sent, counts.pending()), (3, 0));
        assert_eq!(sandbox.requests(), 0);
    }
}

#[test]
fn a_runtime_that_shuts_down_leaves_batches_in_flight_unknown() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (servers, clients) = (runtime(), runtime());
    let ledger = Ledger::default();
    let server = servers.block_on(server(&ledger, &[], |_, _| Step::AcceptAndStall));
    let client = client_without_retries(server.base_url()).build().unwrap();
    let mut run = tens(&client).concurrency(2).send(hellos(100)).unwrap();
    let progress = run.progress();
    clients.block_on(async {
        tokio::select! {
            outcome = run.next() => panic!("{outcome:?}"),
            () = within_10s(async {
                while ledger.total() < 20 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }) => {}
        }
    });
    drop(clients);
    drop(run);
    let counts = progress.summary().counts;
    assert_eq!((counts.unknown, counts.taken), (20, 20));
}

/// How a sandbox answers in a schedule.
fn chaotic(random: &mut fastrand::Rng) -> Answer {
    let error = |status: StatusCode| Answer::Error { status: status.as_u16(), code: 2000 };
    match random.u32(0..40) {
        0 => Answer::TooManyRequests { retry_after: None },
        1 => Answer::TooManyRequests { retry_after: Some(0) },
        2 => error(StatusCode::INTERNAL_SERVER_ERROR),
        3 => error(StatusCode::SERVICE_UNAVAILABLE),
        4 => error(StatusCode::BAD_REQUEST),
        5 | 6 => error(StatusCode::PAYLOAD_TOO_LARGE),
        7 => Answer::Error {
            status: StatusCode::BAD_REQUEST.as_u16(),
            code: ErrorCode::TooManyMessages.value(),
        },
        8 => Answer::HangUp,
        9 => Answer::AcceptAndHangUp,
        10 => Answer::AcceptAndFail,
        11 => Answer::AcceptAndCut,
        12 => Answer::AcceptAndAnswer {
            status: StatusCode::OK.as_u16(),
            headers: Vec::new(),
            body: "taken".into(),
        },
        13 => Answer::Edited(|it| it["messages"].as_array_mut().unwrap().reverse()),
        14 => Answer::Edited(|it| _ = it["messages"].as_array_mut().unwrap().pop()),
        15 => Answer::Edited(|it| {
            let entries = it["messages"].as_array_mut().unwrap();
            entries.push(entries[0].clone());
        }),
        16 => Answer::Edited(|it| it["messages"] = Value::Null),
        17 => Answer::Late(Duration::from_millis(random.u64(0..5))),
        // Later than the client waits.
        18 if random.u32(0..10) == 0 => Answer::Late(Duration::from_secs(600)),
        19 if random.u32(0..5) == 0 => error(StatusCode::UNAUTHORIZED),
        _ => Answer::Contract,
    }
}

/// A resolver that finds the name three times out of four.
struct Unreliable {
    address: SocketAddr,
    random: Mutex<fastrand::Rng>,
}

impl Resolve for Unreliable {
    fn resolve(&self, _: Name) -> Resolving {
        let found = self.random.lock().unwrap().u32(0..4) > 0;
        let address = self.address;
        Box::pin(async move {
            if !found {
                return Err("no such name".into());
            }
            Ok(Box::new([address].into_iter()) as Addrs)
        })
    }
}

/// A stream that now and then has nothing yet.
struct NowAndThen<I> {
    items: I,
    random: fastrand::Rng,
}

impl<I: Iterator + Unpin> futures_core::Stream for NowAndThen<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<I::Item>> {
        if self.random.u32(0..10) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.items.next())
    }
}

/// One run, with all its surprises from a seed.
async fn schedule(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let ledger = Ledger::default();
    let mut of_answers = random.fork();
    let sandbox = ledger.sandbox().answer_with(move |_| chaotic(&mut of_answers));
    let sandbox = sandbox.start().await.unwrap();
    let address: SocketAddr = sandbox.base_url()["http://".len()..].parse().unwrap();
    let resolver = Unreliable { address, random: Mutex::new(random.fork()) };
    let http = custom_http_client().dns_resolver(Arc::new(resolver));
    let foreign: Msisdn = "+6598765432".parse().unwrap();
    let client = client_for(&sandbox)
        .only_to([msisdn()])
        .base_url(format!("http://localhost:{}", address.port()))
        .http_client(http)
        .timeout(Duration::from_millis(400))
        .build()
        .unwrap();

    let count = random.u64(0..60);
    let mut of_items = random.fork();
    let panics_at = random.u64(0..600);
    let items = (0..count).map(move |index| match of_items.u32(0..30) {
        _ if index == panics_at => panic!("a row that cannot be read"),
        0 => Err("a bad row"),
        1 => Ok(hello().dlr_callback_url("nowhere")),
        2 => Ok(Message::new(msisdn(), Content::new("reject"))),
        3 => Ok(hello().client_message_id(format!("own-{index}"))),
        4 => {
            let message = Message::new(foreign, Content::new("Hello"));
            Ok(message.client_message_id(format!("foreign-{index}")))
        }
        _ => Ok(hello()),
    });
    let bulk = bulk(&client)
        .concurrency(random.usize(1..5))
        .max_messages_per_batch(random.usize(1..12))
        .stop_at_bad_item(random.u32(0..10) == 0)
        .stop_after_unknown(random.bool().then_some(4));
    let mut run = if random.bool() {
        bulk.send(items).unwrap()
    } else {
        let random = random.fork();
        bulk.max_wait(Duration::ZERO).send_stream(NowAndThen { items, random }).unwrap()
    };
    let assert_none_foreign = || {
        assert!((0..count).all(|index| ledger.accept_count(&format!("foreign-{index}")) == 0));
    };
    let (end_after, dropped) = (random.usize(0..20), random.u32(0..4) == 0);
    let mut reported = Reported::nothing(&run);
    let mut outcomes = 0;
    loop {
        if outcomes == end_after && dropped {
            let progress = run.progress();
            drop(run);
            settled(&progress).await;
            let (summary, accepted) = (progress.summary(), u64::from(ledger.total()));
            let counts = summary.counts;
            assert!(summary.ended && counts.settled() == counts.taken);
            assert_none_foreign();
            assert!((counts.accepted..=counts.accepted + counts.unknown).contains(&accepted));
            return;
        }
        if outcomes == end_after {
            run.cancel();
        }
        match next_or_panic(&mut run).await {
            Ok(Some(outcome)) => reported.add(outcome),
            Ok(None) => break,
            Err(_) => continue,
        }
        outcomes += 1;
    }
    reported.summary = run.summary();
    reported.check(&ledger);
    let counts = reported.counts();
    if reported.summary.stop.is_none() {
        assert_eq!(counts.taken + counts.bad_items, count);
    }
    assert_eq!(sandbox.accepted_count(), u64::from(ledger.total()));
    assert_none_foreign();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_schedules_report_what_the_server_accepted() {
    let number = |name| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    let schedules = number("LON_SCHEDULES").unwrap_or(200);
    let first = fastrand::u64(..u64::MAX - schedules);
    // One seed from the environment, to repeat a failure.
    let one = number("LON_SCHEDULE").map(|seed| seed..seed + 1);
    let mut seeds = one.unwrap_or(first..first + schedules);
    let mut running = JoinSet::new();
    loop {
        while running.len() < 64
            && let Some(seed) = seeds.next()
        {
            running.spawn(async move {
                let schedule = tokio::time::timeout(Duration::from_secs(60), schedule(seed));
                let ended = tokio::spawn(schedule).await;
                let in_time = ended.is_ok_and(|it| it.is_ok());
                assert!(in_time, "repeat it with LON_SCHEDULE={seed}");
            });
        }
        match running.join_next().await {
            Some(ended) => ended.unwrap(),
            None => break,
        }
    }
}
