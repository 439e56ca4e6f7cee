//! Failures at random, the same for the same seed.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::answer::Answer;
use crate::contract::Rejection;

/// How long `late` delays an answer: longer than clients usually wait.
const LATE: Duration = Duration::from_secs(90);

/// Which share of requests fails, and how. Parse it from `busy=0.05,hang-up=0.02`.
///
/// | name | the sandbox |
/// |---|---|
/// | `busy` | answers 429 with `Retry-After: 1` |
/// | `fail` | answers 500 |
/// | `hang-up` | closes the connection |
/// | `accept-and-fail` | accepts messages, then answers 500 |
/// | `accept-and-hang-up` | accepts messages, then closes the connection |
/// | `cut` | accepts messages, then closes the connection in the middle of the answer |
/// | `late` | accepts messages, then answers after 90 s |
///
/// ```
/// use lon_sandbox::{Failures, Sandbox};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let failures: Failures = "busy=0.05,accept-and-hang-up=0.02".parse()?;
/// let sandbox = Sandbox::builder().answer_with(failures.with_seed(7)).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Failures(Vec<(Answer, f64)>);

/// The problem with the text of [`Failures`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FailuresError(String);

const NAMES: [(&str, Answer); 7] = [
    ("busy", Answer::TooManyRequests { retry_after: Some(1) }),
    ("fail", Answer::Error { status: 500, code: 2000 }),
    ("hang-up", Answer::HangUp),
    ("accept-and-fail", Answer::AcceptAndFail),
    ("accept-and-hang-up", Answer::AcceptAndHangUp),
    ("cut", Answer::AcceptAndCut),
    ("late", Answer::Late(LATE)),
];

impl FromStr for Failures {
    type Err = FailuresError;

    fn from_str(text: &str) -> Result<Self, FailuresError> {
        let mut failures = Vec::new();
        for part in text.split(',') {
            let Some((name, share)) = part.split_once('=') else {
                return Err(FailuresError(format!("{part:?}: expected name=share")));
            };
            let Some((_, answer)) = NAMES.into_iter().find(|(known, _)| *known == name) else {
                let names = NAMES.map(|(name, _)| name).join(", ");
                return Err(FailuresError(format!("{name:?}: expected one of {names}")));
            };
            let Some(share) = share.parse().ok().filter(|share| (0.0..=1.0).contains(share)) else {
                return Err(FailuresError(format!("{part}: expected a share from 0 to 1")));
            };
            failures.push((answer, share));
        }
        let sum: f64 = failures.iter().map(|(_, share)| share).sum();
        // Decimal fractions do not add up exactly.
        if sum > 1.0 + 1e-9 {
            return Err(FailuresError(format!("the shares add up to {sum}, at most 1")));
        }
        Ok(Self(failures))
    }
}

impl Failures {
    /// The answers, for [`SandboxBuilder::answer_with`](crate::SandboxBuilder::answer_with). The
    /// same seed and number of a request give the same answer.
    pub fn with_seed(self, seed: u64) -> impl FnMut(u64) -> Answer + Send + 'static {
        move |number| {
            let mut drawn = draw(seed, number);
            for (answer, share) in &self.0 {
                if drawn < *share {
                    return answer.clone();
                }
                drawn -= share;
            }
            Answer::Contract
        }
    }
}

/// Rejects a share of messages with code 3038, for
/// [`SandboxBuilder::judge`](crate::SandboxBuilder::judge). The same seed and order of messages give
/// the same rejections.
pub fn reject_at_random(
    share: f64,
    seed: u64,
) -> impl Fn(&Value) -> Option<Rejection> + Send + Sync + 'static {
    let messages = AtomicU64::new(0);
    move |_| {
        let number = messages.fetch_add(1, Ordering::Relaxed);
        // Other draws than those of the requests.
        (draw(!seed, number) < share).then(|| Rejection::from(3038))
    }
}

/// From 0 up to, but not including, 1.
fn draw(seed: u64, number: u64) -> f64 {
    fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number).f64()
}
