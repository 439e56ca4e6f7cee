//! Texts of requests and responses.
//!
//! Each decodes from any JSON text, number or boolean, and keeps it as it came.

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
            /// The text as it is.
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
    /// Ids that the platform made are opaque: published as UUIDs, they often are none. `Display`
    /// writes the text whole. `Debug` masks every phone number in it.
    Text
}

text! {
    /// One of your own ids: a clientMessageId or a clientBatchId, in a request and wherever it
    /// comes back.
    ///
    /// `Display` and `Debug` write it whole, because people search their logs for ids. So do not
    /// make ids of phone numbers.
    ClientId
}

text! {
    /// A time that the platform reported, as text.
    ///
    /// The published samples differ in their fractions and offsets, so the text is kept and parsed
    /// on demand.
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
    /// Whether the text is a date and time in ISO 8601 form, by its shape: a fraction has at most
    /// nine digits, and an offset is optional. Other text may contain a phone number.
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
        // .NET writes its zero for a time that was never set.
        if self.starts_with("0001-01-01T00:00:00") {
            return None;
        }
        let time = DateTime::parse_from_rfc3339(&self.0).map(|time| time.to_utc());
        let naive = || NaiveDateTime::parse_from_str(&self.0, "%Y-%m-%dT%H:%M:%S%.f");
        time.or_else(|_| naive().map(|time| time.and_utc())).ok()
    }

    /// The time, to the nanosecond. A time without an offset counts as UTC.
    ///
    /// `None` if the text is no date and time in ISO 8601 form, if it is .NET's zero
    /// (`0001-01-01T00:00:00`), or if the system's clock cannot represent it.
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
