//! The service that takes receipts: who may post, what is answered, and when.

mod common;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::Full;
use lon_batch::receipt::{
    Event, EventProblem, MAX_EVENT_BYTES, NoEvent, Posted, Receiver, ReceiverBuilder, Webhook,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tower_service::Service as _;

use crate::common::{NUMBER, assert_no_secrets, log};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const SECRET: &str = "Bearer webhook-secret-0123456789";
const UMID: &str = "d03cbbf5-3e2d-ea11-815d-020897df5459";
const RECEIPT: &str = r#"{"version": 9, "namespace": "ChatApps",
    "eventType": "outbound_message_status_changed",
    "payload": {"umid": "d03cbbf5-3e2d-ea11-815d-020897df5459", "channel": "LineNotification",
        "user": {"msisdn": "+6591234567"},
        "status": {"state": "delivered", "timestamp": "2026-01-04T08:20:02.31Z"}}}"#;
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(50);

fn webhook() -> Webhook {
    Webhook::new(SECRET).unwrap()
}

/// The receiver in an axum server on loopback.
struct Server {
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn of(receiver: &Receiver) -> Self {
        let app: axum::Router = axum::Router::new().route_service("/receipts", receiver.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, task }
    }

    /// Posts a body, and tells the answer's status.
    async fn post(&self, headers: &str, body: impl AsRef<[u8]>) -> StatusCode {
        let body = body.as_ref();
        let head = format!("content-length: {}\r\n{headers}", body.len());
        self.request("POST", &head, body).await.0
    }

    async fn authorized(&self, body: impl AsRef<[u8]>) -> StatusCode {
        self.post(&format!("authorization: {SECRET}\r\n"), body).await
    }

    async fn request(&self, method: &str, headers: &str, body: &[u8]) -> (StatusCode, String) {
        let mut stream = self.connect(method, headers).await;
        // The server may have answered, and closed, by then.
        let _ = stream.write_all(body).await;
        answer_of(stream).await
    }

    /// A connection on which the head of a request was sent.
    async fn connect(&self, method: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head =
            format!("{method} /receipts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_of(mut stream: TcpStream) -> (StatusCode, String) {
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    // A server that closes with bytes unread resets the connection, after its answer.
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        answer.extend_from_slice(&chunk[..read]);
    }
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).expect("an answer");
    (status.parse().unwrap(), answer)
}

/// A receiver that keeps what it is handed, and ends at once.
fn keeping() -> (Receiver, mpsc::UnboundedReceiver<Posted>) {
    let (sender, events) = mpsc::unbounded_channel();
    let builder = Receiver::builder(webhook()).answer_within(LONG);
    let receiver = builder.handler(move |posted| {
        let sent = sender.send(posted);
        async move { sent.unwrap() }
    });
    (receiver, events)
}

/// A receiver whose function ends when a permit is given, and counts those that began and ended.
struct Slow {
    receiver: Receiver,
    go: Arc<Semaphore>,
    began: mpsc::UnboundedReceiver<()>,
    ended: Arc<AtomicUsize>,
}

