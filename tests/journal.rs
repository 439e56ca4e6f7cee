//! A journal: everything is recorded before it leaves, and after any end the unknown messages are
//! those with `sending` and without `settled`.

mod common;

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use lon_batch::bulk::{Bulk, CancellationToken, Chunk, Deadline, Journal, Run, Sender, Stop};
use lon_batch::{Client, Message, Outcome, OutcomeKind};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use common::journal::{Act, MemoryJournal};
use common::ledger::{Ledger, Reported, next_or_panic};
use common::runs::{bulk, hello, hellos, quick, settled};
use common::{RawServer, client_without_retries, http_response, msisdn, read_request, within_10s};

use Act::{Fail, Record, RecordAndFail, RecordLate, RecordTooLate, Stall};
use OutcomeKind::{Accepted, NotSent, Unknown};

/// The answer of the server to a request.
#[derive(Clone, Copy, Debug)]
enum Step {
    Accept,
    AcceptAndReset,
    AcceptAndFail,
    AcceptAndStall,
    Busy,
    TooLarge,
    Refuse,
}

struct Rig {
    ledger: Ledger,
    journal: MemoryJournal,
    server: RawServer,
}

impl Rig {
    /// A server that reports each message to the journal when it has read the request.
    async fn start(
        journal: MemoryJournal,
        step: impl FnMut(u64, usize) -> Step + Send + 'static,
    ) -> Self {
        let ledger = Ledger::default();
        let (accepted, seen) = (ledger.clone(), journal.clone());
        let (requests, step) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(step)));
        let server = RawServer::start(move |mut stream| {
            let (accepted, seen) = (accepted.clone(), seen.clone());
            let (requests, step) = (Arc::clone(&requests), Arc::clone(&step));
            async move {
                let request = read_request(&mut stream).await;
                let (_, body) = request.split_once("\r\n\r\n").unwrap();
                let body: Value = serde_json::from_str(body).unwrap();
                let chunk = body["clientBatchId"].as_str().unwrap();
                let messages = body["messages"].as_array().unwrap();
                let ids: Vec<_> =
                    messages.iter().map(|it| it["clientMessageId"].as_str().unwrap()).collect();
                for id in &ids {
                    seen.received(chunk, id);
                }
                let number = requests.fetch_add(1, Ordering::SeqCst);
                let step = (*step.lock().unwrap())(number, ids.len());
                let is_accepted = matches!(
                    step,
                    Step::Accept
                        | Step::AcceptAndReset
                        | Step::AcceptAndFail
                        | Step::AcceptAndStall
                );
                if is_accepted {
                    for id in &ids {
                        accepted.accept(id);
                    }
                }
                let results = ids.iter().map(
                    |id| json!({"umid": id, "clientMessageId": id, "status": {"state": "queued"}}),
                );
                let results = json!({
                    "acceptedCount": ids.len(), "rejectedCount": 0,
                    "messages": results.collect::<Vec<_>>(),
                });
                let (status, body) = match step {
                    Step::Accept => ("200 OK", results.to_string()),
                    Step::AcceptAndFail => ("500 Internal Server Error", String::new()),
                    Step::Busy => ("429 Too Many Requests", String::new()),
                    Step::TooLarge => ("413 Payload Too Large", String::new()),
                    Step::Refuse => ("400 Bad Request", r#"{"code": 1000}"#.to_owned()),
                    Step::AcceptAndReset => return stream.set_zero_linger().unwrap(),
                    Step::AcceptAndStall => return std::future::pending().await,
                };
                // The client may be gone.
                let _ =
                    stream.write_all(&http_response(status, "connection: close\r\n", body)).await;
            }
        })
        .await;
        Self { ledger, journal, server }
    }

    fn client(&self) -> Client {
        client_without_retries(self.server.base_url())
            .timeout(Duration::from_millis(500))
            .build()
            .unwrap()
    }

    /// Chunks of ten, one in flight.
    fn bulk(&self) -> Bulk<'static, MemoryJournal> {
        let bulk = bulk(&self.client()).max_messages_per_batch(10).concurrency(1);
        bulk.journal(self.journal.clone())
    }

    fn run(&self, messages: usize) -> Run<'static, MemoryJournal> {
        self.bulk().send(hellos(messages)).unwrap()
    }
}

fn ids(range: std::ops::Range<usize>) -> HashSet<String> {
    range.map(|position| format!("run-{position}")).collect()
}

