use std::fmt;

use super::{MAX_DIGITS, Text, digits, non_digit};

const MIN_DIGITS: usize = 7;

/// A phone number in E.164 form: `+`, then 7 to 15 ASCII digits, the first not `0`.
///
/// It is `Copy` and needs no heap. `Display` writes it in full. `Debug` masks all digits except the
/// last two.
///
/// ```
/// use lon_batch::Msisdn;
///
/// const HOTLINE: Msisdn = match Msisdn::parse("+6591234567") {
///     Ok(msisdn) => msisdn,
///     Err(_) => panic!(),
/// };
/// assert_eq!(HOTLINE.to_string(), "+6591234567");
/// assert_eq!(format!("{HOTLINE:?}"), "Msisdn(+********67)");
///
/// let error = "6591234567".parse::<Msisdn>().unwrap_err();
/// assert_eq!(error.to_string(), "does not start with `+`");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Msisdn(Text<{ 1 + MAX_DIGITS }>);

/// Why a text is not an [`Msisdn`]. Never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MsisdnError {
    /// The text is empty, or has only separators.
    #[error("empty")]
    Empty,
    /// It does not start with `+`. This crate never guesses a country code.
    #[error("does not start with `+`")]
    NoPlus,
    /// It starts with `00`, or has a zero after the `+`.
    #[error("starts with 0, but no country code does")]
    LeadingZero,
    /// It contains `(0)`, a trunk prefix that is not dialled from abroad. Only lenient parsing
    /// reports this.
    #[error("contains `(0)`, which is not dialled from abroad; leave it out")]
    TrunkPrefix,
    /// It has fewer than 7 digits.
    #[error("{digits} digits, at least {MIN_DIGITS}")]
    TooShort {
        /// The number of digits.
        digits: usize,
    },
    /// It has more than 15 digits.
    #[error("{digits} digits, at most {MAX_DIGITS}")]
    TooLong {
        /// The number of digits.
        digits: usize,
    },
    /// It contains a character other than a digit.
    #[error("the character at position {position} is not a digit")]
    Character {
        /// The position in the text, counted in characters from 1.
        position: usize,
    },
}

impl Msisdn {
    /// Parses a number of exactly the form `+6591234567`.
    ///
    /// # Errors
    /// [`MsisdnError`] names the first rule that the text breaks.
    pub const fn parse(text: &str) -> Result<Self, MsisdnError> {
        let bytes = text.as_bytes();
        match bytes {
            [] => return Err(MsisdnError::Empty),
            [b'+', ..] => {}
            [b'0', b'0', ..] => return Err(MsisdnError::LeadingZero),
            _ => return Err(MsisdnError::NoPlus),
        }
        if let Some(position) = non_digit(bytes, 1) {
            return Err(MsisdnError::Character { position });
        }
        match bytes.len() - 1 {
            1.. if bytes[1] == b'0' => Err(MsisdnError::LeadingZero),
            digits @ ..MIN_DIGITS => Err(MsisdnError::TooShort { digits }),
            MIN_DIGITS..=MAX_DIGITS => Ok(Self(Text::new(bytes))),
            digits => Err(MsisdnError::TooLong { digits }),
        }
    }

    /// Parses a number as people type it: `+65 9123-4567`, `+1 (415) 555-2671` or
    /// `＋６５　９１２３　４５６７`. See [lenient parsing](super#lenient-parsing).
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), and for `(0)`.
    pub fn parse_lenient(text: &str) -> Result<Self, MsisdnError> {
        let character = |position| MsisdnError::Character { position };
        Self::parse(&digits(text, true, MsisdnError::TrunkPrefix, character)?)
    }

    /// The number, with its `+`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the number probably still has its trunk prefix: a `0` after +81, +66, +886, +62 or
    /// +44. Such a number has a valid shape but reaches nobody.
    pub fn has_trunk_prefix(&self) -> bool {
        let number = self.as_str();
        ["+810", "+660", "+8860", "+620", "+440"].iter().any(|prefix| number.starts_with(prefix))
    }
}

impl fmt::Debug for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (masked, last) = self.as_str().split_at(self.as_str().len() - 2);
        write!(f, "Msisdn(+{}{last})", "*".repeat(masked.len() - 1))
    }
}
