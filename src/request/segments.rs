//! An estimate of how an SMS is encoded and split.

use std::fmt;

use crate::types::{Encoding, SmsFallback};

/// An estimate of how the text of an SMS is encoded, and into how many segments it is split.
///
/// | encoding | unit | one segment holds | each of several holds |
/// |---|---|---|---|
/// | GSM-7 | septet | 160 | 153 |
/// | UCS-2 | UTF-16 code unit | 70 | 67 |
///
/// In GSM-7, form feed and each of `^ { } \ [ ~ ] | €` take two septets. In UCS-2, a character
/// above U+FFFF, such as an emoji, takes two units. A segment ends one unit early rather than
/// split either pair.
///
/// 8x8 does not document how the SMS of a notification is split. The sizes are those of its
/// [SMS API], which charges each segment as one SMS and truncates after 10 segments. That API counts
/// in "characters". This estimate counts units of 3GPP TS 23.038, with the default alphabet and its
/// extension table. It uses no national language tables, and replaces no character by a similar one.
///
/// ```
/// use lon_batch::request::{SmsEncoding, SmsSegments};
/// use lon_batch::types::Encoding;
///
/// let sms = SmsSegments::estimate("Your order costs 5 €", Encoding::Auto);
/// assert_eq!((sms.encoding, sms.units, sms.segments), (SmsEncoding::Gsm7, 21, 1));
/// ```
///
/// [SMS API]: https://developer.8x8.com/connect/reference/send-sms-api-reference
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmsSegments {
    /// The encoding.
    pub encoding: SmsEncoding,
    /// The length of the text: septets in GSM-7, UTF-16 code units in UCS-2.
    pub units: usize,
    /// The number of segments, 0 for an empty text.
    pub segments: usize,
}

/// The encoding of an SMS. `Display` writes `GSM-7` or `UCS-2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SmsEncoding {
    /// 7 bits a unit: the default alphabet of 3GPP TS 23.038 and its extension table.
    Gsm7,
    /// 16 bits a unit: any character.
    Ucs2,
}

/// The default alphabet, in the order of its table. The missing code, 0x1B, selects the extension.
const ALPHABET: &str = concat!(
    "@£$¥èéùìòÇ\nØø\rÅå",
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ",
    " !\"#¤%&'()*+,-./",
    "0123456789:;<=>?",
    "¡ABCDEFGHIJKLMNO",
    "PQRSTUVWXYZÄÖÑÜ§",
    "¿abcdefghijklmno",
    "pqrstuvwxyzäöñüà",
);
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

impl SmsSegments {
    /// Estimates the segments of a text for the encoding that the request asks for.
    ///
    /// `AUTO` means GSM-7 if it has every character of the text, otherwise UCS-2. With `GSM7`,
    /// a character outside GSM-7 counts as one septet, as if it were replaced by `?`. 8x8 does not
    /// document what happens to it.
    pub fn estimate(text: &str, encoding: Encoding) -> Self {
        let has = |letter| ALPHABET.contains(letter) || EXTENSION.contains(letter);
        let encoding = match encoding {
            Encoding::Gsm7 => SmsEncoding::Gsm7,
            Encoding::Auto if text.chars().all(has) => SmsEncoding::Gsm7,
            _ => SmsEncoding::Ucs2,
        };
        let (one, each) = match encoding {
            SmsEncoding::Gsm7 => (160, 153),
            SmsEncoding::Ucs2 => (70, 67),
        };
        let sizes = text.chars().map(|letter| match encoding {
            SmsEncoding::Gsm7 => 1 + usize::from(EXTENSION.contains(letter)),
            SmsEncoding::Ucs2 => letter.len_utf16(),
        });
        let units = sizes.clone().sum();
        if units <= one {
            return Self { encoding, units, segments: units.min(1) };
        }
        let (segments, _) = sizes.fold((1, 0), |(segments, used), size| {
            if used + size > each { (segments + 1, size) } else { (segments, used + size) }
        });
        Self { encoding, units, segments }
    }
}

impl SmsFallback {
    /// Estimates how the SMS is encoded and split. Without an encoding, `AUTO` is assumed, the
    /// default of 8x8's SMS API. The API refuses a text that is too long (code 3017), but publishes
    /// no limit.
    pub fn segments(&self) -> SmsSegments {
        let encoding = self.encoding.unwrap_or(Encoding::Auto);
        SmsSegments::estimate(self.text.as_deref().unwrap_or_default(), encoding)
    }
}

impl fmt::Display for SmsEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        })
    }
}
