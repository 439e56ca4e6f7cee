//! What the network and the platform do to a run, held against what the server accepted.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lon_batch::bulk::{Bulk, CancellationToken, Fate, NotSentReason, Run, Stop, UnknownReason};
use lon_batch::mock::{Answer, Rejection};
use lon_batch::reqwest::StatusCode;
use lon_batch::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use lon_batch::{Client, Content, ErrorCode, Message, RetryPolicy};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bulk::{bulk, hello, hellos, quick, settled};
use crate::ledger::{Ledger, Told, id, word};
use crate::support::{RawServer, answer, client_of, msisdn, own_client, read_request};

/// What a server does with a request that it has read.
#[derive(Clone)]
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
    let whole = answer("200 OK", "connection: close\r\n", accepted(ids));
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
            stream.write_all(&answer(status, &headers, body)).await
        }
    };
    written.unwrap();
}

/// A server of one request a connection, which does as it is told for each, by its number and the
/// ids of its messages. Before a request is read, connections with these numbers are reset.
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
fn tens(client: &Client) -> Bulk {
    bulk(client).concurrency(1).max_messages_per_batch(10)
}

fn error_of(fate: &Fate) -> String {
    fate.error().map_or(String::new(), ToString::to_string)
}

const JSON: &str = r#"{"code": 2000, "message": "Oh no", "errorId": "e", "timestamp": "t"}"#;
const HTML: &str = "<html><body>Bad gateway</body></html>";

#[tokio::test]
async fn a_batch_that_fails_has_one_fate_and_the_run_goes_on() {
    const BUSY: &str = "429 Too Many Requests";
    let mut cases = vec![
        ("reset", Step::Reset, "unknown"),
        ("accepted and reset", Step::AcceptAndReset, "unknown"),
        ("half an answer", Step::AcceptAndCut, "unknown"),
        ("an answer without an end", Step::AcceptAndGoOn, "unknown"),
        ("a stall", Step::AcceptAndStall, "unknown"),
        ("busy", Step::Say(BUSY, "", ""), "accepted"),
        ("busy, JSON", Step::Say(BUSY, "retry-after: 0\r\n", JSON), "accepted"),
        ("unreadable", Step::AcceptAndSay("200 OK", "", HTML), "unknown"),
        ("empty", Step::AcceptAndSay("200 OK", "", ""), "unknown"),
        ("not an answer", Step::AcceptAndSay("200 OK", "", "{}"), "unknown"),
        ("bad request", Step::Say("400 Bad Request", "", JSON), "refused"),
        ("bad request, HTML", Step::Say("400 Bad Request", "", HTML), "refused"),
        ("unprocessable", Step::Say("422 Unprocessable", "", ""), "refused"),
        ("request time-out", Step::Say("408 Request Timeout", "", ""), "unknown"),
    ];
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        for body in [JSON, HTML, ""] {
            cases.push((status, Step::Say(status, "", body), "unknown"));
            cases.push((status, Step::AcceptAndSay(status, "", body), "unknown"));
        }
        let again = "retry-after: 0\r\n";
        cases.push((status, Step::AcceptAndSay(status, again, JSON), "unknown"));
    }
    for (name, second, expected) in cases {
        let timeout = match second {
            Step::AcceptAndGoOn | Step::AcceptAndStall => Duration::from_secs(2),
            _ => Duration::from_secs(30),
        };
        let ledger = Ledger::default();
        let server = server(&ledger, &[], move |number, _| match number {
            1 => second.clone(),
            _ => Step::Accept,
        })
        .await;
        let client = client_of(server.base_url()).timeout(timeout).build().unwrap();
        let told = Told::by(tens(&client).send(hellos(30)).unwrap()).await;
        told.check(&ledger);
        for position in 0..30 {
            let of_the_second = (10..20).contains(&position);
            let expected = if of_the_second { expected } else { "accepted" };
            assert_eq!(word(told.fate(position)), expected, "{name}: {position}");
        }
        let again = usize::from(expected == "accepted");
        assert_eq!(server.connections(), 3 + again, "{name}");
        assert!(told.summary.stop.is_none(), "{name}: {:?}", told.summary);
    }
}

