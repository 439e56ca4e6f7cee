//! Phone numbers, countries and recipients.

use std::collections::HashSet;
use std::fmt::{Debug, Display};

use lon_batch::phone::{CountryCodeError, MsisdnError, NationalNumberError, RecipientError};
use lon_batch::{CountryCode, Msisdn, NationalNumber, Recipient};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::value::{I128Deserializer, U128Deserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_json::json;

/// Visible separators.
const SEPARATORS: &str = " \u{a0}\u{2007}\u{2009}\u{202f}\u{3000}-\u{2010}\u{2011}\u{2012}\u{2013}\
    \u{2014}\u{2015}\u{2212}\u{fe58}\u{fe63}\u{ff0d}\u{30fc}\u{ff70}.\u{ff0e}/\u{ff0f}()\u{ff08}\
    \u{ff09}\u{b7}\u{30fb}\u{ff65}";

/// Invisible characters.
const INVISIBLE: &str = "\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{202a}\
    \u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}";

/// Control characters and line breaks.
const CONTROLS: &str =
    "\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1b}\u{1c}\u{1f}\u{7f}\u{85}\u{9f}\u{2028}\u{2029}";

fn msisdn(text: &str) -> Msisdn {
    Msisdn::parse(text).unwrap()
}

fn number(text: &str) -> NationalNumber {
    NationalNumber::parse(text).unwrap()
}

mod msisdn_strict {
    use super::*;
    use MsisdnError::{Character, Empty, LeadingZero, NoPlus, TooLong, TooShort};

    #[test]
    fn seven_to_fifteen_digits_are_accepted() {
        for text in ["+1234567", "+6500000000", "+123456789012345"] {
            let msisdn: Msisdn = text.parse().unwrap();
            assert_eq!(msisdn.to_string(), text);
            assert_eq!(msisdn.as_str(), text);
            assert_eq!(msisdn.as_ref(), text);
        }
    }

    #[test]
    fn malformed_e164_is_refused_by_every_parser() {
        for (text, error) in [
            ("", Empty),
            ("6591234567", NoPlus),
            ("0812345678", NoPlus),
            ("006591234567", LeadingZero),
            ("+0591234567", LeadingZero),
            ("+0", LeadingZero),
            ("+", TooShort { digits: 0 }),
            ("+123456", TooShort { digits: 6 }),
            ("+1234567890123456", TooLong { digits: 16 }),
            ("+65 91234567", Character { position: 4 }),
            ("+6591234567 ", Character { position: 12 }),
            ("+6591234567\n", Character { position: 12 }),
            (" +6591234567", NoPlus),
            ("+６５91234567", Character { position: 2 }),
            ("＋6591234567", NoPlus),
            ("+65٩1234567", Character { position: 4 }),
            ("++6591234567", Character { position: 2 }),
            ("+6591234567\0", Character { position: 12 }),
        ] {
            assert_eq!(Msisdn::parse(text), Err(error), "{text:?}");
            assert_eq!(Msisdn::try_from(text), Err(error), "{text:?}");
            assert_eq!(text.parse::<Msisdn>(), Err(error), "{text:?}");
            let json = serde_json::to_string(text).unwrap();
            let refused = serde_json::from_str::<Msisdn>(&json).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.starts_with(&error.to_string()), "{refused}");
        }
    }

    #[test]
    fn constants_are_parsed_at_compile_time() {
        const HOTLINE: Result<Msisdn, MsisdnError> = Msisdn::parse("+6591234567");
        const WRONG: Result<Msisdn, MsisdnError> = Msisdn::parse("+65x");
        assert_eq!(HOTLINE, Ok(msisdn("+6591234567")));
        assert_eq!(WRONG, Err(Character { position: 4 }));
    }

    #[test]
    fn errors_say_which_rule_is_broken() {
        for (text, error) in [
            ("", "empty"),
            ("6591234567", "does not start with `+`"),
            ("006591234567", "starts with 0, but no country code does"),
            ("+123456", "6 digits, at least 7"),
            ("+1234567890123456", "16 digits, at most 15"),
            ("+65 1", "the character at position 4 is not a digit"),
        ] {
            assert_eq!(Msisdn::parse(text).unwrap_err().to_string(), error);
        }
        let error = Msisdn::parse_lenient("+44 (0)20 7946 0958").unwrap_err();
        assert_eq!(
            error.to_string(),
            "contains `(0)`, which is not dialled from abroad; leave it out"
        );
    }

    #[test]
    fn display_honours_width_and_order_is_that_of_the_text() {
        assert_eq!(format!("{:>12}|", msisdn("+6591234567")), " +6591234567|");
        assert_eq!(format!("{:<6}|", number("0912")), "0912  |");
        assert!(msisdn("+1234567") < msisdn("+12345670"));
        assert!(msisdn("+12345670") < msisdn("+2345678"));
    }

    #[test]
    fn a_trunk_prefix_after_some_country_codes_is_reported_but_accepted() {
        for (text, hint) in [
            ("+8109012345678", true),
            ("+660812345678", true),
            ("+8860912345678", true),
            ("+620812345678", true),
            ("+4402079460958", true),
            ("+819012345678", false),
            ("+66812345678", false),
            ("+886912345678", false),
            ("+62812345678", false),
            ("+6591234567", false),
            ("+3906698123", false),
            ("+441081012345", false),
        ] {
            assert_eq!(msisdn(text).has_trunk_prefix(), hint, "{text}");
        }
    }
}

