//! The ledger in PostgreSQL.

use std::str::FromStr;

use async_trait::async_trait;
use lon_batch::Outcome;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{Postgres as Db, Row, Transaction};

use super::{
    CampaignRow, ChunkRow, Claim, Claimed, Duplicate, End, NewCampaign, NewReceipt, Numbered,
    OutcomeRow, Peek, ReceiptRow, Store, chunk_state, from_row, migrate,
};
use crate::error::{Error, Result};
use crate::evidence;
use crate::recipient::Recipient;

const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

pub(crate) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    pub async fn open(url: &str) -> Result<Self> {
        // A stopped process blocks nobody for long.
        let options = PgConnectOptions::from_str(url)?.application_name("lon-campaign").options([
            ("synchronous_commit", "on"),
            ("statement_timeout", "60s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "10s"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(std::time::Duration::from_secs(5));
        let pool = pool.connect_with(options).await?;
        migrate(&sqlx::migrate!("migrations/postgres"), &pool).await?;
        Ok(Self { pool })
    }

    async fn begin(&self) -> Result<Transaction<'static, Db>> {
        Ok(self.pool.begin().await?)
    }
}

async fn insert_outcomes(
    transaction: &mut Transaction<'_, Db>,
    campaign: i64,
    chunk: i64,
    tries: i64,
    outcomes: &[(i64, Outcome)],
) -> Result<()> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let mut rows = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (position, it) in outcomes {
        rows.0.push(*position);
        rows.1.push(evidence::number(it.kind));
        rows.2.push(it.umid.as_deref());
        rows.3.push(it.status.map(i64::from));
        rows.4.push(it.code.map(lon_batch::ErrorCode::value));
        rows.5.push(it.reason.as_deref());
    }
    let query = format!(
        "INSERT INTO outcomes
             (campaign_id, position, chunk_id, try, kind, umid, status, code, reason, at)
         SELECT $1, t.position, $2, $3, t.kind, t.umid, t.status, t.code, t.reason, {NOW}
         FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::text[])
             AS t (position, kind, umid, status, code, reason)
         ON CONFLICT DO NOTHING"
    );
    sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(campaign)
        .bind(chunk)
        .bind(tries)
        .bind(rows.0)
        .bind(rows.1)
        .bind(rows.2)
        .bind(rows.3)
        .bind(rows.4)
        .bind(rows.5)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn insert_chunk(
    transaction: &mut Transaction<'_, Db>,
    campaign: i64,
    attempt: i64,
    tries: i64,
    members: &[i64],
) -> Result<()> {
    let (Some(first), Some(last)) = (members.first(), members.last()) else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO chunks
             (campaign_id, attempt, tries, first_position, last_position, members)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(campaign)
    .bind(attempt)
    .bind(tries)
    .bind(first)
    .bind(last)
    .bind(members)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

fn chunk(row: &PgRow) -> Result<ChunkRow> {
    Ok(ChunkRow {
        id: row.try_get("id")?,
        attempt: row.try_get("attempt")?,
        first: row.try_get("first_position")?,
        last: row.try_get("last_position")?,
        members: row.try_get("members")?,
        state: row.try_get("state")?,
        tries: row.try_get("tries")?,
    })
}

const CAMPAIGN: &str = "SELECT id, name, content_hash, recipients_hash, positions, unique_numbers,
    state, reason FROM campaigns";
const CHUNK: &str = "SELECT id, attempt, first_position, last_position, members, state, tries
    FROM chunks";
const RECIPIENT: &str = "SELECT position, client_message_id, msisdn, country, variables
    FROM recipients";

#[async_trait]
impl Store for Postgres {
    async fn create(&self, new: &NewCampaign<'_>) -> Result<CampaignRow> {
        let query = format!(
            "INSERT INTO campaigns
                 (name, content, content_hash, recipients_hash, unique_numbers, created_at)
             VALUES ($1, $2, $3, decode(repeat('00', 32), 'hex'), $4, {NOW})
             ON CONFLICT DO NOTHING"
        );
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(new.name)
            .bind(new.content)
            .bind(new.content_hash)
            .bind(i64::from(new.unique_numbers))
            .execute(&self.pool)
            .await?;
        self.load(new.name).await?.ok_or(Error::Damaged("a campaign is missing"))
    }

    async fn load(&self, name: &str) -> Result<Option<CampaignRow>> {
        let query = format!("{CAMPAIGN} WHERE name = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(name);
        row.fetch_optional(&self.pool).await?.map(|row| from_row::campaign(&row)).transpose()
    }

    async fn get(&self, campaign: i64) -> Result<CampaignRow> {
        let query = format!("{CAMPAIGN} WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).bind(campaign);
        from_row::campaign(&row.fetch_one(&self.pool).await?)
    }

    async fn list(&self) -> Result<Vec<CampaignRow>> {
        let query = format!("{CAMPAIGN} ORDER BY id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&self.pool).await?;
        rows.iter().map(from_row::campaign).collect()
    }

    async fn import(
        &self,
        campaign: i64,
        before: i64,
        unique_numbers: bool,
        batch: &[Recipient],
        hash: &[u8],
    ) -> Result<Option<Vec<Duplicate>>> {
        let after = before + i64::try_from(batch.len()).unwrap_or(i64::MAX);
        let mut rows = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (position, it) in (before + 1..).zip(batch) {
            let country = it.to.country().map(|country| country.as_str().to_owned());
            let key = unique_numbers
                .then(|| format!("{}{}", country.as_deref().unwrap_or_default(), it.to.msisdn()));
            rows.0.push(position);
            rows.1.push(it.client_message_id.as_str());
            rows.2.push(it.to.msisdn().to_owned());
            rows.3.push(country);
            rows.4.push(from_row::variables(it));
            rows.5.push(key);
        }
        let mut transaction = self.begin().await?;
        let changed = sqlx::query(
            "UPDATE campaigns SET positions = $1, recipients_hash = $2
             WHERE id = $3 AND state = 0 AND positions = $4",
        )
        .bind(after)
        .bind(hash)
        .bind(campaign)
        .bind(before)
        .execute(&mut *transaction)
        .await?;
        if changed.rows_affected() == 0 {
            return Ok(None);
        }
        let inserted = sqlx::query(
            "INSERT INTO recipients (campaign_id, position, client_message_id, msisdn, country,
                 variables, number_key)
             SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                 $7::text[])
             ON CONFLICT DO NOTHING",
        )
        .bind(campaign)
        .bind(&rows.0)
        .bind(&rows.1)
        .bind(&rows.2)
        .bind(&rows.3)
        .bind(&rows.4)
        .bind(&rows.5)
        .execute(&mut *transaction)
        .await?;
        let mut duplicates = Vec::new();
        if inserted.rows_affected() < batch.len() as u64 {
            let found = sqlx::query(
                "WITH e AS (SELECT * FROM
                     unnest($2::bigint[], $3::text[], $4::text[]) AS e (position, id, number))
                 SELECT position, min(first), bool_or(same_id) FROM (
                     SELECT e.position, r.position AS first, true AS same_id
                     FROM e JOIN recipients r
                         ON r.client_message_id = e.id AND r.campaign_id = $1
                     UNION ALL
                     SELECT e.position, r.position, false
                     FROM e JOIN recipients r
                         ON r.number_key = e.number AND r.campaign_id = $1) AS pairs
                 WHERE first <> position GROUP BY position ORDER BY position",
            );
            let found = found.bind(campaign).bind(&rows.0).bind(&rows.1).bind(&rows.5);
            for row in found.fetch_all(&mut *transaction).await? {
                let (position, first): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
                let same_id: bool = row.try_get(2)?;
                duplicates.push(from_row::duplicate(position, first, same_id));
            }
        }
        transaction.commit().await?;
        Ok(Some(duplicates))
    }

    async fn recipients(&self, campaign: i64, after: i64, limit: i64) -> Result<Vec<Numbered>> {
        let query = format!(
            "{RECIPIENT} WHERE campaign_id = $1 AND position > $2 ORDER BY position LIMIT $3"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(campaign).bind(after).bind(limit);
        query.fetch_all(&self.pool).await?.iter().map(from_row::numbered).collect()
    }

    async fn position(&self, campaign: i64, client_message_id: &str) -> Result<Option<i64>> {
        let query = "SELECT position FROM recipients
             WHERE client_message_id = $1 AND campaign_id = $2";
        let query = sqlx::query_scalar(query).bind(client_message_id).bind(campaign);
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn seal(&self, campaign: i64, chunk_size: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        let sealed = sqlx::query("UPDATE campaigns SET state = 1 WHERE id = $1 AND state = 0");
        let sealed = sealed.bind(campaign).execute(&mut *transaction).await?;
        if sealed.rows_affected() > 0 {
            sqlx::query(
                "INSERT INTO chunks (campaign_id, attempt, first_position, last_position)
                 SELECT $1, 1, min(position), max(position)
                 FROM (SELECT position, (row_number() OVER (ORDER BY position) - 1) / $2 AS number
                       FROM recipients WHERE campaign_id = $1) AS numbered
                 GROUP BY number ORDER BY number",
            )
            .bind(campaign)
            .bind(chunk_size)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn set_state(
        &self,
        campaign: i64,
        from: &[i64],
        to: i64,
        reason: Option<&str>,
    ) -> Result<bool> {
        let query = "UPDATE campaigns SET state = $1, reason = $2
             WHERE id = $3 AND state = ANY ($4)";
        let query = sqlx::query(query).bind(to).bind(reason).bind(campaign);
        let changed = query.bind(from).execute(&self.pool).await?;
        Ok(changed.rows_affected() > 0)
    }

    async fn finish(&self, campaign: i64) -> Result<()> {
        sqlx::query(
            "UPDATE campaigns SET state = 2 WHERE id = $1 AND state = 1 AND NOT EXISTS
                 (SELECT 1 FROM chunks WHERE campaign_id = $1 AND state IN (0, 1))",
        )
        .bind(campaign)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn retry(&self, campaign: i64, positions: &[i64], chunk_size: i64) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let query = "UPDATE campaigns SET state = 1, reason = NULL
             WHERE id = $1 AND state IN (2, 3) AND NOT EXISTS
                 (SELECT 1 FROM chunks WHERE campaign_id = $1 AND state = 1)";
        let changed = sqlx::query(query).bind(campaign).execute(&mut *transaction).await?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        let attempt = "SELECT coalesce(max(attempt), 0) + 1 FROM chunks WHERE campaign_id = $1";
        let attempt: i64 =
            sqlx::query_scalar(attempt).bind(campaign).fetch_one(&mut *transaction).await?;
        for members in positions.chunks(usize::try_from(chunk_size).unwrap_or(usize::MAX)) {
            insert_chunk(&mut transaction, campaign, attempt, 0, members).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn start_worker(&self, campaign: i64) -> Result<i64> {
        let query = format!(
            "INSERT INTO workers (campaign_id, heartbeat_at) VALUES ($1, {NOW}) RETURNING id"
        );
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(campaign);
        Ok(query.fetch_one(&self.pool).await?)
    }

    async fn heartbeat(&self, worker: i64, ended: bool) -> Result<()> {
        let query = format!(
            "UPDATE workers SET heartbeat_at = {NOW}, ended_at = CASE WHEN $2 THEN {NOW} END
             WHERE id = $1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(worker).bind(ended);
        query.execute(&self.pool).await?;
        Ok(())
    }

    async fn peek(&self, campaign: i64, busy: &[i64], skip: i64) -> Result<Peek> {
        let query = format!(
            "{CHUNK} WHERE campaign_id = $1 AND state = 0
                 AND id <> ALL ($2)
             ORDER BY id LIMIT 1 OFFSET $3"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(campaign);
        let query = query.bind(busy).bind(skip);
        if let Some(row) = query.fetch_optional(&self.pool).await? {
            let chunk = chunk(&row)?;
            let query = format!(
                "{RECIPIENT} WHERE campaign_id = $1 AND position BETWEEN $2 AND $3
                     AND ($4::bigint[] IS NULL OR position = ANY ($4))
                 ORDER BY position"
            );
            let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(campaign);
            let query = query.bind(chunk.first).bind(chunk.last).bind(&chunk.members);
            let recipients = query.fetch_all(&self.pool).await?;
            let recipients = recipients.iter().map(from_row::numbered).collect::<Result<_>>()?;
            return Ok(Peek::Chunk(chunk, recipients));
        }
        let query = format!(
            "SELECT count(*), coalesce(max(fence_at) - {NOW}, 0) FROM chunks
             WHERE campaign_id = $1 AND state IN (0, 1)"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(campaign);
        let (open, fence): (i64, i64) = query.fetch_one(&self.pool).await?;
        Ok(if open > 0 { Peek::InFlight(fence) } else { Peek::Empty })
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed> {
        let mut transaction = self.begin().await?;
        let state = sqlx::query_scalar("SELECT state FROM campaigns WHERE id = $1 FOR SHARE");
        let state: i64 = state.bind(claim.campaign).fetch_one(&mut *transaction).await?;
        if state != 1 {
            return Ok(Claimed::NotSending);
        }
        if !claim.retried.is_empty() {
            let accepted: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM outcomes WHERE campaign_id = $1 AND kind = 4
                         AND position = ANY ($2))
                     OR EXISTS (SELECT 1 FROM receipts WHERE campaign_id = $1
                         AND position = ANY ($2)
                         GROUP BY position, chunk_id HAVING max(stage) <> 30)",
            )
            .bind(claim.campaign)
            .bind(claim.retried)
            .fetch_one(&mut *transaction)
            .await?;
            if accepted {
                return Ok(Claimed::Taken);
            }
        }
        let query = format!(
            "UPDATE chunks SET state = 1, token = $1, worker_id = $2, claimed_at = {NOW},
                 fence_at = {NOW} + $3
             WHERE id = $4 AND state = 0 AND tries = $5"
        );
        let claimed = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(claim.token)
            .bind(claim.worker)
            .bind(claim.fence_after)
            .bind(claim.chunk)
            .bind(claim.tries)
            .execute(&mut *transaction)
            .await?;
        if claimed.rows_affected() == 0 {
            // The reply to an earlier commit of this claim may have been lost.
            let query = "SELECT count(*) FROM chunks WHERE id = $1 AND token = $2 AND state = 1";
            let query = sqlx::query_scalar(query).bind(claim.chunk).bind(claim.token);
            let mine: i64 = query.fetch_one(&mut *transaction).await?;
            return Ok(if mine > 0 { Claimed::Yes } else { Claimed::Taken });
        }
        transaction.commit().await?;
        Ok(Claimed::Yes)
    }

    async fn settle(&self, token: &str, outcomes: &[(i64, Outcome)], end: &End) -> Result<()> {
        let mut transaction = self.begin().await?;
        let query = "SELECT id, campaign_id, attempt, tries, state FROM chunks WHERE token = $1
             FOR UPDATE";
        let query = sqlx::query_as(query).bind(token).fetch_optional(&mut *transaction);
        let row: Option<(i64, i64, i64, i64, i64)> = query.await?;
        let Some((id, campaign, attempt, tries, state)) = row else {
            return Ok(());
        };
        if !matches!(state, chunk_state::CLAIMED | chunk_state::UNKNOWN) {
            return Ok(());
        }
        insert_outcomes(&mut transaction, campaign, id, tries, outcomes).await?;
        if state == chunk_state::CLAIMED {
            let (state, tries_now) = match end {
                End::Settled => (chunk_state::SETTLED, tries),
                End::Free => (chunk_state::FREE, tries + 1),
                End::Split { .. } => (chunk_state::SPLIT, tries),
            };
            let query = "UPDATE chunks SET state = $1, tries = $2 WHERE id = $3";
            let query = sqlx::query(query).bind(state).bind(tries_now).bind(id);
            query.execute(&mut *transaction).await?;
            if let End::Split { first, second } = end {
                insert_chunk(&mut transaction, campaign, attempt, tries, first).await?;
                insert_chunk(&mut transaction, campaign, attempt, tries, second).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn append(
        &self,
        campaign: i64,
        chunk: i64,
        tries: i64,
        outcomes: &[(i64, Outcome)],
    ) -> Result<()> {
        let mut transaction = self.begin().await?;
        insert_outcomes(&mut transaction, campaign, chunk, tries, outcomes).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn abandon(&self, token: &str) -> Result<()> {
        let query = "UPDATE chunks SET state = 3 WHERE token = $1 AND state = 1";
        sqlx::query(query).bind(token).execute(&self.pool).await?;
        Ok(())
    }

    async fn fence(&self, campaign: i64) -> Result<u64> {
        let query = format!(
            "UPDATE chunks SET state = 3
             WHERE campaign_id = $1 AND state = 1 AND fence_at <= {NOW}"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(campaign);
        Ok(query.execute(&self.pool).await?.rows_affected())
    }

    async fn record(&self, receipts: &[NewReceipt]) -> Result<()> {
        let texts = |text: fn(&NewReceipt) -> Option<&str>| -> Vec<Option<&str>> {
            receipts.iter().map(text).collect()
        };
        let stages: Vec<_> = receipts.iter().map(|it| it.stage).collect();
        let codes: Vec<_> = receipts.iter().map(|it| it.code).collect();
        let query = format!(
            "INSERT INTO receipts (umid, channel, state, detail, timestamp, stage, code,
                 client_batch_id, client_message_id, campaign_id, position, chunk_id, at)
             SELECT e.umid, e.channel, e.state, e.detail, e.timestamp, e.stage, e.code, e.batch,
                 e.message, r.campaign_id, r.position, c.id, {NOW}
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                 $7::text[], $8::bigint[], $9::bigint[])
                 AS e (umid, channel, state, detail, timestamp, batch, message, stage, code)
             LEFT JOIN chunks c ON c.token = e.batch
             LEFT JOIN recipients r ON r.client_message_id = e.message
                 AND r.campaign_id = c.campaign_id
                 AND r.position BETWEEN c.first_position AND c.last_position
                 AND (c.members IS NULL OR r.position = ANY (c.members))
             ON CONFLICT DO NOTHING"
        );
        sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(texts(|it| Some(&it.umid)))
            .bind(texts(|it| Some(&it.channel)))
            .bind(texts(|it| Some(&it.state)))
            .bind(texts(|it| Some(&it.detail)))
            .bind(texts(|it| Some(&it.timestamp)))
            .bind(texts(|it| it.client_batch_id.as_deref()))
            .bind(texts(|it| it.client_message_id.as_deref()))
            .bind(stages)
            .bind(codes)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn chunks(&self, campaign: i64, first: i64, last: i64) -> Result<Vec<ChunkRow>> {
        let query = format!(
            "{CHUNK} WHERE campaign_id = $1 AND first_position <= $3 AND last_position >= $2
             ORDER BY id"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(campaign).bind(first).bind(last);
        query.fetch_all(&self.pool).await?.iter().map(chunk).collect()
    }

    async fn outcomes(&self, campaign: i64, first: i64, last: i64) -> Result<Vec<OutcomeRow>> {
        let query =
            "SELECT position, chunk_id, try, kind, umid, status, code, reason, at FROM outcomes
             WHERE campaign_id = $1 AND position BETWEEN $2 AND $3
             ORDER BY position, chunk_id, try";
        let query = sqlx::query(query).bind(campaign).bind(first).bind(last);
        query.fetch_all(&self.pool).await?.iter().map(from_row::outcome).collect()
    }

    async fn receipts(&self, campaign: i64, first: i64, last: i64) -> Result<Vec<ReceiptRow>> {
        let query = "SELECT position, chunk_id, umid, stage FROM receipts
             WHERE campaign_id = $1 AND position BETWEEN $2 AND $3";
        let query = sqlx::query(query).bind(campaign).bind(first).bind(last);
        query.fetch_all(&self.pool).await?.iter().map(from_row::receipt).collect()
    }
}
