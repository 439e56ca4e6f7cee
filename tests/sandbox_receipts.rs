//! The sandbox posts delivery receipts.

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lon_batch::types::Timestamp;
use lon_batch::{Batch, Content, CountryCode, Message, NationalNumber};
use lon_sandbox::{
    NotPosted, PostedReceipt, ReceiptFate, Receipts, Rejection, Sandbox, Step, TryOutcome,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore};

use crate::common::{RawServer, client_for, http_response, message, read_request};

const SECOND: Duration = Duration::from_secs(1);
/// When the published sample was observed.
const START: Duration = Duration::from_millis(1_578_126_002_310);

/// A server that keeps what is posted to it.
struct Receiver {
    server: RawServer,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// One that answers the requests, counted from 0, with these; without one it hangs up.
    async fn answering(
        answers: impl Fn(usize) -> Option<Vec<u8>> + Clone + Send + 'static,
    ) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let server = RawServer::start(move |mut stream| {
            let (kept, answers) = (Arc::clone(&kept), answers.clone());
            async move {
                let request = read_request(&mut stream).await;
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(request);
                    kept.len() - 1
                };
                if let Some(answer) = answers(number) {
                    stream.write_all(&answer).await.unwrap();
                    let _ = stream.shutdown().await;
                }
            }
        })
        .await;
        Self { server, requests }
    }

    async fn start() -> Self {
        Self::answering(|_| Some(http_response("200 OK", "", ""))).await
    }

    fn url(&self) -> String {
        format!("{}/receipts", self.server.base_url())
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn bodies(&self) -> Vec<Value> {
        let requests = self.requests();
        let body = |request: &String| request.split_once("\r\n\r\n").unwrap().1.parse().unwrap();
        requests.iter().map(body).collect()
    }

    /// The clientMessageId and the state of each receipt, as they came.
    fn order(&self) -> Vec<String> {
        let tell = |body: &Value| {
            let payload = &body["payload"];
            let id = payload["clientMessageId"].as_str().unwrap();
            format!("{id} {}", payload["status"]["state"].as_str().unwrap())
        };
        self.bodies().iter().map(tell).collect()
    }
}

async fn started(receipts: Receipts) -> Sandbox {
    let builder = Sandbox::builder().receipts(receipts);
    builder.start().await.unwrap()
}

/// A clock that stands at the time of the published sample.
fn by_hand() -> Receipts {
    let start = SystemTime::UNIX_EPOCH + START;
    Receipts::new().manual_clock().clock_starts_at(start)
}

/// The same for one receipt of each message, due at once.
fn one_receipt() -> Receipts {
    by_hand().plan(|_| vec![Step::new("queued")])
}

async fn send(sandbox: &Sandbox, messages: impl IntoIterator<Item = Message>) {
    let batch = Batch::builder().messages(messages).build().unwrap();
    let client = client_for(sandbox).build().unwrap();
    client.send(&batch).await.unwrap();
}

fn time(timestamp: &str) -> SystemTime {
    Timestamp::from(timestamp).to_system_time().unwrap()
}

/// When each try was due, in milliseconds.
fn tried_at(receipt: &PostedReceipt) -> Vec<u128> {
    let tries = receipt.tries.iter();
    tries.map(|it| it.at.as_millis()).collect()
}

#[tokio::test]
async fn the_whole_of_version_9_on_the_wire() {
    let receiver = Receiver::start().await;
    let sandbox = started(by_hand().authorization("Bearer hook")).await;
    let url = format!("{}?from=lon", receiver.url());
    let batch = Batch::builder()
        .client_batch_id("batch-1")
        .message(message("a").dlr_callback_url(url))
        .build()
        .unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let response = client.send(&batch).await.unwrap();
    let accepted = &sandbox.accepted()[0];
    assert_eq!(accepted.client_batch_id.as_deref(), Some("batch-1"));
    sandbox.advance(2 * SECOND).await;

    let requests = receiver.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "POST /receipts?from=lon HTTP/1.1",
            "authorization: Bearer hook",
            "connection: close",
            &format!("content-length: {}", body.len()),
            "content-type: application/json",
            &format!("host: {}", receiver.server.address),
        ]
    );
    let receipt = |status: Value| {
        json!({
            "version": 9,
            "namespace": "ChatApps",
            "eventType": "outbound_message_status_changed",
            "description": "ChatApps outbound message delivery receipt",
            "payload": {
                "umid": accepted.umid,
                "batchId": response.batch_id,
                "clientMessageId": "a",
                "clientBatchId": "batch-1",
                "subAccountId": "sandbox",
                "channel": "LineNotification",
                "user": {"msisdn": "+6591234567"},
                "status": status,
            }
        })
    };
    let queued = json!({"state": "queued", "timestamp": "2020-01-04T08:20:02.310000Z"});
    let sent = json!({"state": "sent", "timestamp": "2020-01-04T08:20:03.310000Z"});
    let delivered = json!({
        "state": "delivered",
        "detail": "delivered_to_recipient",
        "timestamp": "2020-01-04T08:20:04.310000Z",
    });
    assert_eq!(receiver.bodies(), [queued, sent, delivered].map(receipt));
    // The answer told the moment that the receipt of the state repeats.
    let status = response.results()[0].status.clone().unwrap();
    assert_eq!(Some(&*sandbox.receipts()[0].timestamp), status.timestamp.as_deref());
}

