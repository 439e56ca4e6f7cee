//! Keeps phone numbers and the API key out of printed text.
//!
//! External text is text from the platform, a gateway or a library. This crate's own numbers, times
//! and addresses need no masking, and the phone number types mask themselves in `Debug`.

use std::fmt;
use std::ops::Range;

/// The minimum number of digits in a phone number.
const PHONE_DIGITS: usize = 7;
/// The maximum number of separators between two digits of one number.
const GAP: usize = 3;
/// The number of digits that stay readable at the end of a number.
const SHOWN: usize = 2;

/// External text with every phone number masked, in `Display` and in `Debug`.
pub(crate) struct Masked<'a>(pub &'a str);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(self.0, &[]))
    }
}

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", mask(self.0, &[]))
    }
}

/// Replaces each digit of a phone number by `*`, except the last two.
///
/// A phone number is seven or more digits of any script, with up to three characters other than
/// letters between two digits. UUIDs and the caller's ids are not phone numbers.
pub(crate) fn mask(text: &str, ids: &[&str]) -> String {
    if text.chars().filter(|it| it.is_numeric()).count() < PHONE_DIGITS {
        return text.to_owned();
    }
    let apart = set_apart(text, ids);
    let mut masked = Vec::new();
    let mut run: Vec<usize> = Vec::new();
    let mut gap = 0;
    let mut close = |run: &mut Vec<usize>| {
        if run.len() >= PHONE_DIGITS {
            masked.extend_from_slice(&run[..run.len() - SHOWN]);
        }
        run.clear();
    };
    for (at, letter) in text.char_indices() {
        if letter.is_numeric() && !apart.iter().any(|range| range.contains(&at)) {
            run.push(at);
            gap = 0;
        } else {
            gap += 1;
            if gap > GAP || letter.is_alphanumeric() {
                close(&mut run);
            }
        }
    }
    close(&mut run);
    let mut masked = masked.into_iter().peekable();
    let letters = text.char_indices().map(|(at, letter)| match masked.peek() {
        Some(next) if *next == at => {
            masked.next();
            '*'
        }
        _ => letter,
    });
    letters.collect()
}

/// Length of printed text, plus a margin. The margin is masked before truncation so that truncation
/// cannot split a number.
const KEPT: usize = 300;
const MARGIN: usize = 60;

/// The start of external text in one line, with phone numbers masked.
pub(crate) fn printable(text: &str, ids: &[&str]) -> String {
    let mut line = String::new();
    for word in text.split(|it: char| it.is_whitespace() || it.is_control()) {
        if !line.is_empty() && !word.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().take(KEPT + MARGIN));
        if line.len() > 4 * (KEPT + MARGIN) {
            break;
        }
    }
    let masked = mask(&line, ids);
    match masked.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{}...", &masked[..end]),
        None => masked,
    }
}

/// The ranges of UUIDs, and of the caller's ids that look like phone numbers, as whole words.
fn set_apart(text: &str, ids: &[&str]) -> Vec<Range<usize>> {
    let is_word = |range: &Range<usize>| {
        let before = text[..range.start].chars().next_back();
        let after = text[range.end..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    };
    let looks_like_a_number = |id: &&&str| mask(id, &[]) != **id;
    let ids = ids.iter().filter(looks_like_a_number);
    let ids = ids.flat_map(|id| text.match_indices(id).map(|(at, id)| at..at + id.len()));
    let uuids = text.char_indices().map(|(at, _)| at..at + UUID_LENGTH);
    let uuids = uuids.filter(|range| text.get(range.clone()).is_some_and(is_uuid));
    ids.chain(uuids).filter(is_word).collect()
}

const UUID_LENGTH: usize = 36;

/// Whether a text has the shape of a UUID of any version.
fn is_uuid(text: &str) -> bool {
    text.len() == UUID_LENGTH
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

const REDACTED: &[u8] = b"[redacted]";

/// The minimum length of a secret. A shorter one could match ordinary text.
pub(crate) const MIN_SECRET_LEN: usize = 8;
/// Shortest secret prefix that is redacted at the end of a truncated body.
const MIN_SECRET_PREFIX: usize = 4;

/// Redacts a secret in a body, plain or with the escapes of JSON, HTML and URLs. `None` if the body
/// does not contain it.
pub(crate) fn without_secret(body: &[u8], secret: &str) -> Option<Vec<u8>> {
    let secret = secret.as_bytes();
    let first = secret.first().filter(|_| may_have(body, secret))?;
    let mut clean = Vec::new();
    let (mut at, mut kept) = (0, 0);
    while at < body.len() {
        let candidate = body[at] == *first || matches!(body[at], b'\\' | b'&' | b'%');
        match candidate.then(|| secret_at(&body[at..], secret)).flatten() {
            Some(length) => {
                clean.extend_from_slice(&body[kept..at]);
                clean.extend_from_slice(REDACTED);
                at += length;
                kept = at;
            }
            None => at += 1,
        }
    }
    if kept == 0 {
        return None;
    }
    clean.extend_from_slice(&body[kept..]);
    Some(clean)
}

/// Whether a body contains the secret, ends with a prefix of it, or has any escape. Most do not.
fn may_have(body: &[u8], secret: &[u8]) -> bool {
    let ends_with_prefix =
        || (MIN_SECRET_PREFIX..secret.len()).any(|length| body.ends_with(&secret[..length]));
    memchr::memchr3(b'\\', b'&', b'%', body).is_some()
        || memchr::memmem::find(body, secret).is_some()
        || ends_with_prefix()
}

/// The length of the secret at the start of a text, or of its prefix if the text ends there.
fn secret_at(text: &[u8], secret: &[u8]) -> Option<usize> {
    if text.starts_with(secret) {
        return Some(secret.len());
    }
    let mut rest = text;
    for (matched, expected) in secret.iter().enumerate() {
        match character(rest) {
            Some((found, length)) if found == *expected => rest = &rest[length..],
            None if matched >= MIN_SECRET_PREFIX => return Some(text.len()),
            _ => return None,
        }
    }
    Some(text.len() - rest.len())
}

/// The first ASCII character of a text, unescaped, and its length in the text. `None` at the end of
/// the text, also within an escape.
fn character(text: &[u8]) -> Option<(u8, usize)> {
    let hex = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let plain = text.first().map(|byte| (*byte, 1));
    let escaped = match text {
        [b'\\', b'u', rest @ ..] => {
            let digits = rest.get(..4)?;
            hex(digits).map(|byte| (byte, 6))
        }
        [b'\\', byte, ..] => Some((*byte, 2)),
        [b'\\'] => return None,
        [b'%', rest @ ..] => match rest.get(..2) {
            Some(digits) => hex(digits).map(|byte| (byte, 3)),
            None => return None,
        },
        [b'&', rest @ ..] => {
            let entity = rest.iter().take(8).position(|byte| *byte == b';');
            entity.and_then(|end| entity_of(&rest[..end]).map(|byte| (byte, end + 2)))
        }
        _ => None,
    };
    escaped.or(plain)
}

/// The ASCII character of an HTML entity, without `&` and `;`.
fn entity_of(name: &[u8]) -> Option<u8> {
    match name {
        b"amp" => Some(b'&'),
        b"lt" => Some(b'<'),
        b"gt" => Some(b'>'),
        b"quot" => Some(b'"'),
        b"apos" => Some(b'\''),
        [b'#', b'x' | b'X', digits @ ..] => {
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        }
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}
