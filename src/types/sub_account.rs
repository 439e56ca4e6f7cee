//! The id of a sub-account.

use std::fmt;
use std::str::FromStr;

use crate::generated::tables::SUB_ACCOUNT_ID_CHARS;

/// The id of a sub-account: 3 to 50 characters, each an ASCII letter or digit or one of `-._&`.
///
/// The rule is the `pattern` of the spec; the build fails if the two differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubAccountId(Box<str>);

/// The text is not a [`SubAccountId`]. The error does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} characters; a sub-account id has {} to {}, each an ASCII letter or digit or one of - . _ &",
    SUB_ACCOUNT_ID_CHARS.start(),
    SUB_ACCOUNT_ID_CHARS.end()
)]
#[non_exhaustive]
pub struct InvalidSubAccountId {
    /// The number of characters in the text.
    pub found: usize,
}

impl SubAccountId {
    /// Parses an id.
    ///
    /// # Errors
    /// The text does not match the pattern of the spec.
    pub fn parse(text: &str) -> Result<Self, InvalidSubAccountId> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._&".contains(&byte);
        if SUB_ACCOUNT_ID_CHARS.contains(&text.len()) && text.bytes().all(legal) {
            return Ok(Self(text.into()));
        }
        let found = text.chars().count();
        Err(InvalidSubAccountId { found })
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubAccountId {
    type Err = InvalidSubAccountId;

    fn from_str(text: &str) -> Result<Self, InvalidSubAccountId> {
        Self::parse(text)
    }
}

impl fmt::Display for SubAccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
