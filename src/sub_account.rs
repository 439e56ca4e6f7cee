//! The id of a sub-account.

use std::fmt;
use std::str::FromStr;

use crate::generated::tables::SUB_ACCOUNT_ID_CHARS;
use crate::problem::{Invalid, Rule};

/// The id of a sub-account: 3 to 50 characters, each an ASCII letter or digit or one of `-._&`.
///
/// The rule is the `pattern` of the spec; the build fails where the two differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubAccountId(Box<str>);

impl SubAccountId {
    /// Reads an id.
    ///
    /// # Errors
    /// The text does not match the pattern of the spec as a whole.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let of_pattern =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'&');
        if SUB_ACCOUNT_ID_CHARS.contains(&text.len()) && text.bytes().all(of_pattern) {
            return Ok(Self(text.into()));
        }
        let rule = Rule::SubAccountId {
            found: text.chars().count(),
            min: *SUB_ACCOUNT_ID_CHARS.start(),
            max: *SUB_ACCOUNT_ID_CHARS.end(),
        };
        Err(Invalid::setting("sub_account_id", rule))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubAccountId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

impl fmt::Display for SubAccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
