//! The delivery receipts that the sandbox posts.

mod common;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lon_sandbox::{PostedReceipt, Receipts, Rejection, Sandbox, Step};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use common::{KEY, PATH, get, post};

const SECOND: Duration = Duration::from_secs(1);

/// A webhook that records posts, and answers 200 when no other status is queued.
struct Inbox {
    url: String,
    posts: Arc<Mutex<Vec<(Value, Value)>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    _task: JoinSet<()>,
}

impl Inbox {
    async fn start() -> Self {
        Self::answering([]).await
    }

    async fn answering(statuses: impl IntoIterator<Item = u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/receipts?x=1", listener.local_addr().unwrap());
        let posts: Arc<Mutex<Vec<_>>> = Arc::default();
        let answers = Arc::new(Mutex::new(statuses.into_iter().collect::<VecDeque<_>>()));
        let (record, queue) = (Arc::clone(&posts), Arc::clone(&answers));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (record, queue) = (Arc::clone(&record), Arc::clone(&queue));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (record, queue) = (Arc::clone(&record), Arc::clone(&queue));
                    async move {
                        let (head, body) = request.into_parts();
                        let headers: BTreeMap<_, _> = head
                            .headers
                            .iter()
                            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                            .collect();
                        let head = json!({
                            "line": format!("{} {}", head.method, head.uri),
                            "headers": headers,
                        });
                        let body = body.collect().await.unwrap().to_bytes();
                        let body = serde_json::from_slice(&body).unwrap();
                        record.lock().unwrap().push((head, body));
                        let status = queue.lock().unwrap().pop_front().unwrap_or(200);
                        let response = Response::builder().status(status).header("location", "/x");
                        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
                    }
                });
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, posts, answers, _task: task }
    }

    fn count(&self) -> usize {
        self.posts.lock().unwrap().len()
    }

    /// The states of the posts so far, in the order of their arrival.
    fn states(&self) -> Vec<String> {
        let posts = self.posts.lock().unwrap();
        let state = |body: &Value| body["payload"]["status"]["state"].as_str().unwrap().to_owned();
        posts.iter().map(|(_, body)| state(body)).collect()
    }
}

fn still() -> Receipts {
    Receipts::new().speed(0.0)
}

fn one_receipt() -> Receipts {
    still().plan(|_| vec![Step::new("sent")])
}

async fn start(receipts: Receipts) -> Sandbox {
    Sandbox::builder().receipts(receipts).start().await.unwrap()
}

fn message(id: &str, url: &str) -> Value {
    json!({
        "user": {"msisdn": "+6591234567", "country": "SG"},
        "clientMessageId": id,
        "content": {"title": "Hello"},
        "dlrCallbackUrl": url,
        "smsFallback": {"text": "Hello", "source": "8x8"},
    })
}

