//! Runs of many messages: what is taken, how it is cut into batches, and what is reported.

mod common;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use lon_batch::bulk::{BoxError, Bulk, CancellationToken, IntoMessage, Rate, Stop};
use lon_batch::invalid::Subject;
use lon_batch::request::HintKind;
use lon_batch::reqwest::StatusCode;
use lon_batch::{
    Content, ErrorCode, Message, Msisdn, OutcomeKind, Recipient, SharedContent, SmsFallback,
};
use lon_sandbox::{Answer, Sandbox};
use serde_json::Value;
use tokio::sync::mpsc;

use common::ledger::{Ledger, Reported, id, next_or_panic};
use common::runs::{bulk, hello, hellos, settled};
use common::{
    KEY, NUMBER, assert_no_secrets, client_for, client_without_retries, log, msisdn, within_10s,
};

const ACCEPTED: OutcomeKind = OutcomeKind::Accepted;
const NOT_SENT: OutcomeKind = OutcomeKind::NotSent;

#[tokio::test]
async fn every_message_has_one_outcome() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let messages = (0..2500).map(|index| {
        let title = if index % 100 == 7 { "reject" } else { "Hello" };
        Message::new(msisdn(), Content::new(title))
    });
    let reported = Reported::by(bulk(&client).send(messages).unwrap()).await;
    reported.check(&ledger);
    assert_eq!(reported.counts().taken, 2500);
    let counts = OutcomeKind::ALL.map(|kind| reported.count(kind));
    assert_eq!(counts, [2475, 25, 0, 0]);
    assert_eq!((reported.counts().requests, sandbox.requests()), (3, 3));
    assert!(reported.summary.stop.is_none());
    let rejected = reported.outcome(107);
    assert_eq!(rejected.kind, OutcomeKind::Rejected);
    assert_eq!(rejected.code, Some(ErrorCode::TemplateNotFound));
    assert!(rejected.reason.is_some() && rejected.umid.is_some());
    assert!(reported.outcome(106).umid.is_some());
}

#[tokio::test]
async fn an_empty_input_is_a_run_without_requests() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let reported = Reported::by(bulk(&client).send(Vec::<Message>::new()).unwrap()).await;
    reported.check(&Ledger::default());
    assert_eq!((reported.counts().taken, sandbox.requests()), (0, 0));
    assert!(reported.summary.stop.is_none());
}

#[tokio::test]
async fn a_message_without_id_gets_one_of_the_run_and_its_position() {
    for _ in 0..2 {
        let sandbox = Sandbox::start().await.unwrap();
        let client = client_for(&sandbox).build().unwrap();
        let messages = [
            hello(),
            hello().client_message_id("mine"),
            hello(),
            hello().client_message_id("other"),
        ];
        let longest = "r".repeat(Bulk::MAX_RUN_ID_CHARS);
        let run = client.bulk(longest.as_str()).send(messages).unwrap();
        let reported = Reported::by(run).await;
        let ids: Vec<_> = reported.messages.iter().map(|it| id(&it.message)).collect();
        // The same in every run with this id.
        let first = format!("{longest}-0");
        assert_eq!(ids, [&first, "mine", &format!("{longest}-2"), "other"]);
        assert!(first.chars().count() + "999999999999".len() <= 50);
        let sent: Vec<_> =
            sandbox.accepted().iter().filter_map(|it| it.client_message_id.clone()).collect();
        assert_eq!(sent, ids);
        let accepted = sandbox.accepted();
        let batch_id = accepted[0].client_batch_id.as_deref().unwrap();
        assert!(batch_id.starts_with(&format!("{longest}-")) && batch_id.ends_with("-0"));
    }
}

#[tokio::test]
async fn settings_out_of_range_are_refused_all_at_once() {
    let client = client_without_retries("http://127.0.0.1:9").build().unwrap();
    let long = "r".repeat(Bulk::MAX_RUN_ID_CHARS + 1);
    let bad = client
        .bulk(long)
        .concurrency(0)
        .max_messages_per_batch(1001)
        .max_rate(Rate::MessagesPerSecond(0.0));
    let error = bad.send(hellos(1)).unwrap_err();
    assert_eq!(error.subject(), Subject::Run);
    let found: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "run_id: 37 characters; a run id has 1 to 36",
            "concurrency: has to be 1 or more",
            "max_messages_per_batch: has to be 1 to 1000",
            "max_rate: has to be 0.001 a second or more",
        ]
    );
    for bulk in [
        client.bulk(""),
        client.bulk("r").max_messages_per_batch(0),
        client.bulk("r").stop_after_unknown(0),
        client.bulk("r").max_rate(Rate::RequestsPerSecond(1e-20)),
        client.bulk("r").max_rate(Rate::RequestsPerSecond(f64::INFINITY)),
        client.bulk("r").max_rate(Rate::RequestsPerSecond(f64::NAN)),
    ] {
        bulk.send(hellos(1)).unwrap_err();
    }
}

