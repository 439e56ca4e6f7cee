//! The guarantees of both databases, judged by the sandbox.

mod common;

use std::time::Duration;

use lon_batch::receipt::DeliveryReceipt;
use lon_batch::{Content, Message, OutcomeKind};
use lon_campaign::{Duplicate, Error, Imported, Ledger, Recipient, Retry, Standing, State, Totals};
use lon_sandbox::{Answer, Rejection, Sandbox};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use common::cluster::Postgres;
use common::{
    Folder, client, crashing, message, most_accepted, quick, recipient, recipients, sealed,
};

/// Runs each case on SQLite as a test of its own, and all of them on PostgreSQL in one.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let folder = super::Folder::new(stringify!($case));
                super::$case(&folder.sqlite()).await;
            })+
        }

        #[tokio::test]
        async fn postgres() {
            let Some(server) = Postgres::find() else {
                return;
            };
            $(
                println!("postgres::{}", stringify!($case));
                $case(&server.schema(stringify!($case)).await).await;
            )+
        }
    };
}

cases! {
    every_recipient_is_sent_to_once,
    an_import_continues_and_compares,
    duplicates_are_reported_with_both_positions,
    other_content_is_refused,
    a_draft_is_not_sent,
    a_claim_without_outcomes_becomes_unknown_and_is_not_repeated,
    a_lost_response_is_unknown,
    a_busy_platform_frees_the_chunk,
    too_many_failures_stop_the_campaign,
    a_refused_account_stops_the_campaign,
    a_chunk_that_is_too_large_is_split,
    a_cancelled_campaign_claims_nothing,
    a_stopped_worker_leaves_the_rest_to_others,
    rejected_recipients_are_retried,
    a_receipt_settles_an_unknown_message_and_withdraws_its_retry,
    a_message_that_was_queued_and_then_rejected_is_retried,
    a_receipt_for_a_freed_chunk_withdraws_its_next_try,
    a_recipient_outside_of_a_split_request_is_not_sent,
    invalid_messages_are_not_sent,
    several_workers_share_a_campaign,
    a_panic_makes_its_chunk_unknown_at_once,
}

async fn open(url: &str) -> Ledger {
    Ledger::open(url).await.unwrap()
}

fn totals(edit: impl FnOnce(&mut Totals)) -> Totals {
    let mut totals = Totals::default();
    edit(&mut totals);
    totals
}

/// The totals without codes.
async fn sums(campaign: &lon_campaign::Campaign) -> Totals {
    let mut totals = campaign.totals().await.unwrap();
    totals.by_code.clear();
    totals
}

async fn every_recipient_is_sent_to_once(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let ledger = open(url).await;
    let campaign = sealed(&ledger, "spring", 2500).await;
    let expected = totals(|it| (it.recipients, it.pending) = (2500, 2500));
    assert_eq!(sums(&campaign).await, expected);
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!((ended.state, ended.reason), (State::Done, None));
    let expected = totals(|it| (it.recipients, it.accepted) = (2500, 2500));
    assert_eq!(sums(&campaign).await, expected);
    assert_eq!((sandbox.accepted_count(), most_accepted(&sandbox)), (2500, 1));
    assert_eq!(sandbox.requests(), 3);

    // The ids are those of the platform, and each recipient got its own message.
    let mut report = campaign.recipients();
    let mut accepted = sandbox.accepted();
    accepted.sort_by_key(|it| it.client_message_id.clone());
    for number in 1..=2500_u64 {
        let it = report.next().await.unwrap().unwrap();
        assert_eq!((it.position, it.times_accepted), (number, 1));
        assert_eq!(it.client_message_id, format!("id-{number}"));
        let at = accepted
            .binary_search_by_key(&Some(&it.client_message_id), |it| it.client_message_id.as_ref());
        let accepted = &accepted[at.unwrap()];
        assert_eq!(it.outcome.unwrap().umid.as_deref(), Some(&*accepted.umid));
        assert_eq!(accepted.msisdn, format!("+6681{number:07}"));
        assert!(it.at.is_some());
    }
    assert!(report.next().await.unwrap().is_none());

    // A finished campaign sends nothing, also under another handle.
    let again = open(url).await.campaign("spring", "Hello").await.unwrap();
    let imported = again.import(recipients(2500)).await.unwrap();
    assert_eq!((imported.positions, imported.imported_before), (2500, 2500));
    again.seal().await.unwrap();
    let ended = again.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.requests()), (State::Done, 3));
}

