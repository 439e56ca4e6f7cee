//! Keeps phone numbers out of what is printed.

use std::fmt;

/// Runs of this many digits are taken for a phone number.
const RUN: usize = 7;
/// Digits that stay readable at the end of a run.
const SHOWN: usize = 2;

/// A text with the digits of every phone number in it replaced by `*`, all but the last two.
///
/// A phone number is a run of at least seven digits of any script; up to two spaces, hyphens,
/// dots or parentheses between digits do not end a run. Ids and dates can be masked too, where they look like one.
pub(crate) struct Masked<'a>(pub &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(start) = rest.find(is_digit) {
            let (before, from) = rest.split_at(start);
            f.write_str(before)?;
            let (run, digits) = run_of_digits(from);
            let hidden = if digits >= RUN { digits - SHOWN } else { 0 };
            let mut seen = 0;
            for letter in run.chars() {
                seen += usize::from(is_digit(letter));
                let mask = is_digit(letter) && seen <= hidden;
                fmt::Write::write_char(f, if mask { '*' } else { letter })?;
            }
            rest = &from[run.len()..];
        }
        f.write_str(rest)
    }
}

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

fn is_digit(letter: char) -> bool {
    letter.is_numeric()
}

/// The run that a text starts with, up to its last digit, and how many digits it has.
fn run_of_digits(text: &str) -> (&str, usize) {
    let (mut digits, mut end, mut gap) = (0, 0, 0);
    for (at, letter) in text.char_indices() {
        if is_digit(letter) {
            digits += 1;
            end = at + letter.len_utf8();
            gap = 0;
        } else if matches!(letter, ' ' | '-' | '.' | '(' | ')' | '\u{a0}') && gap < 2 {
            gap += 1;
        } else {
            break;
        }
    }
    (&text[..end], digits)
}

#[cfg(test)]
mod tests {
    use super::Masked;

    #[test]
    fn numbers_are_masked_and_other_text_is_not() {
        for (text, masked) in [
            ("", ""),
            ("code 1001", "code 1001"),
            ("+6591234567", "+********67"),
            ("call +65 9123 4567 now", "call +** **** **67 now"),
            ("(02) 1234-5678.", "(**) ****-**78."),
            ("６５９１２３４５６７", "********６７"),
            ("٦٥٩١٢٣٤٥٦٧", "********٦٧"),
            ("123456", "123456"),
            ("1234567", "*****67"),
        ] {
            assert_eq!(Masked(text).to_string(), masked);
        }
    }
}
