//! Who receives a message.

use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::shape::Strict;
use crate::{
    CountryCode, CountryCodeError, Msisdn, MsisdnError, NationalNumber, NationalNumberError,
};

/// Who receives a message: `user` in JSON.
///
/// A national number without a country cannot be built:
///
/// ```compile_fail,E0277
/// use lon_batch::{Content, Message, NationalNumber};
///
/// let number = NationalNumber::parse("91234567").unwrap();
/// Message::new(number, Content::new("Hello"));
/// ```
///
/// With one it can:
///
/// ```
/// use lon_batch::{Content, CountryCode, Message, NationalNumber};
///
/// let number = NationalNumber::parse("91234567").unwrap();
/// Message::new((number, CountryCode::parse("SG").unwrap()), Content::new("Hello"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// A number in E.164 form. It is sent without a country.
    E164(Msisdn),
    /// A number as it is dialled within a country, and the country.
    National {
        /// The number.
        number: NationalNumber,
        /// Its country.
        country: CountryCode,
    },
}

/// Why a number and a country are not a [`Recipient`]. Neither is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The number is meant as E.164, since it starts with `+` or comes without a country, and is
    /// not.
    #[error("the phone number is not E.164: {0}")]
    Msisdn(#[from] MsisdnError),
    /// The number comes without `+` and with a country, and is not a national number.
    #[error("the phone number is not a national one: {0}")]
    National(#[from] NationalNumberError),
    /// The country is not two letters.
    #[error(transparent)]
    Country(#[from] CountryCodeError),
    /// The number comes without `+` and without a country.
    #[error("the phone number has neither `+` and a country code nor a country beside it")]
    NoCountry,
}

impl Recipient {
    /// A number as it is dialled within a country.
    ///
    /// ```
    /// use lon_batch::Recipient;
    ///
    /// let recipient = Recipient::national("91234567", "sg")?;
    /// assert_eq!(
    ///     serde_json::to_string(&recipient).unwrap(),
    ///     r#"{"msisdn":"91234567","country":"SG"}"#,
    /// );
    /// # Ok::<_, lon_batch::RecipientError>(())
    /// ```
    ///
    /// # Errors
    /// The number is not 4 to 15 digits, or the country not two letters.
    pub fn national(number: &str, country: &str) -> Result<Self, RecipientError> {
        Ok(Self::National {
            number: NationalNumber::parse(number)?,
            country: CountryCode::parse(country)?,
        })
    }

    /// Reads the two members of a user. A country beside an E.164 number has to be one, and is
    /// then left out: the platform does not need it.
    ///
    /// # Errors
    /// Says what is wrong with which of the two.
    pub fn parse(msisdn: &str, country: Option<&str>) -> Result<Self, RecipientError> {
        let country = country.map(CountryCode::parse).transpose()?;
        if msisdn.starts_with('+') || msisdn.is_empty() {
            return Ok(Self::E164(Msisdn::parse(msisdn)?));
        }
        let Some(country) = country else {
            return Err(RecipientError::NoCountry);
        };
        let number = NationalNumber::parse(msisdn)?;
        Ok(Self::National { number, country })
    }

    /// The number as it is sent: with `+`, or as it is dialled within the
    /// [`country`](Self::country).
    pub fn msisdn(&self) -> &str {
        match self {
            Self::E164(msisdn) => msisdn.as_str(),
            Self::National { number, .. } => number.as_str(),
        }
    }

    /// The country that is sent, for a national number alone.
    pub fn country(&self) -> Option<CountryCode> {
        match self {
            Self::E164(_) => None,
            Self::National { country, .. } => Some(*country),
        }
    }
}

impl From<Msisdn> for Recipient {
    fn from(msisdn: Msisdn) -> Self {
        Self::E164(msisdn)
    }
}

impl From<(NationalNumber, CountryCode)> for Recipient {
    fn from((number, country): (NationalNumber, CountryCode)) -> Self {
        Self::National { number, country }
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let country = self.country();
        let members = 1 + usize::from(country.is_some());
        let mut user = serializer.serialize_struct("Recipient", members)?;
        user.serialize_field("msisdn", self.msisdn())?;
        match country {
            Some(country) => user.serialize_field("country", &country)?,
            None => user.skip_field("country")?,
        }
        user.end()
    }
}

/// No error repeats a value or the name of a member, either of which may be a number.
impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let user = Strict::deserialize(deserializer)?.0;
        let known = |name: &String| matches!(name.as_str(), "msisdn" | "country");
        let (msisdn, country) = match (&user["msisdn"], &user["country"]) {
            (Value::String(msisdn), Value::Null) => (msisdn, None),
            (Value::String(msisdn), Value::String(country)) => (msisdn, Some(country.as_str())),
            _ => {
                return Err(D::Error::custom(
                    "a user has a msisdn and maybe a country, both texts",
                ));
            }
        };
        if user.as_object().is_some_and(|members| !members.keys().all(known)) {
            return Err(D::Error::custom("a user has no members but msisdn and country"));
        }
        Self::parse(msisdn, country).map_err(D::Error::custom)
    }
}
