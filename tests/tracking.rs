//! What becomes of messages, folded from answers and receipts in any order.

mod common;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lon_batch::receipt::{Code, DeliveryReceipt, Effect, Event, MessageTracker, Stage};
use lon_batch::types::{BatchResponse, Channel, ErrorCode, MessageState};
use lon_batch::{Error, Outcome, OutcomeKind, RetryPolicy};
use lon_sandbox::{Answer, Rejection, Sandbox};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::receipt::UMID;
use crate::common::{
    NUMBER, assert_no_secrets, batch, client_for, client_without_retries, message,
};

const OTHER: &str = "15bb8ad1-d06e-418c-8dc7-ac8a00ffeb70";

fn receipt(payload: &Value) -> Box<DeliveryReceipt> {
    let mut envelope = json!({
        "version": 9,
        "namespace": "ChatApps",
        "eventType": "outbound_message_status_changed",
        "payload": payload,
    });
    let channel = &mut envelope["payload"]["channel"];
    if channel.is_null() {
        *channel = "LineNotification".into();
    }
    match Event::from_json(envelope.to_string().as_bytes()).unwrap() {
        Event::Receipt(receipt) | Event::OtherChannel(receipt) => receipt,
        other => panic!("{other}"),
    }
}

/// A receipt of the message `a` in a state at a second.
fn state(umid: &str, state: &str, second: u32) -> Box<DeliveryReceipt> {
    receipt(&json!({
        "umid": umid,
        "clientMessageId": "a",
        "status": {"state": state, "timestamp": format!("2026-01-04T08:20:{second:02}Z")},
    }))
}

fn answer(entries: &Value) -> BatchResponse {
    let body = json!({"batchId": "b", "messages": entries});
    BatchResponse::from_json(body.to_string().as_bytes()).unwrap()
}

/// A sandbox that rejects the message with an id, or every one.
async fn rejecting(id: Option<&'static str>) -> Sandbox {
    let builder = Sandbox::builder().judge(move |message| {
        let is_it = id.is_none_or(|id| message["clientMessageId"] == id);
        is_it.then(|| Rejection::from(3003))
    });
    builder.start().await.unwrap()
}

/// All that a tracker tells, in an order of its own.
fn told(tracker: &MessageTracker) -> String {
    let mut messages: Vec<_> = tracker
        .messages()
        .map(|message| {
            if let Some(umid) = message.umid() {
                let found = tracker.with_umid(&umid).unwrap();
                assert_eq!(found.umid().unwrap(), umid);
            }
            if let Some(id) = message.client_message_id() {
                let mut found = tracker.with_client_message_id(id);
                assert!(found.any(|it| it.umid() == message.umid()));
            }
            let mut text = format!(
                "{:?} {:?} {} {:?} {} {}",
                message.umid(),
                message.client_message_id(),
                message.stage(),
                message.current(),
                message.is_contradictory(),
                message.times_taken(),
            );
            for change in message.history() {
                write!(text, "\n  {change:?}").unwrap();
            }
            text
        })
        .collect();
    messages.sort_unstable();
    format!("{}\n{:?}", messages.join("\n"), tracker.counts())
}

#[test]
fn a_message_moves_forward_and_never_back() {
    let mut tracker = MessageTracker::new();
    let moved = |from, to| Effect::Moved { from, to };
    for (next, effect) in [
        (state(UMID, "queued", 1), moved(Stage::Unknown, Stage::Accepted)),
        (state(UMID, "queued", 1), Effect::Known),
        (state(UMID, "delivered", 3), moved(Stage::Accepted, Stage::Delivered)),
        (state(UMID, "sent", 2), Effect::Kept(Stage::Delivered)),
        (state(UMID, "sent", 2), Effect::Known),
        (state(UMID, "queued", 9), Effect::Kept(Stage::Delivered)),
        (state(UMID, "on_the_moon", 9), Effect::Kept(Stage::Delivered)),
    ] {
        assert_eq!(tracker.receipt(&next), effect, "{:?}", next.state());
    }
    let message = tracker.with_umid(UMID).unwrap();
    assert_eq!(message.stage(), Stage::Delivered);
    assert_eq!(message.current().unwrap().state, MessageState::Delivered);
    assert_eq!(message.client_message_id(), Some("a"));
    assert_eq!(message.umid().unwrap(), UMID);
    assert!(!message.is_contradictory());
    let history: Vec<_> = message.history().iter().map(|change| change.state.to_string()).collect();
    assert_eq!(history, ["queued", "sent", "delivered", "on_the_moon", "queued"]);
    assert_eq!(tracker.counts().delivered, 1);
    assert_eq!(tracker.counts().total(), 1);
    assert_eq!(tracker.counts().settled(), 1);
}

#[test]
fn contradicting_final_states_are_kept_and_who_has_it_counts() {
    let finals = ["delivered", "undelivered", "rejected"];
    for (first, second) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        let mut tracker = MessageTracker::new();
        tracker.receipt(&state(UMID, finals[first], 1));
        assert!(!tracker.with_umid(UMID).unwrap().is_contradictory());
        tracker.receipt(&state(UMID, finals[second], 2));
        let message = tracker.with_umid(UMID).unwrap();
        assert!(message.is_contradictory());
        assert_eq!(message.stage().as_str(), finals[first.min(second)]);
        assert_eq!(message.current().unwrap().state.as_str(), finals[first.min(second)]);
        assert_eq!(message.history().len(), 2);
        assert_eq!(tracker.counts().contradictory, 1);
        assert_eq!(tracker.counts().total(), 1);
    }
}

