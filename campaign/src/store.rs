//! The trait behind which each database has its own SQL.

mod postgres;
mod sqlite;

use async_trait::async_trait;
use lon_batch::Outcome;

use crate::error::Result;
use crate::recipient::Recipient;

pub(crate) use postgres::Postgres;
pub(crate) use sqlite::Sqlite;

/// States of a chunk.
pub(crate) mod chunk_state {
    pub const FREE: i64 = 0;
    pub const CLAIMED: i64 = 1;
    pub const SETTLED: i64 = 2;
    pub const UNKNOWN: i64 = 3;
    pub const SPLIT: i64 = 4;
}

#[derive(Clone, Debug)]
pub(crate) struct CampaignRow {
    pub id: i64,
    pub name: String,
    pub content_hash: Vec<u8>,
    pub recipients_hash: Vec<u8>,
    pub positions: i64,
    pub unique_numbers: bool,
    pub state: i64,
    pub reason: Option<String>,
}

pub(crate) struct NewCampaign<'a> {
    pub name: &'a str,
    pub content: &'a str,
    pub content_hash: &'a [u8],
    pub unique_numbers: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ChunkRow {
    pub id: i64,
    pub attempt: i64,
    pub first: i64,
    pub last: i64,
    /// The positions. `None`: all from the first to the last.
    pub members: Option<Vec<i64>>,
    pub state: i64,
    pub tries: i64,
}

impl ChunkRow {
    /// Whether an earlier request had its recipients, so that one of them may be accepted by now: of
    /// an earlier attempt, of an earlier try, or of the chunk whose half this is.
    pub fn has_history(&self) -> bool {
        self.attempt > 1 || self.tries > 0 || self.members.is_some()
    }
}

/// A recipient at its position in the input.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    pub position: i64,
    pub recipient: Recipient,
}

/// A position of the input that repeats an earlier one. Its recipient is not in the campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Duplicate {
    /// The position, counted from 1.
    pub position: u64,
    /// The earlier position.
    pub first: u64,
    /// Whether both have the same clientMessageId. Otherwise they have the same number.
    pub same_id: bool,
}

/// The outcome of the recipient at a position.
#[derive(Clone, Debug)]
pub(crate) struct OutcomeRow {
    pub position: i64,
    pub chunk_id: i64,
    /// The try of the chunk, counted from 0.
    pub number: i64,
    pub outcome: Outcome,
    pub at: i64,
}

/// A receipt that belongs to an attempt.
#[derive(Clone, Debug)]
pub(crate) struct ReceiptRow {
    pub position: i64,
    pub chunk_id: i64,
    pub umid: String,
    pub stage: i64,
}

/// A receipt as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewReceipt {
    pub umid: String,
    pub channel: String,
    pub state: String,
    pub detail: String,
    pub timestamp: String,
    pub stage: i64,
    pub code: Option<i64>,
    pub client_batch_id: Option<String>,
    pub client_message_id: Option<String>,
}

/// A claim of a chunk.
pub(crate) struct Claim<'a> {
    pub campaign: i64,
    pub chunk: i64,
    pub tries: i64,
    pub token: &'a str,
    pub worker: i64,
    /// Milliseconds until any process may mark the chunk unknown.
    pub fence_after: i64,
    /// The positions in the request, of a chunk whose recipients were in an earlier request: none
    /// of them may be accepted by now.
    pub retried: &'a [i64],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    Yes,
    /// Another worker has it, or evidence arrived meanwhile.
    Taken,
    /// The campaign does not send.
    NotSending,
}

/// How a claim ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Every recipient has its outcome.
    Settled,
    /// Provably not sent: another worker may claim it.
    Free,
    /// Too large: its halves are new chunks. The second starts with this position.
    Split { first: Vec<i64>, second: Vec<i64> },
}

/// Free chunks, or what to wait for.
#[derive(Debug)]
pub(crate) enum Peek {
    Chunk(ChunkRow, Vec<Numbered>),
    /// Nothing is free. Claims are in flight, until the latest fence in these milliseconds.
    InFlight(i64),
    /// Nothing is free and nothing is in flight.
    Empty,
}

