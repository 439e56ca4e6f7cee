//! The JSON of a receipt, as it is posted.

use bytes::Bytes;
use serde_json::{Value, json};

use super::outbox::Addressed;
use super::{Step, Version};

/// The JSON of a receipt, with the edit of its step.
pub(super) fn body(
    version: Version,
    sub_account_id: &str,
    message: &Addressed,
    step: &Step,
    timestamp: &str,
) -> Bytes {
    let Addressed { accepted, country, .. } = message;
    let mut receipt = json!({
        "namespace": "ChatApps",
        "eventType": "outbound_message_status_changed",
        "description": "ChatApps outbound message delivery receipt",
        "payload": {
            "umid": accepted.umid,
            "batchId": accepted.batch_id,
            "subAccountId": sub_account_id,
            "channel": "LineNotification",
            "user": { "msisdn": accepted.msisdn },
            "status": { "state": step.state, "timestamp": timestamp },
        },
    });
    let mut set = |pointer: &str, name: &str, value: Option<Value>| {
        if let (Some(object), Some(value)) = (receipt.pointer_mut(pointer), value) {
            object[name] = value;
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    set("/payload", "clientMessageId", text(&accepted.client_message_id));
    set("/payload", "clientBatchId", text(&accepted.client_batch_id));
    set("/payload/user", "country", text(country));
    set("/payload/status", "detail", step.detail.as_deref().map(Value::from));
    set("/payload/status", "errorCode", step.error_code.map(Value::from));
    set("/payload/status", "errorMessage", text(&step.error_message));
    match version {
        Version::Eight => {
            let digits = accepted.msisdn.trim_start_matches('+');
            set("/payload/user", "channelUserId", Some(digits.into()));
        }
        Version::Nine => set("", "version", Some(9.into())),
    }
    if let Some(edit) = step.edit {
        edit(&mut receipt);
    }
    receipt.to_string().into()
}