#[tokio::test]
async fn reset_before_the_request_is_read() {
    let ledger = Ledger::default();
    let server = server(&ledger, &[1], |_, _| Step::Accept).await;
    let client = client_of(server.base_url()).build().unwrap();
    let told = Told::by(tens(&client).send(hellos(30)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.count("unknown")), (20, 10));
    assert!(matches!(told.fate(10), Fate::Unknown(UnknownReason::Error(_))));
    assert_eq!(server.connections(), 3, "nothing was sent again");
}

#[tokio::test]
async fn one_entry_of_a_thousand_is_left_out() {
    let ledger = Ledger::default();
    let sandbox = ledger
        .sandbox_with([Answer::Edited(|answer| {
            _ = answer["messages"].as_array_mut().unwrap().remove(500);
        })])
        .await;
    let client = sandbox.client().build().unwrap();
    let told = Told::by(bulk(&client).send(hellos(1000)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.count("unknown")), (999, 1));
    assert_eq!(word(told.fate(500)), "unknown");
}

#[tokio::test]
async fn what_holds_for_every_batch_ends_the_run() {
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
        let client = client_of(server.base_url()).build().unwrap();
        let run = tens(&client).send(hellos(1000)).unwrap();
        let told = Told::by(run).await;
        told.check(&ledger);
        assert_eq!(told.count("accepted"), 10, "{status}");
        assert_eq!(told.count("refused"), 10, "{status}");
        assert_eq!(server.connections(), 2, "{status}");
        assert!(
            matches!(told.summary.stop, Some(Stop::Refused(_))),
            "{status}: {:?}",
            told.summary.stop
        );
        assert!(error_of(told.fate(10)).contains(&status[..3]), "{status}");
        for outcome in told.messages.iter().filter(|it| it.position >= 20) {
            let stopped = matches!(outcome.fate, Fate::NotSent(NotSentReason::Stopped));
            assert!(stopped, "{status}: {}", outcome.fate);
        }
    }
    // Where it may have been sent, the code ends the run all the same.
    let ledger = Ledger::default();
    let server = server(&ledger, &[], |_, _| {
        Step::AcceptAndSay("500 Internal Server Error", "", SUB_ACCOUNT)
    })
    .await;
    let client = client_of(server.base_url()).build().unwrap();
    let told = Told::by(tens(&client).send(hellos(1000)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("unknown"), server.connections()), (10, 1));
    assert!(matches!(told.summary.stop, Some(Stop::Refused(_))));
}

#[tokio::test]
async fn workers_that_wait_do_not_send_after_the_stop() {
    let ledger = Ledger::default();
    // The first is refused at once, the second and third wait for their turn.
    let sandbox = ledger
        .sandbox_with([Answer::Error {
            status: StatusCode::UNAUTHORIZED,
            code: ErrorCode::Unauthorized,
        }])
        .await;
    let client = sandbox.client().build().unwrap();
    let run = tens(&client)
        .concurrency(3)
        .max_rate(lon_batch::bulk::Rate::RequestsPerSecond(0.01))
        .send(hellos(100))
        .unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!(sandbox.requests(), 1);
    assert_eq!(told.count("refused"), 10);
    assert!((20..=40).contains(&told.count("not_sent")));
    assert!(told.counts().taken < 100, "the rest stays in the input");
}

/// A server that takes so many messages at a time.
async fn takes_at_most(most: usize, ledger: &Ledger, step: Step) -> RawServer {
    server(ledger, &[], move |_, ids| if ids.len() > most { step.clone() } else { Step::Accept })
        .await
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
        let client = client_of(server.base_url()).build().unwrap();
        let run = bulk(&client).concurrency(2).send(hellos(5000)).unwrap();
        let told = Told::by(run).await;
        told.check(&ledger);
        assert_eq!(told.count("accepted"), 5000);
        // It learns: without, there would be 16 refusals for every 1,000 messages.
        let needed = 5000 / 60;
        assert!(server.connections() < 3 * needed, "{}", server.connections());
    }
}

