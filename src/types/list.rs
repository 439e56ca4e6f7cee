//! Arrays in a response, bounded in memory.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::generated::tables::MAX_MESSAGES_PER_BATCH;
use crate::json::OnlyObject;

/// A list from the platform. It dereferences to a slice.
///
/// To bound memory, it keeps 2,000 entries, twice the messages of the largest batch, and only
/// counts the [rest](Self::omitted).
#[derive(Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ReceivedList<T> {
    entries: Vec<T>,
    #[serde(skip)]
    omitted: usize,
}

impl<T> ReceivedList<T> {
    const KEPT: usize = 2 * MAX_MESSAGES_PER_BATCH;

    /// How many entries after the first 2,000 were dropped.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> ReceivedList<U> {
        let entries = self.entries.into_iter().map(change).collect();
        ReceivedList { entries, omitted: self.omitted }
    }
}

impl<T> Default for ReceivedList<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<T> From<Vec<T>> for ReceivedList<T> {
    fn from(entries: Vec<T>) -> Self {
        Self { entries, omitted: 0 }
    }
}

impl<T> Deref for ReceivedList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.entries
    }
}

impl<T: fmt::Debug> fmt::Debug for ReceivedList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for ReceivedList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Entries<T> {
            type Value = ReceivedList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut list = ReceivedList::default();
                while list.entries.len() < ReceivedList::<T>::KEPT {
                    match entries.next_element::<OnlyObject<T>>()? {
                        Some(OnlyObject(entry)) => list.entries.push(entry),
                        None => return Ok(list),
                    }
                }
                while entries.next_element::<IgnoredAny>()?.is_some() {
                    list.omitted += 1;
                }
                Ok(list)
            }
        }

        deserializer.deserialize_seq(Entries(PhantomData))
    }
}
