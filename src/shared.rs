//! One content in many messages, for the price of a pointer each.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Content, SmsFallback, wire};

/// A value that may stand in any number of messages: cloning it copies a pointer, and it is
/// written to JSON once for all the messages that are sent with it.
///
/// It is made `From` the value and read through `Deref`. To change a shared value, clone it,
/// change the clone, and make a new handle of that.
pub struct Shared<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: T,
    /// Its JSON, once it was sent while there was more than one handle to it.
    json: OnceLock<Option<Box<RawValue>>>,
}

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

impl<T: Serialize> Shared<T> {
    /// The JSON to put into a body, where it pays to keep it: what is in one message alone is
    /// written straight into that.
    fn json(&self) -> Option<&RawValue> {
        if !wire::is_writing() || Arc::strong_count(&self.0) == 1 {
            return None;
        }
        let json = self.0.json.get_or_init(|| to_raw_value(&self.0.value).ok());
        json.as_deref()
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
        &self.0.value
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        let json = OnceLock::new();
        Self(Arc::new(Inner { value, json }))
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&**self).finish()
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.json() {
            Some(json) => json.serialize(serializer),
            None => (**self).serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}
