//! Sends 20,000 messages, kills the sender with SIGKILL at a random moment, starts it again, and
//! compares the journal with what the sandbox accepted.
//!
//! ```sh
//! cargo run -p durable-example
//! ```
//!
//! The sandbox and the sender are processes of their own on this machine. Nothing leaves it.

mod journal;

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use lon_batch::{Client, Content, Message, Msisdn, SharedContent, reqwest};
use lon_sandbox::{Answer, Sandbox};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use journal::Database;

const MESSAGES: usize = 20_000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [] => supervise().await,
        ["sandbox"] => sandbox().await,
        ["send", database, base_url] => send(database, base_url).await,
        _ => Err("usage: durable-example".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The sender: sends what is pending, and records it before and after.
async fn send(database: &str, base_url: &str) -> Result<()> {
    let client = Client::builder("sandbox", "sandbox-api-key").base_url(base_url).build()?;
    let database = Database::open(Path::new(database)).await?;
    let content = SharedContent::from(Content::new("We are moving"));
    let messages = database.pending().await?.into_iter().map(|(id, msisdn)| {
        let recipient = Msisdn::parse(&msisdn)?;
        Ok::<_, lon_batch::phone::MsisdnError>(
            Message::new(recipient, content.clone()).client_message_id(id),
        )
    });
    let run = client.bulk("moving-2026-11").journal(database).max_messages_per_batch(200);
    let summary = run.send(messages)?.finish().await;
    println!("sender {}: {summary}", std::process::id());
    summary.stop.map_or(Ok(()), |stop| Err(stop.to_string().into()))
}

/// The sandbox: some answers come late, some are 429, and it ends when its standard input does.
async fn sandbox() -> Result<()> {
    let answers = |number| match number % 10 {
        9 => Answer::TooManyRequests { retry_after: None },
        number => Answer::Late(Duration::from_millis(number * 7 % 20)),
    };
    let sandbox = Sandbox::builder().answer_with(answers).start().await?;
    println!("{}", sandbox.base_url());
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn supervise() -> Result<()> {
    let mut sandbox = child(&["sandbox"])?;
    let mut line = String::new();
    let output = sandbox.stdout.take().ok_or("the sandbox has no output")?;
    BufReader::new(output).read_line(&mut line).await?;
    let base_url = line.trim();

    let path = std::env::temp_dir().join(format!("durable-example-{}.sqlite", std::process::id()));
    let file = path.to_str().ok_or("the temporary folder has an odd name")?;
    let database = Database::open(&path).await?;
    let recipients = |index| (format!("customer-{index}"), format!("+6600{index:08}"));
    let recipients: Vec<_> = (0..MESSAGES).map(recipients).collect();
    database.create(&recipients).await?;
    println!("{MESSAGES} messages, a journal in {file}, a sandbox at {base_url}");

    let mut sender = child(&["send", file, base_url])?;
    let enough = fastrand::u64(1..MESSAGES as u64 * 9 / 10);
    while get(base_url, "counts").await?["accepted"].as_u64().unwrap_or_default() < enough {
        if let Some(status) = sender.try_wait()? {
            return Err(format!("the sender ended before it was killed: {status}").into());
        }
    }
    sender.kill().await?;
    let in_flight: HashSet<_> = database.ids("sending").await?.into_iter().collect();
    println!("killed the sender with {} messages in flight; starting it again", in_flight.len());
    let sender = child(&["send", file, base_url])?.wait_with_output().await?;
    print!("{}", String::from_utf8_lossy(&sender.stdout));
    if !sender.status.success() {
        return Err("the second sender failed".into());
    }

    let accepted = get(base_url, "accepted").await?;
    let is_right = report(&database, &in_flight, &accepted).await?;
    drop(database);
    for suffix in ["", "-wal", "-shm"] {
        // SQLite removes the other two files itself when it closes the last connection.
        let _ = std::fs::remove_file(format!("{file}{suffix}"));
    }
    if is_right { Ok(()) } else { Err("the journal and the sandbox disagree".into()) }
}

/// Prints the table, and returns whether everything in it is as it should be.
async fn report(
    database: &Database,
    in_flight: &HashSet<String>,
    accepted: &Value,
) -> Result<bool> {
    let mut times = HashMap::<&str, usize>::new();
    for message in accepted.as_array().ok_or("the sandbox sent no list")? {
        let id = message["clientMessageId"].as_str().ok_or("a message without an id")?;
        *times.entry(id).or_default() += 1;
    }
    let recorded: HashSet<_> = database.ids("accepted").await?.into_iter().collect();
    let unknown: HashSet<_> = database.ids("sending").await?.into_iter().collect();
    let is_accepted = |id: &&String| times.contains_key(id.as_str());
    let accepted_unknown = unknown.iter().filter(is_accepted).count();
    let unrecorded = recorded.iter().filter(|id| !is_accepted(id)).count();
    let twice = times.values().filter(|times| **times > 1).count();
    let missing = MESSAGES - recorded.len() - unknown.len();
    let beyond = times.keys().filter(|id| !recorded.contains(**id) && !unknown.contains(**id));
    let beyond = beyond.count();

    println!("{:>7} recorded as accepted", recorded.len());
    println!("{:>7} in flight at the kill", in_flight.len());
    println!("{:>7} unknown ({accepted_unknown} accepted by the sandbox)", unknown.len());
    println!("{twice:>7} accepted twice by the sandbox");
    println!("{missing:>7} missing: neither accepted nor unknown");
    println!("{:>7} recorded otherwise than the sandbox did", unrecorded + beyond);
    Ok(unknown == *in_flight && [twice, missing, unrecorded, beyond] == [0; 4])
}

/// This program in another role. It is killed when it is dropped.
fn child(arguments: &[&str]) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Gets a report of the sandbox.
async fn get(base_url: &str, name: &str) -> Result<Value> {
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build()?;
    let response = client.get(format!("{base_url}/sandbox/{name}")).send().await?;
    Ok(serde_json::from_slice(&response.bytes().await?)?)
}
