//! Plans the receipts of accepted messages and posts each when it is due.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::post::Target;
use super::record::Progress;
use super::{Clock, NotPosted, Plan, PostedReceipt, ReceiptTry, Receipts, Step, Version, envelope};
use crate::record::Accepted;

/// Posts that are on their way at a time.
const AT_A_TIME: usize = 64;

pub struct Outbox {
    pub clock: Clock,
    settings: Settings,
    book: Mutex<Book>,
    /// Something was planned.
    planned: Notify,
    /// Nothing is due and nothing on its way.
    settled: Notify,
}

pub(super) struct Settings {
    pub sub_account_id: Box<str>,
    pub callback_url: Option<String>,
    pub authorization: Option<HeaderValue>,
    pub version: Version,
    pub plan: Box<Plan>,
    /// Messages whose receipts are kept in the record.
    pub kept: usize,
}

#[derive(Default)]
struct Book {
    /// By time, and at one time by the order of planning, which a post keeps when it fails.
    due: BTreeMap<(Duration, u64), Post>,
    on_their_way: usize,
    posts: u64,
    /// The receipts of each message.
    record: VecDeque<Vec<Arc<Receipt>>>,
}

/// A receipt that was planned.
struct Receipt {
    origin: Arc<Origin>,
    step: Step,
    /// What is posted, where the step edits it. Anything else is made when it is posted.
    edited: Option<Bytes>,
    progress: Mutex<Progress>,
}

/// What the receipts of a message have in common.
struct Origin {
    message: Addressed,
    accepted_at: Duration,
    target: Result<Arc<Target>, NotPosted>,
}

/// An accepted message, and where its receipts are posted to.
pub(crate) struct Addressed {
    pub accepted: Accepted,
    pub country: Option<String>,
    pub callback_url: String,
}

/// A receipt that is due, or one of its copies.
struct Post {
    receipt: Arc<Receipt>,
    target: Arc<Target>,
    copy: u32,
    failures: usize,
    due: Duration,
    order: u64,
}

/// Moves a manual clock.
pub struct Move {
    /// `None`: as far as something is due.
    pub by: Option<Duration>,
    pub done: oneshot::Sender<()>,
}