#[tokio::test]
async fn the_whole_of_version_8_on_the_wire() {
    let receiver = Receiver::start().await;
    let sandbox = started(one_receipt().version_8()).await;
    let number: NationalNumber = "0912345678".parse().unwrap();
    let country: CountryCode = "th".parse().unwrap();
    let national = Message::new((number, country), Content::new("Hello"));
    send(&sandbox, [message("a"), national].map(|it| it.dlr_callback_url(receiver.url()))).await;
    sandbox.advance(Duration::ZERO).await;

    let accepted = sandbox.accepted();
    let receipt = |index: usize, id: Option<&str>, user: Value| {
        let mut receipt = json!({
            "namespace": "ChatApps",
            "eventType": "outbound_message_status_changed",
            "description": "ChatApps outbound message delivery receipt",
            "payload": {
                "umid": accepted[index].umid,
                "batchId": accepted[index].batch_id,
                "subAccountId": "sandbox",
                "channel": "LineNotification",
                "user": user,
                "status": {"state": "queued", "timestamp": "2020-01-04T08:20:02.310000Z"},
            }
        });
        if let Some(id) = id {
            receipt["payload"]["clientMessageId"] = id.into();
        }
        receipt
    };
    let user = json!({"msisdn": "+6591234567", "channelUserId": "6591234567"});
    let national = json!({"msisdn": "0912345678", "country": "TH", "channelUserId": "0912345678"});
    assert_eq!(receiver.bodies(), [receipt(0, Some("a"), user), receipt(1, None, national)]);
    for request in receiver.requests() {
        assert!(!request.to_lowercase().contains("authorization"), "{request}");
    }
}

#[tokio::test]
async fn a_manual_clock_stands_still() {
    let receiver = Receiver::start().await;
    let sandbox = started(by_hand()).await;
    let with_url = |id| message(id).dlr_callback_url(receiver.url());
    send(&sandbox, [with_url("a")]).await;
    let mut seen = Vec::new();
    let ms = Duration::from_millis;
    for time in [ms(0), ms(0), ms(999), ms(1), ms(500)] {
        sandbox.advance(time).await;
        seen.push(receiver.requests().len());
    }
    assert_eq!(seen, [1, 1, 1, 2, 2]);
    // Accepted 1.5 s later, so that its receipts come in between.
    send(&sandbox, [with_url("b")]).await;
    assert_eq!(receiver.requests().len(), 2);
    sandbox.advance(SECOND).await;
    sandbox.advance(SECOND).await;
    assert_eq!(
        receiver.order(),
        ["a queued", "a sent", "b queued", "a delivered", "b sent", "b delivered"]
    );
    let timestamps: Vec<_> = sandbox.receipts().into_iter().map(|it| it.timestamp).collect();
    assert_eq!(timestamps[0], "2020-01-04T08:20:02.310000Z");
    assert_eq!(timestamps[3], "2020-01-04T08:20:03.810000Z");
}

#[tokio::test]
async fn while_it_moves_the_clock_shows_when_a_post_is_due() {
    let receiver = Receiver::start().await;
    let sandbox = started(by_hand()).await;
    let with_url = |id| message(id).dlr_callback_url(receiver.url());
    send(&sandbox, [with_url("a")]).await;
    sandbox.receipts_settled().await;
    send(&sandbox, [with_url("b")]).await;
    let accepted_later = &sandbox.receipts()[3].timestamp;
    assert_eq!(*accepted_later, "2020-01-04T08:20:04.310000Z");
}

