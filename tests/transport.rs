//! Requests on the wire, connections, and the outcome of a batch when the network fails.

mod common;

use std::env;
use std::error::Error as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use http::HeaderMap;
use lon_batch::reqwest::Proxy;
use lon_batch::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use lon_batch::reqwest::redirect::Policy;
use lon_batch::response::UnreadableReason;
use lon_batch::{
    Batch, Client, ClientBuilder, Content, Error, Icon, OutcomeKind, RetryPolicy, SharedContent,
    SmsFallback,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc as tokio_mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use common::{
    ACCEPTED, KEY, NUMBER, RawServer, assert_no_secrets, batch, client_without_retries,
    custom_http_client, http_response, log, message, printed, read_request, within_10s,
};

/// Long enough for an attempt, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);
/// How long an idle connection may be reused.
const IDLE_LIMIT: Duration = Duration::from_secs(1);
const BEYOND_THE_LIMIT: Duration = Duration::from_millis(1001);

/// The error of a batch of one that is sent once.
async fn error_of(client: ClientBuilder) -> Error {
    let client = client.build().unwrap();
    let error = within_10s(client.send(&batch(&["a"]))).await.unwrap_err();
    let printed = printed(&error);
    assert_no_secrets(&printed);
    assert!(!printed.contains("/api/v1/"), "{printed}");
    error
}

async fn error_from(server: &RawServer) -> Error {
    error_of(client_without_retries(server.base_url())).await
}

fn assert_not_sent(error: &Error) {
    assert!(matches!(error, Error::NoConnection(_)), "{error:?}");
    assert_eq!(error.outcome(), OutcomeKind::NotSent);
    assert!(error.retry_is_safe() && error.retry_can_help());
    assert_eq!(error.status(), None);
    assert!(error.to_string().starts_with("nothing was sent"), "{error}");
}

fn assert_unknown(error: &Error) {
    assert_eq!(error.outcome(), OutcomeKind::Unknown, "{error:?}");
    assert!(!error.retry_is_safe(), "{error:?}");
}

fn assert_lost(error: &Error) {
    assert!(matches!(error, Error::ConnectionLost(_)), "{error:?}");
    assert_unknown(error);
    assert!(error.retry_can_help() && error.source().is_some());
}

fn assert_timed_out(error: &Error) {
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert_unknown(error);
    assert!(error.retry_can_help() && error.source().is_some());
}

/// A server that accepts every batch, and the requests that it read.
async fn recording_server() -> (RawServer, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&requests);
    let server = RawServer::start(move |mut stream| {
        let recorded = Arc::clone(&recorded);
        async move {
            let request = read_request(&mut stream).await;
            recorded.lock().unwrap().push(request);
            let accepted = http_response("200 OK", "connection: close\r\n", ACCEPTED);
            stream.write_all(&accepted).await.unwrap();
        }
    })
    .await;
    (server, requests)
}

// The request on the wire.

#[tokio::test]
async fn a_request_is_the_generated_call_with_the_headers_of_the_hooks() {
    let content = SharedContent::from(
        Content::new("予約のお知らせ \"quoted\" \u{1F4E3}")
            .icon(Icon::Megaphone)
            .emphasis("Label", "Content")
            .item("a", "b\n\t\\")
            .explanation("x".repeat(2000)),
    );
    let mut full = message("a").sms_fallback(SmsFallback::new("text").source("8x8"));
    full.content = Content::new("own").action("Open", "https://example.com/?a=1&b=2").into();
    let mut shared = message("b").dlr_callback_url("https://example.com/receipts");
    shared.content = content.into();
    let batch = Batch::builder()
        .client_batch_id("order-1")
        .include_messages_in_response(true)
        .messages([full, shared, message("c")])
        .build()
        .unwrap();
    let (server, requests) = recording_server().await;
    let client = client_without_retries(format!("{}/gateway/", server.base_url())).build().unwrap();
    within_10s(client.send(&batch)).await.unwrap();

    let requests = requests.lock().unwrap();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.as_bytes(), serde_json::to_vec(batch.request()).unwrap());
    let mut lines = head.lines();
    let path = "/gateway/api/v1/subaccounts/my-subaccount/lon/batch";
    assert_eq!(lines.next(), Some(format!("POST {path} HTTP/1.1").as_str()));
    let mut headers: Vec<_> = lines.map(str::to_owned).collect();
    headers.sort_unstable();
    let expected = [
        "accept: application/json".to_owned(),
        format!("authorization: Bearer {KEY}"),
        format!("content-length: {}", body.len()),
        "content-type: application/json".to_owned(),
        format!("host: {}", server.address),
        format!("user-agent: lon-batch/{}", env!("CARGO_PKG_VERSION")),
    ];
    // `api-version`, which progenitor adds, is removed.
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn custom_http_client_sends_the_key_and_the_user_agent_of_this_crate() {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer of another".parse().unwrap());
    headers.insert("api-version", "9".parse().unwrap());
    let http = custom_http_client().user_agent("other/1").default_headers(headers);
    let (server, requests) = recording_server().await;
    let client = client_without_retries(server.base_url()).http_client(http).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    let request = requests.lock().unwrap().concat();
    for line in [format!("authorization: Bearer {KEY}\r\n"), "user-agent: lon-batch/".to_owned()] {
        assert_eq!(request.matches(&line).count(), 1, "{request}");
    }
    assert!(!request.contains("other"), "{request}");
}