async fn an_import_continues_and_compares(url: &str) {
    let ledger = open(url).await;
    let campaign = ledger.campaign("spring", "Hello").await.unwrap();
    let imported = campaign.import(recipients(7000)).await.unwrap();
    assert_eq!((imported.positions, imported.imported_before), (7000, 0));
    // The input grew, as after an interruption.
    let imported = campaign.import(recipients(12_000)).await.unwrap();
    assert_eq!((imported.positions, imported.imported_before), (12_000, 7000));
    assert_eq!(campaign.totals().await.unwrap().recipients, 12_000);

    let difference = async |recipients: Vec<Recipient>| match campaign.import(recipients).await {
        Err(Error::OtherRecipients { position, difference, .. }) => (position, difference),
        other => panic!("{other:?}"),
    };
    let mut other: Vec<_> = recipients(12_000).collect();
    other[6000] = other[6000].clone().variable("name", "x");
    assert_eq!(difference(other).await, (6001, "another recipient"));
    let short = recipients(11_999).collect();
    assert_eq!(difference(short).await, (12_000, "a recipient that the input lacks"));
    campaign.seal().await.unwrap();
    let long = recipients(12_001).collect();
    assert_eq!(difference(long).await, (12_001, "no recipient in the campaign"));
    assert_eq!(campaign.import(recipients(12_000)).await.unwrap().imported_before, 12_000);
}

async fn duplicates_are_reported_with_both_positions(url: &str) {
    let ledger = open(url).await;
    let mut input: Vec<_> = recipients(6000).collect();
    input[9] = Recipient::new("id-1", recipient(10).to);
    input[5500] = Recipient::new("id-7", recipient(5501).to);
    input[5999] = Recipient::new("id-6000", recipient(3).to);
    let pairs = |imported: &Imported| {
        let pair = |it: &Duplicate| (it.position, it.first, it.same_id);
        imported.duplicates.iter().map(pair).collect::<Vec<_>>()
    };
    let campaign = ledger.campaign("by id", "Hello").await.unwrap();
    let imported = campaign.import(input.clone()).await.unwrap();
    assert_eq!(pairs(&imported), [(10, 1, true), (5501, 7, true)]);
    assert_eq!(campaign.totals().await.unwrap().recipients, 5998);
    let again = campaign.import(input.clone()).await.unwrap();
    assert_eq!((again.imported_before, again.duplicate_count), (6000, 0));

    let campaign = ledger.campaign_with_unique_numbers("by number", "Hello").await.unwrap();
    let imported = campaign.import(input.clone()).await.unwrap();
    assert_eq!(pairs(&imported), [(10, 1, true), (5501, 7, true), (6000, 3, false)]);
    assert_eq!(imported.duplicate_count, 3);
    assert_eq!(campaign.totals().await.unwrap().recipients, 5997);
    let again = campaign.import(input).await.unwrap();
    assert_eq!((again.imported_before, again.duplicate_count), (6000, 0));
}

