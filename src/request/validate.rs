//! Validates a request. The build generates a [`Validate`] for each request object. [`problems`]
//! adds the rules that no schema can express.

use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;

use reqwest::Url;
use url::Host;

use super::{MessageContent, SharedContent};
use crate::invalid::{Problem, Rule};
use crate::types::{BatchRequest, Content, Message, SmsFallback, Text};

/// Validates a value and its members.
pub(crate) trait Validate {
    fn validate(&self, path: &Path<'_>, found: &mut Found);
}

/// The path of a value. It is formatted only if the value breaks a rule.
pub(crate) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'static str),
    Entry(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(above, name) => write!(f, "{above}.{name}"),
            Self::Entry(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// The problems found so far.
#[derive(Default)]
pub(crate) struct Found {
    problems: Vec<Problem>,
    /// Scheme and authority of valid URLs. The URLs of a batch usually share a few.
    origins: Vec<String>,
    /// The address of the last valid shared content. The messages of a batch usually share one.
    last_valid_content: usize,
}

impl Found {
    pub fn add(&mut self, path: &Path<'_>, rule: Rule) {
        self.problems.push(Problem::new(path.to_string(), rule));
    }

    pub fn object(&mut self, path: &Path<'_>, name: &'static str, value: Option<&impl Validate>) {
        if let Some(value) = value {
            value.validate(&Path::Member(path, name), self);
        }
    }

    pub fn list(
        &mut self,
        path: &Path<'_>,
        name: &'static str,
        list: &[impl Validate],
        count: RangeInclusive<usize>,
    ) {
        let path = Path::Member(path, name);
        if !count.contains(&list.len()) {
            let (found, (min, max)) = (list.len(), count.into_inner());
            self.add(&path, Rule::Count { found, min, max });
        }
        for (index, entry) in list.iter().enumerate() {
            entry.validate(&Path::Entry(&path, index), self);
        }
    }

    pub fn length(&mut self, path: &Path<'_>, name: &'static str, text: Option<&str>, max: usize) {
        // A text has at most as many characters as bytes.
        let found = text.filter(|text| text.len() > max).map_or(0, |text| text.chars().count());
        if found > max {
            self.add(&Path::Member(path, name), Rule::TooLong { found, max });
        }
    }

    pub fn url(&mut self, path: &Path<'_>, name: &'static str, text: Option<&str>) {
        if let Some(text) = text
            && !is_http_url(text, &mut self.origins)
        {
            let found = text.chars().count();
            self.add(&Path::Member(path, name), Rule::NotHttpUrl { found });
        }
    }
}

/// Every problem of a request.
pub(crate) fn problems(request: &BatchRequest) -> Vec<Problem> {
    let mut found = Found::default();
    request.validate(&Path::Root, &mut found);
    let messages = Path::Member(&Path::Root, "messages");
    for (index, first) in duplicates(&request.messages) {
        let message = Path::Entry(&messages, index);
        let id = Path::Member(&message, "clientMessageId");
        found.add(&id, Rule::Duplicate { first });
    }
    for (index, message) in request.messages.iter().enumerate() {
        let path = Path::Entry(&messages, index);
        if is_blank(&message.content) {
            found.add(&Path::Member(&path, "content"), Rule::NothingSet);
        }
        if message.sms_fallback.as_ref().is_some_and(has_no_text) {
            found.add(&Path::Member(&path, "smsFallback"), Rule::NoText);
        }
    }
    found.problems
}

/// Messages with a repeated clientMessageId, each with the first message that has it.
fn duplicates(messages: &[Message]) -> Vec<(usize, usize)> {
    let ids = || {
        let messages = messages.iter().enumerate();
        messages.filter_map(|(index, message)| Some((message.client_message_id.as_deref()?, index)))
    };
    // Ascending ids are unique.
    if ids().is_sorted_by(|(one, _), (next, _)| (one.len(), *one) < (next.len(), *next)) {
        return Vec::new();
    }
    let mut first = HashMap::with_capacity(messages.len());
    let first = ids().map(|(id, index)| (index, *first.entry(id).or_insert(index)));
    first.filter(|(index, first)| index != first).collect()
}

fn is_blank(content: &Content) -> bool {
    let blank = |text: &Option<Text>| text.as_deref().is_none_or(str::is_empty);
    let icon = content.icon.as_ref();
    [&content.title, &content.company, &content.greeting, &content.explanation]
        .into_iter()
        .all(blank)
        && icon.is_none_or(|icon| icon.as_str().is_empty())
        && content.emphasis.iter().all(|it| blank(&it.label) && blank(&it.content))
        && content.list.iter().all(|it| blank(&it.label) && blank(&it.content))
        && content.actions.iter().all(|it| blank(&it.title) && blank(&it.url))
}

fn has_no_text(sms: &SmsFallback) -> bool {
    sms.text.as_deref().is_none_or(str::is_empty)
}

impl Validate for MessageContent {
    fn validate(&self, path: &Path<'_>, found: &mut Found) {
        match self {
            Self::Own(content) => content.validate(path, found),
            Self::Shared(content) => content.validate(path, found),
        }
    }
}

impl Validate for SharedContent {
    fn validate(&self, path: &Path<'_>, found: &mut Found) {
        if found.last_valid_content == self.address() {
            return;
        }
        let before = found.problems.len();
        (**self).validate(path, found);
        if found.problems.len() == before {
            found.last_valid_content = self.address();
        }
    }
}

/// The number of cached origins.
const ORIGINS: usize = 8;

/// Whether a text is an absolute http or https URL in the characters of RFC 3986. `origins` caches
/// valid pairs of scheme and authority.
///
/// A URL parser silently fixes text that the platform may refuse, so it validates only scheme and
/// authority.
fn is_http_url(text: &str, origins: &mut Vec<String>) -> bool {
    let starts_path = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
    let after = |origin: &String| text.strip_prefix(origin.as_str()).filter(starts_path);
    if let Some(path) = origins.iter().find_map(after) {
        return has_legal_path(path);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (origin, path) = text.split_at(scheme.len() + "://".len() + authority);
    if !is_origin(origin, &rest[..authority]) {
        return false;
    }
    if origins.len() < ORIGINS {
        origins.push(origin.to_owned());
    }
    has_legal_path(path)
}

fn has_legal_path(path: &str) -> bool {
    let is_legal = |byte: u8| matches!(byte, b'!' | b'#'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~');
    let is_escape = |text: &str| {
        let digits = text.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    path.bytes().all(is_legal)
        && (!path.contains('%') || path.split('%').skip(1).all(is_escape))
        && path.bytes().filter(|byte| *byte == b'#').count() <= 1
}

fn is_origin(start: &str, authority: &str) -> bool {
    let is_legal =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@[]".contains(&byte);
    let brackets = authority.contains(['[', ']']);
    Url::parse(start).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && brackets == matches!(url.host(), Some(Host::Ipv6(_)))
    }) && start.starts_with(|first: char| first.is_ascii_alphabetic())
        && !authority.is_empty()
        && authority.bytes().all(is_legal)
        // A parser escapes a second one as a part of the user name.
        && ['@', '[', ']'].iter().all(|once| authority.matches(*once).count() <= 1)
}