fn slow(answer_within: Duration, max_running: usize) -> Slow {
    let go = Arc::new(Semaphore::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let (sender, began) = mpsc::unbounded_channel();
    let (permits, count) = (Arc::clone(&go), Arc::clone(&ended));
    let builder =
        Receiver::builder(webhook()).answer_within(answer_within).max_running(max_running);
    let receiver = builder.handler(move |_| {
        sender.send(()).unwrap();
        let (permits, count) = (Arc::clone(&permits), Arc::clone(&count));
        async move {
            permits.acquire().await.unwrap().forget();
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    Slow { receiver, go, began, ended }
}

#[tokio::test]
async fn events_are_handed_on_and_answered_with_200() {
    let (receiver, mut events) = keeping();
    let server = Server::of(&receiver).await;
    assert_eq!(server.authorized(RECEIPT).await, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert_eq!(posted.body, RECEIPT);
    assert_eq!(posted.event.unwrap().receipt().unwrap().umid(), UMID);

    let inbound = r#"{"namespace":"ChatApps","eventType":"inbound_message_received","payload":{}}"#;
    assert_eq!(server.authorized(inbound).await, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert_eq!(posted.body, inbound);
    assert!(matches!(posted.event, Ok(Event::Other(_))));

    // What is JSON and no event is handed on too: posting it again would not mend it.
    let mut body = br#"{"eventType": "outbound_message_status_changed", "payload": {"status": {"state": "sent"}}}"#.to_vec();
    body.resize(MAX_EVENT_BYTES, b' ');
    assert_eq!(server.authorized(&body).await, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert_eq!(posted.body, body, "whole");
    assert_eq!(posted.event.unwrap_err().field(), Some("payload.umid"));
    assert_eq!(server.authorized("[1]").await, StatusCode::OK);
    assert!(events.recv().await.unwrap().event.is_err());
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn what_is_not_json_is_answered_with_400() {
    let (receiver, mut events) = keeping();
    let server = Server::of(&receiver).await;
    for body in ["", "<html>", "{\"payload\": ", "\u{feff}"] {
        let status = server.authorized(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn only_who_has_the_value_may_post() {
    let (receiver, mut events) = keeping();
    let server = Server::of(&receiver).await;
    for headers in [
        String::new(),
        "authorization: \r\n".to_owned(),
        "authorization: Bearer\r\n".to_owned(),
        format!("authorization: {SECRET}x\r\n"),
        format!("authorization: {}\r\n", &SECRET[..SECRET.len() - 1]),
        format!("authorization: {}\r\n", SECRET.to_lowercase()),
        format!("authorization: {}\r\n", SECRET.replace('9', "8")),
        format!("authorization: {SECRET}\r\nauthorization: {SECRET}\r\n"),
        format!("x-authorization: {SECRET}\r\n"),
    ] {
        let status = server.post(&headers, RECEIPT).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{headers}");
    }
    assert!(events.try_recv().is_err());
    // Whoever may not post is not read either: the body never comes.
    let stream = server.connect("POST", "content-length: 100\r\n").await;
    assert_eq!(answer_of(stream).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_value_is_replaced_by_another() {
    let both = webhook().or("Basic dXNlcjpwYXNzd29yZA==").unwrap();
    let receiver = Receiver::new(both, |_| async {});
    let server = Server::of(&receiver).await;
    let post = |value: &str| {
        let headers = format!("authorization: {value}\r\n");
        let server = &server;
        async move { server.post(&headers, RECEIPT).await }
    };
    assert_eq!(post(SECRET).await, StatusCode::OK);
    assert_eq!(post("Basic dXNlcjpwYXNzd29yZA==").await, StatusCode::OK);
    assert_eq!(post("Basic").await, StatusCode::UNAUTHORIZED);

    let open = Receiver::new(Webhook::open_to_anyone(), |_| async {});
    let server = Server::of(&open).await;
    assert_eq!(server.post("", RECEIPT).await, StatusCode::OK);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_not_read() {
    let (receiver, mut events) = keeping();
    let server = Server::of(&receiver).await;
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;

    // By what it says: the body never comes.
    let authorization = format!("authorization: {SECRET}\r\n");
    let head = format!("{authorization}content-length: {}\r\n", MAX_EVENT_BYTES + 1);
    let stream = server.connect("POST", &head).await;
    assert_eq!(answer_of(stream).await.0, too_large);

    // By what comes: it does not say how much.
    let head = format!("{authorization}transfer-encoding: chunked\r\n");
    let mut body = format!("{:x}\r\n", MAX_EVENT_BYTES + 1).into_bytes();
    body.resize(body.len() + MAX_EVENT_BYTES + 1, b' ');
    assert_eq!(server.request("POST", &head, &body).await.0, too_large);
    assert!(events.try_recv().is_err());

    // The largest that may be.
    let mut largest = RECEIPT.as_bytes().to_vec();
    largest.resize(MAX_EVENT_BYTES, b' ');
    assert_eq!(server.authorized(largest).await, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert!(matches!(posted.event, Ok(Event::Receipt(_))));
}

#[tokio::test]
async fn only_a_post_is_taken() {
    let (receiver, mut events) = keeping();
    let server = Server::of(&receiver).await;
    let headers = format!("authorization: {SECRET}\r\n");
    for method in ["GET", "PUT", "DELETE"] {
        let (status, answer) = server.request(method, &headers, b"").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert!(answer.contains("allow: POST\r\n"), "{answer}");
    }
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_sender_is_not_waited_for() {
    let slow = slow(SHORT, 1);
    let receiver = slow.receiver;
    let server = Server::of(&receiver).await;
    let head = format!("authorization: {SECRET}\r\ncontent-length: 100\r\n");
    let mut stream = server.connect("POST", &head).await;
    stream.write_all(b"{").await.unwrap();
    let answer = tokio::time::timeout(LONG / 20, answer_of(stream)).await;
    let (status, _) = answer.expect("an answer within a time that is near to what was set");
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_hundred_posts_are_answered_in_time_while_the_function_is_slow() {
    let mut slow = slow(SHORT, 100);
    let server = Arc::new(Server::of(&slow.receiver).await);
    let mut posts = JoinSet::new();
    for _ in 0..100 {
        let server = Arc::clone(&server);
        posts.spawn(async move { server.authorized(RECEIPT).await });
    }
    let statuses = posts.join_all().await;
    assert_eq!(statuses, [StatusCode::OK; 100]);
    for _ in 0..100 {
        slow.began.recv().await.unwrap();
    }
    assert_eq!(slow.ended.load(Ordering::SeqCst), 0, "none had ended when it was answered");

    // One more may not start: it is not acknowledged.
    let status = server.authorized(RECEIPT).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(slow.began.try_recv().is_err());

    // What was acknowledged is waited for, and what comes now is not taken.
    let shutdown = tokio::spawn({
        let receiver = slow.receiver.clone();
        async move { receiver.shutdown().await }
    });
    slow.go.add_permits(99);
    while slow.ended.load(Ordering::SeqCst) < 99 {
        tokio::task::yield_now().await;
    }
    let status = server.authorized(RECEIPT).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!shutdown.is_finished());
    slow.go.add_permits(1);
    shutdown.await.unwrap();
    assert_eq!(slow.ended.load(Ordering::SeqCst), 100);
    assert!(slow.began.try_recv().is_err());
}

/// Calls the service without a connection, and tells the answer's status and the time that it took.
async fn call<B>(receiver: &Receiver, body: B) -> (StatusCode, Duration)
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let request = Request::post("/").header("authorization", SECRET);
    let start = tokio::time::Instant::now();
    let answer = receiver.clone().call(request.body(body).unwrap()).await;
    (answer.unwrap().status(), start.elapsed())
}

fn posted() -> Full<Bytes> {
    Full::from(RECEIPT)
}

/// A body that never comes.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// The clock stands still but for what is waited for.
#[tokio::test(start_paused = true)]
async fn an_answer_takes_four_seconds_at_the_most() {
    let within = ReceiverBuilder::DEFAULT_ANSWER_WITHIN;
    assert_eq!(within, Duration::from_secs(4));
    let go = Arc::new(Semaphore::new(0));
    let permits = Arc::clone(&go);
    let receiver = Receiver::builder(webhook()).max_running(1).handler(move |_| {
        let permits = Arc::clone(&permits);
        async move { permits.acquire().await.unwrap().forget() }
    });

    let to_the_second = |(status, took): (_, Duration)| (status, took.as_secs());
    // Half of the time is the function's, so the body has the other.
    let never = call(&receiver, Never).await;
    assert_eq!(to_the_second(never), (StatusCode::REQUEST_TIMEOUT, 2));
    let slow = call(&receiver, posted()).await;
    assert_eq!(to_the_second(slow), (StatusCode::OK, 4));
    // It still runs, and another waits for its place in vain.
    let waiting = call(&receiver, posted()).await;
    assert_eq!(to_the_second(waiting), (StatusCode::SERVICE_UNAVAILABLE, 2));
    go.add_permits(2);
    let quick = call(&receiver, posted()).await;
    assert_eq!(to_the_second(quick), (StatusCode::OK, 0));
}

#[tokio::test]
async fn no_time_for_an_answer_is_too_long() {
    let builder = Receiver::builder(webhook()).answer_within(Duration::MAX);
    let server = Server::of(&builder.handler(|_| async {})).await;
    assert_eq!(server.authorized(RECEIPT).await, StatusCode::OK);
}

#[tokio::test]
async fn a_function_that_ends_in_time_is_waited_for() {
    let mut slow = slow(LONG, 1);
    let server = Arc::new(Server::of(&slow.receiver).await);
    let post = |server: &Arc<Server>| {
        let server = Arc::clone(server);
        tokio::spawn(async move { server.authorized(RECEIPT).await })
    };
    let (first, second) = (post(&server), post(&server));
    slow.began.recv().await.unwrap();
    assert!(!first.is_finished() && !second.is_finished());
    assert!(slow.began.try_recv().is_err(), "one function at a time");
    slow.go.add_permits(1);
    slow.began.recv().await.unwrap();
    slow.go.add_permits(1);
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(second.await.unwrap(), StatusCode::OK);
    assert_eq!(slow.ended.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_event_that_waits_for_its_function_is_handled_before_a_shutdown_ends() {
    let mut slow = slow(LONG, 1);
    let receiver = slow.receiver.clone();
    let call_it = || {
        let receiver = receiver.clone();
        tokio::spawn(async move { call(&receiver, posted()).await.0 })
    };
    let running = call_it();
    slow.began.recv().await.unwrap();
    let waiting = call_it();
    // On the one thread of this test every task comes as far as it can.
    tokio::task::yield_now().await;
    let shutdown = tokio::spawn({
        let receiver = receiver.clone();
        async move { receiver.shutdown().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(call_it().await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    slow.go.add_permits(1);
    slow.began.recv().await.unwrap();
    assert!(!shutdown.is_finished());
    slow.go.add_permits(1);
    assert_eq!(running.await.unwrap(), StatusCode::OK);
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    shutdown.await.unwrap();
    assert_eq!(slow.ended.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_event_goes_on_when_the_connection_is_lost() {
    let mut slow = slow(LONG, 1);
    let server = Server::of(&slow.receiver).await;
    let head = format!("authorization: {SECRET}\r\ncontent-length: {}\r\n", RECEIPT.len());
    let mut stream = server.connect("POST", &head).await;
    stream.write_all(RECEIPT.as_bytes()).await.unwrap();
    slow.began.recv().await.unwrap();
    drop(stream);
    drop(server);
    slow.go.add_permits(1);
    slow.receiver.shutdown().await;
    assert_eq!(slow.ended.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_not_handled_is_posted_again() {
    #[derive(Clone, Copy)]
    enum End {
        Fail,
        Panic,
        PanicAtOnce,
        Well,
    }
    let ends = Mutex::new(vec![End::Well, End::PanicAtOnce, End::Panic, End::Fail]);
    let builder = Receiver::builder(webhook()).answer_within(LONG);
    let receiver = builder.handler(move |_| {
        let end = ends.lock().unwrap().pop().unwrap();
        assert!(!matches!(end, End::PanicAtOnce), "at once");
        async move {
            match end {
                End::Fail => Err("the database is away"),
                End::Panic | End::PanicAtOnce => panic!("in the middle"),
                End::Well => Ok(()),
            }
        }
    });
    let server = Server::of(&receiver).await;
    let failed = StatusCode::INTERNAL_SERVER_ERROR;
    for status in [failed, failed, failed, StatusCode::OK] {
        assert_eq!(server.authorized(RECEIPT).await, status);
    }
}

/// What was logged by this crate, and that there is nothing secret in it.
fn logged() -> String {
    let lines = log::drain();
    let ours: Vec<_> = lines.lines().filter(|it| it.contains("lon_batch")).collect();
    let ours = ours.join("\n");
    assert_no_secrets(&ours);
    assert!(!ours.contains("webhook-secret"), "{ours}");
    ours
}

#[tokio::test]
async fn why_an_event_was_not_handled_is_told_to_the_log() {
    log::start_capture();
    for (within, before, after) in
        [(LONG, "WARN", "not handled, "), (SHORT, "ERROR", "acknowledged and not handled, ")]
    {
        for (panics, why) in [
            (false, "the function failed: no row for +********67: "),
            (true, "the function panicked: "),
        ] {
            let go = Arc::new(Semaphore::new(usize::from(within == LONG)));
            let permits = Arc::clone(&go);
            let builder = Receiver::builder(webhook()).answer_within(within);
            let receiver = builder.handler(move |_| {
                let permits = Arc::clone(&permits);
                async move {
                    permits.acquire().await.unwrap().forget();
                    assert!(!panics, "in the middle");
                    Err(format!("no row for {NUMBER}"))
                }
            });
            let server = Server::of(&receiver).await;
            let status = server.authorized(RECEIPT).await;
            assert_eq!(status == StatusCode::OK, within == SHORT);
            if within == SHORT {
                let early = logged();
                assert!(!early.contains("ERROR"), "{early}");
                go.add_permits(1);
            }
            receiver.shutdown().await;
            let lines = logged();
            assert!(lines.contains(before), "{lines}");
            assert!(lines.contains(&format!(" {after}{why}delivery receipt")), "{lines}");
            assert!(lines.contains(UMID), "{lines}");
        }
    }
}

#[tokio::test]
async fn an_event_that_is_handled_late_is_no_failure() {
    log::start_capture();
    let slow = slow(SHORT, 1);
    assert_eq!(call(&slow.receiver, posted()).await.0, StatusCode::OK);
    slow.go.add_permits(1);
    slow.receiver.shutdown().await;
    assert_eq!(slow.ended.load(Ordering::SeqCst), 1);
    assert_eq!(logged(), "");
}

#[tokio::test]
async fn what_was_not_read_is_told_to_the_log() {
    log::start_capture();
    let receiver = Receiver::builder(webhook()).answer_within(SHORT).handler(|_| async {});
    let large = Full::from(vec![b' '; MAX_EVENT_BYTES + 1]);
    assert_eq!(call(&receiver, large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(logged().contains("whose body was not read: 413"));
    assert_eq!(call(&receiver, Never).await.0, StatusCode::REQUEST_TIMEOUT);
    assert!(logged().contains("whose body was not read: 408"));
}

#[test]
fn what_the_end_of_the_runtime_cuts_off_is_told_to_the_log() {
    log::start_capture();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap();
    runtime.block_on(async {
        let builder = Receiver::builder(webhook()).answer_within(SHORT);
        let receiver = builder.handler(|_| std::future::pending::<()>());
        assert_eq!(call(&receiver, posted()).await.0, StatusCode::OK);
    });
    assert_eq!(logged(), "");
    drop(runtime);
    let lines = logged();
    assert!(lines.contains("ERROR"), "{lines}");
    assert!(lines.contains("acknowledged and not handled, the runtime ended"), "{lines}");
}

#[tokio::test]
async fn receipts_in_the_old_format_are_told_to_the_log() {
    log::start_capture();
    let (receiver, mut events) = keeping();
    let old = r#"{"umid": "a", "status": "SENT"}"#;
    assert_eq!(call(&receiver, Full::from(old)).await.0, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert!(matches!(posted.event, Ok(Event::OldFormat(_))));
    let lines = logged();
    assert!(lines.contains("WARN") && lines.contains("old flat format"), "{lines}");
}

#[tokio::test]
async fn a_limit_of_a_layer_around_is_told_as_such() {
    let (receiver, mut events) = keeping();
    let limited = |bytes| axum::body::Body::new(http_body_util::Limited::new(posted(), bytes));
    let (status, _) = call(&receiver, limited(RECEIPT.len() - 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = call(&receiver, limited(RECEIPT.len())).await;
    assert_eq!(status, StatusCode::OK);
    assert!(events.recv().await.unwrap().event.is_ok());
}

#[test]
fn a_server_of_ones_own_is_told_what_to_answer() {
    let webhook = webhook();
    let authorization = Some(SECRET.as_bytes());
    let status = |authorization, body: &[u8]| match webhook.read(authorization, body) {
        Ok(_) => StatusCode::OK,
        Err(error) => error.status(),
    };
    assert_eq!(status(authorization, RECEIPT.as_bytes()), StatusCode::OK);
    assert_eq!(status(authorization, b"{}"), StatusCode::OK);
    assert_eq!(status(authorization, b"[]"), StatusCode::OK);
    assert_eq!(status(authorization, b"no"), StatusCode::BAD_REQUEST);
    let large = vec![b' '; MAX_EVENT_BYTES + 1];
    assert_eq!(status(authorization, &large), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(status(None, b"{}"), StatusCode::UNAUTHORIZED);
    assert_eq!(status(Some(b""), b"{}"), StatusCode::UNAUTHORIZED);
    let error = webhook.read(authorization, b"[]").unwrap_err();
    let NoEvent::Unreadable(error) = error else {
        panic!("{error}");
    };
    let found = "an array";
    assert_eq!(*error.problem(), EventProblem::NotAnObject { found });
}

#[test]
fn a_value_that_no_header_has_is_refused_and_none_is_printed() {
    for value in ["", " ", "a ", " a", "a\n", "a\tb", "geheim\u{fc}", "\u{7f}"] {
        let error = Webhook::new(value).unwrap_err();
        let found = value.chars().count();
        assert!(error.to_string().starts_with(&format!("{found} characters;")));
        assert!(webhook().or(value).is_err());
    }
    let receiver = Receiver::new(webhook(), |_| async {});
    let text = format!("{:?} {receiver:?} {:?}", webhook(), Receiver::builder(webhook()));
    assert_no_secrets(&text);
    assert!(!text.contains("webhook-secret"), "{text}");
}

#[tokio::test]
async fn an_idle_receiver_shuts_down_at_once() {
    let (receiver, mut events) = keeping();
    let server = Server::of(&receiver).await;
    for _ in 0..2 {
        let shutdown = tokio::time::timeout(LONG / 20, receiver.shutdown());
        shutdown.await.expect("nothing is waited for");
    }
    let status = server.authorized(RECEIPT).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(events.try_recv().is_err());
}
