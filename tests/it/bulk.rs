//! Runs of many messages: what is taken, how it is cut, and what is told.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use lon_batch::bulk::{
    BoxError, Bulk, CancellationToken, Fate, IntoMessage, NotSentReason, Progress, Rate, Stop,
    UnknownReason,
};
use lon_batch::mock::{Answer, Sandbox};
use lon_batch::reqwest::StatusCode;
use lon_batch::{
    Client, Content, ErrorCode, Message, Msisdn, RetryPolicy, Rule, SharedContent, SmsFallback,
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::ledger::{Ledger, Told, id};
use crate::support::{KEY, NUMBER, assert_no_secrets, client_of, msisdn};

/// Patient, in a hurry.
pub fn quick() -> RetryPolicy {
    RetryPolicy::patient().base_delay(Duration::from_millis(2)).max_delay(Duration::from_millis(10))
}

pub fn hello() -> Message {
    Message::new(msisdn(), Content::new("Hello"))
}

pub fn hellos(count: usize) -> impl Iterator<Item = Message> + Send {
    let content = SharedContent::from(Content::new("Hello"));
    (0..count).map(move |_| Message::new(msisdn(), content.clone()))
}

pub fn bulk(client: &Client) -> Bulk {
    client.bulk("run").retry(quick())
}

/// Waits until every message that was taken has its fate, while nobody asks the run.
pub async fn settled(progress: &Progress) {
    let end = async {
        while progress.summary().counts.pending() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), end).await;
    assert!(in_time.is_ok(), "no end: {}", progress.summary());
}

#[tokio::test]
async fn every_message_has_its_fate() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let messages = (0..2500).map(|index| {
        let title = if index % 100 == 7 { "reject" } else { "Hello" };
        Message::new(msisdn(), Content::new(title))
    });
    let told = Told::by(bulk(&client).send(messages).unwrap()).await;
    told.check(&ledger);
    assert_eq!(told.counts().taken, 2500);
    assert_eq!((told.count("accepted"), told.count("rejected")), (2475, 25));
    assert_eq!((told.counts().requests, sandbox.requests()), (3, 3));
    assert!(told.summary.stop.is_none());
    let Fate::Rejected { code, reason, umid } = told.fate(107) else {
        panic!("{}", told.fate(107));
    };
    assert_eq!(*code, Some(ErrorCode::TemplateNotFound));
    assert!(reason.is_some() && umid.is_some());
}

#[tokio::test]
async fn nothing_is_a_run_too() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let told = Told::by(bulk(&client).send(Vec::<Message>::new()).unwrap()).await;
    assert_eq!((told.counts().taken, sandbox.requests()), (0, 0));
    assert!(told.summary.stop.is_none());
}

#[tokio::test]
async fn ids_are_given_where_there_are_none() {
    for _ in 0..2 {
        let sandbox = Sandbox::start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        let messages = [
            hello(),
            hello().client_message_id("mine"),
            hello(),
            hello().client_message_id("other"),
        ];
        let longest = "r".repeat(Bulk::MAX_RUN_ID_CHARS);
        let run = client.bulk(longest.as_str()).send(messages).unwrap();
        let told = Told::by(run).await;
        let ids: Vec<_> = told.messages.iter().map(|it| id(&it.message)).collect();
        // The same in every run with this id.
        let first = format!("{longest}-0");
        assert_eq!(ids, [&first, "mine", &format!("{longest}-2"), "other"]);
        assert!(first.chars().count() + "999999999999".len() <= 50);
        let sent: Vec<_> = sandbox.accepted().iter().map(|it| id(&it.message).to_owned()).collect();
        assert_eq!(sent, ids);
    }
}

#[tokio::test]
async fn the_settings_are_checked() {
    let client = client_of("http://127.0.0.1:9").build().unwrap();
    let long = "r".repeat(Bulk::MAX_RUN_ID_CHARS + 1);
    let bad = client
        .bulk(long)
        .concurrency(0)
        .max_messages_per_batch(1001)
        .max_rate(Rate::MessagesPerSecond(0.0));
    let error = bad.send(hellos(1)).unwrap_err();
    let found: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "run_id: 37 characters; a run id has 1 to 36",
            "concurrency: has to be 1 or more",
            "max_messages_per_batch: has to be 1 to 1,000",
            "max_rate: has to be 0.001 a second or more",
        ]
    );
    for bulk in [
        client.bulk(""),
        client.bulk("r").max_messages_per_batch(0),
        client.bulk("r").max_body_bytes(0),
        client.bulk("r").max_rate(Rate::RequestsPerSecond(1e-20)),
        client.bulk("r").max_rate(Rate::RequestsPerSecond(f64::INFINITY)),
        client.bulk("r").max_rate(Rate::RequestsPerSecond(f64::NAN)),
    ] {
        bulk.send(hellos(1)).unwrap_err();
    }
}

