//! The rounds of the example `kill`, and the roles of its processes.

#[path = "../../tests/common/cluster.rs"]
mod cluster;
#[path = "proxy.rs"]
mod proxy;
#[path = "mod.rs"]
mod support;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lon_campaign::{Ledger, State};

use cluster::{Folder, Postgres};
use proxy::{Fault, Proxy};
use support::{CAMPAIGN, CONTENT, FENCE, Result, Role, accepted_more_than, judge, recipient};

const RECIPIENTS: u32 = 20_000;
const FAILURES: &str =
    "busy=0.1,hang-up=0.05,accept-and-hang-up=0.05,accept-and-fail=0.02,cut=0.02,late=0.2";
/// Faults of a round.
const FAULTS: u32 = 6;

/// Runs the rounds, or a role of one.
#[tokio::main]
pub async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().unwrap_or(1);
    let result = match arguments.as_slice() {
        ["sandbox", seed] => support::sandbox(FAILURES, number(seed)).await,
        ["worker", database, url] => worker(database, url).await,
        [] => run(20, fastrand::u32(..)).await,
        [rounds] => run(number(rounds), fastrand::u32(..)).await,
        [rounds, seed, ..] => run(number(rounds), number(seed)).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn worker(database: &str, url: &str) -> Result<()> {
    let campaign = Ledger::open(database).await?.open_campaign(CAMPAIGN).await?;
    // A platform that fails this often stops a campaign at times.
    while support::send(&campaign, url).await?.state != State::Done {
        campaign.resume().await?;
    }
    Ok(())
}

/// Stops a process for longer than its fence time.
async fn stop(pid: Option<u32>) {
    let Some(pid) = pid else { return };
    signal(pid, "STOP").await;
    tokio::time::sleep(FENCE + Duration::from_millis(fastrand::u64(..1500))).await;
    signal(pid, "CONT").await;
}

async fn signal(pid: u32, name: &str) {
    // The process may have ended.
    let _ =
        tokio::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status().await;
}

async fn run(rounds: u32, seed: u32) -> Result<()> {
    println!("{rounds} rounds of {RECIPIENTS} recipients, seed {seed}");
    fastrand::seed(seed.into());
    let server = tokio::task::block_in_place(Postgres::find);
    for round in 0..rounds {
        let server = server.as_ref().filter(|_| round % 2 == 1);
        let start = Instant::now();
        let limit = Duration::from_mins(2);
        let result = tokio::time::timeout(limit, self::round(server)).await;
        let line = result.map_err(|_| "the round does not end")??;
        println!("round {round}, {:.1} s: {line}", start.elapsed().as_secs_f64());
    }
    println!("Nobody got a message twice, and nobody is missing.");
    Ok(())
}

/// A worker process, restarted when it dies.
struct Worker {
    role: Role,
    database: String,
    proxy: Option<Proxy>,
}

impl Worker {
    fn start(
        server: Option<&Postgres>,
        database: &str,
        url: &str,
        folder: &Folder,
    ) -> Result<Self> {
        let socket = server.and_then(Postgres::folder);
        let proxy = socket.map(|socket| {
            let path = folder.0.join(format!("{:x}", fastrand::u32(..)));
            Proxy::start(path, socket.to_owned())
        });
        let database = match (&proxy, socket) {
            (Some(proxy), Some(socket)) => {
                database.replace(&*socket.to_string_lossy(), &proxy.folder.to_string_lossy())
            }
            _ => database.to_owned(),
        };
        let role = Role::start(&["worker", &database, url])?;
        let worker = Self { role, database, proxy };
        worker.set_worker();
        Ok(worker)
    }

    fn set_worker(&self) {
        if let Some(proxy) = &self.proxy {
            *proxy.worker.lock().expect("no panic") = self.role.0.id();
        }
    }

    async fn restart(&mut self, url: &str) -> Result<()> {
        self.role.0.kill().await?;
        self.role = Role::start(&["worker", &self.database, url])?;
        self.set_worker();
        Ok(())
    }
}

async fn round(server: Option<&Postgres>) -> Result<String> {
    let folder = Folder::new("kill");
    let mut sandbox = Role::start(&["sandbox", &fastrand::u32(..).to_string()])?;
    let url = sandbox.line().await?;
    let database = match server {
        Some(server) => server.schema("kill").await,
        None => folder.sqlite(),
    };
    let campaign = Ledger::open(&database).await?.campaign(CAMPAIGN, CONTENT).await?;
    campaign.import((1..=RECIPIENTS).map(recipient)).await?;
    campaign.seal().await?;

    let count = if server.is_some() { 3 } else { 1 + fastrand::usize(..2) };
    let mut workers = Vec::new();
    for _ in 0..count {
        workers.push(Worker::start(server, &database, &url, &folder)?);
    }
    let mut faults = Vec::new();
    for number in 0..FAULTS {
        // Spread over the campaign.
        let share = f64::from(number) / f64::from(FAULTS) * 0.6;
        let after = f64::from(RECIPIENTS) * (share + fastrand::f64() * 0.1);
        let early = tokio::time::timeout(Duration::from_secs(5), accepted_more_than(&url, after));
        let _ = early.await;
        let worker = fastrand::choice(&mut workers).expect("a worker");
        let fault = match (fastrand::u8(..4), &worker.proxy) {
            (0, _) => {
                worker.restart(&url).await?;
                "kill"
            }
            (1, _) => {
                stop(worker.role.0.id()).await;
                "stop"
            }
            (2, Some(_)) => {
                if let Some(server) = server {
                    tokio::task::block_in_place(|| server.crash());
                }
                "server crash"
            }
            (_, Some(proxy)) => {
                let all = [
                    Fault::CutBefore,
                    Fault::CutAfter,
                    Fault::StallBefore,
                    Fault::StallAfter,
                    Fault::StopBefore,
                    Fault::StopAfter,
                ];
                let fault = all[fastrand::usize(..all.len())];
                *proxy.next.lock().expect("no panic") = Some(fault);
                match fault {
                    Fault::CutBefore => "cut before COMMIT",
                    Fault::CutAfter => "cut after COMMIT",
                    Fault::StallBefore => "stall before COMMIT",
                    Fault::StallAfter => "stall after COMMIT",
                    Fault::StopBefore => "stop before COMMIT",
                    Fault::StopAfter => "stop after COMMIT",
                }
            }
            (_, None) => {
                worker.restart(&url).await?;
                "kill"
            }
        };
        faults.push(fault);
    }
    for worker in workers {
        worker.role.succeeds().await?;
    }
    let campaign = Ledger::open(&database).await?.open_campaign(CAMPAIGN).await?;
    let verdict = judge(&campaign, &url).await?;
    let (state, _) = campaign.state().await?;
    let kind = if server.is_some() { "PostgreSQL" } else { "SQLite" };
    let line = format!(
        "{kind}, {count} workers, {}: {} accepted, {} + {} unknown",
        faults.join(", "),
        verdict.accepted,
        verdict.claimed,
        verdict.lost
    );
    if state != State::Done || !verdict.is_right() {
        return Err(format!("{line}: the campaign is {state}, {verdict:?}").into());
    }
    Ok(line)
}