#[tokio::test]
async fn one_message_that_is_too_large_is_refused_alone() {
    let ledger = Ledger::default();
    let server = server(&ledger, &[], |_, ids| {
        if ids.iter().any(|id| id == "run-37") {
            Step::Say("413 Payload Too Large", "", "")
        } else {
            Step::Accept
        }
    })
    .await;
    let client = client_of(server.base_url()).build().unwrap();
    let told = Told::by(bulk(&client).send(hellos(100)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.count("refused")), (99, 1));
    assert!(error_of(told.fate(37)).contains("413"));
    assert!(told.summary.stop.is_none());
}

#[tokio::test]
async fn one_message_that_nobody_takes_does_not_make_the_others_go_alone() {
    let ledger = Ledger::default();
    // The first of all, before anything was taken that could be learned from.
    let server = server(&ledger, &[], |_, ids| {
        if ids.iter().any(|id| id == "run-0") {
            Step::Say("413 Payload Too Large", "", "")
        } else {
            Step::Accept
        }
    })
    .await;
    let client = client_of(server.base_url()).build().unwrap();
    let run = bulk(&client).concurrency(1).send(hellos(3000)).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.count("refused")), (2999, 1));
    assert!(server.connections() < 40, "{}", server.connections());
}

#[tokio::test]
async fn a_platform_that_minds_the_count_now_and_then_does_not_end_the_run() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |number| match number % 10 {
        9 => Answer::Error { status: StatusCode::BAD_REQUEST, code: ErrorCode::BulkLimitReached },
        _ => Answer::Contract,
    })
    .await;
    let client = sandbox.client().build().unwrap();
    let run = bulk(&client).max_messages_per_batch(20);
    let told = Told::by(run.send(hellos(4000)).unwrap()).await;
    told.check(&ledger);
    assert_eq!(told.count("accepted"), 4000);
    assert!(sandbox.requests() < 300, "{}", sandbox.requests());
}

#[tokio::test]
async fn answers_that_settle_nothing_end_the_run() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |_| {
        Answer::Edited(|answer| {
            answer["messages"] = Value::Null;
            answer["acceptedCount"] = Value::Null;
        })
    })
    .await;
    let client = sandbox.client().build().unwrap();
    let told = Told::by(tens(&client).send(hellos(1000)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("unknown"), sandbox.requests()), (100, 10));
    let stop = told.summary.stop;
    let unanswered = Stop::Unanswered { batches: 10, error: None };
    assert_eq!(stop.unwrap().to_string(), unanswered.to_string());
}

#[tokio::test]
async fn a_platform_that_takes_no_message_at_all_ends_the_run() {
    const BULK_LIMIT: &str = r#"{"code": 1100, "message": "m", "errorId": "e", "timestamp": "t"}"#;
    let ledger = Ledger::default();
    let limit = Step::Say("400 Bad Request", "", BULK_LIMIT);
    let server = takes_at_most(0, &ledger, limit).await;
    let client = client_of(server.base_url()).build().unwrap();
    let told = Told::by(tens(&client).send(hellos(1000)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.count("refused")), (0, 1));
    assert!(matches!(told.summary.stop, Some(Stop::Refused(_))));
    assert_eq!(server.connections(), 5, "10, 5, 3, 2, 1");
}

/// A resolver that does not find the name for some tries in the middle of a run.
struct Gone {
    address: SocketAddr,
    tries: AtomicUsize,
    failing: std::ops::Range<usize>,
}

impl Resolve for Gone {
    fn resolve(&self, _: Name) -> Resolving {
        let gone = self.failing.contains(&self.tries.fetch_add(1, Ordering::SeqCst));
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
    let (address, tries) = (server.address, AtomicUsize::new(0));
    let resolver = Gone { address, tries, failing };
    let http = own_client().dns_resolver(Arc::new(resolver));
    client_of(format!("http://localhost:{}", address.port())).http_client(http).build().unwrap()
}

#[tokio::test]
async fn a_server_that_is_gone_for_a_while_gets_everything_once() {
    for at_a_time in [1, 4] {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], |_, _| Step::Accept).await;
        let client = client_of_gone(&server, 3..12);
        let run = tens(&client).concurrency(at_a_time).send(hellos(100)).unwrap();
        let told = Told::by(run).await;
        told.check(&ledger);
        assert_eq!(told.count("accepted"), 100);
        assert_eq!(server.connections(), 10);
        // The nine tries that reached nobody are counted.
        assert_eq!(told.counts().requests, 19);
    }
}

