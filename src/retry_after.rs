//! The header `Retry-After`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// What a wait is cut to, so that it can be added to a point in time.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// How long to wait: seconds (a fraction is rounded up), or a date, held against the answer's own
/// `Date` where it has one, else against the clock here. A date in the past is no wait. `None`
/// where there is no such header, or one that is neither.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds(text).or_else(|| {
        let then = httpdate::parse_http_date(text).ok()?;
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let now = date
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .unwrap_or_else(SystemTime::now);
        Some(then.duration_since(now).unwrap_or_default().min(LONGEST))
    })
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // All digits: a number that does not fit is too large.
    let seconds = whole.parse::<u64>().unwrap_or(u64::MAX);
    let up = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    Some(Duration::from_secs(seconds.saturating_add(up)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, read};
    use http::HeaderMap;
    use std::time::Duration;

    fn wait(retry_after: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", retry_after.parse().unwrap());
        if let Some(date) = date {
            headers.insert("date", date.parse().unwrap());
        }
        read(&headers)
    }

    #[test]
    fn both_forms_and_what_is_neither() {
        let date = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        for (text, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("1.5", Some(2)),
            ("2.0", Some(2)),
            ("-1", None),
            ("+1", None),
            ("1.", None),
            (".5", None),
            ("", None),
            ("soon", None),
            ("1e3", None),
            ("99999999999999999999999", Some(LONGEST.as_secs())),
            ("18446744073709551615.9", Some(LONGEST.as_secs())),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:20 GMT", Some(0)),
        ] {
            assert_eq!(wait(text, date), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", None), Some(Duration::ZERO));
        assert_eq!(wait("Fri, 31 Dec 9999 23:59:59 GMT", None), Some(LONGEST));
    }
}