#[tokio::test]
async fn a_failed_post_is_made_again_as_the_platform_does() {
    // A port that is taken, and where nobody listens.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = format!("http://{}/", unused.local_addr().unwrap());

    let failing =
        |line: &'static str| Receiver::answering(move |_| Some(http_response(line, "", "no")));
    let status = |code: u16| TryOutcome::Answered(code);
    let broken = || TryOutcome::ConnectionFailed(String::new());
    let cut = Receiver::answering(|_| None).await;
    let not_http = Receiver::answering(|_| Some(b"no HTTP".to_vec())).await;
    let (not_found, failed) = (failing("404 Not Found").await, failing("500 Oh").await);
    let gone = failing("599 Odd").await;
    for (name, url, receiver, outcome) in [
        ("refused", refused, None, broken()),
        ("cut", cut.url(), Some(&cut), broken()),
        ("not HTTP", not_http.url(), Some(&not_http), broken()),
        ("404", not_found.url(), Some(&not_found), status(404)),
        ("500", failed.url(), Some(&failed), status(500)),
        ("599", gone.url(), Some(&gone), status(599)),
    ] {
        let sandbox = started(one_receipt()).await;
        send(&sandbox, [message("a").dlr_callback_url(url)]).await;
        assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::Due);
        let mut tries = Vec::new();
        let ms = Duration::from_millis;
        for time in
            [Duration::ZERO, ms(999), ms(1), ms(9_999), ms(1), ms(29_999), ms(1), ms(89_999)]
        {
            sandbox.advance(time).await;
            tries.push(sandbox.receipts()[0].tries.len());
            assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::Due, "{name}");
        }
        assert_eq!(tries, [1, 1, 2, 2, 3, 3, 4, 4], "{name}");
        sandbox.advance(ms(1)).await;
        assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::GivenUp, "{name}");
        sandbox.advance(1_000_000 * SECOND).await;

        let receipt = &sandbox.receipts()[0];
        assert_eq!(tried_at(receipt), [0, 1_000, 11_000, 41_000, 131_000], "{name}");
        for it in &receipt.tries {
            match (&it.outcome, &outcome) {
                (TryOutcome::ConnectionFailed(why), TryOutcome::ConnectionFailed(_)) => {
                    assert!(!why.is_empty(), "{name}");
                }
                (one, other) => assert_eq!(one, other, "{name}"),
            }
        }
        if let Some(receiver) = receiver {
            let bodies = receiver.bodies();
            assert_eq!(bodies.len(), 5, "{name}");
            assert!(bodies.iter().all(|it| *it == bodies[0]), "{name}: {bodies:?}");
        }
    }
}

#[tokio::test]
async fn one_large_step_carries_out_what_falls_due_in_it() {
    let receiver = Receiver::answering(|number| {
        let line = ["500 Oh", "404 Not Found", "200 OK"][number.min(2)];
        Some(http_response(line, "", ""))
    })
    .await;
    let sandbox = started(one_receipt()).await;
    send(&sandbox, [message("a").dlr_callback_url(receiver.url())]).await;
    sandbox.advance(60 * SECOND).await;
    let receipt = &sandbox.receipts()[0];
    assert_eq!(tried_at(receipt), [0, 1_000, 11_000]);
    assert_eq!(receipt.fate, ReceiptFate::Taken);
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test]
async fn an_answer_below_400_ends_it_and_redirects_are_not_followed() {
    let elsewhere = Receiver::start().await;
    for line in ["200 OK", "204 No Content", "299 Odd", "301 Moved", "307 Moved"] {
        let location = format!("location: {}\r\n", elsewhere.url());
        let receiver = Receiver::answering(move |_| Some(http_response(line, &location, ""))).await;
        let sandbox = started(one_receipt()).await;
        send(&sandbox, [message("a").dlr_callback_url(receiver.url())]).await;
        sandbox.advance(1_000 * SECOND).await;
        let receipt = &sandbox.receipts()[0];
        assert_eq!((receipt.fate, receipt.tries.len()), (ReceiptFate::Taken, 1), "{line}");
        assert_eq!(receiver.requests().len(), 1, "{line}");
    }
    assert_eq!(elsewhere.server.connections(), 0);
}