/// Sizes of the batches that come when this many messages are sent.
async fn batches(
    sandbox: &Sandbox,
    setup: impl Fn(Bulk<'static>) -> Bulk<'static>,
    count: usize,
) -> Vec<usize> {
    let client = client_for(sandbox).build().unwrap();
    let mut run = setup(bulk(&client).concurrency(1)).send(hellos(count)).unwrap();
    let mut sizes = Vec::new();
    while let Some(outcome) = within_10s(run.next()).await {
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
async fn an_invalid_message_is_not_sent_and_the_others_are() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let messages = [
        hello().client_message_id("same"),
        hello().dlr_callback_url("nowhere").sms_fallback(SmsFallback::default()),
        hello(),
        hello().client_message_id("same"),
    ];
    let reported = Reported::by(bulk(&client).send(messages).unwrap()).await;
    assert_eq!(reported.kinds(), [(0, ACCEPTED), (1, NOT_SENT), (2, ACCEPTED), (3, NOT_SENT)]);
    assert_eq!(sandbox.accepted_count(), 2);
    assert_eq!(
        reported.outcome(1).to_string(),
        "not sent: invalid message, 2 problems: \
         dlrCallbackUrl: expected an absolute, percent-encoded http or https URL, found 7 other \
         characters; smsFallback: no text is set, so no SMS would be sent"
    );
    assert_eq!(
        reported.outcome(3).to_string(),
        "not sent: an earlier message has the same clientMessageId, so it would not be matched"
    );
    // The one with the same id may be the same message, and was sent.
    assert!(reported.message(1).can_be_resent() && !reported.message(3).can_be_resent());
    reported.check(&ledger);

    // With nothing valid in it, nothing is sent at all.
    let bad = hello().dlr_callback_url("nowhere");
    let reported = Reported::by(bulk(&client).send([bad.clone(), bad]).unwrap()).await;
    assert_eq!(reported.kinds(), [(0, NOT_SENT), (1, NOT_SENT)]);
    assert_eq!((sandbox.requests(), reported.counts().requests), (1, 0));
}

#[tokio::test]
async fn a_duplicate_is_reported_with_the_position_of_the_first_in_the_input() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let messages = (0..10).map(|index| match index {
        5 | 8 => hello().client_message_id("same"),
        // Its place in the batch is not its position.
        _ => hello(),
    });
    let run = bulk(&client).max_messages_per_batch(5).concurrency(1).send(messages).unwrap();
    let reported = Reported::by(run).await;
    assert_eq!((reported.count(ACCEPTED), reported.count(NOT_SENT)), (9, 1));
    assert_eq!(reported.message(8).duplicate_of, Some(5));
}

#[tokio::test]
async fn a_recipient_that_only_to_does_not_list_is_not_sent_alone() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let thai = Recipient::national("0812345678", "TH").unwrap();
    let foreign: Msisdn = "+6598765432".parse().unwrap();
    let allowed: [Recipient; 2] = [msisdn().into(), thai];
    let client = client_for(&sandbox).only_to(allowed).build().unwrap();
    // One in the middle, one that is invalid besides, and a batch of nothing else.
    let messages = || {
        (0..40_usize).map(|position| {
            let to = match position {
                3 | 17 | 30..40 => foreign.into(),
                5 => thai,
                _ => msisdn().into(),
            };
            let message = Message::new(to, Content::new("Hello"));
            if position == 17 { message.dlr_callback_url("nowhere") } else { message }
        })
    };
    let run = bulk(&client).max_messages_per_batch(10).concurrency(1).send(messages()).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert!(reported.summary.stop.is_none());
    for (position, kind) in reported.kinds() {
        let outcome = reported.outcome(position);
        let times = ledger.accept_count(&format!("run-{position}"));
        if matches!(position, 3 | 17 | 30..40) {
            assert_eq!((kind, times), (NOT_SENT, 0), "{position}");
            assert_eq!(outcome.to_string(), "not sent: recipient not allowed");
            assert!(reported.message(position).can_be_resent());
        } else {
            assert_eq!((kind, times), (ACCEPTED, 1), "{position}");
        }
    }
    assert_eq!((reported.count(ACCEPTED), reported.count(NOT_SENT)), (28, 12));
    // The last batch had nobody left to be sent to.
    assert_eq!((sandbox.requests(), reported.counts().requests), (3, 3));
}

