//! Faults of the database: each has a clear error, and nothing is sent that is not claimed in the
//! ledger. The sandbox is the judge.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lon_campaign::{Campaign, Error, Ledger, State};
use lon_sandbox::{Answer, Sandbox};
use sqlx::{Connection, Executor, SqliteConnection};

use common::cluster::Postgres;
use common::{Folder, client, message, most_accepted, quick, recipients, sealed};

/// A mount that ends with this. It needs root.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// `None`, with the reason on stdout, if this process may not mount.
    fn new(path: &'a Path, arguments: &[&str]) -> Option<Self> {
        let output = Command::new("mount").args(arguments).arg(path).output();
        match output {
            Ok(output) if output.status.success() => Some(Self(path)),
            Ok(output) => {
                println!("not tested: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("not tested: mount: {error}");
                None
            }
        }
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

async fn connect(url: &str) -> SqliteConnection {
    SqliteConnection::connect(url).await.unwrap()
}

/// Waits until nobody has the ledger open, and all of it is in one file.
async fn closed(folder: &Folder) {
    let log = folder.0.join("ledger.sqlite-wal");
    for _ in 0..1000 {
        let mut connection = connect(&folder.sqlite()).await;
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        connection.close().await.unwrap();
        if !log.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the ledger is still open");
}

/// Whether no message was sent to a recipient that the ledger still wants to send to.
async fn sent_is_recorded(campaign: &Campaign, sandbox: &Sandbox) -> bool {
    let mut sent: Vec<_> =
        sandbox.accepted().into_iter().filter_map(|it| it.client_message_id).collect();
    sent.sort_unstable();
    let mut report = campaign.recipients();
    let mut is_recorded = true;
    while let Some(it) = report.next().await.unwrap() {
        let is_pending = it.standing == lon_campaign::Standing::Pending;
        is_recorded &= !(is_pending && sent.binary_search(&it.client_message_id).is_ok());
    }
    is_recorded
}

#[tokio::test]
async fn a_newer_ledger_is_not_opened() {
    let insert = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time) VALUES (7, 'new', true, '', 0)";
    let expected = "the ledger has schema version 7, and this program knows 1: use a newer program";

    let folder = Folder::new("newer");
    Ledger::open(&folder.sqlite()).await.unwrap();
    connect(&folder.sqlite()).await.execute(insert).await.unwrap();
    let error = Ledger::open(&folder.sqlite()).await.unwrap_err();
    assert!(matches!(error, Error::NewerSchema { found: 7, known: 1 }), "{error:?}");
    assert_eq!(error.to_string(), expected);

    let Some(server) = Postgres::find() else {
        return;
    };
    let url = server.schema("newer").await;
    Ledger::open(&url).await.unwrap();
    sqlx::PgConnection::connect(&url).await.unwrap().execute(insert).await.unwrap();
    assert_eq!(Ledger::open(&url).await.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_not_touched() {
    let folder = Folder::new("other");
    let path = folder.0.join("ledger.sqlite");
    let text = "id,msisdn\n".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    let error = Ledger::open(&folder.sqlite()).await.unwrap_err();
    assert!(matches!(error, Error::NotADatabase(_)), "{error:?}");
    assert_eq!(error.to_string(), "the file is not a SQLite database, so it is not a ledger");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_file_stops_the_worker_after_the_chunks_in_flight() {
    let folder = Folder::new("damaged");
    let ledger = Ledger::open(&folder.sqlite()).await.unwrap();
    sealed(&ledger, "spring", 9000).await;
    drop(ledger);
    closed(&folder).await;

    // The leaf pages of the table (SQLite's type 10) with the numbers of recipients 5000 to 5999.
    let path = folder.0.join("ledger.sqlite");
    let mut file = std::fs::read(&path).unwrap();
    let mut damaged = 0;
    for page in file.chunks_mut(4096) {
        if page[0] == 10 && page.windows(8).any(|it| it == b"66810005") {
            page.fill(0xff);
            damaged += 1;
        }
    }
    assert!(damaged > 5, "{damaged} pages");
    std::fs::write(&path, file).unwrap();

    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next((0..9).map(|_| Answer::Late(Duration::from_millis(300))));
    let ledger = Ledger::open(&folder.sqlite()).await.unwrap();
    let campaign = ledger.open_campaign("spring").await.unwrap();
    let options = quick().leave_within(Duration::from_secs(5));
    let error = campaign.send(&client(&sandbox), options, message).await.unwrap_err();
    assert!(matches!(error, Error::DamagedFile(_)), "{error:?}");
    let expected = "the file of the ledger is damaged: keep it, and recover a copy with \
                    `sqlite3 COPY .recover`";
    assert_eq!(error.to_string(), expected);

    // Messages that were sent before have their outcomes recorded.
    assert!((3000..=5000).contains(&sandbox.accepted_count()), "{}", sandbox.accepted_count());
    let mut connection = connect(&folder.sqlite()).await;
    let accepted: i64 = sqlx::query_scalar("SELECT count(*) FROM outcomes WHERE kind = 4")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(accepted.unsigned_abs(), sandbox.accepted_count());
    let in_flight: i64 = sqlx::query_scalar("SELECT count(*) FROM chunks WHERE state = 1")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(in_flight, 0);
}

#[tokio::test]
async fn a_read_only_ledger_sends_nothing() {
    let folder = Folder::new("read-only");
    let ledger = Ledger::open(&folder.sqlite()).await.unwrap();
    sealed(&ledger, "spring", 10).await;
    drop(ledger);
    closed(&folder).await;
    let path = folder.0.to_str().unwrap();
    let Some(_mount) = Mount::new(&folder.0, &["-o", "bind,ro", path]) else {
        return;
    };
    let error = Ledger::open(&folder.sqlite()).await.unwrap_err();
    assert!(matches!(error, Error::NotWritable(_)), "{error:?}");
    let expected = "the ledger cannot be written: its folder must exist, and both must be writable";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_full_disk_sends_nothing_that_is_not_claimed() {
    let folder = Folder::new("full");
    let Some(_mount) = Mount::new(&folder.0, &["-t", "tmpfs", "-o", "size=4m", "lon-test"]) else {
        return;
    };
    let filler = folder.0.join("filler");
    let occupy = || {
        // It stops at the end of the disk.
        let _ = std::fs::write(&filler, vec![0; 4 << 20]);
    };
    let is_full = |error: &Error| match error {
        Error::Sending(error) => matches!(**error, Error::DiskFull(_)),
        error => matches!(error, Error::DiskFull(_)),
    };

    // A new ledger.
    occupy();
    let error = Ledger::open(&folder.sqlite()).await.unwrap_err();
    assert!(is_full(&error), "{error:?}");
    let expected = "the disk of the ledger is full: make room, and continue the campaign";
    assert_eq!(error.to_string(), expected);
    std::fs::remove_file(&filler).unwrap();

    // It becomes full at one of several moments of a campaign.
    let mut requests = Vec::new();
    for room in [0, 24, 64, 128] {
        let ledger = Ledger::open(&folder.sqlite()).await.unwrap();
        let campaign = sealed(&ledger, "spring", 2500).await;
        let sandbox = Sandbox::start().await.unwrap();
        let mut connection = connect(&folder.sqlite()).await;
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
        drop(connection);
        occupy();
        {
            let file = std::fs::OpenOptions::new().write(true).open(&filler).unwrap();
            let size = file.metadata().unwrap().len();
            file.set_len(size - (room << 10)).unwrap();
        }

        let sending = {
            let (campaign, client) = (campaign.clone(), client(&sandbox));
            let options = quick().concurrency(2);
            tokio::spawn(async move { campaign.send(&client, options, message).await })
        };
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(sent_is_recorded(&campaign, &sandbox).await, "{room} KB");
        requests.push(sandbox.requests());

        // With room again, the worker records its outcomes. It failed if it could not claim a chunk.
        std::fs::remove_file(&filler).unwrap();
        match sending.await.unwrap() {
            Ok(ended) => assert_eq!((ended.state, room > 0), (State::Done, true)),
            Err(error) => assert!(is_full(&error), "{error:?}"),
        }
        let totals = campaign.totals().await.unwrap();
        assert_eq!((totals.accepted, totals.in_flight), (sandbox.accepted_count(), 0), "{room} KB");

        // The campaign continues, and nobody gets the message twice.
        let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
        assert_eq!(ended.state, State::Done);
        assert_eq!(campaign.totals().await.unwrap().accepted, 2500);
        assert_eq!((sandbox.accepted_count(), most_accepted(&sandbox)), (2500, 1));
        drop((campaign, ledger));
        for file in std::fs::read_dir(&folder.0).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
    // Without any room there is no claim, so there is no request.
    println!("requests: {requests:?}");
    assert_eq!(requests[0], 0);
    assert!(requests[1..].iter().any(|it| *it > 0));
}

#[tokio::test]
async fn a_ledger_that_another_process_holds_is_busy() {
    let folder = Folder::new("busy");
    let ledger = Ledger::open(&folder.sqlite()).await.unwrap();
    let campaign = sealed(&ledger, "spring", 10).await;
    let mut other = connect(&folder.sqlite()).await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();

    let sandbox = Sandbox::start().await.unwrap();
    let url = folder.sqlite();
    let client = client(&sandbox);
    // It opens: nothing is written for that.
    let (opened, sent) = tokio::join!(Ledger::open(&url), campaign.send(&client, quick(), message));
    opened.unwrap();
    let error = sent.unwrap_err();
    assert!(matches!(error, Error::Busy), "{error:?}");
    assert_eq!(error.to_string(), "another process holds the ledger");
    let error = ledger.campaign("summer", "Hello").await.unwrap_err();
    assert!(matches!(error, Error::Busy), "{error:?}");
    assert_eq!(sandbox.requests(), 0);

    other.execute("ROLLBACK").await.unwrap();
    ledger.campaign("summer", "Hello").await.unwrap();
    let ended = campaign.send(&client, quick(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 10));
}

#[tokio::test]
async fn while_another_process_holds_the_ledger_nothing_new_is_sent() {
    let folder = Folder::new("held");
    let ledger = Ledger::open(&folder.sqlite()).await.unwrap();
    let campaign = ledger.campaign("spring", "Hello").await.unwrap();
    campaign.import(recipients(5000)).await.unwrap();
    campaign.seal().await.unwrap();
    let mut other = connect(&folder.sqlite()).await;
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next([Answer::Late(Duration::from_millis(300))]);
    let client = client(&sandbox);
    let hold = async {
        while sandbox.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        other.execute("BEGIN EXCLUSIVE").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let requests = sandbox.requests();
        other.execute("ROLLBACK").await.unwrap();
        requests
    };
    let options = quick().concurrency(1);
    let (ended, requests) = tokio::join!(campaign.send(&client, options, message), hold);
    assert_eq!((ended.unwrap().state, requests), (State::Done, 1));
    assert_eq!((sandbox.accepted_count(), most_accepted(&sandbox)), (5000, 1));
    assert_eq!(campaign.totals().await.unwrap().accepted, 5000);
}
