//! What belongs together of all that was told under one clientMessageId.

use super::row::{Row, Umid};
use super::{MessageTracker, Stage};

/// The rows with one clientMessageId; none without an id.
///
/// | a row | is a message of its own | else belongs to |
/// |---|---|---|
/// | with a umid, of LON | always | |
/// | without a umid | unless a row with a umid [can be the same](can_be) | the messages with the id |
/// | with a umid, of another channel | never | the messages with the id |
///
/// What belongs to several messages belongs to those that were not rejected, if there are any.
#[derive(Clone, Copy)]
pub(super) struct Namesakes<'a> {
    pub(super) tracker: &'a MessageTracker,
    pub(super) client_message_id: &'a str,
}

impl<'a> Namesakes<'a> {
    fn rows(self) -> impl Iterator<Item = &'a Row> {
        self.tracker.rows_with_client_id(self.client_message_id)
    }

    pub(super) fn is_message(self, row: &Row) -> bool {
        if row.umid != Umid::NotKnown {
            return row.is_lon;
        }
        !self.rows().any(|by_umid| can_be(by_umid, row))
    }

    /// What belongs to a message beside its own row.
    pub(super) fn of(self, message: &Row) -> impl Iterator<Item = &'a Row> {
        let is_another = |row: &Row| self.is_message(row) && row.stage() != Stage::Rejected;
        let belongs = message.stage() != Stage::Rejected || !self.rows().any(is_another);
        let rows = self.rows().filter(move |row| !self.is_message(row));
        rows.filter(move |_| belongs)
    }

    /// Those that the platform took.
    pub(super) fn taken(self) -> impl Iterator<Item = &'a Row> {
        self.rows().filter(|row| row.is_taken())
    }
}

/// Whether what was told without a umid can be of the send that has this one. Where that one ended
/// badly and has its answer, it is of another: it was sent again.
fn can_be(by_umid: &Row, by_id: &Row) -> bool {
    let ended_badly = matches!(by_umid.stage(), Stage::Rejected | Stage::Undelivered);
    by_umid.is_by_umid()
        && (!ended_badly || !by_umid.is_answered || by_id.stage() == Stage::Rejected)
}
