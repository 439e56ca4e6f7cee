//! Lists of values that the platform may add to: enums with a variant for what is not listed.
//!
//! The build fills in the values from the spec.

/// Texts that are the same only if every letter is.
pub(crate) mod exact {
    use std::hash::{Hash, Hasher};

    pub(crate) fn is_same(one: &str, other: &str) -> bool {
        one == other
    }

    pub(crate) fn hash(text: &str, state: &mut impl Hasher) {
        text.hash(state);
    }
}

/// Texts that are the same whatever the case of their letters.
pub(crate) mod ignoring_case {
    use std::hash::{Hash, Hasher};

    pub(crate) fn is_same(one: &str, other: &str) -> bool {
        one.eq_ignore_ascii_case(other)
    }

    pub(crate) fn hash(text: &str, state: &mut impl Hasher) {
        text.to_ascii_lowercase().hash(state);
    }
}

macro_rules! open_text {
    ($case:ident #[$doc:meta] $name:ident { $(#[$about:meta] $variant:ident = $text:literal;)+ }) => {
        #[$doc]
        ///
        /// The list is open: a value that the spec does not list is `Other`, keeps its text and
        /// is written as it was read. Values are compared by their text.
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

            /// The value as it stands in JSON.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $(if crate::open::$case::is_same(text, $text) {
                    return Self::$variant;
                })+
                Self::Other(text.into())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str(stringify!($variant)),)+
                    Self::Other(text) => f
                        .debug_tuple("Other")
                        .field(&crate::mask::Masked(text))
                        .finish(),
                }
            }
        }

        crate::open::open_text_traits! { $case $name }
    };
}
pub(crate) use open_text;

/// What an open list of texts has in common with every other.
macro_rules! open_text_traits {
    ($case:ident $name:ident) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self::from(text))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                crate::open::$case::is_same(self.as_str(), other.as_str())
            }
        }

        impl Eq for $name {}

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                crate::open::$case::hash(self.as_str(), state);
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::received::with_text(deserializer, |text| Self::from(text))
            }
        }
    };
}
pub(crate) use open_text_traits;

macro_rules! open_number {
    (#[$doc:meta] $name:ident { $(#[$about:meta] $variant:ident = $number:literal, $reason:literal;)+ }) => {
        #[$doc]
        ///
        /// The list is open: a number that the spec does not list is `Other` and is written as it
        /// was read. Values are compared by their number.
        #[derive(Clone, Copy)]
        #[non_exhaustive]
        pub enum $name {
            $(#[$about] $variant,)+
            /// A number that the spec does not list.
            Other(i64),
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str(stringify!($variant)),)+
                    // It can be a phone number at a wrong place.
                    Self::Other(number) => {
                        let number = number.to_string();
                        write!(f, "Other({})", crate::mask::Masked(&number))
                    }
                }
            }
        }

        impl $name {
            /// The values that the spec lists.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The number as it stands in JSON.
            pub const fn value(self) -> i64 {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Other(number) => number,
                }
            }

            /// What the number means, in one sentence, where the spec lists it.
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

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.value(), f)
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
                crate::received::number(deserializer).map(Self::from)
            }
        }
    };
}
pub(crate) use open_number;