async fn other_content_is_refused(url: &str) {
    let ledger = open(url).await;
    ledger.campaign("spring", "Hello").await.unwrap();
    let error = ledger.campaign("spring", "Goodbye").await.unwrap_err();
    let expected =
        r#"campaign "spring" exists with other content: use another name, or the same content"#;
    assert_eq!(error.to_string(), expected);
    let error = ledger.open_campaign("summer").await.unwrap_err();
    assert_eq!(error.to_string(), r#"the ledger has no campaign "summer""#);
    let names: Vec<_> = ledger.campaigns().await.unwrap();
    assert_eq!(names.len(), 1);
}

async fn a_draft_is_not_sent(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = open(url).await.campaign("spring", "Hello").await.unwrap();
    campaign.import(recipients(1)).await.unwrap();
    let error = campaign.send(&client(&sandbox), quick(), message).await.unwrap_err();
    let expected = r#"campaign "spring" is a draft: seal it before you send it"#;
    assert_eq!(error.to_string(), expected);
    assert_eq!(sandbox.requests(), 0);
}

async fn a_claim_without_outcomes_becomes_unknown_and_is_not_repeated(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let ledger = open(url).await;
    let campaign = sealed(&ledger, "spring", 3000).await;
    sandbox.answer_next([Answer::Late(Duration::from_mins(1))]);
    {
        let client = client(&sandbox);
        let options = crashing().concurrency(1);
        let send = campaign.send(&client, options, message);
        tokio::select! {
            _ = send => panic!("it waits for the response"),
            () = accepted(&sandbox, 1000) => {}
        }
    }
    let standing = sums(&campaign).await;
    let in_flight = totals(|it| {
        (it.recipients, it.in_flight, it.pending) = (3000, 1000, 2000);
    });
    assert_eq!(standing, in_flight);
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!(ended.state, State::Done);
    let expected = totals(|it| (it.recipients, it.accepted, it.unknown) = (3000, 2000, 1000));
    assert_eq!(sums(&campaign).await, expected);
    assert_eq!((sandbox.accepted_count(), most_accepted(&sandbox)), (3000, 1));
}

/// Waits until the sandbox has accepted this number of messages.
async fn accepted(sandbox: &Sandbox, messages: u64) {
    let all = async {
        while sandbox.accepted_count() < messages {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("accepted messages");
}

async fn a_lost_response_is_unknown(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 10).await;
    sandbox.answer_next([Answer::AcceptAndHangUp]);
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.requests()), (State::Done, 1));
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.unknown) = (10, 10)));
    let report = campaign.recipients().next().await.unwrap().unwrap();
    assert!(report.outcome.unwrap().reason.is_some());
}

async fn a_busy_platform_frees_the_chunk(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 1500).await;
    let busy = || Answer::TooManyRequests { retry_after: None };
    sandbox.answer_next([busy(), Answer::Contract, busy(), busy()]);
    let options = quick().concurrency(1);
    let ended = campaign.send(&client(&sandbox), options, message).await.unwrap();
    assert_eq!((ended.state, sandbox.requests()), (State::Done, 5));
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.accepted) = (1500, 1500)));
    assert_eq!(most_accepted(&sandbox), 1);
}

async fn too_many_failures_stop_the_campaign(url: &str) {
    let campaign = sealed(&open(url).await, "spring", 10).await;
    let sandbox = Sandbox::start().await.unwrap();
    let gone = client(&sandbox);
    drop(sandbox);
    let ended = campaign.send(&gone, quick().max_tries(3), message).await.unwrap();
    assert_eq!(ended.state, State::Stopped);
    let reason = ended.reason.unwrap();
    assert!(reason.starts_with("too many failures in a row: "), "{reason}");
    assert_eq!(campaign.state().await.unwrap(), (State::Stopped, Some(reason)));
    // Nothing was sent, so the chunk is free.
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.pending) = (10, 10)));
    let sandbox = Sandbox::start().await.unwrap();
    campaign.resume().await.unwrap();
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 10));
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.accepted) = (10, 10)));
}

async fn a_refused_account_stops_the_campaign(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 2500).await;
    sandbox.answer_next([Answer::Error { status: 401, code: 1200 }]);
    let options = quick().concurrency(1);
    let ended = campaign.send(&client(&sandbox), options.clone(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.requests()), (State::Stopped, 1));
    assert!(ended.reason.unwrap().contains("401"));
    let pending = totals(|it| (it.recipients, it.pending) = (2500, 2500));
    assert_eq!(sums(&campaign).await, pending);
    // Nothing is claimed until somebody resumes it.
    let ended = campaign.send(&client(&sandbox), options.clone(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.requests()), (State::Stopped, 1));
    campaign.resume().await.unwrap();
    let ended = campaign.send(&client(&sandbox), options, message).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 2500));
    assert_eq!(most_accepted(&sandbox), 1);
}

