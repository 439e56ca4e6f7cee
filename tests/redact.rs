//! Phone numbers in external text. `Debug` of a `Text` uses the crate's one masking rule.

use lon_batch::types::{ClientId, Text};

fn masked(text: &str) -> String {
    format!("{:?}", Text::from(text))
}

#[test]
fn seven_digits_are_masked_however_they_are_separated() {
    for (text, expected) in [
        ("", ""),
        ("code 1001", "code 1001"),
        ("123456", "123456"),
        ("1234567", "*****67"),
        ("+6591234567", "+********67"),
        ("call +65 9123 4567 now", "call +** **** **67 now"),
        ("(02) 1234-5678.", "(**) ****-**78."),
        ("+65/9123/4567", "+**/****/**67"),
        ("+65–9123‑4567", "+**–****‑**67"),
        ("65·9123…4567", "**·****…**67"),
        ("65_9123,4567:", "**_****,**67:"),
        ("6:5;9|1*2#3=4", "*:*;*|***#3=4"),
        ("6 - 5 - 9 - 1 - 2 - 3 - 4", "* - * - * - * - * - 3 - 4"),
        ("６５９１２３４５６７", "********６７"),
        ("٦٥٩١٢٣٤٥٦٧", "********٦٧"),
    ] {
        assert_eq!(masked(text), format!("{expected:?}"), "{text}");
    }
    // `Debug` escapes what shows nothing.
    assert_eq!(
        masked("65\u{200b}\u{202f}\u{a0}9123 4567"),
        r#""**\u{200b}\u{202f}\u{a0}**** **67""#
    );
}

#[test]
fn letters_and_long_gaps_end_a_number() {
    for text in ["123abc4567", "123 ... 4567", "12 and 34 and 567 and 89", "1a2b3c4d5e6f7"] {
        assert_eq!(masked(text), format!("{text:?}"));
    }
    assert_eq!(masked("659 ... 1234567"), r#""659 ... *****67""#);
}

#[test]
fn uuids_of_any_version_are_no_numbers() {
    let uuid = "12345678-1234-1111-8150-020897594591";
    assert_eq!(masked(&format!("umid {uuid}.")), format!("\"umid {uuid}.\""));
    // A UUID is a whole word.
    let longer = format!("1{uuid}");
    assert_ne!(masked(&longer), format!("{longer:?}"));
}

#[test]
fn ids_of_the_caller_are_shown_whole() {
    let id = "20261124-0001234567";
    assert_eq!(format!("{:?} {}", ClientId::from(id), ClientId::from(id)), format!("{id:?} {id}"));
}
