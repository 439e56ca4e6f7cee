//! Sends a campaign.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lon_batch::bulk::Stop;
use lon_batch::{Client, Message, Outcome, OutcomeKind, RetryPolicy};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::campaign::{Campaign, State};
use crate::error::{Error, Result};
use crate::journal::{ChunkJournal, Claims, NotClaimed, persist, settle};
use crate::recipient::Recipient;
use crate::report::{Recipients, Standing};
use crate::store::{ChunkRow, Claim, Claimed, End, Numbered, Peek};

/// The time between two heartbeats of a worker.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The longest wait for the claims of other workers before it looks again.
const MAX_IDLE: Duration = Duration::from_secs(1);
/// How many free chunks workers spread over after one found its chunk taken.
const SPREAD: i64 = 32;

/// How to send a campaign.
#[derive(Clone, Debug)]
#[must_use]
pub struct SendOptions {
    concurrency: usize,
    attempt_timeout: Duration,
    leave_within: Duration,
    fence_margin: Duration,
    max_tries: u32,
    base_delay: Duration,
    max_delay: Duration,
    stop: CancellationToken,
}

/// How sending ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The state of the campaign: still [`State::Sending`] if this worker was asked to stop.
    pub state: State,
    /// Why the campaign stopped.
    pub reason: Option<String>,
}

impl SendOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            concurrency: 8,
            attempt_timeout: Duration::from_mins(1),
            leave_within: Duration::from_secs(5),
            fence_margin: Duration::from_secs(10),
            max_tries: 5,
            base_delay: Duration::from_millis(500),
            max_delay: Duration::from_mins(1),
            stop: CancellationToken::new(),
        }
    }

    /// Sets how many chunks are in flight at a time, at least 1. Default: 8.
    pub fn concurrency(mut self, chunks: usize) -> Self {
        self.concurrency = chunks.max(1);
        self
    }

    /// Sets the timeout of a request. Default: 60 seconds. If a process dies, its chunks in flight
    /// become unknown after this time and the [margin](Self::fence_margin).
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sets the additional time after which other workers mark a claim unknown. Default: 10 seconds.
    /// It covers slow commits and differences between clocks.
    pub fn fence_margin(mut self, margin: Duration) -> Self {
        self.fence_margin = margin;
        self
    }

    /// Sets how long after its claim a chunk may still leave. Default: 5 seconds.
    pub fn leave_within(mut self, time: Duration) -> Self {
        self.leave_within = time;
        self
    }

    /// Sets after how many failures in a row the campaign stops, because the platform is busy or not
    /// reached. Default: 5. The failures of chunks that were in flight together count as one. Nothing
    /// was sent, so [`Campaign::resume`] continues with the same chunks. A single chunk is tried at
    /// most four times as often.
    pub fn max_tries(mut self, tries: u32) -> Self {
        self.max_tries = tries.max(1);
        self
    }

    /// Sets the first delay after such a failure, and the longest. Default: 0.5 and 60 seconds. The
    /// delay doubles with each failure in a row, has full jitter, and honours `Retry-After`.
    pub fn delays(mut self, base: Duration, max: Duration) -> Self {
        (self.base_delay, self.max_delay) = (base, max);
        self
    }

    /// Stops this worker when the token is cancelled. Chunks in flight finish. Other workers go on.
    pub fn stop_with(mut self, token: &CancellationToken) -> Self {
        self.stop = token.clone();
        self
    }

    /// A worker compares its deadline right before the request, so the fence is later than the end of
    /// any request that leaves in time.
    fn fence_after(&self) -> Duration {
        self.leave_within + self.attempt_timeout + self.fence_margin
    }
}