#[tokio::test]
async fn the_status_decides_whatever_becomes_of_the_rest_of_the_answer() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    let large = http_response("200 OK", "", vec![b'x'; 1024 * 1024]);
    for bytes in [cut, large] {
        let server = RawServer::answering(bytes).await;
        let sandbox = started(one_receipt()).await;
        send(&sandbox, [message("a").dlr_callback_url(server.base_url())]).await;
        sandbox.advance(1_000 * SECOND).await;
        assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::Taken);
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_receiver_that_stalls_in_its_answer_has_taken_the_receipt() {
    let server = RawServer::start(|mut stream| async move {
        read_request(&mut stream).await;
        let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        stream.write_all(begun).await.unwrap();
        // It waits for the sandbox to close the connection.
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let sandbox = started(one_receipt()).await;
    send(&sandbox, [message("a").dlr_callback_url(server.base_url())]).await;
    tokio::time::pause();
    sandbox.advance(1_000 * SECOND).await;
    let receipt = &sandbox.receipts()[0];
    assert_eq!(receipt.fate, ReceiptFate::Taken);
    assert_eq!(tried_at(receipt), [0]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_times_out() {
    let server = RawServer::start(|mut stream| async move {
        read_request(&mut stream).await;
        // It waits for the sandbox to close the connection.
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let sandbox = started(one_receipt()).await;
    send(&sandbox, [message("a").dlr_callback_url(server.base_url())]).await;
    // From here on time jumps whenever there is nothing to do but to wait.
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    sandbox.advance(SECOND).await;
    let seconds = before.elapsed().as_secs();
    assert_eq!(seconds, 2 * Receipts::TIME_OUT.as_secs());
    let receipt = &sandbox.receipts()[0];
    assert_eq!(tried_at(receipt), [0, 1_000]);
    assert!(receipt.tries.iter().all(|it| it.outcome == TryOutcome::TimedOut), "{receipt:?}");
    sandbox.receipts_settled().await;
    assert_eq!(sandbox.receipts()[0].tries.len(), 5);
}

#[tokio::test]
async fn nothing_goes_to_another_machine() {
    let receiver = Receiver::start().await;
    let port = receiver.server.address.port();
    let local = |host: &str| format!("http://{host}:{port}/receipts");
    let sandbox = started(one_receipt()).await;
    // The system would take some of them for this machine, and the receiver would see it.
    for (url, reason) in [
        ("http://192.0.2.1/".to_owned(), NotPosted::NotLoopback),
        ("http://example.com/receipts".to_owned(), NotPosted::NotLoopback),
        (local("0.0.0.0"), NotPosted::NotLoopback),
        (local("[::]"), NotPosted::NotLoopback),
        (local("[::ffff:127.0.0.1]"), NotPosted::NotLoopback),
        (local("localhost.example.com"), NotPosted::NotLoopback),
        (local("ip6-localhost"), NotPosted::NotLoopback),
        (local("127.0.0.1.example.com"), NotPosted::NotLoopback),
        (local("127.0.0.1@192.0.2.1"), NotPosted::NotLoopback),
        (format!("https://127.0.0.1:{port}/"), NotPosted::NotHttp),
        (format!("https://localhost:{port}/"), NotPosted::NotHttp),
    ] {
        let accepted = sandbox.accepted_count();
        send(&sandbox, [message("a").dlr_callback_url(url.as_str())]).await;
        assert_eq!(sandbox.accepted_count(), accepted + 1, "{url}");
        sandbox.advance(1_000 * SECOND).await;
        let receipts = sandbox.receipts();
        let receipt = receipts.last().unwrap();
        assert_eq!(receipt.fate, ReceiptFate::NotPosted(reason), "{url}");
        assert_eq!(receipt.tries, [], "{url}");
    }
    assert_eq!(receiver.server.connections(), 0);

    for host in ["127.0.0.1", "localhost", "LOCALHOST", "user:password@127.0.0.1"] {
        send(&sandbox, [message("a").dlr_callback_url(local(host))]).await;
    }
    sandbox.advance(Duration::ZERO).await;
    assert_eq!(receiver.requests().len(), 4);
    // The part before the host is no Authorization.
    assert!(!receiver.requests()[3].contains("uthorization"));
}

#[tokio::test]
async fn another_address_of_this_machine_will_do() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return;
    };
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let sandbox = started(one_receipt()).await;
    send(&sandbox, [message("a").dlr_callback_url(url)]).await;
    let received = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(&http_response("200 OK", "", "")).await.unwrap();
        request
    };
    let ((), request) = tokio::join!(sandbox.advance(Duration::ZERO), received);
    assert!(request.contains("host: [::1]:"), "{request}");
    assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::Taken);
}

#[tokio::test]
async fn receipts_come_in_the_order_that_was_planned() {
    let receiver = Receiver::start().await;
    let sandbox = started(by_hand().plan(|message| {
        let step = |state| Step::new(state).at(SECOND);
        match message.client_message_id.as_deref() {
            // Late, out of order, and twice.
            Some("a") => vec![
                Step::new("queued").times(2),
                step("sent").posted_at(3 * SECOND),
                step("delivered").at(2 * SECOND),
                step("delivered").at(2 * SECOND).posted_at(4 * SECOND),
            ],
            // At the same time: in the order of planning.
            Some("b") => {
                vec![step("undelivered"), step("sent"), step("queued").posted_at(Duration::ZERO)]
            }
            _ => Vec::new(),
        }
    }))
    .await;
    let messages = ["a", "b", "c"].map(|id| message(id).dlr_callback_url(receiver.url()));
    send(&sandbox, messages).await;
    sandbox.advance(10 * SECOND).await;
    assert_eq!(
        receiver.order(),
        [
            "a queued",
            "a queued",
            "b queued",
            "b undelivered",
            "b sent",
            "a delivered",
            "a sent",
            "a delivered",
        ]
    );
    let bodies = receiver.bodies();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[5], bodies[7]);
    // The timestamp is when it came to the state, not when it was posted.
    let sent = &bodies[6]["payload"]["status"];
    assert_eq!(sent["timestamp"], "2020-01-04T08:20:03.310000Z");
    let copies: Vec<_> = sandbox.receipts()[0].tries.iter().map(|it| it.copy).collect();
    assert_eq!(copies, [0, 1]);
    assert_eq!(sandbox.receipts().len(), 7);
}

#[tokio::test]
async fn a_post_that_is_made_again_keeps_its_place() {
    let receiver = Receiver::answering(|number| {
        let line = if number == 0 { "500 Oh" } else { "200 OK" };
        Some(http_response(line, "", ""))
    })
    .await;
    let sandbox = started(by_hand().plan(|_| {
        let step = |state| Step::new(state).posted_at(SECOND);
        vec![step("sent"), Step::new("queued"), step("delivered")]
    }))
    .await;
    send(&sandbox, [message("a").dlr_callback_url(receiver.url())]).await;
    sandbox.advance(10 * SECOND).await;
    assert_eq!(receiver.order(), ["a queued", "a sent", "a queued", "a delivered"]);
}

#[tokio::test]
async fn each_copy_is_made_again_for_itself() {
    let receiver = Receiver::answering(|number| {
        let line = if number == 1 { "500 Oh" } else { "200 OK" };
        Some(http_response(line, "", ""))
    })
    .await;
    let plan = |_: &_| vec![Step::new("queued").times(3)];
    let sandbox = started(by_hand().plan(plan)).await;
    send(&sandbox, [message("a").dlr_callback_url(receiver.url())]).await;
    sandbox.advance(100 * SECOND).await;
    let receipts = sandbox.receipts();
    let tries = receipts[0].tries.iter();
    let tries: Vec<_> = tries.map(|it| (it.copy, it.at.as_secs())).collect();
    assert_eq!(tries, [(0, 0), (1, 0), (2, 0), (1, 1)]);
}

#[tokio::test]
async fn details_codes_words_edits_and_losses() {
    let receiver = Receiver::start().await;
    let sandbox = started(by_hand().plan(|_| {
        let expired = 36;
        vec![
            Step::new("undelivered").detail("rejected_by_operator").error(expired),
            Step::new("rejected").error(expired).error_message("Too late"),
            Step::new("queued").edit(|json| json["payload"]["channel"] = json!("line")).times(2),
            Step::new("sent").times(0),
        ]
    }))
    .await;
    send(&sandbox, [message("a").dlr_callback_url(receiver.url())]).await;
    sandbox.advance(SECOND).await;
    let bodies = receiver.bodies();
    assert_eq!(bodies.len(), 4);
    assert_eq!(
        bodies[0]["payload"]["status"],
        json!({
            "state": "undelivered",
            "detail": "rejected_by_operator",
            "timestamp": "2020-01-04T08:20:02.310000Z",
            "errorCode": 36,
            "errorMessage": "Message expired",
        })
    );
    assert_eq!(bodies[1]["payload"]["status"]["errorMessage"], "Too late");
    let channels: Vec<_> = bodies.iter().map(|body| &body["payload"]["channel"]).collect();
    assert_eq!(channels, ["LineNotification", "LineNotification", "line", "line"]);
    let receipts = sandbox.receipts();
    assert_eq!(receipts[0].error_code, Some(36));
    assert_eq!(receipts[0].detail.as_deref(), Some("rejected_by_operator"));
    assert_eq!(receipts[0].client_message_id.as_deref(), Some("a"));
    assert_eq!(receipts[0].umid, sandbox.accepted()[0].umid);
    assert_eq!(receipts[3].fate, ReceiptFate::NotPosted(NotPosted::Lost));
}

#[tokio::test]
async fn an_edit_that_panics_stops_no_other_receipt() {
    let receiver = Receiver::start().await;
    let sandbox = started(by_hand().plan(|message| {
        let step = Step::new("queued");
        match message.client_message_id.as_deref() {
            Some("a") => vec![step.edit(|_| panic!("an edit of a test"))],
            _ => vec![step],
        }
    }))
    .await;
    let client = client_for(&sandbox).build().unwrap();
    let with_url = |id| message(id).dlr_callback_url(receiver.url());
    let batch = Batch::builder().message(with_url("a")).build().unwrap();
    assert!(client.send(&batch).await.is_err());
    send(&sandbox, [with_url("b")]).await;
    sandbox.advance(SECOND).await;
    assert_eq!(receiver.order(), ["b queued"]);
}

/// What chaos made of 200 messages: the record, without what depends on when they were accepted.
async fn chaos(receipts: Receipts) -> (Vec<String>, Vec<String>) {
    let receiver = Receiver::start().await;
    let sandbox = started(receipts).await;
    let ids = (0..200).map(|index| message(&format!("id-{index}")));
    send(&sandbox, ids.map(|it| it.dlr_callback_url(receiver.url()))).await;
    sandbox.receipts_settled().await;
    let tell = |mut it: PostedReceipt| {
        it.tries.sort_by_key(|it| (it.at, it.copy));
        format!(
            "{} {:?} {:?} {:?} {:?} {:?}",
            it.umid, it.state, it.detail, it.error_code, it.tries, it.fate
        )
    };
    let record = sandbox.receipts().into_iter().map(tell).collect();
    (record, receiver.order())
}

#[tokio::test]
async fn chaos_is_the_same_for_the_same_seed() {
    let first = chaos(by_hand().chaos(7)).await;
    let second = chaos(by_hand().chaos(7)).await;
    assert_eq!(first, second);
    let (record, order) = first;
    // However fast: what was planned does not depend on time.
    let (fast, _) = chaos(Receipts::new().speed(100_000.0).chaos(7)).await;
    assert_eq!(record, fast);
    let (other, _) = chaos(by_hand().chaos(8)).await;
    assert_ne!(record, other);

    // There is some of everything.
    for (ending, least) in [("rejected", 5), ("undelivered", 10), ("delivered", 100)] {
        let mut ids: Vec<_> =
            order.iter().filter(|it| it.ends_with(&format!(" {ending}"))).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() >= least, "{ending}: {}", ids.len());
        assert!(all > ids.len(), "{ending}: none came twice");
    }
    let place = |text: String| order.iter().position(|it| *it == text);
    let out_of_order = (0..200).filter(|index| {
        let delivered = place(format!("id-{index} delivered"));
        delivered.is_some() && delivered < place(format!("id-{index} sent"))
    });
    assert!(out_of_order.count() > 5);
}

