//! The journal of one chunk: claims it before its request, and records its outcomes after it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lon_batch::bulk::{Chunk, Deadline, Journal};
use lon_batch::{ErrorCode, Outcome, OutcomeKind};

use crate::error::{Error, Result};
use crate::store::{ChunkRow, Claim, Claimed, End, Store};

/// The wait before an operation is repeated while the database is away.
const MIN_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(2);

/// Why a chunk is not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotClaimed {
    #[error("another worker has the chunk")]
    Taken,
    #[error("the campaign does not send")]
    NotSending,
    /// The halves of a chunk that was too large are new chunks.
    #[error("the chunk was split")]
    Split,
    #[error("the ledger failed")]
    Ledger(#[source] Arc<Error>),
}

/// The claim of a chunk, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// The token of the claim, from the moment before it may exist.
    pub token: Option<String>,
    pub is_claimed: bool,
    /// The positions in the request.
    pub in_request: HashSet<i64>,
}

pub(crate) struct ChunkJournal {
    pub store: Arc<dyn Store>,
    pub campaign: i64,
    pub worker: i64,
    pub chunk: ChunkRow,
    /// The position of each message.
    pub positions: HashMap<String, i64>,
    /// How long after its claim a chunk may leave.
    pub leave_within: Duration,
    /// How long after its claim any process may mark it unknown.
    pub fence_after: Duration,
    pub max_tries: i64,
    pub claims: Arc<Mutex<Claims>>,
}

impl ChunkJournal {
    fn position(&self, client_message_id: &str) -> i64 {
        self.positions.get(client_message_id).copied().unwrap_or_default()
    }

    fn claims(&self) -> std::sync::MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a claim with these outcomes ends.
    fn end(&self, chunk: &Chunk, outcomes: &[Outcome]) -> End {
        let is_not_sent = outcomes.iter().all(|it| it.kind == OutcomeKind::NotSent);
        let Some(outcome) = outcomes.first().filter(|_| is_not_sent) else {
            return End::Settled;
        };
        if is_too_large(outcome) && outcomes.len() > 1 {
            let mut first: Vec<_> =
                chunk.client_message_ids().map(|id| self.position(id)).collect();
            let second = first.split_off(first.len().div_ceil(2));
            return End::Split { first, second };
        }
        if can_help(outcome) && self.chunk.tries + 1 < self.max_tries {
            return End::Free;
        }
        End::Settled
    }
}

/// Whether the platform refused a chunk because of its size.
fn is_too_large(outcome: &Outcome) -> bool {
    let is_code =
        matches!(outcome.code, Some(ErrorCode::TooManyMessages | ErrorCode::BulkLimitReached));
    match outcome.status {
        Some(413) => true,
        Some(400 | 422) => is_code,
        _ => false,
    }
}

/// Whether another try of the same request can succeed: the platform was busy or not reached, or it
/// refused the account rather than the request.
fn can_help(outcome: &Outcome) -> bool {
    outcome.status.is_none_or(|status| matches!(status, 401 | 403 | 404 | 408 | 410 | 426 | 429))
}

impl Journal for ChunkJournal {
    type Error = NotClaimed;

    async fn sending(&self, chunk: &Chunk) -> Result<Option<Deadline>, NotClaimed> {
        {
            let mut claims = self.claims();
            if claims.token.is_some() {
                return Err(NotClaimed::Split);
            }
            claims.token = Some(chunk.id().to_owned());
            claims.in_request = chunk.client_message_ids().map(|id| self.position(id)).collect();
        }
        let deadline = Deadline::after(self.leave_within);
        let retried: Vec<_> = if self.chunk.has_history() {
            chunk.client_message_ids().map(|id| self.position(id)).collect()
        } else {
            Vec::new()
        };
        let claim = Claim {
            campaign: self.campaign,
            chunk: self.chunk.id,
            tries: self.chunk.tries,
            token: chunk.id(),
            worker: self.worker,
            fence_after: i64::try_from(self.fence_after.as_millis()).unwrap_or(i64::MAX),
            retried: &retried,
        };
        let mut wait = MIN_RETRY;
        loop {
            match self.store.claim(&claim).await {
                Ok(Claimed::Yes) => {
                    self.claims().is_claimed = true;
                    return Ok(Some(deadline));
                }
                Ok(Claimed::Taken) => {
                    self.claims().token = None;
                    return Err(NotClaimed::Taken);
                }
                Ok(Claimed::NotSending) => {
                    self.claims().token = None;
                    return Err(NotClaimed::NotSending);
                }
                // The claim may have been committed. A repetition finds out.
                Err(error) if error.is_transient() && !deadline.has_passed() => {
                    tracing::warn!("the ledger is away, repeating a claim: {error}");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(MAX_RETRY);
                }
                Err(error) => return Err(NotClaimed::Ledger(Arc::new(error))),
            }
        }
    }

    async fn settled(&self, chunk: &Chunk, outcomes: &[Outcome]) -> Result<(), NotClaimed> {
        let rows: Vec<_> = chunk
            .client_message_ids()
            .map(|id| self.position(id))
            .zip(outcomes.iter().cloned())
            .collect();
        let end = self.end(chunk, outcomes);
        settle(&*self.store, chunk.id(), &rows, &end)
            .await
            .map_err(|error| NotClaimed::Ledger(Arc::new(error)))?;
        Ok(())
    }
}

/// Ends a claim, however long the database is away or its disk is full: messages may have been sent,
/// and their outcomes exist nowhere else.
pub(crate) async fn settle(
    store: &dyn Store,
    token: &str,
    rows: &[(i64, Outcome)],
    end: &End,
) -> Result<()> {
    let is_temporary = |error: &Error| error.is_transient() || matches!(error, Error::DiskFull(_));
    repeat(|| store.settle(token, rows, end), is_temporary).await
}

/// Repeats an operation while the database is away.
pub(crate) async fn persist<T, F: Future<Output = Result<T>>>(
    operation: impl FnMut() -> F,
) -> Result<T> {
    repeat(operation, Error::is_transient).await
}

async fn repeat<T, F: Future<Output = Result<T>>>(
    mut operation: impl FnMut() -> F,
    is_temporary: impl Fn(&Error) -> bool,
) -> Result<T> {
    let mut wait = MIN_RETRY;
    loop {
        match operation().await {
            Err(error) if is_temporary(&error) => {
                tracing::warn!("the ledger is away: {error}");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(MAX_RETRY);
            }
            result => return result,
        }
    }
}
