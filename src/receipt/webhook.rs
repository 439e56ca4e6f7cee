//! What a webhook takes from whom.

use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

use super::{Event, UnreadableEvent};

/// Who may post to a webhook, and how what is posted is to be answered: for a server of your own.
/// With the feature `receiver` there is also a `Receiver` to mount.
///
/// The platform sends no signature. It sends a fixed `Authorization` value, which the owner of the
/// account sets for the webhook (`httpAuthorization` of its configuration). Receive over https
/// alone: the value would be read on the way otherwise.
///
/// ```
/// use http::StatusCode;
/// use lon_batch::receipt::{Event, NoEvent, Webhook};
///
/// # fn store(_: &[u8]) {}
/// fn posted(webhook: &Webhook, authorization: Option<&[u8]>, body: &[u8]) -> StatusCode {
///     let read = webhook.read(authorization, body);
///     let status = read.as_ref().map_or_else(NoEvent::status, |_| StatusCode::OK);
///     if status == StatusCode::OK {
///         // Yours: write it down. It does not come again, whatever it is.
///         store(body);
///     }
///     match read {
///         Ok(Event::Receipt(receipt)) => println!("{} is {}", receipt.umid(), receipt.state()),
///         Ok(other) => println!("{other}"),
///         Err(error) => println!("{error}"),
///     }
///     status
/// }
///
/// let webhook = Webhook::new("Bearer my-webhook-secret")?;
/// assert_eq!(posted(&webhook, None, b"{}"), StatusCode::UNAUTHORIZED);
/// let authorization = Some(b"Bearer my-webhook-secret".as_slice());
/// assert_eq!(posted(&webhook, authorization, b"{}"), StatusCode::OK);
/// assert_eq!(posted(&webhook, authorization, b"<html>"), StatusCode::BAD_REQUEST);
/// # Ok::<_, lon_batch::receipt::InvalidAuthorization>(())
/// ```
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Any of them is good; everybody is where there is none.
    authorizations: Vec<SecretString>,
}

/// A value that no request could have in its `Authorization` header: empty, with spaces at its
/// ends, or with anything but visible ASCII characters and spaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} characters; an Authorization value is one or more visible ASCII characters, with spaces only between them"
)]
pub struct InvalidAuthorization {
    found: usize,
}

/// Why there is no event in what was posted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoEvent {
    /// The `Authorization` value is missing or wrong.
    #[error("the Authorization value is missing or wrong; compare it with that of the webhook")]
    Unauthorized,
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
}

impl Webhook {
    /// A webhook that takes what comes with this `Authorization` value, word for word, such as
    /// `Bearer my-webhook-secret`.
    ///
    /// # Errors
    /// No header could have the value.
    pub fn new(authorization: impl Into<SecretString>) -> Result<Self, InvalidAuthorization> {
        Self::open_to_anyone().or(authorization)
    }

    /// A webhook that takes what anyone posts: where something in front of it judges, such as a
    /// gateway that checks the platform's OAuth token.
    pub fn open_to_anyone() -> Self {
        Self { authorizations: Vec::new() }
    }

    /// Takes what comes with this value too, while the one is replaced by the other. What was open
    /// to anyone is open to this value alone.
    ///
    /// # Errors
    /// No header could have the value.
    pub fn or(
        mut self,
        authorization: impl Into<SecretString>,
    ) -> Result<Self, InvalidAuthorization> {
        let authorization = authorization.into();
        let text = authorization.expose_secret();
        let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if text.is_empty() || text.trim() != text || !text.bytes().all(is_visible) {
            let found = text.chars().count();
            return Err(InvalidAuthorization { found });
        }
        self.authorizations.push(authorization);
        Ok(self)
    }

    /// Whether a request may post: by its `Authorization` header, `None` where it has none or
    /// several. How long this takes tells nothing of the value but its length.
    pub fn is_authorized(&self, authorization: Option<&[u8]>) -> bool {
        if self.authorizations.is_empty() {
            return true;
        }
        let given = authorization.unwrap_or_default();
        let known = self.authorizations.iter();
        let same = known.map(|known| known.expose_secret().as_bytes().ct_eq(given));
        same.fold(Choice::from(0), |one, other| one | other).into()
    }

    /// Judges and reads a request: its `Authorization` header and its whole body.
    ///
    /// Answer an event with 200, whatever it is, and an error with its
    /// [`status`](NoEvent::status). Do so within 5 seconds, and write the event down first: what
    /// was answered with 200 does not come again.
    ///
    /// # Errors
    /// The value is missing or wrong, or the body cannot be read; see [`Event::from_json`].
    pub fn read(&self, authorization: Option<&[u8]>, body: &[u8]) -> Result<Event, NoEvent> {
        if !self.is_authorized(authorization) {
            return Err(NoEvent::Unauthorized);
        }
        Ok(Event::from_json(body)?)
    }
}

impl NoEvent {
    /// How to answer: 401 without the right value, 400 where it is not JSON, 413 where it is too
    /// large, and 200 for what else cannot be read, since posting it again would not mend it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unreadable(error) => error.status(),
        }
    }
}