impl Default for SendOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Campaign {
    /// Sends to every recipient that has no outcome, until the campaign is done, stopped or
    /// cancelled. Any number of processes can do so at a time.
    ///
    /// `render` makes the message of a recipient. The campaign sets its recipient and its
    /// clientMessageId.
    ///
    /// If you drop the future, chunks in flight become unknown at their fence time.
    ///
    /// # Errors
    /// The campaign is a draft, the options do not suit the client, or the database failed for
    /// another reason than being away.
    ///
    /// # Panics
    /// With `render`, after the chunks in flight have finished.
    pub async fn send<F>(&self, client: &Client, options: SendOptions, render: F) -> Result<Ended>
    where
        F: Fn(&Recipient) -> Message + Send + Sync + 'static,
    {
        let (state, _) = self.state().await?;
        if state == State::Draft {
            let hint = "seal it before you send it";
            return Err(Error::State { name: self.name.to_string(), state, hint });
        }
        let client = client.with_timeout(options.attempt_timeout)?;
        let worker = self.store.start_worker(self.id).await?;
        let shared = Arc::new(Worker {
            campaign: self.clone(),
            client,
            options,
            id: worker,
            render: Box::new(render),
            pace: Mutex::default(),
        });
        let mut heart = JoinSet::new();
        heart.spawn({
            let (store, id) = (Arc::clone(&self.store), self.id);
            async move {
                loop {
                    // After an error, the next round may succeed.
                    let _ = store.fence(id).await;
                    tokio::time::sleep(HEARTBEAT).await;
                    let _ = store.heartbeat(worker, false).await;
                }
            }
        });
        let ended = shared.run().await;
        drop(heart);
        let _ = self.store.heartbeat(worker, true).await;
        ended
    }
}

struct Worker {
    campaign: Campaign,
    client: Client,
    options: SendOptions,
    id: i64,
    render: Box<dyn Fn(&Recipient) -> Message + Send + Sync>,
    pace: Mutex<Pace>,
}

/// The shared wait after failures.
#[derive(Default)]
struct Pace {
    paused_until: Option<Instant>,
    failures: u32,
    last_failure: Option<Instant>,
}

impl Pace {
    /// Counts the failure of a request that started then. Chunks that were in flight together fail
    /// together, so they count as one.
    fn count_failure(&mut self, started: Instant) {
        if self.last_failure.is_none_or(|last| started > last) {
            self.failures += 1;
            self.last_failure = Some(Instant::now());
        }
    }
}

/// How a slot ended.
enum SlotEnd {
    Continue,
    /// Another worker had the chunk.
    Taken,
    /// The campaign does not send.
    NotSending,
    /// Why the whole campaign stops.
    StopCampaign(String),
    Failed(Arc<Error>),
}

/// A chunk in flight.
struct Slot {
    chunk: i64,
    claims: Arc<Mutex<Claims>>,
}

impl Worker {
    async fn run(self: &Arc<Self>) -> Result<Ended> {
        let Campaign { store, id, .. } = &self.campaign;
        let mut tasks = JoinSet::new();
        let mut slots: HashMap<tokio::task::Id, Slot> = HashMap::new();
        let mut skip = 0;
        let mut failure: Option<Error> = None;
        let mut panic = None;
        let mut is_draining = false;
        loop {
            let mut idle = Duration::ZERO;
            let mut is_empty = false;
            while failure.is_none()
                && panic.is_none()
                && !is_draining
                && !self.options.stop.is_cancelled()
                && tasks.len() < self.options.concurrency
                && self.pause().is_none()
            {
                let busy: Vec<_> = slots.values().map(|slot| slot.chunk).collect();
                match persist(|| store.peek(*id, &busy, skip)).await {
                    // Chunks in flight finish first.
                    Err(error) => failure = Some(error),
                    Ok(Peek::Chunk(chunk, recipients)) => {
                        let claims: Arc<Mutex<Claims>> = Arc::default();
                        let slot = Slot { chunk: chunk.id, claims: Arc::clone(&claims) };
                        let worker = Arc::clone(self);
                        let task = tasks.spawn(worker.slot(chunk, recipients, claims));
                        slots.insert(task.id(), slot);
                    }
                    Ok(_) if skip > 0 => skip = 0,
                    Ok(Peek::InFlight(fence)) => {
                        idle = Duration::from_millis(u64::try_from(fence).unwrap_or_default());
                        break;
                    }
                    Ok(Peek::Empty) => {
                        is_empty = true;
                        break;
                    }
                }
            }
            if tasks.is_empty() {
                if let Some(panic) = panic {
                    std::panic::resume_unwind(panic);
                }
                if let Some(failure) = failure {
                    return Err(failure);
                }
                is_draining = false;
                if is_empty {
                    persist(|| store.finish(*id)).await?;
                }
                let row = persist(|| store.get(*id)).await?;
                let state = State::from_number(row.state)?;
                if state != State::Sending || self.options.stop.is_cancelled() {
                    return Ok(Ended { state, reason: row.reason });
                }
                if !is_empty && self.pause().is_none() {
                    // The claims of other workers: they end, or their processes died.
                    persist(|| store.fence(*id)).await?;
                }
            }
            let wait = self.pause().unwrap_or(idle).clamp(Duration::from_millis(10), MAX_IDLE);
            let ended = tokio::select! {
                Some(ended) = tasks.join_next_with_id() => ended,
                () = tokio::time::sleep(wait) => continue,
                () = self.options.stop.cancelled(), if !self.options.stop.is_cancelled() => continue,
            };
            let id_of_task = match &ended {
                Ok((id, _)) => *id,
                Err(error) => error.id(),
            };
            let slot = slots.remove(&id_of_task);
            match ended.map(|(_, end)| end) {
                Ok(SlotEnd::Continue) => skip = 0,
                Ok(SlotEnd::Taken) => skip = fastrand::i64(0..SPREAD),
                // The state is read when the slots are empty.
                Ok(SlotEnd::NotSending) => is_draining = true,
                Ok(SlotEnd::StopCampaign(reason)) => {
                    let from = [State::Sending.number()];
                    let to = State::Stopped.number();
                    let stopped = persist(|| store.set_state(*id, &from, to, Some(&reason)));
                    failure = stopped.await.err().or(failure);
                }
                Ok(SlotEnd::Failed(error)) => failure = Some(Error::Sending(error)),
                Err(error) => {
                    // Its request may have been sent.
                    let token = slot.and_then(|slot| {
                        slot.claims.lock().unwrap_or_else(PoisonError::into_inner).token.take()
                    });
                    if let Some(token) = token {
                        failure = persist(|| store.abandon(&token)).await.err().or(failure);
                    }
                    panic = error.try_into_panic().ok();
                }
            }
        }
    }

