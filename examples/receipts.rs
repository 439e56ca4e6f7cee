//! Sends a batch to the embedded sandbox, receives its delivery receipts, and follows each message
//! through its stages.
//!
//! ```sh
//! cargo run --example receipts [-- SEED]
//! ```
//!
//! The sandbox posts receipts to a receiver on this machine, some of them late, twice or out of
//! order, and some of an SMS fallback. Its clock runs 40 times as fast as real time. At the end, the
//! example compares every message with the sandbox's record.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use lon_batch::receipt::{
    Channel, DeliveryReceipt, Histories, History, Posted, Receiver, Stage, Webhook,
};
use lon_batch::{Batch, Client, Content, Message, Msisdn, SharedContent, SmsFallback};
use lon_sandbox::{PostedReceipt, Receipts, Sandbox};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const MESSAGES: u32 = 8;
/// The owner of the account sets this value for the webhook. Use a long random one.
const AUTHORIZATION: &str = "Bearer example-webhook-secret";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let seed = match env::args().nth(1) {
        None => 15,
        Some(seed) => seed.parse().map_err(|_| "the seed must be a whole number")?,
    };

    let histories = Arc::new(Mutex::new(Histories::new()));
    let shared = Arc::clone(&histories);
    let receiver = Receiver::new(Webhook::new(AUTHORIZATION)?, move |posted: Posted| {
        let shared = Arc::clone(&shared);
        async move {
            match posted.event {
                Ok(event) => match event.receipt() {
                    Some(receipt) => {
                        append(&mut shared.lock().unwrap_or_else(PoisonError::into_inner), receipt);
                    }
                    None => println!("{event}"),
                },
                Err(error) => eprintln!("{error}"),
            }
            Ok::<_, Infallible>(())
        }
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/receipts", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(receiver.serve(listener, async { _ = stopped.await }));

    let settings = Receipts::new().authorization(AUTHORIZATION).speed(40.0).random(seed);
    let sandbox = Sandbox::builder().receipts(settings).start().await?;
    let client = Client::builder(sandbox.sub_account_id(), sandbox.api_key())
        .base_url(sandbox.base_url())
        .build()?;

    let batch = batch(&url)?;
    println!(
        "Sending {MESSAGES} messages to the sandbox; it posts receipts to {url}. Seed {seed}.\n"
    );
    println!("{:<10} {:<12} {:<12} stage", "message", "receipt", "by");
    client.send(&batch).await?;

    sandbox.receipts_settled().await;
    _ = stop.send(());
    server.await?;

    let histories = histories.lock().unwrap_or_else(PoisonError::into_inner);
    print_table(&histories);
    compare(&histories, &sandbox.receipts())
}

fn batch(url: &str) -> Result<Batch, Box<dyn Error>> {
    let content = SharedContent::from(Content::new("Your parcel has left our warehouse"));
    let mut batch = Batch::builder().client_batch_id("parcels");
    for number in 1..=MESSAGES {
        let message =
            Message::new(Msisdn::parse(&format!("+668123456{number:02}"))?, content.clone())
                .client_message_id(id(number))
                .dlr_callback_url(url)
                .sms_fallback(SmsFallback::new("Your parcel has left our warehouse"));
        batch = batch.message(message);
    }
    Ok(batch.build()?)
}

fn id(number: u32) -> String {
    format!("parcel-{number}")
}

/// Appends a receipt, and prints what it changed.
fn append(histories: &mut Histories, receipt: &DeliveryReceipt) {
    let stage = |histories: &Histories| histories.by_umid(receipt.umid()).and_then(History::stage);
    let before = stage(histories);
    let is_new = histories.append(receipt);
    let after = stage(histories);
    let name = |stage: Option<Stage>| stage.map_or("none", Stage::as_str);
    let change = if before != after {
        format!("{} -> {}", name(before), name(after))
    } else if is_new {
        format!("stays {}", name(after))
    } else {
        format!("stays {} (duplicate)", name(after))
    };
    println!(
        "{:<10} {:<12} {:<12} {change}",
        message(receipt),
        receipt.state(),
        channel(receipt.channel())
    );
}

fn message(receipt: &DeliveryReceipt) -> &str {
    receipt.client_message_id().unwrap_or("-")
}

fn channel(channel: Option<&Channel>) -> &'static str {
    match channel {
        Some(Channel::LineNotification) => "notification",
        Some(Channel::Sms) => "SMS",
        _ => "other",
    }
}

fn print_table(histories: &Histories) {
    println!("\n{:<10} {:<12} {:<12} reason", "message", "stage", "by");
    let mut counts = BTreeMap::new();
    for number in 1..=MESSAGES {
        let history = histories.by_client_message_id(&id(number));
        let Some((stage, change)) = history.stage().zip(history.current()) else {
            continue;
        };
        *counts.entry(stage).or_insert(0) += 1;
        let reason = change.reason().unwrap_or_default();
        println!(
            "{:<10} {stage:<12} {:<12} {reason}",
            id(number),
            channel(change.channel.as_ref())
        );
    }
    let counts: Vec<_> = counts.iter().map(|(stage, count)| format!("{count} {stage}")).collect();
    println!("\n{MESSAGES} messages: {}", counts.join(", "));
}

/// Compares every message with the sandbox's record.
fn compare(histories: &Histories, posted: &[PostedReceipt]) -> Result<(), Box<dyn Error>> {
    const ORDER: [&str; 5] = ["queued", "sent", "rejected", "undelivered", "delivered"];
    let mut differences = 0;
    for number in 1..=MESSAGES {
        let of_message = |it: &&PostedReceipt| it.client_message_id.as_ref() == Some(&id(number));
        let mut expected: Vec<_> = posted
            .iter()
            .filter(of_message)
            .map(|it| {
                let order = ORDER.iter().position(|state| *state == it.state);
                (order, it.timestamp.clone(), it.state.clone(), it.channel.clone())
            })
            .collect();
        expected.sort();
        expected.dedup();
        let history = histories.by_client_message_id(&id(number));
        let found = history.changes().iter().map(|it| {
            let timestamp = it.timestamp.as_deref().unwrap_or_default().to_owned();
            let channel = it.channel.as_ref().map(ToString::to_string).unwrap_or_default();
            (timestamp, it.state.to_string(), channel)
        });
        let stage = history.stage().map(Stage::as_str);
        let is_same = found.eq(expected.iter().cloned().map(|(_, at, state, by)| (at, state, by)))
            && stage == expected.last().map(|(_, _, state, _)| state.as_str())
            && !history.is_contradictory();
        if !is_same {
            differences += 1;
            println!("{}: the sandbox posted {expected:?}, received {history:?}", id(number));
        }
    }
    let posts: usize = posted.iter().map(|it| it.attempts.len()).sum();
    let lost = posted.iter().filter(|it| !it.acknowledged).count();
    if differences > 0 || lost > 0 {
        return Err(format!("{differences} messages differ, {lost} receipts were lost").into());
    }
    println!("{posts} posts received: every message equals the sandbox's record.");
    Ok(())
}