#[tokio::test]
async fn each_attempt_is_journalled_before_it_leaves_and_settled_once() {
    // The first chunk is busy once, the second too large, the third refused.
    let steps =
        [Step::Busy, Step::Accept, Step::TooLarge, Step::Accept, Step::Accept, Step::Refuse];
    let rig = Rig::start(MemoryJournal::reliable(), move |number, _| {
        steps[usize::try_from(number).unwrap()]
    })
    .await;
    let reported = Reported::by(rig.run(30)).await;
    reported.check(&rig.ledger);
    rig.journal.check(&rig.ledger);
    rig.journal.assert_nothing_in_flight();
    assert_eq!((reported.count(Accepted), reported.count(NotSent)), (20, 10));
    assert_eq!(rig.journal.calls(), (6, 6));
    for position in 0..30 {
        let id = format!("run-{position}");
        assert_eq!(rig.journal.outcome(&id), Some(reported.outcome(position).kind), "{id}");
    }
}

#[tokio::test]
async fn sending_that_fails_stops_the_run_and_sends_nothing() {
    for (act, in_flight) in [(Fail, ids(0..0)), (RecordAndFail, ids(10..20))] {
        let journal =
            MemoryJournal::new(move |number| if number == 1 { act } else { Record }, |_| Record);
        let rig = Rig::start(journal, |_, _| Step::Accept).await;
        let reported = Reported::by(rig.run(1000)).await;
        reported.check(&rig.ledger);
        rig.journal.check(&rig.ledger);
        assert_eq!(rig.server.connections(), 1);
        // A record whose reply was lost counts as in flight, although nothing was sent.
        assert_eq!(rig.journal.in_flight(), in_flight);
        assert_eq!(
            reported.outcome(10).to_string(),
            "not sent: the journal failed before it was sent"
        );
        let stop = reported.summary.stop.unwrap();
        assert!(matches!(stop, Stop::Journal(_)));
        assert_eq!(stop.to_string(), "the journal failed: no space left");
    }
}

#[tokio::test]
async fn settled_that_fails_stops_the_run_and_the_outcomes_are_reported() {
    for (act, in_flight) in [(Fail, ids(10..20)), (RecordAndFail, ids(0..0))] {
        let journal =
            MemoryJournal::new(|_| Record, move |number| if number == 1 { act } else { Record });
        let rig = Rig::start(journal, |_, _| Step::Accept).await;
        let reported = Reported::by(rig.run(1000)).await;
        reported.check(&rig.ledger);
        rig.journal.check(&rig.ledger);
        assert_eq!((reported.count(Accepted), rig.server.connections()), (20, 2));
        assert_eq!(rig.journal.in_flight(), in_flight);
        assert!(matches!(reported.summary.stop, Some(Stop::Journal(_))));
    }
    // Also if a retry or the halves would follow.
    for step in [Step::Busy, Step::TooLarge] {
        let journal = MemoryJournal::new(|_| Record, |_| Fail);
        let rig = Rig::start(journal, move |_, _| step).await;
        let reported = Reported::by(rig.run(10)).await;
        reported.check(&rig.ledger);
        assert_eq!((reported.count(NotSent), rig.server.connections()), (10, 1), "{step:?}");
        assert!(matches!(reported.summary.stop, Some(Stop::Journal(_))), "{step:?}");
    }
}

#[tokio::test]
async fn a_journal_that_panics_stops_the_run() {
    let panics = |at| move |number| if number == at { Act::Panic } else { Record };
    for (sending, settled, accepted) in [(1, u64::MAX, 10), (u64::MAX, 1, 20)] {
        let journal = MemoryJournal::new(panics(sending), panics(settled));
        let rig = Rig::start(journal, |_, _| Step::Accept).await;
        let mut run = rig.run(1000);
        let first = within_10s(next_or_panic(&mut run)).await.unwrap().unwrap();
        assert_eq!(first.messages.len(), 10);
        within_10s(next_or_panic(&mut run)).await.unwrap_err();
        // Nobody sees the outcomes of the second chunk, so they count as unknown.
        let counts = within_10s(async {
            while next_or_panic(&mut run).await.unwrap().is_some() {}
            run.summary()
        });
        let summary = counts.await;
        assert_eq!((summary.counts.accepted, summary.counts.unknown), (10, 10));
        assert_eq!((summary.counts.pending(), rig.ledger.total()), (0, accepted));
        assert_eq!(summary.stop.unwrap().to_string(), "the journal failed: it panicked");
        rig.journal.check(&rig.ledger);
    }
}

