//! The program `lon-sandbox`.

#![cfg(feature = "cli")]

mod common;

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use common::{KEY, PATH, batch, get, post, send};

/// A running program, which is killed with this.
struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl Program {
    async fn start(options: &[&str]) -> Self {
        Self::start_with(Stdio::inherit(), options).await
    }

    async fn start_with(stderr: Stdio, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lon-sandbox"))
            .args(["--port", "0"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        soon(stdout.read_line(&mut line)).await.unwrap();
        Self { child, stdout, line }
    }

    fn base_url(&self) -> &str {
        let rest = self.line.strip_prefix("listening on ").unwrap();
        rest.split_once(',').unwrap().0
    }

    async fn end(&mut self) -> ExitStatus {
        soon(self.child.wait()).await.unwrap()
    }
}

/// The result of a future that has to be ready within seconds.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it takes too long")
}

/// The head of the next request to a listener, which gets an empty answer.
async fn request_head(listener: &tokio::net::TcpListener) -> String {
    use tokio::io::AsyncWriteExt as _;

    let (stream, _) = soon(listener.accept()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        soon(stream.read_line(&mut head)).await.unwrap();
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    head
}

#[tokio::test]
async fn the_program_posts_receipts() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/receipts", listener.local_addr().unwrap());
    let program = Program::start(&[
        "--callback-url",
        &url,
        "--callback-authorization",
        "Bearer secret",
        "--receipt-speed",
        "0",
        "--random-receipts",
        "--seed",
        "3",
    ])
    .await;
    send(program.base_url(), ["a"]).await;
    let advance = post(program.base_url(), "/sandbox/advance?seconds=1000", None, "");
    let receive = async {
        loop {
            let head = request_head(&listener).await;
            assert!(head.starts_with("POST /receipts HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("authorization: Bearer secret\r\n"), "{head}");
        }
    };
    let advanced = tokio::select! {
        advanced = advance => advanced.unwrap(),
        () = receive => unreachable!(),
    };
    assert_eq!(advanced, (200, json!({"postsDue": 0})));
    let (_, receipts) = get(program.base_url(), "/sandbox/receipts").await;
    let receipts = receipts.as_array().unwrap();
    assert!(receipts.len() >= 2, "{receipts:?}");
    assert!(receipts.iter().all(|it| it["acknowledged"] == true), "{receipts:?}");
}

/// The error of a program that refuses its options.
async fn refused(options: &[&str]) -> String {
    let mut program = Program::start_with(Stdio::piped(), options).await;
    assert_eq!(program.line, "", "{options:?}");
    assert!(!program.end().await.success(), "{options:?}");
    let mut stderr = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
    stderr
}

#[tokio::test]
async fn a_batch_to_the_program() {
    let program =
        Program::start(&["--approved-title", "Hello", "--approved-title", "Goodbye"]).await;
    let expected = format!(
        "listening on {}, sub-account sandbox, API key sandbox-api-key\n",
        program.base_url()
    );
    assert_eq!(program.line, expected);
    assert!(program.base_url().starts_with("http://127.0.0.1:"), "{expected}");

    send(program.base_url(), ["a", "b"]).await;
    let rejected = json!({"messages": [
        {"user": {"msisdn": "+6591234567"}, "content": {"title": "Sale"}},
    ]});
    post(program.base_url(), PATH, KEY, rejected.to_string()).await.unwrap();
    let (status, accepted) = get(program.base_url(), "/sandbox/accepted").await;
    assert_eq!((status, &accepted[1]["clientMessageId"]), (200, &json!("b")));
    let counts = json!({"requests": 2, "accepted": 2, "rejected": 1, "postsDue": 0});
    assert_eq!(get(program.base_url(), "/sandbox/counts").await.1, counts);
}

#[cfg(unix)]
#[tokio::test]
async fn it_prints_its_counts_when_it_is_stopped() {
    for signal in ["INT", "TERM"] {
        let mut program = Program::start(&["--api-key", "my-key", "--sub-account", "my-lon"]).await;
        assert!(
            program.line.ends_with(", sub-account my-lon, API key my-key\n"),
            "{}",
            program.line
        );
        let path = "/api/v1/subaccounts/my-lon/lon/batch";
        post(program.base_url(), path, Some("my-key"), batch(["a", "b"])).await.unwrap();
        let id = program.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
        assert!(program.end().await.success());
        let mut rest = String::new();
        program.stdout.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "1 requests: 2 messages accepted, 0 rejected\n");
    }
}

/// The status of each of 60 requests, 0 without an answer, and how many of 10 messages it accepted.
async fn outcomes(options: &[&str]) -> Vec<(u16, u64)> {
    let program = Program::start(options).await;
    let mut outcomes = Vec::new();
    for _ in 0..60 {
        let answer = post(program.base_url(), PATH, KEY, batch(["a"; 10])).await;
        outcomes.push(answer.map_or((0, 0), |(status, answer)| {
            (status, answer["acceptedCount"].as_u64().unwrap_or(0))
        }));
    }
    outcomes
}

#[tokio::test]
async fn failures_are_the_same_for_the_same_seed() {
    let plan = "busy=0.1,hang-up=0.1,fail=0.1,accept-and-hang-up=0.1,accept-and-fail=0.1,cut=0.1";
    let with_seed = |seed| ["--fail", plan, "--reject", "0.3", "--seed", seed];
    let first = outcomes(&with_seed("7")).await;
    assert_eq!(first, outcomes(&with_seed("7")).await);
    assert_ne!(first, outcomes(&with_seed("8")).await);
    for status in [0, 200, 429, 500] {
        assert!(first.iter().any(|(it, _)| *it == status), "{status}: {first:?}");
    }
    assert!(first.iter().any(|(_, accepted)| (1..10).contains(accepted)), "{first:?}");
}

#[tokio::test]
async fn only_the_latest_messages_are_kept_on_demand() {
    let program = Program::start(&["--keep", "1"]).await;
    send(program.base_url(), ["a", "b"]).await;
    let (_, accepted) = get(program.base_url(), "/sandbox/accepted").await;
    assert_eq!((&accepted[0]["clientMessageId"], &accepted[1]), (&json!("b"), &json!(null)));
}

#[tokio::test]
async fn options_that_are_not_valid_are_refused() {
    for (options, problem) in [
        (&["--listen", "0.0.0.0"][..], "other machines reach 0.0.0.0: needs allow-remote"),
        (&["--fail", "slow=0.1"], "expected one of busy, fail, hang-up"),
        (&["--reject", "1.5"], "expected a number from 0 to 1"),
        (&["--keep", "all"], "invalid value 'all'"),
    ] {
        let stderr = refused(options).await;
        assert!(stderr.contains(problem), "{options:?}: {stderr}");
    }
}

#[tokio::test]
async fn other_machines_reach_it_on_demand() {
    let program = Program::start(&["--listen", "0.0.0.0", "--allow-remote"]).await;
    assert!(program.base_url().starts_with("http://0.0.0.0:"), "{}", program.line);
}