mod msisdn_lenient {
    use super::*;
    use MsisdnError::{Character, Empty, LeadingZero, NoPlus, TooLong, TooShort, TrunkPrefix};

    fn assert_read(text: &str) {
        let read = Msisdn::parse_lenient(text).map(|msisdn| msisdn.to_string());
        assert_eq!(read.as_deref(), Ok("+6591234567"), "{text:?}");
    }

    fn assert_refused(text: &str, error: MsisdnError) {
        assert_eq!(Msisdn::parse_lenient(text), Err(error), "{text:?}");
    }

    #[test]
    fn what_people_type_is_accepted() {
        for text in [
            "+6591234567",
            "  +65 9123 4567\n",
            "+65-9123-4567",
            "+65.9123.4567",
            "+65/91234567",
            "+(65) 9123‑4567",
            "+65 (9123) 4567",
            "(+65) 9123 4567",
            "\u{202a}+65\u{a0}9123\u{2009}4567\u{202c}",
            "\u{feff}+65\u{200b}91234567",
            "+65–9123—4567",
            "+65·9123・4567",
        ] {
            assert_read(text);
        }
    }

    #[test]
    fn full_width_characters_are_mapped() {
        assert_read("＋６５　９１２３－４５６７");
        assert_read("＋（６５）９１２３／４５６７");
        let read = Msisdn::parse_lenient("＋１０２３４５６７８９").unwrap();
        assert_eq!(read.as_str(), "+1023456789");
    }

    #[test]
    fn separators_and_invisible_characters_are_dropped_wherever_they_stand() {
        for letter in SEPARATORS.chars().chain(INVISIBLE.chars()) {
            assert_read(&format!("+65{letter}9123{letter}{letter}4567"));
            assert_read(&format!("{letter}+{letter}6591234567{letter}"));
        }
    }

    #[test]
    fn surrounding_whitespace_is_trimmed_line_breaks_included() {
        for space in ["\t", "\n", "\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}"] {
            assert_read(&format!("{space}+6591234567{space}"));
            assert_read(&format!("\u{feff}{space} +6591234567 {space}\u{200b}"));
        }
    }

    #[test]
    fn control_characters_and_line_breaks_between_digits_are_refused() {
        for letter in CONTROLS.chars() {
            assert_refused(&format!("+659123{letter}4567"), Character { position: 8 });
            assert_refused(&format!("+{letter}6591234567"), Character { position: 2 });
            assert_refused(&format!(" +65 {letter} 91234567"), Character { position: 6 });
        }
        // Two cells.
        assert_refused("+6591234\t567890", Character { position: 9 });
        assert_refused("+6591234\r\n567890", Character { position: 9 });
        // Control characters that are not whitespace are not trimmed either.
        assert_refused("+6591234567\0", Character { position: 12 });
        assert_refused("\u{1b}+6591234567", Character { position: 1 });
    }

