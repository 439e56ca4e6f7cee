//! Processes of an example, and the comparison with the sandbox's record.

#![allow(dead_code, reason = "each example uses a part of it")]

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use lon_batch::{Client, Content, Message, Msisdn, OutcomeKind, SharedContent, reqwest};
use lon_campaign::{Campaign, Ended, Recipient, SendOptions, Standing};
use lon_sandbox::{Accepted, Failures, Sandbox};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub const CAMPAIGN: &str = "parcels";
pub const CONTENT: &str = "Your parcel has left our warehouse";
/// How long after its claim a chunk of a dead process becomes unknown.
pub const FENCE: Duration = Duration::from_secs(2);

/// A platform that fails at random. It prints its URL.
pub async fn sandbox(failures: &str, seed: u32) -> Result<()> {
    let failures: Failures = failures.parse()?;
    let answers = failures.with_seed(seed.into());
    let sandbox = Sandbox::builder().answer_with(answers).start().await?;
    println!("{}", sandbox.base_url());
    std::future::pending().await
}

/// Sends the campaign. Real campaigns keep the default options.
pub async fn send(campaign: &Campaign, url: &str) -> Result<Ended> {
    let client = Client::builder("sandbox", "sandbox-api-key")
        .base_url(url)
        .connect_timeout(Duration::from_millis(500))
        .build()?;
    let options = SendOptions::new()
        .attempt_timeout(Duration::from_secs(1))
        .leave_within(Duration::from_millis(500))
        .fence_margin(Duration::from_millis(500))
        .delays(Duration::from_millis(20), Duration::from_millis(500))
        .concurrency(4);
    let content = SharedContent::from(Content::new(CONTENT));
    let render = move |recipient: &Recipient| Message::new(recipient.to, content.clone());
    Ok(campaign.send(&client, options, render).await?)
}

pub fn recipient(number: u32) -> Recipient {
    let msisdn = Msisdn::parse(&format!("+6681{number:07}")).expect("a number");
    Recipient::new(format!("parcel-{number}"), msisdn)
}

/// This program in another role.
pub struct Role(pub Child, Option<BufReader<tokio::process::ChildStdout>>);

impl Role {
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self(child, stdout))
    }

    pub async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.1.as_mut().ok_or("no output")?.read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }

    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self.0.id().ok_or("the process has ended")?.to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await?;
        status.success().then_some(()).ok_or_else(|| "kill failed".into())
    }

    pub async fn succeeds(mut self) -> Result<()> {
        let status = self.0.wait().await?;
        status.success().then_some(()).ok_or_else(|| "a worker failed".into())
    }
}

/// Waits until the sandbox has accepted more messages than this.
pub async fn accepted_more_than(url: &str, messages: f64) -> Result<()> {
    loop {
        let counts: serde_json::Value =
            reqwest::get(format!("{url}/sandbox/counts")).await?.json().await?;
        if counts["accepted"].as_f64().unwrap_or_default() > messages {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A comparison of the ledger with the sandbox's record, in recipients.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub accepted: u32,
    pub not_sent: u32,
    /// Unknown, because a claim has no outcomes.
    pub claimed: u32,
    /// Unknown, because a response was lost.
    pub lost: u32,
    /// Neither sent nor unknown.
    pub missing: u32,
    /// Recorded as accepted but not accepted, or the other way round.
    pub wrong: u32,
    /// Accepted more than once by the sandbox.
    pub twice: usize,
}

impl Verdict {
    pub fn is_right(&self) -> bool {
        self.missing == 0 && self.wrong == 0 && self.twice == 0
    }
}

pub async fn judge(campaign: &Campaign, url: &str) -> Result<Verdict> {
    let accepted: Vec<Accepted> =
        reqwest::get(format!("{url}/sandbox/accepted")).await?.json().await?;
    let mut times: HashMap<String, u32> = HashMap::new();
    for message in accepted {
        *times.entry(message.client_message_id.unwrap_or_default()).or_default() += 1;
    }
    let twice = times.values().filter(|times| **times > 1).count();
    let mut verdict = Verdict { twice, ..Verdict::default() };
    let mut recipients = campaign.recipients();
    while let Some(it) = recipients.next().await? {
        let is_accepted = times.contains_key(&it.client_message_id);
        match (it.standing, it.outcome) {
            (Standing::Outcome(OutcomeKind::Accepted), _) => {
                verdict.accepted += 1;
                verdict.wrong += u32::from(!is_accepted);
            }
            (Standing::Outcome(OutcomeKind::Unknown), None) => verdict.claimed += 1,
            (Standing::Outcome(OutcomeKind::Unknown), Some(_)) => verdict.lost += 1,
            (Standing::Outcome(_), _) => {
                verdict.not_sent += 1;
                verdict.wrong += u32::from(is_accepted);
            }
            (Standing::Pending | Standing::InFlight, _) => verdict.missing += 1,
        }
    }
    Ok(verdict)
}
