//! Histories of messages: the stage is the greatest one reported, in whatever order receipts arrive.

mod common;

use std::time::{Duration, SystemTime};

use lon_batch::receipt::{
    Channel, DeliveryReceipt, Histories, History, ReceiptBuilder, ReceiptErrorCode, Stage,
};
use lon_batch::types::MessageState;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::common::{NUMBER, assert_no_secrets};

fn receipt(state: &str) -> ReceiptBuilder {
    DeliveryReceipt::builder("umid-1", state)
}

fn history(receipts: impl IntoIterator<Item = ReceiptBuilder>) -> History {
    let mut history = History::new();
    for receipt in receipts {
        history.append(&receipt.build());
    }
    history
}

#[test]
fn stages_are_ordered_and_have_stable_numbers() {
    let numbers: Vec<_> = Stage::ALL.iter().map(|stage| (stage.as_str(), stage.number())).collect();
    let expected =
        [("queued", 10), ("sent", 20), ("rejected", 30), ("undelivered", 40), ("delivered", 50)];
    assert_eq!(numbers, expected);
    assert!(Stage::ALL.is_sorted());
    for stage in Stage::ALL {
        assert_eq!(Stage::from_number(stage.number()), Some(stage));
        assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
        assert_eq!(stage.to_string(), stage.as_str());
        assert_eq!(stage.is_final(), stage >= Stage::Rejected);
    }
    for number in [0, 1, 11, 60, -10, i16::MAX] {
        assert_eq!(Stage::from_number(number), None);
    }
}

#[test]
fn every_state_has_the_stage_of_its_meaning() {
    let stages = MessageState::KNOWN.iter().map(|state| (state.as_str(), state.stage()));
    let expected = [
        ("unknown", None),
        ("queued", Some(Stage::Queued)),
        ("failed", Some(Stage::Rejected)),
        ("sent", Some(Stage::Sent)),
        ("delivered", Some(Stage::Delivered)),
        ("undelivered", Some(Stage::Undelivered)),
        ("read", Some(Stage::Delivered)),
        ("ok", Some(Stage::Queued)),
        ("error", None),
        ("rejected", Some(Stage::Rejected)),
        ("accepted", Some(Stage::Queued)),
    ];
    let mut stages: Vec<_> = stages.collect();
    stages.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(stages, expected);
    assert_eq!(MessageState::from("teleported").stage(), None);
}

#[test]
fn a_message_never_goes_back() {
    let mut history = History::new();
    assert_eq!((history.stage(), history.current()), (None, None));
    for (state, is_new, stage) in [
        ("teleported", true, None),
        ("sent", true, Some(Stage::Sent)),
        ("queued", true, Some(Stage::Sent)),
        ("sent", false, Some(Stage::Sent)),
        ("delivered", true, Some(Stage::Delivered)),
        ("sent", false, Some(Stage::Delivered)),
        ("error", true, Some(Stage::Delivered)),
    ] {
        assert_eq!(history.append(&receipt(state).build()), is_new, "{state}");
        assert_eq!(history.stage(), stage, "{state}");
    }
    let states: Vec<_> = history.changes().iter().map(|change| change.state.as_str()).collect();
    assert_eq!(states, ["error", "teleported", "queued", "sent", "delivered"]);
}

#[test]
fn a_fallback_that_is_delivered_is_no_contradiction() {
    let undelivered = receipt("undelivered").error(46);
    let by_sms = |state| receipt(state).channel("sms");
    let sent = history([receipt("sent"), undelivered.clone(), by_sms("sent")]);
    assert_eq!(sent.stage(), Some(Stage::Undelivered));
    assert_eq!(sent.current().unwrap().code, Some(ReceiptErrorCode::NotReachable));

    let delivered = history([undelivered.clone(), by_sms("delivered")]);
    assert_eq!(delivered.stage(), Some(Stage::Delivered));
    assert_eq!(delivered.current().unwrap().channel, Some(Channel::Sms));
    assert!(!delivered.is_contradictory());

    // The SMS failed too. The last failure is the current change.
    let failed = history([
        undelivered.timestamp("2026-01-04T08:00:00Z"),
        by_sms("undelivered").error(36).timestamp("2026-01-04T09:00:00Z"),
    ]);
    assert_eq!(failed.stage(), Some(Stage::Undelivered));
    assert_eq!(failed.current().unwrap().channel, Some(Channel::Sms));
    assert!(!failed.is_contradictory());
}

#[test]
fn different_final_stages_of_one_message_are_a_contradiction() {
    let finals = ["rejected", "undelivered", "delivered"];
    for one in finals {
        for other in finals {
            let both = history([receipt(one), receipt(other)]);
            assert_eq!(both.is_contradictory(), one != other, "{one}, {other}");
            let of_sms = history([receipt(one).channel("sms"), receipt(other).channel("sms")]);
            assert_eq!(of_sms.is_contradictory(), one != other, "{one}, {other}");
            // Another umid is another attempt to send the message.
            let other = DeliveryReceipt::builder("umid-2", other);
            assert!(!history([receipt(one), other]).is_contradictory());
        }
        assert!(!history([receipt("sent"), receipt(one), receipt("queued")]).is_contradictory());
    }
    // Two words for one stage.
    assert!(!history([receipt("rejected"), receipt("failed")]).is_contradictory());
}

