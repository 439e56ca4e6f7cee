//! The receiver of delivery receipts: who may post, which answer a post gets, and when.

mod common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::Full;
use lon_batch::receipt::{
    DeliveryReceipt, Event, EventError, MAX_EVENT_BYTES, Posted, Receiver, ReceiverBuilder, Webhook,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service as _;

use crate::common::{NUMBER, assert_no_secrets, log, within_10s};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const SECRET: &str = "Bearer webhook-secret-0123456789";
const UMID: &str = "d03cbbf5-3e2d-ea11-815d-020897df5459";
const SHORT: Duration = Duration::from_millis(50);

fn webhook() -> Webhook {
    Webhook::new(SECRET).unwrap()
}

fn receipt() -> Vec<u8> {
    let receipt = DeliveryReceipt::builder(UMID, "delivered").client_message_id("order-1");
    serde_json::to_vec(&receipt.build()).unwrap()
}

/// The server of the guide.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(receiver: Receiver) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(receiver.serve(listener, async { _ = stopped.await }));
        Self { address, stop: Some(stop), task }
    }

    async fn post(&self, headers: &str, body: impl AsRef<[u8]>) -> StatusCode {
        let body = body.as_ref();
        let head = format!("content-length: {}\r\n{headers}", body.len());
        self.request("POST", &head, body).await.0
    }

    async fn authorized(&self, body: impl AsRef<[u8]>) -> StatusCode {
        self.post(&format!("authorization: {SECRET}\r\n"), body).await
    }

    async fn request(&self, method: &str, headers: &str, body: &[u8]) -> (StatusCode, String) {
        let mut stream = self.head(method, headers).await;
        // The server may already have answered and closed.
        let _ = stream.write_all(body).await;
        answer(stream).await
    }

    /// A connection that has sent the head of a request.
    async fn head(&self, method: &str, headers: &str) -> TcpStream {
        let head =
            format!("{method} /receipts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        self.send(&head).await
    }

    /// A connection that has sent these bytes.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

/// Everything that the server writes until it closes.
async fn rest(mut stream: TcpStream) -> String {
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    // A server that closes with bytes unread resets the connection after its answer.
    while let Ok(read @ 1..) = within_10s(stream.read(&mut chunk)).await {
        answer.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(answer).unwrap()
}

async fn answer(stream: TcpStream) -> (StatusCode, String) {
    let answer = rest(stream).await;
    let status = answer.split(' ').nth(1).expect("an answer");
    (status.parse().unwrap(), answer)
}

/// A receiver that keeps what it is passed.
fn keeping() -> (Receiver, mpsc::UnboundedReceiver<Posted>) {
    let (sender, events) = mpsc::unbounded_channel();
    let receiver = Receiver::new(webhook(), move |posted| {
        let sent = sender.send(posted).map_err(|_| "nobody listens");
        async move { sent }
    });
    (receiver, events)
}

/// A receiver whose function waits for a permit.
struct Waiting {
    receiver: Receiver,
    go: Arc<Semaphore>,
    started: mpsc::UnboundedReceiver<()>,
    /// The calls whose future still exists.
    alive: Arc<AtomicUsize>,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn waiting(settings: ReceiverBuilder) -> Waiting {
    let go = Arc::new(Semaphore::new(0));
    let alive = Arc::new(AtomicUsize::new(0));
    let (sender, started) = mpsc::unbounded_channel();
    let (permits, count) = (Arc::clone(&go), Arc::clone(&alive));
    let receiver = settings.handler(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let (permits, alive) = (Arc::clone(&permits), Alive(Arc::clone(&count)));
        let _ = sender.send(());
        async move {
            let _alive = alive;
            permits.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(())
        }
    });
    Waiting { receiver, go, started, alive }
}

/// Calls the service without a connection: the status, and the time that it took.
async fn call<B>(receiver: &Receiver, body: B) -> (StatusCode, Duration)
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    call_with(receiver, SECRET, body).await
}

async fn call_with<B>(receiver: &Receiver, authorization: &str, body: B) -> (StatusCode, Duration)
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let request = Request::post("/").header("authorization", authorization);
    let start = tokio::time::Instant::now();
    let answer = receiver.clone().call(request.body(body).unwrap()).await;
    (answer.unwrap().status(), start.elapsed())
}

