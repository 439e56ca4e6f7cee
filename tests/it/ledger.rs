//! What a server accepted, and what a run says of the same messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lon_batch::bulk::{BadItem, BatchOutcome, Counts, Fate, MessageOutcome, Run, Summary};
use lon_batch::mock::{Answer, Rejection, Sandbox, SandboxBuilder};
use lon_batch::{ErrorCode, Message};

/// The server's own record: how often it accepted the message with a clientMessageId.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<HashMap<String, u32>>>);

impl Ledger {
    pub fn accept(&self, id: &str) {
        *self.0.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    pub fn times(&self, id: &str) -> u32 {
        self.0.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u32 {
        self.0.lock().unwrap().values().sum()
    }

    /// A sandbox that keeps this record, and rejects messages with the title `reject`.
    pub fn sandbox(&self) -> SandboxBuilder {
        let ledger = self.clone();
        Sandbox::builder().keep(0).judge(move |message| {
            if message.content.title.as_deref() == Some("reject") {
                return Some(Rejection::from(ErrorCode::TemplateNotFound));
            }
            ledger.accept(id(message));
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

/// All that a run told.
pub struct Told {
    pub messages: Vec<MessageOutcome>,
    pub bad_items: Vec<BadItem>,
    pub summary: Summary,
}

/// Fates in a word, with positions.
pub type Fates = Vec<(u64, &'static str)>;

pub fn word(fate: &Fate) -> &'static str {
    fate.kind().as_str()
}

impl Told {
    /// Everything to the end of a run, which has to come.
    pub async fn by(mut run: Run<'_>) -> Self {
        let mut told = Self::nothing(&run);
        let end = async {
            while let Some(outcome) = run.next().await {
                told.add(outcome);
            }
            assert!(run.next().await.is_none(), "it stays at its end");
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), end).await;
        assert!(in_time.is_ok(), "no end: {}", run.summary());
        told.summary = run.summary();
        told
    }

    pub fn nothing(run: &Run<'_>) -> Self {
        Self { messages: Vec::new(), bad_items: Vec::new(), summary: run.summary() }
    }

    pub fn add(&mut self, outcome: BatchOutcome) {
        assert!(
            !outcome.messages.is_empty() || !outcome.bad_items.is_empty(),
            "an outcome tells something"
        );
        self.messages.extend(outcome.messages);
        self.bad_items.extend(outcome.bad_items);
    }

    pub fn counts(&self) -> Counts {
        self.summary.counts
    }

    pub fn fates(&self) -> Fates {
        let all = self.messages.iter();
        let mut fates: Vec<_> = all.map(|it| (it.position, word(&it.fate))).collect();
        fates.sort_unstable();
        fates
    }

    /// How many messages have a fate.
    pub fn count(&self, fate: &str) -> usize {
        let all = self.messages.iter();
        all.filter(|it| word(&it.fate) == fate).count()
    }

    /// The fate of a message.
    pub fn fate(&self, position: u64) -> &Fate {
        let mut all = self.messages.iter();
        &all.find(|it| it.position == position).unwrap().fate
    }

    /// Holds every fate against what the server accepted, and the counts against the fates.
    pub fn check(&self, ledger: &Ledger) {
        let mut positions: Vec<_> = self.messages.iter().map(|it| it.position).collect();
        positions.sort_unstable();
        let told = positions.len();
        positions.dedup();
        assert_eq!(positions.len(), told, "each message has one fate");

        let (mut sure, mut unknown) = (0, 0);
        for MessageOutcome { message, fate, .. } in &self.messages {
            let times = ledger.times(id(message));
            match fate {
                Fate::Accepted { .. } => {
                    assert_eq!(times, 1, "{}: {fate}", id(message));
                    sure += 1;
                }
                Fate::Unknown(_) => {
                    assert!(times <= 1, "{}: {fate}, {times} times", id(message));
                    unknown += times;
                }
                // Of two messages with one id in one batch, the second is not sent.
                Fate::NotSent(lon_batch::bulk::NotSentReason::Invalid(_)) => {}
                Fate::Rejected { .. } | Fate::Refused(_) | Fate::NotSent(_) => {
                    assert_eq!(times, 0, "{}: {fate}", id(message));
                }
            }
        }
        assert_eq!(ledger.total(), sure + unknown, "nothing else was accepted");

        let counts = self.counts();
        let counted = |fate| self.count(fate) as u64;
        assert_eq!(counts.taken, told as u64);
        assert_eq!(counts.accepted, counted("accepted"));
        assert_eq!(counts.rejected, counted("rejected"));
        assert_eq!(counts.refused, counted("refused"));
        assert_eq!(counts.unknown, counted("unknown"));
        assert_eq!(counts.not_sent, counted("not_sent"));
        assert_eq!(counts.bad_items, self.bad_items.len() as u64);
        assert_eq!((counts.settled(), counts.pending()), (counts.taken, 0));
        assert!(self.summary.ended);
    }
}