#[test]
fn the_latest_of_one_stage_is_shown() {
    let mut tracker = MessageTracker::new();
    tracker.receipt(&state(UMID, "read", 2));
    tracker.receipt(&state(UMID, "delivered", 1));
    let current = tracker.with_umid(UMID).unwrap().current().unwrap();
    assert_eq!(current.state, MessageState::Read);
    assert!(!tracker.with_umid(UMID).unwrap().is_contradictory());
}

#[test]
fn the_same_moment_in_another_form_is_the_same_change() {
    let mut tracker = MessageTracker::new();
    let at = |text: &str| {
        receipt(&json!({"umid": UMID, "status": {"state": "sent", "timestamp": text}}))
    };
    for (text, effect) in [
        ("2020-01-04T08:19:45.99Z", Effect::Moved { from: Stage::Unknown, to: Stage::Sent }),
        ("2020-01-04T08:19:45.9900000+00:00", Effect::Known),
        ("2020-01-04T15:19:45.99+07:00", Effect::Known),
        ("2020-01-04T08:19:45.99", Effect::Known),
        ("2020-01-04T08:19:46Z", Effect::Kept(Stage::Sent)),
        ("yesterday", Effect::Kept(Stage::Sent)),
        ("yesterday", Effect::Known),
        ("2016-12-31T23:59:60Z", Effect::Kept(Stage::Sent)),
        ("2016-12-31T23:59:60Z", Effect::Known),
        ("2999-12-31T23:59:59Z", Effect::Kept(Stage::Sent)),
        ("2999-12-31T23:59:59Z", Effect::Known),
    ] {
        assert_eq!(tracker.receipt(&at(text)), effect, "{text}");
    }
    let none = receipt(&json!({"umid": UMID, "status": {"state": "sent"}}));
    assert_eq!(tracker.receipt(&none), Effect::Kept(Stage::Sent));
    assert_eq!(tracker.receipt(&none), Effect::Known);
    let history = tracker.with_umid(UMID).unwrap().history();
    let times: Vec<_> =
        history.iter().map(|change| change.timestamp.as_ref().map(ToString::to_string)).collect();
    let time = |text: &str| Some(text.to_owned());
    let mut odd = times[..2].to_vec();
    odd.sort();
    assert_eq!(odd, [None, time("yesterday")], "what is no moment comes first");
    assert_eq!(
        times[2..],
        [
            time("2017-01-01T00:00:00Z"),
            time("2020-01-04T08:19:45.990Z"),
            time("2020-01-04T08:19:46Z"),
            time("2999-12-31T23:59:59Z"),
        ]
    );
}

#[test]
fn codes_of_an_answer_and_of_a_receipt_are_told_apart() {
    let mut tracker = MessageTracker::new();
    tracker.answered(&answer(&json!([{
        "umid": UMID, "clientMessageId": "a",
        "status": {"state": "rejected", "errorCode": 3038, "timestamp": "2026-01-04T08:20:00Z"},
    }])));
    tracker.receipt(&receipt(&json!({
        "umid": OTHER,
        "status": {"state": "undelivered", "errorCode": 36, "timestamp": "2026-01-04T08:20:00Z"},
    })));
    let current = |umid: &str| tracker.with_umid(umid).unwrap().current().unwrap();
    let (rejected, undelivered) = (current(UMID), current(OTHER));
    assert!(matches!(rejected.code, Some(Code::Api(code)) if code.value() == 3038));
    assert_eq!(rejected.reason.unwrap(), "No approved template matches the content.");
    assert!(matches!(undelivered.code, Some(Code::Receipt(code)) if code.value() == 36));
    assert_eq!(undelivered.reason.unwrap(), "The message expired before it was delivered.");
    assert_eq!((tracker.counts().rejected, tracker.counts().undelivered), (1, 1));
}

#[test]
fn a_reason_stays_with_its_code() {
    let status = json!({
        "state": "rejected", "timestamp": "2026-01-04T08:20:00Z",
        "errorCode": 3038, "errorMessage": "Wrong template",
    });
    let mut of_receipt = status.clone();
    of_receipt["errorCode"] = 41.into();
    of_receipt["errorMessage"] = "A reason".into();
    let of_receipt = Fed::Receipt(receipt(&json!({"umid": UMID, "status": of_receipt})));
    for order in [[0, 1], [1, 0]] {
        let fed = [entry(Some(UMID), &status), of_receipt.clone()];
        let mut tracker = MessageTracker::new();
        for index in order {
            fed[index].to(&mut tracker);
        }
        let message = tracker.with_umid(UMID).unwrap();
        assert_eq!(message.history().len(), 1);
        let shown = message.current().unwrap();
        assert!(matches!(shown.code, Some(Code::Receipt(code)) if code.value() == 41));
        assert_eq!(shown.reason.unwrap(), "A reason");
    }
}