    /// How long no chunk may be claimed.
    fn pause(&self) -> Option<Duration> {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = pace.paused_until?.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }

    /// Pauses after a failure of a request that started then. Returns whether there were too many in
    /// a row.
    fn failed(&self, started: Instant, retry_after: Option<Duration>) -> bool {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.count_failure(started);
        let doubled = self.options.base_delay.saturating_mul(1 << pace.failures.min(16));
        let delay = doubled.min(self.options.max_delay).mul_f64(fastrand::f64());
        let delay = delay.max(retry_after.unwrap_or_default()).min(self.options.max_delay);
        pace.paused_until = pace.paused_until.max(Instant::now().checked_add(delay));
        pace.failures >= self.options.max_tries
    }

    fn succeeded(&self) {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).failures = 0;
    }

    async fn slot(
        self: Arc<Self>,
        chunk: ChunkRow,
        recipients: Vec<Numbered>,
        claims: Arc<Mutex<Claims>>,
    ) -> SlotEnd {
        match self.send_chunk(&chunk, recipients, &claims).await {
            Ok(end) => end,
            Err(error) => SlotEnd::Failed(Arc::new(error)),
        }
    }

    async fn send_chunk(
        &self,
        chunk: &ChunkRow,
        mut recipients: Vec<Numbered>,
        claims: &Arc<Mutex<Claims>>,
    ) -> Result<SlotEnd> {
        let Campaign { store, id, .. } = &self.campaign;
        let mut unsent = Vec::new();
        if chunk.has_history() {
            // A late acceptance withdraws the new request.
            let accepted = persist(|| self.accepted(chunk)).await?;
            recipients.retain(|it| {
                let is_accepted = accepted.contains(&it.position);
                if is_accepted {
                    unsent.push((it.position, not_sent("accepted meanwhile")));
                }
                !is_accepted
            });
        }
        let positions = recipients.iter();
        let positions: HashMap<_, _> =
            positions.map(|it| (it.recipient.client_message_id.clone(), it.position)).collect();
        let messages: Vec<_> = recipients.iter().map(|it| self.message(&it.recipient)).collect();
        let journal = ChunkJournal {
            store: Arc::clone(store),
            campaign: *id,
            worker: self.id,
            chunk: chunk.clone(),
            positions: positions.clone(),
            leave_within: self.options.leave_within,
            fence_after: self.options.fence_after(),
            max_tries: i64::from(self.options.max_tries) * 4,
            claims: Arc::clone(claims),
        };
        let run = format!("c{id}-{}-{}", chunk.id, chunk.tries);
        let sender = self.client.bulk(run).retry(RetryPolicy::never()).journal(journal).sender()?;
        // A chunk that failed since the peek pauses this one too, before it is claimed.
        while let Some(wait) = self.pause() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.options.stop.cancelled() => return Ok(SlotEnd::Continue),
            }
        }
        let started = Instant::now();
        let sent = sender.send(messages).await;

        let Claims { token, is_claimed, in_request } =
            std::mem::take(&mut *claims.lock().unwrap_or_else(PoisonError::into_inner));
        let stop = sent.stop.as_ref();
        let not_claimed = match stop {
            Some(Stop::Journal(error)) => error.downcast_ref::<NotClaimed>(),
            _ => None,
        };
        match not_claimed {
            Some(NotClaimed::Taken) => return Ok(SlotEnd::Taken),
            Some(NotClaimed::NotSending) => return Ok(SlotEnd::NotSending),
            Some(NotClaimed::Ledger(error)) => {
                if let Some(token) = token.filter(|_| !is_claimed) {
                    // The claim may exist, and nothing was sent.
                    settle(&**store, &token, &[], &End::Free).await?;
                }
                return if error.is_transient() {
                    Ok(SlotEnd::Continue)
                } else {
                    Ok(SlotEnd::Failed(Arc::clone(error)))
                };
            }
            Some(NotClaimed::Split) | None => {}
        }
        // Messages that are not valid, or whose recipients the client does not permit.
        unsent.extend(sent.messages.iter().filter_map(|it| {
            let position = positions.get(it.message.client_message_id.as_deref()?)?;
            (!in_request.contains(position)).then(|| (*position, it.outcome.clone()))
        }));
        if token.is_none() {
            return self.settle_unsent(chunk, unsent).await;
        }
        if !unsent.is_empty() {
            persist(|| store.append(*id, chunk.id, chunk.tries, &unsent)).await?;
        }
        Ok(match stop {
            Some(Stop::Refused(error)) => SlotEnd::StopCampaign(error.to_string()),
            Some(Stop::GaveUp(error)) => {
                if self.failed(started, error.retry_after()) {
                    SlotEnd::StopCampaign(format!("too many failures in a row: {error}"))
                } else {
                    SlotEnd::Continue
                }
            }
            _ => {
                self.succeeded();
                SlotEnd::Continue
            }
        })
    }

    fn message(&self, recipient: &Recipient) -> Message {
        let mut message = (self.render)(recipient);
        message.user = recipient.to;
        message.client_message_id(recipient.client_message_id.as_str())
    }

    /// The positions of a chunk that the platform accepted by now.
    async fn accepted(&self, chunk: &ChunkRow) -> Result<Vec<i64>> {
        let mut accepted = Vec::new();
        let mut recipients = Recipients::between(&self.campaign, chunk.first, chunk.last);
        while let Some(recipient) = recipients.next().await? {
            if recipient.standing == Standing::Outcome(OutcomeKind::Accepted) {
                accepted.push(i64::try_from(recipient.position).unwrap_or(i64::MAX));
            }
        }
        Ok(accepted)
    }

    /// Records a chunk without any message to send.
    async fn settle_unsent(
        &self,
        chunk: &ChunkRow,
        unsent: Vec<(i64, Outcome)>,
    ) -> Result<SlotEnd> {
        let Campaign { store, id, .. } = &self.campaign;
        let token = format!("c{id}-{}-{}-none-{:x}", chunk.id, chunk.tries, fastrand::u64(..));
        let claim = Claim {
            campaign: *id,
            chunk: chunk.id,
            tries: chunk.tries,
            token: &token,
            worker: self.id,
            fence_after: 0,
            retried: &[],
        };
        match persist(|| store.claim(&claim)).await? {
            Claimed::Yes => {
                settle(&**store, &token, &unsent, &End::Settled).await?;
                Ok(SlotEnd::Continue)
            }
            Claimed::Taken => Ok(SlotEnd::Taken),
            Claimed::NotSending => Ok(SlotEnd::NotSending),
        }
    }
}

fn not_sent(reason: &str) -> Outcome {
    let mut outcome = Outcome::new(OutcomeKind::NotSent);
    outcome.reason = Some(reason.into());
    outcome
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn chunks_in_flight_that_fail_together_are_one_failure() {
        let (mut pace, started) = (Pace::default(), Instant::now());
        for _ in 0..8 {
            pace.count_failure(started);
        }
        assert_eq!(pace.failures, 1);
        pace.count_failure(Instant::now() + Duration::from_secs(1));
        assert_eq!(pace.failures, 2);
    }
}
