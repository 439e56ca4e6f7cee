//! The regions of the platform, generated from the servers of the spec.

macro_rules! regions {
    ($(#[$doc:meta] $region:ident = $url:literal, $name:literal;)+) => {
        /// The region of an account. An account exists in one region only.
        ///
        /// The regions and their URLs are the `servers` of the spec. The first is the default.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Region {
            $(#[$doc] $region,)+
        }

        impl Region {
            /// All regions, the default first.
            pub const ALL: &[Self] = &[$(Self::$region),+];

            /// The base URL of the region, without a trailing slash.
            pub const fn base_url(self) -> &'static str {
                match self {
                    $(Self::$region => $url,)+
                }
            }

            /// The name of the region, such as `Asia Pacific`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$region => $name,)+
                }
            }
        }
    };
}
pub(crate) use regions;

use std::fmt;
use std::str::FromStr;

use crate::generated::tables::Region;

impl Default for Region {
    fn default() -> Self {
        Self::ALL[0]
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses the name of a region, such as `Asia Pacific`. Case, spaces, `-` and `_` are ignored.
impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, UnknownRegion> {
        fn letters(text: &str) -> impl Iterator<Item = char> {
            text.chars()
                .filter(|letter| !matches!(letter, ' ' | '-' | '_'))
                .map(|letter| letter.to_ascii_lowercase())
        }
        Self::ALL
            .iter()
            .copied()
            .find(|region| letters(region.name()).eq(letters(text)))
            .ok_or(UnknownRegion)
    }
}

/// The text is not the name of a [`Region`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRegion;

impl fmt::Display for UnknownRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a region, expected one of ")?;
        for (index, region) in Region::ALL.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{region}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownRegion {}
