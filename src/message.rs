//! Builders: methods on the generated types of a request.
//!
//! None of them can fail; what is wrong with a message is told when its batch is built.

#![allow(clippy::needless_update, reason = "a member that is added to the spec starts unset")]

use smol_str::SmolStr;

use crate::{
    Action, Content, Emphasis, Encoding, Icon, ListItem, Message, Recipient, SharedContent,
    SharedSmsFallback, SmsFallback,
};

impl Message {
    /// A message of a content to a recipient.
    pub fn new(to: impl Into<Recipient>, content: impl Into<SharedContent>) -> Self {
        Self::required(to.into(), content.into())
    }

    /// Your own reference, at most 50 characters and unlike every other of the batch. Without it
    /// the verdict on this message cannot be told from others.
    #[must_use]
    pub fn client_message_id(mut self, id: impl Into<SmolStr>) -> Self {
        self.client_message_id = Some(id.into());
        self
    }

    /// Where delivery receipts of this message are posted: an absolute http or https URL.
    #[must_use]
    pub fn dlr_callback_url(mut self, url: impl Into<SmolStr>) -> Self {
        self.dlr_callback_url = Some(url.into());
        self
    }

    /// The SMS that is sent where the notification cannot be delivered.
    #[must_use]
    pub fn sms_fallback(mut self, fallback: impl Into<SharedSmsFallback>) -> Self {
        self.sms_fallback = Some(fallback.into());
        self
    }
}

impl Content {
    /// A content with a title. One without a title starts as `Content::default()`.
    pub fn new(title: impl Into<SmolStr>) -> Self {
        Self { title: Some(title.into()), ..Self::default() }
    }

    /// The name of the company that sends.
    #[must_use]
    pub fn company(mut self, company: impl Into<SmolStr>) -> Self {
        self.company = Some(company.into());
        self
    }

    /// The picture beside the title.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// The one line that stands out: what it is about, and its text.
    #[must_use]
    pub fn emphasis(mut self, label: impl Into<SmolStr>, content: impl Into<SmolStr>) -> Self {
        self.emphasis = Some(Emphasis {
            label: Some(label.into()),
            content: Some(content.into()),
            ..Emphasis::default()
        });
        self
    }

    /// One more line of the list: what it is about, and its text. LINE itself shows at most 15.
    #[must_use]
    pub fn item(mut self, label: impl Into<SmolStr>, content: impl Into<SmolStr>) -> Self {
        self.list.push(ListItem {
            label: Some(label.into()),
            content: Some(content.into()),
            ..ListItem::default()
        });
        self
    }

    /// A greeting.
    #[must_use]
    pub fn greeting(mut self, greeting: impl Into<SmolStr>) -> Self {
        self.greeting = Some(greeting.into());
        self
    }

    /// An explanation.
    #[must_use]
    pub fn explanation(mut self, explanation: impl Into<SmolStr>) -> Self {
        self.explanation = Some(explanation.into());
        self
    }

    /// One more button: its text, and the page that it opens, an absolute http or https URL. LINE
    /// itself shows at most 2.
    #[must_use]
    pub fn action(mut self, title: impl Into<SmolStr>, url: impl Into<SmolStr>) -> Self {
        self.actions.push(Action {
            title: Some(title.into()),
            url: Some(url.into()),
            ..Action::default()
        });
        self
    }
}

impl SmsFallback {
    /// An SMS with a text.
    pub fn new(text: impl Into<SmolStr>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// The sender that the SMS shows, a number or a name, at most 16 characters.
    #[must_use]
    pub fn source(mut self, source: impl Into<SmolStr>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// How the text is encoded.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }
}
