//! Compares the messages that a server accepted with the outcomes that a run reports.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use lon_batch::bulk::{BadItem, BatchOutcome, Counts, Journal, MessageOutcome, Run, Summary};
use lon_batch::{Message, Outcome, OutcomeKind};
use lon_sandbox::{Answer, Rejection, Sandbox, SandboxBuilder};
use serde_json::Value;

/// The server's own record: how often it accepted the message with a clientMessageId.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<HashMap<String, u32>>>);

impl Ledger {
    pub fn accept(&self, id: &str) {
        *self.0.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    pub fn accept_count(&self, id: &str) -> u32 {
        self.0.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    pub fn all(&self) -> HashMap<String, u32> {
        self.0.lock().unwrap().clone()
    }

    pub fn total(&self) -> u32 {
        self.0.lock().unwrap().values().sum()
    }

    /// A sandbox that keeps this record, and rejects messages with the title `reject`.
    pub fn sandbox(&self) -> SandboxBuilder {
        let ledger = self.clone();
        Sandbox::builder().keep(0).judge(move |message| {
            if message["content"]["title"] == "reject" {
                return Some(Rejection::from(3038));
            }
            ledger.accept(json_id(message));
            None
        })
    }

    pub async fn sandbox_with(&self, answers: impl IntoIterator<Item = Answer>) -> Sandbox {
        let sandbox = self.sandbox().start().await.unwrap();
        sandbox.answer_next(answers);
        sandbox
    }
}

pub fn id(message: &Message) -> &str {
    message.client_message_id.as_deref().unwrap()
}

/// The same, of a message in JSON.
pub fn json_id(message: &Value) -> &str {
    message["clientMessageId"].as_str().unwrap()
}

/// The next outcome of a run, or the panic of its input or journal.
pub async fn next_or_panic<J: Journal>(
    run: &mut Run<'_, J>,
) -> std::thread::Result<Option<BatchOutcome>> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *run).poll_next(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Everything that a run reported.
pub struct Reported {
    pub messages: Vec<MessageOutcome>,
    pub bad_items: Vec<BadItem>,
    pub summary: Summary,
}

impl Reported {
    /// Everything to the end of a run, which has to come.
    pub async fn by<J: Journal>(mut run: Run<'_, J>) -> Self {
        let mut reported = Self::nothing(&run);
        let end = async {
            while let Some(outcome) = run.next().await {
                reported.add(outcome);
            }
            assert!(run.next().await.is_none(), "a run that ended stays at its end");
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), end).await;
        assert!(in_time.is_ok(), "the run did not end: {}", run.summary());
        reported.summary = run.summary();
        reported
    }

    pub fn nothing<J>(run: &Run<'_, J>) -> Self {
        Self { messages: Vec::new(), bad_items: Vec::new(), summary: run.summary() }
    }

    pub fn add(&mut self, outcome: BatchOutcome) {
        assert!(
            !outcome.messages.is_empty() || !outcome.bad_items.is_empty(),
            "an outcome reports something"
        );
        self.messages.extend(outcome.messages);
        self.bad_items.extend(outcome.bad_items);
    }

    pub fn counts(&self) -> Counts {
        self.summary.counts
    }

    /// The kinds of outcomes, with positions.
    pub fn kinds(&self) -> Vec<(u64, OutcomeKind)> {
        let all = self.messages.iter();
        let mut kinds: Vec<_> = all.map(|it| (it.position, it.outcome.kind)).collect();
        kinds.sort_unstable();
        kinds
    }

    /// How many messages have an outcome of this kind.
    pub fn count(&self, kind: OutcomeKind) -> usize {
        self.messages.iter().filter(|it| it.outcome.kind == kind).count()
    }

    /// How many messages were not sent because the platform refused their batch.
    pub fn refused(&self) -> usize {
        let refused = |it: &Outcome| it.kind == OutcomeKind::NotSent && it.status.is_some();
        self.messages.iter().filter(|it| refused(&it.outcome)).count()
    }

    pub fn message(&self, position: u64) -> &MessageOutcome {
        self.messages.iter().find(|it| it.position == position).unwrap()
    }

    pub fn outcome(&self, position: u64) -> &Outcome {
        &self.message(position).outcome
    }

    /// Compares every outcome with what the server accepted, and the counts with the outcomes.
    pub fn check(&self, ledger: &Ledger) {
        let mut positions: Vec<_> = self.messages.iter().map(|it| it.position).collect();
        positions.sort_unstable();
        let reported = positions.len();
        positions.dedup();
        assert_eq!(positions.len(), reported, "each message has one outcome");

        let (mut sure, mut unknown) = (0, 0);
        for reported in &self.messages {
            let MessageOutcome { message, outcome, duplicate_of, .. } = reported;
            let (id, kind) = (id(message), outcome.kind);
            let times = ledger.accept_count(id);
            let is_duplicate = duplicate_of.is_some();
            match kind {
                OutcomeKind::Accepted => {
                    assert_eq!(times, 1, "{id}: {outcome}");
                    sure += times;
                }
                OutcomeKind::Unknown => {
                    assert!(times <= 1, "{id}: {outcome}, {times} times");
                    unknown += times;
                }
                // The message that was accepted with this id is the other one of the batch.
                OutcomeKind::NotSent if is_duplicate => {}
                OutcomeKind::Rejected | OutcomeKind::NotSent => {
                    assert_eq!(times, 0, "{id}: {outcome}");
                }
            }
            assert!(!is_duplicate || kind == OutcomeKind::NotSent, "{id}: {outcome}");
            let known = matches!(kind, OutcomeKind::Rejected | OutcomeKind::NotSent);
            assert_eq!(reported.can_be_resent(), known && !is_duplicate, "{id}: {outcome}");
        }
        assert_eq!(ledger.total(), sure + unknown, "nothing else was accepted");

        let counts = self.counts();
        let counted = |kind| self.count(kind) as u64;
        assert_eq!(counts.taken, reported as u64);
        assert_eq!(counts.accepted, counted(OutcomeKind::Accepted));
        assert_eq!(counts.rejected, counted(OutcomeKind::Rejected));
        assert_eq!(counts.not_sent, counted(OutcomeKind::NotSent));
        assert_eq!(counts.unknown, counted(OutcomeKind::Unknown));
        assert_eq!(counts.bad_items, self.bad_items.len() as u64);
        assert_eq!((counts.settled(), counts.pending()), (counts.taken, 0));
        assert!(self.summary.ended);
    }
}
