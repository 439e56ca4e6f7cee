//! Random histories of a campaign, applied to the ledger of each database and to a model of plain
//! maps. After each step both must agree.
//!
//! `LON_HISTORIES` sets the number of histories for each database, and `LON_SEED` repeats a run.

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lon_batch::receipt::Stage;
use lon_batch::{Outcome, OutcomeKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::campaign::{Campaign, State};
use crate::report::{Standing, Totals};
use crate::store::{
    Claim, Claimed, End, NewCampaign, NewReceipt, Peek, Postgres, Sqlite, Store, chunk_state,
};
use common::Folder;
use common::cluster::Postgres as Server;

const RECIPIENTS: i64 = 5;
const POSITIONS: [i64; 5] = [1, 2, 3, 4, 5];
const CHUNK_SIZE: usize = 2;
const HOUR: i64 = 3_600_000;
/// How many histories each database gets by default.
const HISTORIES: u64 = 16;

fn chunk_size() -> i64 {
    i64::try_from(CHUNK_SIZE).unwrap()
}

/// A step of a history. An index picks one of the chunks, claims or recipients so far.
#[derive(Clone, Debug)]
enum Step {
    /// A worker claims a chunk: a free one or any, as it is or as it was some tries ago.
    Claim {
        chunk: Index,
        is_any: bool,
        tries_ago: i64,
        knows_receipts: bool,
        is_overdue: bool,
    },
    /// The reply to a claim was lost, so the worker repeats it.
    RepeatClaim(Index),
    /// A response: in time, after the fence, or again because the reply to a commit was lost.
    Settle(Index, Response),
    /// Outcomes of recipients of a chunk that were not in the request.
    Append(Index),
    /// A worker marks its own claim unknown.
    Abandon(Index),
    /// A receipt for a recipient in the request of a claim, or for any recipient.
    Receipt {
        claim: Index,
        recipient: Index,
        is_any: bool,
        stage: Option<Stage>,
    },
    Fence,
    Finish,
    Stop,
    Resume,
    Cancel,
    Retry(OutcomeKind),
}

#[derive(Clone, Debug)]
enum Response {
    /// The outcome of each recipient in the request.
    Outcomes(Vec<OutcomeKind>),
    /// Provably not sent.
    Free,
    TooLarge,
    /// The process found that it had sent nothing, and has no outcomes.
    Nothing,
}

/// One step, or some that are rarely in this order by chance.
fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<Index>;
    let response = prop_oneof![
        4 => vec(select(&OutcomeKind::ALL[..]), CHUNK_SIZE).prop_map(Response::Outcomes),
        2 => Just(Response::Free),
        1 => Just(Response::TooLarge),
        1 => Just(Response::Nothing),
    ];
    let stage = || prop_oneof![6 => select(&Stage::ALL[..]).prop_map(Some), 1 => Just(None)];
    let receipts = (index(), index(), prop::bool::weighted(0.2), vec(stage(), 1..3));
    let receipts = receipts.prop_map(|(claim, recipient, is_any, stages)| {
        let receipt = |stage| Step::Receipt { claim, recipient, is_any, stage };
        stages.into_iter().map(receipt).collect()
    });
    let kinds = [OutcomeKind::Rejected, OutcomeKind::NotSent, OutcomeKind::Unknown];
    let tries_ago = prop_oneof![5 => Just(0), 1 => Just(1)];
    let claim =
        (index(), prop::bool::weighted(0.3), tries_ago, prop::bool::weighted(0.7), any::<bool>());
    let step = prop_oneof![
        10 => claim.prop_map(|(chunk, is_any, tries_ago, knows_receipts, is_overdue)| {
            Step::Claim { chunk, is_any, tries_ago, knows_receipts, is_overdue }
        }),
        2 => index().prop_map(Step::RepeatClaim),
        8 => (index(), response).prop_map(|(claim, response)| Step::Settle(claim, response)),
        2 => index().prop_map(Step::Append),
        1 => index().prop_map(Step::Abandon),
        3 => Just(Step::Fence),
        2 => Just(Step::Finish),
        2 => Just(Step::Stop),
        2 => Just(Step::Resume),
        1 => prop_oneof![1 => Just(Step::Cancel), 9 => Just(Step::Fence)],
    ];
    // A campaign that sends permits no retry.
    let retry = (prop::bool::weighted(0.9), select(kinds.to_vec())).prop_map(|(stops, kind)| {
        stops.then_some(Step::Stop).into_iter().chain([Step::Retry(kind)]).collect()
    });
    prop_oneof![34 => step.prop_map(|step| vec![step]), 8 => receipts, 6 => retry]
}