#[tokio::test]
async fn a_server_that_stays_gone_ends_the_run() {
    for at_a_time in [1, 4] {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], |_, _| Step::Accept).await;
        let client = client_of_gone(&server, 2..usize::MAX);
        let run = tens(&client)
            .concurrency(at_a_time)
            .retry(quick().max_attempts(3))
            .send(hellos(1000))
            .unwrap();
        let told = Told::by(run).await;
        told.check(&ledger);
        assert_eq!(told.count("accepted"), 20);
        assert_eq!(told.count("accepted") + told.count("not_sent"), told.messages.len());
        assert!(
            told.messages
                .iter()
                .any(|it| matches!(it.fate, Fate::NotSent(NotSentReason::NoConnection(_))))
        );
        assert!(matches!(told.summary.stop, Some(Stop::GaveUp(_))));
        assert!(told.counts().taken <= 10 * (2 + 2 * at_a_time as u64));
    }
}

#[tokio::test]
async fn a_wait_that_is_too_long_ends_the_run_at_once() {
    for (step, fate) in [
        (Step::Say("429 Too Many Requests", "retry-after: 3600\r\n", JSON), "refused"),
        (Step::Say("503 Service Unavailable", "retry-after: 3600\r\n", JSON), "unknown"),
    ] {
        let ledger = Ledger::default();
        let server = server(&ledger, &[], move |_, _| step.clone()).await;
        let client = client_of(server.base_url()).build().unwrap();
        let start = Instant::now();
        let told = Told::by(tens(&client).send(hellos(1000)).unwrap()).await;
        assert!(start.elapsed() < Duration::from_secs(30));
        told.check(&ledger);
        assert_eq!((told.count(fate), server.connections()), (10, 1));
        assert!(matches!(told.summary.stop, Some(Stop::GaveUp(_))));
        let stop = told.summary.stop.unwrap().to_string();
        assert!(stop.contains("retry after 3600 s"), "{stop}");
    }
}

/// A sandbox whose answers are these, by the number of the request, and when requests came.
async fn timed(
    ledger: &Ledger,
    answers: impl Fn(u64) -> Answer + Send + 'static,
) -> (lon_batch::mock::Sandbox, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let sandbox = ledger.sandbox().answer_with(move |number| {
        noted.lock().unwrap().push(Instant::now());
        answers(number)
    });
    (sandbox.start().await.unwrap(), times)
}

#[tokio::test]
async fn when_one_is_told_to_wait_all_wait() {
    let unavailable = || Answer::Exactly {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers: [(http::header::RETRY_AFTER, "1".parse().unwrap())].into_iter().collect(),
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
        let client = sandbox.client().build().unwrap();
        let run = tens(&client).concurrency(4).send(hellos(80)).unwrap();
        let told = Told::by(run).await;
        told.check(&ledger);
        assert_eq!(told.count("accepted"), taken);
        let times = times.lock().unwrap();
        // Four went out before anything was known. No other came within the second.
        let wait = times[4] - times[0];
        assert!(wait >= Duration::from_secs(1), "{wait:?}");
    }
}

#[tokio::test]
async fn a_429_makes_a_run_slower_for_a_while() {
    let ledger = Ledger::default();
    let (sandbox, times) = timed(&ledger, |number| match number {
        30..33 => Answer::TooManyRequests { retry_after: None },
        _ => Answer::Contract,
    })
    .await;
    let client = sandbox.client().build().unwrap();
    let run = bulk(&client)
        .concurrency(1)
        .max_messages_per_batch(1)
        .max_rate(lon_batch::bulk::Rate::RequestsPerSecond(50.0))
        .send(hellos(130))
        .unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!(told.count("accepted"), 130);
    let times = times.lock().unwrap();
    // 50 a second, and after three halvings 6 and a little more.
    let gap = times[34] - times[33];
    assert!(gap >= Duration::from_millis(80), "{gap:?}");
    // At 6 a second the hundred after that would take 16 seconds.
    let rest = times[132] - times[33];
    assert!(rest < Duration::from_secs(11), "{rest:?}");
}