#[tokio::test]
async fn a_chunk_whose_deadline_passed_is_not_sent_and_the_run_continues() {
    let journal = MemoryJournal::new(
        |number| if number == 1 { RecordTooLate } else { RecordLate },
        |_| RecordLate,
    );
    let rig = Rig::start(journal, |_, _| Step::Accept).await;
    let reported = Reported::by(rig.run(30)).await;
    reported.check(&rig.ledger);
    rig.journal.check(&rig.ledger);
    rig.journal.assert_nothing_in_flight();
    assert_eq!((reported.count(Accepted), rig.server.connections()), (20, 2));
    assert_eq!(
        reported.outcome(10).to_string(),
        "not sent: its deadline passed before it was sent"
    );
    assert_eq!(rig.journal.outcome("run-10"), Some(NotSent));
    assert!(reported.summary.stop.is_none());
}

/// A journal that keeps the `Debug` of the last chunk.
struct Printing(Arc<Mutex<String>>);

impl Journal for Printing {
    type Error = Infallible;

    async fn sending(&self, chunk: &Chunk) -> Result<Option<Deadline>, Infallible> {
        *self.0.lock().unwrap() = format!("{chunk:?}");
        Ok(None)
    }

    async fn settled(&self, _: &Chunk, _: &[Outcome]) -> Result<(), Infallible> {
        Ok(())
    }
}

#[tokio::test]
async fn a_chunk_prints_its_id_and_size_and_no_message() {
    let printed = Arc::new(Mutex::new(String::new()));
    let rig = Rig::start(MemoryJournal::reliable(), |_, _| Step::Refuse).await;
    let run = bulk(&rig.client()).journal(Printing(Arc::clone(&printed))).send(hellos(3)).unwrap();
    within_10s(run.finish()).await;
    let printed = printed.lock().unwrap();
    assert!(printed.starts_with("Chunk { id: \"run-") && printed.ends_with("-0\", messages: 3 }"));
}

#[test]
fn a_deadline_passes_after_its_time() {
    assert!(Deadline::after(Duration::ZERO).has_passed());
    assert!(!Deadline::after(Duration::from_secs(3600)).has_passed());
    assert!(!Deadline::after(Duration::MAX).has_passed());
}

#[tokio::test]
async fn nothing_is_sent_while_sending_stalls_and_cancelling_does_not_cut_it() {
    let journal = MemoryJournal::new(|number| if number == 1 { Stall } else { Record }, |_| Record);
    let rig = Rig::start(journal, |_, _| Step::Accept).await;
    let mut run = rig.run(1000);
    let progress = run.progress();
    assert_eq!(within_10s(run.next()).await.unwrap().messages.len(), 10);
    let mut next = Box::pin(run.next());
    let waits = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
    assert!(waits);
    drop(next);
    while rig.journal.calls().0 < 2 {
        tokio::task::yield_now().await;
    }
    run.cancel();
    drop(run);
    assert_eq!(rig.server.connections(), 1);
    assert_eq!(progress.summary().counts.pending(), 10);
    rig.journal.check(&rig.ledger);
}

#[tokio::test]
async fn an_outcome_counts_earlier_attempts_that_may_have_been_sent() {
    let steps = [Step::AcceptAndFail, Step::Busy, Step::Refuse];
    let rig = Rig::start(MemoryJournal::reliable(), move |number, _| {
        steps[usize::try_from(number).unwrap()]
    })
    .await;
    let policy = quick().resend_ambiguous_and_risk_duplicates();
    let run = rig.bulk().retry(policy).send(hellos(10)).unwrap();
    let reported = Reported::by(run).await;
    reported.check(&rig.ledger);
    // The latest record of a message stands, so the refusal must not replace `unknown`.
    rig.journal.check(&rig.ledger);
    assert_eq!((reported.count(Unknown), rig.server.connections()), (10, 3));
    assert_eq!(rig.journal.outcome("run-0"), Some(Unknown));
}

