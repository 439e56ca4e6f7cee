//! The content of a message: its own or shared.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::types::Content;

/// Content shared by any number of messages. Cloning it copies a pointer.
///
/// Create it with `SharedContent::from(content)`. It is serialised once, and the JSON is copied
/// into each request. To change it, edit a clone of the content and create a new `SharedContent`.
///
/// The JSON is embedded by `serde_json`. Text formats other than JSON are not supported; binary
/// formats serialise the content itself.
#[derive(Clone, Deserialize)]
#[serde(from = "Content")]
pub struct SharedContent(Arc<Inner>);

struct Inner {
    content: Content,
    json: Option<Box<RawValue>>,
}

impl SharedContent {
    /// The address of the content, equal for all clones.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether both are clones of one handle.
    #[cfg(feature = "bulk")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Content> for SharedContent {
    fn from(content: Content) -> Self {
        let json = to_raw_value(&content).ok();
        Self(Arc::new(Inner { content, json }))
    }
}

impl Deref for SharedContent {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0.content
    }
}

impl fmt::Debug for SharedContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedContent").field(&**self).finish()
    }
}

impl PartialEq for SharedContent {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Serialize for SharedContent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.json {
            Some(json) if serializer.is_human_readable() => json.serialize(serializer),
            _ => (**self).serialize(serializer),
        }
    }
}

/// The content of one message. It dereferences to [`Content`] and compares like it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, from = "Content")]
#[allow(clippy::large_enum_variant, reason = "most messages of a batch are of one variant")]
pub enum MessageContent {
    /// Content of this message only.
    Own(Content),
    /// Content that other messages share.
    Shared(SharedContent),
}

impl From<Content> for MessageContent {
    fn from(content: Content) -> Self {
        Self::Own(content)
    }
}

impl From<SharedContent> for MessageContent {
    fn from(content: SharedContent) -> Self {
        Self::Shared(content)
    }
}

impl Deref for MessageContent {
    type Target = Content;

    fn deref(&self) -> &Content {
        match self {
            Self::Own(content) => content,
            Self::Shared(content) => content,
        }
    }
}

impl PartialEq for MessageContent {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
