//! Probable mistakes that the API accepts.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use super::SmsSegments;
use crate::phone::Recipient;
use crate::types::{BatchRequest, Content, Icon, Message, SmsFallback, Text};

/// A probable mistake in a batch. The API accepts it.
///
/// `Display` writes its path, such as `messages[3].content.list: ...`, and repeats no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// The index of the message in the batch, counted from 0; `None` if it is about the batch.
    pub message: Option<usize>,
    /// The kind of mistake.
    pub kind: HintKind,
}

/// The kind of mistake that a [`Hint`] reports.
///
/// 8x8 publishes only the limit of [500 characters], without its unit. The limits on list items,
/// buttons and countries are LINE's own, for its [notification messages]. A message with a hint may
/// still arrive.
///
/// [500 characters]: https://developer.8x8.com/connect/docs/line/official-notification-lon
/// [notification messages]: https://developers.line.biz/en/reference/line-notification-messages/
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HintKind {
    /// The batch does not ask for results. Only a batch has this hint.
    #[error("includeMessagesInResponse: not true, so the response will list no results")]
    NoResults,
    /// The message has no clientMessageId.
    #[error("clientMessageId: not set, so the message may not be matched with its result")]
    NoClientMessageId,
    /// See [`Msisdn::has_trunk_prefix`](crate::Msisdn::has_trunk_prefix).
    #[error("user.msisdn: the 0 after the country code is probably a trunk prefix; leave it out")]
    TrunkPrefix,
    /// The number is outside Japan (+81), Thailand (+66) and Taiwan (+886), the only countries
    /// where LINE has notifications. For a national number the country decides.
    #[error("user: not a number of Japan, Thailand or Taiwan, where LINE has notifications")]
    Country,
    /// The title is missing or blank. LINE's templates have one; the API does not require it.
    #[error("content.title: not set or blank, but a template has a title")]
    NoTitle,
    /// The spec does not list the icon.
    #[error("content.icon: not one that the API lists")]
    UnknownIcon,
    /// The list has this many items. LINE allows at most 15.
    #[error("content.list: {0} items, LINE allows at most {MAX_ITEMS}")]
    Items(usize),
    /// The message has this many buttons. LINE allows at most 2.
    #[error("content.actions: {0} buttons, LINE allows at most {MAX_ACTIONS}")]
    Actions(usize),
    /// Title, greeting, emphasis, list and explanation, with labels, have this many grapheme
    /// clusters (user-visible characters). More than 500 is too long by any way of counting.
    #[error("content: {0} characters, more than {MAX_CHARACTERS}, so it will probably be refused")]
    TooLong(usize),
    /// The same texts have at most 500 grapheme clusters, but this many UTF-16 code units, which is
    /// more than 500. LINE [counts] most texts in UTF-16 units and some in grapheme clusters. The two
    /// differ for emoji and for Thai, whose combining marks are separate units.
    ///
    /// [counts]: https://developers.line.biz/en/docs/messaging-api/text-character-count/
    #[error("content: {0} UTF-16 units, more than {MAX_CHARACTERS}, so it may be refused")]
    PossiblyTooLong(usize),
    /// The SMS fallback has several segments, by the estimate of [`SmsSegments`].
    #[error(
        "smsFallback.text: probably {} segments in {}, each charged as one SMS",
        .0.segments, .0.encoding
    )]
    SmsSegments(SmsSegments),
}

const MAX_ITEMS: usize = 15;
const MAX_ACTIONS: usize = 2;
const MAX_CHARACTERS: usize = 500;

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message {
            Some(index) => write!(f, "messages[{index}].{}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl Message {
    /// Reports probable mistakes that the API accepts, in the order of [`HintKind`].
    ///
    /// [`Batch::hints`](super::Batch::hints) reports the same for each message of a batch.
    pub fn hints(&self) -> Vec<HintKind> {
        of_message(self, &of_content(&self.content))
    }
}

/// The hints of a message whose content has these.
pub(crate) fn of_message(message: &Message, content: &[HintKind]) -> Vec<HintKind> {
    let trunk_prefix = matches!(message.user, Recipient::E164(it) if it.has_trunk_prefix());
    let hints = [
        message.client_message_id.is_none().then_some(HintKind::NoClientMessageId),
        trunk_prefix.then_some(HintKind::TrunkPrefix),
        (!has_notifications(&message.user)).then_some(HintKind::Country),
    ];
    let segments = message.sms_fallback.as_ref().and_then(several_segments);
    let content = content.iter().cloned();
    hints.into_iter().flatten().chain(content).chain(segments).collect()
}

pub(crate) fn of_content(content: &Content) -> Vec<HintKind> {
    let Content { title, icon, list, actions, .. } = content;
    let no_title = title.as_deref().unwrap_or_default().trim().is_empty();
    let hints = [
        no_title.then_some(HintKind::NoTitle),
        matches!(icon, Some(Icon::Other(_))).then_some(HintKind::UnknownIcon),
        (list.len() > MAX_ITEMS).then_some(HintKind::Items(list.len())),
        (actions.len() > MAX_ACTIONS).then_some(HintKind::Actions(actions.len())),
        length(content),
    ];
    hints.into_iter().flatten().collect()
}

fn several_segments(sms: &SmsFallback) -> Option<HintKind> {
    // So few bytes are one segment in any encoding.
    const ONE_SEGMENT: usize = 70;
    let text = sms.text.as_deref().filter(|text| text.len() > ONE_SEGMENT);
    let segments = text.map(|_| sms.segments());
    segments.filter(|sms| sms.segments > 1).map(HintKind::SmsSegments)
}

pub(super) fn hints(request: &BatchRequest) -> Vec<Hint> {
    let asks_for_results = request.include_messages_in_response == Some(true);
    let batch = (!asks_for_results).then_some(Hint { message: None, kind: HintKind::NoResults });
    let messages = request.messages.iter().enumerate().flat_map(|(index, message)| {
        message.hints().into_iter().map(move |kind| Hint { message: Some(index), kind })
    });
    batch.into_iter().chain(messages).collect()
}

fn has_notifications(recipient: &Recipient) -> bool {
    match recipient {
        Recipient::E164(msisdn) => {
            let number = msisdn.as_str();
            ["+81", "+66", "+886"].iter().any(|code| number.starts_with(code))
        }
        Recipient::National { country, .. } => matches!(country.as_str(), "JP" | "TH" | "TW"),
    }
}

/// A hint if the texts that the limit covers are too long. A grapheme cluster has at least one
/// UTF-16 unit.
fn length(content: &Content) -> Option<HintKind> {
    let emphasis = content.emphasis.iter().flat_map(|it| [&it.label, &it.content]);
    let list = content.list.iter().flat_map(|it| [&it.label, &it.content]);
    let texts = [&content.title, &content.greeting, &content.explanation];
    let texts = texts.into_iter().chain(emphasis).chain(list).flatten().map(Text::as_str);
    // A text has no more UTF-16 units than bytes.
    if texts.clone().map(str::len).sum::<usize>() <= MAX_CHARACTERS {
        return None;
    }
    let units = texts.clone().map(|text| text.encode_utf16().count()).sum();
    if units <= MAX_CHARACTERS {
        return None;
    }
    let graphemes = texts.map(|text| text.graphemes(true).count()).sum();
    if graphemes > MAX_CHARACTERS {
        return Some(HintKind::TooLong(graphemes));
    }
    Some(HintKind::PossiblyTooLong(units))
}
