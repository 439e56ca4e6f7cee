//! Outcomes as plain data: what serde writes and parses, and what `Display` writes.

use lon_batch::{ErrorCode, Outcome, OutcomeKind};
use serde_json::json;

#[test]
fn an_outcome_is_written_and_parsed_with_the_members_that_are_set() {
    let mut outcome = Outcome::new(OutcomeKind::Rejected);
    assert_eq!(serde_json::to_value(&outcome).unwrap(), json!({"kind": "rejected"}));
    outcome.umid = Some("u-1".into());
    outcome.status = Some(429);
    outcome.code = Some(ErrorCode::TemplateNotFound);
    outcome.reason = Some("No template".into());
    let written = json!({
        "kind": "rejected", "umid": "u-1", "status": 429, "code": 3038, "reason": "No template",
    });
    assert_eq!(serde_json::to_value(&outcome).unwrap(), written);
    assert_eq!(serde_json::from_value::<Outcome>(written).unwrap(), outcome);
    let bare = serde_json::from_value::<Outcome>(json!({"kind": "accepted"})).unwrap();
    assert_eq!(bare, Outcome::new(OutcomeKind::Accepted));
    assert!(serde_json::from_value::<Outcome>(json!({"kind": "refused"})).is_err());
}

#[test]
fn each_kind_has_a_name_and_says_whether_it_can_be_resent() {
    use OutcomeKind::{Accepted, NotSent, Rejected, Unknown};
    let kinds = OutcomeKind::ALL.map(|kind| {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        (kind, kind.as_str(), kind.to_string(), kind.can_be_resent())
    });
    assert_eq!(
        kinds,
        [
            (Accepted, "accepted", "accepted".to_owned(), false),
            (Rejected, "rejected", "rejected".to_owned(), true),
            (NotSent, "not_sent", "not sent".to_owned(), true),
            (Unknown, "unknown", "unknown".to_owned(), false),
        ]
    );
}

#[test]
fn display_is_one_line_with_what_is_known() {
    let mut outcome = Outcome::new(OutcomeKind::NotSent);
    assert_eq!(outcome.to_string(), "not sent");
    outcome.status = Some(400);
    assert_eq!(outcome.to_string(), "not sent, HTTP 400");
    outcome.code = Some(ErrorCode::Other(66_812_345_678));
    assert_eq!(outcome.to_string(), "not sent, HTTP 400, code *********78");
    outcome.reason = Some("no template".into());
    assert_eq!(outcome.to_string(), "not sent, HTTP 400, code *********78: no template");
    outcome.umid = Some("66812345678".into());
    assert_eq!(
        format!("{outcome:?}"),
        "Outcome { kind: NotSent, umid: Some(\"*********78\"), status: Some(400), \
         code: Some(Other(*********78)), reason: Some(\"no template\") }"
    );
}
