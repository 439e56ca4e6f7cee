//! The report of every recipient.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use lon_batch::receipt::Stage;
use lon_batch::{Outcome, OutcomeKind};

use crate::campaign::Campaign;
use crate::error::Result;
use crate::evidence;
use crate::store::{ChunkRow, OutcomeRow, ReceiptRow, chunk_state};

const PAGE: i64 = 5000;

/// Where a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// An attempt is still to be made.
    Pending,
    /// An attempt is in flight. If its process died, it becomes unknown at its fence time.
    InFlight,
    /// The outcome, computed from all evidence.
    Outcome(OutcomeKind),
}

/// The report of a recipient.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecipientReport {
    /// The position in the input, counted from 1.
    pub position: u64,
    /// The clientMessageId.
    pub client_message_id: String,
    /// Where it stands.
    pub standing: Standing,
    /// The evidence that decides. `None` without any, for instance for a claim without outcomes.
    pub outcome: Option<Outcome>,
    /// When that evidence was recorded.
    pub at: Option<SystemTime>,
    /// The greatest stage that a receipt reported.
    pub stage: Option<Stage>,
    /// The number of attempts that the platform accepted. More than one is a duplicate.
    pub times_accepted: u32,
}

/// The number of recipients by where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// All recipients.
    pub recipients: u64,
    /// Those that are [`Standing::Pending`].
    pub pending: u64,
    /// Those that are [`Standing::InFlight`].
    pub in_flight: u64,
    /// Those whose message the platform accepted.
    pub accepted: u64,
    /// Those whose message the platform rejected.
    pub rejected: u64,
    /// Those whose message provably was not sent.
    pub not_sent: u64,
    /// Those whose message may have been sent.
    pub unknown: u64,
    /// Those that were accepted more than once.
    pub duplicates: u64,
    /// The recipients by outcome and the platform's code.
    pub by_code: BTreeMap<(OutcomeKind, Option<i64>), u64>,
}

/// Reads every recipient of a campaign, page by page.
#[derive(Debug)]
pub struct Recipients {
    campaign: Campaign,
    after: i64,
    until: i64,
    page: VecDeque<RecipientReport>,
    is_last: bool,
}

impl Recipients {
    pub(crate) fn new(campaign: &Campaign) -> Self {
        Self::between(campaign, 1, i64::MAX)
    }

    /// Those from one position to another.
    pub(crate) fn between(campaign: &Campaign, first: i64, last: i64) -> Self {
        let (campaign, page) = (campaign.clone(), VecDeque::new());
        Self { campaign, after: first - 1, until: last, page, is_last: false }
    }

    /// The next recipient.
    ///
    /// # Errors
    /// The database failed.
    pub async fn next(&mut self) -> Result<Option<RecipientReport>> {
        if self.page.is_empty() && !self.is_last {
            self.load().await?;
        }
        Ok(self.page.pop_front())
    }

    async fn load(&mut self) -> Result<()> {
        let Campaign { store, id, .. } = &self.campaign;
        let mut recipients = store.recipients(*id, self.after, PAGE).await?;
        recipients.retain(|it| it.position <= self.until);
        let Some((first, last)) = recipients.first().zip(recipients.last()) else {
            self.is_last = true;
            return Ok(());
        };
        let (first, last) = (first.position, last.position);
        // The chunks come first: a chunk that settles meanwhile has its outcomes read after it.
        let chunks = store.chunks(*id, first, last).await?;
        let mut outcomes: HashMap<(i64, i64), Vec<OutcomeRow>> = HashMap::new();
        for row in store.outcomes(*id, first, last).await? {
            outcomes.entry((row.position, row.chunk_id)).or_default().push(row);
        }
        let mut receipts: HashMap<(i64, i64), Vec<ReceiptRow>> = HashMap::new();
        for row in store.receipts(*id, first, last).await? {
            receipts.entry((row.position, row.chunk_id)).or_default().push(row);
        }
        for it in recipients {
            let attempts =
                chunks.iter().filter(|chunk| contains(chunk, it.position)).map(|chunk| {
                    let key = (it.position, chunk.id);
                    let outcomes = outcomes.remove(&key).unwrap_or_default();
                    Attempt::new(chunk, outcomes, &receipts.remove(&key).unwrap_or_default())
                });
            let attempts: Vec<_> = attempts.collect();
            self.page.push_back(report(it.position, it.recipient.client_message_id, attempts));
        }
        self.after = last;
        Ok(())
    }
}

fn contains(chunk: &ChunkRow, position: i64) -> bool {
    (chunk.first..=chunk.last).contains(&position)
        && chunk.members.as_ref().is_none_or(|members| members.binary_search(&position).is_ok())
}

