//! Receipts at random.

use std::time::Duration;

use fastrand::Rng;

use super::Step;

/// Why messages are undelivered: absent subscriber, invalid destination, expired, not reachable,
/// unknown.
const CODES: [i64; 5] = [1, 15, 36, 46, 57];
/// Rejected by the operator.
const REJECTED: i64 = 41;

impl Step {
    /// Receipts at random, the same for the same seed and umid: for a plan of your own, or to tell
    /// what [`Receipts::chaos`](super::Receipts::chaos) planned.
    ///
    /// Of ten messages one is rejected and two are undelivered, with a code; the others are
    /// delivered, within 35 s. Of three receipts one comes up to 60 s late, and of four one comes
    /// twice or three times, the last of them up to 60 s later.
    pub fn at_random(seed: u64, umid: &str) -> Vec<Self> {
        let mut random = Rng::with_seed(fold(seed, umid));
        let mut steps = Vec::new();
        for step in outcome(&mut random) {
            let at = step.at;
            let step = if random.u8(..3) == 0 {
                step.posted_at(at + up_to(&mut random, 60))
            } else {
                step
            };
            if random.u8(..4) == 0 {
                let again = step.clone().posted_at(at + up_to(&mut random, 60));
                steps.push(again);
                steps.push(step.times(random.u32(1..=2)));
            } else {
                steps.push(step);
            }
        }
        // What is due at the same time is posted in this order.
        random.shuffle(&mut steps);
        steps
    }
}

/// The states that a message goes through.
fn outcome(random: &mut Rng) -> Vec<Step> {
    let sent_at = up_to(random, 5);
    let end_at = sent_at + up_to(random, 30);
    let mut steps = vec![Step::new("queued")];
    let sent = Step::new("sent").at(sent_at);
    match random.u8(..10) {
        0 => {
            let rejected = Step::new("rejected").at(sent_at);
            steps.push(rejected.error(REJECTED));
        }
        1 | 2 => {
            let (code, detail) = if random.bool() {
                let code = CODES[random.usize(..CODES.len())];
                (code, "undelivered_to_recipient")
            } else {
                (REJECTED, "rejected_by_operator")
            };
            let undelivered = Step::new("undelivered").at(end_at);
            steps.extend([sent, undelivered.detail(detail).error(code)]);
        }
        _ => {
            let delivered = Step::new("delivered").at(end_at);
            let detail = "delivered_to_recipient";
            steps.extend([sent, delivered.detail(detail)]);
        }
    }
    steps
}

fn up_to(random: &mut Rng, seconds: u64) -> Duration {
    Duration::from_millis(random.u64(..=seconds * 1000))
}

/// FNV-1a, which is the same on every machine and in every version of Rust.
fn fold(seed: u64, text: &str) -> u64 {
    let basis = 0xcbf2_9ce4_8422_2325 ^ seed;
    text.bytes().fold(basis, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