/// Every third item is bad.
fn with_bad_items(count: usize) -> impl Iterator<Item = Result<Message, String>> + Send {
    (0..count).map(|index| if index % 3 == 1 { Err(format!("row {index}")) } else { Ok(hello()) })
}

#[tokio::test]
async fn bad_items_are_reported_and_do_not_stop_the_rest() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let run = bulk(&client).max_messages_per_batch(10).send(with_bad_items(100)).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.bad_items.len()), (67, 33));
    let bad: Vec<_> = reported.bad_items.iter().map(|it| it.position).collect();
    assert_eq!(bad, (0..33).map(|n| 3 * n + 1).collect::<Vec<_>>());
    assert_eq!(reported.bad_items[1].error.to_string(), "row 4");
    let good: HashSet<_> = reported.messages.iter().map(|it| it.position).collect();
    assert!(bad.iter().all(|position| !good.contains(position)));
    assert!(reported.summary.stop.is_none());
}

#[tokio::test]
async fn stop_at_bad_item_ends_the_run_at_the_first_one() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let items = (0..).map(|index| if index == 25 { Err("row 25") } else { Ok(hello()) });
    let run = bulk(&client).max_messages_per_batch(10).stop_at_bad_item(true).send(items).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.bad_items.len()), (25, 1));
    assert!(matches!(reported.summary.stop, Some(Stop::BadItem { position: 25 })));
}

#[tokio::test]
async fn bad_items_alone_are_reported_by_the_thousand() {
    let client = client_without_retries("http://127.0.0.1:9").build().unwrap();
    let items = (0..3500).map(|index| Err::<Message, _>(format!("row {index}")));
    let mut run = bulk(&client).send(items).unwrap();
    let mut reported = Vec::new();
    while let Some(outcome) = within_10s(run.next()).await {
        assert!(outcome.messages.is_empty());
        reported.push(outcome.bad_items.len());
    }
    assert_eq!(reported, [1000, 1000, 1000, 500]);
    assert_eq!(run.summary().counts.bad_items, 3500);
}

#[tokio::test]
async fn a_reason_that_ends_the_run_replaces_one_that_ended_its_input() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    sandbox.answer_next([Answer::Error {
        status: StatusCode::UNAUTHORIZED.as_u16(),
        code: ErrorCode::Unauthorized.value(),
    }]);
    let items = (0..30).map(|index| if index == 25 { Err("row 25") } else { Ok(hello()) });
    let run = bulk(&client).concurrency(1).stop_at_bad_item(true).send(items).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&Ledger::default());
    assert_eq!((reported.refused(), reported.bad_items.len()), (25, 1));
    let stop = reported.summary.stop;
    assert!(matches!(stop, Some(Stop::Refused(_))), "{stop:?}");
}

#[tokio::test]
async fn bad_items_of_a_stream_that_waits_are_reported() {
    let client = client_without_retries("http://127.0.0.1:9").build().unwrap();
    let (give, items) = mpsc::unbounded_channel();
    let mut run = bulk(&client).send_stream(Channel(items)).unwrap();
    give.send(Err::<Message, _>("row 0")).unwrap();
    give.send(Err("row 1")).unwrap();
    let outcome = within_10s(run.next()).await.unwrap();
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
    let client = client_for(&sandbox).build().unwrap();
    let mut run = bulk(&client).send(PanicsAtLast(5)).unwrap();
    within_10s(next_or_panic(&mut run)).await.unwrap_err();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!(reported.count(ACCEPTED), 5);
}