/// A chunk as the model sees it.
#[derive(Clone, Debug, Default)]
struct Chunk {
    attempt: i64,
    members: BTreeSet<i64>,
    state: i64,
    tries: i64,
    token: Option<String>,
    is_overdue: bool,
    /// Whether it is of a retry or a split.
    is_later: bool,
    /// By try and position.
    outcomes: BTreeMap<(i64, i64), OutcomeKind>,
    /// The greatest stage by position.
    receipts: BTreeMap<i64, Option<Stage>>,
}

impl Chunk {
    /// The standing of a recipient by this attempt alone.
    fn standing(&self, position: i64) -> Standing {
        let receipt = self.receipts.get(&position).map(|stage| match stage {
            Some(Stage::Rejected) => OutcomeKind::Rejected,
            _ => OutcomeKind::Accepted,
        });
        let evidence = [receipt, self.outcomes.get(&(self.tries, position)).copied()];
        let has = |kind| evidence.contains(&Some(kind));
        if has(OutcomeKind::Accepted) {
            return Standing::Outcome(OutcomeKind::Accepted);
        }
        if self.state == chunk_state::FREE {
            return Standing::Pending;
        }
        if has(OutcomeKind::Rejected) {
            return Standing::Outcome(OutcomeKind::Rejected);
        }
        if has(OutcomeKind::NotSent) {
            return Standing::Outcome(OutcomeKind::NotSent);
        }
        match self.state {
            chunk_state::CLAIMED => Standing::InFlight,
            chunk_state::UNKNOWN => Standing::Outcome(OutcomeKind::Unknown),
            _ if has(OutcomeKind::Unknown) => Standing::Outcome(OutcomeKind::Unknown),
            // It was not in the request.
            _ => Standing::Outcome(OutcomeKind::NotSent),
        }
    }

    fn is_claimed(&self) -> bool {
        self.state == chunk_state::CLAIMED
    }

    fn is_open(&self) -> bool {
        self.is_claimed() || self.state == chunk_state::FREE
    }

    /// The first outcome of a try counts.
    fn append(&mut self, tries: i64, outcomes: &[(i64, Outcome)]) {
        for (position, outcome) in outcomes {
            self.outcomes.entry((tries, *position)).or_insert(outcome.kind);
        }
    }
}

/// A campaign as the model sees it.
struct Model {
    state: State,
    /// In the order of their ids.
    chunks: Vec<Chunk>,
    /// Each receipt that arrived, matched or not.
    receipts: BTreeSet<String>,
}

impl Model {
    fn new() -> Self {
        let chunks = POSITIONS.chunks(CHUNK_SIZE).map(|members| Chunk {
            attempt: 1,
            members: members.iter().copied().collect(),
            ..Chunk::default()
        });
        Self { state: State::Sending, chunks: chunks.collect(), receipts: BTreeSet::new() }
    }

