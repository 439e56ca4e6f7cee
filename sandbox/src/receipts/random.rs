//! Receipts at random.

use std::time::Duration;

use fastrand::Rng;

use super::Step;
use crate::record::Accepted;

/// Absent subscriber, invalid destination, expired, rejected, not reachable, unknown.
const CODES: [i64; 6] = [1, 15, 36, 41, 46, 57];

/// The receipts of a message, the same for the same seed and umid.
pub(super) fn steps(seed: u64, message: &Accepted) -> Vec<Step> {
    let mut random = Rng::with_seed(hash(seed, &message.umid));
    let mut steps = Vec::new();
    for step in life(&mut random, message.sms_fallback) {
        let late = |random: &mut Rng| step.at + up_to(random, 60);
        if random.u8(..4) == 0 {
            let again = late(&mut random);
            steps.push(step.clone().posted_at(again).times(random.u32(1..=2)));
        }
        let posted_at = if random.u8(..3) == 0 { late(&mut random) } else { step.at };
        steps.push(step.posted_at(posted_at));
    }
    steps
}

/// The states that a message reaches.
fn life(random: &mut Rng, has_fallback: bool) -> Vec<Step> {
    let sent_at = up_to(random, 5);
    let end_at = sent_at + up_to(random, 30);
    let code = CODES[random.usize(..CODES.len())];
    let sent = Step::new("sent").at(sent_at);
    let delivered = |at| Step::new("delivered").at(at).detail("delivered_to_recipient");
    let undelivered = |at| {
        let step = Step::new("undelivered").at(at).error(code);
        step.detail("undelivered_to_recipient")
    };
    let mut steps = vec![Step::new("queued")];
    match random.u8(..10) {
        0 => steps.push(Step::new("rejected").at(sent_at).error(41)),
        1..=3 => {
            steps.extend([sent, undelivered(end_at)]);
            if has_fallback {
                let sms_at = end_at + up_to(random, 5);
                let sms_end = sms_at + up_to(random, 30);
                let is_delivered = random.u8(..4) > 0;
                let end = if is_delivered { delivered(sms_end) } else { undelivered(sms_end) };
                steps.extend([Step::new("sent").at(sms_at).by_sms(), end.by_sms()]);
            }
        }
        _ => steps.extend([sent, delivered(end_at)]),
    }
    steps
}

fn up_to(random: &mut Rng, seconds: u64) -> Duration {
    Duration::from_millis(random.u64(..=seconds * 1000))
}

/// FNV-1a, which is the same on every machine and in every version of Rust.
fn hash(seed: u64, text: &str) -> u64 {
    let basis = 0xcbf2_9ce4_8422_2325 ^ seed;
    text.bytes().fold(basis, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
