//! The regions of the platform, from the servers of the contract.

macro_rules! regions {
    ($(#[$doc:meta] $region:ident = $url:literal, $name:literal;)+) => {
        /// The region that an account lives in. The other regions do not know the account.
        ///
        /// The regions and their URLs are the `servers` of the contract; the first is the default.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Region {
            $(#[$doc] $region,)+
        }

        impl Region {
            /// All regions, the default first.
            pub const ALL: &[Self] = &[$(Self::$region),+];

            /// The base URL of the region, without a slash at its end.
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

/// Parses the name of a region, such as `Asia Pacific`. Case, spaces, `-` and `_` do not matter.
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