#[tokio::test]
async fn a_receipt_proves_that_a_message_was_taken_whose_answer_was_lost() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.answer_next([Answer::AcceptAndHangUp]);
    let client = client_for(&sandbox).build().unwrap();
    let batch = batch(&["a", "b"]);
    let result = client.send(&batch).await;
    assert_eq!(result.as_ref().unwrap_err().outcome(), OutcomeKind::Unknown);

    let mut tracker = MessageTracker::new();
    tracker.sent(&batch, &result);
    assert_eq!(tracker.counts().unknown, 2);
    let unknown = tracker.with_client_message_id("a").next().unwrap();
    assert_eq!((unknown.umid(), unknown.current()), (None, None));
    assert_eq!(unknown.times_taken(), 0);

    let umid = sandbox.accepted()[0].umid.clone();
    let effect = tracker.receipt(&state(&umid, "sent", 1));
    assert_eq!(effect, Effect::Moved { from: Stage::Unknown, to: Stage::Sent });
    let messages: Vec<_> = tracker.with_client_message_id("a").collect();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].umid().as_deref(), Some(umid.as_str()));
    assert_eq!(messages[0].times_taken(), 1);
    let counts = tracker.counts();
    assert_eq!((counts.unknown, counts.sent, counts.total()), (1, 1, 2));
}

#[tokio::test]
async fn what_was_not_sent_is_not_followed() {
    let refusing = Sandbox::builder().api_key("another").start().await.unwrap();
    let refused = client_without_retries(refusing.base_url()).build().unwrap();
    let closed = Sandbox::start().await.unwrap();
    let nobody = client_without_retries(closed.base_url()).build().unwrap();
    drop(closed);
    let batch = batch(&["a"]);
    let mut tracker = MessageTracker::new();
    for client in [refused, nobody] {
        let result = client.send(&batch).await;
        assert!(matches!(result, Err(Error::Refused(_) | Error::NoConnection(_))), "{result:?}");
        tracker.sent(&batch, &result);
    }
    assert_eq!(tracker.counts().total(), 0);
}

#[test]
fn every_message_of_an_answer_is_followed() {
    let batch = batch(&["a", "b", "c"]);
    let mut tracker = MessageTracker::new();
    // One with a umid, one without, and nothing about the third.
    let response = answer(&json!([
        {"umid": UMID, "clientMessageId": "a", "status": {"state": "queued"}},
        {"clientMessageId": "b", "status": {"state": "rejected", "errorCode": 3003}},
    ]));
    tracker.sent(&batch, &Ok(response));
    let stage = |id: &str| {
        let messages: Vec<_> = tracker.with_client_message_id(id).collect();
        assert_eq!(messages.len(), 1, "{id}");
        messages[0].stage()
    };
    assert_eq!(stage("a"), Stage::Accepted);
    assert_eq!(stage("b"), Stage::Rejected);
    assert_eq!(stage("c"), Stage::Unknown);
    assert_eq!(tracker.counts().total(), 3);
}

#[test]
fn counts_that_leave_no_doubt_settle_all() {
    let batch = batch(&["a", "b"]);
    let counted = |accepted: u8, rejected: u8| {
        let body = json!({"acceptedCount": accepted, "rejectedCount": rejected});
        let response = BatchResponse::from_json(body.to_string().as_bytes()).unwrap();
        let mut tracker = MessageTracker::new();
        tracker.sent(&batch, &Ok(response));
        let counts = tracker.counts();
        (counts.accepted, counts.rejected, counts.unknown)
    };
    assert_eq!(counted(2, 0), (2, 0, 0));
    assert_eq!(counted(0, 2), (0, 2, 0));
    assert_eq!(counted(1, 1), (0, 0, 2));
}

#[test]
fn a_message_that_the_platform_took_twice_shows() {
    let mut tracker = MessageTracker::new();
    tracker.receipt(&state(UMID, "delivered", 1));
    // A new umid is a new message, whatever the other came to.
    let effect = tracker.receipt(&state(OTHER, "sent", 2));
    assert_eq!(effect, Effect::Moved { from: Stage::Unknown, to: Stage::Sent });
    let messages: Vec<_> = tracker.with_client_message_id("a").collect();
    assert_eq!(messages.len(), 2);
    assert!(messages.iter().all(|message| message.times_taken() == 2));
    assert_eq!(tracker.counts().taken_again, 1);

    // One that was rejected was not sent.
    tracker.receipt(&state(OTHER, "rejected", 3));
    assert_eq!(tracker.with_umid(UMID).unwrap().times_taken(), 1);
    assert_eq!(tracker.counts().taken_again, 0);
}

/// Feeds in every order, and tells stages and umids of the messages with the id `a`.
fn in_every_order(fed: &[Fed]) -> Vec<(Stage, bool)> {
    let mut all = orders(fed.len()).into_iter().map(|order| {
        let mut tracker = MessageTracker::new();
        for index in order {
            fed[index].to(&mut tracker);
        }
        let messages = tracker.with_client_message_id("a");
        let mut stages: Vec<_> = messages
            .map(|it| {
                let shown = it.current().map(|change| change.stage());
                match it.stage() {
                    Stage::Unknown => assert!(shown.is_none_or(|it| it == Stage::Unknown)),
                    stage => assert_eq!(shown, Some(stage)),
                }
                (it.stage(), it.umid().is_some())
            })
            .collect();
        stages.sort_unstable();
        assert_eq!(tracker.counts().total(), stages.len() as u64);
        stages
    });
    let first = all.next().unwrap();
    all.for_each(|other| assert_eq!(other, first));
    first
}