    fn attempts(&self, position: i64) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().filter(move |chunk| chunk.members.contains(&position))
    }

    /// The first of these that any attempt has.
    fn standing(&self, position: i64) -> Standing {
        let order = [
            Standing::Outcome(OutcomeKind::Accepted),
            Standing::InFlight,
            Standing::Pending,
            Standing::Outcome(OutcomeKind::Unknown),
            Standing::Outcome(OutcomeKind::Rejected),
            Standing::Outcome(OutcomeKind::NotSent),
        ];
        let has = |it: &Standing| self.attempts(position).any(|c| c.standing(position) == *it);
        order.into_iter().find(has).expect("every recipient is in a chunk")
    }

    fn times_accepted(&self, position: i64) -> usize {
        let accepted = Standing::Outcome(OutcomeKind::Accepted);
        self.attempts(position).filter(|chunk| chunk.standing(position) == accepted).count()
    }

    fn is_accepted(&self, position: i64) -> bool {
        self.times_accepted(position) > 0
    }

    fn claim(&mut self, claim: &MyClaim) -> Claimed {
        if self.state != State::Sending {
            return Claimed::NotSending;
        }
        if claim.retried.iter().any(|position| self.is_accepted(*position)) {
            return Claimed::Taken;
        }
        let chunk = &mut self.chunks[claim.chunk];
        if chunk.state == chunk_state::FREE && chunk.tries == claim.tries {
            chunk.state = chunk_state::CLAIMED;
            chunk.token = Some(claim.token.clone());
            chunk.is_overdue = claim.is_overdue;
            return Claimed::Yes;
        }
        let is_mine = chunk.token.as_ref() == Some(&claim.token);
        if is_mine && chunk.state == chunk_state::CLAIMED {
            return Claimed::Yes;
        }
        Claimed::Taken
    }

    fn settle(&mut self, token: &str, outcomes: &[(i64, Outcome)], end: &End) {
        let Some(chunk) = self.chunks.iter_mut().find(|it| it.token.as_deref() == Some(token))
        else {
            return;
        };
        if !matches!(chunk.state, chunk_state::CLAIMED | chunk_state::UNKNOWN) {
            return;
        }
        chunk.append(chunk.tries, outcomes);
        if chunk.state == chunk_state::UNKNOWN {
            return;
        }
        match end {
            End::Settled => chunk.state = chunk_state::SETTLED,
            End::Free => {
                chunk.state = chunk_state::FREE;
                chunk.tries += 1;
            }
            End::Split { first, second } => {
                chunk.state = chunk_state::SPLIT;
                let (attempt, tries) = (chunk.attempt, chunk.tries);
                for half in [first, second] {
                    self.add(attempt, tries, half);
                }
            }
        }
    }

    fn add(&mut self, attempt: i64, tries: i64, members: &[i64]) {
        if !members.is_empty() {
            let members = members.iter().copied().collect();
            self.chunks.push(Chunk { attempt, tries, members, is_later: true, ..Chunk::default() });
        }
    }

    fn receipt(&mut self, receipt: &NewReceipt, position: i64, stage: Option<Stage>) {
        if !self.receipts.insert(format!("{} {}", receipt.umid, receipt.state)) {
            return;
        }
        let chunk = self.chunks.iter_mut().find(|it| it.token == receipt.client_batch_id);
        if let Some(chunk) = chunk.filter(|chunk| chunk.members.contains(&position)) {
            let greatest = chunk.receipts.entry(position).or_default();
            *greatest = stage.max(*greatest);
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals { recipients: RECIPIENTS.unsigned_abs(), ..Totals::default() };
        for position in POSITIONS {
            *match self.standing(position) {
                Standing::Pending => &mut totals.pending,
                Standing::InFlight => &mut totals.in_flight,
                Standing::Outcome(OutcomeKind::Accepted) => &mut totals.accepted,
                Standing::Outcome(OutcomeKind::Rejected) => &mut totals.rejected,
                Standing::Outcome(OutcomeKind::NotSent) => &mut totals.not_sent,
                Standing::Outcome(OutcomeKind::Unknown) => &mut totals.unknown,
            } += 1;
            totals.duplicates += u64::from(self.times_accepted(position) > 1);
        }
        totals
    }
}

