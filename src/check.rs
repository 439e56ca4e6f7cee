//! Walks a request and collects what breaks a limit of the spec, each with its place.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use reqwest::Url;

use crate::problem::{Problem, Rule};
use crate::shared::Shared;

/// Implemented by generated code: what the spec limits of a type of the request.
pub(crate) trait Limits {
    fn limits<'a>(&'a self, checker: &mut Checker<'a>);
}

/// The place that a walk is at, and the problems found so far.
#[derive(Default)]
pub(crate) struct Checker<'a> {
    place: Vec<Segment<'a>>,
    problems: Vec<Problem>,
    /// The shared values last found clean, so that one in many messages is walked once.
    clean: [usize; 2],
    /// The URL last found to be one.
    url: Option<&'a str>,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Member(&'a str),
    Index(usize),
}

impl<'a> Checker<'a> {
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// A problem of a member whose name is not one of the API's.
    pub fn problem_below(&mut self, name: &str, rule: Rule) {
        self.problem(rule);
        if let Some(Problem { path, .. }) = self.problems.last_mut() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
    }

    pub fn problem(&mut self, rule: Rule) {
        let mut path = String::new();
        for segment in &self.place {
            match segment {
                Segment::Member(name) if path.is_empty() => path.push_str(name),
                Segment::Member(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Segment::Index(index) => {
                    // Writing to a string cannot fail.
                    let _ = write!(path, "[{index}]");
                }
            }
        }
        self.problems.push(Problem { path, rule });
    }

    /// Whether anything was found since `problems` were.
    fn none_since(&self, problems: usize) -> bool {
        self.problems.len() == problems
    }

    /// Walks what is below a member.
    pub fn below<T>(&mut self, name: &'a str, walk: impl FnOnce(&mut Self) -> T) -> T {
        self.place.push(Segment::Member(name));
        let result = walk(self);
        self.place.pop();
        result
    }

    /// Walks an entry of a list.
    pub fn at<T>(&mut self, index: usize, walk: impl FnOnce(&mut Self) -> T) -> T {
        self.place.push(Segment::Index(index));
        let result = walk(self);
        self.place.pop();
        result
    }

    pub fn member(&mut self, name: &'a str, value: &'a impl Limits) {
        self.below(name, |checker| value.limits(checker));
    }

    pub fn items(&mut self, name: &'a str, items: &'a [impl Limits], count: RangeInclusive<usize>) {
        self.below(name, |checker| {
            if !count.contains(&items.len()) {
                checker.problem(Rule::Count {
                    found: items.len(),
                    min: *count.start(),
                    max: *count.end(),
                });
            }
            for (index, item) in items.iter().enumerate() {
                checker.at(index, |checker| item.limits(checker));
            }
        });
    }

    pub fn max_chars(&mut self, name: &'a str, text: Option<&str>, max: usize) {
        let Some(text) = text else { return };
        // No text has more characters than bytes.
        if text.len() <= max {
            return;
        }
        let found = text.chars().count();
        if found > max {
            self.below(name, |checker| {
                checker.problem(Rule::TooLong { found, max });
            });
        }
    }

    pub fn http_url(&mut self, name: &'a str, text: Option<&'a str>) {
        let Some(text) = text else { return };
        if self.url == Some(text) {
            return;
        }
        if is_http_url(text) {
            self.url = Some(text);
        } else {
            let found = text.chars().count();
            self.below(name, |checker| checker.problem(Rule::NotHttpUrl { found }));
        }
    }
}

impl<T: Limits> Limits for Shared<T> {
    fn limits<'a>(&'a self, checker: &mut Checker<'a>) {
        if checker.clean.contains(&self.address()) {
            return;
        }
        let before = checker.problems.len();
        (**self).limits(checker);
        if checker.none_since(before) {
            checker.clean = [self.address(), checker.clean[0]];
        }
    }
}

/// Whether a text is an absolute http or https URL in the characters of RFC 3986: others have to
/// be percent-encoded.
pub(crate) fn is_http_url(text: &str) -> bool {
    let Some(rest) = after_scheme(text.as_bytes()) else {
        return false;
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    // A parser of URLs mends what the platform would not, and is slow; a plain host needs none.
    is_encoded(path) && (is_plain_host(authority) || is_host(authority))
}

fn after_scheme(url: &[u8]) -> Option<&[u8]> {
    ["https://", "http://"].iter().find_map(|scheme| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })
}

/// Whether a path with a query and a fragment has the characters of RFC 3986 alone.
fn is_encoded(path: &[u8]) -> bool {
    if path.iter().all(|byte| IN_PATH[usize::from(*byte)]) {
        return true;
    }
    let mut fragments = 0;
    path.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => {
            let digits = path.get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        }
        b'#' => {
            fragments += 1;
            fragments == 1
        }
        _ => IN_PATH[usize::from(*byte)],
    })
}

/// The characters that stand for themselves in a path, a query or a fragment.
const IN_PATH: [bool; 256] = {
    let mut legal = [false; 256];
    let listed =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?";
    let mut at = 0;
    while at < listed.len() {
        legal[listed[at] as usize] = true;
        at += 1;
    }
    legal
};

/// Whether an authority is a name of a host and nothing else, in lower case: labels that start
/// with a letter, and have no double hyphen, as encoded ones have.
fn is_plain_host(authority: &[u8]) -> bool {
    let mut before = b'.';
    let plain = authority.iter().all(|byte| {
        let plain = match byte {
            b'a'..=b'z' => true,
            b'0'..=b'9' | b'.' => before != b'.',
            b'-' => before != b'.' && before != b'-',
            _ => false,
        };
        before = *byte;
        plain
    });
    plain && before != b'.'
}

fn is_host(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else {
        return false;
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let legal = |text: &str, more: &[u8]| {
        let mut bytes = text.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    // Brackets are for an IPv6 address alone.
    is_encoded(user.as_bytes())
        && legal(user, b"-._~!$&'()*+,;=:%")
        && legal(host, b"-._~!$&'()*+,;=:[]")
        && Url::parse(&format!("https://{authority}/"))
            .is_ok_and(|url| url.has_host() && url.path() == "/")
}