#[test]
fn another_send_is_not_hidden_behind_one_that_was_rejected() {
    let by_umid = || Fed::Receipt(state(UMID, "sent", 1));
    let (rejected, lost) = (|| in_state(Some(UMID), "rejected"), || Fed::Lost("a"));
    let (unknown, accepted) = (Stage::Unknown, Stage::Accepted);

    // Rejected, mended, sent again, and the answer was lost.
    let told = in_every_order(&[rejected(), lost()]);
    assert_eq!(told, [(unknown, false), (Stage::Rejected, true)]);
    let told = in_every_order(&[in_state(None, "rejected"), lost()]);
    assert_eq!(told, [(unknown, false)]);
    // Sent again and accepted, of which no umid is known.
    let told = in_every_order(&[rejected(), in_state(None, "queued")]);
    assert_eq!(told, [(accepted, false), (Stage::Rejected, true)]);
    // Taken, and sent again all the same, which was rejected.
    let told = in_every_order(&[lost(), by_umid(), in_state(None, "rejected")]);
    assert_eq!(told, [(Stage::Sent, true)]);
    // The same rejection, with its umid and without.
    let told = in_every_order(&[rejected(), in_state(None, "rejected")]);
    assert_eq!(told, [(Stage::Rejected, true)]);
    // Sent again and accepted, told without a umid both times.
    for again in [Fed::Counted("a", true), in_state(None, "queued")] {
        let told = in_every_order(&[in_state(None, "rejected"), again]);
        assert_eq!(told, [(accepted, false)]);
    }
    // Undelivered, sent again, and the answer was lost.
    let undelivered = Fed::Receipt(state(UMID, "undelivered", 1));
    let told = in_every_order(&[in_state(Some(UMID), "queued"), undelivered, lost()]);
    assert_eq!(told, [(unknown, false), (Stage::Undelivered, true)]);
    // Taken, and sent again: what somebody may have is not sent a third time in any case.
    let delivered = Fed::Receipt(state(UMID, "delivered", 1));
    let told = in_every_order(&[in_state(Some(UMID), "queued"), delivered, lost()]);
    assert_eq!(told, [(Stage::Delivered, true)]);
    // Then taken under a new umid.
    let second = Fed::Receipt(state(OTHER, "delivered", 2));
    let told = in_every_order(&[rejected(), lost(), second]);
    assert_eq!(told, [(Stage::Rejected, true), (Stage::Delivered, true)]);
}

/// An entry of an answer, of the message with the id `a`.
fn entry(umid: Option<&str>, status: &Value) -> Fed {
    let entry = json!({"umid": umid, "clientMessageId": "a", "status": status});
    Fed::Answer(answer(&json!([entry])))
}

fn in_state(umid: Option<&str>, state: &str) -> Fed {
    entry(umid, &json!({"state": state}))
}

#[test]
fn a_send_whose_answer_was_lost_is_settled_by_any_receipt() {
    let by_umid = |it| Fed::Receipt(state(UMID, it, 1));
    for (last, stage) in [
        ("queued", Stage::Accepted),
        ("rejected", Stage::Rejected),
        ("undelivered", Stage::Undelivered),
    ] {
        let told = in_every_order(&[Fed::Lost("a"), by_umid("queued"), by_umid(last)]);
        assert_eq!(told, [(stage, true)]);
        // What an answer told without a umid, or in counts alone, is of the same send.
        let told = in_every_order(&[in_state(None, "accepted"), by_umid(last)]);
        assert_eq!(told, [(stage, true)]);
    }
}

#[test]
fn an_entry_that_settles_nothing_brings_no_message_further() {
    let code = json!({"state": "queued", "errorCode": 3003});
    let unknown = |has_umid| vec![(Stage::Unknown, has_umid)];
    for (umid, has_umid) in [(None, false), (Some(UMID), true)] {
        for status in [&json!({"state": "error"}), &code, &json!({}), &json!(null)] {
            let told = in_every_order(&[entry(umid, status)]);
            assert_eq!(told, unknown(has_umid), "{status}");
        }
    }
    // A message was rejected and sent again, and nobody knows what became of that.
    for status in [&json!({"state": "error"}), &code] {
        let told = in_every_order(&[in_state(None, "rejected"), entry(None, status)]);
        assert_eq!(told, unknown(false), "{status}");
    }
    // Of one umid a receipt settles it.
    let rejected = Fed::Receipt(state(UMID, "rejected", 1));
    let told = in_every_order(&[entry(Some(UMID), &code), rejected]);
    assert_eq!(told, [(Stage::Rejected, true)]);
    // Also where the answer was held against its batch.
    for status in [&code, &json!({"state": "error"})] {
        let listed = json!({"umid": UMID, "clientMessageId": "a", "status": status});
        let mut tracker = MessageTracker::new();
        tracker.sent(&batch(&["a"]), &Ok(answer(&json!([listed]))));
        assert_eq!((tracker.counts().unknown, tracker.counts().total()), (1, 1));
        tracker.receipt(&state(UMID, "rejected", 1));
        assert_eq!((tracker.counts().rejected, tracker.counts().total()), (1, 1));
    }
    // Two entries for one message settle nothing either.
    let twice = json!({"clientMessageId": "a", "status": {"state": "rejected"}});
    let mut tracker = MessageTracker::new();
    tracker.sent(&batch(&["a"]), &Ok(answer(&json!([twice, twice]))));
    assert_eq!((tracker.counts().unknown, tracker.counts().total()), (1, 1));
}

#[test]
fn a_fallback_belongs_to_the_send_that_was_not_rejected() {
    let sms = || {
        Fed::Receipt(receipt(&json!({
            "umid": "sms", "channel": "sms", "clientMessageId": "a",
            "status": {"state": "delivered"},
        })))
    };
    let second = Fed::Receipt(state(OTHER, "undelivered", 2));
    let told = in_every_order(&[in_state(Some(UMID), "rejected"), second, sms()]);
    assert_eq!(told, [(Stage::Rejected, true), (Stage::Delivered, true)]);
    // If there is no other, it may be of the one that was.
    let told = in_every_order(&[in_state(Some(UMID), "rejected"), sms()]);
    assert_eq!(told, [(Stage::Delivered, true)]);
}