/// A claim that a worker made or tried to make.
#[derive(Clone, Debug)]
struct MyClaim {
    chunk: usize,
    tries: i64,
    token: String,
    is_overdue: bool,
    /// The positions in the request, in order.
    in_request: Vec<i64>,
    /// The same, of a chunk whose recipients were in an earlier request.
    retried: Vec<i64>,
}

/// A campaign in a ledger beside its model.
struct History {
    campaign: Campaign,
    model: Model,
    /// The id of each chunk of the model.
    ids: Vec<i64>,
    claims: Vec<MyClaim>,
    /// A position for each claim that a recipient may still have: its first, one after each claim that
    /// ended as provably not sent, and one for each retry that somebody asked for. Apart from the
    /// model, so that neither hides the other's mistakes.
    permitted: Vec<i64>,
}

impl History {
    async fn new(store: &Arc<dyn Store>, name: &str) -> Self {
        let new = NewCampaign { name, content: "", content_hash: &[], unique_numbers: false };
        let row = store.create(&new).await.unwrap();
        let recipients: Vec<_> = common::recipients(5).collect();
        let imported = store.import(row.id, 0, false, &recipients, &[0; 32]).await.unwrap();
        assert_eq!(imported, Some(vec![]));
        store.seal(row.id, chunk_size()).await.unwrap();
        let mut history = Self {
            campaign: Campaign::new(Arc::clone(store), row),
            model: Model::new(),
            ids: Vec::new(),
            claims: Vec::new(),
            permitted: POSITIONS.into(),
        };
        history.compare().await;
        history
    }

    async fn step(&mut self, step: &Step) {
        let Campaign { store, id, .. } = self.campaign.clone();
        match step {
            Step::Claim { chunk, is_any, tries_ago, knows_receipts, is_overdue } => {
                let chunks = 0..self.model.chunks.len();
                let is_free = |it: &usize| self.model.chunks[*it].state == chunk_state::FREE;
                let free: Vec<_> = chunks.clone().filter(|it| *is_any || is_free(it)).collect();
                let all: Vec<_> = chunks.collect();
                let number = *chunk.get(if free.is_empty() { &all } else { &free });
                let claim = self.new_claim(number, *tries_ago, *knows_receipts, *is_overdue);
                self.claims.push(claim.clone());
                self.claim(&claim).await;
            }
            Step::RepeatClaim(index) => {
                if let Some(claim) = self.pick(*index) {
                    self.claim(&claim).await;
                }
            }
            Step::Settle(index, response) => {
                if let Some(claim) = self.pick(*index) {
                    self.settle(&claim, response).await;
                }
            }
            Step::Append(index) => {
                if let Some(claim) = self.pick(*index) {
                    self.append(&claim).await;
                }
            }
            Step::Abandon(index) => {
                if let Some(claim) = self.pick(*index) {
                    store.abandon(&claim.token).await.unwrap();
                    for chunk in &mut self.model.chunks {
                        if chunk.token.as_ref() == Some(&claim.token) && chunk.is_claimed() {
                            chunk.state = chunk_state::UNKNOWN;
                        }
                    }
                }
            }
            Step::Receipt { claim, recipient, is_any, stage } => {
                if let Some(claim) = self.pick(*claim) {
                    let of_claim = &claim.in_request[..];
                    let all = if *is_any || of_claim.is_empty() { &POSITIONS } else { of_claim };
                    self.receipt(&claim, *recipient.get(all), *stage).await;
                }
            }
            Step::Fence => {
                let mut expected = 0;
                for chunk in &mut self.model.chunks {
                    if chunk.is_claimed() && chunk.is_overdue {
                        chunk.state = chunk_state::UNKNOWN;
                        expected += 1;
                    }
                }
                assert_eq!(store.fence(id).await.unwrap(), expected, "fenced chunks");
            }
            Step::Finish => {
                store.finish(id).await.unwrap();
                let is_open = self.model.chunks.iter().any(Chunk::is_open);
                if self.model.state == State::Sending && !is_open {
                    self.model.state = State::Done;
                }
            }
            Step::Stop => self.set_state(&[State::Sending], State::Stopped).await,
            Step::Resume => {
                self.campaign.resume().await.unwrap();
                if self.model.state == State::Stopped {
                    self.model.state = State::Sending;
                }
            }
            Step::Cancel => {
                self.campaign.cancel().await.unwrap();
                if self.model.state != State::Done {
                    self.model.state = State::Cancelled;
                }
            }
            Step::Retry(kind) => self.retry(*kind).await,
        }
        self.compare().await;
    }

