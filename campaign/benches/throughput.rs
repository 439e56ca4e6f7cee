//! The speed of a campaign against a fast sink on the same machine, compared with a plain loop without
//! a ledger.
//!
//! ```sh
//! cargo bench -p lon-campaign --bench throughput
//! cargo bench -p lon-campaign --bench throughput -- 10000000
//! ```
//!
//! The number is that of the recipients; the default is a million. PostgreSQL is measured if
//! `LON_TEST_POSTGRES_URL` is set or the server programs are installed. The sink and each measurement
//! are processes of their own. Results are in `docs/COST.md`.

#[path = "../tests/common/cluster.rs"]
mod cluster;

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use lon_batch::{Batch, Client, Content, Message, Msisdn, SharedContent};
use lon_campaign::{Ledger, Recipient, SendOptions, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use cluster::{Folder, Postgres};

const IN_FLIGHT: usize = 8;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["sink"] => sink().await,
        ["plain", url, recipients] => plain(url, number(recipients)).await,
        ["import", database, recipients] => import(database, number(recipients)).await,
        ["send", database, url] => send(database, url).await,
        [] => compare(1_000_000).await,
        [recipients] => compare(number(recipients)).await,
        other => panic!("cannot measure {other:?}"),
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

async fn compare(recipients: u32) {
    let sink = Command::new(env::current_exe().expect("this program"))
        .arg("sink")
        .stdout(Stdio::piped())
        .spawn();
    let mut sink = Killed(sink.expect("this program"));
    let mut url = String::new();
    let mut stdout = std::io::BufReader::new(sink.0.stdout.take().expect("its output"));
    std::io::BufRead::read_line(&mut stdout, &mut url).expect("a line");
    let url = url.trim();
    println!("{recipients} recipients, {IN_FLIGHT} chunks in flight");
    println!("{:<34} {:>12} {:>10}", "", "per second", "peak MiB");

    let count = recipients.to_string();
    measure("plain loop, no ledger", recipients, &[&["plain", url, &count]]);
    let folder = Folder::new("bench");
    let sqlite = folder.sqlite();
    measure("SQLite, import", recipients, &[&["import", &sqlite, &count]]);
    measure("SQLite, send", recipients, &[&["send", &sqlite, url]]);
    let server = tokio::task::block_in_place(Postgres::find);
    if let Some(server) = server {
        let database = server.schema("one").await;
        measure("PostgreSQL, import", recipients, &[&["import", &database, &count]]);
        measure("PostgreSQL, send, one worker", recipients, &[&["send", &database, url]]);
        let database = server.schema("two").await;
        measure("PostgreSQL, import again", recipients, &[&["import", &database, &count]]);
        let send: &[&str] = &["send", &database, url];
        measure("PostgreSQL, send, two workers", recipients, &[send, send]);
    }
}

/// A process that ends with this.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs processes at the same time, and prints their rate and the peak memory of the largest.
fn measure(what: &str, recipients: u32, processes: &[&[&str]]) {
    let start = Instant::now();
    let children: Vec<_> = processes
        .iter()
        .map(|arguments| {
            Command::new(env::current_exe().expect("this program"))
                .args(*arguments)
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program")
        })
        .collect();
    let mut peak = 0.0_f64;
    for child in children {
        let output = child.wait_with_output().expect("its output");
        assert!(output.status.success(), "{what}: {output:?}");
        let output = String::from_utf8_lossy(&output.stdout);
        peak = peak.max(output.trim().parse().expect("a number"));
    }
    let rate = f64::from(recipients) / start.elapsed().as_secs_f64();
    println!("{what:<34} {rate:>12.0} {peak:>10.1}");
}

/// Prints the peak memory of this process, in MiB.
fn print_peak() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    println!("{}", kib / 1024.0);
}

fn recipient(number: u32) -> Recipient {
    let msisdn = Msisdn::parse(&format!("+6681{number:08}")).expect("a number");
    Recipient::new(format!("customer-{number}"), msisdn)
}

fn client(url: &str) -> Client {
    Client::builder("sandbox", "sandbox-api-key").base_url(url).build().expect("valid settings")
}

fn content() -> SharedContent {
    SharedContent::from(
        Content::new("Spring sale").item("Until", "31 May").greeting("See you in our shop!"),
    )
}

/// The loop that an engineer would write without a ledger.
async fn plain(url: &str, recipients: u32) {
    let (client, content) = (client(url), content());
    let mut tasks = JoinSet::new();
    let mut accepted = 0;
    for first in (1..=recipients).step_by(1000) {
        if tasks.len() == IN_FLIGHT {
            accepted += tasks.join_next().await.expect("a task").expect("no panic");
        }
        let (client, content) = (client.clone(), content.clone());
        tasks.spawn(async move {
            let last = recipients.min(first + 999);
            let messages = (first..=last).map(recipient).map(|it| {
                Message::new(it.to, content.clone()).client_message_id(it.client_message_id)
            });
            let batch = Batch::builder().messages(messages).include_messages_in_response(true);
            let batch = batch.build().expect("a valid batch");
            let response = client.send(&batch).await.expect("a response");
            response.report(&batch).iter().count()
        });
    }
    for count in tasks.join_all().await {
        accepted += count;
    }
    assert_eq!(accepted, recipients as usize);
    print_peak();
}

async fn import(database: &str, recipients: u32) {
    let ledger = Ledger::open(database).await.expect("a ledger");
    let campaign = ledger.campaign("spring", "Spring sale").await.expect("a campaign");
    campaign.import((1..=recipients).map(recipient)).await.expect("an import");
    campaign.seal().await.expect("a sealed campaign");
    print_peak();
}

async fn send(database: &str, url: &str) {
    let ledger = Ledger::open(database).await.expect("a ledger");
    let campaign = ledger.open_campaign("spring").await.expect("a campaign");
    let content = content();
    let render = move |recipient: &Recipient| Message::new(recipient.to, content.clone());
    let options = SendOptions::new().concurrency(IN_FLIGHT);
    let ended = campaign.send(&client(url), options, render).await.expect("an end");
    assert_eq!(ended.state, State::Done);
    print_peak();
}

/// A platform that accepts everything, as cheaply as possible.
async fn sink() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(512 * 1024);
    loop {
        buffer.clear();
        let (head, length) = loop {
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
                let length = head.split_once("content-length:").map(|(_, rest)| rest);
                let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
                break (end + 4, length.unwrap_or(0));
            }
        };
        while buffer.len() < head + length {
            match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        let body = String::from_utf8_lossy(&buffer[head..head + length]);
        let mut answer = String::with_capacity(256 * 1024);
        let mut count = 0;
        for part in body.split("\"clientMessageId\":\"").skip(1) {
            let id = part.split('"').next().unwrap_or_default();
            let comma = if count == 0 { "" } else { "," };
            count += 1;
            answer.push_str(comma);
            answer
                .push_str(r#"{"umid":"d03cbbf5-3e2d-ea11-815d-020897df5459","clientMessageId":""#);
            answer.push_str(id);
            answer.push_str(
                r#"","status":{"state":"queued","timestamp":"2026-01-04T08:20:02.31Z"}}"#,
            );
        }
        let answer =
            format!(r#"{{"acceptedCount":{count},"rejectedCount":0,"messages":[{answer}]}}"#);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all(head.as_bytes()).await.is_err()
            || stream.write_all(answer.as_bytes()).await.is_err()
        {
            return;
        }
    }
}
