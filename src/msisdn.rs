//! Phone numbers: E.164, by shape alone.
//!
//! No numbering plan is consulted: such data goes stale and refuses numbers that are in use. The
//! platform judges whether a number can be reached; this crate judges its shape.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits that an E.164 number has.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A phone number in E.164 form: `+`, then 7 to 15 ASCII digits, the first not `0`.
///
/// It is `Copy` and needs no heap. `Display` writes it whole, `Debug` all but its last two digits
/// masked.
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
pub struct Msisdn {
    /// `+` and the digits, then zeros.
    text: [u8; 1 + *DIGITS.end()],
}

/// Why a text is not an [`Msisdn`]. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MsisdnError {
    /// There is nothing in it.
    #[error("empty")]
    Empty,
    /// It does not start with `+`. The country code is never guessed.
    #[error("does not start with `+`")]
    NoPlus,
    /// It starts with `00` or with a zero after the `+`; no country code starts with zero.
    #[error("starts with a zero, and no country code does")]
    LeadingZero,
    /// It has a trunk prefix in parentheses, `(0)`, which is not dialled from abroad.
    #[error("has `(0)` in it, which is not dialled from abroad; leave it out")]
    TrunkPrefix,
    /// It has fewer than 7 digits.
    #[error("{digits} digits, at least {}", DIGITS.start())]
    TooShort {
        /// How many it has.
        digits: usize,
    },
    /// It has more than 15 digits.
    #[error("{digits} digits, at most {}", DIGITS.end())]
    TooLong {
        /// How many it has.
        digits: usize,
    },
    /// It has a character that is not an ASCII digit.
    #[error("the character at position {position} is not a digit")]
    Character {
        /// Where the character stands, counted in characters from 1.
        position: usize,
    },
}

impl Msisdn {
    /// Reads a number in exactly the form `+6591234567`.
    ///
    /// # Errors
    /// Says which rule the text breaks, and not the text.
    pub const fn parse(text: &str) -> Result<Self, MsisdnError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(MsisdnError::Empty);
        }
        if bytes[0] != b'+' {
            return Err(match bytes {
                [b'0', b'0', ..] => MsisdnError::LeadingZero,
                _ => MsisdnError::NoPlus,
            });
        }
        let mut at = 1;
        while at < bytes.len() {
            // All before `at` is ASCII, so bytes count characters here.
            if !bytes[at].is_ascii_digit() {
                return Err(MsisdnError::Character { position: at + 1 });
            }
            at += 1;
        }
        let digits = bytes.len() - 1;
        if digits > 0 && bytes[1] == b'0' {
            return Err(MsisdnError::LeadingZero);
        }
        if digits < *DIGITS.start() {
            return Err(MsisdnError::TooShort { digits });
        }
        if digits > *DIGITS.end() {
            return Err(MsisdnError::TooLong { digits });
        }
        let mut number = [0; 1 + *DIGITS.end()];
        let mut at = 0;
        while at < bytes.len() {
            number[at] = bytes[at];
            at += 1;
        }
        Ok(Self { text: number })
    }

    /// Reads a number as people type it: `+65 9123-4567`, `＋６５ ９１２３ ４５６７`,
    /// `+1 (415) 555-2671`.
    ///
    /// White space, hyphens and dashes, dots, slashes, parentheses and invisible characters are
    /// dropped, full-width digits and plus signs are taken for what they show. No digit is ever
    /// dropped or invented.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and for a trunk prefix `(0)`. Letters, extensions, `tel:`, a
    /// leading `00` and a missing `+` are refused.
    pub fn parse_lenient(text: &str) -> Result<Self, MsisdnError> {
        let mut number = String::with_capacity(text.len());
        // The last two characters that show, to find `(0)`.
        let mut shown = ['\0'; 2];
        for (index, letter) in text.chars().enumerate() {
            let letter = match letter {
                '\u{ff10}'..='\u{ff19}' => {
                    char::from(b'0' + u8::try_from(u32::from(letter) - 0xff10).unwrap_or(0))
                }
                '\u{ff0b}' => '+',
                '\u{ff08}' => '(',
                '\u{ff09}' => ')',
                other => other,
            };
            if is_invisible(letter) || letter.is_whitespace() {
                continue;
            }
            if [shown[0], shown[1], letter] == ['(', '0', ')'] {
                return Err(MsisdnError::TrunkPrefix);
            }
            shown = [shown[1], letter];
            match letter {
                _ if is_separator(letter) => {}
                '+' if number.is_empty() => number.push('+'),
                '0'..='9' => number.push(letter),
                _ => {
                    return Err(MsisdnError::Character { position: index + 1 });
                }
            }
        }
        Self::parse(&number)
    }

    /// The number with its `+`.
    pub fn as_str(&self) -> &str {
        text_of(&self.text)
    }

    /// Whether a trunk prefix was probably left in: the country code is +81, +66, +886, +62 or
    /// +44, and a `0` follows it. Such a number has the shape of a valid one and reaches nobody.
    pub fn has_trunk_prefix(&self) -> bool {
        ["+810", "+660", "+8860", "+620", "+440"]
            .iter()
            .any(|start| self.as_str().starts_with(start))
    }
}