#[test]
fn the_latest_change_of_a_stage_is_current() {
    let at = |time, code| receipt("undelivered").timestamp(time).error(code);
    // The same hour in two offsets and precisions. As text, the order would be another.
    let history = history([
        at("2026-01-04T10:30:00.5Z", 1),
        at("2026-01-04T18:30:00.4297387+08:00", 2),
        at("2026-01-04T10:29:59Z", 3),
        at("yesterday", 4),
        receipt("undelivered").error(5),
    ]);
    assert_eq!(history.current().unwrap().code, Some(ReceiptErrorCode::from(1)));
    assert_eq!(history.changes().len(), 5);
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_522_600_500);
    assert_eq!(history.current().unwrap().at(), Some(time));
}

#[test]
fn a_change_has_what_the_receipt_says() {
    let mut receipt = receipt("undelivered")
        .channel("sms")
        .detail("undelivered_to_recipient")
        .timestamp("2026-01-04T08:20:02.31Z")
        .error(36)
        .build();
    let json = |receipt: &DeliveryReceipt| {
        let mut history = History::new();
        history.append(receipt);
        serde_json::to_value(history).unwrap()
    };
    let mut expected = json!([{
        "umid": "umid-1",
        "channel": "sms",
        "state": "undelivered",
        "detail": "undelivered_to_recipient",
        "timestamp": "2026-01-04T08:20:02.31Z",
        "code": 36,
    }]);
    assert_eq!(json(&receipt), expected);
    let reason = |history: Value| {
        let history: History = serde_json::from_value(history).unwrap();
        history.current().unwrap().reason().unwrap().to_owned()
    };
    assert_eq!(reason(json(&receipt)), "The message expired before it was delivered.");
    // The platform's words come first.
    let status = receipt.payload.as_mut().unwrap().status.as_mut().unwrap();
    status.error_message = Some(format!("{NUMBER} is off").into());
    expected[0]["error_message"] = format!("{NUMBER} is off").into();
    assert_eq!(json(&receipt), expected);
    assert_eq!(reason(json(&receipt)), format!("{NUMBER} is off"));
    // A phone number in them is kept, but not printed.
    let history: History = serde_json::from_value(expected).unwrap();
    assert_no_secrets(&format!("{history:?} {history:#?}"));

    let minimal = history_json(&DeliveryReceipt::builder("u", "sent").build());
    assert_eq!(minimal, json!([{"umid": "u", "channel": "LineNotification", "state": "sent"}]));
}

fn history_json(receipt: &DeliveryReceipt) -> Value {
    let mut history = History::new();
    history.append(receipt);
    serde_json::to_value(history).unwrap()
}

#[test]
fn a_history_is_bounded_and_keeps_the_latest_stages() {
    let mut receipts: Vec<_> = (0..1000)
        .map(|second| receipt("sent").timestamp(format!("2026-01-04T08:00:00.{second:03}Z")))
        .collect();
    receipts.push(receipt("delivered"));
    let forward = history(receipts.clone());
    let backward = history(receipts.into_iter().rev());
    assert_eq!(forward, backward);
    assert_eq!(forward.changes().len(), History::MAX_CHANGES);
    assert_eq!(forward.stage(), Some(Stage::Delivered));
    let earliest = forward.changes()[0].timestamp.as_deref();
    assert_eq!(earliest, Some("2026-01-04T08:00:00.937Z"));
    // The first was dropped, so it counts as new, but it changes nothing.
    let mut again = forward.clone();
    let dropped = receipt("sent").timestamp("2026-01-04T08:00:00.000Z").build();
    assert!(!again.append(&dropped));
    assert_eq!(again, forward);
}

#[test]
fn messages_are_found_by_umid_and_by_client_message_id() {
    let mut histories = Histories::new();
    let lon = |state| DeliveryReceipt::builder("lon", state).client_message_id("order-1");
    assert!(histories.append(&lon("undelivered").build()));
    assert!(!histories.append(&lon("undelivered").build()));
    // Without the id, but with the umid.
    assert!(histories.append(&DeliveryReceipt::builder("lon", "sent").build()));
    // An SMS with a umid of its own.
    let sms = DeliveryReceipt::builder("sms", "delivered").channel("sms");
    assert!(histories.append(&sms.client_message_id("order-1").build()));
    assert!(histories.append(&DeliveryReceipt::builder("other", "sent").build()));

    assert_eq!(histories.by_umid("lon").unwrap().stage(), Some(Stage::Undelivered));
    assert_eq!(histories.by_umid("sms").unwrap().stage(), Some(Stage::Delivered));
    assert_eq!(histories.by_umid("none"), None);
    let order = histories.by_client_message_id("order-1");
    assert_eq!((order.stage(), order.changes().len()), (Some(Stage::Delivered), 3));
    assert!(!order.is_contradictory());
    assert_eq!(histories.umids("order-1").collect::<Vec<_>>(), ["lon", "sms"]);
    assert_eq!(histories.by_client_message_id("none"), History::new());
    assert_eq!(histories.umids("none").count(), 0);

    histories.retain(|_, history| history.stage() != Some(Stage::Delivered));
    let mut kept: Vec<_> = histories.iter().map(|(umid, _)| umid).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["lon", "other"]);
    assert_eq!(histories.umids("order-1").collect::<Vec<_>>(), ["lon"]);
    histories.retain(|_, _| false);
    assert_eq!(histories, Histories::new());
}

