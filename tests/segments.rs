//! The estimate of the encoding and the segments of an SMS.

use lon_batch::SmsFallback;
use lon_batch::request::{SmsEncoding, SmsSegments};
use lon_batch::types::Encoding;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Units and segments, where `AUTO` and the encoding itself agree.
fn gsm7(text: &str) -> (usize, usize) {
    let auto = SmsSegments::estimate(text, Encoding::Auto);
    assert_eq!(auto, SmsSegments::estimate(text, Encoding::Gsm7));
    assert_eq!(auto.encoding, SmsEncoding::Gsm7);
    (auto.units, auto.segments)
}

fn ucs2(text: &str) -> (usize, usize) {
    let auto = SmsSegments::estimate(text, Encoding::Auto);
    assert_eq!(auto, SmsSegments::estimate(text, Encoding::Ucs2));
    assert_eq!(auto.encoding, SmsEncoding::Ucs2);
    (auto.units, auto.segments)
}

#[test]
fn gsm7_holds_160_septets_in_one_segment_and_153_in_each_of_several() {
    let a = |count: usize| gsm7(&"a".repeat(count));
    assert_eq!(a(1), (1, 1));
    assert_eq!(a(160), (160, 1));
    assert_eq!(a(161), (161, 2));
    assert_eq!(a(2 * 153), (306, 2));
    assert_eq!(a(2 * 153 + 1), (307, 3));
    assert_eq!(a(10 * 153), (1530, 10));
    assert_eq!(a(10 * 153 + 1), (1531, 11));
}

#[test]
fn ucs2_holds_70_units_in_one_segment_and_67_in_each_of_several() {
    let thai = |count: usize| ucs2(&"ก".repeat(count));
    assert_eq!(thai(1), (1, 1));
    assert_eq!(thai(70), (70, 1));
    assert_eq!(thai(71), (71, 2));
    assert_eq!(thai(2 * 67), (134, 2));
    assert_eq!(thai(2 * 67 + 1), (135, 3));
}

#[test]
fn extension_character_takes_two_septets_and_is_not_split() {
    let euro = |before: usize, after: usize| gsm7(&("a".repeat(before) + "€" + &"a".repeat(after)));
    assert_eq!(euro(0, 0), (2, 1));
    assert_eq!(euro(158, 0), (160, 1));
    assert_eq!(euro(159, 0), (161, 2));
    // The pair ends the first segment.
    assert_eq!(euro(151, 153), (306, 2));
    // The pair moves to the second segment, and the first has one septet left.
    assert_eq!(euro(152, 151), (305, 2));
    assert_eq!(euro(152, 152), (306, 3));
    // 76 pairs a segment: 152 of 153 septets.
    assert_eq!(gsm7(&"€".repeat(80)), (160, 1));
    assert_eq!(gsm7(&"€".repeat(152)), (304, 2));
    assert_eq!(gsm7(&"€".repeat(153)), (306, 3));
}

#[test]
fn surrogate_pair_is_not_split() {
    let emoji =
        |before: usize, after: usize| ucs2(&("ก".repeat(before) + "😀" + &"ก".repeat(after)));
    assert_eq!(emoji(0, 0), (2, 1));
    assert_eq!(emoji(68, 0), (70, 1));
    assert_eq!(emoji(69, 0), (71, 2));
    // The pair ends the first segment.
    assert_eq!(emoji(65, 67), (134, 2));
    // The pair moves to the second segment, and the first has one unit left.
    assert_eq!(emoji(66, 65), (133, 2));
    assert_eq!(emoji(66, 66), (134, 3));
    // 33 pairs a segment: 66 of 67 units.
    assert_eq!(ucs2(&"😀".repeat(35)), (70, 1));
    assert_eq!(ucs2(&"😀".repeat(66)), (132, 2));
    assert_eq!(ucs2(&"😀".repeat(67)), (134, 3));
}

#[test]
fn forced_encoding_is_kept() {
    let of = |text: &str, encoding| {
        let sms = SmsSegments::estimate(text, encoding);
        (sms.encoding, sms.units, sms.segments)
    };
    assert_eq!(of(&"a".repeat(71), Encoding::Ucs2), (SmsEncoding::Ucs2, 71, 2));
    assert_eq!(of(&"€".repeat(70), Encoding::Ucs2), (SmsEncoding::Ucs2, 70, 1));
    // As if each character outside GSM-7 were replaced by one in it.
    assert_eq!(of(&"ก".repeat(160), Encoding::Gsm7), (SmsEncoding::Gsm7, 160, 1));
    assert_eq!(of(&"😀".repeat(161), Encoding::Gsm7), (SmsEncoding::Gsm7, 161, 2));
    assert_eq!(of("ก€", Encoding::Gsm7), (SmsEncoding::Gsm7, 3, 1));
}