#[tokio::test]
async fn chaos_can_be_told_from_the_umid() {
    let receiver = Receiver::start().await;
    let sandbox = started(by_hand().chaos(3)).await;
    let messages = ["a", "b", "c"].map(|id| message(id).dlr_callback_url(receiver.url()));
    send(&sandbox, messages).await;
    let mut told = Vec::new();
    for message in sandbox.accepted() {
        for step in Step::at_random(3, &message.umid) {
            told.push(format!("{} {step:?}", message.umid));
        }
    }
    sandbox.receipts_settled().await;
    let posted = sandbox.receipts();
    assert_eq!(posted.len(), told.len());
    for (posted, told) in posted.iter().zip(told) {
        let of_it = format!("{} Step {{ state: {:?}, ", posted.umid, posted.state);
        assert!(told.starts_with(&of_it), "{told}");
        let copies = format!("times: {}, ", posted.tries.len());
        assert!(told.contains(&copies), "{told}");
        let code = format!("error_code: {:?}, ", posted.error_code);
        assert!(told.contains(&code), "{told}");
    }
}

#[tokio::test]
async fn the_url_of_the_account_is_for_messages_without_one() {
    let (account, own) = (Receiver::start().await, Receiver::start().await);
    let sandbox = started(one_receipt().account_callback_url(account.url())).await;
    send(&sandbox, [message("a"), message("b").dlr_callback_url(own.url())]).await;
    sandbox.advance(SECOND).await;
    assert_eq!(account.order(), ["a queued"]);
    assert_eq!(own.order(), ["b queued"]);

    let elsewhere = started(one_receipt().account_callback_url("no URL")).await;
    send(&elsewhere, [message("a")]).await;
    let reason = ReceiptFate::NotPosted(NotPosted::NotHttp);
    assert_eq!(elsewhere.receipts()[0].fate, reason);
}

