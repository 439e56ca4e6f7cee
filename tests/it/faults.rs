//! What the network does to a request, and what is known of the batch then.

use std::env;
use std::error::Error as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use lon_batch::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use lon_batch::reqwest::redirect::Policy;
use lon_batch::{Error, MayHaveBeenSent, RetryPolicy, UnreadableReason, reqwest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::support::{
    ACCEPTED, KEY, RawServer, answer, assert_no_secrets, batch, client_of, own_client, printed,
    read_request,
};

/// Long enough for what has to happen, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

async fn send(base_url: String, timeout: Duration) -> Error {
    let client = client_of(base_url).timeout(timeout).build().unwrap();
    let error = client.send(&batch(&["a"])).await.unwrap_err();
    let printed = printed(&error);
    assert_no_secrets(&printed);
    assert!(!printed.contains("/api/v1/"), "{printed}");
    error
}

#[tokio::test]
async fn connection_refused() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = send(format!("http://{address}"), SHORT).await;
    assert!(matches!(error, Error::NotSent(_)), "{error:?}");
    assert!(error.is_retryable() && !error.may_have_been_sent());
    assert_eq!(error.status(), None);
    assert!(error.to_string().starts_with("nothing was sent"), "{error}");
    // The chain of sources goes down to what the operating system said.
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let cause = cause.downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn name_not_found() {
    struct NoSuchName;
    impl Resolve for NoSuchName {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(async { Err::<Addrs, _>("no such name".into()) })
        }
    }
    let http = own_client().dns_resolver(Arc::new(NoSuchName));
    let client = client_of("https://example.invalid").http_client(http).build().unwrap();
    let error = client.send(&batch(&["a"])).await.unwrap_err();
    assert!(matches!(error, Error::NotSent(_)), "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn tls_that_cannot_be_made() {
    // A server that speaks no TLS: the handshake fails before anything of the request is sent.
    let (seen, first) = oneshot::channel();
    let seen = Arc::new(std::sync::Mutex::new(Some(seen)));
    let server = RawServer::start(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            let seen = seen.lock().unwrap().take().unwrap();
            seen.send(bytes[..read].to_vec()).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let error = send(format!("https://{}", server.address), SHORT * 10).await;
    assert!(matches!(error, Error::NotSent(_)), "{error:?}");
    let sent = first.await.unwrap();
    assert_eq!(sent[0], 0x16, "a TLS handshake");
    assert!(!String::from_utf8_lossy(&sent).contains(KEY));
}

#[tokio::test]
async fn reset_before_the_request_is_read() {
    let server = RawServer::start(async move |stream| {
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = send(server.base_url(), SHORT * 10).await;
    let lost = matches!(error, Error::MayHaveBeenSent(MayHaveBeenSent::ConnectionLost(_)));
    assert!(lost, "{error:?}");
    assert!(error.may_have_been_sent() && !error.is_retryable());
    assert_eq!(server.connections(), 1, "sent once");
}

#[tokio::test]
async fn closed_after_the_request_is_read() {
    let server = RawServer::answering("").await;
    let error = send(server.base_url(), SHORT * 10).await;
    let lost = matches!(error, Error::MayHaveBeenSent(MayHaveBeenSent::ConnectionLost(_)));
    assert!(lost, "{error:?}");
    assert!(error.may_have_been_sent() && !error.is_retryable());
    assert!(error.source().is_some());
    assert_eq!(server.connections(), 1, "sent once");
}

#[tokio::test]
async fn an_answer_that_is_not_http() {
    let server = RawServer::answering("SSH-2.0-OpenSSH_9.6\r\n").await;
    let error = send(server.base_url(), SHORT * 10).await;
    assert!(error.may_have_been_sent(), "{error:?}");
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_not_a_reason_to_send_twice() {
    // The first request is answered on a connection that is then closed while the client keeps it.
    let closed = Arc::new(Notify::new());
    let notify = Arc::clone(&closed);
    let server = RawServer::start(move |mut stream| {
        let closed = Arc::clone(&notify);
        async move {
            read_request(&mut stream).await;
            stream.write_all(&answer("200 OK", "", ACCEPTED)).await.unwrap();
            drop(stream);
            closed.notify_one();
        }
    })
    .await;
    let client = client_of(server.base_url()).build().unwrap();
    for sent in 1..=3 {
        // Each is answered, or its fate is unknown; none goes out twice.
        match client.send(&batch(&["a"])).await {
            Ok(_) => closed.notified().await,
            Err(error) => assert!(error.may_have_been_sent(), "{error:?}"),
        }
        assert!(server.connections() <= sent);
    }
}

#[tokio::test]
async fn a_request_that_was_read_on_a_kept_connection_is_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = RawServer::start(move |mut stream| {
        let requests = Arc::clone(&counted);
        async move {
            read_request(&mut stream).await;
            requests.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&answer("200 OK", "", ACCEPTED)).await.unwrap();
            read_request(&mut stream).await;
            requests.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let client = client_of(server.base_url()).build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    let error = client.send(&batch(&["a"])).await.unwrap_err();
    assert!(error.may_have_been_sent() && !error.is_retryable(), "{error:?}");
    assert_eq!((requests.load(Ordering::SeqCst), server.connections()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sends_at_the_same_time_do_not_mix_what_they_saw() {
    // Every other answer is cut; each send has to tell its own.
    let turn = Arc::new(AtomicUsize::new(0));
    let server = RawServer::start(move |mut stream| {
        let turn = Arc::clone(&turn);
        async move {
            read_request(&mut stream).await;
            let whole = answer("202 Accepted", "connection: close\r\n", ACCEPTED);
            let cut = turn.fetch_add(1, Ordering::SeqCst) % 2;
            stream.write_all(&whole[..whole.len() - cut]).await.unwrap();
        }
    })
    .await;
    let client = client_of(server.base_url()).build().unwrap();
    let mut sends = JoinSet::new();
    for _ in 0..1000 {
        let client = client.clone();
        sends.spawn(async move { client.send(&batch(&["a"])).await });
    }
    let (mut whole, mut cut) = (0, 0);
    while let Some(result) = sends.join_next().await {
        match result.unwrap() {
            Ok(_) => whole += 1,
            Err(Error::AcceptedUnreadable(error)) => {
                assert_eq!((error.reason(), error.status().as_u16()), (UnreadableReason::Cut, 202));
                assert!(error.source().is_some());
                cut += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((whole, cut), (500, 500));
}

/// Sends part of an answer and then nothing, until the client is gone.
async fn stalling(part: Vec<u8>) -> RawServer {
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
async fn no_answer_in_time() {
    let server = stalling(Vec::new()).await;
    let error = send(server.base_url(), SHORT).await;
    let late = matches!(error, Error::MayHaveBeenSent(MayHaveBeenSent::TimedOut(_)));
    assert!(late, "{error:?}");
    assert!(error.may_have_been_sent() && !error.is_retryable());
    // A head that is not whole is no answer either.
    let server = stalling(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()).await;
    assert!(send(server.base_url(), SHORT).await.may_have_been_sent());
}

#[tokio::test]
async fn the_time_out_of_one_call() {
    let server = stalling(Vec::new()).await;
    let client = client_of(server.base_url()).build().unwrap();
    let error = client.with_timeout(SHORT).send(&batch(&["a"])).await.unwrap_err();
    assert!(matches!(error, Error::MayHaveBeenSent(MayHaveBeenSent::TimedOut(_))), "{error:?}");
    // It applies to a client of one's own too.
    let client = client_of(server.base_url()).http_client(own_client()).build().unwrap();
    let error = client.with_timeout(SHORT).send(&batch(&["a"])).await.unwrap_err();
    assert!(matches!(error, Error::MayHaveBeenSent(MayHaveBeenSent::TimedOut(_))), "{error:?}");
}

#[tokio::test]
async fn time_runs_out_in_the_middle_of_an_answer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
    let server = stalling(format!("{head}{{\"batchId\": \"b-1\", ").into_bytes()).await;
    let error = send(server.base_url(), SHORT).await;
    let Error::AcceptedUnreadable(unreadable) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(unreadable.reason(), UnreadableReason::Cut);
    assert_eq!(unreadable.body(), br#"{"batchId": "b-1", "#);
    assert!(unreadable.source().is_some());

    let head = "HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n";
    let server = stalling(format!("{head}{{\"code\": 1").into_bytes()).await;
    let error = send(server.base_url(), SHORT).await;
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_cut() {
    let body = r#"{"batchId": "b-1", "acceptedCount": 1, "rejectedCount": 0}"#;
    let whole = answer("200 OK", "", body);
    for missing in [1, 10, body.len()] {
        let server = RawServer::answering(&whole[..whole.len() - missing]).await;
        let error = send(server.base_url(), SHORT * 10).await;
        let Error::AcceptedUnreadable(unreadable) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(unreadable.reason(), UnreadableReason::Cut);
        assert_eq!(unreadable.body(), &body.as_bytes()[..body.len() - missing]);
    }
    // A whole body whose end was not marked is an answer.
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
        body.len()
    );
    let server = RawServer::answering(chunked).await;
    let client = client_of(server.base_url()).build().unwrap();
    assert!(client.send(&batch(&["a"])).await.unwrap().all_accepted());
}

#[tokio::test]
async fn an_answer_that_never_ends() {
    for (status, limit) in [("200 OK", 64), ("502 Bad Gateway", 32)] {
        let (sent, written) = oneshot::channel();
        let sent = Arc::new(std::sync::Mutex::new(Some(sent)));
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
        let error = send(server.base_url(), SHORT * 100).await;
        assert!(error.may_have_been_sent(), "{error:?}");
        // The client hung up: it read no more than it keeps, and what the sockets hold.
        let written = written.await.unwrap();
        assert!(written < limit * 1024 * 1024, "{status}: {written} bytes");
    }
}

#[tokio::test]
async fn a_future_that_was_never_polled_sends_nothing() {
    let server = RawServer::answering(answer("200 OK", "", ACCEPTED)).await;
    let client = client_of(server.base_url()).build().unwrap();
    let batch = batch(&["a"]);
    drop(client.send(&batch));
    client.send(&batch).await.unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_future_that_is_dropped_ends_the_request() {
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
    let client = client_of(server.base_url()).build().unwrap();
    let task = tokio::spawn(async move { client.send(&batch(&["a"])).await.map(|_| ()) });
    read.notified().await;
    task.abort();
    gone.notified().await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_client_of_ones_own_follows_no_redirect_either() {
    // Nobody listens where it leads to: an error there would look as if nothing had been sent.
    for status in ["302 Found", "303 See Other", "307 Temporary Redirect"] {
        let nobody = RawServer::answering("").await.base_url();
        let elsewhere = RawServer::answering(answer("200 OK", "", ACCEPTED)).await;
        for location in [nobody, elsewhere.base_url()] {
            let location = format!("location: {location}/\r\n");
            let server = RawServer::answering(answer(status, &location, "")).await;
            let http = own_client().redirect(Policy::limited(10));
            let client = client_of(server.base_url())
                .retry(RetryPolicy::default())
                .http_client(http)
                .build()
                .unwrap();
            let error = client.send(&batch(&["a"])).await.unwrap_err();
            assert_eq!(error.status().unwrap().as_str(), &status[..3], "{error:?}");
            assert_eq!(error.may_have_been_sent(), status.starts_with("303"));
            assert!(!error.is_retryable(), "{error:?}");
            assert_eq!((server.connections(), elsewhere.connections()), (1, 0));
        }
    }
}

#[tokio::test]
async fn a_client_of_ones_own_takes_no_proxy_to_this_machine() {
    let proxy = RawServer::answering(answer("502 Bad Gateway", "", "")).await;
    let server = RawServer::answering(answer("200 OK", "", ACCEPTED)).await;
    let http = own_client().proxy(reqwest::Proxy::all(proxy.base_url()).unwrap());
    let client = client_of(server.base_url()).http_client(http).build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    assert_eq!((server.connections(), proxy.connections()), (1, 0));
}

#[tokio::test]
async fn a_client_of_ones_own_sends_the_key_and_the_user_agent_all_the_same() {
    let (sent, request) = oneshot::channel();
    let sent = Arc::new(std::sync::Mutex::new(Some(sent)));
    let server = RawServer::start(move |mut stream| {
        let sent = Arc::clone(&sent);
        async move {
            let request = read_request(&mut stream).await;
            sent.lock().unwrap().take().unwrap().send(request).unwrap();
            stream.write_all(&answer("200 OK", "", ACCEPTED)).await.unwrap();
        }
    })
    .await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer of another".parse().unwrap());
    let http = own_client().user_agent("other/1").default_headers(headers);
    let client = client_of(server.base_url()).http_client(http).build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    let request = request.await.unwrap();
    for line in [format!("authorization: Bearer {KEY}\r\n"), "user-agent: lon-batch/".to_owned()] {
        assert_eq!(request.matches(&line).count(), 1, "{request}");
    }
    assert!(!request.contains("other") && !request.contains("api-version"), "{request}");
}

/// Set for the process that a test starts of itself.
const CHILD: &str = "LON_BATCH_TEST_CHILD";

#[test]
fn a_proxy_of_the_environment_does_not_see_plain_http() {
    // A proxy would be asked for this machine too, and get the key. Nothing listens on port 1.
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "faults::a_request_in_a_process_of_its_own"])
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
async fn a_request_in_a_process_of_its_own() {
    let server = RawServer::answering(answer("200 OK", "", ACCEPTED)).await;
    let client = client_of(server.base_url()).build().unwrap();
    client.send(&batch(&["a"])).await.unwrap();
    assert_eq!(server.connections(), 1);
    if env::var_os(CHILD).is_some() {
        // The proxy of the environment is one that a client without our care would use.
        let http = own_client().build().unwrap();
        let error = http.get(server.base_url()).send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
    }
}
