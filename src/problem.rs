//! What is wrong with what was to be sent: every problem, each with its place.

use std::fmt;

use crate::{MsisdnError, RecipientError};

/// Something was refused before anything was sent. It carries every problem that was found.
///
/// `Display` writes the first 20 of them, a line each. Neither it nor `Debug` repeats a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    problems: Vec<Problem>,
}

/// One problem, and where it is.
///
/// ```text
/// messages[17].smsFallback.source: 18 characters, at most 16
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The place, in the words of the JSON body: `messages[17].smsFallback.source`. For what is
    /// not of a body, the name of the setting: `sub_account_id`, `base_url`.
    pub path: String,
    /// The rule that is broken, with the size or shape of what breaks it.
    pub rule: Rule,
}

/// The rule that a value breaks, with the size or shape of the value and never the value itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// A text has too many characters (Unicode scalar values).
    #[error("{found} characters, at most {max}")]
    TooLong {
        /// How many it has.
        found: usize,
        /// How many it may have.
        max: usize,
    },
    /// A list has too few or too many entries.
    #[error("{found} {}, at least {min} and at most {max}", if *found == 1 { "entry" } else { "entries" })]
    Count {
        /// How many it has.
        found: usize,
        /// How many it has to have.
        min: usize,
        /// How many it may have.
        max: usize,
    },
    /// A text is not an absolute URL with the scheme http or https and a host, in the characters
    /// of RFC 3986.
    #[error("{found} characters that are not an absolute http or https URL, percent-encoded")]
    NotHttpUrl {
        /// How many characters it has.
        found: usize,
    },
    /// A clientMessageId stands in two messages, so their verdicts could not be told apart.
    #[error("the same as in messages[{first}]; verdicts could not be told apart")]
    Duplicate {
        /// The first message that has it, counted from 0.
        first: usize,
    },
    /// A content has nothing set, or nothing but empty texts.
    #[error("nothing is set; there would be nothing to show")]
    NothingSet,
    /// An SMS fallback has a source or an encoding and no text.
    #[error("no text is set; without one there is no SMS and the rest does nothing")]
    NoText,
    /// The number or the country of a user.
    #[error(transparent)]
    Recipient(RecipientError),
    /// A phone number.
    #[error(transparent)]
    Msisdn(MsisdnError),
    /// A member that has to be there is not.
    #[error("is missing")]
    Missing,
    /// A member that the API does not have, or a spelling mistake.
    #[error("not a member of the API; expected one of {expected}")]
    Unknown {
        /// The members that there are.
        expected: String,
    },
    /// A value of another type than the API takes.
    #[error("{found} where {expected} is due")]
    Type {
        /// What is there.
        found: &'static str,
        /// What has to be there.
        expected: &'static str,
    },
    /// A text that is not one of a closed list.
    #[error("{found} characters that are none of {expected}")]
    NotListed {
        /// How many characters it has.
        found: usize,
        /// The values that there are.
        expected: String,
    },
    /// The text is not JSON.
    #[error("not JSON, line {line}, column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A member stands twice in one object of the JSON; one of the two would be lost.
    #[error("a member stands twice in one object, line {line}, column {column}")]
    Repeated {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A sub-account id outside the platform's pattern.
    #[error(
        "{found} characters; a sub-account id has {min} to {max}, each an ASCII letter or digit or one of - . _ &"
    )]
    SubAccountId {
        /// How many characters it has.
        found: usize,
        /// How many it has to have.
        min: usize,
        /// How many it may have.
        max: usize,
    },
    /// An API key that is empty or cannot stand in a header.
    #[error("{found} characters; an API key is one or more visible ASCII characters")]
    ApiKey {
        /// How many characters it has.
        found: usize,
    },
    /// A base URL that cannot be used, and why.
    #[error("{0}")]
    BaseUrl(&'static str),
    /// A time-out of zero.
    #[error("0 seconds; every request would time out")]
    NoTime,
    /// A message that makes a body of more bytes than a run may send.
    #[error("{found} bytes in a body of its own, at most {max}")]
    TooLarge {
        /// Bytes of a body with the message alone.
        found: usize,
        /// Bytes that a body may have.
        max: usize,
    },
    /// A run id that is empty or too long to be part of every clientMessageId.
    #[error("{found} characters; a run id has 1 to {max}")]
    RunId {
        /// How many characters it has.
        found: usize,
        /// How many it may have.
        max: usize,
    },
    /// A number that is outside its range.
    #[error("has to be {0}")]
    Range(&'static str),
    /// No TLS to reach the platform with, and why.
    #[error("{0}")]
    Tls(String),
    /// The HTTP client could not be made, and why.
    #[error("the HTTP client could not be made: {0}")]
    HttpClient(String),
}

/// Problems that `Display` writes at most.
const SHOWN: usize = 20;

impl Invalid {
    /// Of one or more problems, sorted by message.
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::message);
        Self { problems }
    }

    /// Of one problem with a setting.
    pub(crate) fn setting(path: &str, rule: Rule) -> Self {
        Self::new(vec![Problem::new(path, rule)])
    }

    /// Every problem that was found, sorted by message; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return write!(f, "nothing was sent: {problem}");
        }
        write!(f, "nothing was sent, {} problems:", self.problems.len())?;
        for problem in self.problems.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Invalid {}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, rule: Rule) -> Self {
        Self { path: path.into(), rule }
    }

    /// The message that has the problem, counted from 0; `None` where it is not one message's.
    pub fn message(&self) -> Option<usize> {
        let (index, _) = self.path.strip_prefix("messages[")?.split_once(']')?;
        index.parse().ok()
    }

    /// The place within the message that has the problem.
    pub(crate) fn path_in_message(&self) -> String {
        let (_, path) = self.path.split_once(']').unwrap_or(("", &self.path));
        path.strip_prefix('.').unwrap_or(path).to_owned()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return self.rule.fmt(f);
        }
        write!(f, "{}: {}", self.path, self.rule)
    }
}

impl From<MsisdnError> for Invalid {
    fn from(error: MsisdnError) -> Self {
        Self::setting("msisdn", Rule::Msisdn(error))
    }
}

impl From<RecipientError> for Invalid {
    fn from(error: RecipientError) -> Self {
        Self::setting("user", Rule::Recipient(error))
    }
}
