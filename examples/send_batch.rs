//! Sends a batch and prints what became of every message.
//!
//! ```sh
//! cargo run --example send_batch
//! ```
//!
//! It sends to the embedded sandbox. With `LON_SUB_ACCOUNT` and `LON_API_KEY` set it sends to the
//! platform, in the region that `LON_REGION` names (such as `europe`) or at `LON_BASE_URL`, to
//! the phone numbers that are given as arguments: real messages to real people.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use lon_batch::mock::Sandbox;
use lon_batch::{
    Batch, Client, Content, Encoding, Icon, Message, Msisdn, Recipient, Report, SmsFallback,
    Verdict,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let (sub_account, api_key) = (variable("LON_SUB_ACCOUNT")?, variable("LON_API_KEY")?);
    let (client, batch, _sandbox) = match (sub_account, api_key) {
        (Some(sub_account), Some(api_key)) => {
            let client = platform(sub_account, api_key)?;
            let batch = batch(&recipients()?, &[event()])?;
            println!(
                "Sending to the platform at {}: real messages, recipients: {}.\n",
                client.base_url(),
                batch.len()
            );
            (client, batch, None)
        }
        (None, None) => {
            let titles = ["Event reminder", "Your parcel is on its way"];
            let sandbox = Sandbox::builder().approved_titles(titles).start().await?;
            let client = sandbox.client().build()?;
            let batch = batch(&customers()?, &[event(), parcel(), sale()])?;
            println!(
                "Sending to the sandbox on this machine: nothing leaves it, recipients: {}.\n",
                batch.len()
            );
            (client, batch, Some(sandbox))
        }
        _ => return Err("set both LON_SUB_ACCOUNT and LON_API_KEY, or neither".into()),
    };

    let response = client.send(&batch).await?;
    print(&response.report(&batch));
    Ok(())
}

/// An environment variable; one that is empty counts as not set.
fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

fn platform(sub_account: String, api_key: String) -> Result<Client, Box<dyn Error>> {
    let mut builder = Client::builder(sub_account, api_key);
    match (variable("LON_REGION")?, variable("LON_BASE_URL")?) {
        (Some(_), Some(_)) => return Err("set LON_REGION or LON_BASE_URL, not both".into()),
        (Some(region), None) => {
            let region = region.parse().map_err(|error| format!("LON_REGION: {error}"))?;
            builder = builder.region(region);
        }
        (None, Some(base_url)) => builder = builder.base_url(base_url),
        (None, None) => {}
    }
    Ok(builder.build()?)
}

/// The phone numbers that are given as arguments. None are made up where they are real.
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
        return Err("name the phone numbers to send to, as in: \
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
    Content::new("Your parcel is on its way")
        .icon(Icon::BoxCheck)
        .item("Parcel", "TH-204-118")
        .action("Track it", "https://example.com/parcels/TH-204-118")
}

/// No approved template has this title, so the sandbox rejects it as the platform would.
fn sale() -> Content {
    Content::new("Flash sale!").icon(Icon::Megaphone).greeting("Only today")
}

/// The contents in turn, one to each recipient.
fn batch(recipients: &[Recipient], contents: &[Content]) -> Result<Batch, lon_batch::Invalid> {
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

fn print(report: &Report<'_>) {
    println!("{:<12} {:<10} {:<38} reason", "message", "verdict", "umid");
    for outcome in report.outcomes() {
        let id = outcome.message.client_message_id.as_deref().unwrap_or("-");
        let umid = outcome.umid().map_or("-", |umid| umid.as_str());
        let verdict = outcome.verdict;
        let code = outcome.error_code().map(|code| format!("{code}: ")).unwrap_or_default();
        let reason = outcome.reason().unwrap_or_default();
        println!("{id:<12} {verdict:<10} {umid:<38} {code}{reason}");
    }
    let count = |verdict| report.with_verdict(verdict).count();
    println!(
        "\n{} sent: {} accepted, {} rejected, {} unclear",
        report.outcomes().len(),
        count(Verdict::Accepted),
        count(Verdict::Rejected),
        count(Verdict::Unclear),
    );
    for disagreement in report.disagreements() {
        println!("The answer disagrees with itself or with the batch: {disagreement}");
    }
}