#[tokio::test]
async fn custom_http_client_with_http2_still_speaks_http_1_1() {
    let (server, requests) = recording_server().await;
    // Control: without the crate, this client speaks HTTP/2 at once.
    let http2 = custom_http_client().http2_prior_knowledge().build().unwrap();
    let preface = oneshot_server().await;
    let sent = tokio::spawn(http2.get(preface.0).send());
    assert!(within_10s(preface.1).await.unwrap().starts_with("PRI * HTTP/2.0"));
    sent.abort();

    let http = custom_http_client().http2_prior_knowledge();
    let client = client_without_retries(server.base_url()).http_client(http).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    let requests = requests.lock().unwrap();
    let path = "/api/v1/subaccounts/my-subaccount/lon/batch";
    assert!(requests[0].starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{requests:?}");
}

/// A server that reports the first bytes that it is sent.
async fn oneshot_server() -> (String, oneshot::Receiver<String>) {
    let (seen, first) = oneshot::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        seen.send(String::from_utf8_lossy(&bytes[..read]).into_owned()).unwrap();
        // Not a valid answer for HTTPS or HTTP/2.
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    (base_url, first)
}

#[tokio::test]
async fn a_verbose_custom_http_client_logs_no_key_and_no_number() {
    let body = format!(
        r#"{{"acceptedCount": 1, "rejectedCount": 0, "messages": [{{"user": {{"msisdn": "{NUMBER}"}}}}]}}"#
    );
    log::start_capture();
    let server = RawServer::answering(http_response("200 OK", "", body)).await;
    // Control: without the crate, this client logs all traffic.
    let http = custom_http_client().connection_verbose(true).build().unwrap();
    let sent = http.post(server.base_url()).bearer_auth(KEY).body(NUMBER).send().await.unwrap();
    sent.bytes().await.unwrap();
    let verbose = log::drain();
    assert!(verbose.contains(KEY) && verbose.matches(NUMBER).count() == 2, "{verbose}");

    let http = custom_http_client().connection_verbose(true);
    let client = client_without_retries(server.base_url()).http_client(http).build().unwrap();
    let batch = batch(&["a"]);
    within_10s(client.send(&batch)).await.unwrap();
    let logged = log::drain();
    assert!(logged.contains("TRACE") && logged.contains("accepted the batch"), "{logged}");
    assert_no_secrets(&logged);
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn a_tls_handshake_that_fails_sends_nothing_and_offers_http_1_1_alone() {
    let (base_url, first) = oneshot_server().await;
    let client = client_without_retries(base_url.replace("http:", "https:"))
        .http_client(custom_http_client());
    assert_not_sent(&error_of(client).await);
    let hello = within_10s(first).await.unwrap();
    assert!(hello.starts_with('\u{16}'), "a TLS handshake: {hello:?}");
    assert!(!hello.contains(KEY));
    // The list of protocols, each with its length before it.
    assert!(hello.contains("\u{8}http/1.1") && !hello.contains("\u{2}h2"), "{hello:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let statuses = [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ];
    let own = || Some(custom_http_client().redirect(Policy::limited(10)));
    for status in statuses {
        // Nothing listens at the target: following it would look like a batch that was not sent.
        let nobody = RawServer::answering("").await.base_url();
        let elsewhere = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
        for (location, http) in [
            (&nobody, None),
            (&nobody, own()),
            (&elsewhere.base_url(), None),
            (&elsewhere.base_url(), own()),
        ] {
            let location = format!("location: {location}/\r\n");
            let server = RawServer::answering(http_response(status, &location, "")).await;
            let mut client =
                client_without_retries(server.base_url()).retry(RetryPolicy::default());
            if let Some(http) = http {
                client = client.http_client(http);
            }
            let error = error_of(client).await;
            assert_eq!(error.status().unwrap().as_str(), &status[..3], "{error:?}");
            // 303 says that the request was processed.
            let processed = status.starts_with("303");
            let expected = if processed { OutcomeKind::Unknown } else { OutcomeKind::NotSent };
            assert_eq!(error.outcome(), expected, "{error:?}");
            assert_eq!(error.retry_can_help(), processed, "{error:?}");
            assert_eq!((server.connections(), elsewhere.connections()), (1, 0));
        }
    }
}

#[tokio::test]
async fn custom_http_client_uses_no_proxy_to_this_machine() {
    let proxy = RawServer::answering(http_response("502 Bad Gateway", "", "")).await;
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let http = custom_http_client().proxy(Proxy::all(proxy.base_url()).unwrap());
    let client = client_without_retries(server.base_url()).http_client(http).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    assert_eq!((server.connections(), proxy.connections()), (1, 0));
}

/// Set in the child process of a test.
const CHILD: &str = "LON_BATCH_TEST_CHILD";

#[test]
fn a_proxy_of_the_environment_does_not_see_plain_http() {
    // A proxy would also be used for this machine, and see the API key. Nothing listens on port 1.
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "request_ignores_proxy_environment_variables"])
        .env(CHILD, "1")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("http_proxy", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

#[tokio::test]
async fn request_ignores_proxy_environment_variables() {
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    assert_eq!(server.connections(), 1);
    if env::var_os(CHILD).is_some() {
        // Control: a client without our settings uses the proxy of the environment.
        let http = custom_http_client().build().unwrap();
        let error = http.get(server.base_url()).send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
    }
}

// Failing connects.

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = error_of(client_without_retries(format!("http://{address}"))).await;
    assert_not_sent(&error);
    // The text has the reason of the operating system.
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
}

/// A resolver that fails, or never answers.
struct Broken {
    answers: bool,
}

impl Resolve for Broken {
    fn resolve(&self, _: Name) -> Resolving {
        if self.answers {
            return Box::pin(async { Err::<Addrs, _>("no such name".into()) });
        }
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_name_that_is_not_found_sends_nothing() {
    let http = custom_http_client().dns_resolver(Arc::new(Broken { answers: true }));
    let error = error_of(client_without_retries("https://example.invalid").http_client(http)).await;
    assert_not_sent(&error);
    assert!(error.to_string().contains("no such name"), "{error}");
}

/// The clock is paused and nothing does I/O, so it jumps to the next timer.
#[tokio::test(start_paused = true)]
async fn a_dead_host_sends_nothing_with_default_timeouts() {
    let secs = Duration::from_secs;
    for (timeout, connects_for) in [(None, secs(10)), (Some(secs(12)), secs(6))] {
        let http = custom_http_client().dns_resolver(Arc::new(Broken { answers: false }));
        let mut client = client_without_retries("https://example.invalid").http_client(http);
        if let Some(timeout) = timeout {
            client = client.timeout(timeout);
        }
        let client = client.build().unwrap();
        let start = Instant::now();
        let error = client.send(&batch(&["a"])).await.unwrap_err();
        assert_not_sent(&error);
        let waited = start.elapsed();
        assert!((connects_for..connects_for + SHORT).contains(&waited), "{waited:?}");
    }
    // Also with the default retries.
    let http = custom_http_client().dns_resolver(Arc::new(Broken { answers: false }));
    let client = Client::builder("my-subaccount", KEY).base_url("https://example.invalid");
    let client = client.http_client(http).build().unwrap();
    let start = Instant::now();
    assert_not_sent(&client.send(&batch(&["a"])).await.unwrap_err());
    let waited = start.elapsed();
    assert!((secs(50)..secs(70)).contains(&waited), "{waited:?}");
}

/// The same on the wire: the server accepts no connection, and Linux drops those beyond the backlog.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_that_accepts_no_connection_sends_nothing() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        filling.push(stream.unwrap());
        assert!(filling.len() < 16, "the backlog does not fill");
    }
    assert_not_sent(
        &error_of(client_without_retries(format!("http://{address}")).timeout(SHORT)).await,
    );
}

// Lost connections.

#[tokio::test]
async fn a_reset_before_the_request_is_read_leaves_it_unknown() {
    let server = RawServer::start(async move |stream| {
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_lost(&error_from(&server).await);
    assert_eq!(server.connections(), 1, "sent once");
}

#[tokio::test]
async fn a_close_after_the_request_is_read_leaves_it_unknown() {
    let server = RawServer::answering("").await;
    assert_lost(&error_from(&server).await);
    assert_eq!(server.connections(), 1, "sent once");
}

#[tokio::test]
async fn an_answer_that_is_not_http_leaves_the_batch_unknown() {
    let server = RawServer::answering("SSH-2.0-OpenSSH_9.6\r\n").await;
    assert_unknown(&error_from(&server).await);
    assert_eq!(server.connections(), 1, "sent once");
}

#[tokio::test]
async fn a_request_that_was_read_on_a_reused_connection_is_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = RawServer::start(move |mut stream| {
        let requests = Arc::clone(&counted);
        async move {
            read_request(&mut stream).await;
            requests.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&http_response("200 OK", "", ACCEPTED)).await.unwrap();
            read_request(&mut stream).await;
            requests.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    within_10s(client.send(&batch(&["a"]))).await.unwrap();
    until_idle().await;
    let error = within_10s(client.send(&batch(&["a"]))).await.unwrap_err();
    assert_lost(&error);
    assert_eq!((requests.load(Ordering::SeqCst), server.connections()), (2, 1));
}

// Idle connections.

/// Lets the client return the last connection to its pool, which it does in a separate task.
async fn until_idle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Keeps connections idle for this time. The pool reads tokio's clock when it reuses one.
async fn idle_for(time: Duration) {
    until_idle().await;
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A server that answers any number of requests on each connection.
async fn keeping_server() -> RawServer {
    RawServer::start(async move |mut stream: TcpStream| {
        // Until the client disconnects.
        while stream.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
            read_request(&mut stream).await;
            stream.write_all(&http_response("200 OK", "", ACCEPTED)).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_is_reused_after_less_than_a_second_and_not_after_more() {
    let server = keeping_server().await;
    for http in
        [None, Some(custom_http_client()), Some(custom_http_client().pool_idle_timeout(None))]
    {
        let mut client = client_without_retries(server.base_url());
        if let Some(http) = http {
            client = client.http_client(http);
        }
        let client = client.build().unwrap();
        let send = async || within_10s(client.send(&batch(&["a"]))).await.unwrap();
        send().await;
        let mut connections = server.connections();
        let mut reused = 0;
        for _ in 0..20 {
            let start = Instant::now();
            send().await;
            idle_for(Duration::from_millis(900)).await;
            send().await;
            // On a busy machine, the connection may have been idle for longer.
            if start.elapsed() <= IDLE_LIMIT {
                reused += 1;
                assert_eq!(server.connections(), connections, "reused");
            }
            connections = server.connections();
            idle_for(BEYOND_THE_LIMIT).await;
            send().await;
            assert_eq!(server.connections(), connections + 1, "a new connection");
            connections = server.connections();
        }
        assert!(reused > 0, "no round ended within a second");
    }
}

/// Runs a server in its own thread, so that it can act while the client's runtime is blocked and
/// does not notice.
fn serve_on_own_thread<F: Future<Output = ()>>(
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async { serve(TcpListener::from_std(listener).unwrap()).await });
    });
    base_url
}

/// A function that makes a server on its own thread act, and the server's ends of it: a signal to
/// act, and one that it has acted. Waiting for that blocks the thread of the client.
fn signals() -> (impl Fn(), tokio_mpsc::UnboundedReceiver<()>, mpsc::Sender<()>) {
    let (act, to_act) = tokio_mpsc::unbounded_channel();
    let (has_acted, acted) = mpsc::channel();
    let act = move || {
        act.send(()).unwrap();
        acted.recv_timeout(Duration::from_secs(10)).expect("the server acts");
    };
    (act, to_act, has_acted)
}

#[tokio::test]
async fn connections_closed_after_each_response_lose_nothing_with_long_pauses() {
    let (close, mut to_close, closed) = signals();
    let base_url = serve_on_own_thread(async move |listener| {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(&http_response("200 OK", "", ACCEPTED)).await.unwrap();
            // Once the client has the response.
            if to_close.recv().await.is_none() {
                return;
            }
            drop(stream);
            closed.send(()).unwrap();
        }
    });
    let client = client_without_retries(base_url).build().unwrap();
    for _ in 0..50 {
        within_10s(client.send(&batch(&["a"]))).await.expect("nothing is unknown");
        idle_for(BEYOND_THE_LIMIT).await;
        // The client does not notice before it sends again.
        close();
    }

    // A server that closes immediately.
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    for sent in 1..=50 {
        within_10s(client.send(&batch(&["a"]))).await.expect("nothing is unknown");
        assert_eq!(server.connections(), sent, "each was sent once");
        idle_for(BEYOND_THE_LIMIT).await;
    }
}

/// A server that closes its half after each response, and reports when the client has closed the
/// other.
async fn closing_server() -> (RawServer, Arc<Notify>) {
    let closed = Arc::new(Notify::new());
    let notify = Arc::clone(&closed);
    let server = RawServer::start(move |mut stream| {
        let closed = Arc::clone(&notify);
        async move {
            read_request(&mut stream).await;
            stream.write_all(&http_response("200 OK", "", ACCEPTED)).await.unwrap();
            stream.shutdown().await.unwrap();
            // Another request would be read here, and the client would get no response to it.
            while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            closed.notify_one();
        }
    })
    .await;
    (server, closed)
}

#[tokio::test]
async fn connections_closed_after_each_response_lose_nothing_once_the_client_saw_the_close() {
    let (server, closed) = closing_server().await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let mut slow = 0;
    for sent in 1..=50 {
        within_10s(client.send(&batch(&["a"]))).await.expect("nothing is unknown");
        let start = Instant::now();
        within_10s(closed.notified()).await;
        // After the limit the client closes its connections by itself.
        slow += u32::from(start.elapsed() >= IDLE_LIMIT);
        assert!(slow < 5, "the client does not see the close");
        idle_for(Duration::from_millis([0, 1, 500, 900][sent % 4])).await;
        assert_eq!(server.connections(), sent, "each was sent once");
    }
}

#[tokio::test]
async fn a_connection_closed_at_an_unknown_time_never_sends_a_batch_twice() {
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    for sent in 1..=50 {
        // Without a pause, the client may not have seen the close when it sends.
        if let Err(error) = within_10s(client.send(&batch(&["a"]))).await {
            assert_lost(&error);
        }
        assert!(server.connections() <= sent);
    }
}

#[tokio::test]
async fn an_unsolicited_response_answers_no_batch_that_is_sent_after_the_idle_limit() {
    let accepted = |batch_id: &str| {
        let body =
            format!(r#"{{"batchId": "{batch_id}", "acceptedCount": 1, "rejectedCount": 0}}"#);
        http_response("200 OK", "", body)
    };
    let (respond, mut to_respond, responded) = signals();
    let base_url = serve_on_own_thread(async move |listener| {
        let mut connections = Vec::new();
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(&accepted(&format!("b-{number}"))).await.unwrap();
            if to_respond.recv().await.is_none() {
                return;
            }
            // The client may have closed it already.
            let _ = stream.write_all(&accepted("unsolicited")).await;
            connections.push(stream);
            responded.send(()).unwrap();
        }
    });
    let client = client_without_retries(base_url).build().unwrap();
    for number in 0..50 {
        let response = within_10s(client.send(&batch(&["a"]))).await.unwrap();
        assert_eq!(response.batch_id.as_deref(), Some(format!("b-{number}").as_str()));
        idle_for(BEYOND_THE_LIMIT).await;
        // The client does not notice before it sends again.
        respond();
    }
}

// Late, truncated and endless responses.

/// Sends part of an answer and then nothing, until the client disconnects.
async fn stalling_server(part: Vec<u8>) -> RawServer {
    let part = Arc::new(part);
    RawServer::start(move |mut stream| {
        let part = Arc::clone(&part);
        async move {
            read_request(&mut stream).await;
            stream.write_all(&part).await.unwrap();
            let _ = stream.read(&mut [0; 16]).await;
        }
    })
    .await
}

#[tokio::test]
async fn no_response_in_time_leaves_the_batch_unknown() {
    let late = async |part: &[u8]| {
        let server = stalling_server(part.to_vec()).await;
        error_of(client_without_retries(server.base_url()).timeout(SHORT)).await
    };
    assert_timed_out(&late(b"").await);
    // An incomplete head is not a response either.
    assert_unknown(&late(b"HTTP/1.1 200 OK\r\ncontent-le").await);
}

#[tokio::test]
async fn a_timeout_of_one_call_applies_to_that_call() {
    let server = stalling_server(Vec::new()).await;
    for http in [None, Some(custom_http_client().timeout(Duration::from_secs(600)))] {
        let mut client = client_without_retries(server.base_url()).connect_timeout(SHORT / 2);
        if let Some(http) = http {
            client = client.http_client(http);
        }
        let client = client.build().unwrap().with_timeout(SHORT).unwrap();
        let start = Instant::now();
        assert_timed_out(&within_10s(client.send(&batch(&["a"]))).await.unwrap_err());
        assert!(start.elapsed() >= SHORT);
    }
}

fn unreadable(error: &Error, reason: UnreadableReason, body: &[u8]) {
    let Error::AcceptedUnreadable(unreadable) = error else { panic!("{error:?}") };
    assert_unknown(error);
    assert!(!error.retry_can_help());
    assert_eq!(unreadable.reason(), reason);
    assert_eq!(unreadable.body(), body);
    assert!(error.to_string().contains(&reason.to_string()), "{error}");
}

#[tokio::test]
async fn a_response_that_stalls_is_decided_by_its_status() {
    let stalled = async |status: &str, part: &str| {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 100\r\n\r\n");
        let server = stalling_server(format!("{head}{part}").into_bytes()).await;
        error_of(client_without_retries(server.base_url()).timeout(SHORT)).await
    };
    let error = stalled("200 OK", r#"{"batchId": "b-1", "#).await;
    unreadable(&error, UnreadableReason::Truncated, br#"{"batchId": "b-1", "#);
    let error = stalled("400 Bad Request", r#"{"code": 1"#).await;
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert_eq!(error.outcome(), OutcomeKind::NotSent);
    // The missing part may list accepted messages.
    let error = stalled("429 Too Many Requests", r#"{"code": 429"#).await;
    assert!(matches!(error, Error::Ambiguous(_)), "{error:?}");
    assert_unknown(&error);
}

#[tokio::test]
async fn a_truncated_response_is_accepted_but_unreadable() {
    let body = r#"{"batchId": "b-1", "acceptedCount": 1, "rejectedCount": 0}"#;
    let whole = http_response("200 OK", "", body);
    for missing in [1, 10] {
        let server = RawServer::answering(&whole[..whole.len() - missing]).await;
        let came = &body.as_bytes()[..body.len() - missing];
        unreadable(&error_from(&server).await, UnreadableReason::Truncated, came);
    }
    let server = RawServer::answering(&whole[..whole.len() - body.len()]).await;
    unreadable(&error_from(&server).await, UnreadableReason::Empty, b"");
    // A complete body without its end marker is a response.
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
        body.len()
    );
    let server = RawServer::answering(chunked).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let batch = batch(&["a"]);
    let response = within_10s(client.send(&batch)).await.unwrap();
    assert!(response.report(&batch).all_accepted());
}

#[tokio::test]
async fn a_response_without_end_is_read_up_to_a_bound() {
    for (status, limit) in [("200 OK", 64), ("502 Bad Gateway", 32)] {
        let (sent, written) = oneshot::channel();
        let sent = Arc::new(Mutex::new(Some(sent)));
        let server = RawServer::start(move |mut stream| {
            let sent = Arc::clone(&sent);
            async move {
                read_request(&mut stream).await;
                let head = format!("HTTP/1.1 {status}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let chunk = [b'x'; 16 * 1024];
                let mut count = 0;
                while stream.write_all(&chunk).await.is_ok() {
                    count += chunk.len();
                }
                let _ = sent.lock().unwrap().take().unwrap().send(count);
            }
        })
        .await;
        assert_unknown(&error_from(&server).await);
        // The client hung up: it read only what it keeps, plus the buffers of the sockets.
        let written = within_10s(written).await.unwrap();
        assert!(written < limit * 1024 * 1024, "{status}: {written} bytes");
    }
}

#[tokio::test]
async fn a_key_that_a_response_echoes_is_redacted() {
    let escaped = KEY.replace("api", "\\u0061pi");
    let body = format!(
        r#"{{"batchId": "b {KEY}", "clientBatchId": "{escaped}", "acceptedCount": 1, "rejectedCount": 0}}"#
    );
    let whole = http_response("200 OK", "", &body);
    let in_the_key = whole.len() - body.len() + body.find(KEY).unwrap() + 10;
    // All at once, in parts, and truncated in the middle of the key.
    for ends in [vec![whole.len()], vec![in_the_key, whole.len()], vec![in_the_key]] {
        let (whole, ends) = (whole.clone(), Arc::new(ends));
        let is_truncated = ends.last() == Some(&in_the_key);
        let server = RawServer::start(move |mut stream| {
            let (whole, ends) = (whole.clone(), Arc::clone(&ends));
            async move {
                read_request(&mut stream).await;
                let mut from = 0;
                for to in ends.iter() {
                    stream.write_all(&whole[from..*to]).await.unwrap();
                    // The client reads this part separately.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    from = *to;
                }
            }
        })
        .await;
        if is_truncated {
            let error = error_from(&server).await;
            unreadable(&error, UnreadableReason::Truncated, br#"{"batchId": "b [redacted]"#);
            continue;
        }
        let client = client_without_retries(server.base_url()).build().unwrap();
        let response = within_10s(client.send(&batch(&["a"]))).await.unwrap();
        assert_eq!(response.batch_id.as_deref(), Some("b [redacted]"));
        assert_eq!(response.client_batch_id.as_deref(), Some("[redacted]"));
        assert_eq!(response.accepted_count, Some(1));
    }
}

// Concurrent and dropped sends.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_sends_each_get_their_own_response() {
    // Every other answer is truncated. Each send must report its own.
    let turn = Arc::new(AtomicUsize::new(0));
    let server = RawServer::start(move |mut stream| {
        let turn = Arc::clone(&turn);
        async move {
            read_request(&mut stream).await;
            let whole = http_response("202 Accepted", "connection: close\r\n", ACCEPTED);
            let missing = turn.fetch_add(1, Ordering::SeqCst) % 2;
            stream.write_all(&whole[..whole.len() - missing]).await.unwrap();
        }
    })
    .await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let mut sends = JoinSet::new();
    for _ in 0..1000 {
        let client = client.clone();
        sends.spawn(async move { client.send(&batch(&["a"])).await });
    }
    let (mut complete, mut truncated) = (0, 0);
    while let Some(result) = within_10s(sends.join_next()).await {
        match result.unwrap() {
            Ok(_) => complete += 1,
            Err(error) => {
                unreadable(
                    &error,
                    UnreadableReason::Truncated,
                    &ACCEPTED.as_bytes()[..ACCEPTED.len() - 1],
                );
                assert_eq!(error.status().unwrap().as_u16(), 202);
                truncated += 1;
            }
        }
    }
    assert_eq!((complete, truncated), (500, 500));
}

#[tokio::test]
async fn a_future_that_was_never_polled_sends_nothing() {
    let server = RawServer::answering(http_response("200 OK", "", ACCEPTED)).await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let batch = batch(&["a"]);
    drop(client.send(&batch));
    within_10s(client.send(&batch)).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_future_that_is_dropped_ends_its_request() {
    let (read, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (was_read, was_gone) = (Arc::clone(&read), Arc::clone(&gone));
    let server = RawServer::start(move |mut stream| {
        let (read, gone) = (Arc::clone(&was_read), Arc::clone(&was_gone));
        async move {
            read_request(&mut stream).await;
            read.notify_one();
            assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
            gone.notify_one();
        }
    })
    .await;
    let client = client_without_retries(server.base_url()).build().unwrap();
    let task = tokio::spawn(async move { client.send(&batch(&["a"])).await.map(|_| ()) });
    within_10s(read.notified()).await;
    task.abort();
    within_10s(gone.notified()).await;
    assert_eq!(server.connections(), 1);
}