    #[test]
    fn no_digit_is_dropped_or_invented() {
        for (text, error) in [
            ("", Empty),
            (" - ", Empty),
            ("\n", Empty),
            ("+", TooShort { digits: 0 }),
            ("91234567", NoPlus),
            ("65 9123 4567", NoPlus),
            ("0065 9123 4567", LeadingZero),
            ("００６５ ９１２３ ４５６７", LeadingZero),
            ("+0 65 9123 4567", LeadingZero),
            ("+65 9123 4567 +65", Character { position: 15 }),
            ("tel:+6591234567", Character { position: 1 }),
            ("+65 9123 4567 ext. 8", Character { position: 15 }),
            ("+65 9123 4567x8", Character { position: 14 }),
            ("+65 9123 4567#8", Character { position: 14 }),
            ("+65 9123 4567;8", Character { position: 14 }),
            ("+1-800-FLOWERS", Character { position: 8 }),
            ("+65+91234567", Character { position: 4 }),
            ("65+91234567", Character { position: 3 }),
            ("++6591234567", Character { position: 2 }),
            ("+＋6591234567", Character { position: 2 }),
            ("+65 91234567, +65 81234567", Character { position: 13 }),
            ("+65 9123 4567 8123 4567", TooLong { digits: 18 }),
            ("+65٩1234567", Character { position: 4 }),
            ("+65９1234５6Ａ", Character { position: 11 }),
            ("+65²1234567", Character { position: 4 }),
            ("+65 [9123] 4567", Character { position: 5 }),
            ("+65＊91234567", Character { position: 4 }),
            ("+65，91234567", Character { position: 4 }),
        ] {
            assert_refused(text, error);
        }
    }

    #[test]
    fn a_trunk_prefix_in_parentheses_is_refused() {
        for text in [
            "+44 (0)20 7946 0958",
            "+44 ( 0 )20 7946 0958",
            "+44（０）20 7946 0958",
            "+44 (\u{200b}0) 20 7946 0958",
            "+44 ((0)) 20 7946 0958",
        ] {
            assert_refused(text, TrunkPrefix);
        }
        // A zero that stands with other digits is part of the number.
        for text in ["+44 (020) 7946 0958", "+44 (0 20) 7946 0958", "+44 0 20 7946 0958"] {
            let read = Msisdn::parse_lenient(text).unwrap();
            assert_eq!(read.as_str(), "+4402079460958");
            assert!(read.has_trunk_prefix());
        }
    }

    #[test]
    fn positions_count_characters_of_the_whole_text() {
        assert_refused("  ＋６５ ９１２３ ４５６７ｘ", Character { position: 16 });
        assert_refused("\u{feff}\n +65 9123 45x", Character { position: 15 });
    }
}

mod national {
    use super::*;
    use NationalNumberError::{Character, Empty, Length, TrunkPrefix};

    #[test]
    fn four_to_fifteen_digits_are_accepted() {
        for text in ["1234", "0912345678", "0000", "123456789012345"] {
            let number: NationalNumber = text.parse().unwrap();
            assert_eq!(number.to_string(), text);
            assert_eq!(number.as_str(), text);
        }
    }