/// Sizes of the batches that come when messages of these sizes are sent.
async fn batches(sandbox: &Sandbox, setup: impl Fn(Bulk) -> Bulk, count: usize) -> Vec<usize> {
    let client = sandbox.client().build().unwrap();
    let mut run = setup(bulk(&client).concurrency(1)).send(hellos(count)).unwrap();
    let mut sizes = Vec::new();
    while let Some(outcome) = run.next().await {
        sizes.push(outcome.messages.len());
    }
    assert_eq!(run.summary().counts.accepted, count as u64);
    sizes
}

#[tokio::test]
async fn batches_are_cut_by_count() {
    let sandbox = Sandbox::start().await.unwrap();
    let by_default = batches(&sandbox, |bulk| bulk, 2001).await;
    assert_eq!(by_default, [1000, 1000, 1]);
    let asked = batches(&sandbox, |bulk| bulk.max_messages_per_batch(400), 1000).await;
    assert_eq!(asked, [400, 400, 200]);
}

#[tokio::test]
async fn no_body_is_larger_than_asked() {
    let largest = Arc::new(AtomicUsize::new(0));
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    // Mostly small, and some that are a hundred times larger.
    let messages = (0..3000).map(|index| {
        let length = if index % 500 == 250 { 20_000 } else { 100 };
        let content = Content::new("Hello").explanation("x".repeat(length));
        Message::new(msisdn(), content)
    });
    let mut run = bulk(&client).max_body_bytes(50_000).send(messages).unwrap();
    let mut told = Told::nothing(&run);
    while let Some(outcome) = run.next().await {
        let bytes: usize = outcome
            .messages
            .iter()
            .map(|it| serde_json::to_vec(&it.message).unwrap().len() + 1)
            .sum();
        largest.fetch_max(bytes, Ordering::Relaxed);
        told.add(outcome);
    }
    told.summary = run.summary();
    told.check(&ledger);
    assert_eq!(told.count("accepted"), 3000);
    let largest = largest.load(Ordering::Relaxed);
    assert!((30_000..50_000).contains(&largest), "{largest}");
    // Not many more batches than the size asks for: 3,000 messages of about 200 bytes.
    assert!(told.counts().requests < 40, "{}", told.counts().requests);
}

#[tokio::test]
async fn a_message_that_is_too_large_alone_is_not_sent() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let large = Content::new("Hello").explanation("x".repeat(20_000));
    let messages = [hello(), Message::new(msisdn(), large), hello()];
    let run = bulk(&client).max_body_bytes(10_000).send(messages).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!(told.fates(), [(0, "accepted"), (1, "not_sent"), (2, "accepted")]);
    let Fate::NotSent(NotSentReason::Invalid(invalid)) = told.fate(1) else {
        panic!("{}", told.fate(1));
    };
    assert!(
        matches!(invalid.problems()[0].rule, Rule::TooLarge { found, max: 10_000 } if found > 20_000)
    );
}

#[tokio::test]
async fn a_message_that_is_invalid_is_not_sent_and_the_others_are() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let messages = [
        hello().client_message_id("same"),
        hello().dlr_callback_url("nowhere").sms_fallback(SmsFallback::default()),
        hello(),
        hello().client_message_id("same"),
    ];
    let told = Told::by(bulk(&client).send(messages).unwrap()).await;
    assert_eq!(told.fates(), [(0, "accepted"), (1, "not_sent"), (2, "accepted"), (3, "not_sent")]);
    assert_eq!(sandbox.accepted_count(), 2);
    assert_eq!(
        told.fate(1).to_string(),
        "not sent: dlrCallbackUrl: 7 characters that are not an absolute http or https URL, \
         percent-encoded; smsFallback: no text is set; without one there is no SMS and the rest \
         does nothing"
    );
    assert_eq!(
        told.fate(3).to_string(),
        "not sent: clientMessageId: the same as in messages[0]; verdicts could not be told apart"
    );
    // The one with the same id may be the same message, and was sent.
    assert!(told.fate(1).can_be_sent_again() && !told.fate(3).can_be_sent_again());
    told.check(&ledger);

    // With nothing valid in it, nothing is sent at all.
    let bad = hello().dlr_callback_url("nowhere");
    let told = Told::by(bulk(&client).send([bad.clone(), bad]).unwrap()).await;
    assert_eq!(told.fates(), [(0, "not_sent"), (1, "not_sent")]);
    assert_eq!((sandbox.requests(), told.counts().requests), (1, 0));
}