#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Creates a campaign, or returns the one with this name.
    async fn create(&self, new: &NewCampaign<'_>) -> Result<CampaignRow>;
    async fn load(&self, name: &str) -> Result<Option<CampaignRow>>;
    async fn get(&self, campaign: i64) -> Result<CampaignRow>;
    async fn list(&self) -> Result<Vec<CampaignRow>>;
    /// Appends recipients to a draft that has `before` positions, in one transaction. `None` if the
    /// campaign is not a draft or has other positions.
    async fn import(
        &self,
        campaign: i64,
        before: i64,
        unique_numbers: bool,
        batch: &[Recipient],
        hash: &[u8],
    ) -> Result<Option<Vec<Duplicate>>>;
    /// Recipients after a position, in order.
    async fn recipients(&self, campaign: i64, after: i64, limit: i64) -> Result<Vec<Numbered>>;
    /// The position of a clientMessageId.
    async fn position(&self, campaign: i64, client_message_id: &str) -> Result<Option<i64>>;
    /// Cuts the recipients of a draft into chunks, and lets it send.
    async fn seal(&self, campaign: i64, chunk_size: i64) -> Result<()>;
    /// Changes the state if it is one of `from`.
    async fn set_state(
        &self,
        campaign: i64,
        from: &[i64],
        to: i64,
        reason: Option<&str>,
    ) -> Result<bool>;
    /// Marks a campaign done if nothing is free or in flight.
    async fn finish(&self, campaign: i64) -> Result<()>;
    /// Adds chunks for a retry of these positions, and lets the campaign send.
    /// `false` if it is neither done nor stopped, or a claim is in flight.
    async fn retry(&self, campaign: i64, positions: &[i64], chunk_size: i64) -> Result<bool>;

    async fn start_worker(&self, campaign: i64) -> Result<i64>;
    async fn heartbeat(&self, worker: i64, ended: bool) -> Result<()>;
    /// A free chunk, apart from those that this process works on, after skipping some.
    async fn peek(&self, campaign: i64, busy: &[i64], skip: i64) -> Result<Peek>;
    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed>;
    /// Ends a claim, once: a repetition does nothing.
    async fn settle(&self, token: &str, outcomes: &[(i64, Outcome)], end: &End) -> Result<()>;
    /// Adds outcomes of recipients that were not in the request of a chunk.
    async fn append(
        &self,
        campaign: i64,
        chunk: i64,
        tries: i64,
        outcomes: &[(i64, Outcome)],
    ) -> Result<()>;
    /// Marks a claim unknown at once.
    async fn abandon(&self, token: &str) -> Result<()>;
    /// Marks claims past their fence unknown.
    async fn fence(&self, campaign: i64) -> Result<u64>;

    async fn record(&self, receipts: &[NewReceipt]) -> Result<()>;
    /// The chunks that may have positions in a range.
    async fn chunks(&self, campaign: i64, first: i64, last: i64) -> Result<Vec<ChunkRow>>;
    async fn outcomes(&self, campaign: i64, first: i64, last: i64) -> Result<Vec<OutcomeRow>>;
    async fn receipts(&self, campaign: i64, first: i64, last: i64) -> Result<Vec<ReceiptRow>>;
}

/// Brings a database to the latest schema.
async fn migrate<'a, A>(migrator: &sqlx::migrate::Migrator, connection: A) -> Result<()>
where
    A: sqlx::Acquire<'a>,
    <A::Connection as std::ops::Deref>::Target: sqlx::migrate::Migrate,
{
    use crate::error::Error;
    use sqlx::migrate::MigrateError;

    match migrator.run(connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _)) => {
            let known = migrator.iter().map(|it| it.version).max().unwrap_or_default();
            Err(Error::NewerSchema { found, known })
        }
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(error.into())
        }
        Err(error) => Err(sqlx::Error::Migrate(Box::new(error)).into()),
    }
}

/// Rows of either database.
mod from_row {
    use lon_batch::{ErrorCode, Outcome};
    use sqlx::{ColumnIndex, Decode, Row, Type};

    use super::{CampaignRow, Duplicate, Numbered, OutcomeRow, ReceiptRow};
    use crate::error::{Error, Result};
    use crate::evidence;
    use crate::recipient::Recipient;

