//! A list of recipients in one file of SQLite, which is also the journal of the run.

use std::path::Path;

use lon_batch::bulk::{Chunk, Deadline, Journal};
use lon_batch::{Outcome, OutcomeKind};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Error, SqlitePool};

/// The state of a message: `pending`, `sending`, or the kind of its outcome.
pub struct Database(SqlitePool);

impl Database {
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk when it returns.
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Self(pool))
    }

    /// Creates the list.
    pub async fn create(&self, recipients: &[(String, String)]) -> Result<(), Error> {
        sqlx::query(
            "create table messages (
                id text primary key,
                msisdn text not null,
                state text not null default 'pending'
            )",
        )
        .execute(&self.0)
        .await?;
        let recipients = serde_json::json!(recipients).to_string();
        sqlx::query(
            "insert into messages (id, msisdn)
             select value ->> 0, value ->> 1 from json_each($1)",
        )
        .bind(recipients)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// The recipients that can be sent to, in the order of the list. The messages in the state
    /// `sending` are in flight, or they were when the process died. Either way they stay unknown.
    pub async fn pending(&self) -> Result<Vec<(String, String)>, Error> {
        sqlx::query_as(
            "select id, msisdn from messages where state in ('pending', 'not_sent') order by rowid",
        )
        .fetch_all(&self.0)
        .await
    }

    /// The ids of the messages in a state.
    pub async fn ids(&self, state: &str) -> Result<Vec<String>, Error> {
        let query = "select id from messages where state = $1 order by id";
        sqlx::query_scalar(query).bind(state).fetch_all(&self.0).await
    }
}

const UPDATE: &str = "update messages set state = $1 where id in (select value from json_each($2))";

impl Journal for Database {
    type Error = Error;

    async fn sending(&self, chunk: &Chunk) -> Result<Option<Deadline>, Error> {
        let ids: Vec<_> = chunk.client_message_ids().collect();
        let ids = serde_json::json!(ids).to_string();
        sqlx::query(UPDATE).bind("sending").bind(ids).execute(&self.0).await?;
        Ok(None)
    }

    async fn settled(&self, chunk: &Chunk, outcomes: &[Outcome]) -> Result<(), Error> {
        let mut transaction = self.0.begin().await?;
        for kind in OutcomeKind::ALL {
            let messages = chunk.client_message_ids().zip(outcomes);
            let ids: Vec<_> =
                messages.filter(|(_, it)| it.kind == kind).map(|(id, _)| id).collect();
            let ids = serde_json::json!(ids).to_string();
            sqlx::query(UPDATE).bind(kind.as_str()).bind(ids).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}
