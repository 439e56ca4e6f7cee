//! The program `lon-sandbox`: a stand-in for 8x8's LON batch API, for clients in any language.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::Parser;
use lon_sandbox::{Failures, Receipts, Sandbox, reject_at_random};

/// A stand-in for 8x8's LINE Official Notification batch API, on this machine.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 4010)]
    port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST.into())]
    listen: IpAddr,
    /// Permit an address that other machines reach.
    #[arg(long)]
    allow_remote: bool,
    /// The only valid API key.
    #[arg(long, value_name = "KEY", default_value = "sandbox-api-key")]
    api_key: String,
    /// The only sub-account that exists.
    #[arg(long, value_name = "ID", default_value = "sandbox")]
    sub_account: String,
    /// The title of an approved template; repeat for more. Without it every title is approved.
    #[arg(long = "approved-title", value_name = "TITLE")]
    approved_titles: Vec<String>,
    /// The share of requests that fail, such as `busy=0.05,hang-up=0.02`. The names: busy, fail,
    /// hang-up, accept-and-fail, accept-and-hang-up, cut, late.
    #[arg(long, value_name = "PLAN")]
    fail: Option<Failures>,
    /// The share of messages to reject with code 3038, from 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    reject: Option<f64>,
    /// The seed of what is random: the same seed and order of requests give the same failures.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep only this number of accepted messages and of delivery receipts, the latest.
    #[arg(long, value_name = "NUMBER")]
    keep: Option<usize>,
    /// The callback URL for messages without one. Receipts go to this machine only.
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// The Authorization value of delivery receipts.
    #[arg(long, value_name = "VALUE")]
    callback_authorization: Option<String>,
    /// Plan delivery receipts at random, some of them late, twice or out of order.
    #[arg(long)]
    random_receipts: bool,
    /// How many seconds the clock of receipts advances in a second; at 0 it stands still.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    receipt_speed: f64,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    let mut builder = Sandbox::builder()
        .listen(options.listen)
        .port(options.port)
        .api_key(options.api_key)
        .sub_account_id(options.sub_account);
    if options.allow_remote {
        builder = builder.allow_remote();
    }
    if !options.approved_titles.is_empty() {
        builder = builder.approved_titles(options.approved_titles);
    }
    if let Some(failures) = options.fail {
        builder = builder.answer_with(failures.with_seed(options.seed));
    }
    if let Some(share) = options.reject {
        builder = builder.judge(reject_at_random(share, options.seed));
    }
    if let Some(messages) = options.keep {
        builder = builder.keep(messages);
    }
    let mut receipts = Receipts::new().speed(options.receipt_speed);
    if let Some(url) = options.callback_url {
        receipts = receipts.callback_url(url);
    }
    if let Some(value) = options.callback_authorization {
        receipts = receipts.authorization(value);
    }
    if options.random_receipts {
        receipts = receipts.random(options.seed);
    }

    // Before the line, so that whoever reads it can stop the program.
    let stopped = stopped()?;
    let sandbox = builder.receipts(receipts).start().await?;
    print(&format!(
        "listening on {}, sub-account {}, API key {}",
        sandbox.base_url(),
        sandbox.sub_account_id(),
        sandbox.api_key(),
    ))?;
    stopped.await?;
    let (requests, accepted) = (sandbox.requests(), sandbox.accepted_count());
    let rejected = sandbox.rejected_count();
    print(&format!("{requests} requests: {accepted} messages accepted, {rejected} rejected"))
}

/// Prints a line to whoever waits for it.
fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Ready when the program is asked to stop.
#[cfg(unix)]
fn stopped() -> io::Result<impl Future<Output = io::Result<()>>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// Ready when the program is asked to stop.
#[cfg(not(unix))]
fn stopped() -> io::Result<impl Future<Output = io::Result<()>>> {
    Ok(tokio::signal::ctrl_c())
}
