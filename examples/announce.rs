//! Sends one announcement to any number of recipients, and compares the outcome of every message
//! with what the server accepted.
//!
//! ```sh
//! cargo run --release --example announce -- 1000000
//! cargo run --release --example announce -- 1000000 --chaos
//! ```
//!
//! It sends to the embedded sandbox: nothing leaves this machine, and nobody is reached. With
//! `--chaos`, and an optional seed, the sandbox also rejects, refuses, delays, drops and cuts.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lon_batch::bulk::{Progress, Summary};
use lon_batch::reqwest::StatusCode;
use lon_batch::{Client, Content, ErrorCode, Icon, Message, Msisdn, OutcomeKind, SharedContent};
use lon_sandbox::{Answer, Sandbox};

#[tokio::main]
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
    let (recipients, chaos) = arguments()?;
    println!(
        "Sending to the sandbox on this machine: nothing leaves it, recipients: {recipients}."
    );
    if let Some(seed) = chaos {
        println!("The sandbox rejects, refuses, delays, drops and cuts at random, seed {seed}.");
    }
    let accepted: Arc<[AtomicU8]> = (0..recipients).map(|_| AtomicU8::new(0)).collect();
    let sandbox = sandbox(Arc::clone(&accepted), chaos).await?;
    let client = Client::builder(sandbox.sub_account_id(), sandbox.api_key())
        .base_url(sandbox.base_url())
        .timeout(Duration::from_secs(2))
        .build()?;

    let content = SharedContent::from(announcement());
    let messages = (0..recipients).map(|index| Message::new(number(index), content.clone()));
    let mut run = client.bulk("announcement-2026-11").send(messages)?;

    let bar = tokio::spawn(show(run.progress(), recipients as u64));
    let mut outcomes = vec![None; recipients];
    while let Some(batch) = run.next().await {
        for message in batch.messages {
            outcomes[usize::try_from(message.position)?] = Some(message.outcome.kind);
        }
    }
    bar.await?;
    println!();
    report(&run.summary(), &outcomes, &accepted)
}

/// How many recipients, and the seed of the chaos.
fn arguments() -> Result<(usize, Option<u64>), Box<dyn Error>> {
    const USAGE: &str = "usage: announce [recipients, 10000 at first] [--chaos [seed]]";
    let (mut recipients, mut chaos) = (10_000, None);
    let mut arguments = env::args().skip(1).peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--chaos" {
            let seed = arguments.next_if(|next| next.parse::<u64>().is_ok());
            chaos = Some(seed.map_or_else(|| Ok(fastrand::u64(..)), |seed| seed.parse())?);
        } else {
            recipients = argument.parse().map_err(|_| USAGE)?;
        }
    }
    if recipients > 100_000_000 {
        return Err("at most 100,000,000 recipients".into());
    }
    Ok((recipients, chaos))
}

fn announcement() -> Content {
    Content::new("We are moving")
        .company("8x8")
        .icon(Icon::Megaphone)
        .emphasis("From", "1 December 2026")
        .item("Old address", "1 Main Street")
        .item("New address", "2 Side Street")
        .explanation("Our shop moves. All orders are delivered as before.")
        .action("See the way", "https://www.example.com/maps")
}

/// A number that nobody has, another for each index.
fn number(index: usize) -> Msisdn {
    let number = format!("+6600{index:08}");
    Msisdn::parse(&number).expect("a number in E.164 form")
}

fn index(msisdn: &str) -> usize {
    msisdn["+6600".len()..].parse().expect("a number that was made here")
}