    #[test]
    fn malformed_national_number_is_refused_by_every_parser() {
        for (text, error) in [
            ("", Empty),
            ("123", Length { digits: 3 }),
            ("1234567890123456", Length { digits: 16 }),
            ("0912 345", Character { position: 5 }),
            ("０９１２", Character { position: 1 }),
            ("+6591234567", Character { position: 1 }),
            ("091234é", Character { position: 7 }),
        ] {
            assert_eq!(NationalNumber::parse(text), Err(error), "{text:?}");
            assert_eq!(NationalNumber::try_from(text), Err(error), "{text:?}");
            let json = serde_json::to_string(text).unwrap();
            let refused = serde_json::from_str::<NationalNumber>(&json).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.starts_with(&error.to_string()), "{refused}");
        }
    }

    #[test]
    fn lenient_parsing_keeps_every_digit_and_leading_zeros() {
        for (text, read) in [
            ("081-234-5678", "0812345678"),
            ("(02) 9876 5432", "0298765432"),
            (" ０９０－１２３４－５６７８\r\n", "09012345678"),
            ("090ー1234ー5678", "09012345678"),
            ("00 12 34", "001234"),
            ("\u{feff}9123\u{200b}4567", "91234567"),
            ("(0 2) 123 4567", "021234567"),
        ] {
            let parsed = NationalNumber::parse_lenient(text).map(|number| number.to_string());
            assert_eq!(parsed.as_deref(), Ok(read), "{text:?}");
        }
        for letter in SEPARATORS.chars().chain(INVISIBLE.chars()) {
            let text = format!("{letter}9123{letter}4567{letter}");
            assert_eq!(NationalNumber::parse_lenient(&text), Ok(number("91234567")), "{text:?}");
        }
    }

    #[test]
    fn lenient_parsing_refuses_what_is_not_one_number() {
        for (text, error) in [
            ("", Empty),
            (" -\n", Empty),
            ("1-2-3", Length { digits: 3 }),
            ("9123 4567 8123 4567", Length { digits: 16 }),
            ("(0)81 234 5678", TrunkPrefix),
            ("（０）81 234 5678", TrunkPrefix),
            ("+66812345678", Character { position: 1 }),
            ("  ＋66812345678", Character { position: 3 }),
            ("081+2345678", Character { position: 4 }),
            ("tel:0812345678", Character { position: 1 }),
            ("081 234 5678 ext 9", Character { position: 14 }),
            ("081\t2345678", Character { position: 4 }),
            ("0812345678\n0812345679", Character { position: 11 }),
        ] {
            assert_eq!(NationalNumber::parse_lenient(text), Err(error), "{text:?}");
        }
        for letter in CONTROLS.chars() {
            let text = format!("9123{letter}4567");
            let error = Err(Character { position: 5 });
            assert_eq!(NationalNumber::parse_lenient(&text), error, "{text:?}");
        }
    }

    #[test]
    fn errors_say_which_rule_is_broken() {
        for (text, error) in [
            ("", "empty"),
            ("123", "3 digits, at least 4 and at most 15"),
            ("(0)81 234 5678", "contains `(0)`; write the number as dialled within the country"),
            ("0912x", "the character at position 5 is not a digit"),
        ] {
            assert_eq!(NationalNumber::parse_lenient(text).unwrap_err().to_string(), error);
        }
    }
}

mod country {
    use super::*;

    #[test]
    fn two_ascii_letters_become_upper_case() {
        const SINGAPORE: Result<CountryCode, CountryCodeError> = CountryCode::parse("sg");
        for text in ["sg", "SG", "Sg", "uk", "GB", "zz"] {
            let country = CountryCode::parse(text).unwrap();
            assert_eq!(country.to_string(), text.to_ascii_uppercase());
            let json = serde_json::to_string(&country).unwrap();
            assert_eq!(json, format!("{:?}", text.to_ascii_uppercase()));
            assert_eq!(serde_json::from_value::<CountryCode>(json!(text)).unwrap(), country);
        }
        assert_eq!(SINGAPORE.unwrap().as_str(), "SG");
    }

    #[test]
    fn country_other_than_two_ascii_letters_is_refused() {
        for text in ["", "S", "SGP", "S1", "日本", "é", "s ", " sg", "ＳＧ"] {
            let error = CountryCode::parse(text).unwrap_err();
            assert_eq!(error.to_string(), "a country is two ASCII letters, such as SG", "{text:?}");
            assert_eq!(text.parse::<CountryCode>(), Err(CountryCodeError));
            assert_eq!(CountryCode::try_from(text), Err(CountryCodeError));
        }
    }
}