#[tokio::test]
async fn messages_that_a_stopped_run_did_not_take_stay_in_the_input() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let mut messages = hellos(100);
    let mut run = bulk(&client).max_messages_per_batch(10).send(messages.by_ref()).unwrap();
    let first = within_10s(run.next()).await.unwrap();
    assert_eq!(first.messages.len(), 10);
    run.cancel();
    let taken = within_10s(run.finish()).await.counts.taken;
    let rest = messages.count() as u64;
    assert_eq!((taken + rest, rest > 0), (100, true));
}

#[tokio::test]
async fn an_input_that_panics_loses_nothing() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let items = (0..).map(|index| {
        assert_ne!(index, 25, "a row that the caller cannot read");
        hello()
    });
    let mut run = bulk(&client).max_messages_per_batch(10).send(items).unwrap();
    let panic = within_10s(next_or_panic(&mut run)).await.unwrap_err();
    let text = panic.downcast::<String>().unwrap();
    assert!(text.contains("a row that the caller cannot read"), "{text}");
    // Polled again, the run reports what was in flight and sends what it had read.
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!(reported.count(ACCEPTED), 25);
    assert!(matches!(reported.summary.stop, Some(Stop::InputPanicked { position: 25 })));
}

#[tokio::test]
async fn a_run_that_skips_almost_everything_lets_chunks_go_on_and_can_be_cancelled() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let token = CancellationToken::new();
    let cancel = token.clone();
    // After the first ten messages the input is skipped without end.
    let skip = move |position, _: &Message| {
        if position == 100_000 {
            cancel.cancel();
        }
        position >= 10
    };
    let run = bulk(&client).max_messages_per_batch(10).skip(skip).cancel_with(&token);
    let reported = Reported::by(run.send((0..).map(|_| hello())).unwrap()).await;
    reported.check(&ledger);
    assert_eq!(reported.count(ACCEPTED), 10);
    assert_eq!(reported.counts().skipped, 100_001 - 10);
    assert!(matches!(reported.summary.stop, Some(Stop::Cancelled)));
}

#[tokio::test]
async fn a_skip_that_panics_ends_the_input() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let skip = |position, _: &Message| {
        assert_ne!(position, 25, "a record that the caller cannot read");
        false
    };
    let run = bulk(&client).max_messages_per_batch(10).skip(skip);
    let mut run = run.send(hellos(1000)).unwrap();
    within_10s(next_or_panic(&mut run)).await.unwrap_err();
    let reported = Reported::by(run).await;
    reported.check(&ledger);
    assert_eq!(reported.count(ACCEPTED), 25);
    assert!(matches!(reported.summary.stop, Some(Stop::InputPanicked { position: 25 })));
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
async fn messages_of_a_stream_that_waits_are_sent_after_max_wait() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let (give, items) = mpsc::unbounded_channel();
    let mut run =
        bulk(&client).max_wait(Duration::from_millis(20)).send_stream(Channel(items)).unwrap();
    let mut reported = Reported::nothing(&run);
    for round in 1..=3 {
        for _ in 0..round {
            give.send(hello()).unwrap();
        }
        // The stream has not ended, and a batch takes 1,000.
        let outcome = within_10s(run.next()).await.unwrap();
        assert_eq!(outcome.messages.len(), round);
        reported.add(outcome);
    }
    give.send(hello()).unwrap();
    drop(give);
    reported.add(within_10s(run.next()).await.unwrap());
    assert!(within_10s(run.next()).await.is_none());
    reported.summary = run.summary();
    reported.check(&ledger);
    assert_eq!(reported.count(ACCEPTED), 7);
}

#[tokio::test]
async fn a_stream_may_have_bad_items() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let (give, items) = mpsc::unbounded_channel();
    for item in with_bad_items(10) {
        give.send(item).unwrap();
    }
    drop(give);
    let reported = Reported::by(bulk(&client).send_stream(Channel(items)).unwrap()).await;
    reported.check(&ledger);
    assert_eq!((reported.count(ACCEPTED), reported.bad_items.len()), (7, 3));
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
    let client = client_for(&sandbox).build().unwrap();
    let rows: Vec<String> = (0..5).map(|row| format!("row-{row}")).collect();
    let messages = rows.iter().map(|row| hello().client_message_id(row.as_str()));
    let summary = within_10s(bulk(&client).send(messages).unwrap().finish()).await;
    assert_eq!(summary.counts.accepted, 5);
    assert_eq!(rows.len(), 5);
    let rows = [Row(NUMBER), Row("91234567")];
    let reported = Reported::by(bulk(&client).send(rows).unwrap()).await;
    assert_eq!((reported.count(ACCEPTED), reported.bad_items.len()), (1, 1));
}