#[test]
fn an_id_that_comes_with_a_repeated_change_is_new() {
    let mut histories = Histories::new();
    assert!(histories.append(&receipt("sent").build()));
    assert!(histories.append(&receipt("sent").client_message_id("order-1").build()));
    assert_eq!(histories.by_client_message_id("order-1").stage(), Some(Stage::Sent));
}

/// No receipt costs more because others share its clientMessageId.
#[test]
fn ten_thousand_receipts_can_share_an_id() {
    let mut histories = Histories::new();
    for number in 0..10_000 {
        let receipt = DeliveryReceipt::builder(format!("umid-{number}"), "sent");
        assert!(histories.append(&receipt.client_message_id("order-1").build()));
    }
    assert_eq!(histories.umids("order-1").count(), 10_000);
    assert_eq!(histories.iter().map(|(_, history)| history.changes().len()).sum::<usize>(), 10_000);
    let all = histories.by_client_message_id("order-1");
    assert_eq!(all.changes().len(), History::MAX_CHANGES);
}

#[test]
fn debug_prints_no_umids() {
    let mut histories = Histories::new();
    histories.append(&DeliveryReceipt::builder(NUMBER, "sent").build());
    assert_no_secrets(&format!("{histories:?} {histories:#?}"));
}

fn any_receipt() -> impl Strategy<Value = DeliveryReceipt> {
    const STATES: [&str; 7] =
        ["queued", "sent", "rejected", "undelivered", "delivered", "failed", "teleported"];
    const TIMES: [&str; 4] =
        ["", "2026-01-04T08:20:02.31Z", "2026-01-04T16:20:02.310+08:00", "2026-01-04T08:20:03Z"];
    let parts = (
        select(&["umid-1", "umid-2", "umid-3"][..]),
        select(&STATES[..]),
        select(&["LineNotification", "sms", "SMS", "rcs"][..]),
        select(&TIMES[..]),
        select(&[0, 1, 36][..]),
        select(&[None, Some("order-1"), Some("order-2")][..]),
    );
    parts.prop_map(|(umid, state, channel, time, code, id)| {
        let mut receipt =
            DeliveryReceipt::builder(umid, state).channel(channel).timestamp(time).error(code);
        if let Some(id) = id {
            receipt = receipt.client_message_id(id);
        }
        receipt.build()
    })
}

/// Every order of a number of items.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for item in 0..count {
        all = all
            .iter()
            .flat_map(|order| {
                (0..=order.len()).map(|place| {
                    let mut order = order.clone();
                    order.insert(place, item);
                    order
                })
            })
            .collect();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_permutation_and_repetition_gives_the_same_result(
        receipts in prop::collection::vec(any_receipt(), 1..6),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let build = |order: &[usize]| {
            let (mut history, mut histories) = (History::new(), Histories::new());
            for index in order {
                history.append(&receipts[*index]);
                histories.append(&receipts[*index]);
            }
            (history, histories)
        };
        let orders = permutations(receipts.len());
        let (history, histories) = build(&orders[0]);
        let greatest = receipts.iter().filter_map(DeliveryReceipt::stage).max();
        prop_assert_eq!(history.stage(), greatest);
        for mut order in orders {
            for index in &repeated {
                order.push(index.index(receipts.len()));
            }
            let (again, all_again) = build(&order);
            prop_assert_eq!(&again, &history);
            prop_assert_eq!(&all_again, &histories);
        }

        // Stored and loaded, also in two halves.
        let json = serde_json::to_string(&history).unwrap();
        prop_assert_eq!(&serde_json::from_str::<History>(&json).unwrap(), &history);
        let json = serde_json::to_string(&histories).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Histories>(&json).unwrap(), &histories);
        let indices: Vec<_> = (0..receipts.len()).collect();
        let (one, other) = indices.split_at(receipts.len() / 2);
        let (mut merged, _) = build(other);
        merged.merge(&build(one).0);
        prop_assert_eq!(merged, history);
    }

    #[test]
    fn a_stage_only_grows(receipts in prop::collection::vec(any_receipt(), 1..100)) {
        let mut history = History::new();
        let mut stage = None;
        for receipt in &receipts {
            history.append(receipt);
            prop_assert!(history.stage() >= stage);
            prop_assert!(history.stage() >= receipt.stage());
            stage = history.stage();
        }
    }
}
