//! The history of many messages: the memory of a message, and the time of a receipt.
//!
//! Each measurement runs in a process of its own. The baseline is a map from umid to the
//! clientMessageId and a list of owned strings, as an engineer would write it first.

use std::collections::HashMap;
use std::env;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use lon_batch::receipt::{Event, Histories, Stage};
use serde::Deserialize;

use crate::many::status_kib;

const MESSAGES: usize = 1_000_000;
const STATES: [&str; 3] = ["queued", "sent", "delivered"];

pub fn compare() {
    println!("\n{MESSAGES} messages, {} receipts each", STATES.len());
    println!("            bytes/message  peak bytes/message  ns/receipt  count, ms");
    for who in ["ours", "one-id", "baseline"] {
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
    let (fed, count) = match who {
        "ours" | "one-id" => {
            let mut histories = Histories::new();
            let fed = each(who == "one-id", |body| {
                let event = Event::from_json(body).expect("a receipt");
                histories.append(event.receipt().expect("a receipt"));
            });
            let start = Instant::now();
            let stages = histories.iter().map(|(_, history)| history.stage());
            let delivered = stages.filter(|stage| *stage == Some(Stage::Delivered)).count();
            assert_eq!(black_box(delivered), MESSAGES);
            (fed, start.elapsed())
        }
        "baseline" => {
            let mut messages: HashMap<String, Followed> = HashMap::new();
            let fed = each(false, |body| {
                let receipt: Envelope = serde_json::from_slice(body).expect("a receipt");
                let payload = receipt.payload;
                let message = messages.entry(payload.umid).or_default();
                message.client_message_id = payload.client_message_id;
                if !message.history.contains(&payload.status) {
                    message.history.push(payload.status);
                }
            });
            let start = Instant::now();
            let delivered = messages.values().filter(|message| {
                let mut states = message.history.iter();
                states.any(|status| status.state == "delivered")
            });
            assert_eq!(black_box(delivered.count()), MESSAGES);
            (fed, start.elapsed())
        }
        other => panic!("cannot measure {other}"),
    };
    let per_message = |kib: u64| (kib - before) * 1024 / MESSAGES as u64;
    println!(
        "{who:<10} {:>12} {:>19} {:>11.0} {:>9.0}",
        per_message(fed.held),
        per_message(fed.peak),
        fed.spent.as_secs_f64() * 1e9 / (MESSAGES * STATES.len()) as f64,
        count.as_secs_f64() * 1e3,
    );
}

/// The memory after all receipts, and the time for them.
struct Fed {
    held: u64,
    peak: u64,
    spent: Duration,
}

/// Every receipt of every message, state by state. The messages have different ids, or all one.
fn each(shares_id: bool, mut take: impl FnMut(&[u8])) -> Fed {
    let mut spent = Duration::ZERO;
    for (second, state) in STATES.iter().enumerate() {
        for number in 0..MESSAGES {
            let id = if shares_id { 0 } else { number };
            let body = format!(
                r#"{{"version":9,"namespace":"ChatApps","eventType":"outbound_message_status_changed","description":"ChatApps outbound message delivery receipt","payload":{{"umid":"{number:08x}-3e2d-ea11-815d-020897df5459","batchId":"cf3cbbf5-3e2d-ea11-815d-020897df5459","clientMessageId":"order-{id:08}","clientBatchId":"announcement","subAccountId":"my-subaccount","channel":"LineNotification","user":{{"msisdn":"+66812345678"}},"status":{{"state":"{state}","timestamp":"2026-01-04T08:20:{second:02}.{:06}Z"}}}}}}"#,
                number % 1_000_000
            );
            // Writing the body is not measured.
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
