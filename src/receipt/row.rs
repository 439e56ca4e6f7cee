//! What is kept of a message, in little memory.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Stage;
use super::change::Changes;

/// What was told of one umid, or of one clientMessageId without a umid.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Row {
    pub(super) umid: Umid,
    /// Empty where it is not known.
    pub(super) client_message_id: CompactString,
    /// Whether anything told that it is a LON message.
    pub(super) is_lon: bool,
    /// Whether the answer to its send is known; of a row with a umid.
    pub(super) is_answered: bool,
    /// Whether anything but a rejection was told of it, or no answer is known; of a row without a
    /// umid, which may be of several sends.
    pub(super) may_be_taken: bool,
    pub(super) changes: Changes,
}

/// A umid in little memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Umid {
    #[default]
    NotKnown,
    /// In the usual shape of a UUID, in lower case.
    Uuid([u8; 16]),
    Text(Box<str>),
}

impl Row {
    pub(super) fn new(umid: Umid, client_message_id: &str) -> Self {
        Self { umid, client_message_id: client_message_id.into(), ..Self::default() }
    }

    /// How far it has come by what was told of it alone. That one send was rejected settles nothing
    /// where another may have been made.
    pub(super) fn stage(&self) -> Stage {
        let counts = |stage: &Stage| !(self.may_be_taken && *stage == Stage::Rejected);
        self.changes.stages().filter(counts).max().unwrap_or_default()
    }

    /// Whether it is what the platform gave a umid to, and no receipt of another channel.
    pub(super) fn is_by_umid(&self) -> bool {
        self.is_lon && self.umid != Umid::NotKnown
    }

    /// Whether the platform gave a umid to it, and did not reject it.
    pub(super) fn is_taken(&self) -> bool {
        self.is_by_umid() && self.stage() != Stage::Rejected
    }
}

impl Umid {
    pub(super) fn hash(&self, hasher: &RandomState) -> u64 {
        match self {
            Self::NotKnown => 0,
            Self::Uuid(bytes) => hasher.hash_one(bytes),
            Self::Text(text) => hasher.hash_one(text),
        }
    }
}

impl From<&str> for Umid {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            return Self::NotKnown;
        }
        uuid(text).map_or_else(|| Self::Text(text.into()), Self::Uuid)
    }
}

/// The bytes of a UUID in its usual shape, in lower case, so that it can be written as it was.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let groups = text.split('-').map(str::len);
    if !groups.eq([8, 4, 4, 4, 12]) || !text.bytes().all(|byte| byte == b'-' || is_digit(byte)) {
        return None;
    }
    let digits = text.replace('-', "");
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

impl Serialize for Umid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Umid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::deserialize_as_string(deserializer, |text| Self::from(text))
    }
}

impl fmt::Display for Umid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKnown => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Uuid(bytes) => {
                let digits = format!("{:032x}", u128::from_be_bytes(*bytes));
                let group = |from: usize, to: usize| &digits[from..to];
                let groups =
                    [group(0, 8), group(8, 12), group(12, 16), group(16, 20), group(20, 32)];
                f.write_str(&groups.join("-"))
            }
        }
    }
}