    fn new_claim(
        &self,
        number: usize,
        tries_ago: i64,
        knows_receipts: bool,
        is_overdue: bool,
    ) -> MyClaim {
        let chunk = &self.model.chunks[number];
        let has_history = chunk.is_later || chunk.tries > 0;
        let leave_out = has_history && knows_receipts;
        let members = chunk.members.iter().copied();
        let in_request: Vec<_> =
            members.filter(|it| !(leave_out && self.model.is_accepted(*it))).collect();
        MyClaim {
            chunk: number,
            tries: chunk.tries - tries_ago,
            token: format!("{}-{}", self.campaign.id, self.claims.len()),
            is_overdue,
            retried: if has_history { in_request.clone() } else { Vec::new() },
            in_request,
        }
    }

    async fn append(&mut self, claim: &MyClaim) {
        let chunk = &mut self.model.chunks[claim.chunk];
        let others = chunk.members.iter().copied().filter(|it| !claim.in_request.contains(it));
        let outcomes: Vec<_> = others.map(|it| (it, Outcome::new(OutcomeKind::NotSent))).collect();
        let Campaign { store, id, .. } = &self.campaign;
        let chunk_id = self.ids[claim.chunk];
        store.append(*id, chunk_id, claim.tries, &outcomes).await.unwrap();
        chunk.append(claim.tries, &outcomes);
    }

    async fn receipt(&mut self, claim: &MyClaim, position: i64, stage: Option<Stage>) {
        let receipt = NewReceipt {
            umid: format!("{} {position}", claim.token),
            state: stage.map_or("error", Stage::as_str).to_owned(),
            stage: stage.map_or(0, |stage| stage.number().into()),
            client_batch_id: Some(claim.token.clone()),
            client_message_id: Some(format!("id-{position}")),
            ..NewReceipt::default()
        };
        self.campaign.store.record(std::slice::from_ref(&receipt)).await.unwrap();
        self.model.receipt(&receipt, position, stage);
    }

    async fn retry(&mut self, kind: OutcomeKind) {
        let is_of_kind = |it: &i64| self.model.standing(*it) == Standing::Outcome(kind);
        let positions: Vec<_> = POSITIONS.into_iter().filter(is_of_kind).collect();
        let is_permitted = matches!(self.model.state, State::Done | State::Stopped)
            && !self.model.chunks.iter().any(Chunk::is_claimed);
        let Campaign { store, id, .. } = &self.campaign;
        let retried = store.retry(*id, &positions, chunk_size()).await.unwrap();
        assert_eq!(retried, is_permitted, "whether a retry is permitted");
        if is_permitted {
            self.model.state = State::Sending;
            let attempts = self.model.chunks.iter().map(|chunk| chunk.attempt);
            let attempt = attempts.max().unwrap() + 1;
            for members in positions.chunks(CHUNK_SIZE) {
                self.model.add(attempt, 0, members);
            }
            self.permitted.extend(positions);
        }
    }

    fn pick(&self, index: Index) -> Option<MyClaim> {
        (!self.claims.is_empty()).then(|| index.get(&self.claims).clone())
    }