async fn send(sandbox: &Sandbox, messages: impl IntoIterator<Item = Value>) -> Value {
    let messages: Vec<_> = messages.into_iter().collect();
    let batch =
        json!({"clientBatchId": "batch", "messages": messages, "includeMessagesInResponse": true});
    let (status, answer) = post(&sandbox.base_url(), PATH, KEY, batch.to_string()).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

fn attempts(receipts: &[PostedReceipt]) -> Vec<&[Option<u16>]> {
    receipts.iter().map(|it| it.attempts.as_slice()).collect()
}

#[tokio::test]
async fn a_message_is_queued_sent_and_delivered() {
    let inbox = Inbox::start().await;
    let sandbox = start(still().authorization("Bearer secret")).await;
    let answer = send(&sandbox, [message("a", &inbox.url)]).await;
    // The clock stands still.
    assert_eq!(inbox.count(), 0);
    sandbox.advance(Duration::ZERO).await;
    assert_eq!(inbox.states(), ["queued"]);
    sandbox.advance(Duration::from_millis(999)).await;
    assert_eq!(inbox.states(), ["queued"]);
    sandbox.advance(Duration::from_millis(1)).await;
    assert_eq!(inbox.states(), ["queued", "sent"]);
    sandbox.receipts_settled().await;
    assert_eq!(inbox.states(), ["queued", "sent", "delivered"]);

    let receipts = sandbox.receipts();
    let (head, body) = inbox.posts.lock().unwrap()[2].clone();
    let host = inbox.url.strip_prefix("http://").unwrap().strip_suffix("/receipts?x=1").unwrap();
    assert_eq!(head["line"], "POST /receipts?x=1");
    assert_eq!(head["headers"]["host"], host);
    assert_eq!(head["headers"]["authorization"], "Bearer secret");
    assert_eq!(head["headers"]["content-type"], "application/json");
    assert_eq!(
        body,
        json!({
            "version": 9,
            "namespace": "ChatApps",
            "eventType": "outbound_message_status_changed",
            "description": "ChatApps outbound message delivery receipt",
            "payload": {
                "umid": answer["messages"][0]["umid"],
                "batchId": answer["batchId"],
                "clientMessageId": "a",
                "clientBatchId": "batch",
                "subAccountId": "sandbox",
                "channel": "LineNotification",
                "user": {"msisdn": "+6591234567", "country": "SG"},
                "status": {
                    "state": "delivered",
                    "detail": "delivered_to_recipient",
                    "timestamp": receipts[2].timestamp,
                },
            },
        })
    );
    // The timestamps are a second apart, whenever the receipts were posted.
    let time = |receipt: &PostedReceipt| {
        let time = chrono::DateTime::parse_from_rfc3339(&receipt.timestamp).unwrap();
        time.timestamp_micros()
    };
    assert_eq!(time(&receipts[1]) - time(&receipts[0]), 1_000_000);
    assert_eq!(time(&receipts[2]) - time(&receipts[1]), 1_000_000);
}

#[tokio::test]
async fn an_sms_fallback_has_receipts_in_its_own_channel() {
    let inbox = Inbox::start().await;
    let plan = |_: &_| {
        let undelivered = Step::new("undelivered").error(46);
        vec![undelivered, Step::new("delivered").at(SECOND).by_sms()]
    };
    let sandbox = start(still().plan(plan)).await;
    let answer = send(&sandbox, [message("a", &inbox.url)]).await;
    sandbox.receipts_settled().await;
    let bodies: Vec<_> = inbox.posts.lock().unwrap().iter().map(|it| it.1.clone()).collect();
    assert_eq!(bodies[0]["namespace"], "ChatApps");
    assert_eq!(bodies[0]["payload"]["channel"], "LineNotification");
    assert_eq!(bodies[0]["payload"]["status"]["errorCode"], 46);
    assert_eq!(bodies[1]["namespace"], "SMS");
    assert_eq!(bodies[1]["payload"]["channel"], "sms");
    assert_eq!(bodies[1]["payload"]["smsCount"], 1);
    for body in bodies {
        assert_eq!(body["payload"]["umid"], answer["messages"][0]["umid"]);
        assert_eq!(body["payload"]["clientMessageId"], "a");
    }
    let channels: Vec<_> = sandbox.receipts().into_iter().map(|it| it.channel).collect();
    assert_eq!(channels, ["LineNotification", "sms"]);
    assert!(sandbox.accepted()[0].sms_fallback);
}

#[tokio::test]
async fn a_failed_post_is_retried_after_1_10_30_and_90_seconds() {
    let inbox = Inbox::answering([500, 404, 503, 401, 400]).await;
    let sandbox = start(one_receipt()).await;
    send(&sandbox, [message("a", &inbox.url)]).await;
    sandbox.advance(Duration::ZERO).await;
    for (posts, wait) in (1..).zip([1, 10, 30, 90]) {
        sandbox.advance(Duration::from_millis(wait * 1000 - 1)).await;
        assert_eq!(inbox.count(), posts);
        sandbox.advance(Duration::from_millis(1)).await;
        assert_eq!(inbox.count(), posts + 1);
    }
    sandbox.advance(1000 * SECOND).await;
    assert_eq!(inbox.count(), 5);
    let receipts = sandbox.receipts();
    let statuses = [500, 404, 503, 401, 400].map(Some);
    assert_eq!(attempts(&receipts), [statuses.as_slice()]);
    assert!(!receipts[0].acknowledged);
}

#[tokio::test]
async fn any_status_below_400_acknowledges_a_receipt() {
    for status in [200, 204, 302, 399] {
        let inbox = Inbox::answering([500, status]).await;
        let sandbox = start(one_receipt()).await;
        send(&sandbox, [message("a", &inbox.url)]).await;
        // One step makes all posts that are due in it, retries included.
        sandbox.advance(1000 * SECOND).await;
        let receipts = sandbox.receipts();
        assert_eq!(attempts(&receipts), [[Some(500), Some(status)]]);
        assert!(receipts[0].acknowledged);
        assert_eq!(inbox.count(), 2);
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_or_resets_connections_has_not_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sandbox = start(one_receipt()).await;
    send(&sandbox, [message("a", &url)]).await;
    let reset = async {
        drop(listener.accept().await.unwrap());
        drop(listener);
    };
    tokio::join!(reset, sandbox.advance(SECOND));
    assert_eq!(attempts(&sandbox.receipts()), [[None, None]]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_answer_times_out() {
    // It accepts connections in its queue.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sandbox = start(one_receipt()).await;
    send(&sandbox, [message("a", &url)]).await;
    let start = tokio::time::Instant::now();
    sandbox.advance(Duration::ZERO).await;
    assert!(start.elapsed() >= Receipts::TIMEOUT, "{:?}", start.elapsed());
    assert_eq!(attempts(&sandbox.receipts()), [[None]]);
}

#[tokio::test]
async fn receipts_are_late_out_of_order_and_repeated_as_planned() {
    let inbox = Inbox::answering([200, 200, 200, 500]).await;
    let plan = |_: &_| {
        vec![
            Step::new("queued").times(2),
            Step::new("sent").at(SECOND).posted_at(5 * SECOND),
            Step::new("delivered").at(2 * SECOND).times(2),
        ]
    };
    let sandbox = start(still().plan(plan)).await;
    send(&sandbox, [message("a", &inbox.url)]).await;
    sandbox.receipts_settled().await;
    let states = inbox.states();
    assert_eq!(states, ["queued", "queued", "delivered", "delivered", "delivered", "sent"]);
    // One copy of `delivered` failed. It is retried by itself.
    let receipts = sandbox.receipts();
    let (ok, failed) = (Some(200), Some(500));
    let expected: [&[_]; 3] = [&[ok, ok], &[ok], &[ok, failed, ok]];
    assert_eq!(attempts(&receipts), expected);
}

#[tokio::test]
async fn nothing_is_posted_to_another_machine() {
    let sandbox = start(one_receipt()).await;
    let urls = [
        "https://127.0.0.1/",
        "http://192.0.2.1/",
        "http://example.com/",
        "http://localhost.example.com/",
        "http://[2001:db8::1]/",
        "http://0.0.0.0/",
        "http://127.0.0.1@192.0.2.1/",
    ];
    send(&sandbox, urls.map(|url| message("a", url))).await;
    assert_eq!(sandbox.receipts(), []);
    sandbox.receipts_settled().await;
    assert_eq!(sandbox.accepted_count(), 7);
}

#[tokio::test]
async fn localhost_is_this_machine() {
    let inbox = Inbox::start().await;
    let sandbox = start(one_receipt()).await;
    let url = inbox.url.replace("127.0.0.1", "LocalHost");
    let without_path = inbox.url.replace("/receipts?", "?");
    send(&sandbox, [message("a", &url), message("b", &without_path)]).await;
    sandbox.receipts_settled().await;
    assert_eq!(inbox.count(), 2);
}

#[tokio::test]
async fn messages_without_a_url_use_that_of_the_account() {
    let (own, account) = (Inbox::start().await, Inbox::start().await);
    let receipts = one_receipt().callback_url(&account.url);
    let reject = |message: &Value| {
        let is_rejected = message["clientMessageId"] == "rejected";
        is_rejected.then(|| Rejection { code: 3038, reason: "Template not found".into() })
    };
    let sandbox = Sandbox::builder().receipts(receipts).judge(reject).start().await.unwrap();
    let mut without = message("b", "");
    without.as_object_mut().unwrap().remove("dlrCallbackUrl");
    send(&sandbox, [message("a", &own.url), without, message("rejected", &own.url)]).await;
    sandbox.receipts_settled().await;
    assert_eq!((own.count(), account.count()), (1, 1));
    assert_eq!(sandbox.receipts().len(), 2);
}

/// The record of 200 messages with random receipts.
async fn random(seed: u64) -> Vec<PostedReceipt> {
    let inbox = Inbox::start().await;
    let sandbox = start(Receipts::new().speed(1e6).random(seed)).await;
    send(&sandbox, (0..200).map(|_| message("a", &inbox.url))).await;
    sandbox.receipts_settled().await;
    sandbox.receipts()
}

#[tokio::test]
async fn random_receipts_have_everything_that_can_happen() {
    let receipts = random(7).await;
    let count = |channel: &str, state: &str| {
        let mut umids: Vec<_> = receipts
            .iter()
            .filter(|it| it.channel == channel && it.state == state)
            .map(|it| &it.umid)
            .collect();
        umids.sort_unstable();
        umids.dedup();
        umids.len()
    };
    assert_eq!(count("LineNotification", "queued"), 200);
    let ends = ["rejected", "undelivered", "delivered"].map(|it| count("LineNotification", it));
    assert_eq!(ends.iter().sum::<usize>(), 200, "{ends:?}");
    assert!(ends.iter().all(|end| *end > 5), "{ends:?}");
    let sms = ["undelivered", "delivered"].map(|it| count("sms", it));
    assert_eq!(sms.iter().sum::<usize>(), ends[1], "each has a fallback");
    assert!(sms.iter().all(|end| *end > 5), "{sms:?}");
    assert!(receipts.iter().all(|it| it.acknowledged));

    let shape = |receipts: Vec<PostedReceipt>| {
        receipts.into_iter().map(|it| (it.umid, it.channel, it.state)).collect::<Vec<_>>()
    };
    let receipts = shape(receipts);
    assert_eq!(shape(random(7).await), receipts);
    assert_ne!(shape(random(8).await), receipts);
}

#[tokio::test]
async fn at_most_64_posts_are_in_flight() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let plan = |_: &_| vec![Step::new("sent")];
    let sandbox = start(Receipts::new().plan(plan)).await;
    send(&sandbox, (0..100).map(|_| message("a", &url))).await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(listener.accept().await.unwrap().0);
    }
    let (_, counts) = get(&sandbox.base_url(), "/sandbox/counts").await;
    assert_eq!(counts["postsDue"], 100);
    let next = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(next.is_err(), "a post too many");
    // One ends, and another starts.
    let mut first = streams.pop().unwrap();
    first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    listener.accept().await.unwrap();

    // Dropping the sandbox ends its posts.
    let mut second = streams.pop().unwrap();
    drop(sandbox);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Receipts::TIMEOUT / 2, second.read_to_end(&mut rest));
    ended.await.expect("the post ends with the sandbox").unwrap();
}

#[tokio::test]
async fn the_record_is_bounded() {
    let inbox = Inbox::answering([500]).await;
    let sandbox = Sandbox::builder().receipts(one_receipt()).keep(2).start().await.unwrap();
    send(&sandbox, ["a", "b", "c"].map(|id| message(id, &inbox.url))).await;
    sandbox.receipts_settled().await;
    assert_eq!(inbox.count(), 4, "receipts that left the record are posted too");
    let ids: Vec<_> = sandbox.receipts().into_iter().map(|it| it.client_message_id).collect();
    assert_eq!(ids, [Some("b".to_owned()), Some("c".to_owned())]);
    assert_eq!(attempts(&sandbox.receipts()), [[Some(200)], [Some(200)]]);
    assert_eq!(
        get(&sandbox.base_url(), "/sandbox/receipts?from=2").await.1[0]["clientMessageId"],
        "c"
    );
}

#[tokio::test]
async fn other_programs_read_receipts_and_move_the_clock() {
    let inbox = Inbox::start().await;
    inbox.answers.lock().unwrap().push_back(500);
    let sandbox = start(one_receipt()).await;
    let answer = send(&sandbox, [message("a", &inbox.url), message("b", &inbox.url)]).await;
    let url = sandbox.base_url();
    let advance = async |seconds: &str| {
        let path = format!("/sandbox/advance?seconds={seconds}");
        post(&url, &path, None, "").await.unwrap()
    };
    assert_eq!(advance("0.5").await, (200, json!({"postsDue": 1})));
    let (status, all) = get(&url, "/sandbox/receipts").await;
    assert_eq!(status, 200);
    let mut first = json!({
        "umid": answer["messages"][0]["umid"],
        "clientMessageId": "a",
        "channel": "LineNotification",
        "state": "sent",
        "timestamp": sandbox.receipts()[0].timestamp,
        "attempts": [500],
        "acknowledged": false,
    });
    assert_eq!(all[0], first);
    assert_eq!(all[1]["acknowledged"], true);
    assert_eq!(advance("0.5").await, (200, json!({"postsDue": 0})));
    first["attempts"] = json!([500, 200]);
    first["acknowledged"] = true.into();
    assert_eq!(get(&url, "/sandbox/receipts?limit=1").await, (200, json!([first])));
    assert_eq!(get(&url, "/sandbox/receipts?from=x").await.0, 400);
    for seconds in ["", "-1", "x", "1e300"] {
        assert_eq!(advance(seconds).await, (400, json!({"error": "expected seconds=NUMBER"})));
    }
}

#[tokio::test]
async fn invalid_settings_are_errors() {
    for speed in [-1.0, f64::NAN, f64::INFINITY] {
        let builder = Sandbox::builder().receipts(Receipts::new().speed(speed));
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.to_string(), "the speed of receipts must be 0 or greater");
    }
    for url in ["https://127.0.0.1/", "http://example.com/", "x"] {
        let builder = Sandbox::builder().receipts(Receipts::new().callback_url(url));
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.to_string(), "the callback URL must be an http URL on this machine");
    }
    let receipts = Receipts::new().authorization("a\nb");
    let error = Sandbox::builder().receipts(receipts).start().await.unwrap_err();
    let expected = "the Authorization value of receipts is not valid in HTTP";
    assert_eq!(error.to_string(), expected);
}
