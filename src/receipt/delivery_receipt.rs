//! The members of a delivery receipt, and a builder for tests.

use std::sync::LazyLock;

use super::{
    Channel, DeliveryReceipt, EventType, Namespace, ReceiptErrorCode, ReceiptStatus, Stage,
};
use crate::types::{ClientId, MessageState, StatusDetail, Text, Timestamp};

impl DeliveryReceipt {
    /// Builds a receipt for tests, like those of the platform: version 9, of the channel
    /// `LineNotification` and the sub-account `my-subaccount`.
    ///
    /// ```
    /// use lon_batch::receipt::{DeliveryReceipt, Event};
    ///
    /// let receipt = DeliveryReceipt::builder("message-1", "undelivered")
    ///     .client_message_id("order-17")
    ///     .timestamp("2026-01-04T08:20:02.31Z")
    ///     .error(46)
    ///     .build();
    /// let body = serde_json::to_vec(&receipt)?;
    ///
    /// let event = Event::from_json(&body)?;
    /// assert_eq!(event.receipt(), Some(&receipt));
    /// assert_eq!(receipt.reason(), Some("The recipient cannot be reached."));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(umid: impl Into<Text>, state: impl Into<MessageState>) -> ReceiptBuilder {
        let mut receipt = Self {
            version: Some(9),
            namespace: Some(Namespace::ChatApps),
            event_type: Some(EventType::OutboundMessageStatusChanged),
            description: Some("ChatApps outbound message delivery receipt".into()),
            ..Self::default()
        };
        let payload = receipt.payload.get_or_insert_default();
        payload.umid = Some(umid.into());
        payload.sub_account_id = Some("my-subaccount".into());
        payload.channel = Some(Channel::LineNotification);
        payload.user.get_or_insert_default();
        payload.status.get_or_insert_default().state = Some(state.into());
        ReceiptBuilder { receipt }
    }

    fn status(&self) -> Option<&ReceiptStatus> {
        self.payload.as_ref()?.status.as_ref()
    }

    /// Whether it has the members that every receipt needs.
    pub(super) fn is_complete(&self) -> bool {
        let state = self.status().and_then(|status| status.state.as_ref());
        !self.umid().is_empty() && state.is_some_and(|state| !state.as_str().is_empty())
    }

    /// The channel of the message.
    pub fn channel(&self) -> Option<&Channel> {
        self.payload.as_ref()?.channel.as_ref()
    }

    /// Whether the channel of the message is LON.
    pub fn is_lon(&self) -> bool {
        self.channel() == Some(&Channel::LineNotification)
    }

    /// The platform's id of the message. Every receipt from
    /// [`Event::from_json`](super::Event::from_json) has one; otherwise empty if missing.
    pub fn umid(&self) -> &Text {
        static MISSING: LazyLock<Text> = LazyLock::new(Text::default);
        self.payload.as_ref().and_then(|payload| payload.umid.as_ref()).unwrap_or(&MISSING)
    }

    /// The clientMessageId of the request. `None` if it is missing or empty.
    pub fn client_message_id(&self) -> Option<&str> {
        let id = self.payload.as_ref()?.client_message_id.as_deref()?;
        (!id.is_empty()).then_some(id)
    }

    /// The clientBatchId of the request. `None` if it is missing or empty.
    pub fn client_batch_id(&self) -> Option<&str> {
        let id = self.payload.as_ref()?.client_batch_id.as_deref()?;
        (!id.is_empty()).then_some(id)
    }

    /// The state of the message. Every receipt from
    /// [`Event::from_json`](super::Event::from_json) has one; otherwise
    /// [`MessageState::Unknown`] if missing.
    pub fn state(&self) -> &MessageState {
        let state = self.status().and_then(|status| status.state.as_ref());
        state.unwrap_or(&MessageState::Unknown)
    }

    /// The stage of the state.
    pub fn stage(&self) -> Option<Stage> {
        self.state().stage()
    }

    /// Details of the state.
    pub fn detail(&self) -> Option<&StatusDetail> {
        self.status()?.detail.as_ref()
    }

    /// When the platform observed the state.
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.status()?.timestamp.as_ref()
    }

    /// Why the message was not sent or not delivered. `None` for 0, which means no error.
    pub fn error_code(&self) -> Option<ReceiptErrorCode> {
        let code = self.status()?.error_code?;
        (code != ReceiptErrorCode::NoError).then_some(code)
    }

    /// The same in words, the platform's or else those of this crate for the code. The platform's
    /// words may contain a phone number.
    pub fn reason(&self) -> Option<&str> {
        self.error_message().or_else(|| self.error_code()?.reason())
    }

    /// The platform's words for the error.
    pub(super) fn error_message(&self) -> Option<&str> {
        let words = self.status()?.error_message.as_deref()?;
        (!words.trim().is_empty()).then_some(words)
    }
}

/// Builds a [`DeliveryReceipt`] for tests; see [`DeliveryReceipt::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ReceiptBuilder {
    receipt: DeliveryReceipt,
}

impl ReceiptBuilder {
    /// Sets the clientMessageId of the request.
    pub fn client_message_id(mut self, id: impl Into<ClientId>) -> Self {
        self.receipt.payload.get_or_insert_default().client_message_id = Some(id.into());
        self
    }

    /// Sets the clientBatchId of the request.
    pub fn client_batch_id(mut self, id: impl Into<ClientId>) -> Self {
        self.receipt.payload.get_or_insert_default().client_batch_id = Some(id.into());
        self
    }

    /// Sets the channel, such as `sms` for an SMS fallback. Default: `LineNotification`.
    pub fn channel(mut self, channel: impl Into<Channel>) -> Self {
        self.receipt.payload.get_or_insert_default().channel = Some(channel.into());
        self
    }

    /// Sets the details of the state.
    pub fn detail(mut self, detail: impl Into<StatusDetail>) -> Self {
        self.status().detail = Some(detail.into());
        self
    }

    /// Sets when the platform observed the state, such as `2026-01-04T08:20:02.31Z`.
    pub fn timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.status().timestamp = Some(timestamp.into());
        self
    }

    /// Sets why the message was not delivered.
    pub fn error(mut self, code: impl Into<ReceiptErrorCode>) -> Self {
        self.status().error_code = Some(code.into());
        self
    }

    /// The receipt. To set other members, change its public fields.
    pub fn build(self) -> DeliveryReceipt {
        self.receipt
    }

    fn status(&mut self) -> &mut ReceiptStatus {
        self.receipt.payload.get_or_insert_default().status.get_or_insert_default()
    }
}