async fn a_chunk_that_is_too_large_is_split(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 999).await;
    let too_large = || Answer::Error { status: 413, code: 1100 };
    sandbox.answer_next([too_large(), too_large()]);
    let options = quick().concurrency(1);
    let ended = campaign.send(&client(&sandbox), options, message).await.unwrap();
    assert_eq!(ended.state, State::Done);
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.accepted) = (999, 999)));
    assert_eq!((sandbox.accepted_count(), most_accepted(&sandbox)), (999, 1));
    // 999 refused, 500 refused, then 499, 250 and 250.
    assert_eq!(sandbox.requests(), 5);
    let mut sizes = std::collections::BTreeMap::new();
    for message in sandbox.accepted() {
        *sizes.entry(message.batch_id).or_insert(0) += 1;
    }
    let mut sizes: Vec<_> = sizes.into_values().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [250, 250, 499]);
}

async fn a_cancelled_campaign_claims_nothing(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let ledger = open(url).await;
    let campaign = sealed(&ledger, "spring", 10_000).await;
    sandbox.answer_next((0..10).map(|_| Answer::Late(Duration::from_millis(300))));
    let client = client(&sandbox);
    let cancel = async {
        accepted(&sandbox, 1000).await;
        campaign.cancel().await.unwrap();
        sandbox.requests()
    };
    let options = quick().concurrency(1);
    let (ended, requests) = tokio::join!(campaign.send(&client, options, message), cancel);
    assert_eq!(ended.unwrap().state, State::Cancelled);
    // A chunk claimed before it may still arrive.
    assert!(sandbox.requests() <= requests + 1);
    let sent = sandbox.accepted_count();
    let expected = totals(|it| {
        (it.recipients, it.accepted, it.pending) = (10_000, sent, 10_000 - sent);
    });
    assert_eq!(sums(&campaign).await, expected);
    let ended = campaign.send(&client, quick(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Cancelled, sent));
}

async fn a_stopped_worker_leaves_the_rest_to_others(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 5000).await;
    sandbox.answer_next((0..5).map(|_| Answer::Late(Duration::from_millis(100))));
    let client = client(&sandbox);
    let stop = CancellationToken::new();
    let options = quick().concurrency(1).stop_with(&stop);
    let stopping = async {
        accepted(&sandbox, 1000).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(campaign.send(&client, options, message), stopping);
    assert_eq!(ended.unwrap().state, State::Sending);
    assert_eq!(campaign.totals().await.unwrap().in_flight, 0);
    assert!(sandbox.accepted_count() < 5000);
    campaign.send(&client, quick(), message).await.unwrap();
    assert_eq!((sandbox.accepted_count(), most_accepted(&sandbox)), (5000, 1));
}

async fn rejected_recipients_are_retried(url: &str) {
    let reject = |message: &serde_json::Value| {
        let id = message["clientMessageId"].as_str().unwrap();
        let is_first = message["content"]["title"] == "Hello";
        let rejection = || Rejection { code: 3038, reason: "No template".into() };
        (id.ends_with('7') && is_first).then(rejection)
    };
    let sandbox = Sandbox::builder().judge(reject).start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 1200).await;
    campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    let totals_before = campaign.totals().await.unwrap();
    assert_eq!((totals_before.accepted, totals_before.rejected), (1080, 120));
    assert_eq!(totals_before.by_code[&(OutcomeKind::Rejected, Some(3038))], 120);

    assert_eq!(campaign.retry(Retry::Rejected).await.unwrap(), 120);
    let pending = totals(|it| {
        (it.recipients, it.accepted, it.pending) = (1200, 1080, 120);
    });
    assert_eq!(sums(&campaign).await, pending);
    // Only a campaign that is done or stopped can be retried.
    let error = campaign.retry(Retry::Rejected).await.unwrap_err();
    assert!(error.to_string().contains("is sending"), "{error}");
    let other = |it: &Recipient| Message::new(it.to, Content::new("Hi"));
    let ended = campaign.send(&client(&sandbox), quick(), other).await.unwrap();
    assert_eq!(ended.state, State::Done);
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.accepted) = (1200, 1200)));
    assert_eq!(most_accepted(&sandbox), 1);
}

