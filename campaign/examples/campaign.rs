//! Sends a campaign of 50,000 recipients while its processes are killed, and proves what happened.
//!
//! ```sh
//! cargo run -p lon-campaign --example campaign
//! cargo run -p lon-campaign --example campaign -- --database postgres://... --workers 3
//! ```
//!
//! With `--database private` it starts a PostgreSQL server of its own.
//!
//! A sandbox runs in another process, and it fails at random. With one worker, the example kills the
//! sender twice. With several, it kills one of them, and stops another one for longer than its fence
//! time. At the end it compares the ledger with the sandbox's record.

#[path = "../tests/common/cluster.rs"]
mod cluster;
mod support;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use lon_campaign::{Ledger, State};

use cluster::Folder;
use support::{CAMPAIGN, CONTENT, FENCE, Result, Role, accepted_more_than, judge, recipient};

const RECIPIENTS: u32 = 50_000;
const FAILURES: &str =
    "busy=0.05,hang-up=0.02,accept-and-hang-up=0.02,accept-and-fail=0.02,cut=0.02";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["sandbox", seed] => support::sandbox(FAILURES, seed.parse().unwrap_or(0)).await,
        ["worker", database, url] => worker(database, url).await,
        options => run(options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A process that sends the campaign.
async fn worker(database: &str, url: &str) -> Result<()> {
    let campaign = Ledger::open(database).await?.open_campaign(CAMPAIGN).await?;
    match support::send(&campaign, url).await?.reason {
        Some(reason) => Err(reason.into()),
        None => Ok(()),
    }
}

async fn run(options: &[&str]) -> Result<()> {
    let mut workers = 1;
    let mut database = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or_else(|| format!("{option} needs a value"))?;
        match *option {
            "--database" => database = Some((*value).to_owned()),
            "--workers" => workers = value.parse()?,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let folder = Folder::new("campaign");
    let mut server = None;
    let database = match database.as_deref() {
        None => folder.sqlite(),
        Some("private") => {
            let found = tokio::task::block_in_place(cluster::Postgres::find);
            let found = server.insert(found.ok_or("PostgreSQL is not installed")?);
            found.schema("campaign").await
        }
        Some(database) => database.to_owned(),
    };
    campaign(&database, workers).await
}

async fn campaign(database: &str, workers: usize) -> Result<()> {
    let seed = fastrand::u32(..);
    let mut sandbox = Role::start(&["sandbox", &seed.to_string()])?;
    let url = sandbox.line().await?;
    println!("{RECIPIENTS} recipients, {workers} workers, sandbox {url}, seed {seed}");

    let start = Instant::now();
    let campaign = Ledger::open(database).await?.campaign(CAMPAIGN, CONTENT).await?;
    campaign.import((1..=RECIPIENTS).map(recipient)).await?;
    campaign.seal().await?;
    println!("imported in {:.1} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let start_worker = || Role::start(&["worker", database, &url]);
    if workers == 1 {
        let mut worker = start_worker()?;
        for share in [0.2, 0.6] {
            accepted_more_than(&url, f64::from(RECIPIENTS) * (share + fastrand::f64() * 0.2))
                .await?;
            worker.0.kill().await?;
            println!("killed the sender");
            worker = start_worker()?;
        }
        worker.succeeds().await?;
    } else {
        let mut all = (0..workers).map(|_| start_worker()).collect::<Result<Vec<_>>>()?;
        accepted_more_than(&url, f64::from(RECIPIENTS) * (0.1 + fastrand::f64() * 0.2)).await?;
        all.remove(0).0.kill().await?;
        println!("killed a worker");
        all[0].signal("STOP").await?;
        tokio::time::sleep(FENCE * 2).await;
        all[0].signal("CONT").await?;
        println!("stopped a worker for {} s", (FENCE * 2).as_secs());
        for worker in all {
            worker.succeeds().await?;
        }
    }
    println!("sent in {:.1} s\n", start.elapsed().as_secs_f64());

    let (state, reason) = campaign.state().await?;
    let verdict = judge(&campaign, &url).await?;
    println!("{:>6} accepted", verdict.accepted);
    println!("{:>6} not sent", verdict.not_sent);
    println!("{:>6} unknown in claims without outcomes", verdict.claimed);
    println!("{:>6} unknown because their response was lost", verdict.lost);
    println!("{:>6} accepted twice by the sandbox", verdict.twice);
    println!("{:>6} missing: neither sent nor unknown", verdict.missing);
    println!("{:>6} recorded otherwise than the sandbox did", verdict.wrong);
    if state != State::Done || !verdict.is_right() {
        return Err(format!("the campaign is {state}: {}", reason.unwrap_or_default()).into());
    }
    println!("The ledger equals the sandbox's record.");
    Ok(())
}