fn body() -> Full<Bytes> {
    Full::from(receipt())
}

/// A body that never arrives.
#[derive(Default)]
struct Stalled {
    readers: Arc<Readers>,
    is_read: bool,
}

/// The requests that read a body.
#[derive(Default)]
struct Readers {
    now: AtomicUsize,
    max: AtomicUsize,
}

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.is_read {
            self.is_read = true;
            let now = self.readers.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.readers.max.fetch_max(now, Ordering::SeqCst);
        }
        Poll::Pending
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.readers.now.fetch_sub(usize::from(self.is_read), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn every_event_reaches_the_function() {
    let (receiver, mut events) = keeping();
    let server = Server::start(receiver).await;
    assert_eq!(server.authorized(receipt()).await, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert_eq!(posted.body, receipt());
    assert_eq!(posted.event.unwrap().receipt().unwrap().umid(), UMID);

    let inbound = r#"{"namespace":"ChatApps","eventType":"inbound_message_received","payload":{}}"#;
    assert_eq!(server.authorized(inbound).await, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert_eq!(posted.body, inbound);
    assert!(matches!(posted.event, Ok(Event::Other(_))));

    // JSON that is not an event, because posting it again would not help.
    assert_eq!(server.authorized("[1]").await, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert_eq!(posted.event.unwrap_err(), EventError::NotAnObject { found: "an array" });

    // The largest event.
    let mut largest = receipt();
    largest.resize(MAX_EVENT_BYTES, b' ');
    assert_eq!(server.authorized(&largest).await, StatusCode::OK);
    assert_eq!(events.recv().await.unwrap().body, largest);
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn axum_mounts_the_receiver() {
    let (receiver, mut events) = keeping();
    let app: axum::Router = axum::Router::new().route_service("/receipts", receiver);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let server = Server { address, stop: None, task };
    assert_eq!(server.authorized(receipt()).await, StatusCode::OK);
    assert!(events.recv().await.unwrap().event.is_ok());
    server.task.abort();
}

#[tokio::test]
async fn bad_posts_do_not_reach_the_function() {
    let (receiver, mut events) = keeping();
    let server = Server::start(receiver).await;
    for body in ["", "<html>", "{\"payload\": ", "\u{feff}"] {
        assert_eq!(server.authorized(body).await, StatusCode::BAD_REQUEST, "{body}");
    }
    let authorization = format!("authorization: {SECRET}\r\n");
    for method in ["GET", "PUT", "DELETE"] {
        let (status, answer) = server.request(method, &authorization, b"").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert!(answer.contains("allow: POST\r\n"), "{answer}");
    }
    // Too large by its header: the body is not read.
    let head = format!("{authorization}content-length: {}\r\n", MAX_EVENT_BYTES + 1);
    let stream = server.head("POST", &head).await;
    assert_eq!(answer(stream).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    // Too large, but without a length in the header.
    let head = format!("{authorization}transfer-encoding: chunked\r\n");
    let mut body = format!("{:x}\r\n", MAX_EVENT_BYTES + 1).into_bytes();
    body.resize(body.len() + MAX_EVENT_BYTES + 1, b' ');
    let (status, _) = server.request("POST", &head, &body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn only_the_exact_authorization_value_may_post() {
    let (receiver, mut events) = keeping();
    let server = Server::start(receiver).await;
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
        assert_eq!(server.post(&headers, receipt()).await, StatusCode::UNAUTHORIZED, "{headers}");
    }
    assert!(events.try_recv().is_err());
    // The body of such a request is not read.
    let stream = server.head("POST", "content-length: 100\r\n").await;
    assert_eq!(answer(stream).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_second_authorization_value_may_post_too() {
    let both = webhook().or("Basic dXNlcjpwYXNzd29yZA==").unwrap();
    let receiver = Receiver::new(both, |_| async { Ok::<_, Infallible>(()) });
    assert_eq!(call(&receiver, body()).await.0, StatusCode::OK);
    let (status, _) = call_with(&receiver, "Basic dXNlcjpwYXNzd29yZA==", body()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(call_with(&receiver, "Basic", body()).await.0, StatusCode::UNAUTHORIZED);

    let open = Receiver::new(Webhook::open_to_anyone(), |_| async { Ok::<_, Infallible>(()) });
    assert_eq!(call_with(&open, "anything", body()).await.0, StatusCode::OK);
}

#[test]
fn invalid_authorization_values_are_errors_and_no_value_is_printed() {
    for value in ["", " ", "a ", " a", "a\n", "a\tb", "geheim\u{fc}", "\u{7f}"] {
        let error = Webhook::new(value).unwrap_err();
        let found = value.chars().count();
        let expected = format!("the Authorization value ({found} characters) must be");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(webhook().or(value).is_err());
    }
    let receiver = Receiver::new(webhook(), |_| async { Ok::<_, Infallible>(()) });
    let text = format!("{:?} {receiver:?} {:?}", webhook(), Receiver::builder(webhook()));
    assert!(!text.contains("webhook-secret"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_takes_four_seconds_at_most() {
    assert_eq!(ReceiverBuilder::DEFAULT_ANSWER_WITHIN, Duration::from_secs(4));
    let test = waiting(Receiver::builder(webhook()));
    let seconds = |(status, took): (StatusCode, Duration)| (status.as_u16(), took.as_secs());
    // Half of the time is for the body.
    assert_eq!(seconds(call(&test.receiver, Stalled::default()).await), (408, 2));
    // The function did not return, so the event is not acknowledged, and the future is gone.
    assert_eq!(seconds(call(&test.receiver, body()).await), (503, 4));
    assert_eq!(test.alive.load(Ordering::SeqCst), 0);
    test.go.add_permits(1);
    assert_eq!(seconds(call(&test.receiver, body()).await), (200, 0));

    // No time is too long for the clock.
    let builder = Receiver::builder(webhook()).answer_within(Duration::MAX);
    let receiver = builder.handler(|_| async { Ok::<_, Infallible>(()) });
    assert_eq!(call(&receiver, body()).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn requests_in_progress_are_bounded() {
    let mut test = waiting(Receiver::builder(webhook()).max_concurrent(2));
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let receiver = test.receiver.clone();
        calls.spawn(async move { call(&receiver, body()).await.0 });
        test.started.recv().await.unwrap();
    }
    // The third waits for half of the time. Its body is not read.
    let readers: Arc<Readers> = Arc::default();
    let stalled = Stalled { readers: Arc::clone(&readers), is_read: false };
    let (status, took) = call(&test.receiver, stalled).await;
    assert_eq!((status.as_u16(), took.as_secs()), (503, 2));
    assert_eq!(readers.max.load(Ordering::SeqCst), 0);
    // It gets the place of one that ends.
    test.go.add_permits(2);
    assert_eq!(calls.join_all().await, [StatusCode::OK; 2]);
    test.go.add_permits(1);
    assert_eq!(call(&test.receiver, body()).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn unfinished_bodies_in_memory_are_bounded() {
    let builder = Receiver::builder(webhook()).max_concurrent(3);
    let receiver = builder.handler(|_| async { Ok::<_, Infallible>(()) });
    let readers: Arc<Readers> = Arc::default();
    let start = tokio::time::Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..2000 {
        let stalled = Stalled { readers: Arc::clone(&readers), is_read: false };
        let receiver = receiver.clone();
        calls.spawn(async move { call(&receiver, stalled).await.0.as_u16() });
    }
    let statuses = calls.join_all().await;
    assert!(statuses.iter().all(|status| matches!(status, 408 | 503)), "{statuses:?}");
    assert_eq!(readers.max.load(Ordering::SeqCst), 3);
    assert_eq!(start.elapsed().as_secs(), 2);
    assert_eq!(call(&receiver, body()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_failed_event_is_not_acknowledged() {
    let failures = AtomicUsize::new(2);
    let receiver = Receiver::new(webhook(), move |_| {
        let fails =
            failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        async move { if fails.is_ok() { Err("the database is away") } else { Ok(()) } }
    });
    for status in [500, 500, 200] {
        assert_eq!(call(&receiver, body()).await.0, status);
    }
}

#[tokio::test]
async fn a_lost_connection_drops_the_call() {
    let mut test = waiting(Receiver::builder(webhook()));
    let server = Server::start(test.receiver).await;
    let head = format!("authorization: {SECRET}\r\ncontent-length: {}\r\n", receipt().len());
    let mut stream = server.head("POST", &head).await;
    stream.write_all(&receipt()).await.unwrap();
    test.started.recv().await.unwrap();
    drop(stream);
    within_10s(async {
        while test.alive.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_panic_closes_one_connection() {
    let panics = AtomicUsize::new(1);
    let receiver = Receiver::new(webhook(), move |_| {
        let panics = panics.swap(0, Ordering::SeqCst) > 0;
        async move {
            assert!(!panics, "a bug in the function");
            Ok::<_, Infallible>(())
        }
    });
    let server = Server::start(receiver).await;
    let head = format!("authorization: {SECRET}\r\ncontent-length: {}\r\n", receipt().len());
    let mut stream = server.head("POST", &head).await;
    stream.write_all(&receipt()).await.unwrap();
    assert_eq!(rest(stream).await, "");
    assert_eq!(server.authorized(receipt()).await, StatusCode::OK);
}

#[tokio::test]
async fn a_layer_with_a_smaller_limit_is_answered_with_413() {
    let (receiver, mut events) = keeping();
    let limited = |bytes| axum::body::Body::new(http_body_util::Limited::new(body(), bytes));
    let (status, _) = call(&receiver, limited(receipt().len() - 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(call(&receiver, limited(receipt().len())).await.0, StatusCode::OK);
    assert!(events.recv().await.unwrap().event.is_ok());
}

#[tokio::test]
async fn a_half_sent_head_is_cut_off() {
    let builder = Receiver::builder(webhook()).answer_within(SHORT);
    let server = Server::start(builder.handler(|_| async { Ok::<_, Infallible>(()) })).await;
    let stream = server.send("POST /receipts HTTP/1.1\r\nhost: x\r\nauthor").await;
    assert_eq!(rest(stream).await, "");
    let silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(rest(silent).await, "");
    assert_eq!(server.authorized(receipt()).await, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_body_is_answered_with_408() {
    let builder = Receiver::builder(webhook()).answer_within(SHORT);
    let server = Server::start(builder.handler(|_| async { Ok::<_, Infallible>(()) })).await;
    let head = format!("authorization: {SECRET}\r\ncontent-length: 100\r\n");
    let mut stream = server.head("POST", &head).await;
    stream.write_all(b"{").await.unwrap();
    assert_eq!(answer(stream).await.0, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_shutdown_answers_requests_in_progress() {
    let mut test = waiting(Receiver::builder(webhook()));
    let mut server = Server::start(test.receiver).await;
    let address = server.address;
    let posted = {
        let head = format!("authorization: {SECRET}\r\ncontent-length: {}\r\n", receipt().len());
        let mut stream = server.head("POST", &head).await;
        stream.write_all(&receipt()).await.unwrap();
        stream
    };
    test.started.recv().await.unwrap();
    server.stop();
    // The listener closes first.
    within_10s(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    assert!(!server.task.is_finished());
    test.go.add_permits(1);
    assert_eq!(answer(posted).await.0, StatusCode::OK);
    within_10s(server.task).await.unwrap();
}

#[tokio::test]
async fn no_client_delays_a_shutdown() {
    let time = Duration::from_millis(500);
    let test = waiting(Receiver::builder(webhook()).answer_within(time));
    let mut server = Server::start(test.receiver).await;
    let authorization = format!("authorization: {SECRET}\r\n");
    let half_body = format!("{authorization}content-length: 100\r\n");
    let whole = format!("{authorization}content-length: {}\r\n", receipt().len());
    let _clients = [
        TcpStream::connect(server.address).await.unwrap(),
        server.send("POST /receipts HTT").await,
        server.send("POST /receipts HTTP/1.1\r\nhost: x\r\n").await,
        server.head("POST", &half_body).await,
        server.head("POST", &whole).await,
    ];
    let start = std::time::Instant::now();
    server.stop();
    within_10s(server.task).await.unwrap();
    assert!(start.elapsed() < 3 * time, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_client_that_reads_no_answers_does_not_keep_its_connection() {
    let server = Server::start(keeping().0).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = "POST /receipts HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    // Many more answers than the buffers hold, if the server went on.
    let requests = request.repeat(100_000);
    within_10s(stream.write_all(requests.as_bytes())).await.unwrap_err();
}

/// The lines that this crate logged, without secrets.
fn logged() -> Vec<String> {
    let lines = log::drain();
    assert_no_secrets(&lines);
    assert!(!lines.contains("webhook-secret"), "{lines}");
    lines.lines().filter(|it| it.contains("lon_batch")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_log_says_why_a_post_was_not_acknowledged() {
    log::start_capture();
    let receiver = Receiver::builder(webhook())
        .answer_within(SHORT)
        .handler(|_| async { Err(format!("no row for {NUMBER}")) });
    call(&receiver, body()).await;
    call_with(&receiver, "wrong", body()).await;
    call(&receiver, Stalled::default()).await;
    call(&receiver, Full::from("<html>")).await;
    call(&receiver, Full::from(vec![b' '; MAX_EVENT_BYTES + 1])).await;
    let (other, _events) = keeping();
    assert_eq!(call(&other, Full::from("[]")).await.0, StatusCode::OK);
    let failed = "your function failed: no row for +********67: delivery receipt: \
                  d03cbbf5-3e2d-ea11-815d-020897df5459 (clientMessageId \"order-1\") is delivered";
    let expected = [
        format!("500 Internal Server Error: {failed}"),
        "401 Unauthorized: the Authorization value is wrong or missing (1 values)".to_owned(),
        "408 Request Timeout: the body did not arrive in time".to_owned(),
        "400 Bad Request: the event cannot be parsed as JSON: line 1, column 1".to_owned(),
        "413 Payload Too Large: the body is larger than 262144 bytes".to_owned(),
        "200 OK: the event is an array, expected a JSON object".to_owned(),
    ];
    let lines = logged();
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains("WARN"), "{line}");
        let expected = format!("post to the webhook answered with {expected}");
        assert!(line.ends_with(&expected), "{line}");
    }

    let test = waiting(Receiver::builder(webhook()).answer_within(SHORT).max_concurrent(1));
    tokio::join!(call(&test.receiver, body()), call(&test.receiver, body()));
    let lines = logged().join("\n");
    assert!(lines.contains("503 Service Unavailable: too many requests in progress"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_posts_logs_one_line_per_second() {
    log::start_capture();
    let (receiver, mut events) = keeping();
    for _ in 0..1000 {
        call_with(&receiver, "wrong", body()).await;
    }
    // Other lines are not lost in it.
    call(&receiver, Full::from("<html>")).await;
    let lines = logged();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("401"), "{lines:#?}");
    assert!(lines[1].contains("400"), "{lines:#?}");
    tokio::time::advance(Duration::from_secs(1)).await;
    call_with(&receiver, "wrong", body()).await;
    let lines = logged();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].ends_with("(999 similar lines omitted)"), "{lines:#?}");

    // An acknowledged event logs nothing.
    call(&receiver, body()).await;
    assert!(events.recv().await.is_some());
    assert_eq!(logged(), Vec::<String>::new());
}

#[tokio::test]
async fn an_event_in_the_old_format_is_logged() {
    log::start_capture();
    let (receiver, mut events) = keeping();
    let old = r#"{"umid": "a", "status": "SENT"}"#;
    assert_eq!(call(&receiver, Full::from(old)).await.0, StatusCode::OK);
    let posted = events.recv().await.unwrap();
    assert!(matches!(posted.event, Ok(Event::OldFormat(_))));
    let lines = logged().join("\n");
    assert!(lines.contains("WARN") && lines.contains("old flat format"), "{lines}");
}
