//! Probable mistakes that are no errors.

use std::fmt;

use crate::phone::Recipient;
use crate::types::{BatchRequest, Content, Icon};

/// A probable mistake in a batch. The API accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// The message, counted from 0; `None` where it is about the batch.
    pub message: Option<usize>,
    /// The kind of mistake.
    pub kind: HintKind,
}

/// The kind of mistake that a [`Hint`] reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HintKind {
    /// See [`Msisdn::has_trunk_prefix`](crate::Msisdn::has_trunk_prefix).
    #[error("user.msisdn: a trunk prefix, the 0 after the country code, is probably left in")]
    TrunkPrefix,
    /// LINE Official Notifications exist for numbers of Japan, Thailand and Taiwan.
    #[error("user.msisdn: not a number of Japan, Thailand or Taiwan, where LINE has notifications")]
    Country,
    /// The response will list no results, because the request does not ask for them.
    #[error("includeMessagesInResponse: not on, so the response will list no results")]
    NoVerdicts,
    /// No result can be matched with the message.
    #[error("clientMessageId: not set, so no result can be matched with the message")]
    NoClientMessageId,
    /// The icon is not one that the spec lists.
    #[error("content.icon: not one that the API lists")]
    UnknownIcon,
    /// LINE shows at most 15 list items.
    #[error("content.list: {0} entries, LINE shows at most {MAX_ITEMS}")]
    Items(usize),
    /// LINE shows at most 2 buttons.
    #[error("content.actions: {0} entries, LINE shows at most {MAX_ACTIONS}")]
    Actions(usize),
    /// A template has at most 500 characters over title, greeting, emphasis, list and
    /// explanation. Which unit LINE counts in is not published; here it is Unicode scalar values.
    #[error("content: {0} characters, a template has at most {MAX_CHARS}")]
    Characters(usize),
}

const MAX_ITEMS: usize = 15;
const MAX_ACTIONS: usize = 2;
const MAX_CHARS: usize = 500;

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message {
            Some(index) => write!(f, "messages[{index}].{}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

pub(super) fn hints(request: &BatchRequest) -> Vec<Hint> {
    let no_verdicts = request.include_messages_in_response != Some(true);
    let of_batch = no_verdicts.then_some(Hint { message: None, kind: HintKind::NoVerdicts });
    let messages = request.messages.iter().enumerate();
    let of_messages = messages.flat_map(|(index, sent)| {
        let no_id = sent.client_message_id.is_none();
        no_id
            .then_some(HintKind::NoClientMessageId)
            .into_iter()
            .chain(of_recipient(&sent.user))
            .chain(of_content(&sent.content))
            .map(move |kind| Hint { message: Some(index), kind })
    });
    of_batch.into_iter().chain(of_messages).collect()
}

fn of_recipient(recipient: &Recipient) -> Option<HintKind> {
    match recipient {
        Recipient::E164(msisdn) if msisdn.has_trunk_prefix() => Some(HintKind::TrunkPrefix),
        Recipient::E164(msisdn) => {
            let reached = ["+81", "+66", "+886"];
            let reached = reached.iter().any(|code| msisdn.as_str().starts_with(code));
            (!reached).then_some(HintKind::Country)
        }
        Recipient::National { country, .. } => {
            (!matches!(country.as_str(), "JP" | "TH" | "TW")).then_some(HintKind::Country)
        }
    }
}

fn of_content(content: &Content) -> impl Iterator<Item = HintKind> {
    let emphasis =
        content.emphasis.iter().flat_map(|emphasis| [&emphasis.label, &emphasis.content]);
    let list = content.list.iter().flat_map(|item| [&item.label, &item.content]);
    let characters = [&content.title, &content.greeting, &content.explanation]
        .into_iter()
        .chain(emphasis)
        .chain(list)
        .flatten()
        .map(|text| text.chars().count())
        .sum();
    let (items, actions) = (content.list.len(), content.actions.len());
    let unknown_icon = matches!(content.icon, Some(Icon::Other(_)));
    [
        unknown_icon.then_some(HintKind::UnknownIcon),
        (items > MAX_ITEMS).then_some(HintKind::Items(items)),
        (actions > MAX_ACTIONS).then_some(HintKind::Actions(actions)),
        (characters > MAX_CHARS).then_some(HintKind::Characters(characters)),
    ]
    .into_iter()
    .flatten()
}
