//! Imports the recipients of a campaign.

use std::pin::pin;

use futures_core::Stream;
use sha2::{Digest, Sha256};

use crate::campaign::{Campaign, State};
use crate::error::{Error, Result};
use crate::recipient::Recipient;
use crate::store::Duplicate;

/// Recipients of a transaction.
const BATCH: usize = 5000;
/// Duplicates that [`Imported`] lists.
const MAX_DUPLICATES: usize = 1000;

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The number of positions of the input.
    pub positions: u64,
    /// How many of them an earlier call had imported.
    pub imported_before: u64,
    /// The number of duplicates that this call found.
    pub duplicate_count: u64,
    /// The first 1,000 of them.
    pub duplicates: Vec<Duplicate>,
}

impl Campaign {
    /// Imports recipients into a draft.
    ///
    /// It commits every 5,000 recipients. If it is interrupted, call it again with the same input: it
    /// compares the recipients that are already there, and continues after them. For a sealed
    /// campaign it compares only.
    ///
    /// A recipient with the clientMessageId of an earlier one is a duplicate and is not imported.
    ///
    /// # Errors
    /// The campaign has other recipients than the input, or the database failed.
    pub async fn import(
        &self,
        recipients: impl IntoIterator<Item = Recipient>,
    ) -> Result<Imported> {
        let mut import = Import::start(self).await?;
        for recipient in recipients {
            import.push(recipient).await?;
        }
        import.finish().await
    }

    /// Imports a stream of recipients; see [`import`](Self::import).
    ///
    /// # Errors
    /// As for [`import`](Self::import).
    pub async fn import_stream(
        &self,
        recipients: impl Stream<Item = Recipient>,
    ) -> Result<Imported> {
        let mut import = Import::start(self).await?;
        let mut recipients = pin!(recipients);
        while let Some(recipient) =
            std::future::poll_fn(|context| recipients.as_mut().poll_next(context)).await
        {
            import.push(recipient).await?;
        }
        import.finish().await
    }
}

struct Import<'a> {
    campaign: &'a Campaign,
    /// The positions that the campaign has.
    existing: i64,
    is_draft: bool,
    /// The positions of the input so far, apart from the batch.
    seen: i64,
    hash: [u8; 32],
    batch: Vec<Recipient>,
    result: Imported,
}

impl<'a> Import<'a> {
    async fn start(campaign: &'a Campaign) -> Result<Self> {
        let row = campaign.store.get(campaign.id).await?;
        let hash = row.recipients_hash.try_into();
        Ok(Self {
            campaign,
            existing: row.positions,
            is_draft: State::from_number(row.state)? == State::Draft,
            seen: 0,
            hash: hash.map_err(|_| Error::Damaged("the hash of the recipients"))?,
            batch: Vec::new(),
            result: Imported::default(),
        })
    }

    fn differs(&self, position: i64, difference: &'static str) -> Error {
        let position = u64::try_from(position).unwrap_or_default();
        Error::OtherRecipients { name: self.campaign.name.to_string(), position, difference }
    }

    async fn push(&mut self, recipient: Recipient) -> Result<()> {
        self.batch.push(recipient);
        // A batch does not cross the end of what exists.
        let left = usize::try_from(self.existing - self.seen).unwrap_or(usize::MAX);
        if self.batch.len() == BATCH || (self.existing > self.seen && self.batch.len() == left) {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if self.seen < self.existing {
            self.compare().await?;
        } else if self.is_draft {
            self.append().await?;
        } else {
            return Err(self.differs(self.seen + 1, "no recipient in the campaign"));
        }
        self.batch.clear();
        Ok(())
    }

    async fn append(&mut self) -> Result<()> {
        for recipient in &self.batch {
            self.hash = chain(&self.hash, recipient);
        }
        let Campaign { store, id, unique_numbers, .. } = self.campaign;
        let import = store.import(*id, self.seen, *unique_numbers, &self.batch, &self.hash);
        let Some(duplicates) = import.await? else {
            return Err(Error::State {
                name: self.campaign.name.to_string(),
                state: State::from_number(store.get(*id).await?.state)?,
                hint: "another process imports or sealed it",
            });
        };
        self.result.duplicate_count += duplicates.len() as u64;
        let room = MAX_DUPLICATES - self.result.duplicates.len();
        self.result.duplicates.extend(duplicates.into_iter().take(room));
        self.seen += i64::try_from(self.batch.len()).unwrap_or(i64::MAX);
        self.existing = self.seen;
        Ok(())
    }

    /// Compares the batch with the recipients that the campaign has. A position without one is a
    /// duplicate.
    async fn compare(&mut self) -> Result<()> {
        let count = i64::try_from(self.batch.len()).unwrap_or(i64::MAX);
        let Campaign { store, id, .. } = self.campaign;
        let existing = store.recipients(*id, self.seen, count).await?;
        let mut existing = existing.into_iter().peekable();
        for (position, recipient) in (self.seen + 1..).zip(&self.batch) {
            match existing.next_if(|it| it.position == position) {
                Some(it) if it.recipient == *recipient => {}
                Some(_) => return Err(self.differs(position, "another recipient")),
                None => {
                    let id = store.position(*id, &recipient.client_message_id).await?;
                    if id.is_none_or(|first| first >= position) && !self.campaign.unique_numbers {
                        return Err(self.differs(position, "no recipient in the campaign"));
                    }
                }
            }
        }
        self.seen += count;
        self.result.imported_before += self.batch.len() as u64;
        Ok(())
    }

    async fn finish(mut self) -> Result<Imported> {
        self.flush().await?;
        if self.seen < self.existing {
            return Err(self.differs(self.seen + 1, "a recipient that the input lacks"));
        }
        self.result.positions = u64::try_from(self.seen).unwrap_or_default();
        Ok(self.result)
    }
}

/// The hash of recipients after one more.
fn chain(before: &[u8; 32], recipient: &Recipient) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    let country = recipient.to.country();
    for part in [
        recipient.client_message_id.as_str(),
        recipient.to.msisdn(),
        country.as_ref().map_or("", |country| country.as_str()),
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(serde_json::Value::Object(recipient.variables.clone()).to_string());
    hash.finalize().into()
}