#[tokio::test]
async fn when_all_are_told_to_wait_none_is_lost() {
    for retry_after in [None, Some(1)] {
        let ledger = Ledger::default();
        let (sandbox, _) = timed(&ledger, move |number| match number {
            0..4 => Answer::TooManyRequests { retry_after },
            _ => Answer::Contract,
        })
        .await;
        let client = sandbox.client().build().unwrap();
        let run = tens(&client).concurrency(4).send(hellos(60)).unwrap();
        let told = Told::by(run).await;
        told.check(&ledger);
        assert_eq!(told.count("accepted"), 60);
        assert_eq!(sandbox.requests(), 10);
    }
}

#[tokio::test]
async fn a_platform_that_stays_busy_ends_the_run() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |number| match number {
        0 => Answer::Contract,
        _ => Answer::TooManyRequests { retry_after: None },
    })
    .await;
    let client = sandbox.client().build().unwrap();
    let run = tens(&client).retry(quick().max_attempts(3)).send(hellos(1000)).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.count("refused")), (10, 10));
    assert!(matches!(told.summary.stop, Some(Stop::GaveUp(_))));
    assert_eq!(sandbox.requests(), 4);
}

#[tokio::test]
async fn a_run_that_is_out_of_budget_waits_longer() {
    let ledger = Ledger::default();
    let busy = Answer::TooManyRequests { retry_after: None };
    let sandbox = ledger.sandbox_with(vec![busy; 2]).await;
    let client = sandbox.client().retry(RetryPolicy::default().budget(0, 0)).build().unwrap();
    let policy = quick().max_delay(Duration::from_millis(300));
    let start = Instant::now();
    let told = Told::by(tens(&client).retry(policy).send(hellos(10)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), sandbox.requests()), (10, 3));
    assert!(start.elapsed() >= Duration::from_millis(600));

    // But no longer than the policy allows.
    sandbox.answer_next(vec![Answer::TooManyRequests { retry_after: None }; 9]);
    let policy = quick().max_delay(Duration::from_secs(50)).max_elapsed(Duration::from_millis(100));
    let start = Instant::now();
    let told = Told::by(tens(&client).retry(policy).send(hellos(10)).unwrap()).await;
    assert_eq!(told.count("refused"), 10);
    assert!(start.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn the_wait_for_a_first_turn_is_no_time_of_a_try() {
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, |number| match number {
        1 => Answer::TooManyRequests { retry_after: None },
        _ => Answer::Contract,
    })
    .await;
    let client = sandbox.client().build().unwrap();
    // The second batch waits for a second before its first try, and may take less.
    let run = tens(&client)
        .concurrency(2)
        .max_rate(lon_batch::bulk::Rate::RequestsPerSecond(1.0))
        .retry(quick().max_elapsed(Duration::from_millis(800)))
        .send(hellos(20))
        .unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), sandbox.requests()), (20, 3));
}

#[tokio::test]
async fn an_outage_leaves_few_unknown() {
    let ledger = Ledger::default();
    let failing = |_| Answer::Error {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: ErrorCode::InternalError,
    };
    let (sandbox, _) = timed(&ledger, failing).await;
    let client = sandbox.client().build().unwrap();
    let told = Told::by(tens(&client).send(hellos(1000)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("unknown"), sandbox.requests()), (100, 10));
    assert!(matches!(told.summary.stop, Some(Stop::Unanswered { batches: 10, .. })));

    let run = tens(&client).stop_after_unknown(None).send(hellos(150)).unwrap();
    let told = Told::by(run).await;
    assert_eq!((told.count("unknown"), sandbox.requests()), (150, 25));
    assert!(told.summary.stop.is_none());

    // What is answered in between starts the count anew.
    let ledger = Ledger::default();
    let (sandbox, _) = timed(&ledger, move |number| match number % 3 {
        2 => Answer::Contract,
        _ => failing(number),
    })
    .await;
    let client = sandbox.client().build().unwrap();
    let run = tens(&client).stop_after_unknown(3).send(hellos(90)).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("unknown"), told.count("accepted")), (60, 30));
}

