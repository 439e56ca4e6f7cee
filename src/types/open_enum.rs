//! Open enums: the platform may add values, so each has a variant for any other value.
//!
//! The build fills in the values of the spec.

macro_rules! open_text {
    ($ignores_case:literal #[$doc:meta] $name:ident {
        $(#[$about:meta] $variant:ident = $text:literal;)+
    }) => {
        #[$doc]
        ///
        /// An open enum: an unknown value becomes `Other` and round-trips unchanged. Values compare
        /// by their text.
        #[derive(Clone)]
        #[non_exhaustive]
        pub enum $name {
            $(#[$about] $variant,)+
            /// A value that the spec does not list.
            Other(Box<str>),
        }

        impl $name {
            /// The values that the spec lists.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The value in JSON.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $(if text == $text || ($ignores_case && text.eq_ignore_ascii_case($text)) {
                    return Self::$variant;
                })+
                Self::Other(text.into())
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self::from(text))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str(stringify!($variant)),)+
                    Self::Other(text) => {
                        f.debug_tuple("Other").field(&crate::redact::Masked(text)).finish()
                    }
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    Self::Other(text) => f.pad(&crate::redact::mask(text, &[])),
                    known => f.pad(known.as_str()),
                }
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                let (one, other) = (self.as_str(), other.as_str());
                one == other || ($ignores_case && one.eq_ignore_ascii_case(other))
            }
        }

        impl Eq for $name {}

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                if $ignores_case {
                    self.as_str().to_ascii_lowercase().hash(state);
                } else {
                    self.as_str().hash(state);
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::json::deserialize_as_string(deserializer, |text| Self::from(text))
            }
        }
    };
}
pub(crate) use open_text;

macro_rules! open_number {
    (#[$doc:meta] $name:ident {
        $(#[$about:meta] $variant:ident = $number:literal, $reason:literal;)+
    }) => {
        #[$doc]
        ///
        /// An open enum: an unknown number becomes `Other` and round-trips unchanged. Values
        /// compare by their number.
        #[derive(Clone, Copy)]
        #[non_exhaustive]
        pub enum $name {
            $(#[$about] $variant,)+
            /// A number that the spec does not list.
            Other(i64),
        }

        impl $name {
            /// The values that the spec lists.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The number in JSON.
            pub const fn value(self) -> i64 {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Other(number) => number,
                }
            }

            /// The meaning of the number, in one sentence. `None` if the spec does not list it.
            pub const fn reason(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($reason),)+
                    Self::Other(_) => None,
                }
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    _ => Self::Other(number),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str(stringify!($variant)),)+
                    Self::Other(_) => write!(f, "Other({self})"),
                }
            }
        }

        /// Writes the number. A number that may be a phone number is masked.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&crate::redact::mask(&self.value().to_string(), &[]))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.value() == other.value()
            }
        }

        impl Eq for $name {}

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.value().hash(state);
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i64(self.value())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                i64::deserialize(deserializer).map(Self::from)
            }
        }
    };
}
pub(crate) use open_number;
