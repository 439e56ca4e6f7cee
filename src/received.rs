//! Values that the platform sends, read whatever they are.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use smol_str::SmolStr;

use crate::mask::Masked;

macro_rules! received_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// The text as it was received.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                with_text(deserializer, |text| Self(text.into()))
            }
        }
    };
}

received_text! {
    /// Text that the platform sent: a phone number, a message of an error, a reference.
    ///
    /// `Display` writes it whole; `Debug` masks every phone number in it. A number or a truth
    /// value where a text was due is kept as its text.
    ReceivedText
}

received_text! {
    /// An id that the platform made. It is opaque: published as a UUID, it often is not one.
    ///
    /// `Display` writes it whole, and `Debug` too where it has the shape of a UUID.
    OpaqueId
}

received_text! {
    /// A moment that the platform told, as its text.
    ///
    /// The published samples differ in their fractions and offsets, so the text is kept and read
    /// on demand.
    Timestamp
}

impl fmt::Debug for ReceivedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Masked(&self.0).fmt(f)
    }
}

impl fmt::Debug for OpaqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.without_numbers().0.fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.without_numbers().0.fmt(f)
    }
}

impl OpaqueId {
    /// The id as it is where it looks like a UUID, else with phone numbers masked.
    pub(crate) fn without_numbers(&self) -> Self {
        let groups = self.0.split('-').map(str::len);
        let of_hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        if groups.eq([8, 4, 4, 4, 12]) && self.0.bytes().all(of_hex) {
            return self.clone();
        }
        Masked(&self.0).to_string().into()
    }
}

impl Timestamp {
    /// The text as it is where it is a moment, else with phone numbers masked.
    pub(crate) fn without_numbers(&self) -> Self {
        match self.to_system_time() {
            Some(_) => self.clone(),
            None => Masked(&self.0).to_string().into(),
        }
    }

    pub(crate) fn to_date_time(&self) -> Option<DateTime<Utc>> {
        let moment = DateTime::parse_from_rfc3339(&self.0).map(|time| time.to_utc());
        let naive = || NaiveDateTime::parse_from_str(&self.0, "%Y-%m-%dT%H:%M:%S%.f");
        moment.or_else(|_| naive().map(|time| time.and_utc())).ok()
    }

    /// The moment, to the nanosecond; `None` where the text is no date and time in ISO 8601 form,
    /// or one that the clock of the system does not know.
    /// A time without an offset is taken as UTC.
    pub fn to_system_time(&self) -> Option<SystemTime> {
        let moment = self.to_date_time()?;
        // The clock of some systems begins or ends nearer than the calendar does.
        let seconds = Duration::from_secs(moment.timestamp().unsigned_abs());
        let second = if moment.timestamp() < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        };
        second?.checked_add(Duration::from_nanos(moment.timestamp_subsec_nanos().into()))
    }
}

/// Why something failed: in the platform's words, or else in this crate's for the code.
pub(crate) fn reason<'a>(
    told: Option<&'a ReceivedText>,
    of_code: Option<&'static str>,
) -> Option<&'a str> {
    let told = told.map(ReceivedText::as_str);
    told.filter(|text| !text.trim().is_empty()).or(of_code)
}

/// Reads a text; a number or a truth value is taken as its text. No error repeats the value.
pub(crate) fn with_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    make: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    struct Text<F>(F);

    impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            Ok(self.0(text))
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
            Ok(self.0(if value { "true" } else { "false" }))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
            Ok(self.0(&value.to_string()))
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
            Ok(self.0(&value.to_string()))
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
            Ok(self.0(&value.to_string()))
        }
    }

    deserializer.deserialize_any(Text(make))
}

/// Reads a whole number, also one that is written as a text. No error repeats the value.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct Number;

    impl Visitor<'_> for Number {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number")
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<i64, E> {
            Ok(value)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<i64, E> {
            i64::try_from(value)
                .map_err(|_| E::invalid_type(Unexpected::Other("a number too large"), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
            text.trim().parse().map_err(|_| E::invalid_type(Unexpected::Other("a text"), &self))
        }
    }

    deserializer.deserialize_any(Number)
}