#[test]
fn what_is_known_by_the_id_alone_contradicts_nothing() {
    let fed = |fed: &[Fed]| {
        let mut tracker = MessageTracker::new();
        for it in fed {
            it.to(&mut tracker);
        }
        assert_eq!(tracker.counts().contradictory, 0);
        let message = tracker.with_client_message_id("a").next().unwrap();
        assert!(!message.is_contradictory());
        (message.stage(), message.history().len())
    };
    // Rejected, mended and sent again.
    let delivered = || Fed::Receipt(state(UMID, "delivered", 1));
    let rejected = || in_state(None, "rejected");
    assert_eq!(fed(&[rejected(), delivered()]), (Stage::Delivered, 2));
    let by_id = || in_state(None, "delivered");
    assert_eq!(fed(&[rejected(), by_id()]), (Stage::Delivered, 2));
    let undelivered = Fed::Receipt(state(UMID, "undelivered", 1));
    assert_eq!(fed(&[undelivered, by_id()]), (Stage::Delivered, 2));
}

#[test]
fn ids_that_were_stored_before_a_crash_are_followed_again() {
    let mut tracker = MessageTracker::new();
    tracker.unanswered("a");
    tracker.unanswered("");
    assert_eq!((tracker.counts().unknown, tracker.counts().total()), (1, 1));
    tracker.receipt(&state(UMID, "rejected", 1));
    assert_eq!((tracker.counts().rejected, tracker.counts().total()), (1, 1));
}

#[tokio::test]
async fn what_was_written_down_is_followed_again_after_a_crash() {
    let sandbox = rejecting(Some("b")).await;
    sandbox.answer_next([
        Answer::Contract,
        Answer::AcceptAndHangUp,
        Answer::Error { status: 403, code: 1201 },
    ]);
    let client = client_for(&sandbox).build().unwrap();
    let (mut live, mut stored) = (MessageTracker::new(), Vec::new());
    let mut store = |tracker: &MessageTracker| stored.push(serde_json::to_vec(tracker).unwrap());
    for ids in [&["a", "b"], &["c", "d"], &["e", "f"]] {
        let batch = batch(ids);
        let result = client.send(&batch).await;
        live.sent(&batch, &result);
        let mut told = MessageTracker::new();
        told.sent(&batch, &result);
        store(&told);
    }
    for accepted in sandbox.accepted() {
        let id = accepted.client_message_id.as_deref();
        let state = if id == Some("c") { "rejected" } else { "sent" };
        let receipt = receipt(&json!({
            "umid": accepted.umid, "clientMessageId": id,
            "status": {"state": state, "timestamp": "2026-01-04T08:20:02Z"},
        }));
        live.receipt(&receipt);
        let mut told = MessageTracker::new();
        told.receipt(&receipt);
        store(&told);
    }
    let mut again = MessageTracker::new();
    for part in stored.iter().rev().chain(&stored) {
        again.merge(serde_json::from_slice(part).unwrap());
    }
    assert_eq!(told(&again), told(&live));
    let counts = again.counts();
    assert_eq!((counts.sent, counts.rejected, counts.total()), (2, 2, 4));
}

#[test]
fn what_is_written_down_stays_as_it_is() {
    let mut tracker = MessageTracker::new();
    entry(Some(UMID), &json!({"state": "rejected", "errorCode": 3038, "errorMessage": "no"}))
        .to(&mut tracker);
    let written = json!([{
        "umid": UMID, "clientMessageId": "a", "isLon": true, "isAnswered": true,
        "mayBeTaken": false,
        "changes": [{"state": "rejected", "code": {"api": 3038}, "reason": "no"}],
    }]);
    assert_eq!(serde_json::to_value(&tracker).unwrap(), written);
    // What is missing is not so, what is new is passed over, what says nothing is nothing.
    let read = |value: Value| serde_json::from_value::<MessageTracker>(value);
    let of_a_receipt = json!([
        {"umid": UMID, "isLon": true, "new": 1, "changes": [{"state": "sent", "new": 1}]},
        {}, {"changes": [{"state": "sent"}]},
    ]);
    let tracker = read(of_a_receipt).unwrap();
    assert_eq!(tracker.with_umid(UMID).unwrap().stage(), Stage::Sent);
    assert_eq!(tracker.counts().total(), 1);
    assert!(read(json!({})).is_err());
    assert!(read(json!([{"changes": [{}]}])).is_err());
}

