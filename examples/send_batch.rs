//! Sends a batch and prints what became of every message.
//!
//! ```sh
//! cargo run --example send_batch
//! ```
//!
//! It sends to the embedded sandbox. With `LON_SUB_ACCOUNT` and `LON_API_KEY` set it sends to the
//! platform, in the region that `LON_REGION` names (such as `europe`) or at `LON_BASE_URL`, to the
//! phone numbers in its arguments: real messages to real people.

use std::env;
use std::error::Error;

use lon_batch::types::Encoding;
use lon_batch::{
    Batch, Client, Content, Icon, Invalid, Message, Msisdn, OutcomeKind, Recipient, SmsFallback,
};
use lon_sandbox::Sandbox;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let (client, batch, _sandbox) = if is_set("LON_SUB_ACCOUNT") || is_set("LON_API_KEY") {
        let client = Client::from_env()?;
        let batch = batch(&recipients()?, &[event()])?;
        let (url, recipients) = (client.base_url(), batch.len());
        println!("Sending to the platform at {url}: real messages, recipients: {recipients}.\n");
        (client, batch, None)
    } else {
        let titles = ["Event reminder", "Your parcel has left the warehouse"];
        let sandbox = Sandbox::builder().approved_titles(titles).start().await?;
        let client = Client::builder(sandbox.sub_account_id(), sandbox.api_key())
            .base_url(sandbox.base_url())
            .build()?;
        let batch = batch(&customers()?, &[event(), parcel(), sale()])?;
        let recipients = batch.len();
        println!(
            "Sending to the sandbox on this machine: nothing leaves it, recipients: {recipients}.\n"
        );
        (client, batch, Some(sandbox))
    };

    let response = client.send(&batch).await?;
    let report = response.report(&batch);
    println!("{:<12} {:<10} {:<38} reason", "message", "outcome", "umid");
    for (message, outcome) in report.iter() {
        let id = message.client_message_id.as_deref().unwrap_or("-");
        let umid = outcome.umid.as_deref().unwrap_or("-");
        let code = outcome.code.map(|code| format!("{code}: ")).unwrap_or_default();
        let reason = outcome.reason.as_deref().unwrap_or_default();
        println!("{id:<12} {:<10} {umid:<38} {code}{reason}", outcome.kind);
    }
    let count = |kind| report.of_kind(kind).count();
    println!(
        "\n{} sent: {} accepted, {} rejected, {} unknown",
        batch.len(),
        count(OutcomeKind::Accepted),
        count(OutcomeKind::Rejected),
        count(OutcomeKind::Unknown),
    );
    for disagreement in report.disagreements() {
        println!("The response contradicts itself or the batch: {disagreement}");
    }
    Ok(())
}

/// The phone numbers in the arguments.
fn recipients() -> Result<Vec<Recipient>, Box<dyn Error>> {
    let arguments = env::args().skip(1).enumerate();
    let recipients = arguments
        .map(|(index, number)| {
            Msisdn::parse_lenient(&number)
                .map(Recipient::from)
                .map_err(|error| format!("phone number {}: {error}", index + 1))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if recipients.is_empty() {
        return Err("pass the phone numbers to send to: \
             cargo run --example send_batch -- +66812345678"
            .into());
    }
    Ok(recipients)
}

fn customers() -> Result<Vec<Recipient>, Box<dyn Error>> {
    Ok(vec![
        Msisdn::parse("+66812345678")?.into(),
        Msisdn::parse_lenient("+81 90-1234-5678")?.into(),
        Recipient::national("0912345678", "tw")?,
        Msisdn::parse("+6591234567")?.into(),
    ])
}

fn event() -> Content {
    Content::new("Event reminder")
        .company("8x8")
        .icon(Icon::CalendarCheck)
        .emphasis("Event name", "8x8 Conference")
        .item("Date", "Tue 26/09/2023")
        .greeting("Can't wait to see you there!")
        .explanation("We would like to remind you about your reservation for tomorrow event")
        .action("See direction", "https://www.google.com/maps")
}

fn parcel() -> Content {
    Content::new("Your parcel has left the warehouse")
        .icon(Icon::BoxCheck)
        .item("Parcel", "TH-204-118")
        .action("Track it", "https://example.com/parcels/TH-204-118")
}

/// No approved template has this title, so the sandbox rejects it as the platform would.
fn sale() -> Content {
    Content::new("Flash sale!").icon(Icon::Megaphone).greeting("Only today")
}

/// The contents in turn, one to each recipient.
fn batch(recipients: &[Recipient], contents: &[Content]) -> Result<Batch, Invalid> {
    let messages = recipients.iter().zip(contents.iter().cycle()).enumerate();
    Batch::builder()
        .client_batch_id("example-batch")
        .messages(messages.map(|(index, (recipient, content))| {
            let sms = SmsFallback::new("A notification waits for you in LINE")
                .source("8x8")
                .encoding(Encoding::Auto);
            Message::new(*recipient, content.clone())
                .client_message_id(format!("example-{}", index + 1))
                .sms_fallback(sms)
        }))
        .build()
}
