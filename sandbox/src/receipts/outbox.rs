//! Plans receipts, and posts each at its time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::clock::Clock;
use super::{PostedReceipt, Receipts, Step, post};
use crate::record::{Accepted, window};

/// Posts in flight.
const MAX_IN_FLIGHT: usize = 64;

pub(crate) struct Outbox {
    pub clock: Clock,
    settings: Receipts,
    authorization: Option<HeaderValue>,
    sub_account_id: String,
    /// The number of receipts to keep in the record.
    keep: usize,
    book: Mutex<Book>,
    /// Wakes the task that posts: there is a new receipt, or the clock moved.
    changed: Notify,
    /// Wakes those who wait for posts: one ended.
    ended: Notify,
}

#[derive(Default)]
struct Book {
    /// By time, then in the order of planning.
    due: BTreeMap<(Duration, u64), Post>,
    /// When the posts in flight were due.
    in_flight: Vec<Duration>,
    posts: u64,
    record: VecDeque<PostedReceipt>,
    /// The number of receipts that the record no longer has.
    dropped: u64,
}

/// An accepted message, and where to post its receipts.
pub(crate) struct Addressed {
    pub accepted: Accepted,
    pub country: Option<String>,
    pub callback_url: String,
}

/// A planned post.
#[derive(Clone)]
struct Post {
    receipt: Arc<Receipt>,
    failures: usize,
    due: Duration,
    order: u64,
}

struct Receipt {
    message: Arc<Addressed>,
    address: SocketAddr,
    uri: Uri,
    step: Step,
    timestamp: String,
    /// Its number in the record, counted from 0.
    number: u64,
}