async fn a_receipt_settles_an_unknown_message_and_withdraws_its_retry(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let ledger = open(url).await;
    let campaign = sealed(&ledger, "spring", 5).await;
    sandbox.answer_next([Answer::AcceptAndHangUp]);
    campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!(campaign.totals().await.unwrap().unknown, 5);

    let accepted = sandbox.accepted();
    let receipt = |index: usize, state: &str| {
        let it = &accepted[index];
        DeliveryReceipt::builder(it.umid.as_str(), state)
            .client_batch_id(it.client_batch_id.as_deref().unwrap())
            .client_message_id(it.client_message_id.as_deref().unwrap())
            .timestamp("2026-01-04T08:20:02.31Z")
            .build()
    };
    let receipts = [receipt(0, "delivered"), receipt(0, "sent"), receipt(1, "rejected")];
    ledger.record(&receipts).await.unwrap();
    ledger.record(&receipts).await.unwrap();
    let expected = totals(|it| {
        (it.recipients, it.accepted, it.rejected, it.unknown) = (5, 1, 1, 3);
    });
    assert_eq!(sums(&campaign).await, expected);
    let first = campaign.recipients().next().await.unwrap().unwrap();
    assert_eq!(first.standing, Standing::Outcome(OutcomeKind::Accepted));
    assert_eq!(first.stage.map(lon_batch::receipt::Stage::as_str), Some("delivered"));

    // A receipt that arrives after the retry withdraws it.
    assert_eq!(campaign.retry(Retry::UnknownAndRiskDuplicates).await.unwrap(), 3);
    ledger.record(&[receipt(2, "queued")]).await.unwrap();
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!(ended.state, State::Done);
    assert_eq!(sandbox.accepted_count(), 7);
    let expected = totals(|it| (it.recipients, it.accepted, it.rejected) = (5, 4, 1));
    assert_eq!(sums(&campaign).await, expected);
    // A receipt of the first attempt shows a duplicate.
    ledger.record(&[receipt(3, "sent")]).await.unwrap();
    assert_eq!(campaign.totals().await.unwrap().duplicates, 1);
}

async fn a_message_that_was_queued_and_then_rejected_is_retried(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let ledger = open(url).await;
    let campaign = sealed(&ledger, "spring", 2).await;
    sandbox.answer_next([Answer::HangUp]);
    campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    let token = token(url).await;
    let receipt = |state: &str| {
        DeliveryReceipt::builder("umid-1", state)
            .client_batch_id(token.as_str())
            .client_message_id("id-1")
            .build()
    };
    ledger.record(&[receipt("queued"), receipt("rejected")]).await.unwrap();
    assert_eq!(campaign.retry(Retry::Rejected).await.unwrap(), 1);
    let send = async { campaign.send(&client(&sandbox), quick(), message).await };
    let ended = tokio::time::timeout(Duration::from_secs(20), send).await.expect("an end");
    assert_eq!((ended.unwrap().state, sandbox.accepted_count()), (State::Done, 1));
    assert_eq!(
        sums(&campaign).await,
        totals(|it| {
            (it.recipients, it.accepted, it.unknown) = (2, 1, 1);
        })
    );
}

async fn a_receipt_for_a_freed_chunk_withdraws_its_next_try(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let ledger = open(url).await;
    let campaign = sealed(&ledger, "spring", 3).await;
    sandbox.answer_next([Answer::Error { status: 401, code: 1200 }]);
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!(ended.state, State::Stopped);
    let receipt = DeliveryReceipt::builder("umid-2", "delivered")
        .client_batch_id(token(url).await)
        .client_message_id("id-2")
        .build();
    ledger.record(&[receipt]).await.unwrap();
    campaign.resume().await.unwrap();
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 2));
    assert!(sandbox.accepted().iter().all(|it| it.client_message_id.as_deref() != Some("id-2")));
}

