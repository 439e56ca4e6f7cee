//! What is probably not meant, and is no error.

use std::fmt;

use crate::{BatchRequest, Content, Recipient};

/// Something about a message that is probably not meant. It is sent all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// The message, counted from 0.
    pub message: usize,
    /// What it is about.
    pub kind: HintKind,
}

/// What a [`Hint`] is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HintKind {
    /// See [`Msisdn::has_trunk_prefix`](crate::Msisdn::has_trunk_prefix).
    #[error("user.msisdn: a trunk prefix, the 0 after the country code, is probably left in")]
    TrunkPrefix,
    /// LINE Official Notifications exist for numbers of Japan, Thailand and Taiwan.
    #[error("user.msisdn: not a number of Japan, Thailand or Taiwan, where LINE has notifications")]
    Country,
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
        write!(f, "messages[{}].{}", self.message, self.kind)
    }
}

pub(crate) fn of(request: &BatchRequest) -> Vec<Hint> {
    let messages = request.messages.iter().enumerate();
    messages
        .flat_map(|(message, sent)| {
            of_recipient(&sent.user)
                .into_iter()
                .chain(of_content(&sent.content))
                .map(move |kind| Hint { message, kind })
        })
        .collect()
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
    let emphasis = content
        .emphasis
        .iter()
        .flat_map(|emphasis| [&emphasis.label, &emphasis.content]);
    let list = content
        .list
        .iter()
        .flat_map(|item| [&item.label, &item.content]);
    let characters = [&content.title, &content.greeting, &content.explanation]
        .into_iter()
        .chain(emphasis)
        .chain(list)
        .flatten()
        .map(|text| text.chars().count())
        .sum();
    let (items, actions) = (content.list.len(), content.actions.len());
    [
        (items > MAX_ITEMS).then_some(HintKind::Items(items)),
        (actions > MAX_ACTIONS).then_some(HintKind::Actions(actions)),
        (characters > MAX_CHARS).then_some(HintKind::Characters(characters)),
    ]
    .into_iter()
    .flatten()
}