#[tokio::test]
async fn nothing_is_posted_without_a_url_or_for_what_was_rejected() {
    let receiver = Receiver::start().await;
    let sandbox = Sandbox::builder()
        .receipts(by_hand())
        .judge(|message| {
            let refused = message["clientMessageId"] == "b";
            refused.then(|| Rejection::from(1000))
        })
        .start()
        .await
        .unwrap();
    let with_url = |id| message(id).dlr_callback_url(receiver.url());
    send(&sandbox, [message("a"), with_url("b"), with_url("c")]).await;
    assert_eq!((sandbox.accepted_count(), sandbox.rejected_count()), (2, 1));
    sandbox.receipts_settled().await;
    assert_eq!(receiver.order(), ["c queued", "c sent", "c delivered"]);
    assert_eq!(sandbox.receipts().len(), 3);
}

#[tokio::test]
async fn the_record_is_kept_within_bounds() {
    let receiver = Receiver::start().await;
    let builder = Sandbox::builder().receipts(by_hand()).keep(2);
    let sandbox = builder.start().await.unwrap();
    let ids = ["a", "b", "c", "d"];
    let messages = ids.map(|id| message(id).dlr_callback_url(receiver.url()));
    send(&sandbox, messages).await;
    send(&sandbox, [message("e")]).await;
    sandbox.receipts_settled().await;
    let kept = sandbox.receipts();
    let ids: Vec<_> = kept.iter().map(|it| it.client_message_id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["c", "c", "c", "d", "d", "d"]);
    // What is not kept is posted all the same.
    assert_eq!(receiver.requests().len(), 12);
}