#[test]
fn receipts_of_other_channels_belong_to_messages_and_make_none() {
    let sms = |umid: &str, id: Option<&str>, state: &str| {
        receipt(&json!({
            "umid": umid, "channel": "sms", "clientMessageId": id,
            "status": {"state": state, "timestamp": "2026-01-04T08:21:00Z"},
        }))
    };
    let mut tracker = MessageTracker::new();
    let nothing = Effect::Kept(Stage::Unknown);
    assert_eq!(tracker.receipt(&sms("unrelated", None, "delivered")), nothing);
    assert_eq!(tracker.receipt(&sms("unrelated too", Some("z"), "delivered")), nothing);
    assert_eq!(tracker.receipt(&sms("of a", Some("a"), "sent")), nothing);
    assert_eq!(tracker.counts().total(), 0);
    assert!(tracker.with_umid("unrelated").is_none());
    assert_eq!(tracker.with_client_message_id("z").count(), 0);

    tracker.receipt(&state(UMID, "undelivered", 1));
    assert_eq!(tracker.counts().total(), 1);
    let history = tracker.with_umid(UMID).unwrap().history();
    assert_eq!(history.len(), 2, "what came by its clientMessageId belongs to it");

    let effect = tracker.receipt(&sms("of a", Some("a"), "delivered"));
    let (from, to) = (Stage::Undelivered, Stage::Delivered);
    assert_eq!(effect, Effect::Moved { from, to });
    let message = tracker.with_umid(UMID).unwrap();
    assert_eq!(message.times_taken(), 1, "the fallback is no second message");
    assert!(!message.is_contradictory(), "the SMS came where the notification did not");

    // It has an id by now, also where the receipt does not repeat it.
    let effect = tracker.receipt(&sms("of a", None, "read"));
    assert_eq!(effect, Effect::Kept(Stage::Delivered));

    // Under the same umid it is the same message.
    let effect = tracker.receipt(&sms(UMID, None, "queued"));
    assert_eq!(effect, Effect::Kept(Stage::Delivered));
    assert_eq!(tracker.with_umid(UMID).unwrap().history().len(), 5);

    tracker.retain(|_| true);
    assert_eq!(tracker.with_umid(UMID).unwrap().history().len(), 5);
    assert_eq!(tracker.counts().total(), 1);
}

#[test]
fn a_fallback_that_failed_is_told_from_the_notification() {
    let failed = |channel: &str| {
        receipt(&json!({
            "umid": UMID, "channel": channel,
            "status": {"state": "undelivered", "timestamp": "2026-01-04T08:21:00Z"},
        }))
    };
    let mut tracker = MessageTracker::new();
    let channels = |tracker: &MessageTracker| {
        let history = tracker.with_umid(UMID).unwrap().history();
        let channels = history.into_iter().map(|change| change.channel);
        channels.collect::<Vec<_>>()
    };
    tracker.receipt(&failed("LineNotification"));
    assert_eq!(channels(&tracker), [None]);
    for (channel, effect) in [("sms", Effect::Kept(Stage::Undelivered)), ("SMS", Effect::Known)] {
        assert_eq!(tracker.receipt(&failed(channel)), effect);
        assert_eq!(channels(&tracker), [None, Some(Channel::Sms)]);
    }
    assert!(!tracker.with_umid(UMID).unwrap().is_contradictory());
    let written = serde_json::to_string(&tracker).unwrap();
    let read: MessageTracker = serde_json::from_str(&written).unwrap();
    assert_eq!(channels(&read), [None, Some(Channel::Sms)]);
}

#[test]
fn messages_are_let_go_and_start_anew() {
    let mut tracker = MessageTracker::new();
    tracker.receipt(&state(UMID, "delivered", 1));
    tracker.receipt(&receipt(&json!({"umid": OTHER, "status": {"state": "sent"}})));
    tracker.retain(|message| !message.stage().is_final());
    assert!(tracker.with_umid(UMID).is_none());
    assert_eq!(tracker.with_client_message_id("a").count(), 0);
    assert_eq!(tracker.with_umid(OTHER).unwrap().stage(), Stage::Sent);
    let effect = tracker.receipt(&state(UMID, "delivered", 1));
    let (from, to) = (Stage::Unknown, Stage::Delivered);
    assert_eq!(effect, Effect::Moved { from, to });
}

#[test]
fn ids_of_any_shape_are_kept_apart_and_come_back_as_they_were() {
    let upper = UMID.to_uppercase();
    let plain = UMID.replace('-', "");
    let ids = [UMID, &upper, &plain, "1", "no uuid", "g03cbbf5-3e2d-ea11-815d-020897df5459"];
    let mut tracker = MessageTracker::new();
    for id in ids {
        tracker.receipt(&receipt(&json!({"umid": id, "status": {"state": "sent"}})));
    }
    assert_eq!(tracker.counts().total(), 6);
    for id in ids {
        assert_eq!(tracker.with_umid(id).unwrap().umid().unwrap(), id);
    }
}

#[test]
fn nothing_printed_has_a_number_in_it() {
    let mut tracker = MessageTracker::new();
    tracker.receipt(&receipt(&json!({
        "umid": NUMBER, "clientMessageId": "order-20261124-0001",
        "status": {"state": NUMBER, "detail": NUMBER, "timestamp": NUMBER, "errorCode": 41,
            "errorMessage": format!("no route to {NUMBER}")},
    })));
    let message = tracker.messages().next().unwrap();
    let text = format!("{tracker:?} {message:?} {:?} {}", message.history(), tracker.counts());
    assert_no_secrets(&text);
    // The caller's own ids are printed whole.
    assert!(text.contains("order-20261124-0001"), "{text}");
    assert_eq!(message.umid().unwrap(), NUMBER);
}

