//! The check of who may post to a webhook.

use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

/// The `Authorization` value that the platform sends with every post.
///
/// The owner of the account sets it for the webhook (`httpAuthorization` in its configuration). It
/// is the only proof that a post comes from the platform, so treat it as a password, and receive
/// posts over https only. Neither `Debug` nor any error prints it.
///
/// `Receiver` (feature `receiver`) checks posts itself. In a server of your own:
///
/// ```
/// use http::StatusCode;
/// use lon_batch::receipt::{Event, Webhook};
///
/// # fn store(_: &Event) -> Result<(), ()> { Ok(()) }
/// fn post(webhook: &Webhook, authorization: Option<&[u8]>, body: &[u8]) -> StatusCode {
///     if !webhook.is_authorized(authorization) {
///         return StatusCode::UNAUTHORIZED;
///     }
///     match Event::from_json(body) {
///         // Store it before you answer: after a 200, the platform does not post it again.
///         Ok(event) => match store(&event) {
///             Ok(()) => StatusCode::OK,
///             Err(()) => StatusCode::INTERNAL_SERVER_ERROR,
///         },
///         Err(error) => error.status(),
///     }
/// }
///
/// let webhook = Webhook::new("Bearer my-webhook-secret")?;
/// assert_eq!(post(&webhook, None, b"{}"), StatusCode::UNAUTHORIZED);
/// let authorization = Some(b"Bearer my-webhook-secret".as_slice());
/// assert_eq!(post(&webhook, authorization, b"{}"), StatusCode::OK);
/// assert_eq!(post(&webhook, authorization, b"<html>"), StatusCode::BAD_REQUEST);
/// # Ok::<_, lon_batch::receipt::InvalidAuthorization>(())
/// ```
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Any of them may post. Empty: everyone may.
    authorizations: Vec<SecretString>,
}

/// An `Authorization` value that no request can have: empty, with spaces at its ends, or with
/// anything but visible ASCII characters and spaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Authorization value ({found} characters) must be visible ASCII characters, with spaces only between them"
)]
pub struct InvalidAuthorization {
    found: usize,
}

impl Webhook {
    /// A webhook for posts with exactly this `Authorization` value, such as
    /// `Bearer my-webhook-secret`.
    ///
    /// # Errors
    /// The value is empty, has spaces at its ends, or has other characters than visible ASCII and
    /// spaces.
    pub fn new(authorization: impl Into<SecretString>) -> Result<Self, InvalidAuthorization> {
        Self::open_to_anyone().or(authorization)
    }

    /// A webhook to which anyone may post. Use it only if a gateway in front of it authenticates
    /// the platform.
    pub fn open_to_anyone() -> Self {
        Self { authorizations: Vec::new() }
    }

    /// Also accepts this value, so that you can replace one value by another without losing
    /// receipts. A webhook that was [open to anyone](Self::open_to_anyone) then accepts only this
    /// value.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn or(
        mut self,
        authorization: impl Into<SecretString>,
    ) -> Result<Self, InvalidAuthorization> {
        let authorization = authorization.into();
        let text = authorization.expose_secret();
        let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if text.is_empty() || text.trim() != text || !text.bytes().all(is_visible) {
            return Err(InvalidAuthorization { found: text.chars().count() });
        }
        self.authorizations.push(authorization);
        Ok(self)
    }

    /// Whether a request may post, by its `Authorization` header: `None` if it has none, or several.
    ///
    /// The comparison takes the same time for any value of the same length.
    pub fn is_authorized(&self, authorization: Option<&[u8]>) -> bool {
        if self.authorizations.is_empty() {
            return true;
        }
        let given = authorization.unwrap_or_default();
        let known = self.authorizations.iter();
        let same = known.map(|known| known.expose_secret().as_bytes().ct_eq(given));
        same.fold(Choice::from(0), |one, other| one | other).into()
    }
}