#[tokio::test]
async fn who_asks_for_it_gets_duplicates_and_is_not_told_otherwise() {
    let policy = || quick().resend_ambiguous_and_risk_duplicates();
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox_with([Answer::AcceptAndFail, Answer::AcceptAndHangUp]).await;
    let client = sandbox.client().build().unwrap();
    let told = Told::by(tens(&client).retry(policy()).send(hellos(10)).unwrap()).await;
    assert_eq!(told.count("accepted"), 10);
    assert_eq!((ledger.total(), sandbox.requests()), (30, 3));

    // It was taken the first time, and rejected the second: to say "rejected" would be a lie.
    let seen = Ledger::default();
    let judged = seen.clone();
    let sandbox = lon_batch::mock::Sandbox::builder().judge(move |message| {
        let again = judged.times(id(message)) > 0;
        judged.accept(id(message));
        again.then(|| Rejection::from(ErrorCode::ResendingIntervalViolation))
    });
    let sandbox = sandbox.start().await.unwrap();
    sandbox.answer_next([Answer::AcceptAndFail]);
    let client = sandbox.client().build().unwrap();
    let told = Told::by(tens(&client).retry(policy()).send(hellos(5)).unwrap()).await;
    let Fate::Unknown(UnknownReason::RejectedWhenSentAgain { code, reason, umid }) = told.fate(0)
    else {
        panic!("{:?}", told.fate(0));
    };
    assert_eq!(*code, Some(ErrorCode::ResendingIntervalViolation));
    assert!(reason.is_some() && umid.is_some());
    assert_eq!(told.count("unknown"), 5);

    // It may have been taken the first time, and the second was refused.
    let ledger = Ledger::default();
    let refused = Answer::Error { status: StatusCode::UNAUTHORIZED, code: ErrorCode::Unauthorized };
    let sandbox = ledger.sandbox_with([Answer::AcceptAndFail, refused]).await;
    let client = sandbox.client().build().unwrap();
    let told = Told::by(tens(&client).retry(policy()).send(hellos(10)).unwrap()).await;
    told.check(&ledger);
    assert_eq!((told.count("unknown"), ledger.total()), (10, 10));
}

#[tokio::test]
async fn cancelled_before_anything() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let run = tens(&client).send(hellos(100)).unwrap();
    run.cancel();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.counts().taken, sandbox.requests()), (0, 0));
    assert!(matches!(told.summary.stop, Some(Stop::Cancelled)));
}

#[tokio::test]
async fn cancelled_between_batches() {
    for outcomes in 1..6 {
        for at_a_time in [1, 3] {
            let ledger = Ledger::default();
            let sandbox = ledger.sandbox().start().await.unwrap();
            let client = sandbox.client().build().unwrap();
            let mut run = tens(&client).concurrency(at_a_time).send(hellos(1000)).unwrap();
            let mut told = Told::nothing(&run);
            for _ in 0..outcomes {
                told.add(run.next().await.unwrap());
            }
            run.cancel();
            while let Some(outcome) = run.next().await {
                told.add(outcome);
            }
            told.summary = run.summary();
            told.check(&ledger);
            assert!(told.count("accepted") >= 10 * outcomes);
            assert!(told.counts().taken <= 10 * (outcomes + at_a_time) as u64);
            assert_eq!(told.count("unknown"), 0, "what is on its way ends");
        }
    }
}

/// A run of three at a time, all of which are on their way and answered late.
async fn on_its_way(ledger: &Ledger) -> (lon_batch::mock::Sandbox, Run<'static>) {
    let (sandbox, _) = timed(ledger, |_| Answer::Late(Duration::from_secs(1))).await;
    let client = sandbox.client().build().unwrap();
    let run = tens(&client).concurrency(3).send(hellos(1000)).unwrap();
    (sandbox, run)
}