#[tokio::test]
async fn outcomes_of_many_batches_are_followed() {
    let sandbox = rejecting(Some("b")).await;
    sandbox.answer_next([Answer::Contract, Answer::AcceptAndCut]);
    let client = client_for(&sandbox).build().unwrap();
    let mut tracker = MessageTracker::new();
    for batch in [batch(&["a", "b"]), batch(&["c", "d"])] {
        match client.send(&batch).await {
            Ok(response) => {
                for (message, outcome) in response.report(&batch).iter() {
                    tracker.outcome(message, outcome);
                }
            }
            Err(error) => {
                for message in batch.messages() {
                    tracker.outcome(message, &Outcome::from(&error));
                }
            }
        }
    }
    let counts = tracker.counts();
    assert_eq!((counts.accepted, counts.rejected, counts.unknown), (1, 1, 2));
    let rejected = tracker.with_client_message_id("b").next().unwrap();
    assert!(rejected.umid().is_some());
    let current = rejected.current().unwrap();
    assert!(matches!(current.code, Some(Code::Api(code)) if code.value() == 3003));
    assert_eq!(current.reason.unwrap(), "Invalid MSISDN");

    for accepted in sandbox.accepted() {
        let id = accepted.client_message_id.as_deref();
        tracker.receipt(&receipt(&json!({
            "umid": accepted.umid, "clientMessageId": id, "status": {"state": "delivered"},
        })));
    }
    let counts = tracker.counts();
    assert_eq!((counts.delivered, counts.rejected, counts.total()), (3, 1, 4));
}

#[tokio::test]
async fn a_rejected_message_that_is_sent_again_is_followed() {
    let sandbox = rejecting(None).await;
    // Rejected without a umid; sent again, and cut; sent again once more, with a umid.
    let without_umid = |answer: &mut Value| answer["messages"][0]["umid"] = Value::Null;
    sandbox.answer_next([Answer::Edited(without_umid), Answer::AcceptAndCut, Answer::Contract]);
    let client = client_for(&sandbox).build().unwrap();
    let mut tracker = MessageTracker::new();
    let mut stages = Vec::new();
    for _ in 0..3 {
        let outcome = client.send_message(message("a")).await;
        tracker.outcome(&message("a"), &outcome);
        let messages = tracker.with_client_message_id("a");
        stages.push(messages.map(|it| it.stage()).collect::<Vec<_>>());
    }
    stages[2].sort_unstable();
    let (unknown, rejected) = (Stage::Unknown, Stage::Rejected);
    assert_eq!(stages, [vec![rejected], vec![unknown], vec![unknown, rejected]]);
}

#[tokio::test]
async fn a_message_that_may_have_been_sent_before_it_was_rejected_is_not_rejected() {
    let again = AtomicBool::new(false);
    let sandbox = Sandbox::builder().judge(move |_| {
        let again = again.swap(true, Ordering::SeqCst);
        again.then(|| Rejection::from(1400))
    });
    let sandbox = sandbox.start().await.unwrap();
    sandbox.answer_next([Answer::AcceptAndFail]);
    let policy = RetryPolicy::patient()
        .base_delay(Duration::from_millis(1))
        .resend_ambiguous_and_risk_duplicates();
    let client = client_for(&sandbox).retry(policy).build().unwrap();
    let outcome = client.send_message(message("a")).await;
    assert_eq!(outcome.kind, OutcomeKind::Unknown);
    assert_eq!(outcome.code, Some(ErrorCode::ResendingIntervalViolation));
    let rejected = outcome.umid.clone().unwrap();
    let mut tracker = MessageTracker::new();
    tracker.outcome(&message("a"), &outcome);
    let counts = tracker.counts();
    assert_eq!((counts.unknown, counts.total()), (1, 1));
    // A receipt of the retry leaves the first attempt open.
    tracker.receipt(&state(&rejected, "rejected", 1));
    let counts = tracker.counts();
    assert_eq!((counts.unknown, counts.rejected, counts.total()), (1, 1, 2));
    let taken = &sandbox.accepted()[0].umid;
    tracker.receipt(&state(taken, "delivered", 2));
    let counts = tracker.counts();
    assert_eq!((counts.delivered, counts.rejected, counts.total()), (1, 1, 2));
    assert_eq!(counts.taken_again, 0);
}

#[test]
fn a_message_that_was_not_sent_is_not_followed() {
    let mut tracker = MessageTracker::new();
    tracker.outcome(&message("a"), &Outcome::new(OutcomeKind::NotSent));
    assert_eq!(tracker.counts().total(), 0);
}