#[tokio::test]
async fn a_batch_is_one_request_that_asks_for_results() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let mut run = bulk(&client).send([hello()]).unwrap();
    let outcome = within_10s(run.next()).await.unwrap();
    let accepted = &sandbox.accepted()[0];
    assert_eq!((outcome.requests, outcome.disagreements.len()), (1, 0));
    let message = &outcome.messages[0];
    assert_eq!(message.outcome.kind, ACCEPTED);
    assert_eq!(message.outcome.umid.as_deref(), Some(accepted.umid.as_str()));
    assert_eq!(accepted.client_message_id.as_deref(), Some(id(&message.message)));
    assert_eq!(accepted.msisdn, message.message.user.msisdn());
}

#[tokio::test]
async fn as_many_batches_as_asked_are_in_flight() {
    for at_a_time in [1, 3] {
        let sandbox = Sandbox::builder()
            .answer_with(|_| Answer::Late(Duration::from_millis(200)))
            .start()
            .await
            .unwrap();
        let client = client_for(&sandbox).build().unwrap();
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let messages = hellos(1000).inspect(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let mut run =
            bulk(&client).concurrency(at_a_time).max_messages_per_batch(10).send(messages).unwrap();
        assert_eq!(taken.load(Ordering::SeqCst), 0, "nothing before it is polled");
        within_10s(run.next()).await.unwrap();
        // One is reported, and another has taken its place.
        assert_eq!(taken.load(Ordering::SeqCst), 10 * (at_a_time + 1));
    }
}

#[tokio::test]
async fn a_slow_reader_loses_nothing_and_lets_nothing_pile_up() {
    let ledger = Ledger::default();
    let sandbox = ledger.sandbox().start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let messages = hellos(100).inspect(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let mut run = bulk(&client).concurrency(2).max_messages_per_batch(10).send(messages).unwrap();
    let progress = run.progress();
    let mut reported = Reported::nothing(&run);
    while let Some(outcome) = within_10s(run.next()).await {
        reported.add(outcome);
        // Batches in flight do not wait for the reader, who does not poll here.
        settled(&progress).await;
        assert!(taken.load(Ordering::SeqCst) <= reported.messages.len() + 20);
    }
    reported.summary = run.summary();
    reported.check(&ledger);
    assert_eq!(reported.count(ACCEPTED), 100);
}

#[tokio::test]
async fn progress_can_be_read_from_elsewhere() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let mut run = bulk(&client).concurrency(1).max_messages_per_batch(10).send(hellos(30)).unwrap();
    let progress = run.progress();
    assert_eq!(progress.summary().counts.taken, 0);
    within_10s(run.next()).await.unwrap();
    let counts = progress.summary().counts;
    assert!(counts.accepted >= 10 && counts.taken > counts.settled());
    assert_eq!(counts.pending(), counts.taken - counts.settled());
    within_10s(run.finish()).await;
    let end = progress.summary();
    assert_eq!((end.counts.accepted, end.counts.requests), (30, 3));
    assert!(end.messages_per_second() > 0.0);
    // The clock stops with the last message.
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(progress.summary().elapsed, end.elapsed);
    assert_eq!(
        end.to_string(),
        "30 messages taken: 30 accepted, 0 rejected, 0 not sent, 0 unknown; 3 requests"
    );
}

#[tokio::test]
async fn printed_outcomes_have_no_numbers_and_no_keys() {
    let sandbox = Sandbox::builder().api_key(KEY).start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let body = format!(r#"{{"code": 1000, "message": "{NUMBER} {KEY}"}}"#);
    sandbox.answer_next([
        Answer::Exactly {
            status: StatusCode::BAD_REQUEST.as_u16(),
            headers: Vec::new(),
            body: body.into(),
        },
        Answer::Edited(|answer| {
            let status = &mut answer["messages"][0]["status"];
            status["state"] = "rejected".into();
            status["errorMessage"] = format!("no such user {NUMBER} {KEY}").into();
            answer["acceptedCount"] = 0.into();
            answer["rejectedCount"] = 1.into();
        }),
    ]);
    let mut run = bulk(&client).concurrency(1).max_messages_per_batch(1).send(hellos(2)).unwrap();
    let mut printed = String::new();
    let mut stored = String::new();
    while let Some(outcome) = within_10s(run.next()).await {
        let first = &outcome.messages[0].outcome;
        writeln!(printed, "{outcome:?} {first}").unwrap();
        stored += &serde_json::to_string(first).unwrap();
    }
    write!(printed, "{run:?} {:?} {}", run.progress(), run.summary()).unwrap();
    assert!(printed.contains("not sent, HTTP 400, code 1000: "), "{printed}");
    assert!(printed.contains("rejected: no such user"), "{printed}");
    assert_no_secrets(&printed);
    assert_no_secrets(&stored);
    assert_no_secrets(&format!("{:?}", bulk(&client)));
}

#[tokio::test]
async fn a_run_logs_spans_and_attempts_without_texts_numbers_and_keys() {
    log::start_capture();
    let sandbox = Sandbox::builder().api_key(KEY).start().await.unwrap();
    sandbox.answer_next([Answer::TooManyRequests { retry_after: None }]);
    let client = client_for(&sandbox).build().unwrap();
    let messages = (0..3).map(|index| hello().client_message_id(format!("order-{index}")));
    let run = bulk(&client).concurrency(1).max_messages_per_batch(2).send(messages).unwrap();
    let summary = within_10s(run.finish()).await;
    assert_eq!(summary.counts.accepted, 3);
    let log = log::drain();
    let ours: Vec<_> = log.lines().filter(|line| line.contains(": lon_batch::")).collect();
    let expected = [
        ("run{concurrency=1}:send_batch{messages=2 ", "retrying a batch messages=2 "),
        ("run{concurrency=1}:send_batch{messages=2 ", "http.request.resend_count=1 accepted=2 "),
        ("run{concurrency=1}:send_batch{messages=1 ", "accepted the batch messages=1 "),
        (
            "run{concurrency=1}: ",
            "the run ended accepted=3 rejected=0 not_sent=0 unknown=0 requests=3",
        ),
    ];
    assert_eq!(ours.len(), expected.len(), "{ours:#?}");
    for (line, (span, fields)) in ours.iter().zip(expected) {
        assert!(line.contains(span) && line.contains(fields), "{line}");
        for hidden in ["order-", "Hello", "sandbox"] {
            assert!(!line.contains(hidden), "{line}");
        }
    }
    assert_no_secrets(&log);
}

#[tokio::test]
async fn the_summary_counts_the_hints_of_the_messages() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let shared = SharedContent::from(Content::new("Hello").greeting("x".repeat(600)));
    let thai = Msisdn::parse("+66812345678").unwrap();
    let messages = (0..50).map(|index| match index {
        0..10 => Message::new(thai, Content::new("Hello")),
        10..30 => Message::new(thai, shared.clone()),
        30..35 => Message::new(thai, Content::default().greeting("Hello")),
        _ => Message::new(Msisdn::parse("+6591234567").unwrap(), Content::new("Hello")),
    });
    let summary = within_10s(bulk(&client).send(messages).unwrap().finish()).await;
    let found: Vec<_> =
        summary.hints.iter().map(|it| (it.first.clone(), it.position, it.messages)).collect();
    // Every message has an id, if only one of the run.
    assert_eq!(
        found,
        [(HintKind::TooLong(605), 10, 20), (HintKind::NoTitle, 30, 5), (HintKind::Country, 35, 15),]
    );
}

#[tokio::test]
async fn a_token_cancels_a_run() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let token = CancellationToken::new();
    let mut run = bulk(&client)
        .max_messages_per_batch(10)
        .cancel_with(&token)
        .send((0..).map(|_| hello()))
        .unwrap();
    within_10s(run.next()).await.unwrap();
    token.cancel();
    let summary = within_10s(run.finish()).await;
    assert!(matches!(summary.stop, Some(Stop::Cancelled)));
    assert_eq!(summary.counts.settled(), summary.counts.taken);
    assert_eq!(sandbox.accepted_count(), summary.counts.accepted);
    // And another run with the same token does not start.
    let run = bulk(&client).cancel_with(&token).send([hello()]).unwrap();
    assert_eq!(within_10s(run.finish()).await.counts.taken, 0);
}

