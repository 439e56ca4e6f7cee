use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    CountryCode, CountryCodeError, Msisdn, MsisdnError, NationalNumber, NationalNumberError,
    hide_value, starts_with_plus,
};
use crate::json::OnlyObject;

/// The recipient of a message: `user` in JSON.
///
/// It is serialised as `{"msisdn": ..., "country": ...}`, without `country` for an E.164 number.
///
/// A national number without a country is not a recipient:
///
/// ```compile_fail,E0277
/// use lon_batch::{Content, Message, NationalNumber};
///
/// let number = NationalNumber::parse("91234567").unwrap();
/// Message::new(number, Content::new("Hello"));
/// ```
///
/// With a country it is:
///
/// ```
/// use lon_batch::{Content, CountryCode, Message, NationalNumber};
///
/// let number = NationalNumber::parse("91234567").unwrap();
/// Message::new((number, CountryCode::parse("SG").unwrap()), Content::new("Hello"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// A number in E.164 form, sent without a country.
    E164(Msisdn),
    /// A number as dialled within a country, sent with that country.
    National {
        /// The number.
        number: NationalNumber,
        /// Its country.
        country: CountryCode,
    },
}

/// Why a number and a country are not a [`Recipient`]. Contains neither of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The number is empty or starts with `+`, and it is not E.164.
    #[error("the phone number is not E.164: {0}")]
    Msisdn(#[from] MsisdnError),
    /// The number does not start with `+`, and it is not a national number.
    #[error("the phone number is not a national number: {0}")]
    National(#[from] NationalNumberError),
    /// The country is not two ASCII letters.
    #[error(transparent)]
    Country(#[from] CountryCodeError),
    /// The number does not start with `+`, and there is no country.
    #[error("the phone number does not start with `+`, so it needs a country")]
    NoCountry,
}

impl Recipient {
    /// A number as dialled within a country.
    ///
    /// ```
    /// use lon_batch::Recipient;
    ///
    /// let recipient = Recipient::national("91234567", "sg")?;
    /// assert_eq!(
    ///     serde_json::to_string(&recipient).unwrap(),
    ///     r#"{"msisdn":"91234567","country":"SG"}"#,
    /// );
    /// # Ok::<_, lon_batch::phone::RecipientError>(())
    /// ```
    ///
    /// # Errors
    /// The number is not 4 to 15 digits, or the country is not two ASCII letters.
    pub fn national(number: &str, country: &str) -> Result<Self, RecipientError> {
        Ok(Self::National {
            number: NationalNumber::parse(number)?,
            country: CountryCode::parse(country)?,
        })
    }

    /// Parses the two members of a `user`.
    ///
    /// A number that starts with `+` must be an [`Msisdn`]. Its country is checked and then
    /// dropped, because the platform does not need it. Any other number is a [`NationalNumber`] and
    /// needs a country.
    ///
    /// # Errors
    /// [`RecipientError`] says which of the two is wrong, and why.
    pub fn parse(msisdn: &str, country: Option<&str>) -> Result<Self, RecipientError> {
        let country = country.map(CountryCode::parse).transpose()?;
        if msisdn.is_empty() || msisdn.starts_with('+') {
            return Ok(Msisdn::parse(msisdn)?.into());
        }
        let country = country.ok_or(RecipientError::NoCountry)?;
        Ok((NationalNumber::parse(msisdn)?, country).into())
    }

    /// Like [`parse`](Self::parse), for a number and a country as people type them, for instance in
    /// two columns of a spreadsheet. The number is parsed [leniently](super#lenient-parsing). The
    /// country is trimmed, and a blank country counts as none.
    ///
    /// ```
    /// use lon_batch::Recipient;
    ///
    /// assert_eq!(Recipient::parse_lenient("081-234-5678", Some("th"))?.msisdn(), "0812345678");
    /// assert_eq!(Recipient::parse_lenient("+66 81 234 5678", Some(""))?.msisdn(), "+66812345678");
    /// # Ok::<_, lon_batch::phone::RecipientError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_lenient(msisdn: &str, country: Option<&str>) -> Result<Self, RecipientError> {
        let country = country.map(str::trim).filter(|text| !text.is_empty());
        let country = country.map(CountryCode::parse).transpose()?;
        if starts_with_plus(msisdn) {
            return Ok(Msisdn::parse_lenient(msisdn)?.into());
        }
        let country = country.ok_or(RecipientError::NoCountry)?;
        Ok((NationalNumber::parse_lenient(msisdn)?, country).into())
    }

    /// The number as sent: with `+`, or as dialled within the [`country`](Self::country).
    pub fn msisdn(&self) -> &str {
        match self {
            Self::E164(msisdn) => msisdn.as_str(),
            Self::National { number, .. } => number.as_str(),
        }
    }

    /// The country as sent: only a national number has one.
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

/// The two members, as they are in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct User<T> {
    msisdn: T,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<T>,
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let country = self.country();
        let country = country.as_ref().map(CountryCode::as_str);
        User { msisdn: self.msisdn(), country }.serialize(serializer)
    }
}

/// Parses an object like [`Recipient::parse`]. Refuses an array, a member that is unknown or
/// appears twice, and a member that is not a string. `country` may be `null`.
impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected an object with the string `msisdn` and optionally `country`";
        let OnlyObject(user) = OnlyObject::<User<String>>::deserialize(deserializer)
            .map_err(|error| hide_value(&error, expected))?;
        Self::parse(&user.msisdn, user.country.as_deref()).map_err(D::Error::custom)
    }
}
