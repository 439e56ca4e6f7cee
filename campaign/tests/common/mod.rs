//! Ledgers in both databases, and the sandbox as the platform.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod cluster;

use std::time::Duration;

use lon_batch::{Client, Content, Message, Msisdn};
use lon_campaign::{Campaign, Ledger, Recipient, SendOptions};
use lon_sandbox::Sandbox;

pub(crate) use cluster::Folder;

/// Options that retry at once. Timeouts are long, so that a slow machine changes nothing.
pub fn quick() -> SendOptions {
    SendOptions::new().delays(Duration::from_millis(1), Duration::from_millis(20))
}

/// Options with which a claim becomes unknown two seconds after a crash.
pub fn crashing() -> SendOptions {
    quick()
        .attempt_timeout(Duration::from_secs(1))
        .leave_within(Duration::from_millis(500))
        .fence_margin(Duration::from_millis(500))
}

pub fn client(sandbox: &Sandbox) -> Client {
    Client::builder(sandbox.sub_account_id(), sandbox.api_key())
        .base_url(sandbox.base_url())
        .connect_timeout(Duration::from_millis(200))
        .build()
        .unwrap()
}

pub fn recipient(number: u32) -> Recipient {
    let msisdn = Msisdn::parse(&format!("+6681{number:07}")).unwrap();
    Recipient::new(format!("id-{number}"), msisdn)
}

pub fn recipients(count: u32) -> impl Iterator<Item = Recipient> {
    (1..=count).map(recipient)
}

pub fn message(recipient: &Recipient) -> Message {
    Message::new(recipient.to, Content::new("Hello"))
}

/// A sealed campaign with this number of recipients.
pub async fn sealed(ledger: &Ledger, name: &str, count: u32) -> Campaign {
    let campaign = ledger.campaign(name, "Hello").await.unwrap();
    campaign.import(recipients(count)).await.unwrap();
    campaign.seal().await.unwrap();
    campaign
}

/// How often the sandbox accepted each clientMessageId, at most.
pub fn most_accepted(sandbox: &Sandbox) -> usize {
    let mut counts = std::collections::HashMap::new();
    for message in sandbox.accepted() {
        *counts.entry(message.client_message_id).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}
