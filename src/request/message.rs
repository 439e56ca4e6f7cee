//! Builder methods of the generated request types.
//!
//! None of them can fail. Building the batch reports the problems of a message.

use crate::types::{
    Action, ClientId, Content, Emphasis, Encoding, Icon, ListItem, Message, SmsFallback, Text,
};

impl Message {
    /// Sets your own reference, at most 50 characters and different from every other in the batch.
    ///
    /// It matches the message with its result. If the response is lost, it is also the only way to
    /// match delivery receipts.
    #[must_use]
    pub fn client_message_id(mut self, id: impl Into<ClientId>) -> Self {
        self.client_message_id = Some(id.into());
        self
    }

    /// Sets where the platform posts delivery receipts of this message: an absolute http or https
    /// URL.
    #[must_use]
    pub fn dlr_callback_url(mut self, url: impl Into<Text>) -> Self {
        self.dlr_callback_url = Some(url.into());
        self
    }

    /// Sets the SMS that the platform sends if it cannot deliver the notification.
    #[must_use]
    pub fn sms_fallback(mut self, fallback: SmsFallback) -> Self {
        self.sms_fallback = Some(fallback);
        self
    }
}

impl Content {
    /// Creates content with a title. Use `Content::default()` for content without one.
    pub fn new(title: impl Into<Text>) -> Self {
        Self { title: Some(title.into()), ..Self::default() }
    }

    /// Sets the name of the company that sends the notification.
    #[must_use]
    pub fn company(mut self, company: impl Into<Text>) -> Self {
        self.company = Some(company.into());
        self
    }

    /// Sets the picture beside the title.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// Sets the one highlighted line: its label and its text.
    #[must_use]
    pub fn emphasis(mut self, label: impl Into<Text>, content: impl Into<Text>) -> Self {
        self.emphasis = Some(Emphasis {
            label: Some(label.into()),
            content: Some(content.into()),
            ..Emphasis::default()
        });
        self
    }

    /// Adds a line of the list: its label and its text. LINE itself shows at most 15.
    #[must_use]
    pub fn item(mut self, label: impl Into<Text>, content: impl Into<Text>) -> Self {
        self.list.push(ListItem {
            label: Some(label.into()),
            content: Some(content.into()),
            ..ListItem::default()
        });
        self
    }

    /// Sets the greeting.
    #[must_use]
    pub fn greeting(mut self, greeting: impl Into<Text>) -> Self {
        self.greeting = Some(greeting.into());
        self
    }

    /// Sets the explanation.
    #[must_use]
    pub fn explanation(mut self, explanation: impl Into<Text>) -> Self {
        self.explanation = Some(explanation.into());
        self
    }

    /// Adds a button: its text, and the absolute http or https URL that it opens. LINE itself shows
    /// at most 2.
    #[must_use]
    pub fn action(mut self, title: impl Into<Text>, url: impl Into<Text>) -> Self {
        self.actions.push(Action {
            title: Some(title.into()),
            url: Some(url.into()),
            ..Action::default()
        });
        self
    }
}

impl SmsFallback {
    /// Creates an SMS with its text.
    pub fn new(text: impl Into<Text>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// Sets the sender of the SMS: a number or a name of at most 16 characters.
    #[must_use]
    pub fn source(mut self, source: impl Into<Text>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets how the text is encoded.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }
}