/// Lets a run go on, without an outcome, until the sandbox has so many requests.
async fn until_requests(run: &mut Run<'_>, sandbox: &lon_batch::mock::Sandbox, requests: u64) {
    tokio::select! {
        biased;
        outcome = run.next() => panic!("{outcome:?}"),
        () = async {
            while sandbox.requests() < requests {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        } => {}
    }
}

#[tokio::test]
async fn cancelled_or_dropped_while_requests_are_on_their_way() {
    let ledger = Ledger::default();
    let (sandbox, mut run) = on_its_way(&ledger).await;
    until_requests(&mut run, &sandbox, 3).await;
    run.cancel();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.counts().taken), (30, 30));
    assert_eq!(sandbox.requests(), 3);

    let ledger = Ledger::default();
    let (sandbox, mut run) = on_its_way(&ledger).await;
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
async fn cancelled_while_a_batch_that_is_too_large_is_on_its_way() {
    let ledger = Ledger::default();
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let (sandbox, _) = timed(&ledger, move |_| {
        cancelled.cancel();
        Answer::Error { status: StatusCode::PAYLOAD_TOO_LARGE, code: ErrorCode::BulkLimitReached }
    })
    .await;
    let client = sandbox.client().build().unwrap();
    let run = tens(&client).cancel_with(&token).send(hellos(10)).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("not_sent"), sandbox.requests()), (10, 1));
}

#[tokio::test]
async fn cancelled_or_dropped_while_all_wait() {
    for dropped in [false, true] {
        let ledger = Ledger::default();
        let (sandbox, _) =
            timed(&ledger, |_| Answer::TooManyRequests { retry_after: Some(100) }).await;
        let client = sandbox.client().build().unwrap();
        let mut run = tens(&client).concurrency(3).send(hellos(1000)).unwrap();
        until_requests(&mut run, &sandbox, 3).await;
        let start = Instant::now();
        let progress = run.progress();
        if dropped {
            drop(run);
            settled(&progress).await;
        } else {
            run.cancel();
            let told = Told::by(run).await;
            told.check(&ledger);
            assert_eq!(told.count("not_sent"), 30);
        }
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(progress.summary().counts.not_sent, 30);
        assert_eq!((ledger.total(), sandbox.requests()), (0, 3));
    }
}

/// A stream that gives three messages and then waits for ever.
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
async fn cancelled_or_dropped_while_a_batch_is_filled() {
    for dropped in [false, true] {
        let ledger = Ledger::default();
        let sandbox = ledger.sandbox().start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        let token = CancellationToken::new();
        let run = tens(&client)
            .max_wait(Duration::from_secs(600))
            .cancel_with(&token)
            .send_stream(Three(0))
            .unwrap();
        let progress = run.progress();
        // Another task asks the run, and waits for the stream.
        let task = tokio::spawn(Told::by(run));
        while progress.summary().counts.pending() < 3 {
            tokio::task::yield_now().await;
        }
        if dropped {
            task.abort();
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
        } else {
            token.cancel();
            let woken = tokio::time::timeout(Duration::from_secs(30), task).await;
            let told = woken.expect("it is woken").unwrap();
            told.check(&ledger);
            assert_eq!(told.count("not_sent"), 3);
        }
        let counts = progress.summary().counts;
        assert_eq!((counts.not_sent, counts.pending()), (3, 0));
        assert_eq!(sandbox.requests(), 0);
    }
}

