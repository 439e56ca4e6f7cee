//! One content in many messages, for the price of a pointer each.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Content, SmsFallback};

/// A value that may stand in any number of messages: cloning it copies a pointer.
///
/// It is made `From` the value and read through `Deref`. To change a shared value, clone it,
/// change the clone, and make a new handle of that.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Shared<T>(Arc<T>);

/// A [`Content`] that may stand in any number of messages.
pub type SharedContent = Shared<Content>;

/// An [`SmsFallback`] that may stand in any number of messages.
pub type SharedSmsFallback = Shared<SmsFallback>;

impl<T> Shared<T> {
    /// Where the value lies in memory: the same for every clone of a handle.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}
