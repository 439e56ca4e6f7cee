//! What is posted: the JSON of a receipt.

use bytes::Bytes;

use super::{Step, Version};
use crate::mock::AcceptedMessage;
use crate::types::{
    Channel, DeliveryReceipt, EventType, Namespace, ReceiptPayload, ReceiptStatus, ReceiptUser,
    Timestamp,
};

/// The JSON of a receipt, with the edit of its step.
pub(super) fn body(
    version: Version,
    sub_account_id: &str,
    accepted: &AcceptedMessage,
    step: &Step,
    timestamp: Timestamp,
) -> Bytes {
    let message = &accepted.message;
    let msisdn = message.user.msisdn();
    let (version, channel_user_id) = match version {
        Version::Eight => {
            let digits: String = msisdn.chars().filter(char::is_ascii_digit).collect();
            (None, Some(digits.into()))
        }
        Version::Nine => (Some(9), None),
    };
    let receipt = DeliveryReceipt {
        version,
        namespace: Some(Namespace::ChatApps),
        event_type: Some(EventType::OutboundMessageStatusChanged),
        description: Some("ChatApps outbound message delivery receipt".into()),
        payload: Some(ReceiptPayload {
            umid: Some(accepted.umid.clone()),
            batch_id: Some(accepted.batch_id.clone()),
            client_message_id: message.client_message_id.clone(),
            client_batch_id: accepted.client_batch_id.clone(),
            sub_account_id: Some(sub_account_id.into()),
            channel: Some(Channel::LineNotification),
            user: Some(ReceiptUser {
                msisdn: Some(msisdn.into()),
                country: message.user.country().map(|country| country.as_str().into()),
                channel_user_id,
                ..ReceiptUser::default()
            }),
            status: Some(ReceiptStatus {
                state: Some(step.state.clone()),
                detail: step.detail.clone(),
                timestamp: Some(timestamp),
                error_code: step.error_code,
                error_message: step.error_message.as_deref().map(Into::into),
                ..ReceiptStatus::default()
            }),
            ..ReceiptPayload::default()
        }),
        ..DeliveryReceipt::default()
    };
    let mut json = serde_json::json!(receipt);
    if let Some(edit) = step.edit {
        edit(&mut json);
    }
    json.to_string().into()
}