/// A sandbox that records for each recipient how often it accepted a message.
async fn sandbox(accepted: Arc<[AtomicU8]>, chaos: Option<u64>) -> std::io::Result<Sandbox> {
    let sandbox = Sandbox::builder().keep(0).judge(move |message| {
        let index = index(message["user"]["msisdn"].as_str().expect("a number"));
        if chaos.is_some() && index % 1000 == 999 {
            return Some(ErrorCode::TemplateNotFound.value().into());
        }
        accepted[index].fetch_add(1, Ordering::Relaxed);
        None
    });
    match chaos {
        None => sandbox.start().await,
        Some(seed) => {
            let mut random = fastrand::Rng::with_seed(seed);
            sandbox.answer_with(move |_| chaotic(&mut random)).start().await
        }
    }
}

fn chaotic(random: &mut fastrand::Rng) -> Answer {
    let error = |status: StatusCode, code: ErrorCode| Answer::Error {
        status: status.as_u16(),
        code: code.value(),
    };
    match random.u32(0..100) {
        0 => Answer::TooManyRequests { retry_after: None },
        1 => Answer::TooManyRequests { retry_after: Some(1) },
        2..9 => error(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::InternalError),
        9..11 => error(StatusCode::BAD_REQUEST, ErrorCode::InvalidParameter),
        11..13 => error(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BulkLimitReached),
        13..16 => Answer::HangUp,
        16..19 => Answer::AcceptAndHangUp,
        19..22 => Answer::AcceptAndFail,
        22..25 => Answer::AcceptAndCut,
        25..28 => Answer::Edited(|answer| {
            // The last entry is left out.
            answer["messages"].as_array_mut().and_then(Vec::pop);
        }),
        28..33 => Answer::Late(Duration::from_millis(random.u64(1..200))),
        // Later than the client waits.
        33 => Answer::Late(Duration::from_secs(3)),
        _ => Answer::Contract,
    }
}

async fn show(progress: Progress, recipients: u64) {
    let bar = ProgressBar::new(recipients);
    bar.set_style(
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {human_pos}/{human_len} {msg}")
            .expect("a template"),
    );
    loop {
        let summary = progress.summary();
        let counts = summary.counts;
        bar.set_position(counts.settled());
        bar.set_message(format!(
            "{:.0}/s, {} accepted, {} unknown",
            summary.messages_per_second(),
            counts.accepted,
            counts.unknown
        ));
        if summary.ended {
            return bar.finish();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Prints the messages by outcome, and beside each how many of them the sandbox accepted.
fn report(
    summary: &Summary,
    outcomes: &[Option<OutcomeKind>],
    accepted: &[AtomicU8],
) -> Result<(), Box<dyn Error>> {
    println!("{:<10} {:>12} {:>24}", "outcome", "messages", "accepted by the sandbox");
    let mut wrong = 0;
    let kinds = OutcomeKind::ALL.map(Some).into_iter();
    for kind in kinds.chain([None]) {
        let (mut messages, mut taken) = (0_u64, 0_u64);
        for (outcome, accepted) in outcomes.iter().zip(accepted) {
            if *outcome != kind {
                continue;
            }
            let times = accepted.load(Ordering::Relaxed);
            messages += 1;
            taken += u64::from(times);
            let right = match kind {
                Some(OutcomeKind::Accepted) => times == 1,
                Some(OutcomeKind::Unknown) => times <= 1,
                _ => times == 0,
            };
            wrong += u64::from(!right);
        }
        let name = kind.map_or("not taken".to_owned(), |kind| kind.to_string());
        println!("{name:<10} {messages:>12} {taken:>24}");
    }
    println!("{summary}");
    println!(
        "{:.1} s, {:.0} messages a second{}",
        summary.elapsed.as_secs_f64(),
        summary.messages_per_second(),
        peak_memory()
            .map_or(String::new(), |mib| format!(", at most {mib} MiB of memory with the sandbox")),
    );
    if wrong > 0 {
        return Err(format!("{wrong} messages have another outcome than the sandbox says").into());
    }
    println!("Every outcome is what the sandbox says, and nobody got the message twice.");
    Ok(())
}

/// The peak resident memory of this process, if the system reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.div_ceil(1024))
}
