//! A journal in memory that fails, stalls and is slow on demand, and checks how it is used.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lon_batch::bulk::{Chunk, Deadline, Journal};
use lon_batch::{Outcome, OutcomeKind};

use super::ledger::Ledger;

/// The effect of a call of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Act {
    #[default]
    Record,
    /// Records after some turns of the runtime and a moment.
    RecordLate,
    /// Fails without a record.
    Fail,
    /// Records, and the reply is lost.
    RecordAndFail,
    /// Records, and returns a deadline that has passed.
    RecordTooLate,
    /// Never returns.
    Stall,
    /// Panics without a record.
    Panic,
}

type Plan = Box<dyn FnMut(u64) -> Act + Send>;

#[derive(Clone)]
pub struct MemoryJournal(Arc<Mutex<State>>);

struct State {
    sending: Plan,
    settled: Plan,
    calls: (u64, u64),
    /// Ids in flight by chunk: `sending` without `settled`.
    open: HashMap<String, Vec<String>>,
    chunks: HashSet<String>,
    /// The latest outcome of each message.
    outcomes: HashMap<String, OutcomeKind>,
    /// Chunks that must not leave, because `sending` failed or came too late.
    forbidden: HashSet<String>,
    violations: Vec<String>,
}

#[derive(Debug)]
pub struct DiskFull;

impl std::fmt::Display for DiskFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no space left")
    }
}

impl std::error::Error for DiskFull {}

impl MemoryJournal {
    pub fn new(
        sending: impl FnMut(u64) -> Act + Send + 'static,
        settled: impl FnMut(u64) -> Act + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            sending: Box::new(sending),
            settled: Box::new(settled),
            calls: (0, 0),
            open: HashMap::new(),
            chunks: HashSet::new(),
            outcomes: HashMap::new(),
            forbidden: HashSet::new(),
            violations: Vec::new(),
        })))
    }

    pub fn reliable() -> Self {
        Self::new(|_| Act::Record, |_| Act::Record)
    }

    /// Calls of `sending` and of `settled`.
    pub fn calls(&self) -> (u64, u64) {
        self.0.lock().unwrap().calls
    }

    /// The server received a request of this chunk with these messages.
    pub fn received(&self, chunk: &str, id: &str) {
        let mut state = self.0.lock().unwrap();
        let is_open = state.open.get(chunk).is_some_and(|ids| ids.iter().any(|it| it == id));
        if !is_open {
            state.violations.push(format!("{id} of {chunk} was sent and not journalled before"));
        }
        if state.forbidden.contains(chunk) {
            state.violations.push(format!("{id} of {chunk} was sent after its deadline"));
        }
    }

    /// The messages with `sending` and without `settled`: what is unknown after a crash.
    pub fn in_flight(&self) -> HashSet<String> {
        self.0.lock().unwrap().open.values().flatten().cloned().collect()
    }

    pub fn outcome(&self, id: &str) -> Option<OutcomeKind> {
        self.0.lock().unwrap().outcomes.get(id).copied()
    }

    /// Whatever happened: everything was journalled before it was sent, and what the server accepted
    /// is either recorded as such or in flight.
    pub fn check(&self, ledger: &Ledger) {
        let in_flight = self.in_flight();
        let state = self.0.lock().unwrap();
        assert_eq!(state.violations, Vec::<String>::new());
        for (id, times) in ledger.all() {
            assert!(times <= 1, "{id} was accepted {times} times");
            let outcome = state.outcomes.get(&id);
            let may_be_accepted =
                matches!(outcome, Some(OutcomeKind::Accepted | OutcomeKind::Unknown));
            assert!(may_be_accepted || in_flight.contains(&id), "{id}: {outcome:?}");
        }
        for (id, outcome) in &state.outcomes {
            if *outcome == OutcomeKind::Accepted {
                assert_eq!(ledger.accept_count(id), 1, "{id}");
            }
        }
    }

    /// Each `sending` had its `settled`.
    pub fn assert_nothing_in_flight(&self) {
        assert_eq!(self.in_flight(), HashSet::new());
    }
}

async fn act(act: Act) {
    match act {
        Act::RecordLate => {
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Act::Stall => std::future::pending().await,
        Act::Panic => panic!("the journal panics"),
        _ => {}
    }
}

impl Journal for MemoryJournal {
    type Error = DiskFull;

    async fn sending(&self, chunk: &Chunk) -> Result<Option<Deadline>, DiskFull> {
        let planned = {
            let mut state = self.0.lock().unwrap();
            state.calls.0 += 1;
            let number = state.calls.0 - 1;
            (state.sending)(number)
        };
        act(planned).await;
        let mut state = self.0.lock().unwrap();
        let id = chunk.id().to_owned();
        if !state.chunks.insert(id.clone()) {
            state.violations.push(format!("{id} was used twice"));
        }
        if planned != Act::Fail {
            let ids = chunk.client_message_ids().map(str::to_owned).collect();
            state.open.insert(id.clone(), ids);
        }
        match planned {
            Act::Fail | Act::RecordAndFail => {
                state.forbidden.insert(id);
                Err(DiskFull)
            }
            Act::RecordTooLate => {
                state.forbidden.insert(id);
                Ok(Some(Deadline::after(Duration::ZERO)))
            }
            _ => Ok(Some(Deadline::after(Duration::from_secs(60)))),
        }
    }

    async fn settled(&self, chunk: &Chunk, outcomes: &[Outcome]) -> Result<(), DiskFull> {
        let planned = {
            let mut state = self.0.lock().unwrap();
            state.calls.1 += 1;
            let number = state.calls.1 - 1;
            (state.settled)(number)
        };
        act(planned).await;
        let mut state = self.0.lock().unwrap();
        let id = chunk.id();
        if outcomes.len() != chunk.messages().len() {
            state.violations.push(format!("{id} has {} outcomes", outcomes.len()));
        }
        if planned == Act::Fail {
            return Err(DiskFull);
        }
        if state.open.remove(id).is_none() {
            state.violations.push(format!("{id} was settled without `sending`, or twice"));
        }
        for (id, outcome) in chunk.client_message_ids().zip(outcomes) {
            state.outcomes.insert(id.to_owned(), outcome.kind);
        }
        if planned == Act::RecordAndFail { Err(DiskFull) } else { Ok(()) }
    }
}