#[tokio::test]
async fn a_message_without_receipts_takes_no_place_in_the_record() {
    let receiver = Receiver::start().await;
    let plan = by_hand().plan(|message| match message.client_message_id.as_deref() {
        Some("a") => vec![Step::new("queued")],
        _ => Vec::new(),
    });
    let builder = Sandbox::builder().receipts(plan).keep(1);
    let sandbox = builder.start().await.unwrap();
    let messages = ["a", "b"].map(|id| message(id).dlr_callback_url(receiver.url()));
    send(&sandbox, messages).await;
    assert_eq!(sandbox.receipts().len(), 1);
}

#[tokio::test]
async fn a_clock_that_runs_posts_by_itself() {
    let receiver = Receiver::answering(|number| {
        let line = if number < 3 { "503 Busy" } else { "200 OK" };
        Some(http_response(line, "", ""))
    })
    .await;
    let sandbox = started(Receipts::new().speed(10_000.0)).await;
    sandbox.receipts_settled().await;
    let messages = ["a", "b"].map(|id| message(id).dlr_callback_url(receiver.url()));
    send(&sandbox, messages).await;
    sandbox.receipts_settled().await;
    let receipts = sandbox.receipts();
    assert_eq!(receipts.len(), 6);
    assert!(receipts.iter().all(|it| it.fate == ReceiptFate::Taken), "{receipts:?}");
    assert_eq!(receiver.requests().len(), 9);

    let failing = Receiver::answering(|_| Some(http_response("500 Oh", "", ""))).await;
    send(&sandbox, [message("c").dlr_callback_url(failing.url())]).await;
    sandbox.receipts_settled().await;
    let receipts = sandbox.receipts();
    assert_eq!(tried_at(&receipts[6]), [0, 1_000, 11_000, 41_000, 131_000]);
    assert_eq!(tried_at(&receipts[8]), [2_000, 3_000, 13_000, 43_000, 133_000]);
    assert!(receipts[6..].iter().all(|it| it.fate == ReceiptFate::GivenUp));
}

#[tokio::test]
async fn without_settings_a_second_is_a_second() {
    let receiver = Receiver::start().await;
    let sandbox = Sandbox::start().await.unwrap();
    let before = Instant::now();
    let system_time = SystemTime::now();
    let message = message("a").dlr_callback_url(receiver.url());
    send(&sandbox, [message]).await;
    sandbox.receipts_settled().await;
    assert!(before.elapsed() >= 2 * SECOND);
    let mut order = receiver.order();
    // Where the machine is slow, posts may overlap.
    order.sort_unstable();
    assert_eq!(order, ["a delivered", "a queued", "a sent"]);
    let moments: Vec<_> = sandbox.receipts().iter().map(|it| time(&it.timestamp)).collect();
    let since = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap();
    assert_eq!(since(moments[0], moments[1]), SECOND);
    assert_eq!(since(moments[0], moments[2]), 2 * SECOND);
    // The clock is that of the system.
    let off = since(system_time - SECOND, moments[0]);
    assert!(off < 600 * SECOND, "{off:?}");
}