    async fn set_state(&mut self, from: &[State], to: State) {
        let numbers: Vec<_> = from.iter().map(|state| state.number()).collect();
        let Campaign { store, id, .. } = &self.campaign;
        let changed = store.set_state(*id, &numbers, to.number(), None).await.unwrap();
        assert_eq!(changed, from.contains(&self.model.state), "whether the state changes");
        if changed {
            self.model.state = to;
        }
    }

    async fn claim(&mut self, claim: &MyClaim) {
        let Campaign { store, id, .. } = &self.campaign;
        let was_claimed = self.model.chunks[claim.chunk].is_claimed();
        let new = Claim {
            campaign: *id,
            chunk: self.ids[claim.chunk],
            tries: claim.tries,
            token: &claim.token,
            worker: 1,
            fence_after: if claim.is_overdue { 0 } else { HOUR },
            retried: &claim.retried,
        };
        let claimed = store.claim(&new).await.unwrap();
        if claimed == Claimed::Yes && !was_claimed {
            for position in &claim.in_request {
                let permit = self.permitted.iter().position(|it| it == position);
                self.permitted.swap_remove(permit.expect("a recipient is claimed again"));
            }
        }
        assert_eq!(claimed, self.model.claim(claim), "{claim:?}");
    }

    async fn settle(&mut self, claim: &MyClaim, response: &Response) {
        let all = |kind| -> Vec<_> {
            claim.in_request.iter().map(|it| (*it, Outcome::new(kind))).collect()
        };
        let (outcomes, end) = match response {
            Response::Outcomes(kinds) => {
                let kinds = kinds.iter().map(|kind| Outcome::new(*kind));
                (claim.in_request.iter().copied().zip(kinds).collect(), End::Settled)
            }
            Response::Free => (all(OutcomeKind::NotSent), End::Free),
            Response::TooLarge => {
                let mut first = claim.in_request.clone();
                let second = first.split_off(first.len().div_ceil(2));
                (all(OutcomeKind::NotSent), End::Split { first, second })
            }
            Response::Nothing => (Vec::new(), End::Free),
        };
        let Campaign { store, id, .. } = &self.campaign;
        let state = async || {
            let chunks = store.chunks(*id, 1, RECIPIENTS).await.unwrap();
            chunks.iter().find(|it| it.id == self.ids[claim.chunk]).unwrap().state
        };
        let before = state().await;
        store.settle(&claim.token, &outcomes, &end).await.unwrap();
        let after = state().await;
        let is_not_sent = matches!(after, chunk_state::FREE | chunk_state::SPLIT);
        if before == chunk_state::CLAIMED && is_not_sent {
            self.permitted.extend(&claim.in_request);
        }
        self.model.settle(&claim.token, &outcomes, &end);
    }