/// Every third item is bad.
fn with_bad_items(count: usize) -> impl Iterator<Item = Result<Message, String>> + Send {
    (0..count).map(|index| if index % 3 == 1 { Err(format!("row {index}")) } else { Ok(hello()) })
}

#[tokio::test]
async fn bad_items_are_told_and_do_not_stop_the_rest() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let run = bulk(&client).max_messages_per_batch(10).send(with_bad_items(100)).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.bad_items.len()), (67, 33));
    let bad: Vec<_> = told.bad_items.iter().map(|it| it.position).collect();
    assert_eq!(bad, (0..33).map(|n| 3 * n + 1).collect::<Vec<_>>());
    assert_eq!(told.bad_items[1].error.to_string(), "row 4");
    let good: HashSet<_> = told.messages.iter().map(|it| it.position).collect();
    assert!(bad.iter().all(|position| !good.contains(position)));
    assert!(told.summary.stop.is_none());
}

#[tokio::test]
async fn a_bad_item_ends_the_run_where_it_is_told_to() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let items = (0..).map(|index| if index == 25 { Err("row 25") } else { Ok(hello()) });
    let run = bulk(&client).max_messages_per_batch(10).stop_at_bad_item(true).send(items).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!((told.count("accepted"), told.bad_items.len()), (25, 1));
    assert!(matches!(told.summary.stop, Some(Stop::BadItem { position: 25 })));
}

#[tokio::test]
async fn bad_items_alone_do_not_pile_up() {
    let client = client_of("http://127.0.0.1:9").build().unwrap();
    let items = (0..3500).map(|index| Err::<Message, _>(format!("row {index}")));
    let mut run = bulk(&client).send(items).unwrap();
    let mut told = Vec::new();
    while let Some(outcome) = run.next().await {
        assert!(outcome.messages.is_empty());
        told.push(outcome.bad_items.len());
    }
    assert_eq!(told, [1000, 1000, 1000, 500]);
    assert_eq!(run.summary().counts.bad_items, 3500);
}

#[tokio::test]
async fn what_ends_the_run_outweighs_what_ended_its_input() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    sandbox.answer_next([Answer::Error {
        status: StatusCode::UNAUTHORIZED,
        code: ErrorCode::Unauthorized,
    }]);
    let items = (0..30).map(|index| if index == 25 { Err("row 25") } else { Ok(hello()) });
    let run = bulk(&client).concurrency(1).stop_at_bad_item(true).send(items).unwrap();
    let told = Told::by(run).await;
    assert_eq!((told.count("refused"), told.bad_items.len()), (25, 1));
    let stop = told.summary.stop;
    assert!(matches!(stop, Some(Stop::Refused(_))), "{stop:?}");
}

#[tokio::test]
async fn bad_items_of_a_stream_that_waits_are_told() {
    let client = client_of("http://127.0.0.1:9").build().unwrap();
    let (give, items) = mpsc::unbounded_channel();
    let mut run = bulk(&client).send_stream(Channel(items)).unwrap();
    give.send(Err::<Message, _>("row 0")).unwrap();
    give.send(Err("row 1")).unwrap();
    let outcome = run.next().await.unwrap();
    assert_eq!((outcome.messages.len(), outcome.bad_items.len()), (0, 2));
}

/// An input that panics when it is dropped.
struct PanicsAtLast(u32);

impl Iterator for PanicsAtLast {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.0 = self.0.checked_sub(1)?;
        Some(hello())
    }
}

impl Drop for PanicsAtLast {
    fn drop(&mut self) {
        panic!("the caller's own");
    }
}

#[tokio::test]
async fn an_input_that_panics_when_it_is_dropped_loses_nothing() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let told = Told::by(bulk(&client).send(PanicsAtLast(5)).unwrap()).await;
    told.check(&ledger);
    assert_eq!(told.count("accepted"), 5);
    let stop = told.summary.stop;
    assert!(matches!(stop, Some(Stop::InputPanicked { .. })), "{stop:?}");
}