#[tokio::test]
async fn so_many_posts_are_on_their_way_at_a_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let sandbox = started(Receipts::new().plan(|_| vec![Step::new("queued")])).await;
    let ids = (0..100).map(|index| message(&format!("id-{index}")));
    // The batch is answered although no post is.
    send(&sandbox, ids.map(|it| it.dlr_callback_url(url.as_str()))).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(listener.accept().await.unwrap().0);
    }
    // From here on time jumps whenever there is nothing to do but to wait: no other comes.
    tokio::time::pause();
    let other = tokio::time::timeout(SECOND, listener.accept()).await;
    assert!(other.is_err());
    tokio::time::resume();
    let mut answered = 0;
    while let Some(mut stream) = open.pop() {
        read_request(&mut stream).await;
        stream.write_all(&http_response("200 OK", "", "")).await.unwrap();
        answered += 1;
        drop(stream);
        if answered <= 36 {
            open.insert(0, listener.accept().await.unwrap().0);
        }
    }
    sandbox.receipts_settled().await;
    assert_eq!(answered, 100);
    assert!(sandbox.receipts().iter().all(|it| it.fate == ReceiptFate::Taken));
}

#[tokio::test]
async fn nothing_is_posted_after_the_sandbox_is_dropped() {
    for receipts in [Receipts::new(), by_hand()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let sandbox = started(receipts).await;
        send(&sandbox, [message("a").dlr_callback_url(url)]).await;
        let mut stream = tokio::select! {
            () = sandbox.receipts_settled() => unreachable!("nobody answers"),
            accepted = listener.accept() => accepted.unwrap().0,
        };
        read_request(&mut stream).await;
        drop(sandbox);
        // The post is broken off.
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        // From here on time jumps whenever there is nothing to do but to wait: nothing follows.
        tokio::time::pause();
        let other = tokio::time::timeout(300 * SECOND, listener.accept()).await;
        assert!(other.is_err());
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_advance_that_is_dropped_goes_on() {
    let (arrived, answers) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (told, held) = (Arc::clone(&arrived), Arc::clone(&answers));
    let server = RawServer::start(move |mut stream| {
        let (told, held) = (Arc::clone(&told), Arc::clone(&held));
        async move {
            read_request(&mut stream).await;
            told.notify_one();
            held.acquire().await.unwrap().forget();
            stream.write_all(&http_response("200 OK", "", "")).await.unwrap();
        }
    })
    .await;
    let sandbox = started(by_hand()).await;
    send(&sandbox, [message("a").dlr_callback_url(server.base_url())]).await;
    tokio::select! {
        () = sandbox.advance(SECOND) => unreachable!("nothing is answered"),
        () = arrived.notified() => {}
    }
    answers.add_permits(3);
    sandbox.advance(Duration::ZERO).await;
    let fates: Vec<_> = sandbox.receipts().iter().map(|it| it.fate).collect();
    assert_eq!(fates, [ReceiptFate::Taken, ReceiptFate::Taken, ReceiptFate::Due]);
}

#[tokio::test]
async fn a_time_that_never_comes_is_no_panic() {
    let receiver = Receiver::start().await;
    let plan = |_: &_| vec![Step::new("queued").at(Duration::MAX)];
    let sandbox = started(Receipts::new().plan(plan).speed(0.001)).await;
    send(&sandbox, [message("a").dlr_callback_url(receiver.url())]).await;
    assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::Due);

    let sandbox = started(by_hand().plan(plan)).await;
    sandbox.advance(Duration::MAX).await;
    send(&sandbox, [message("a").dlr_callback_url(receiver.url())]).await;
    sandbox.advance(Duration::MAX).await;
    assert_eq!(sandbox.receipts()[0].fate, ReceiptFate::Taken);
}

#[tokio::test]
#[should_panic(expected = "Receipts::manual_clock")]
async fn a_clock_that_runs_is_not_moved() {
    Sandbox::start().await.unwrap().advance(SECOND).await;
}

#[tokio::test]
async fn settings_that_are_not_valid_are_told_at_the_start() {
    for (receipts, told) in [
        (Receipts::new().speed(0.0), "speed"),
        (Receipts::new().speed(-1.0), "speed"),
        (Receipts::new().speed(f64::NAN), "speed"),
        (Receipts::new().speed(f64::INFINITY), "speed"),
        (Receipts::new().authorization("Bearer\nhook-1"), "Authorization"),
        (
            Receipts::new().clock_starts_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 44)),
            "calendar",
        ),
    ] {
        let error = Sandbox::builder().receipts(receipts).start().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains(told) && !text.contains("hook-1"), "{text}");
    }
    assert!(!format!("{:?}", Receipts::new().authorization("hook-1")).contains("hook-1"));
}