#[tokio::test]
async fn a_run_that_ends_does_not_cancel_the_token() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client_for(&sandbox).build().unwrap();
    let token = CancellationToken::new();
    let run = bulk(&client).cancel_with(&token).send([hello()]).unwrap();
    drop(run);
    assert!(!token.is_cancelled());
    let run = bulk(&client).cancel_with(&token).send([hello()]).unwrap();
    let progress = run.progress();
    assert_eq!(within_10s(run.finish()).await.counts.accepted, 1);
    token.cancel();
    assert!(progress.summary().stop.is_none() && progress.summary().ended);
    // Nor is one that has reported everything cancelled afterwards, whether it knows of its end or
    // not.
    for polled in [1, 2] {
        let mut run = bulk(&client).send([hello()]).unwrap();
        for _ in 0..polled {
            within_10s(run.next()).await;
        }
        run.cancel();
        assert!(within_10s(run.next()).await.is_none() && run.summary().stop.is_none());
    }
}

#[tokio::test]
async fn a_response_that_settles_some_messages_leaves_the_others_unknown() {
    type Edit = fn(&mut Value);
    fn entries(answer: &mut Value) -> &mut Vec<Value> {
        answer["messages"].as_array_mut().unwrap()
    }
    const NO_RESULT: &str = "the response has no result for it";
    let (all, none): (&[u64], &[u64]) = (&[0, 1, 2, 3, 4], &[]);
    // The edit, the messages that it leaves unknown and why, and the disagreements.
    let cases: [(&str, Edit, &[u64], &str, usize); 12] = [
        ("as it is", |_| (), none, "", 0),
        ("reordered", |it| entries(it).reverse(), none, "", 0),
        ("one left out", |it| _ = entries(it).remove(2), &[2], NO_RESULT, 1),
        (
            "one twice",
            |it| {
                let first = entries(it)[0].clone();
                entries(it).push(first);
            },
            &[0],
            "the response has several results for it",
            2,
        ),
        (
            "another's id",
            |it| entries(it)[1]["clientMessageId"] = "run-99".into(),
            &[1],
            NO_RESULT,
            0,
        ),
        (
            "an odd state",
            |it| entries(it)[3]["status"]["state"] = "perhaps".into(),
            &[3],
            "its state is perhaps",
            1,
        ),
        (
            "no status",
            |it| _ = entries(it)[4].as_object_mut().unwrap().remove("status"),
            &[4],
            "its entry in the response has no state",
            1,
        ),
        ("other counts", |it| it["acceptedCount"] = 3.into(), none, "", 2),
        ("no entries, and counts that settle it", |it| it["messages"] = Value::Null, none, "", 0),
        (
            "no entries, and other counts",
            |it| {
                it["messages"] = Value::Null;
                it["acceptedCount"] = 4.into();
                it["rejectedCount"] = 1.into();
            },
            all,
            NO_RESULT,
            0,
        ),
        (
            "no entries and no counts",
            |it| {
                it["messages"] = Value::Null;
                it["acceptedCount"] = Value::Null;
            },
            all,
            NO_RESULT,
            1,
        ),
        ("empty", |it| entries(it).clear(), all, NO_RESULT, 1),
    ];
    for (name, edit, unknown, reason, disagreements) in cases {
        let ledger = Ledger::default();
        let sandbox = ledger.sandbox_with([Answer::Edited(edit)]).await;
        let client = client_for(&sandbox).build().unwrap();
        let mut run = bulk(&client).send(hellos(5)).unwrap();
        let outcome = within_10s(run.next()).await.unwrap();
        assert_eq!(outcome.disagreements.len(), disagreements, "{name}");
        let mut reported = Reported::nothing(&run);
        reported.add(outcome);
        assert!(within_10s(run.next()).await.is_none());
        reported.summary = run.summary();
        reported.check(&ledger);
        for position in 0..5 {
            let outcome = reported.outcome(position);
            if unknown.contains(&position) {
                assert_eq!(outcome.kind, OutcomeKind::Unknown, "{name}");
                assert_eq!(outcome.reason.as_deref(), Some(reason), "{name}");
            } else {
                assert_eq!(outcome.kind, ACCEPTED, "{name}");
            }
        }
        assert_eq!(sandbox.requests(), 1, "{name}");
    }
}