#[tokio::test]
async fn a_new_run_skips_and_keeps_the_ids() {
    let rig = Rig::start(MemoryJournal::reliable(), |_, _| Step::Accept).await;
    // Row 7 is bad, and some rows have ids of their own.
    let rows = || {
        (0..40).map(|row| match row {
            7 => Err("bad row"),
            20..25 => Ok(hello().client_message_id(format!("own-{row}"))),
            _ => Ok(hello()),
        })
    };
    let mut run = rig.bulk().send(rows()).unwrap();
    within_10s(run.next()).await.unwrap();
    run.cancel();
    let first = within_10s(run.finish()).await.counts;
    assert!(first.taken < 39, "{first:?}");
    let journal = rig.journal.clone();
    let mut positions = Vec::new();
    let run = rig
        .bulk()
        .skip(|position, message| {
            positions.push(position);
            let id = message.client_message_id.as_deref().unwrap();
            journal.in_flight().contains(id) || journal.outcome(id) == Some(Accepted)
        })
        .send(rows())
        .unwrap();
    let reported = Reported::by(run).await;
    let counts = reported.counts();
    assert_eq!((counts.skipped, counts.taken), (first.accepted, 39 - first.accepted));
    assert_eq!((counts.accepted, reported.bad_items[0].position), (counts.taken, 7));
    assert_eq!(positions, (0..40).filter(|row| *row != 7).collect::<Vec<u64>>());
    let mut all = rig.ledger.all().into_keys().collect::<Vec<_>>();
    all.sort_unstable();
    let mut expected: Vec<_> = (0..40)
        .filter(|row| *row != 7)
        .map(
            |row| if (20..25).contains(&row) { format!("own-{row}") } else { format!("run-{row}") },
        )
        .collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
    rig.journal.check(&rig.ledger);
    let shown = reported.summary.to_string();
    assert!(shown.contains(&format!("; {} skipped; 1 bad items; ", first.accepted)), "{shown}");
}

/// A sender of ten messages, with surprises by a seed.
async fn random_rig(random: &mut fastrand::Rng) -> Rig {
    let (mut of_sending, mut of_settled, mut of_server) =
        (random.fork(), random.fork(), random.fork());
    let journal = MemoryJournal::new(
        move |_| match of_sending.u32(0..30) {
            0 => Fail,
            1 => RecordAndFail,
            2 | 3 => RecordTooLate,
            4..20 => RecordLate,
            _ => Record,
        },
        move |_| match of_settled.u32(0..30) {
            0 => Fail,
            1 => RecordAndFail,
            2..15 => RecordLate,
            _ => Record,
        },
    );
    Rig::start(journal, move |_, messages| match of_server.u32(0..20) {
        0 | 1 => Step::Busy,
        2 | 3 if messages > 1 => Step::TooLarge,
        4 => Step::AcceptAndReset,
        5 => Step::AcceptAndFail,
        6 if of_server.u32(0..10) == 0 => Step::AcceptAndStall,
        7 => Step::Refuse,
        _ => Step::Accept,
    })
    .await
}

