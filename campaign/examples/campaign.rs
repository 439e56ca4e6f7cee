//! Sends a campaign of 50,000 recipients while its processes are killed, and proves what happened.
//!
//! ```sh
//! cargo run -p lon-campaign --example campaign
//! cargo run -p lon-campaign --example campaign -- --database postgres://... --workers 3
//! ```
//!
//! A sandbox runs in another process, and it fails at random. With one worker, the example kills the
//! sender twice. With several, it kills one of them, and stops another one for longer than its fence
//! time. At the end it compares the ledger with the sandbox's record.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use lon_batch::{Client, Content, Message, Msisdn, OutcomeKind, SharedContent, reqwest};
use lon_campaign::{Campaign, Ledger, Recipient, SendOptions, Standing, State};
use lon_sandbox::{Accepted, Failures, Sandbox};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const RECIPIENTS: u32 = 50_000;
const CAMPAIGN: &str = "parcels";
const CONTENT: &str = "Your parcel has left our warehouse";
const FAILURES: &str =
    "busy=0.05,hang-up=0.02,accept-and-hang-up=0.02,accept-and-fail=0.02,cut=0.02";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["sandbox", seed] => sandbox(seed).await,
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

/// A platform that fails at random.
async fn sandbox(seed: &str) -> Result<()> {
    let failures: Failures = FAILURES.parse()?;
    let answers = failures.with_seed(seed.parse()?);
    let sandbox = Sandbox::builder().answer_with(answers).start().await?;
    println!("{}", sandbox.base_url());
    std::future::pending().await
}

/// A process that sends the campaign.
async fn worker(database: &str, url: &str) -> Result<()> {
    let client = Client::builder("sandbox", "sandbox-api-key")
        .base_url(url)
        .connect_timeout(Duration::from_millis(500))
        .build()?;
    let campaign = Ledger::open(database).await?.open_campaign(CAMPAIGN).await?;
    let content = SharedContent::from(Content::new(CONTENT));
    let render = move |recipient: &Recipient| Message::new(recipient.to, content.clone());
    let ended = campaign.send(&client, options(), render).await?;
    match ended.reason {
        Some(reason) => Err(reason.into()),
        None => Ok(()),
    }
}

/// A claim of a dead process becomes unknown after two seconds. Real campaigns keep the defaults.
fn options() -> SendOptions {
    SendOptions::new()
        .attempt_timeout(Duration::from_secs(1))
        .leave_within(Duration::from_millis(500))
        .fence_margin(Duration::from_millis(500))
        .delays(Duration::from_millis(20), Duration::from_millis(500))
        .concurrency(4)
}

const FENCE: Duration = Duration::from_secs(2);

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
    let folder = env::temp_dir().join(format!("lon-campaign-{}", std::process::id()));
    let database = if let Some(database) = database {
        database
    } else {
        std::fs::create_dir_all(&folder)?;
        format!("sqlite:{}", folder.join("ledger.sqlite").display())
    };
    let result = campaign(&database, workers).await;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    result
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
            accepted_more_than(&url, share + fastrand::f64() * 0.2).await?;
            worker.0.kill().await?;
            println!("killed the sender");
            worker = start_worker()?;
        }
        worker.succeeds().await?;
    } else {
        let mut all = (0..workers).map(|_| start_worker()).collect::<Result<Vec<_>>>()?;
        accepted_more_than(&url, 0.1 + fastrand::f64() * 0.2).await?;
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
    compare(&campaign, &url).await
}

fn recipient(number: u32) -> Recipient {
    let msisdn = Msisdn::parse(&format!("+6681{number:07}")).expect("a number");
    Recipient::new(format!("parcel-{number}"), msisdn)
}

/// This program in another role.
struct Role(Child, Option<BufReader<tokio::process::ChildStdout>>);

impl Role {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self(child, stdout))
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.1.as_mut().ok_or("no output")?.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let id = self.0.id().ok_or("the process has ended")?.to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await?;
        status.success().then_some(()).ok_or_else(|| "kill failed".into())
    }

    async fn succeeds(mut self) -> Result<()> {
        let status = self.0.wait().await?;
        status.success().then_some(()).ok_or_else(|| "a worker failed".into())
    }
}

/// Waits until the sandbox has accepted this share of the recipients.
async fn accepted_more_than(url: &str, share: f64) -> Result<()> {
    loop {
        let counts: serde_json::Value =
            reqwest::get(format!("{url}/sandbox/counts")).await?.json().await?;
        if counts["accepted"].as_f64().unwrap_or_default() > share * f64::from(RECIPIENTS) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Compares the ledger with the sandbox's record.
async fn compare(campaign: &Campaign, url: &str) -> Result<()> {
    let accepted: Vec<Accepted> =
        reqwest::get(format!("{url}/sandbox/accepted")).await?.json().await?;
    let mut times: HashMap<String, u32> = HashMap::new();
    for message in accepted {
        *times.entry(message.client_message_id.unwrap_or_default()).or_default() += 1;
    }
    let (state, reason) = campaign.state().await?;
    let totals = campaign.totals().await?;
    let (mut lost, mut claimed, mut wrong, mut missing) = (0, 0, 0, 0);
    let mut recipients = campaign.recipients();
    while let Some(it) = recipients.next().await? {
        let by_sandbox = times.get(&it.client_message_id).copied().unwrap_or_default();
        match (it.standing, it.outcome) {
            (Standing::Outcome(OutcomeKind::Accepted), _) => wrong += u32::from(by_sandbox == 0),
            (Standing::Outcome(OutcomeKind::Unknown), None) => claimed += 1,
            (Standing::Outcome(OutcomeKind::Unknown), Some(_)) => lost += 1,
            (Standing::Outcome(_), _) => wrong += u32::from(by_sandbox > 0),
            (Standing::Pending | Standing::InFlight, _) => missing += 1,
        }
    }
    let twice = times.values().filter(|times| **times > 1).count();
    println!("{:>6} accepted", totals.accepted);
    println!("{:>6} not sent", totals.not_sent);
    println!(
        "{:>6} unknown: {claimed} in claims without outcomes, {lost} with a lost response",
        totals.unknown
    );
    println!("{twice:>6} accepted twice by the sandbox");
    println!("{missing:>6} missing: neither sent nor unknown");
    println!("{wrong:>6} recorded otherwise than the sandbox did");
    if state != State::Done || twice > 0 || missing > 0 || wrong > 0 {
        return Err(format!("the campaign is {state}: {}", reason.unwrap_or_default()).into());
    }
    println!("The ledger equals the sandbox's record.");
    Ok(())
}
