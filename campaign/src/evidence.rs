//! Computes the outcome of a recipient from everything that is known.

use lon_batch::OutcomeKind;

/// The number of an outcome in the ledger. Across attempts, the greatest counts: an accepted
/// message hides everything, and one that may have been sent hides a later rejection.
pub(crate) fn number(kind: OutcomeKind) -> i64 {
    match kind {
        OutcomeKind::NotSent => 1,
        OutcomeKind::Rejected => 2,
        OutcomeKind::Unknown => 3,
        OutcomeKind::Accepted => 4,
    }
}

pub(crate) fn kind(number: i64) -> Option<OutcomeKind> {
    OutcomeKind::ALL.into_iter().find(|kind| self::number(*kind) == number)
}

/// How much a piece of evidence about one attempt counts: accepted > rejected > proof of not sent >
/// unknown.
pub(crate) fn weight(kind: OutcomeKind) -> u8 {
    match kind {
        OutcomeKind::Unknown => 0,
        OutcomeKind::NotSent => 1,
        OutcomeKind::Rejected => 2,
        OutcomeKind::Accepted => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::{kind, number, weight};
    use lon_batch::OutcomeKind::{self, Accepted, NotSent, Rejected, Unknown};

    #[test]
    fn evidence_about_one_attempt_and_across_attempts() {
        let mut kinds = OutcomeKind::ALL;
        kinds.sort_by_key(|kind| weight(*kind));
        assert_eq!(kinds, [Unknown, NotSent, Rejected, Accepted]);
        kinds.sort_by_key(|kind| number(*kind));
        assert_eq!(kinds, [NotSent, Rejected, Unknown, Accepted]);
        assert!(OutcomeKind::ALL.into_iter().all(|it| kind(number(it)) == Some(it)));
        assert_eq!((kind(0), kind(5)), (None, None));
    }
}