#[test]
fn a_runtime_that_goes_down_leaves_what_was_on_its_way_unknown() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let (servers, clients) = (runtime(), runtime());
    let ledger = Ledger::default();
    let server = servers.block_on(server(&ledger, &[], |_, _| Step::AcceptAndStall));
    let client = client_of(server.base_url()).build().unwrap();
    let mut run = tens(&client).concurrency(2).send(hellos(100)).unwrap();
    let progress = run.progress();
    clients.block_on(async {
        tokio::select! {
            outcome = run.next() => panic!("{outcome:?}"),
            () = async {
                while ledger.total() < 20 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
    });
    drop(clients);
    drop(run);
    let counts = progress.summary().counts;
    assert_eq!((counts.unknown, counts.taken), (20, 20));
}

/// How a sandbox answers in a schedule.
fn chaotic(random: &mut fastrand::Rng) -> Answer {
    let error = |status| Answer::Error { status, code: ErrorCode::InternalError };
    match random.u32(0..40) {
        0 => Answer::TooManyRequests { retry_after: None },
        1 => Answer::TooManyRequests { retry_after: Some(0) },
        2 => error(StatusCode::INTERNAL_SERVER_ERROR),
        3 => error(StatusCode::SERVICE_UNAVAILABLE),
        4 => error(StatusCode::BAD_REQUEST),
        5 | 6 => error(StatusCode::PAYLOAD_TOO_LARGE),
        7 => Answer::Error { status: StatusCode::BAD_REQUEST, code: ErrorCode::TooManyMessages },
        8 => Answer::HangUp,
        9 => Answer::AcceptAndHangUp,
        10 => Answer::AcceptAndFail,
        11 => Answer::AcceptAndCut,
        12 => Answer::AcceptAndAnswer {
            status: StatusCode::OK,
            headers: http::HeaderMap::new(),
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

/// One run, all of whose surprises come from a seed.
async fn schedule(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let ledger = Ledger::default();
    let mut of_answers = random.fork();
    let sandbox = ledger.sandbox().answer_with(move |_| chaotic(&mut of_answers));
    let sandbox = sandbox.start().await.unwrap();
    let address: SocketAddr = sandbox.base_url()["http://".len()..].parse().unwrap();
    let resolver = Unreliable { address, random: Mutex::new(random.fork()) };
    let http = own_client().dns_resolver(Arc::new(resolver));
    let client = sandbox
        .client()
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
        _ => Ok(hello()),
    });
    let bulk = bulk(&client)
        .concurrency(random.usize(1..5))
        .max_messages_per_batch(random.usize(1..12))
        .max_body_bytes(random.usize(200..2000))
        .stop_at_bad_item(random.u32(0..10) == 0)
        .stop_after_unknown(random.bool().then_some(4));
    let mut run = if random.bool() {
        bulk.send(items).unwrap()
    } else {
        let random = random.fork();
        bulk.max_wait(Duration::ZERO).send_stream(NowAndThen { items, random }).unwrap()
    };
    let (end_after, dropped) = (random.usize(0..20), random.u32(0..4) == 0);
    let mut told = Told::nothing(&run);
    let mut outcomes = 0;
    loop {
        if outcomes == end_after && dropped {
            let progress = run.progress();
            drop(run);
            settled(&progress).await;
            let (summary, accepted) = (progress.summary(), u64::from(ledger.total()));
            let counts = summary.counts;
            assert!(summary.ended && counts.settled() == counts.taken);
            assert!((counts.accepted..=counts.accepted + counts.unknown).contains(&accepted));
            return;
        }
        if outcomes == end_after {
            run.cancel();
        }
        let Some(outcome) = run.next().await else {
            break;
        };
        told.add(outcome);
        outcomes += 1;
    }
    told.summary = run.summary();
    told.check(&ledger);
    let counts = told.counts();
    if told.summary.stop.is_none() {
        assert_eq!(counts.taken + counts.bad_items, count);
    }
    assert_eq!(sandbox.accepted_count(), u64::from(ledger.total()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_at_random() {
    const SCHEDULES: u64 = 2000;
    // One seed from the environment, to repeat what failed.
    let seed = std::env::var("LON_SCHEDULE").ok();
    let first = fastrand::u64(..u64::MAX - SCHEDULES);
    let one = seed.map(|seed| seed.parse().unwrap());
    let mut seeds = one.map_or(first..first + SCHEDULES, |seed: u64| seed..seed + 1);
    let mut running = JoinSet::new();
    loop {
        while running.len() < 64
            && let Some(seed) = seeds.next()
        {
            running.spawn(async move {
                let failed = tokio::spawn(schedule(seed)).await;
                assert!(failed.is_ok(), "repeat it with LON_SCHEDULE={seed}");
            });
        }
        match running.join_next().await {
            Some(ended) => ended.unwrap(),
            None => break,
        }
    }
}
