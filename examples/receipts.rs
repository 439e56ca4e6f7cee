//! Sends a batch to the embedded sandbox, receives its delivery receipts, and tells what became of
//! every message.
//!
//! ```sh
//! cargo run --example receipts [-- SEED]
//! ```
//!
//! The sandbox posts the receipts to a receiver on this machine: some of them twice, some late, some
//! out of order, as the seed has it. Its clock is forty times as fast as the one on the wall. At the
//! end the table is held against what the sandbox says that it posted.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::Router;
use lon_batch::receipt::{
    Code, DeliveryReceipt, Effect, Event, MessageTracker, Posted, Receiver, Stage, TrackedMessage,
    Webhook,
};
use lon_batch::types::{MessageState, Timestamp};
use lon_batch::{Batch, Client, Content, Message, Msisdn};
use lon_sandbox::{PostedReceipt, ReceiptFate, Receipts, Sandbox};
use tokio::net::TcpListener;

const MESSAGES: u32 = 8;
/// The value that the owner of an account sets for the webhook. A real one is long and random.
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
        None => 8,
        Some(seed) => seed.parse().map_err(|_| "the seed is no whole number")?,
    };

    // The receiver, as a service mounts it.
    let tracker = Arc::new(Mutex::new(MessageTracker::new()));
    let receipts = Arc::clone(&tracker);
    let receiver = Receiver::new(Webhook::new(AUTHORIZATION)?, move |posted: Posted| {
        let receipts = Arc::clone(&receipts);
        async move {
            match posted.event {
                Ok(Event::Receipt(receipt)) => {
                    let effect = lock(&receipts).receipt(&receipt);
                    print_effect(&receipt, effect);
                }
                Ok(other) => println!("{other}"),
                Err(unreadable) => eprintln!("{unreadable}"),
            }
        }
    });
    let app: Router = Router::new().route_service("/receipts", receiver.clone());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/receipts", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    // The platform.
    let settings = Receipts::new().authorization(AUTHORIZATION).speed(40.0).chaos(seed);
    let sandbox = Sandbox::builder().receipts(settings).start().await?;
    let client = Client::builder(sandbox.sub_account_id(), sandbox.api_key())
        .base_url(sandbox.base_url())
        .build()?;

    let batch = batch(&url)?;
    println!(
        "Sending {} messages to the sandbox; receipts come to {url}. Seed {seed}.\n",
        batch.len()
    );
    let result = client.send(&batch).await;
    lock(&tracker).sent(&batch, &result);
    result?;

    sandbox.receipts_settled().await;
    receiver.shutdown().await;
    server.abort();

    let tracker = lock(&tracker);
    print_table(&batch, &tracker);
    compare(&batch, &tracker, &sandbox.receipts())
}

fn lock(tracker: &Mutex<MessageTracker>) -> MutexGuard<'_, MessageTracker> {
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn batch(url: &str) -> Result<Batch, Box<dyn Error>> {
    let content = lon_batch::SharedContent::from(Content::new("Your parcel is on its way"));
    let messages = (1..=MESSAGES).map(|number| {
        let msisdn = Msisdn::parse(&format!("+668123456{number:02}"))?;
        Ok(Message::new(msisdn, content.clone())
            .client_message_id(format!("parcel-{number}"))
            .dlr_callback_url(url))
    });
    let messages = messages.collect::<Result<Vec<_>, lon_batch::phone::MsisdnError>>()?;
    let batch = Batch::builder().client_batch_id("parcels");
    Ok(batch.messages(messages).build()?)
}

/// A line for each receipt: what it says, and what it changes.
fn print_effect(receipt: &DeliveryReceipt, effect: Effect) {
    let id = receipt.client_message_id().unwrap_or("-");
    let state = receipt.state();
    match effect {
        Effect::Moved { from, to } => println!("{id:<10} {state:<12} {from} -> {to}"),
        Effect::Kept(at) => println!("{id:<10} {state:<12} comes late, stays {at}"),
        _ => println!("{id:<10} {state:<12} comes again"),
    }
}

fn print_table(batch: &Batch, tracker: &MessageTracker) {
    println!("\n{:<10} {:<12} {:<44} why", "message", "is", "after");
    for message in sent(batch, tracker) {
        let history = message.history();
        let states: Vec<_> = history.iter().map(|change| change.state.as_str()).collect();
        let current = message.current();
        let code = current.as_ref().and_then(|change| change.code);
        let code = code.map_or_else(String::new, |code| match code {
            Code::Api(code) => format!("code {code}: "),
            Code::Receipt(code) => format!("receipt code {code}: "),
        });
        let reason = current.and_then(|change| change.reason);
        println!(
            "{:<10} {:<12} {:<44} {code}{}",
            message.client_message_id().unwrap_or("-"),
            message.stage(),
            states.join(", "),
            reason.as_deref().unwrap_or_default(),
        );
    }
    println!("\n{}", tracker.counts());
}

/// The messages of the batch, in its order.
fn sent<'a>(
    batch: &'a Batch,
    tracker: &'a MessageTracker,
) -> impl Iterator<Item = TrackedMessage<'a>> {
    let ids = batch.messages().iter();
    let ids = ids.filter_map(|message| message.client_message_id.as_deref());
    ids.flat_map(|id| tracker.with_client_message_id(id))
}

/// The state, detail and time of a change.
type Change = (String, Option<String>, Option<SystemTime>);

/// Holds every message against what the sandbox says that it posted and that was taken.
fn compare(
    batch: &Batch,
    tracker: &MessageTracker,
    posted: &[PostedReceipt],
) -> Result<(), Box<dyn Error>> {
    let mut wrong = 0;
    for message in sent(batch, tracker) {
        let umid = message.umid();
        let of_message = posted.iter().filter(|it| Some(it.umid.as_str()) == umid.as_deref());
        let taken: Vec<_> = of_message.filter(|it| it.fate == ReceiptFate::Taken).collect();
        let stages = taken.iter().map(|it| MessageState::from(it.state.as_str()).stage());
        let stage = stages.max().unwrap_or(Stage::Accepted);
        let by_sandbox: BTreeSet<Change> = taken
            .iter()
            .map(|it| {
                let at = Timestamp::from(it.timestamp.as_str()).to_system_time();
                (it.state.clone(), it.detail.clone(), at)
            })
            .collect();
        let history = message.history().into_iter();
        let by_tracker: BTreeSet<Change> = history
            .map(|it| (it.state.to_string(), it.detail.as_ref().map(ToString::to_string), it.at()))
            .collect();
        if message.stage() != stage || by_tracker != by_sandbox {
            wrong += 1;
            println!("{message:?}: the sandbox posted {by_sandbox:?}, known is {by_tracker:?}");
        }
    }
    let (tries, lost) = (
        posted.iter().map(|it| it.tries.len()).sum::<usize>(),
        posted.iter().filter(|it| it.fate != ReceiptFate::Taken).count(),
    );
    let followed = tracker.counts().total();
    if wrong > 0 || lost > 0 || followed != u64::from(MESSAGES) {
        let told = format!("{wrong} of {followed} messages are wrong, {lost} receipts were lost");
        return Err(told.into());
    }
    println!("{} receipts in {tries} posts: every message is what the sandbox says.", posted.len());
    Ok(())
}
