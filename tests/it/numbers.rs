//! Phone numbers, countries and recipients.

use lon_batch::{
    CountryCode, Msisdn, MsisdnError, NationalNumber, NationalNumberError, Recipient,
    RecipientError,
};

#[test]
fn strict_parsing() {
    use MsisdnError::{Character, Empty, LeadingZero, NoPlus, TooLong, TooShort};
    for text in ["+1234567", "+6500000000", "+123456789012345"] {
        let msisdn: Msisdn = text.parse().unwrap();
        assert_eq!(msisdn.to_string(), text);
        assert_eq!(msisdn.as_str(), text);
    }
    for (text, error) in [
        ("", Empty),
        ("6591234567", NoPlus),
        ("006591234567", LeadingZero),
        ("+0591234567", LeadingZero),
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
        assert_eq!(Msisdn::try_from(text), Err(error));
        let json = serde_json::to_string(text).unwrap();
        let refused = serde_json::from_str::<Msisdn>(&json).unwrap_err().to_string();
        assert!(refused.starts_with(&error.to_string()), "{refused}");
    }
}

#[test]
fn lenient_parsing_takes_what_people_type() {
    for text in [
        "+6591234567",
        "  +65 9123 4567\n",
        "+65-9123-4567",
        "+65.9123.4567",
        "+65/91234567",
        "+(65) 9123‑4567",
        "+65 (9123) 4567",
        "\u{202a}+65\u{a0}9123\u{2009}4567\u{202c}",
        "\u{feff}+65\u{200b}91234567",
        "＋６５　９１２３－４５６７",
        "+65–9123—4567",
    ] {
        let read = Msisdn::parse_lenient(text).map(|msisdn| msisdn.to_string());
        assert_eq!(read.as_deref(), Ok("+6591234567"), "{text:?}");
    }
}

#[test]
fn lenient_parsing_never_drops_or_invents_a_digit() {
    use MsisdnError::{Character, Empty, LeadingZero, NoPlus, TrunkPrefix};
    for (text, error) in [
        ("", Empty),
        (" - ", Empty),
        ("91234567", NoPlus),
        ("65 9123 4567", NoPlus),
        ("0065 9123 4567", LeadingZero),
        ("+44 (0)20 7946 0958", TrunkPrefix),
        ("+44 ( 0 )20 7946 0958", TrunkPrefix),
        ("+44（０）20 7946 0958", TrunkPrefix),
        ("+44 (\u{200b}0) 20 7946 0958", TrunkPrefix),
        ("tel:+6591234567", Character { position: 1 }),
        ("+65 9123 4567 ext. 8", Character { position: 15 }),
        ("+65 9123 4567x8", Character { position: 14 }),
        ("+65 9123 4567#8", Character { position: 14 }),
        ("+1-800-FLOWERS", Character { position: 8 }),
        ("+65+91234567", Character { position: 4 }),
        ("+65 91234567, +65 81234567", Character { position: 13 }),
        ("+65٩1234567", Character { position: 4 }),
    ] {
        assert_eq!(Msisdn::parse_lenient(text), Err(error), "{text:?}");
    }
}

#[test]
fn a_trunk_prefix_is_a_hint_and_no_error() {
    for (text, hint) in [
        ("+8109012345678", true),
        ("+660812345678", true),
        ("+8860912345678", true),
        ("+620812345678", true),
        ("+4402079460958", true),
        ("+819012345678", false),
        ("+6591234567", false),
        ("+3906698123", false),
    ] {
        assert_eq!(Msisdn::parse(text).unwrap().has_trunk_prefix(), hint, "{text}");
    }
}

#[test]
fn national_numbers_and_countries() {
    for (text, error) in [
        ("", NationalNumberError::Empty),
        ("123", NationalNumberError::Length { digits: 3 }),
        ("1234567890123456", NationalNumberError::Length { digits: 16 }),
        ("0912 345", NationalNumberError::Character { position: 5 }),
        ("０９１２", NationalNumberError::Character { position: 1 }),
    ] {
        assert_eq!(NationalNumber::parse(text), Err(error), "{text:?}");
    }
    assert_eq!(NationalNumber::parse("0912345678").unwrap().to_string(), "0912345678");
    for text in ["", "S", "SGP", "S1", "日本", "é", "s "] {
        assert!(CountryCode::parse(text).is_err(), "{text:?}");
    }
    for text in ["sg", "SG", "Sg", "uk", "GB"] {
        assert_eq!(CountryCode::parse(text).unwrap().to_string(), text.to_ascii_uppercase());
    }
}

#[test]
fn recipients_are_read_as_they_are_written() {
    let e164 = Recipient::from(Msisdn::parse("+6591234567").unwrap());
    let national = Recipient::national("91234567", "sg").unwrap();
    for (json, recipient) in [
        (r#"{"msisdn":"+6591234567"}"#, e164),
        (r#"{"msisdn":"91234567","country":"SG"}"#, national),
    ] {
        assert_eq!(serde_json::to_string(&recipient).unwrap(), json);
        assert_eq!(serde_json::from_str::<Recipient>(json).unwrap(), recipient);
    }
    // A country beside an E.164 number is not needed, and is left out.
    assert_eq!(Recipient::parse("+6591234567", Some("sg")), Ok(e164));
    assert_eq!(Recipient::parse("91234567", None), Err(RecipientError::NoCountry));
    assert!(matches!(
        Recipient::parse("+6591234567", Some("SGP")),
        Err(RecipientError::Country(_))
    ));
    assert!(matches!(Recipient::parse("9123-4567", Some("SG")), Err(RecipientError::National(_))));
}

#[test]
fn numbers_are_masked_in_debug_and_absent_in_errors() {
    let number = Msisdn::parse("+6591234567").unwrap();
    assert_eq!(format!("{number:?}"), "Msisdn(+********67)");
    let national = Recipient::national("91234567", "SG").unwrap();
    let debug = format!("{national:?} {:?}", Recipient::from(number));
    assert!(!debug.contains("9123"), "{debug}");
    for text in ["91234567", "+65-91234567", "+6591234567x", "+065912345671234567890"] {
        for error in [
            format!("{0} {0:?}", Msisdn::parse(text).unwrap_err()),
            format!("{0} {0:?}", Recipient::parse(text, None).unwrap_err()),
            serde_json::from_value::<Recipient>(serde_json::json!({ "msisdn": text }))
                .unwrap_err()
                .to_string(),
        ] {
            assert!(!error.contains("9123"), "{error}");
        }
    }
}
