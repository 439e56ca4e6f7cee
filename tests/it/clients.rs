//! What a client is built of, and what it shows of itself.

use std::time::Duration;

use lon_batch::{Client, Region, Rule};

use crate::support::{KEY, assert_no_secrets, client_of, printed};

fn refused(builder: lon_batch::ClientBuilder) -> Vec<String> {
    let error = builder.build().unwrap_err();
    assert_no_secrets(&printed(&error));
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn sub_account_ids() {
    for id in ["abc", "A-b.c_d&9", &"x".repeat(50)] {
        assert!(Client::builder(id, KEY).build().is_ok(), "{id}");
    }
    for id in ["", "ab", &"x".repeat(51), "a b c", "abc\n", " abc", "a/b/c", "日本語", "abc%20"]
    {
        let error = Client::builder(id, KEY).build().unwrap_err();
        let [problem] = error.problems() else {
            panic!("{id:?}: {error}");
        };
        assert_eq!(problem.path, "sub_account_id");
        let (found, min, max) = (id.chars().count(), 3, 50);
        assert_eq!(problem.rule, Rule::SubAccountId { found, min, max });
    }
}

#[test]
fn api_keys() {
    for key in ["", " ", "with space", "with\ttab", "line\n", "bell\u{7}", "ключ", "\u{7f}"] {
        let found = key.chars().count();
        assert_eq!(
            refused(Client::builder("abc", key)),
            [format!(
                "api_key: {found} characters; an API key is one or more visible ASCII characters"
            )],
        );
    }
    assert!(Client::builder("abc", "~!@#$%^&*()_+{}|:\"<>?").build().is_ok());
}

#[test]
fn base_urls() {
    for (url, shown) in [
        ("https://chatapps.8x8.com", "https://chatapps.8x8.com"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com/a/b/", "https://example.com/a/b"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://127.1.2.3:1", "http://127.1.2.3:1"),
        ("http://[::1]:1/x", "http://[::1]:1/x"),
    ] {
        assert_eq!(client_of(url).build().unwrap().base_url(), shown);
    }
    for (url, why) in [
        ("", "not an absolute URL"),
        ("chatapps.8x8.com", "not an absolute URL"),
        ("ftp://example.com", "not an https URL"),
        ("file:///etc", "not an https URL"),
        ("http://example.com", "http to another machine would show the API key; use https"),
        ("http://[2001:db8::1]", "http to another machine would show the API key; use https"),
        ("http://192.168.0.1", "http to another machine would show the API key; use https"),
        (
            "http://localhost.example.com",
            "http to another machine would show the API key; use https",
        ),
        (
            "http://127.0.0.1.example.com",
            "http to another machine would show the API key; use https",
        ),
        ("https://user@example.com", "has credentials; the API key is given apart"),
        ("https://:0123456789@example.com", "has credentials; the API key is given apart"),
        ("https://example.com?a=b", "has a query or a fragment"),
        ("https://example.com#a", "has a query or a fragment"),
    ] {
        assert_eq!(refused(client_of(url)), [format!("base_url: {why}")], "{url}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let builder = Client::builder("a", "")
        .base_url("nowhere")
        .timeout(Duration::ZERO)
        .connect_timeout(Duration::ZERO);
    let paths: Vec<_> = builder
        .build()
        .unwrap_err()
        .problems()
        .iter()
        .map(|problem| problem.path.clone())
        .collect();
    assert_eq!(paths, ["sub_account_id", "base_url", "api_key", "timeout", "connect_timeout"]);
}

#[test]
fn the_regions_are_those_of_the_spec() {
    assert_eq!(Region::default(), Region::AsiaPacific);
    let regions: Vec<_> =
        Region::ALL.iter().map(|region| (region.name(), region.base_url())).collect();
    assert_eq!(
        regions,
        [
            ("Asia Pacific", "https://chatapps.8x8.com"),
            ("North America", "https://chatapps.us.8x8.com"),
            ("Europe", "https://chatapps.8x8.uk"),
            ("Indonesia", "https://chatapps.8x8.id"),
        ]
    );
    for region in Region::ALL {
        let client = Client::builder("abc", KEY).region(*region).build().unwrap();
        assert_eq!(client.base_url(), region.base_url());
        assert_eq!(region.name().to_lowercase().replace(' ', "-").parse(), Ok(*region));
    }
    assert_eq!(
        "Mars".parse::<Region>().unwrap_err().to_string(),
        "not a region, expected one of Asia Pacific, North America, Europe, Indonesia"
    );
}

#[test]
fn clients_and_futures_go_between_threads() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn is_send<T: Send>(_: &T) {}
    let client = client_of("http://127.0.0.1:9").build().unwrap();
    is_shared(&client);
    let batch = crate::support::batch(&["a"]);
    is_send(&client.send(&batch));
}

#[test]
fn debug_shows_no_key() {
    let builder = client_of("https://example.com");
    assert_no_secrets(&format!("{builder:?}"));
    let client = builder.timeout(Duration::from_secs(5)).build().unwrap();
    let debug = format!("{client:?} {:?}", client.generated());
    assert_no_secrets(&debug);
    assert!(debug.contains("my-subaccount") && debug.contains("https://example.com"), "{debug}");
}
