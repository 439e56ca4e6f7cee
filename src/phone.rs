//! Phone numbers and recipients, checked only by their shape.
//!
//! A [`Recipient`] is an [`Msisdn`] (a number in E.164 form) or a [`NationalNumber`] with its
//! [`CountryCode`].
//!
//! Numbering-plan data goes stale and then rejects new number ranges, so the crate uses none. The
//! platform decides whether a number can be reached.
//!
//! # Lenient parsing
//! `parse` accepts exactly what is sent. `parse_lenient` also accepts what people type:
//!
//! | in the text | result |
//! |---|---|
//! | whitespace at either end, line breaks included | trimmed |
//! | spaces, hyphens, dashes, dots, middle dots, slashes, parentheses | dropped |
//! | zero-width characters, direction marks, byte order marks, soft hyphens | dropped |
//! | full-width digits, plus signs and separators | read as their ASCII forms |
//! | `(0)`, because the zero may or may not belong to the number | refused |
//! | control characters such as tabs and line breaks: two cells are not one number | refused |
//! | any other character: letters, extensions, `tel:`, a `+` that is not the first character | refused |
//!
//! It never drops or invents a digit, and never guesses a `+` or a country. `00` does not count as
//! `+`.
//!
//! # Privacy
//! `Display` and [`Serialize`] write a number in full. `Debug` masks it. No error repeats a number,
//! a value or the name of an unknown member.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod msisdn;
mod national;
mod recipient;

pub use msisdn::{Msisdn, MsisdnError};
pub use national::{CountryCode, CountryCodeError, NationalNumber, NationalNumberError};
pub use recipient::{Recipient, RecipientError};

/// The maximum number of digits in E.164.
const MAX_DIGITS: usize = 15;

/// ASCII text in a fixed array, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// Copies `ascii`, which has at most `N` bytes.
    const fn new(ascii: &[u8]) -> Self {
        let mut text = [0; N];
        text.split_at_mut(ascii.len()).0.copy_from_slice(ascii);
        Self(text)
    }

    fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

/// The position of the first character from index `at` that is not a digit. All characters before
/// it are ASCII, so the byte index is the character index.
const fn non_digit(bytes: &[u8], mut at: usize) -> Option<usize> {
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            return Some(at + 1);
        }
        at += 1;
    }
    None
}

/// Lenient parsing: the digits of `text`, and a leading `+` if `plus` allows it.
fn digits<E>(
    text: &str,
    plus: bool,
    trunk_prefix: E,
    character: impl FnOnce(usize) -> E,
) -> Result<String, E> {
    let mut number = String::new();
    let mut previous = ['\0'; 2];
    for (position, letter) in visible(text) {
        if previous == ['(', '0'] && letter == ')' {
            return Err(trunk_prefix);
        }
        previous = [previous[1], letter];
        match letter {
            '0'..='9' => number.push(letter),
            '+' if plus && number.is_empty() => number.push(letter),
            _ if is_separator(letter) => {}
            _ => return Err(character(position)),
        }
    }
    Ok(number)
}

/// Whether the first character that is not a separator is `+`. True if there is no such character.
fn starts_with_plus(text: &str) -> bool {
    let first = visible(text).find(|(_, letter)| !is_separator(*letter));
    first.is_none_or(|(_, letter)| letter == '+')
}

/// The visible characters of the trimmed text, each with its position. Full-width characters become
/// ASCII. Tabs and line breaks are kept.
fn visible(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.trim_end_matches(is_blank)
        .chars()
        .enumerate()
        .skip_while(|(_, letter)| is_blank(*letter))
        .filter(|(_, letter)| {
            !is_blank(*letter) || letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
        })
        .map(|(index, letter)| match letter {
            // Digits, plus sign, parentheses, hyphen, full stop and slash.
            '\u{ff08}'..='\u{ff19}' => {
                let ascii = char::from_u32(u32::from(letter) - 0xfee0);
                (index + 1, ascii.unwrap_or(letter))
            }
            _ => (index + 1, letter),
        })
}

/// Whitespace and invisible characters.
#[rustfmt::skip]
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' // soft hyphen, direction mark, vowel separator
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// Visible separators. The Japanese prolonged sound mark is often typed instead of a hyphen.
#[rustfmt::skip]
fn is_separator(letter: char) -> bool {
    matches!(letter,
        '-' | '.' | '/' | '(' | ')'
        | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' // hyphens, dashes, minus
        | '\u{30fc}' | '\u{ff70}' // prolonged sound mark
        | '\u{b7}' | '\u{30fb}' | '\u{ff65}' // middle dots
    )
}

/// Replaces an error of serde, which may repeat the value. An error about a missing member is kept.
fn hide_value<E: Error>(error: &E, expected: &str) -> E {
    let error = error.to_string();
    E::custom(if error.starts_with("missing field `") { &error } else { expected })
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
                let text = String::deserialize(deserializer);
                let text = text.map_err(|error| hide_value(&error, "wrong type, expected a string"))?;
                Self::parse(&text).map_err(D::Error::custom)
            }
        }
    )+};
}

text_traits! {
    Msisdn, MsisdnError;
    NationalNumber, NationalNumberError;
    CountryCode, CountryCodeError;
}
