//! One receipt of a plan.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

/// A state that a message comes to, and how the receipt of it is posted.
///
/// Times count from when the message was accepted, by the sandbox's clock. Two steps with the same
/// state, detail and time are the same receipt twice.
#[derive(Clone, Debug)]
#[must_use]
pub struct Step {
    pub(super) state: Cow<'static, str>,
    pub(super) at: Duration,
    pub(super) detail: Option<Cow<'static, str>>,
    pub(super) error_code: Option<i64>,
    pub(super) error_message: Option<String>,
    pub(super) posted_at: Option<Duration>,
    pub(super) times: u32,
    pub(super) edit: Option<fn(&mut Value)>,
}

impl Step {
    /// The message comes to this state when it is accepted, and the receipt is posted once, at
    /// once.
    pub fn new(state: impl Into<Cow<'static, str>>) -> Self {
        Self {
            state: state.into(),
            at: Duration::ZERO,
            detail: None,
            error_code: None,
            error_message: None,
            posted_at: None,
            times: 1,
            edit: None,
        }
    }

    /// When the message comes to the state: the timestamp of the receipt.
    pub fn at(mut self, time: Duration) -> Self {
        self.at = time;
        self
    }

    /// What the state says more precisely.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Why the message was not delivered: the code, and a text if the sandbox has one for it.
    pub fn error(mut self, code: i64) -> Self {
        self.error_code = Some(code);
        self.error_message = reason(code).map(str::to_owned);
        self
    }

    /// Other words for the error.
    pub fn error_message(mut self, words: impl Into<String>) -> Self {
        self.error_message = Some(words.into());
        self
    }

    /// When the receipt is first posted, where that is not when the message comes to the state. A
    /// late one comes out of order.
    pub fn posted_at(mut self, time: Duration) -> Self {
        self.posted_at = Some(time);
        self
    }

    /// How many times the receipt is posted, whatever is answered. Each of them is posted again
    /// for itself where it fails. With 0 the receipt is lost: it is planned and never posted.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Changes the JSON that is posted: members left out, of other types, of other channels. The
    /// record tells what was planned.
    pub fn edit(mut self, edit: fn(&mut Value)) -> Self {
        self.edit = Some(edit);
        self
    }
}

/// A text for each code that [`Step::at_random`] uses.
fn reason(code: i64) -> Option<&'static str> {
    Some(match code {
        1 => "Absent subscriber",
        15 => "Invalid destination",
        36 => "Message expired",
        41 => "Message rejected",
        46 => "Not reachable",
        57 => "Unknown error",
        _ => return None,
    })
}