/// A run that may be cancelled or dropped after some outcomes.
async fn schedule(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let rig = random_rig(&mut random).await;
    let bulk = rig
        .bulk()
        .concurrency(random.usize(1..5))
        .max_messages_per_batch(random.usize(1..12))
        .stop_after_unknown(None);
    let mut run = bulk.send(hellos(random.usize(0..60))).unwrap();
    let (end_after, dropped) = (random.usize(0..20), random.bool());
    let progress = run.progress();
    let mut reported = Reported::nothing(&run);
    for outcomes in 0.. {
        if outcomes == end_after && dropped {
            drop(run);
            settled(&progress).await;
            rig.journal.check(&rig.ledger);
            return;
        }
        if outcomes == end_after {
            run.cancel();
        }
        match run.next().await {
            Some(outcome) => reported.add(outcome),
            None => break,
        }
    }
    reported.summary = run.summary();
    reported.check(&rig.ledger);
    rig.journal.check(&rig.ledger);
    if !matches!(reported.summary.stop, Some(Stop::Journal(_))) {
        rig.journal.assert_nothing_in_flight();
    }
    // The caller and the journal agree, except where the journal failed.
    for message in &reported.messages {
        let id = message.message.client_message_id.as_deref().unwrap();
        let recorded = rig.journal.outcome(id);
        let agrees = recorded.is_none_or(|it| it == message.outcome.kind);
        assert!(agrees || rig.journal.in_flight().contains(id), "{id}: {recorded:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_schedules_leave_in_flight_whatever_has_no_outcome() {
    let number = |name| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    let schedules = number("LON_SCHEDULES").unwrap_or(200);
    let first = fastrand::u64(..u64::MAX - schedules);
    // One seed from the environment, to repeat a failure.
    let one = number("LON_SCHEDULE").map(|seed| seed..seed + 1);
    let mut running = JoinSet::new();
    for seed in one.unwrap_or(first..first + schedules) {
        if running.len() >= 32 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(async move {
            let schedule = tokio::time::timeout(Duration::from_secs(30), schedule(seed));
            let ended = tokio::spawn(schedule).await;
            assert!(ended.is_ok_and(|it| it.is_ok()), "repeat it with LON_SCHEDULE={seed}");
        });
    }
    running.join_all().await;
}

fn ten() -> Vec<Message> {
    (0..10).map(|index| hello().client_message_id(format!("run-{index}"))).collect()
}

/// Polls a send this often and drops it; `true` if it finished before.
async fn dropped_after(sender: &Sender<MemoryJournal>, polls: usize) -> bool {
    let mut send = pin!(sender.send(ten()));
    let mut polled = 0;
    poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        send.as_mut().poll(cx).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn a_send_dropped_at_any_await_leaves_in_flight_whatever_has_no_outcome() {
    // Busy, too large, and then the halves.
    let steps = [Step::Busy, Step::TooLarge, Step::Accept, Step::AcceptAndFail];
    let mut finished = 0;
    for polls in 0..400 {
        let journal = MemoryJournal::new(|_| RecordLate, |_| RecordLate);
        let rig =
            Rig::start(journal, move |number, _| steps[usize::try_from(number).unwrap().min(3)])
                .await;
        let sender = rig.bulk().sender().unwrap();
        let has_finished = within_10s(dropped_after(&sender, polls)).await;
        // Bytes in the socket may still arrive.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        rig.journal.check(&rig.ledger);
        if has_finished {
            rig.journal.assert_nothing_in_flight();
            finished += 1;
        }
        if finished == 5 {
            assert!(polls > 10, "there are more awaits than that");
            return;
        }
    }
    panic!("it never finished");
}

#[test]
fn a_runtime_that_shuts_down_leaves_in_flight_whatever_has_no_outcome() {
    let servers = tokio::runtime::Runtime::new().unwrap();
    for after in 0..30 {
        let journal = MemoryJournal::new(|_| RecordLate, |_| RecordLate);
        let rig = servers.block_on(Rig::start(journal, |number, _| match number % 4 {
            2 => Step::Busy,
            3 => Step::AcceptAndStall,
            _ => Step::Accept,
        }));
        let clients = tokio::runtime::Runtime::new().unwrap();
        let mut run = rig.bulk().concurrency(3).send(hellos(200)).unwrap();
        let progress = run.progress();
        clients.block_on(async {
            for _ in 0..after {
                let mut next = pin!(run.next());
                poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_ready())).await;
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        });
        clients.shutdown_background();
        drop(run);
        servers.block_on(settled(&progress));
        rig.journal.check(&rig.ledger);
    }
}

#[tokio::test]
async fn a_sender_keeps_to_its_limits_and_its_token() {
    let rig = Rig::start(MemoryJournal::reliable(), |_, _| Step::Accept).await;
    let token = CancellationToken::new();
    let sender = rig.bulk().cancel_with(&token).sender().unwrap();
    let mut messages = hellos(25).collect::<Vec<_>>();
    for (index, message) in messages.iter_mut().enumerate() {
        message.client_message_id = Some(format!("run-{index}").into());
    }
    messages.push(Message::new(msisdn(), lon_batch::Content::default()));
    let sent = within_10s(sender.send(messages.clone())).await;
    // Three requests of at most ten, and one message that is invalid.
    assert_eq!((sent.requests, rig.server.connections()), (3, 3));
    assert!(sent.stop.is_none() && sent.error.is_none());
    let positions: Vec<_> = sent.messages.iter().map(|it| it.position).collect();
    assert_eq!(positions, (0..26).collect::<Vec<_>>());
    assert_eq!(sent.messages[25].outcome.kind, NotSent);
    assert!(sent.messages[..25].iter().all(|it| it.outcome.kind == Accepted));
    assert!(within_10s(sender.send(Vec::new())).await.messages.is_empty());
    token.cancel();
    let sent = within_10s(sender.clone().send(messages)).await;
    assert!(matches!(sent.stop, Some(Stop::Cancelled)));
    assert!(sent.messages.iter().all(|it| it.outcome.kind == NotSent));
    assert_eq!(rig.journal.calls(), (3, 3));
}
