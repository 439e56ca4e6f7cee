//! Runs of many messages, with short delays.

use std::time::Duration;

use lon_batch::bulk::{Bulk, Progress};
use lon_batch::{Client, Content, Message, RetryPolicy, SharedContent};

use super::{msisdn, within_10s};

/// The policy of runs, with short delays.
pub fn quick() -> RetryPolicy {
    RetryPolicy::patient().base_delay(Duration::from_millis(2)).max_delay(Duration::from_millis(10))
}

pub fn hello() -> Message {
    Message::new(msisdn(), Content::new("Hello"))
}

pub fn hellos(count: usize) -> impl Iterator<Item = Message> + Send {
    let content = SharedContent::from(Content::new("Hello"));
    (0..count).map(move |_| Message::new(msisdn(), content.clone()))
}

pub fn bulk(client: &Client) -> Bulk<'static> {
    client.bulk("run").retry(quick())
}

/// Waits until every message that was taken has an outcome, while nobody polls the run.
pub async fn settled(progress: &Progress) {
    within_10s(async {
        while progress.summary().counts.pending() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