impl Outbox {
    pub(super) fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            clock,
            settings,
            book: Mutex::default(),
            planned: Notify::new(),
            settled: Notify::new(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the receipts of a message are posted to, if anywhere: its own URL or the account's.
    pub fn callback_url<'a>(&'a self, own: Option<&'a str>) -> Option<&'a str> {
        own.or(self.settings.callback_url.as_deref())
    }

    /// Plans the receipts of messages that were accepted.
    pub fn plan(&self, messages: Vec<Addressed>, accepted_at: Duration) {
        if messages.is_empty() {
            return;
        }
        // The plan is the user's code: it runs before the lock is taken.
        let planned: Vec<_> = messages
            .into_iter()
            .map(|message| self.receipts_of(message, accepted_at))
            .filter(|receipts| !receipts.is_empty())
            .collect();
        let mut book = self.book();
        for receipts in planned {
            for receipt in &receipts {
                book.add(receipt);
            }
            book.record.push_back(receipts);
            while book.record.len() > self.settings.kept {
                book.record.pop_front();
            }
        }
        drop(book);
        self.planned.notify_one();
    }

    fn receipts_of(&self, message: Addressed, accepted_at: Duration) -> Vec<Arc<Receipt>> {
        let target = Target::parse(&message.callback_url).map(Arc::new);
        let steps = (self.settings.plan)(&message.accepted);
        let origin = Arc::new(Origin { message, accepted_at, target });
        let receipt = |step: Step| {
            let not_posted = match &origin.target {
                Err(reason) => Some(*reason),
                Ok(_) => (step.times == 0).then_some(NotPosted::Lost),
            };
            let mut receipt = Receipt {
                origin: Arc::clone(&origin),
                edited: None,
                progress: Mutex::new(Progress {
                    open: if not_posted.is_some() { 0 } else { step.times },
                    not_posted,
                    tries: Vec::new(),
                }),
                step,
            };
            // The edit is the user's code too.
            receipt.edited = receipt.step.edit.is_some().then(|| self.body(&receipt));
            Arc::new(receipt)
        };
        steps.into_iter().map(receipt).collect()
    }

    fn body(&self, receipt: &Receipt) -> Bytes {
        if let Some(edited) = &receipt.edited {
            return edited.clone();
        }
        envelope::body(
            self.settings.version,
            &self.settings.sub_account_id,
            &receipt.origin.message,
            &receipt.step,
            &self.clock.timestamp(receipt.came_at()),
        )
    }

    /// The record, in the order of planning.
    pub fn record(&self) -> Vec<PostedReceipt> {
        let receipts: Vec<_> = self.book().record.iter().flatten().cloned().collect();
        let tell = |receipt: Arc<Receipt>| {
            let progress = receipt.progress();
            let (step, accepted) = (&receipt.step, &receipt.origin.message.accepted);
            PostedReceipt {
                umid: accepted.umid.clone(),
                client_message_id: accepted.client_message_id.clone(),
                state: step.state.to_string(),
                detail: step.detail.as_deref().map(str::to_owned),
                timestamp: self.clock.timestamp(receipt.came_at()),
                error_code: step.error_code,
                tries: progress.tries.clone(),
                fate: progress.fate(),
            }
        };
        receipts.into_iter().map(tell).collect()
    }

    /// Waits until nothing is due and nothing on its way.
    pub async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.book().is_settled() {
                return;
            }
            settled.await;
        }
    }

    /// Posts what is due for as long as the sandbox runs.
    pub async fn run(self: Arc<Self>, moves: mpsc::UnboundedReceiver<Move>) {
        if self.clock.is_manual() {
            self.run_by_hand(moves).await;
        } else {
            self.run_by_the_clock().await;
        }
    }

    async fn run_by_hand(&self, mut moves: mpsc::UnboundedReceiver<Move>) {
        while let Some(Move { by, done }) = moves.recv().await {
            let until = by.map_or(Duration::MAX, |by| self.clock.now().saturating_add(by));
            loop {
                let next = self.book().take(until);
                let Some(post) = next else { break };
                self.clock.move_to(post.due);
                self.carry_out(post).await;
            }
            if by.is_some() {
                self.clock.move_to(until);
            }
            // Who asked may have gone.
            let _ = done.send(());
        }
    }

    async fn run_by_the_clock(self: Arc<Self>) {
        // Dropping the set, with this task, ends every post.
        let mut posts = JoinSet::new();
        loop {
            while posts.len() >= AT_A_TIME {
                posts.join_next().await;
            }
            while posts.try_join_next().is_some() {}
            let due = self.book().next_due();
            match due.and_then(|due| Some((due, self.clock.instant(due)?))) {
                Some((due, instant)) if instant <= Instant::now() => {
                    let next = self.book().take(due);
                    if let Some(post) = next {
                        let outbox = Arc::clone(&self);
                        posts.spawn(async move { outbox.carry_out(post).await });
                    }
                }
                Some((_, instant)) => tokio::select! {
                    () = self.planned.notified() => {}
                    () = sleep_until(instant) => {}
                },
                None => self.planned.notified().await,
            }
        }
    }

    async fn carry_out(&self, mut post: Post) {
        let receipt = Arc::clone(&post.receipt);
        let authorization = self.settings.authorization.as_ref();
        let outcome = post.target.post(self.body(&receipt), authorization).await;

        let again =
            if outcome.is_failure() { Receipts::RETRY_AFTER.get(post.failures) } else { None };
        let mut book = self.book();
        let mut progress = receipt.progress();
        progress.tries.push(ReceiptTry {
            copy: post.copy,
            at: post.due.saturating_sub(receipt.origin.accepted_at),
            outcome,
        });
        book.on_their_way -= 1;
        if let Some(after) = again {
            post.failures += 1;
            post.due = post.due.saturating_add(*after);
            book.due.insert((post.due, post.order), post);
        } else {
            progress.open -= 1;
        }
        drop(progress);
        let is_settled = book.is_settled();
        drop(book);
        self.planned.notify_one();
        if is_settled {
            self.settled.notify_waiters();
        }
    }
}

impl Book {
    /// Makes a receipt due, with its copies.
    fn add(&mut self, receipt: &Arc<Receipt>) {
        let Ok(target) = &receipt.origin.target else {
            return;
        };
        let step = &receipt.step;
        let at = step.posted_at.unwrap_or(step.at);
        let due = receipt.origin.accepted_at.saturating_add(at);
        for copy in 0..step.times {
            let order = self.posts;
            self.posts += 1;
            let post = Post {
                receipt: Arc::clone(receipt),
                target: Arc::clone(target),
                copy,
                failures: 0,
                due,
                order,
            };
            self.due.insert((due, order), post);
        }
    }

    fn next_due(&self) -> Option<Duration> {
        self.due.keys().next().map(|(due, _)| *due)
    }

    /// The next post, where it is due by then.
    fn take(&mut self, until: Duration) -> Option<Post> {
        let next = self.due.first_entry().filter(|next| next.key().0 <= until)?;
        self.on_their_way += 1;
        Some(next.remove())
    }

    fn is_settled(&self) -> bool {
        self.due.is_empty() && self.on_their_way == 0
    }
}

impl Receipt {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the message came to the state.
    fn came_at(&self) -> Duration {
        self.origin.accepted_at.saturating_add(self.step.at)
    }
}