mod recipient {
    use super::*;
    use RecipientError::{Country, National, NoCountry};

    fn national() -> Recipient {
        Recipient::national("91234567", "sg").unwrap()
    }

    fn e164() -> Recipient {
        msisdn("+6591234567").into()
    }

    #[test]
    fn json_has_a_country_for_a_national_number_only() {
        for (json, recipient) in [
            (r#"{"msisdn":"+6591234567"}"#, e164()),
            (r#"{"msisdn":"91234567","country":"SG"}"#, national()),
        ] {
            assert_eq!(serde_json::to_string(&recipient).unwrap(), json);
            assert_eq!(serde_json::from_str::<Recipient>(json).unwrap(), recipient);
            assert_eq!(serde_json::from_slice::<Recipient>(json.as_bytes()).unwrap(), recipient);
            let value = serde_json::to_value(recipient).unwrap();
            assert_eq!(serde_json::from_value::<Recipient>(value).unwrap(), recipient);
        }
    }

    #[test]
    fn members_have_any_order_and_the_country_may_be_null() {
        for (json, recipient) in [
            (r#"{"country":"sg","msisdn":"91234567"}"#, national()),
            (r#"{"msisdn":"+6591234567","country":null}"#, e164()),
            (r#"{"country":"SG","msisdn":"\u002b6591234567"}"#, e164()),
        ] {
            assert_eq!(serde_json::from_str::<Recipient>(json).unwrap(), recipient);
        }
    }

    #[test]
    fn the_parts_are_those_that_are_sent() {
        assert_eq!((e164().msisdn(), e164().country()), ("+6591234567", None));
        let country = CountryCode::parse("SG").unwrap();
        assert_eq!((national().msisdn(), national().country()), ("91234567", Some(country)));
        assert_eq!(Recipient::from((number("91234567"), country)), national());
        let known = HashSet::from([e164(), national(), e164()]);
        assert_eq!(known.len(), 2);
    }

    #[test]
    fn strict_parsing_takes_the_two_members_as_they_are_sent() {
        assert_eq!(Recipient::parse("+6591234567", None), Ok(e164()));
        assert_eq!(Recipient::parse("91234567", Some("sg")), Ok(national()));
        // A country beside an E.164 number is not needed, and is left out.
        assert_eq!(Recipient::parse("+6591234567", Some("sg")), Ok(e164()));
        for (msisdn, country, error) in [
            ("91234567", None, NoCountry),
            ("006591234567", None, NoCountry),
            ("", None, MsisdnError::Empty.into()),
            ("", Some("SG"), MsisdnError::Empty.into()),
            ("+65 91234567", Some("SG"), MsisdnError::Character { position: 4 }.into()),
            ("+6591234567", Some("SGP"), Country(CountryCodeError)),
            ("+6591234567", Some(""), Country(CountryCodeError)),
            ("91234567", Some(" SG"), Country(CountryCodeError)),
            ("9123-4567", Some("SG"), National(NationalNumberError::Character { position: 5 })),
            (" +6591234567", Some("SG"), National(NationalNumberError::Character { position: 1 })),
        ] {
            assert_eq!(Recipient::parse(msisdn, country), Err(error), "{msisdn:?} {country:?}");
        }
    }

    #[test]
    fn lenient_parsing_takes_the_two_members_as_people_type_them() {
        for (msisdn, country, sent) in [
            ("+65 9123 4567", None, "+6591234567 None"),
            ("＋65 9123 4567", Some("sg"), "+6591234567 None"),
            ("（＋65） 9123 4567", None, "+6591234567 None"),
            ("\u{202d}+65 9123 4567\u{202c}\n", Some(""), "+6591234567 None"),
            ("+65 9123 4567", Some(" \t"), "+6591234567 None"),
            ("081-234-5678", Some("th"), "0812345678 Some(CountryCode(TH))"),
            ("(02) 9876 5432", Some(" AU\n"), "0298765432 Some(CountryCode(AU))"),
            ("９１２３ ４５６７", Some("SG"), "91234567 Some(CountryCode(SG))"),
        ] {
            let read = Recipient::parse_lenient(msisdn, country).unwrap();
            assert_eq!(format!("{} {:?}", read.msisdn(), read.country()), sent, "{msisdn:?}");
        }
    }

    #[test]
    fn lenient_parsing_guesses_neither_a_country_nor_a_plus() {
        for (msisdn, country, error) in [
            ("9123 4567", None, NoCountry),
            ("9123 4567", Some(" "), NoCountry),
            ("0065 9123 4567", None, NoCountry),
            ("65 9123 4567", Some(""), NoCountry),
            (" - ", Some("SG"), MsisdnError::Empty.into()),
            ("+44 (0)20 7946 0958", Some("GB"), MsisdnError::TrunkPrefix.into()),
            ("+65\t91234567", None, MsisdnError::Character { position: 4 }.into()),
            ("(0)81 234 5678", Some("TH"), National(NationalNumberError::TrunkPrefix)),
            ("081\t2345678", Some("TH"), National(NationalNumberError::Character { position: 4 })),
            ("9123+4567", Some("SG"), National(NationalNumberError::Character { position: 5 })),
            (
                "tel:+6591234567",
                Some("SG"),
                National(NationalNumberError::Character { position: 1 }),
            ),
            ("+6591234567", Some("SGP"), Country(CountryCodeError)),
            ("9123 4567", Some("S G"), Country(CountryCodeError)),
        ] {
            let read = Recipient::parse_lenient(msisdn, country);
            assert_eq!(read, Err(error), "{msisdn:?} {country:?}");
        }
    }

    #[test]
    fn errors_say_which_part_is_wrong() {
        for (msisdn, country, error) in [
            (
                "+65x",
                None,
                "the phone number is not E.164: the character at position 4 is not a digit",
            ),
            (
                "12",
                Some("SG"),
                "the phone number is not a national number: 2 digits, at least 4 and at most 15",
            ),
            ("91234567", Some("SGP"), "a country is two ASCII letters, such as SG"),
            ("91234567", None, "the phone number does not start with `+`, so it needs a country"),
        ] {
            assert_eq!(Recipient::parse(msisdn, country).unwrap_err().to_string(), error);
        }
    }
}

/// Everything that an error prints.
fn printed(it: &(impl Debug + Display)) -> String {
    format!("{it} {it:?} {it:#?}")
}

#[test]
fn numbers_are_masked_in_debug() {
    assert_eq!(format!("{:?}", msisdn("+6591234567")), "Msisdn(+********67)");
    assert_eq!(format!("{:?}", msisdn("+1234567")), "Msisdn(+*****67)");
    assert_eq!(format!("{:?}", number("91234567")), "NationalNumber(********)");
    assert_eq!(
        format!("{:?}", Recipient::from(msisdn("+6591234567"))),
        "E164(Msisdn(+********67))"
    );
    assert_eq!(
        format!("{:?}", Recipient::national("91234567", "SG").unwrap()),
        "National { number: NationalNumber(********), country: CountryCode(SG) }"
    );
}

#[test]
fn errors_of_parsing_contain_no_number() {
    for text in
        ["91234567", "+65-91234567", "+6591234567x", "+065912345671234567890", "+44(0)91234567"]
    {
        let mut errors = Vec::new();
        errors.extend(Msisdn::parse(text).err().map(|it| printed(&it)));
        errors.extend(Msisdn::parse_lenient(text).err().map(|it| printed(&it)));
        errors.extend(NationalNumber::parse(text).err().map(|it| printed(&it)));
        errors.extend(NationalNumber::parse_lenient(text).err().map(|it| printed(&it)));
        errors.extend(CountryCode::parse(text).err().map(|it| printed(&it)));
        errors.extend(Recipient::parse(text, None).err().map(|it| printed(&it)));
        errors.extend(Recipient::parse("+6591234567", Some(text)).err().map(|it| printed(&it)));
        assert!(errors.len() >= 5, "{text}");
        for error in errors {
            assert!(!error.contains("9123") && !error.contains("4567"), "{error}");
        }
    }
}

/// The error of reading `json`, as text and as a value.
fn refusal<T: DeserializeOwned + Debug>(json: &str) -> String {
    let error = serde_json::from_str::<T>(json).unwrap_err();
    let mut all = printed(&error);
    // A `Value` keeps only one of two duplicate members, so reading it may succeed.
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(json)
        && let Err(error) = serde_json::from_value::<T>(value)
    {
        all += &printed(&error);
    }
    assert!(!all.contains("9123") && !all.contains("4567"), "{json}: {all}");
    error.to_string()
}

#[test]
fn no_error_of_reading_a_text_repeats_a_value() {
    for json in [
        "6591234567",
        "-6591234567",
        "6591234567.5",
        "65912345679123456791234567",
        "true",
        "null",
        r#"["+6591234567"]"#,
        r#"{"+6591234567":1}"#,
    ] {
        for error in
            [refusal::<Msisdn>(json), refusal::<NationalNumber>(json), refusal::<CountryCode>(json)]
        {
            assert_eq!(error, "wrong type, expected a string", "{json}");
        }
    }
    // Formats other than JSON have larger integers.
    let signed = -6_591_234_567_i128;
    let signed: I128Deserializer<serde::de::value::Error> = signed.into_deserializer();
    let unsigned: U128Deserializer<serde::de::value::Error> =
        6_591_234_567_u128.into_deserializer();
    for error in [Msisdn::deserialize(signed), Msisdn::deserialize(unsigned)] {
        assert_eq!(error.unwrap_err().to_string(), "wrong type, expected a string");
    }
    refusal::<Msisdn>(r#""6591234567""#);
    refusal::<NationalNumber>(r#""+6591234567""#);
    refusal::<CountryCode>(r#""+6591234567""#);
}

#[test]
fn no_error_of_reading_a_recipient_repeats_a_value_or_a_name() {
    const OBJECT: &str = "expected an object with the string `msisdn` and optionally `country`";
    for (json, expected) in [
        (r"6591234567", OBJECT),
        (r"-6591234567", OBJECT),
        (r"65912345.67", OBJECT),
        (r"true", OBJECT),
        (r"null", OBJECT),
        (r#""+6591234567""#, OBJECT),
        (r#"["+6591234567"]"#, OBJECT),
        (r#"["91234567","SG"]"#, OBJECT),
        (r"{}", "missing field `msisdn`"),
        (r#"{"country":"SG"}"#, "missing field `msisdn`"),
        (r#"{"+6591234567":1}"#, OBJECT),
        (r#"{"msisdn":"+6591234567","6591234567":1}"#, OBJECT),
        (r#"{"Msisdn":"+6591234567"}"#, OBJECT),
        (r#"{"msisdn":"+6591234567","msisdn":"+6591234567"}"#, OBJECT),
        (r#"{"msisdn":"91234567","country":null,"country":"SG"}"#, OBJECT),
        (r#"{"msisdn":6591234567}"#, OBJECT),
        (r#"{"msisdn":null}"#, OBJECT),
        (r#"{"msisdn":["+6591234567"]}"#, OBJECT),
        (r#"{"msisdn":"+6591234567","country":91234567}"#, OBJECT),
        (r#"{"msisdn":"+6591234567","country":["91234567"]}"#, OBJECT),
        (r#"{"msisdn":"+6591234567","country":"91234567"}"#, "a country is two ASCII letters"),
        (r#"{"msisdn":"6591234567"}"#, "the phone number does not start with `+`, so"),
        (
            r#"{"msisdn":"+65 91234567"}"#,
            "the phone number is not E.164: the character at position 4",
        ),
        (r#"{"msisdn":"9123-4567","country":"SG"}"#, "the phone number is not a national number: "),
    ] {
        let error = refusal::<Recipient>(json);
        assert!(error.starts_with(expected), "{json}: {error}");
    }
}

#[test]
fn an_error_about_a_missing_number_names_the_member() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "it cannot be read")]
    struct Customer<T> {
        phone: T,
    }
    let error = serde_json::from_str::<Customer<Msisdn>>("{}").unwrap_err().to_string();
    assert!(error.starts_with("missing field `phone`"), "{error}");
    let error = serde_json::from_str::<Customer<Recipient>>("{}").unwrap_err().to_string();
    assert!(error.starts_with("missing field `phone`"), "{error}");
    let json = "{\n  \"phone\": 6591234567}";
    let error = serde_json::from_str::<Customer<Msisdn>>(json).unwrap_err();
    assert_eq!(error.line(), 2);
}

fn any_msisdn() -> impl Strategy<Value = Msisdn> {
    "\\+[1-9][0-9]{6,14}".prop_map(|text| msisdn(&text))
}

proptest! {
    #[test]
    fn an_msisdn_is_accepted_by_its_shape_alone(text in "\\+?[0-9a ]{0,20}") {
        let digits = text.strip_prefix('+').unwrap_or("");
        let by_the_rule = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        prop_assert_eq!(Msisdn::parse(&text).is_ok(), by_the_rule);
        prop_assert_eq!(text.parse::<Msisdn>().is_ok(), by_the_rule);
    }

    #[test]
    fn no_text_makes_a_parser_panic_or_change_a_number(text in any::<String>(), digits in "\\PC{0,3}[+0-9]{0,20}\\PC{0,3}") {
        for text in [&text, &digits] {
            if let Ok(number) = Msisdn::parse(text) {
                prop_assert_eq!(number.as_str(), text);
            }
            if let Ok(number) = NationalNumber::parse(text) {
                prop_assert_eq!(number.as_str(), text);
            }
            let _ = Msisdn::parse_lenient(text);
            let _ = NationalNumber::parse_lenient(text);
            let _ = Recipient::parse(text, Some(text));
            let _ = Recipient::parse_lenient(text, Some(text));
        }
    }

    #[test]
    fn lenient_parsing_accepts_whatever_strict_parsing_does(text in "\\+?[0-9]{0,17}") {
        if let Ok(number) = Msisdn::parse(&text) {
            prop_assert_eq!(Msisdn::parse_lenient(&text), Ok(number));
        }
        if let Ok(number) = NationalNumber::parse(&text) {
            prop_assert_eq!(NationalNumber::parse_lenient(&text), Ok(number));
        }
        for country in [None, Some("SG")] {
            prop_assert_eq!(Recipient::parse_lenient(&text, country), Recipient::parse(&text, country));
        }
    }

    #[test]
    fn lenient_parsing_keeps_every_digit(number in any_msisdn(), noise in vec("[ .()\u{200b}-]{0,2}", 17)) {
        let mut typed = String::new();
        for (letter, noise) in number.as_str().chars().zip(&noise) {
            typed += noise;
            typed.push(letter);
        }
        match Msisdn::parse_lenient(&typed) {
            Ok(read) => prop_assert_eq!(read, number),
            Err(error) => {
                prop_assert_eq!(error, MsisdnError::TrunkPrefix);
                let shown: String = typed.chars().filter(|it| !matches!(it, ' ' | '\u{200b}')).collect();
                prop_assert!(shown.contains("(0)"));
            }
        }
    }

    #[test]
    fn debug_masks_all_digits_but_two(number in any_msisdn()) {
        let debug = format!("{number:?}");
        let digits = number.as_str().len() - 1;
        let last = &number.as_str()[digits - 1..];
        prop_assert_eq!(debug, format!("Msisdn(+{}{last})", "*".repeat(digits - 2)));
    }

    #[test]
    fn recipients_read_back_equal(number in any_msisdn(), national in "[0-9]{4,15}", country in "[A-Za-z]{2}") {
        for recipient in [number.into(), Recipient::national(&national, &country).unwrap()] {
            let json = serde_json::to_string(&recipient).unwrap();
            prop_assert_eq!(serde_json::from_str::<Recipient>(&json).unwrap(), recipient);
        }
    }
}