    /// Compares everything that the ledger reports with the model.
    async fn compare(&mut self) {
        let (Campaign { store, id, .. }, model) = (&self.campaign, &self.model);
        let row = store.get(*id).await.unwrap();
        assert_eq!(State::from_number(row.state).unwrap(), model.state, "the state");

        let chunks = store.chunks(*id, 1, RECIPIENTS).await.unwrap();
        self.ids = chunks.iter().map(|chunk| chunk.id).collect();
        let members = |first, last, members: &Option<Vec<i64>>| -> BTreeSet<i64> {
            members.clone().map_or_else(|| (first..=last).collect(), BTreeSet::from_iter)
        };
        let found: Vec<_> = chunks
            .iter()
            .map(|it| (it.attempt, it.state, it.tries, members(it.first, it.last, &it.members)))
            .collect();
        let expected: Vec<_> = model
            .chunks
            .iter()
            .map(|it| (it.attempt, it.state, it.tries, it.members.clone()))
            .collect();
        assert_eq!(found, expected, "the chunks: attempt, state, tries and members");
        let mut open = BTreeSet::new();
        for (_, state, _, members) in &found {
            if matches!(*state, chunk_state::FREE | chunk_state::CLAIMED) {
                for position in members {
                    assert!(open.insert(*position), "{position} is in two open chunks");
                }
            }
        }

        let outcomes = store.outcomes(*id, 1, RECIPIENTS).await.unwrap();
        let found: BTreeMap<_, _> = outcomes
            .iter()
            .map(|it| ((it.chunk_id, it.number, it.position), it.outcome.kind))
            .collect();
        assert_eq!(found.len(), outcomes.len(), "one outcome for each try");
        let of_chunk = |(id, chunk): (&i64, &Chunk)| -> Vec<_> {
            let row = |(key, kind): (&(i64, i64), &OutcomeKind)| ((*id, key.0, key.1), *kind);
            chunk.outcomes.iter().map(row).collect()
        };
        let expected = self.ids.iter().zip(&model.chunks).flat_map(of_chunk).collect();
        assert_eq!(found, expected, "the outcomes by chunk, try and position");

        let mut report = self.campaign.recipients();
        for position in POSITIONS {
            let it = report.next().await.unwrap().unwrap();
            let standing = model.standing(position);
            assert_eq!((it.position, it.standing), (position.unsigned_abs(), standing));
            let times = u32::try_from(model.times_accepted(position)).unwrap();
            assert_eq!(it.times_accepted, times, "how often {position} was accepted");
            if let (Standing::Outcome(kind), Some(outcome)) = (it.standing, it.outcome) {
                assert_eq!(outcome.kind, kind, "the evidence for {position}");
            }
            let stages = model.attempts(position).filter_map(|it| it.receipts.get(&position));
            assert_eq!(it.stage, stages.copied().flatten().max(), "the stage of {position}");
        }
        assert!(report.next().await.unwrap().is_none());
        let mut totals = self.campaign.totals().await.unwrap();
        totals.by_code.clear();
        assert_eq!(totals, model.totals());

        let free = model.chunks.iter().position(|chunk| chunk.state == chunk_state::FREE);
        match (store.peek(*id, &[], 0).await.unwrap(), free) {
            (Peek::Chunk(chunk, recipients), Some(free)) => {
                let found: BTreeSet<_> = recipients.iter().map(|it| it.position).collect();
                assert_eq!((chunk.id, &found), (self.ids[free], &model.chunks[free].members));
            }
            (Peek::InFlight(_), None) => assert!(model.chunks.iter().any(Chunk::is_open)),
            (Peek::Empty, None) => assert!(!model.chunks.iter().any(Chunk::is_open)),
            (found, free) => panic!("{found:?}, and the model has {free:?}"),
        }
    }
}

/// Applies random histories to a ledger, and shows the smallest that fails.
fn check(store: &Arc<dyn Store>, runtime: &tokio::runtime::Runtime) {
    let number = |name| std::env::var(name).ok().map(|it| it.parse().expect("a number"));
    let histories = number("LON_HISTORIES").unwrap_or(HISTORIES);
    let seed = number("LON_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{histories} histories, LON_SEED={seed}");
    let config = Config {
        cases: u32::try_from(histories).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let number = AtomicU64::new(0);
    let result = runner.run(&vec(any_steps(), 10..60), |steps| {
        let name = format!("history {}", number.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(async {
            let mut history = History::new(store, &name).await;
            for step in steps.iter().flatten() {
                history.step(step).await;
            }
        });
        Ok(())
    });
    if let Err(failure) = result {
        panic!("LON_SEED={seed}: {failure}");
    }
}

#[test]
fn sqlite_agrees_with_the_model() {
    let folder = Folder::new("model");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(Sqlite::open(&folder.sqlite())).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    check(&store, &runtime);
}

#[test]
fn postgres_agrees_with_the_model() {
    let Some(server) = Server::find() else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(async { Postgres::open(&server.schema("model").await).await });
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    check(&store, &runtime);
}
