//! The work done with this crate.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lon_batch::bulk::{Chunk, Deadline, Journal};
use lon_batch::request::MessageContent;
use lon_batch::types::Encoding;
use lon_batch::{
    Batch, BatchResponse, Client, Content, Icon, Message, Msisdn, Outcome, OutcomeKind,
    SharedContent, SmsFallback,
};

use crate::work::{CALLBACK, Customer, EXPLANATION};

fn content(customer: &Customer) -> Content {
    Content::new("Event reminder")
        .company("8x8")
        .icon(Icon::CalendarCheck)
        .emphasis("Event name", customer.event.as_str())
        .item("Date", customer.date.as_str())
        .item("Place", customer.place.as_str())
        .greeting(customer.greeting.as_str())
        .explanation(EXPLANATION)
        .action("See direction", customer.url.as_str())
}

fn sms(customer: &Customer) -> SmsFallback {
    SmsFallback::new(customer.sms.as_str()).source("8x8").encoding(Encoding::Auto)
}

fn message(customer: &Customer, content: impl Into<MessageContent>, sms: SmsFallback) -> Message {
    Message::new(Msisdn::parse(&customer.number).expect("a number"), content)
        .client_message_id(customer.id.as_str())
        .dlr_callback_url(CALLBACK)
        .sms_fallback(sms)
}

fn personal(customer: &Customer) -> Message {
    message(customer, content(customer), sms(customer))
}

pub fn batch(customers: &[Customer]) -> Batch {
    Batch::builder()
        .client_batch_id("campaign-7")
        .messages(customers.iter().map(personal))
        .build()
        .expect("a batch")
}

pub fn body(customers: &[Customer]) -> Vec<u8> {
    serde_json::to_vec(batch(customers).request()).expect("JSON")
}

pub fn read(answer: &[u8]) -> BatchResponse {
    BatchResponse::from_json(answer).expect("an answer")
}

pub fn client(address: SocketAddr) -> Client {
    Client::builder("my-subaccount", "benchmark-key")
        .base_url(format!("http://{address}"))
        .build()
        .expect("a client")
}

pub async fn rate(address: SocketAddr, at_a_time: usize, batches: usize) -> f64 {
    let client = client(address);
    crate::rate(at_a_time, batches, || {
        let client = client.clone();
        async move {
            let batch = batch(&crate::customers_for_a_batch());
            let response = client.send(&batch).await.expect("an answer");
            assert_eq!(response.results().len(), batch.len());
        }
    })
    .await
}

/// A journal that only counts.
#[derive(Default)]
pub struct Counting(AtomicUsize);

impl Journal for Counting {
    type Error = Infallible;

    async fn sending(&self, chunk: &Chunk) -> Result<Option<Deadline>, Infallible> {
        self.0.fetch_add(chunk.messages().len(), Ordering::Relaxed);
        Ok(Some(Deadline::after(Duration::from_secs(60))))
    }

    async fn settled(&self, _: &Chunk, outcomes: &[Outcome]) -> Result<(), Infallible> {
        self.0.fetch_sub(outcomes.len(), Ordering::Relaxed);
        Ok(())
    }
}

/// Sends a number of batches to the same customers, with a content for each or one for all, and looks
/// at every outcome.
pub async fn many<J: Journal>(client: &Client, journal: J, batches: usize, one_content: bool) {
    let customers = crate::customers_for_a_batch();
    let shared =
        one_content.then(|| (SharedContent::from(content(&customers[0])), sms(&customers[0])));
    let rounds = (0..batches).flat_map(|_| &customers);
    let messages = rounds.map(|customer| match &shared {
        Some((content, sms)) => message(customer, content.clone(), sms.clone()),
        None => personal(customer),
    });
    let run = client.bulk("campaign-7").journal(journal);
    let mut run = run.concurrency(crate::many::AT_A_TIME).send(messages).expect("a run");
    while let Some(batch) = run.next().await {
        for message in batch.messages {
            assert_eq!(message.outcome.kind, OutcomeKind::Accepted);
        }
    }
    let counts = run.summary().counts;
    assert_eq!(counts.accepted, (batches * customers.len()) as u64);
}