/// One thing that a tracker is fed with.
#[derive(Clone, Debug)]
enum Fed {
    Receipt(Box<DeliveryReceipt>),
    Answer(BatchResponse),
    /// A batch of one with this id, and an answer that says nothing of it.
    Lost(&'static str),
    /// The same, and an answer that counts it as accepted or as rejected.
    Counted(&'static str, bool),
}

impl Fed {
    fn to(&self, tracker: &mut MessageTracker) {
        match self {
            Self::Receipt(receipt) => _ = tracker.receipt(receipt),
            Self::Answer(answer) => tracker.answered(answer),
            Self::Lost(id) => tracker.sent(&batch(&[id]), &Ok(answer(&json!(null)))),
            Self::Counted(id, accepted) => {
                let counts = json!({
                    "acceptedCount": u8::from(*accepted), "rejectedCount": u8::from(!accepted),
                });
                let answer = BatchResponse::from_json(counts.to_string().as_bytes());
                tracker.sent(&batch(&[id]), &Ok(answer.unwrap()));
            }
        }
    }
}

/// Anything at all, also what contradicts itself.
fn fed() -> impl Strategy<Value = Fed> {
    told_of(vec![None, Some("a"), Some("b"), Some("")], 0..10_u8)
}

/// What the platform may tell: of LON messages alone, with one clientMessageId, and by umid.
fn consistent() -> impl Strategy<Value = Fed> {
    told_of(vec![None, Some("a")], prop::sample::select(vec![0_u8, 2, 4, 5]))
}

fn told_of(
    ids: Vec<Option<&'static str>>,
    kind: impl Strategy<Value = u8>,
) -> impl Strategy<Value = Fed> {
    let umid = prop::sample::select(vec![UMID, OTHER, "no uuid"]);
    let id = prop::sample::select(ids);
    let known = MessageState::KNOWN.iter().map(ToString::to_string);
    let state = prop::sample::select(known.chain(["new".to_owned()]).collect::<Vec<_>>());
    let detail =
        prop::sample::select(vec![None, Some("delivered_to_recipient"), Some("new_detail")]);
    let time = prop::sample::select(vec![
        None,
        Some("2026-01-04T08:20:00Z"),
        Some("2026-01-04T08:20:00.00+00:00"),
        Some("2026-01-04T08:20:01.9900000Z"),
        Some("2026-01-04"),
    ]);
    let code = prop::sample::select(vec![None, Some(0), Some(1), Some(3038)]);
    let words = prop::sample::select(vec![None, Some("one"), Some("two")]);
    (umid, id, state, detail, time, code, words, kind).prop_map(
        |(umid, id, state, detail, time, code, words, kind)| {
            let status = json!({
                "state": state, "detail": detail, "timestamp": time,
                "errorCode": code, "errorMessage": words,
            });
            let id_sent = id.filter(|id| !id.is_empty()).unwrap_or("c");
            let umid = Some(umid).filter(|_| kind != 1);
            let entry = json!({"umid": umid, "clientMessageId": id, "status": status});
            match kind {
                0 => Fed::Lost(id_sent),
                8 | 9 => Fed::Counted(id_sent, kind == 8),
                1 | 2 => Fed::Answer(answer(&json!([entry]))),
                3 => {
                    let mut payload = entry;
                    payload["channel"] = "SMS".into();
                    Fed::Receipt(receipt(&payload))
                }
                _ => Fed::Receipt(receipt(&entry)),
            }
        },
    )
}

/// Every order of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let with_last = |order: Vec<usize>| {
        (0..=order.len()).map(move |place| {
            let mut order = order.clone();
            order.insert(place, count - 1);
            order
        })
    };
    shorter.into_iter().flat_map(with_last).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every order, each with one of its parts told again at the end, and each cut into two
    /// trackers that are merged.
    #[test]
    fn no_order_and_no_repetition_changes_what_is_told(history in prop::collection::vec(fed(), 1..6)) {
        let follow = |order: &[usize]| {
            let mut tracker = MessageTracker::new();
            for index in order {
                history[*index].to(&mut tracker);
            }
            tracker
        };
        let orders = orders(history.len());
        let expected = told(&follow(&orders[0]));
        for (number, order) in orders.iter().enumerate() {
            let again = order[number % order.len()];
            let mut tracker = follow(order);
            history[again].to(&mut tracker);
            prop_assert_eq!(&told(&tracker), &expected);

            let (some, rest) = order.split_at(number % order.len());
            let mut merged = follow(rest);
            merged.merge(follow(some));
            merged.merge(follow(&[again]));
            prop_assert_eq!(&told(&merged), &expected);

            let written = serde_json::to_string(&merged).unwrap();
            let mut read: MessageTracker = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&told(&read), &expected);
            read.merge(follow(&[again]));
            prop_assert_eq!(&told(&read), &expected);

            merged.retain(|_| true);
            prop_assert_eq!(&told(&merged), &expected);
        }
    }

    /// What an answer without a umid leaves open or accepts is never shown as rejected alone.
    #[test]
    fn what_may_have_been_taken_is_not_hidden(history in prop::collection::vec(fed(), 1..6)) {
        let mut tracker = MessageTracker::new();
        let mut open = std::collections::HashSet::new();
        for fed in &history {
            fed.to(&mut tracker);
            match fed {
                Fed::Lost(id) | Fed::Counted(id, true) => _ = open.insert((*id).to_owned()),
                Fed::Answer(answer) => {
                    let result = &answer.results()[0];
                    let is_open = result.umid.is_none() && result.outcome() != OutcomeKind::Rejected;
                    open.extend(result.client_message_id.as_deref().filter(|_| is_open).map(Into::into));
                }
                _ => {}
            }
        }
        // A receipt may be that of the send which is open.
        let receipts = history.iter().any(|fed| matches!(fed, Fed::Receipt(_)));
        for id in open.iter().filter(|id| !id.is_empty() && !receipts) {
            let mut messages = tracker.with_client_message_id(id);
            prop_assert!(messages.any(|it| it.stage() != Stage::Rejected), "{id}");
        }
    }

    /// The stage is never less than it was, and the sums are those of the messages.
    #[test]
    fn nothing_goes_back(history in prop::collection::vec(consistent(), 1..40)) {
        let mut tracker = MessageTracker::new();
        let mut last = std::collections::HashMap::new();
        let mut umids = std::collections::HashSet::new();
        for fed in history {
            fed.to(&mut tracker);
            match fed {
                Fed::Receipt(receipt) => umids.extend([receipt.umid().clone()]),
                Fed::Answer(answer) => umids.extend(answer.results()[0].umid.clone()),
                _ => {}
            }
            for message in tracker.messages() {
                let Some(umid) = message.umid() else { continue };
                let before = last.insert(umid, message.stage());
                prop_assert!(before <= Some(message.stage()));
            }
            prop_assert_eq!(&umids, &last.keys().cloned().collect());
            let counts = tracker.counts();
            let without = tracker.messages().filter(|it| it.umid().is_none()).count();
            prop_assert_eq!(counts.total(), (umids.len() + without) as u64);
        }
    }
}