#[tokio::test]
async fn what_a_stopped_run_did_not_take_is_still_in_the_input() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let mut messages = hellos(100);
    let mut run = bulk(&client).max_messages_per_batch(10).send(messages.by_ref()).unwrap();
    let first = run.next().await.unwrap();
    assert_eq!(first.messages.len(), 10);
    run.cancel();
    let taken = run.finish().await.counts.taken;
    let rest = messages.count() as u64;
    assert_eq!((taken + rest, rest > 0), (100, true));
}

/// What the README says of a process that died: of the messages that were not written down, in the
/// order of the input, only so many may have been sent.
#[tokio::test]
async fn what_may_have_been_sent_when_the_process_dies_is_bounded() {
    let (at_a_time, batch) = (3, 10);
    for written in 1..20 {
        let ledger = Ledger::default();
        // Some batches are halved, others are answered late.
        let sandbox = ledger.sandbox().answer_with(|number| match number % 5 {
            1 => Answer::Error {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                code: ErrorCode::BulkLimitReached,
            },
            3 => Answer::Late(Duration::from_millis(20)),
            _ => Answer::Contract,
        });
        let sandbox = sandbox.start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        let mut run = bulk(&client)
            .concurrency(at_a_time)
            .max_messages_per_batch(batch)
            .send(with_bad_items(600))
            .unwrap();
        let mut known = HashSet::new();
        for outcome in 0..written {
            let messages = run.next().await.unwrap().messages;
            // It dies with the last in its hands.
            if outcome + 1 < written {
                known.extend(messages.into_iter().map(|it| it.position));
            }
        }
        let progress = run.progress();
        drop(run);
        settled(&progress).await;
        let messages = (0..600).filter(|position| position % 3 != 1);
        let unwritten: Vec<_> = messages.filter(|it| !known.contains(it)).collect();
        let sure = unwritten.iter().skip((at_a_time + 2) * batch);
        for position in sure {
            assert_eq!(ledger.times(&format!("run-{position}")), 0, "{position}");
        }
    }
}

#[tokio::test]
async fn an_input_that_panics_loses_nothing() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let items = (0..).map(|index| {
        assert_ne!(index, 25, "a row that the caller cannot read");
        hello()
    });
    let run = bulk(&client).max_messages_per_batch(10).send(items).unwrap();
    let told = Told::by(run).await;
    told.check(&ledger);
    assert_eq!(told.count("accepted"), 25);
    assert!(matches!(told.summary.stop, Some(Stop::InputPanicked { position: 25 })));
}

/// A stream of what is sent into a channel.
struct Channel<T>(mpsc::UnboundedReceiver<T>);

impl<T> Stream for Channel<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

#[tokio::test]
async fn a_stream_that_waits_does_not_hold_back_what_it_gave() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let (give, items) = mpsc::unbounded_channel();
    let mut run =
        bulk(&client).max_wait(Duration::from_millis(20)).send_stream(Channel(items)).unwrap();
    let mut told = Told::nothing(&run);
    for round in 1..=3 {
        for _ in 0..round {
            give.send(hello()).unwrap();
        }
        // The stream has not ended, and a batch takes 1,000.
        let outcome = run.next().await.unwrap();
        assert_eq!(outcome.messages.len(), round);
        told.add(outcome);
    }
    give.send(hello()).unwrap();
    drop(give);
    told.add(run.next().await.unwrap());
    assert!(run.next().await.is_none());
    told.summary = run.summary();
    told.check(&ledger);
    assert_eq!(told.count("accepted"), 7);
}

#[tokio::test]
async fn a_stream_may_be_fallible() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let (give, items) = mpsc::unbounded_channel();
    for item in with_bad_items(10) {
        give.send(item).unwrap();
    }
    drop(give);
    let told = Told::by(bulk(&client).send_stream(Channel(items)).unwrap()).await;
    assert_eq!((told.count("accepted"), told.bad_items.len()), (7, 3));
}

/// Any item that becomes a message will do.
struct Row(&'static str);

impl IntoMessage for Row {
    fn into_message(self) -> Result<Message, BoxError> {
        Ok(Message::new(self.0.parse::<Msisdn>()?, Content::new("Hello")))
    }
}

#[tokio::test]
async fn an_input_may_borrow_and_have_items_of_its_own() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let rows: Vec<String> = (0..5).map(|row| format!("row-{row}")).collect();
    let messages = rows.iter().map(|row| hello().client_message_id(row.as_str()));
    let summary = bulk(&client).send(messages).unwrap().finish().await;
    assert_eq!(summary.counts.accepted, 5);
    assert_eq!(rows.len(), 5);
    let rows = [Row(NUMBER), Row("91234567")];
    let told = Told::by(bulk(&client).send(rows).unwrap()).await;
    assert_eq!((told.count("accepted"), told.bad_items.len()), (1, 1));
}

