//! The work of both sides: customers, a response to parse, a server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A row of a list of customers.
pub struct Customer {
    pub id: String,
    pub number: String,
    pub event: String,
    pub date: String,
    pub place: String,
    pub greeting: String,
    pub url: String,
    pub sms: String,
}

pub const EXPLANATION: &str = "We would like to remind you about your reservation for tomorrow";
pub const CALLBACK: &str = "https://receipts.example.com/lon/2026";

pub fn customers(count: usize) -> Vec<Customer> {
    let customer = |index: usize| Customer {
        id: format!("order-2026-{index:08}"),
        number: format!("+6681{index:07}"),
        event: format!("8x8 Conference, track {}", index % 17),
        date: format!("Tue {:02}/09/2026 {:02}:00", 1 + index % 28, index % 24),
        place: format!("Hall {} row {index}", index % 9),
        greeting: format!("Can't wait to see you there, customer {index}!"),
        url: format!("https://www.example.com/maps?place={index}"),
        sms: format!("Your event is tomorrow, see https://example.com/e/{index}"),
    };
    (0..count).map(customer).collect()
}

/// The platform's answer to the batch: every message accepted.
pub fn answer(count: usize) -> Vec<u8> {
    let customers = customers(count);
    let messages: Vec<_> = customers
        .iter()
        .enumerate()
        .map(|(index, customer)| {
            serde_json::json!({
                "umid": format!("{index:08x}-3e2d-ea11-815d-020897df5459"),
                "user": {"msisdn": customer.number},
                "clientMessageId": customer.id,
                "status": {"state": "queued", "timestamp": "2026-01-04T08:19:45.99Z"},
            })
        })
        .collect();
    let answer = serde_json::json!({
        "batchId": "cf3cbbf5-3e2d-ea11-815d-020897df5459",
        "clientBatchId": "campaign-7",
        "acceptedCount": count,
        "rejectedCount": 0,
        "messages": messages,
    });
    answer.to_string().into_bytes()
}

/// A server that reads requests and gives each the same answer.
pub struct Sink {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Sink {
    pub async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        )
        .into_bytes();
        response.extend_from_slice(&answer);
        let response: std::sync::Arc<[u8]> = response.into();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let response = std::sync::Arc::clone(&response);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 256 * 1024];
                    while let Some(()) = skip_request(&mut stream, &mut buffer).await {
                        if stream.write_all(&response).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, task }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn skip_request(stream: &mut tokio::net::TcpStream, buffer: &mut [u8]) -> Option<()> {
    let mut filled = 0;
    let (head, length) = loop {
        let read = stream.read(&mut buffer[filled..]).await.ok()?;
        if read == 0 {
            return None;
        }
        filled += read;
        if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let (_, length) = head.split_once("content-length:")?;
            break (end + 4, length.lines().next()?.trim().parse::<usize>().ok()?);
        }
    };
    let mut missing = (head + length).saturating_sub(filled);
    while missing > 0 {
        let read = stream.read(buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        missing = missing.saturating_sub(read);
    }
    Some(())
}
