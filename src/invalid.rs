//! Validation errors of a batch or of settings: every problem at once, each with its path.

use std::fmt;

/// The problems of a batch or of settings, found before anything was sent.
///
/// `Display` writes the first 20 problems, one per line. Neither `Display` nor `Debug` repeats a
/// value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    subject: Subject,
    problems: Vec<Problem>,
}

/// The subject of an [`Invalid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A batch.
    Batch,
    /// One message of a run.
    Message,
    /// The settings of a client.
    Client,
    /// The settings of a run.
    Run,
}

/// One problem, and where it is.
///
/// ```text
/// messages[17].smsFallback.source: 18 characters, at most 16
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The path in the JSON of the batch or message, such as `messages[17].smsFallback.source`, or
    /// the name of a setting, such as `base_url`.
    pub path: String,
    /// The rule that the value breaks.
    pub rule: Rule,
}

/// A broken rule, with the size or shape of the value but never the value itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// A text has too many characters (Unicode scalar values).
    #[error("{found} characters, at most {max}")]
    TooLong {
        /// The number of characters.
        found: usize,
        /// The maximum.
        max: usize,
    },
    /// A list has too few or too many entries.
    #[error("{found} {}, at least {min} and at most {max}", if *found == 1 { "entry" } else { "entries" })]
    Count {
        /// The number of entries.
        found: usize,
        /// The minimum.
        min: usize,
        /// The maximum.
        max: usize,
    },
    /// A text is not an absolute http or https URL in the characters of RFC 3986.
    #[error(
        "expected an absolute, percent-encoded http or https URL, found {found} other characters"
    )]
    NotHttpUrl {
        /// The number of characters.
        found: usize,
    },
    /// Two messages have the same clientMessageId, so their results could not be distinguished.
    #[error("the same as in messages[{first}]; results could not be matched")]
    Duplicate {
        /// The first message that has it, counted from 0.
        first: usize,
    },
    /// The content is empty.
    #[error("nothing is set, so there is nothing to show")]
    NothingSet,
    /// An SMS fallback has no text, so its other members have no effect.
    #[error("no text is set, so no SMS would be sent")]
    NoText,
    /// A value is missing, unknown or of the wrong type, or a phone number or country has the wrong
    /// shape. The text says which.
    #[error("{0}")]
    Malformed(String),
    /// The text is not JSON.
    #[error("not JSON, line {line}, column {column}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A setting is invalid. The text says why.
    #[error("{0}")]
    Setting(String),
}

/// The number of problems that `Display` writes.
const SHOWN: usize = 20;

impl Invalid {
    /// Problems of one subject, sorted by message.
    pub(crate) fn new(subject: Subject, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(Problem::message);
        Self { subject, problems }
    }

    /// The batch, the message or the settings.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Every problem, at least one, sorted by message.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The text of `Display` in one line.
    pub(crate) fn to_line(&self) -> String {
        let mut line = String::new();
        // Writing to a `String` cannot fail.
        let _ = self.write(&mut line, " ", "; ");
        line
    }

    /// Writes the subject and the problems, with a separator before the first and the next ones.
    fn write(&self, out: &mut impl fmt::Write, first: &str, next: &str) -> fmt::Result {
        out.write_str(match self.subject {
            Subject::Batch => "invalid batch",
            Subject::Message => "invalid message",
            Subject::Client => "invalid client settings",
            Subject::Run => "invalid run settings",
        })?;
        if let [problem] = self.problems.as_slice() {
            return write!(out, ": {problem}");
        }
        write!(out, ", {} problems:", self.problems.len())?;
        for (index, problem) in self.problems.iter().take(SHOWN).enumerate() {
            write!(out, "{}{problem}", if index == 0 { first } else { next })?;
        }
        match self.problems.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(out, "{next}and {more} more"),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "\n  ", "\n  ")
    }
}

impl std::error::Error for Invalid {}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, rule: Rule) -> Self {
        let path = path.into();
        Self { path, rule }
    }

    pub(crate) fn setting(name: &str, why: impl Into<String>) -> Self {
        Self::new(name, Rule::Setting(why.into()))
    }

    /// The index of the message that has the problem; `None` if it is not about one message.
    pub fn message(&self) -> Option<usize> {
        let (index, _) = self.path.strip_prefix("messages[")?.split_once(']')?;
        index.parse().ok()
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