#[tokio::test]
async fn what_is_sent_is_one_batch_with_verdicts_asked_for() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let mut run = bulk(&client).send([hello()]).unwrap();
    let outcome = run.next().await.unwrap();
    let accepted = &sandbox.accepted()[0];
    assert_eq!(outcome.batch_id.as_ref(), Some(&accepted.batch_id));
    assert_eq!((outcome.attempts, outcome.disagreements.len()), (1, 0));
    let Fate::Accepted { umid } = &outcome.messages[0].fate else {
        panic!("{}", outcome.messages[0].fate);
    };
    assert_eq!(umid.as_ref(), Some(&accepted.umid));
    assert_eq!(outcome.messages[0].message, accepted.message);
}

#[tokio::test]
async fn so_many_are_on_their_way_at_a_time() {
    for at_a_time in [1, 3] {
        let sandbox = Sandbox::builder()
            .answer_with(|_| Answer::Late(Duration::from_millis(200)))
            .start()
            .await
            .unwrap();
        let client = sandbox.client().build().unwrap();
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let messages = hellos(1000).inspect(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let mut run =
            bulk(&client).concurrency(at_a_time).max_messages_per_batch(10).send(messages).unwrap();
        assert_eq!(taken.load(Ordering::SeqCst), 0, "nothing before it is asked for");
        run.next().await.unwrap();
        // One is told, and another has taken its place.
        assert_eq!(taken.load(Ordering::SeqCst), 10 * (at_a_time + 1));
    }
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_lets_nothing_pile_up() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let messages = hellos(100).inspect(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let mut run = bulk(&client).concurrency(2).max_messages_per_batch(10).send(messages).unwrap();
    let progress = run.progress();
    let mut told = Told::nothing(&run);
    while let Some(outcome) = run.next().await {
        told.add(outcome);
        // What is on its way does not wait for the reader, who asks for nothing here.
        settled(&progress).await;
        assert!(taken.load(Ordering::SeqCst) <= told.messages.len() + 20);
    }
    told.summary = run.summary();
    told.check(&ledger);
    assert_eq!(told.count("accepted"), 100);
}

#[tokio::test]
async fn progress_can_be_asked_from_elsewhere() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let mut run = bulk(&client).concurrency(1).max_messages_per_batch(10).send(hellos(30)).unwrap();
    let progress = run.progress();
    assert_eq!(progress.summary().counts.taken, 0);
    run.next().await.unwrap();
    let counts = progress.summary().counts;
    assert!(counts.accepted >= 10 && counts.taken > counts.settled());
    assert_eq!(counts.pending(), counts.taken - counts.settled());
    run.finish().await;
    let end = progress.summary();
    assert_eq!((end.counts.accepted, end.counts.requests), (30, 3));
    assert!(end.messages_per_second() > 0.0);
    // The clock stops with the last message.
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(progress.summary().elapsed, end.elapsed);
    assert_eq!(
        end.to_string(),
        "30 messages taken: 30 accepted, 0 rejected, 0 refused, 0 unknown, 0 not sent; 3 requests"
    );
}

#[tokio::test]
async fn what_is_printed_has_no_numbers_and_no_keys() {
    let sandbox = Sandbox::builder().api_key(KEY).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let body = format!(r#"{{"code": 1000, "message": "{NUMBER} {KEY}"}}"#);
    sandbox.answer_next([
        Answer::Exactly {
            status: StatusCode::BAD_REQUEST,
            headers: http::HeaderMap::new(),
            body: body.into(),
        },
        Answer::Edited(|answer| {
            let status = &mut answer["messages"][0]["status"];
            status["state"] = "rejected".into();
            status["errorMessage"] = format!("no such user {NUMBER}").into();
        }),
    ]);
    let mut run = bulk(&client).concurrency(1).max_messages_per_batch(1).send(hellos(2)).unwrap();
    let mut printed = String::new();
    while let Some(outcome) = run.next().await {
        printed += &format!("{outcome:?} {}", outcome.messages[0].fate);
    }
    printed += &format!("{run:?} {:?} {}", run.progress(), run.summary());
    assert!(printed.contains("refused with its batch: the batch was refused: HTTP 400"));
    assert!(printed.contains("rejected"), "{printed}");
    assert_no_secrets(&printed);
    assert_no_secrets(&format!("{:?}", bulk(&client)));
}

#[tokio::test]
async fn a_token_cancels_a_run() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let token = CancellationToken::new();
    let mut run = bulk(&client)
        .max_messages_per_batch(10)
        .cancel_with(&token)
        .send((0..).map(|_| hello()))
        .unwrap();
    run.next().await.unwrap();
    token.cancel();
    let summary = run.finish().await;
    assert!(matches!(summary.stop, Some(Stop::Cancelled)));
    assert_eq!(summary.counts.settled(), summary.counts.taken);
    assert_eq!(sandbox.accepted_count(), summary.counts.accepted);
    // And another run with the same token does not start.
    let run = bulk(&client).cancel_with(&token).send([hello()]).unwrap();
    assert_eq!(run.finish().await.counts.taken, 0);
}

#[tokio::test]
async fn a_run_that_ends_does_not_cancel_the_token() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let token = CancellationToken::new();
    let run = bulk(&client).cancel_with(&token).send([hello()]).unwrap();
    drop(run);
    assert!(!token.is_cancelled());
    let run = bulk(&client).cancel_with(&token).send([hello()]).unwrap();
    let progress = run.progress();
    assert_eq!(run.finish().await.counts.accepted, 1);
    token.cancel();
    assert!(progress.summary().stop.is_none() && progress.summary().ended);
    // Nor is one that has told everything cancelled afterwards, whether it knows of its end or not.
    for asked in [1, 2] {
        let mut run = bulk(&client).send([hello()]).unwrap();
        for _ in 0..asked {
            run.next().await;
        }
        run.cancel();
        assert!(run.next().await.is_none() && run.summary().stop.is_none());
    }
}

