//! Texts of requests and responses.
//!
//! Each parses from a JSON string, number or boolean.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
#[cfg(feature = "receipt")]
use std::time::{Duration, SystemTime};

#[cfg(feature = "receipt")]
use chrono::{DateTime, NaiveDateTime, Utc};
use compact_str::CompactString;
use serde::Deserializer;

use crate::json::deserialize_as_string;
use crate::redact::Masked;

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(CompactString);

        impl $name {
            /// The text, unchanged.
            pub fn as_str(&self) -> &str {
                &self.0
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

        text!(from $name: &str, &String, String, Box<str>, Cow<'_, str>);

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

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self::from(text))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_as_string(deserializer, |text| Self(text.into()))
            }
        }
    };
    (from $name:ident: $($other:ty),+) => {
        $(impl From<$other> for $name {
            fn from(text: $other) -> Self {
                Self(text.into())
            }
        })+
    };
}

text! {
    /// A text of a message, or a text or id of a response.
    ///
    /// Treat platform ids as opaque. They are documented as UUIDs, but are often not valid ones.
    /// `Display` writes the text in full. `Debug` masks every phone number in it.
    Text
}

text! {
    /// Your own id, a clientMessageId or a clientBatchId, in requests, responses and receipts.
    ///
    /// `Display` and `Debug` write it in full so that you can search your logs. Do not use phone
    /// numbers as ids.
    ClientId
}

text! {
    /// A time that the platform reported, as text.
    ///
    /// The text is kept. With the feature `receipt`, `to_system_time` parses it.
    Timestamp
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Masked(&self.0).fmt(f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_time() { self.0.fmt(f) } else { Masked(&self.0).fmt(f) }
    }
}

impl Timestamp {
    /// Whether the text has the shape of an ISO 8601 date and time: a fraction has at most nine
    /// digits, and an offset is optional. Other text may contain a phone number.
    pub(crate) fn is_time(&self) -> bool {
        let shape = self.0.replace(|it: char| it.is_ascii_digit(), "0");
        let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else {
            return false;
        };
        let offset = rest.strip_prefix('.').map_or(rest, |it| it.trim_start_matches('0'));
        let fraction = rest.len() - offset.len();
        fraction <= ".000000000".len() && matches!(offset, "" | "Z" | "+00:00" | "-00:00")
    }
}

#[cfg(feature = "receipt")]
impl Timestamp {
    pub(crate) fn to_date_time(&self) -> Option<DateTime<Utc>> {
        // .NET writes its zero for an unset time.
        if self.starts_with("0001-01-01T00:00:00") {
            return None;
        }
        let time = DateTime::parse_from_rfc3339(&self.0).map(|time| time.to_utc());
        let naive = || NaiveDateTime::parse_from_str(&self.0, "%Y-%m-%dT%H:%M:%S%.f");
        time.or_else(|_| naive().map(|time| time.and_utc())).ok()
    }

    /// The time, to the nanosecond. A time without an offset counts as UTC.
    ///
    /// `None` if the text is not an ISO 8601 date and time, if it is .NET's zero
    /// (`0001-01-01T00:00:00`), or if `SystemTime` cannot represent it.
    pub fn to_system_time(&self) -> Option<SystemTime> {
        let time = self.to_date_time()?;
        let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
        let second = if time.timestamp() < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        };
        second?.checked_add(Duration::from_nanos(time.timestamp_subsec_nanos().into()))
    }
}