/// The clientBatchId of the latest claim of the only chunk.
async fn token(url: &str) -> String {
    let query = "SELECT token FROM chunks WHERE token IS NOT NULL";
    if url.starts_with("sqlite") {
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    } else {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
    }
}

async fn a_recipient_outside_of_a_split_request_is_not_sent(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 10).await;
    sandbox.answer_next([Answer::Error { status: 413, code: 1100 }]);
    let render = |it: &Recipient| {
        let message = message(it);
        if it.client_message_id == "id-3" {
            return message.dlr_callback_url("nowhere");
        }
        message
    };
    let ended = campaign.send(&client(&sandbox), quick(), render).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 9));
    let expected = totals(|it| (it.recipients, it.accepted, it.not_sent) = (10, 9, 1));
    assert_eq!(sums(&campaign).await, expected);
    assert_eq!(campaign.retry(Retry::NotSent).await.unwrap(), 1);
    campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.accepted) = (10, 10)));
}

async fn invalid_messages_are_not_sent(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let ledger = open(url).await;
    let campaign = sealed(&ledger, "some", 10).await;
    let render = |it: &Recipient| {
        let message = message(it);
        if it.client_message_id == "id-3" {
            return message.dlr_callback_url("nowhere");
        }
        message
    };
    let ended = campaign.send(&client(&sandbox), quick(), render).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 9));
    let expected = totals(|it| (it.recipients, it.accepted, it.not_sent) = (10, 9, 1));
    assert_eq!(sums(&campaign).await, expected);
    let mut report = campaign.recipients();
    while let Some(it) = report.next().await.unwrap() {
        if it.client_message_id == "id-3" {
            let reason = it.outcome.unwrap().reason.unwrap();
            assert!(reason.contains("dlrCallbackUrl"), "{reason}");
        }
    }

    let campaign = sealed(&ledger, "all", 10).await;
    let render = |it: &Recipient| message(it).dlr_callback_url("nowhere");
    let ended = campaign.send(&client(&sandbox), quick(), render).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 9));
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.not_sent) = (10, 10)));

    assert_eq!(campaign.retry(Retry::NotSent).await.unwrap(), 10);
    let ended = campaign.send(&client(&sandbox), quick(), message).await.unwrap();
    assert_eq!((ended.state, sandbox.accepted_count()), (State::Done, 19));
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.accepted) = (10, 10)));
}

async fn several_workers_share_a_campaign(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 20_000).await;
    let client = client(&sandbox);
    let worker = async || {
        let campaign = open(url).await.open_campaign("spring").await.unwrap();
        campaign.send(&client, quick().concurrency(3), message).await.unwrap().state
    };
    let states = tokio::join!(worker(), worker(), worker());
    assert_eq!(states, (State::Done, State::Done, State::Done));
    let expected = totals(|it| (it.recipients, it.accepted) = (20_000, 20_000));
    assert_eq!(sums(&campaign).await, expected);
    assert_eq!((sandbox.accepted_count(), most_accepted(&sandbox)), (20_000, 1));
}

async fn a_panic_makes_its_chunk_unknown_at_once(url: &str) {
    let sandbox = Sandbox::start().await.unwrap();
    let campaign = sealed(&open(url).await, "spring", 10).await;
    let client = client(&sandbox);
    let render = |_: &Recipient| -> Message { panic!("a bug in render") };
    let sending = campaign.clone();
    let task = tokio::spawn(async move { sending.send(&client, quick(), render).await });
    assert!(task.await.unwrap_err().is_panic());
    // It panicked before the claim, so nothing is unknown.
    assert_eq!(sums(&campaign).await, totals(|it| (it.recipients, it.pending) = (10, 10)));
    assert_eq!(sandbox.requests(), 0);
}