#[tokio::test]
async fn answers_that_settle_some_messages_leave_the_others_unknown() {
    type Edit = fn(&mut Value);
    fn entries(answer: &mut Value) -> &mut Vec<Value> {
        answer["messages"].as_array_mut().unwrap()
    }
    let (all, none): (&[u64], &[u64]) = (&[0, 1, 2, 3, 4], &[]);
    let cases: [(&str, Edit, &[u64], usize); 12] = [
        ("as it is", |_| (), none, 0),
        ("reordered", |it| entries(it).reverse(), none, 0),
        ("one left out", |it| _ = entries(it).remove(2), &[2], 1),
        (
            "one twice",
            |it| {
                let first = entries(it)[0].clone();
                entries(it).push(first);
            },
            &[0],
            2,
        ),
        ("another's id", |it| entries(it)[1]["clientMessageId"] = "run-99".into(), &[1], 0),
        ("an odd state", |it| entries(it)[3]["status"]["state"] = "perhaps".into(), &[3], 1),
        ("no status", |it| _ = entries(it)[4].as_object_mut().unwrap().remove("status"), &[4], 1),
        ("other counts", |it| it["acceptedCount"] = 3.into(), none, 2),
        ("no entries, and counts that settle it", |it| it["messages"] = Value::Null, none, 0),
        (
            "no entries, and other counts",
            |it| {
                it["messages"] = Value::Null;
                it["acceptedCount"] = 4.into();
                it["rejectedCount"] = 1.into();
            },
            all,
            0,
        ),
        (
            "no entries and no counts",
            |it| {
                it["messages"] = Value::Null;
                it["acceptedCount"] = Value::Null;
            },
            all,
            1,
        ),
        ("empty", |it| entries(it).clear(), all, 1),
    ];
    for (name, edit, unknown, disagreements) in cases {
        let ledger = Ledger::default();
        let sandbox = ledger.sandbox_with([Answer::Edited(edit)]).await;
        let client = sandbox.client().build().unwrap();
        let mut run = bulk(&client).send(hellos(5)).unwrap();
        let outcome = run.next().await.unwrap();
        assert_eq!(outcome.disagreements.len(), disagreements, "{name}");
        let mut told = Told::nothing(&run);
        told.add(outcome);
        assert!(run.next().await.is_none());
        told.summary = run.summary();
        told.check(&ledger);
        for position in 0..5 {
            match told.fate(position) {
                Fate::Accepted { .. } => assert!(!unknown.contains(&position), "{name}"),
                Fate::Unknown(UnknownReason::NotSettled) => {
                    assert!(unknown.contains(&position), "{name}");
                }
                fate => panic!("{name}: {fate}"),
            }
        }
        assert_eq!(sandbox.requests(), 1, "{name}");
    }
}