fn is_separator(letter: char) -> bool {
    matches!(
        letter,
        '-' | '.' | '/' | '(' | ')' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2212}'
                | '\u{fe63}'
                | '\u{ff0d}'
                | '\u{ff0e}'
                | '\u{ff0f}'
                | '\u{30fc}'
                | '\u{b7}'
                | '\u{30fb}'
    )
}

/// Characters that show nothing: soft hyphen, zero-width and direction marks, byte-order mark.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// The text at the start of a field that zeros fill up.
fn text_of(field: &[u8]) -> &str {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    // Only ASCII is ever put in.
    std::str::from_utf8(&field[..end]).unwrap_or_default()
}

/// A phone number as it is dialled within a country: 4 to 15 ASCII digits.
///
/// It is sent together with a [`CountryCode`], see [`Recipient`](crate::Recipient). The platform
/// publishes no rule for its length; the bounds are this crate's. `Display` writes it whole,
/// `Debug` masks it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NationalNumber {
    text: [u8; *DIGITS.end()],
}

impl NationalNumber {
    /// Digits that a national number has at least.
    const MIN: usize = 4;

    /// Reads a national number, digits alone.
    ///
    /// # Errors
    /// Says which rule the text breaks, and not the text.
    pub fn parse(text: &str) -> Result<Self, NationalNumberError> {
        if text.is_empty() {
            return Err(NationalNumberError::Empty);
        }
        if let Some(index) = text.chars().position(|letter| !letter.is_ascii_digit()) {
            return Err(NationalNumberError::Character { position: index + 1 });
        }
        let digits = text.len();
        if !(Self::MIN..=*DIGITS.end()).contains(&digits) {
            return Err(NationalNumberError::Length { digits });
        }
        let mut number = [0; *DIGITS.end()];
        number[..digits].copy_from_slice(text.as_bytes());
        Ok(Self { text: number })
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        text_of(&self.text)
    }
}

/// Why a text is not a [`NationalNumber`]. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NationalNumberError {
    /// There is nothing in it.
    #[error("empty")]
    Empty,
    /// It has fewer than 4 or more than 15 digits.
    #[error("{digits} digits, at least {} and at most {}", NationalNumber::MIN, DIGITS.end())]
    Length {
        /// How many it has.
        digits: usize,
    },
    /// It has a character that is not an ASCII digit.
    #[error("the character at position {position} is not a digit")]
    Character {
        /// Where the character stands, counted in characters from 1.
        position: usize,
    },
}

/// The country of a [`NationalNumber`]: two ASCII letters, sent in upper case.
///
/// Any two letters are taken: which codes the platform knows (`UK` or `GB`, for one) is not
/// published.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// Reads two letters in any case.
    ///
    /// # Errors
    /// The text is not two ASCII letters.
    pub const fn parse(text: &str) -> Result<Self, CountryCodeError> {
        match text.as_bytes() {
            [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                Ok(Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
            }
            _ => Err(CountryCodeError),
        }
    }

    /// The two letters, in upper case.
    pub fn as_str(&self) -> &str {
        text_of(&self.0)
    }
}

/// The text is not a [`CountryCode`]. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a country is two ASCII letters, such as SG")]
pub struct CountryCodeError;

impl fmt::Debug for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Msisdn({})", crate::mask::Masked(self.as_str()))
    }
}

impl fmt::Debug for NationalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Too short a number to be told from another is masked whole.
        write!(f, "NationalNumber({})", "*".repeat(self.as_str().len()))
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountryCode({})", self.as_str())
    }
}

macro_rules! text_traits {
    ($($name:ident, $error:ident;)+) => {$(
        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $error;

            fn try_from(text: &str) -> Result<Self, $error> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let parsed = crate::received::with_text(deserializer, Self::parse)?;
                parsed.map_err(serde::de::Error::custom)
            }
        }
    )+};
}

text_traits! {
    Msisdn, MsisdnError;
    NationalNumber, NationalNumberError;
    CountryCode, CountryCodeError;
}