    /// A row whose columns have the types of the ledger.
    pub trait LedgerRow: Row {
        fn int(&self, name: &str) -> Result<i64>;
        fn optional_int(&self, name: &str) -> Result<Option<i64>>;
        fn text(&self, name: &str) -> Result<String>;
        fn optional_text(&self, name: &str) -> Result<Option<String>>;
        fn bytes(&self, name: &str) -> Result<Vec<u8>>;
    }

    impl<R: Row> LedgerRow for R
    where
        for<'a> &'a str: ColumnIndex<R>,
        for<'a> i64: Decode<'a, R::Database> + Type<R::Database>,
        for<'a> String: Decode<'a, R::Database> + Type<R::Database>,
        for<'a> Vec<u8>: Decode<'a, R::Database> + Type<R::Database>,
    {
        fn int(&self, name: &str) -> Result<i64> {
            Ok(self.try_get(name)?)
        }

        fn optional_int(&self, name: &str) -> Result<Option<i64>> {
            Ok(self.try_get(name)?)
        }

        fn text(&self, name: &str) -> Result<String> {
            Ok(self.try_get(name)?)
        }

        fn optional_text(&self, name: &str) -> Result<Option<String>> {
            Ok(self.try_get(name)?)
        }

        fn bytes(&self, name: &str) -> Result<Vec<u8>> {
            Ok(self.try_get(name)?)
        }
    }

    pub fn campaign(row: &impl LedgerRow) -> Result<CampaignRow> {
        Ok(CampaignRow {
            id: row.int("id")?,
            name: row.text("name")?,
            content_hash: row.bytes("content_hash")?,
            recipients_hash: row.bytes("recipients_hash")?,
            positions: row.int("positions")?,
            unique_numbers: row.int("unique_numbers")? != 0,
            state: row.int("state")?,
            reason: row.optional_text("reason")?,
        })
    }

    pub fn numbered(row: &impl LedgerRow) -> Result<Numbered> {
        let msisdn = row.text("msisdn")?;
        let country = row.optional_text("country")?;
        let to = lon_batch::Recipient::parse(&msisdn, country.as_deref());
        let to = to.map_err(|_| Error::Damaged("the number of a recipient"))?;
        let mut recipient = Recipient::new(row.text("client_message_id")?, to);
        if let Some(json) = row.optional_text("variables")? {
            let variables = serde_json::from_str(&json);
            recipient.variables =
                variables.map_err(|_| Error::Damaged("the variables of a recipient"))?;
        }
        Ok(Numbered { position: row.int("position")?, recipient })
    }

    /// The JSON of the variables, if there are any.
    pub fn variables(recipient: &Recipient) -> Option<String> {
        let variables = &recipient.variables;
        (!variables.is_empty()).then(|| serde_json::Value::Object(variables.clone()).to_string())
    }

    pub fn outcome(row: &impl LedgerRow) -> Result<OutcomeRow> {
        let kind = evidence::kind(row.int("kind")?);
        let mut outcome = Outcome::new(kind.ok_or(Error::Damaged("the kind of an outcome"))?);
        outcome.umid = row.optional_text("umid")?.map(Into::into);
        outcome.status = row.optional_int("status")?.and_then(|status| u16::try_from(status).ok());
        outcome.code = row.optional_int("code")?.map(ErrorCode::from);
        outcome.reason = row.optional_text("reason")?.map(Into::into);
        Ok(OutcomeRow {
            position: row.int("position")?,
            chunk_id: row.int("chunk_id")?,
            number: row.int("try")?,
            outcome,
            at: row.int("at")?,
        })
    }

    pub fn receipt(row: &impl LedgerRow) -> Result<ReceiptRow> {
        Ok(ReceiptRow {
            position: row.int("position")?,
            chunk_id: row.int("chunk_id")?,
            umid: row.text("umid")?,
            stage: row.int("stage")?,
        })
    }

    pub fn duplicate(position: i64, first: i64, same_id: bool) -> Duplicate {
        let unsigned = |position: i64| u64::try_from(position).unwrap_or_default();
        Duplicate { position: unsigned(position), first: unsigned(first), same_id }
    }
}