#[test]
fn empty_text_has_no_segments() {
    assert_eq!(gsm7(""), (0, 0));
    let ucs2 = SmsSegments::estimate("", Encoding::Ucs2);
    assert_eq!((ucs2.encoding, ucs2.units, ucs2.segments), (SmsEncoding::Ucs2, 0, 0));
    assert_eq!(SmsFallback::default().segments().segments, 0);
}

#[test]
fn fallback_uses_its_own_encoding_and_auto_without_one() {
    for text in ["a".repeat(71), "ก".repeat(71)] {
        let mut sms = SmsFallback::new(text.as_str());
        assert_eq!(sms.segments(), SmsSegments::estimate(&text, Encoding::Auto));
        for encoding in [Encoding::Auto, Encoding::Gsm7, Encoding::Ucs2] {
            sms.encoding = Some(encoding);
            assert_eq!(sms.segments(), SmsSegments::estimate(&text, encoding));
        }
    }
}

#[test]
fn encodings_are_printed_by_their_usual_names() {
    assert_eq!(format!("{:>6}|{}", SmsEncoding::Gsm7, SmsEncoding::Ucs2), " GSM-7|UCS-2");
}

/// The tables of 3GPP TS 23.038, 6.2.1 and 6.2.1.1, as code points from code 0x00 to 0x7F, and the
/// extension by code. Taken from Perl's `Encode::GSM0338` 2.10, which cites version 16.0.0.
#[rustfmt::skip]
const DEFAULT: [u32; 128] = [
    0x40, 0xa3, 0x24, 0xa5, 0xe8, 0xe9, 0xf9, 0xec, 0xf2, 0xc7, 0x0a, 0xd8, 0xf8, 0x0d, 0xc5, 0xe5,
    0x394, 0x5f, 0x3a6, 0x393, 0x39b, 0x3a9, 0x3a0, 0x3a8, 0x3a3, 0x398, 0x39e, ESCAPE, 0xc6, 0xe6, 0xdf, 0xc9,
    0x20, 0x21, 0x22, 0x23, 0xa4, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f,
    0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f,
    0xa1, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f,
    0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0xc4, 0xd6, 0xd1, 0xdc, 0xa7,
    0xbf, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f,
    0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0xe4, 0xf6, 0xf1, 0xfc, 0xe0,
];
const EXTENSION: [u32; 10] = [0x0c, 0x5e, 0x7b, 0x7d, 0x5c, 0x5b, 0x7e, 0x5d, 0x7c, 0x20ac];
/// The code that leads to the extension is not a character.
const ESCAPE: u32 = u32::MAX;

#[test]
fn gsm7_has_the_characters_of_its_tables_and_no_others() {
    for letter in '\0'..='\u{ffff}' {
        let code = u32::from(letter);
        let expected = match (DEFAULT.contains(&code), EXTENSION.contains(&code)) {
            (true, false) => (SmsEncoding::Gsm7, 1),
            (false, true) => (SmsEncoding::Gsm7, 2),
            _ => (SmsEncoding::Ucs2, 1),
        };
        let sms = SmsSegments::estimate(letter.encode_utf8(&mut [0; 4]), Encoding::Auto);
        assert_eq!((sms.encoding, sms.units), expected, "U+{code:04X}");
    }
}

proptest! {
    #[test]
    fn segments_fit_their_units(
        letters in vec(select(vec!['a', 'a', 'é', '€', '[', 'ก', '😀']), 0..500),
        encoding in select(vec![Encoding::Auto, Encoding::Gsm7, Encoding::Ucs2]),
    ) {
        let text: String = letters.iter().collect();
        let sms = SmsSegments::estimate(&text, encoding);
        let (one, each) = if sms.encoding == SmsEncoding::Gsm7 { (160, 153) } else { (70, 67) };
        prop_assert_eq!(sms.segments == 0, text.is_empty());
        prop_assert_eq!(sms.segments <= 1, sms.units <= one);
        if sms.segments > 1 {
            prop_assert!(sms.segments * each >= sms.units);
            // Each segment but the last ends at most one unit early.
            prop_assert!((sms.segments - 1) * (each - 1) < sms.units);
        }
        // A further character adds its own units and at most one segment.
        if encoding != Encoding::Auto {
            let longer = SmsSegments::estimate(&(text + "a"), encoding);
            prop_assert_eq!(longer.units, sms.units + 1);
            prop_assert!((sms.segments..=sms.segments + 1).contains(&longer.segments));
        }
    }
}
