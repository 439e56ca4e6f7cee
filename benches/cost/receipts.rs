//! Following many messages: what one of them takes in memory, and what a receipt costs.
//!
//! Each measurement is a process of its own. Beside it is what an engineer would write first: a map
//! from umid to the clientMessageId and a list of owned texts.

use std::collections::HashMap;
use std::env;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use lon_batch::receipt::{Event, MessageTracker};
use serde::Deserialize;

use crate::many::status_kib;

/// Messages, and the states that each is told to be in.
const MESSAGES: usize = 1_000_000;
const STATES: [&str; 3] = ["queued", "sent", "delivered"];

pub fn compare() {
    println!("\n{MESSAGES} messages followed, {} receipts each", STATES.len());
    println!("            bytes/message  peak bytes/message  ns/receipt  sums, ms");
    for who in ["ours", "baseline"] {
        let output = Command::new(env::current_exe().expect("this program"))
            .args(["receipts", who])
            .output()
            .expect("this program runs");
        assert!(output.status.success(), "{output:?}");
        print!("  {}", String::from_utf8_lossy(&output.stdout));
    }
}

pub fn run(who: &str) {
    let before = status_kib("VmRSS:");
    let (fed, sums) = match who {
        "ours" => {
            let mut tracker = MessageTracker::new();
            let fed = each(|body| {
                let event = Event::from_json(body).expect("a receipt");
                _ = tracker.receipt(event.receipt().expect("a receipt"));
            });
            let sums = Instant::now();
            assert_eq!(black_box(tracker.counts()).delivered, MESSAGES as u64);
            (fed, sums.elapsed())
        }
        "baseline" => {
            let mut messages: HashMap<String, Followed> = HashMap::new();
            let fed = each(|body| {
                let receipt: Envelope = serde_json::from_slice(body).expect("a receipt");
                let payload = receipt.payload;
                let message = messages.entry(payload.umid).or_default();
                message.client_message_id = payload.client_message_id;
                if !message.history.contains(&payload.status) {
                    message.history.push(payload.status);
                }
            });
            let sums = Instant::now();
            let delivered = messages.values().filter(|message| {
                let mut states = message.history.iter();
                states.any(|status| status.state == "delivered")
            });
            assert_eq!(black_box(delivered.count()), MESSAGES);
            (fed, sums.elapsed())
        }
        other => panic!("no such tracker: {other}"),
    };
    let per_message = |kib: u64| (kib - before) * 1024 / MESSAGES as u64;
    println!(
        "{who:<10} {:>12} {:>19} {:>11.0} {:>9.0}",
        per_message(fed.held),
        per_message(fed.peak),
        fed.spent.as_secs_f64() * 1e9 / (MESSAGES * STATES.len()) as f64,
        sums.as_secs_f64() * 1e3,
    );
}

/// Memory when all was taken in, and the time that it took.
struct Fed {
    held: u64,
    peak: u64,
    spent: Duration,
}

/// Every receipt of every message, the messages in turn.
fn each(mut take: impl FnMut(&[u8])) -> Fed {
    let mut spent = Duration::ZERO;
    for (second, state) in STATES.iter().enumerate() {
        for number in 0..MESSAGES {
            let body = format!(
                r#"{{"version":9,"namespace":"ChatApps","eventType":"outbound_message_status_changed","description":"ChatApps outbound message delivery receipt","payload":{{"umid":"{number:08x}-3e2d-ea11-815d-020897df5459","batchId":"cf3cbbf5-3e2d-ea11-815d-020897df5459","clientMessageId":"order-{number:08}","clientBatchId":"announcement","subAccountId":"my-subaccount","channel":"LineNotification","user":{{"msisdn":"+66812345678"}},"status":{{"state":"{state}","timestamp":"2026-01-04T08:20:{second:02}.{:06}Z"}}}}}}"#,
                number % 1_000_000
            );
            // Writing it is not the tracker's work.
            let start = Instant::now();
            take(body.as_bytes());
            spent += start.elapsed();
        }
    }
    Fed { held: status_kib("VmRSS:"), peak: status_kib("VmHWM:"), spent }
}

#[derive(Deserialize)]
struct Envelope {
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    umid: String,
    client_message_id: Option<String>,
    status: Status,
}

#[derive(Deserialize, PartialEq)]
struct Status {
    state: String,
    detail: Option<String>,
    timestamp: String,
}

#[derive(Default)]
struct Followed {
    client_message_id: Option<String>,
    history: Vec<Status>,
}
