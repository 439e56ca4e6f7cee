//! Shared by several tests: messages, and servers on raw sockets.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod journal;
pub mod ledger;
pub mod log;
pub mod receipt;
pub mod runs;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lon_batch::{Batch, Client, ClientBuilder, Content, Message, Msisdn, RetryPolicy, reqwest};
use lon_sandbox::Sandbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const KEY: &str = "test-api-key-0123456789";
pub const NUMBER: &str = "+6591234567";
/// The shortest answer to a batch of one.
pub const ACCEPTED: &str = r#"{"acceptedCount": 1, "rejectedCount": 0}"#;

pub fn msisdn() -> Msisdn {
    NUMBER.parse().unwrap()
}

pub fn message(id: &str) -> Message {
    Message::new(msisdn(), Content::new("Hello")).client_message_id(id)
}

/// An HTTP client as a user may build one. It needs no certificates on the machine.
pub fn custom_http_client() -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder();
    #[cfg(feature = "rustls")]
    let client = client.tls_certs_only([]);
    client
}

/// A batch of messages with these ids.
pub fn batch(ids: &[&str]) -> Batch {
    Batch::builder().messages(ids.iter().map(|id| message(id))).build().unwrap()
}

/// A client that never retries.
pub fn client_without_retries(base_url: impl Into<String>) -> ClientBuilder {
    Client::builder("my-subaccount", KEY).base_url(base_url).retry(RetryPolicy::never())
}

/// A client of a sandbox.
pub fn client_for(sandbox: &Sandbox) -> ClientBuilder {
    Client::builder(sandbox.sub_account_id(), sandbox.api_key()).base_url(sandbox.base_url())
}

/// Fails if a text contains the API key or the number, or a revealing part of them.
pub fn assert_no_secrets(text: &str) {
    for secret in [KEY, "0123456789", NUMBER, &NUMBER[1..], "91234567"] {
        assert!(!text.contains(secret), "{secret:?} is in {text:?}");
    }
}

/// Everything that an error prints: `Display`, `Debug` and all its sources.
pub fn printed(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, "\n{cause}\n{cause:?}").unwrap();
        source = cause.source();
    }
    text
}

/// The result of a future. Fails after 10 seconds.
pub async fn within_10s<T>(future: impl Future<Output = T>) -> T {
    let ready = tokio::time::timeout(Duration::from_secs(10), future).await;
    ready.expect("not ready within 10 seconds")
}

/// A command that runs one test of this binary in another process.
pub fn this_test_again(name: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]);
    command
}

/// A server that handles each connection with a function, and counts connections.
pub struct RawServer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl RawServer {
    pub async fn start<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(handle(stream));
            }
        });
        Self { address, connections, task }
    }

    /// A server that reads a request, answers with these bytes, and closes the connection.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                read_request(&mut stream).await;
                // The client may have disconnected early.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a complete request, head and body.
pub async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "the request ends early");
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request);
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text[..head]
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned)
                })
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if request.len() >= head + 4 + length {
                return text.into_owned();
            }
        }
    }
}

/// A response with a status line, headers and a body with its `content-length`.
pub fn http_response(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}