/// The evidence of one attempt.
struct Attempt {
    standing: Standing,
    evidence: Option<(Outcome, i64)>,
    stage: Option<Stage>,
}

impl Attempt {
    fn new(chunk: &ChunkRow, outcomes: Vec<OutcomeRow>, receipts: &[ReceiptRow]) -> Self {
        // Earlier tries of the chunk provably sent nothing.
        let is_current = |row: &OutcomeRow| row.number == chunk.tries;
        let is_free = chunk.state == chunk_state::FREE;
        let outcomes = outcomes.into_iter().filter(|row| is_free || is_current(row));
        let mut evidence = outcomes
            .map(|row| (row.outcome, row.at))
            .max_by_key(|(outcome, at)| (evidence::weight(outcome.kind), *at));
        let stages = receipts.iter().map(|it| i16::try_from(it.stage).unwrap_or_default());
        let stage = stages.filter_map(Stage::from_number).max();
        if let Some(receipt) = receipts.first() {
            let kind = match stage {
                Some(Stage::Rejected) => OutcomeKind::Rejected,
                _ => OutcomeKind::Accepted,
            };
            let known = evidence.as_ref().map(|(outcome, _)| evidence::weight(outcome.kind));
            if known.is_none_or(|known| known < evidence::weight(kind)) {
                let mut outcome = Outcome::new(kind);
                outcome.umid = Some(receipt.umid.as_str().into());
                evidence = Some((outcome, 0));
            }
        }
        let kind = evidence.as_ref().map(|(outcome, _)| outcome.kind);
        let standing = match (kind, chunk.state) {
            (Some(OutcomeKind::Accepted), _) => Standing::Outcome(OutcomeKind::Accepted),
            // It will be sent again, whatever else is known, so it must not be retried too.
            (_, chunk_state::FREE) => Standing::Pending,
            (None, chunk_state::CLAIMED) => Standing::InFlight,
            (None, chunk_state::UNKNOWN) => Standing::Outcome(OutcomeKind::Unknown),
            // It was not in the request of its chunk, or the chunk was split: then its half is another
            // attempt.
            (None, _) => Standing::Outcome(OutcomeKind::NotSent),
            (Some(kind), _) => Standing::Outcome(kind),
        };
        Self { standing, evidence, stage }
    }
}

fn report(position: i64, client_message_id: String, attempts: Vec<Attempt>) -> RecipientReport {
    /// Across attempts: accepted > in flight > pending > unknown > rejected > not sent.
    fn rank(standing: Standing) -> i64 {
        match standing {
            Standing::Outcome(OutcomeKind::Accepted) => 7,
            Standing::InFlight => 6,
            Standing::Pending => 5,
            Standing::Outcome(kind) => evidence::number(kind),
        }
    }
    let is_accepted = |it: &&Attempt| it.standing == Standing::Outcome(OutcomeKind::Accepted);
    let times_accepted = attempts.iter().filter(is_accepted).count();
    let stage = attempts.iter().filter_map(|it| it.stage).max();
    let decisive = attempts.into_iter().max_by_key(|it| rank(it.standing));
    let (standing, evidence) =
        decisive.map_or((Standing::Pending, None), |it| (it.standing, it.evidence));
    let (outcome, at) = evidence.unzip();
    RecipientReport {
        position: u64::try_from(position).unwrap_or_default(),
        client_message_id,
        standing,
        outcome,
        at: at
            .and_then(|at| u64::try_from(at).ok())
            .filter(|at| *at > 0)
            .and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at))),
        stage,
        times_accepted: u32::try_from(times_accepted).unwrap_or(u32::MAX),
    }
}

impl Totals {
    pub(crate) fn add(&mut self, recipient: &RecipientReport) {
        self.recipients += 1;
        self.duplicates += u64::from(recipient.times_accepted > 1);
        let kind = match recipient.standing {
            Standing::Pending => {
                self.pending += 1;
                return;
            }
            Standing::InFlight => {
                self.in_flight += 1;
                return;
            }
            Standing::Outcome(kind) => kind,
        };
        *match kind {
            OutcomeKind::Accepted => &mut self.accepted,
            OutcomeKind::Rejected => &mut self.rejected,
            OutcomeKind::NotSent => &mut self.not_sent,
            OutcomeKind::Unknown => &mut self.unknown,
        } += 1;
        let code = recipient.outcome.as_ref().and_then(|outcome| outcome.code);
        let code = code.map(lon_batch::ErrorCode::value);
        *self.by_code.entry((kind, code)).or_default() += 1;
    }
}
