//! A ledger: the database of campaigns.

use std::fmt;
use std::sync::Arc;

use lon_batch::receipt::DeliveryReceipt;
use sha2::{Digest, Sha256};

use crate::campaign::Campaign;
use crate::error::{Error, Result};
use crate::store::{NewCampaign, NewReceipt, Postgres, Sqlite, Store};

/// A database of campaigns. Cloning it is cheap.
///
/// A SQLite ledger is one file, with `-wal` and `-shm` beside it, readable by its owner only. Several
/// processes of one machine can use it. For several machines use PostgreSQL, 13 or newer.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
}

impl Ledger {
    /// Opens a ledger, and creates its tables if it has none: `sqlite:campaigns.sqlite` or
    /// `postgres://user:password@host/database`.
    ///
    /// # Errors
    /// The URL has another scheme, the database cannot be opened, or a newer version of this crate
    /// created the ledger.
    pub async fn open(url: &str) -> Result<Self> {
        let store: Arc<dyn Store> = match url.split_once(':') {
            Some(("sqlite", _)) => Arc::new(Sqlite::open(url).await?),
            Some(("postgres" | "postgresql", _)) => Arc::new(Postgres::open(url).await?),
            _ => return Err(Error::Url),
        };
        Ok(Self { store })
    }

    /// Creates a campaign as a draft, or opens the one with this name.
    ///
    /// The content is any text that determines the messages, such as a template. The ledger stores it
    /// and compares it when the campaign is opened again.
    ///
    /// # Errors
    /// A campaign with this name has other content, or the database failed.
    pub async fn campaign(&self, name: &str, content: &str) -> Result<Campaign> {
        self.create(name, content, false).await
    }

    /// Like [`campaign`](Self::campaign), but a phone number may occur in it only once: later
    /// recipients with the same number are reported as duplicates.
    ///
    /// # Errors
    /// As for [`campaign`](Self::campaign).
    pub async fn campaign_with_unique_numbers(
        &self,
        name: &str,
        content: &str,
    ) -> Result<Campaign> {
        self.create(name, content, true).await
    }

    async fn create(&self, name: &str, content: &str, unique_numbers: bool) -> Result<Campaign> {
        let content_hash = Sha256::digest(content.as_bytes());
        let new = NewCampaign { name, content, content_hash: &content_hash, unique_numbers };
        let row = self.store.create(&new).await?;
        if row.content_hash != content_hash.as_slice() || row.unique_numbers != unique_numbers {
            return Err(Error::OtherContent { name: name.to_owned() });
        }
        Ok(Campaign::new(Arc::clone(&self.store), row))
    }

    /// Opens an existing campaign.
    ///
    /// # Errors
    /// No campaign has this name, or the database failed.
    pub async fn open_campaign(&self, name: &str) -> Result<Campaign> {
        let row = self.store.load(name).await?;
        let row = row.ok_or_else(|| Error::NoCampaign { name: name.to_owned() })?;
        Ok(Campaign::new(Arc::clone(&self.store), row))
    }

    /// All campaigns, the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn campaigns(&self) -> Result<Vec<Campaign>> {
        let rows = self.store.list().await?;
        Ok(rows.into_iter().map(|row| Campaign::new(Arc::clone(&self.store), row)).collect())
    }

    /// Records delivery receipts, in any order and any number of times, also before the outcomes of
    /// their messages. A receipt proves that the platform received the message.
    ///
    /// A receipt belongs to the attempt with its clientBatchId and clientMessageId. The ledger keeps
    /// a receipt that belongs to none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn record<'a>(
        &self,
        receipts: impl IntoIterator<Item = &'a DeliveryReceipt>,
    ) -> Result<()> {
        let receipts: Vec<_> = receipts.into_iter().map(new_receipt).collect();
        self.store.record(&receipts).await
    }
}

fn new_receipt(receipt: &DeliveryReceipt) -> NewReceipt {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    NewReceipt {
        umid: receipt.umid().to_string(),
        channel: text(receipt.channel().map(lon_batch::receipt::Channel::as_str)),
        state: receipt.state().as_str().to_owned(),
        detail: text(receipt.detail().map(lon_batch::types::StatusDetail::as_str)),
        timestamp: text(receipt.timestamp().map(lon_batch::types::Timestamp::as_str)),
        stage: receipt.stage().map_or(0, |stage| stage.number().into()),
        code: receipt.error_code().map(lon_batch::receipt::ReceiptErrorCode::value),
        client_batch_id: receipt.client_batch_id().map(str::to_owned),
        client_message_id: receipt.client_message_id().map(str::to_owned),
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}
