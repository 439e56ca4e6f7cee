use std::fmt;

use super::{MAX_DIGITS, Text, digits, non_digit};

const MIN_DIGITS: usize = 4;

/// A phone number as dialled within its country: 4 to 15 ASCII digits, leading zeros included.
///
/// It is sent with a [`CountryCode`], see [`Recipient`](super::Recipient). The platform documents
/// no length for it, so the limits are this crate's. `Display` writes it in full. `Debug` masks
/// every digit, because the last two of a short number reveal too much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NationalNumber(Text<MAX_DIGITS>);

/// Why a text is not a [`NationalNumber`]. Never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NationalNumberError {
    /// The text is empty, or has only separators.
    #[error("empty")]
    Empty,
    /// It contains `(0)`, and whether the zero belongs to the number is unclear. Only lenient
    /// parsing reports this.
    #[error("contains `(0)`; write the number as dialled within the country")]
    TrunkPrefix,
    /// It has fewer than 4 or more than 15 digits.
    #[error("{digits} digits, at least {MIN_DIGITS} and at most {MAX_DIGITS}")]
    Length {
        /// The number of digits.
        digits: usize,
    },
    /// It contains a character other than a digit, such as `+`.
    #[error("the character at position {position} is not a digit")]
    Character {
        /// The position in the text, counted in characters from 1.
        position: usize,
    },
}

impl NationalNumber {
    /// Parses a number that consists of digits only.
    ///
    /// # Errors
    /// [`NationalNumberError`] names the first rule that the text breaks.
    pub const fn parse(text: &str) -> Result<Self, NationalNumberError> {
        let bytes = text.as_bytes();
        if let Some(position) = non_digit(bytes, 0) {
            return Err(NationalNumberError::Character { position });
        }
        match bytes.len() {
            0 => Err(NationalNumberError::Empty),
            MIN_DIGITS..=MAX_DIGITS => Ok(Self(Text::new(bytes))),
            digits => Err(NationalNumberError::Length { digits }),
        }
    }

    /// Parses a number as people type it: `081-234-5678` or `(02) 9876 5432`. Leading zeros are
    /// kept. See [lenient parsing](super#lenient-parsing).
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), and for `(0)`.
    pub fn parse_lenient(text: &str) -> Result<Self, NationalNumberError> {
        let character = |position| NationalNumberError::Character { position };
        let digits = digits(text, false, NationalNumberError::TrunkPrefix, character)?;
        Self::parse(&digits)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for NationalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NationalNumber({})", "*".repeat(self.as_str().len()))
    }
}

/// The country of a [`NationalNumber`]: any two ASCII letters, sent in upper case.
///
/// The platform does not document its codes: its page names `uk`, which is not the ISO 3166 code
/// (see `spec/README.md`). So no code is refused or rewritten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode(Text<2>);

/// The text is not a [`CountryCode`]. The error never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a country is two ASCII letters, such as SG")]
pub struct CountryCodeError;

impl CountryCode {
    /// Parses two letters in either case.
    ///
    /// # Errors
    /// The text is not two ASCII letters.
    pub const fn parse(text: &str) -> Result<Self, CountryCodeError> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                let upper = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
                Ok(Self(Text::new(&upper)))
            }
            _ => Err(CountryCodeError),
        }
    }

    /// The two letters, in upper case.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountryCode({})", self.as_str())
    }
}
