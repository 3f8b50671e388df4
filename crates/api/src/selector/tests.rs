//! Tests of both kinds of selectors.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use proptest::prelude::*;
use serde_json::json;

use super::{FieldSelector, LabelSelector};

#[track_caller]
fn check_label(selector: &str, labels: &[(&str, &str)], matches: bool) {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let parsed = LabelSelector::parse(selector).expect("the selector is valid");
    assert_eq!(parsed.matches(&labels), matches, "{selector} on {labels:?}");
    assert_eq!(LabelSelector::parse(&parsed.to_string()).as_ref(), Ok(&parsed), "{selector} printed and read");
}

#[test]
fn requirements_match_like_upstream() {
    let labels = [("a", "1"), ("b", "x"), ("empty", "")];
    for (selector, matches) in [
        ("", true),
        ("a", true),
        ("!a", false),
        ("!c", true),
        ("a=1", true),
        ("a==1", true),
        ("a=2", false),
        ("a!=2", true),
        ("c!=2", true),
        ("a in (1,2)", true),
        ("a in (2, 3)", false),
        ("c in (2)", false),
        ("a notin (2)", true),
        ("c notin (2)", true),
        ("a>0,a<2", true),
        ("b>0", false),
        ("c<5", false),
        ("empty=", true),
        ("empty in (,)", true),
        ("empty in ()", true),
        ("a in ()", false),
        ("a notin ()", true),
        ("a=1,b in (x),!c", true),
        (" a = 1 , b ", true),
        ("in=1", false),
        ("notin", false),
    ] {
        check_label(selector, &labels, matches);
    }
}

#[test]
fn wrong_label_selectors_are_told_like_upstream() {
    for (selector, message) in [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a,", "found '', expected: identifier after ','"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("!a in (b)", "found 'in', expected: ',' or 'end of string'"),
        ("a!", "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt"),
    ] {
        assert_eq!(LabelSelector::parse(selector).map_err(|error| error.to_string()), Err(message.to_owned()));
    }
    for selector in ["a=b_", "-a", "a/b/c", "a in ((b))", "a>x"] {
        assert!(LabelSelector::parse(selector).is_err(), "{selector}");
    }
}

#[test]
fn selectors_of_objects_match() {
    let selector: meta::LabelSelector = serde_json::from_value(json!({
        "matchLabels": {"app": "x"},
        "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}, {"key": "gone", "operator": "DoesNotExist"}],
    }))
    .expect("the selector is well formed");
    let selector = LabelSelector::from_k8s(&selector).expect("the selector is valid");
    let labels =
        |tier: &str| BTreeMap::from([("app".to_owned(), "x".to_owned()), ("tier".to_owned(), tier.to_owned())]);
    assert!(selector.matches(&labels("web")));
    assert!(!selector.matches(&labels("db")));
    assert!(selector.matches_json(json!({"app": "x"}).as_object()));
    assert!(!selector.matches_json(None));
}

#[track_caller]
fn check_field(selector: &str, matches: bool) {
    let parsed = FieldSelector::parse(selector).expect("the selector is valid");
    let lookup = |field: &str| (field == "metadata.name").then_some(Cow::Borrowed("a,b"));
    assert_eq!(parsed.matches(lookup), matches, "{selector}");
    assert_eq!(FieldSelector::parse(&parsed.to_string()).as_ref(), Ok(&parsed), "{selector} printed and read");
}

#[test]
fn fields_compare() {
    for (selector, matches) in [
        ("", true),
        (r"metadata.name=a\,b", true),
        (r"metadata.name==a\,b,spec.nodeName=", true),
        ("metadata.name!=c", true),
        ("spec.nodeName!=", false),
        (",", true),
    ] {
        check_field(selector, matches);
    }
    for (selector, message) in [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("z,a", "invalid selector: 'z,a'; can't understand 'a'"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        (r"a=x\", r"invalid field selector: invalid escape sequence: \"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
    ] {
        assert_eq!(FieldSelector::parse(selector).map_err(|error| error.to_string()), Err(message.to_owned()));
    }
    assert_eq!(FieldSelector::exact("spec.nodeName", "n").required_value("spec.nodeName"), Some("n"));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[ab!=<>(),. in\\\\]{0,20}") {
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    }
}