impl Outbox {
    pub fn new(settings: Receipts, sub_account_id: String, keep: usize) -> io::Result<Self> {
        let refuse = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
        if !(settings.speed.is_finite() && settings.speed >= 0.0) {
            return Err(refuse("the speed of receipts must be 0 or greater"));
        }
        if settings.callback_url.as_deref().is_some_and(|url| post::target(url).is_none()) {
            return Err(refuse("the callback URL must be an http URL on this machine"));
        }
        let authorization = settings.authorization.as_deref().map(HeaderValue::try_from);
        let authorization = authorization.transpose();
        Ok(Self {
            clock: Clock::new(settings.speed),
            authorization: authorization
                .map_err(|_| refuse("the Authorization value of receipts is not valid in HTTP"))?,
            settings,
            sub_account_id,
            keep,
            book: Mutex::default(),
            changed: Notify::new(),
            ended: Notify::new(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The URL for the receipts of a message: its own or the account's.
    pub fn callback_url<'a>(&'a self, own: Option<&'a str>) -> Option<&'a str> {
        own.or(self.settings.callback_url.as_deref())
    }

    /// Plans the receipts of a message.
    pub fn plan(&self, message: Addressed, accepted_at: Duration) {
        let Some((address, uri)) = post::target(&message.callback_url) else {
            return;
        };
        let message = Arc::new(message);
        // The plan is the user's code, so it runs before the lock is taken.
        let steps = (self.settings.plan)(&message.accepted);
        let mut book = self.book();
        for step in steps {
            let timestamp = self.clock.timestamp(accepted_at.saturating_add(step.at));
            book.record.push_back(PostedReceipt {
                umid: message.accepted.umid.clone(),
                client_message_id: message.accepted.client_message_id.clone(),
                channel: step.channel().to_owned(),
                state: step.state.to_string(),
                detail: step.detail.as_deref().map(str::to_owned),
                timestamp: timestamp.clone(),
                error_code: step.error_code,
                attempts: Vec::new(),
                acknowledged: false,
            });
            let number = book.dropped + book.record.len() as u64 - 1;
            if book.record.len() > self.keep {
                book.record.pop_front();
                book.dropped += 1;
            }
            let due = accepted_at.saturating_add(step.posted_at.unwrap_or(step.at));
            let times = step.times;
            let (message, uri) = (Arc::clone(&message), uri.clone());
            let receipt = Arc::new(Receipt { message, address, uri, step, timestamp, number });
            for _ in 0..times {
                let receipt = Arc::clone(&receipt);
                let order = book.posts;
                book.posts += 1;
                book.due.insert((due, order), Post { receipt, failures: 0, due, order });
            }
        }
        drop(book);
        self.changed.notify_one();
    }

    /// The receipts with these numbers, counted from 0, as far as they are kept.
    pub fn record(&self, from: u64, limit: usize) -> Vec<PostedReceipt> {
        let book = self.book();
        let (skip, limit) = window(book.dropped, from, limit);
        book.record.iter().skip(skip).take(limit).cloned().collect()
    }

    /// The number of posts that are due later or in flight.
    pub fn open(&self) -> usize {
        let book = self.book();
        book.due.len() + book.in_flight.len()
    }

    /// Moves the clock, and waits until all posts up to the new time have ended.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.changed.notify_one();
        let until = self.clock.now();
        loop {
            let ended = self.ended.notified();
            let is_done = {
                let book = self.book();
                let first = book.next_due().into_iter().chain(book.in_flight.iter().copied()).min();
                first.is_none_or(|due| due > until)
            };
            if is_done {
                return;
            }
            ended.await;
        }
    }

    /// Waits until every receipt was acknowledged or given up.
    pub async fn settled(&self) {
        loop {
            let ended = self.ended.notified();
            let (next, in_flight) = {
                let book = self.book();
                (book.next_due(), book.in_flight.len())
            };
            match next {
                None if in_flight == 0 => return,
                Some(due) if self.clock.stands_still() && in_flight == 0 => {
                    self.advance(due.saturating_sub(self.clock.now())).await;
                }
                _ => ended.await,
            }
        }
    }

    /// Posts receipts for as long as the sandbox runs.
    pub async fn run(self: Arc<Self>) {
        let limit = if self.clock.stands_still() { 1 } else { MAX_IN_FLIGHT };
        // Dropping the set, with this task, ends every post.
        let mut posts = JoinSet::new();
        loop {
            while posts.try_join_next().is_some() {}
            let mut next = None;
            if posts.len() < limit {
                if let Some(post) = self.take(self.clock.now()) {
                    posts.spawn(Arc::clone(&self).post(post));
                    continue;
                }
                next = self.book().next_due().and_then(|due| self.clock.instant(due));
            }
            let due = async {
                match next {
                    Some(instant) => sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                Some(_) = posts.join_next(), if !posts.is_empty() => {}
                () = due => {}
            }
        }
    }

    /// Takes the next post, if its time has come.
    fn take(&self, until: Duration) -> Option<Post> {
        let mut book = self.book();
        let next = book.due.first_entry().filter(|next| next.key().0 <= until)?.remove();
        book.in_flight.push(next.due);
        Some(next)
    }

    async fn post(self: Arc<Self>, mut post: Post) {
        let receipt = Arc::clone(&post.receipt);
        let body = self.body(&receipt);
        let status =
            post::post(receipt.address, &receipt.uri, self.authorization.as_ref(), body).await;
        let is_acknowledged = status.is_some_and(|status| status < 400);

        let mut book = self.book();
        let index = receipt.number.checked_sub(book.dropped).map(usize::try_from);
        if let Some(Ok(index)) = index
            && let Some(recorded) = book.record.get_mut(index)
        {
            recorded.attempts.push(status);
            recorded.acknowledged |= is_acknowledged;
        }
        if let Some(place) = book.in_flight.iter().position(|due| *due == post.due) {
            book.in_flight.swap_remove(place);
        }
        let retry_after = Receipts::RETRY_AFTER.get(post.failures);
        if let Some(after) = retry_after.filter(|_| !is_acknowledged) {
            post.failures += 1;
            post.due = post.due.saturating_add(*after);
            book.due.insert((post.due, post.order), post);
        }
        drop(book);
        self.ended.notify_waiters();
    }

    /// The JSON of a receipt.
    fn body(&self, receipt: &Receipt) -> Bytes {
        let Receipt { message, step, timestamp, .. } = receipt;
        let Addressed { accepted, country, .. } = &**message;
        let name = if step.is_sms { "SMS" } else { "ChatApps" };
        let mut event = json!({
            "version": 9,
            "namespace": name,
            "eventType": "outbound_message_status_changed",
            "description": format!("{name} outbound message delivery receipt"),
            "payload": {
                "umid": accepted.umid,
                "batchId": accepted.batch_id,
                "clientMessageId": accepted.client_message_id,
                "clientBatchId": accepted.client_batch_id,
                "subAccountId": self.sub_account_id,
                "channel": step.channel(),
                "user": { "msisdn": accepted.msisdn, "country": country },
                "status": {
                    "state": step.state,
                    "detail": step.detail,
                    "timestamp": timestamp,
                    "errorCode": step.error_code,
                },
            },
        });
        if step.is_sms {
            event["payload"]["smsCount"] = 1.into();
        }
        remove_nulls(&mut event);
        event.to_string().into()
    }
}

impl Book {
    fn next_due(&self) -> Option<Duration> {
        self.due.keys().next().map(|(due, _)| *due)
    }
}

/// The platform leaves out members without a value.
fn remove_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(remove_nulls);
    }
}
