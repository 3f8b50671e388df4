//! Regular expressions in the syntax of Go, which clients write into schemas and rules.
//!
//! Rust's engine is of the same family, but reads some of the syntax in its own way: classes such as `\d` know all of
//! Unicode there, `[` and `&&` inside of a class nest and intersect, a `{` that repeats nothing is an error. So an
//! expression is read here as Go reads it and written down anew; what Go refuses is refused in its words.

mod class;
mod parse;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("error parsing regexp: {kind}: `{part}`")]
pub struct Error {
    kind: &'static str,
    part: String,
}

impl Error {
    fn new(kind: &'static str, part: &str) -> Self {
        Self { kind, part: part.to_owned() }
    }
}

/// Compiled expressions may not become larger than this.
const SIZE_LIMIT: usize = 8 << 20;

/// Compiles an expression.
pub fn compile(source: &str) -> Result<Regex, Error> {
    let translated = parse::translate(source)?;
    RegexBuilder::new(&translated)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|_| Error::new("expression nests too deeply", source))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(source: &str, matching: &[&str], other: &[&str]) {
        let compiled = compile(source).expect(source);
        for text in matching {
            assert!(compiled.is_match(text), "{source} on {text:?} as {compiled}");
        }
        for text in other {
            assert!(!compiled.is_match(text), "{source} on {text:?} as {compiled}");
        }
    }

    #[track_caller]
    fn check_refused(source: &str, expected: &str) {
        let found = compile(source).expect_err(source).to_string();
        assert_eq!(found, format!("error parsing regexp: {expected}"), "{source}");
    }

    #[test]
    fn perl_classes_are_ascii() {
        check(r"^\d+$", &["123"], &["١٢٣", "a"]);
        check(r"^\w+$", &["aZ_9"], &["é"]);
        check(r"^\s$", &[" ", "\t", "\n", "\u{c}"], &["\u{b}", "\u{a0}"]);
        check(r"^\D\W\S$", &["é-é"], &["1-a", "aaa"]);
        check(r"^[\d.]+$", &["1.2"], &["١"]);
        check(r"^[^\d\s]+$", &["ab"], &["a b", "1"]);
        check(r"^[\D]+$", &["ab"], &["1"]);
        check(r"\bcat\b", &["a cat!", "écaté"], &["concat"]);
    }

    #[test]
    fn classes_neither_nest_nor_intersect() {
        check(r"^[[a]+$", &["[a"], &["]"]);
        check(r"^[a&&b]+$", &["a&b"], &["c"]);
        check(r"^[]a]+$", &["]a"], &["b"]);
        check(r"^[^]a]+$", &["b"], &["]"]);
        check(r"^[a-]+$", &["a-"], &["b"]);
        check(r"^[-a]+$", &["a-"], &["b"]);
        check(r"^[[:alpha:]_]+$", &["ab_"], &["1"]);
        check(r"^[[:^alpha:]]+$", &["12"], &["a"]);
        check(r"^[[:word:]]+$", &["a_1"], &["-"]);
        check(r"^[\]\\~-]+$", &[r"]\~-"], &["a"]);
        check(r"^[#\x41-\x43]$", &["#", "B"], &["D"]);
        check(r"^[~~b]+$", &["~b"], &["a"]);
    }

    #[test]
    fn braces_that_repeat_nothing_are_themselves() {
        check(r"^a{2}$", &["aa"], &["a"]);
        check(r"^a{1,2}$", &["aa"], &["aaa"]);
        check(r"^a{2,}$", &["aaa"], &["a"]);
        check(r"^a{,2}$", &["a{,2}"], &["aa"]);
        check(r"^{a}$", &["{a}"], &["a"]);
        check(r"^\$\{[a-z]+\}$", &["${ab}"], &["ab"]);
    }

    #[test]
    fn what_go_writes_in_its_own_way_is_understood() {
        check(r"^\Q.+\E$", &[".+"], &["ab"]);
        check(r"^\Qa.b", &["a.b"], &["axb"]);
        check(r"^\101\x{42}\x43$", &["ABC"], &["abc"]);
        check(r"^(?P<n>a)(?<m>b)(?:c)(?i)D(?i:e)$", &["abcdE"], &["Abcde"]);
        check(r"^\pL\p{Greek}\PN$", &["aαx"], &["1αx", "aα1"]);
        check(r"^[\p{Lu}\d]+$", &["A1É"], &["a"]);
        check(r"(?s)^.$", &["\n"], &["ab"]);
        check(r"^a.b$", &["a-b"], &["a\nb"]);
        check(r"^\/\-\.\,$", &["/-.,"], &["x"]);
        check(r"^(a|b)*?c$", &["abc"], &["d"]);
        check(r"\A\z", &[""], &["a"]);
        check("(?)a", &["a"], &["b"]);
        check("", &["", "a"], &[]);
    }

    #[test]
    fn refusals_are_worded_as_go_words_them() {
        check_refused("[", "missing closing ]: `[`");
        check_refused("a[b", "missing closing ]: `[b`");
        check_refused("(a", "missing closing ): `(a`");
        check_refused("a)", "unexpected ): `a)`");
        check_refused("*a", "missing argument to repetition operator: `*`");
        check_refused("(+)", "missing argument to repetition operator: `+`");
        check_refused("a**", "invalid nested repetition operator: `**`");
        check_refused("a++", "invalid nested repetition operator: `++`");
        check_refused("a{2}{3}", "invalid nested repetition operator: `{2}{3}`");
        check_refused("a{3,2}", "invalid repeat count: `{3,2}`");
        check_refused("a{1001}", "invalid repeat count: `{1001}`");
        check_refused("[z-a]", "invalid character class range: `z-a`");
        check_refused(r"\p{Foo}", r"invalid character class range: `\p{Foo}`");
        check_refused("[[:foo:]]", "invalid character class range: `[:foo:]`");
        check_refused("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
        check_refused("(?!a)", "invalid or unsupported Perl syntax: `(?!`");
        check_refused("(?<=a)b", "invalid or unsupported Perl syntax: `(?<`");
        check_refused("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
        check_refused("(?P<n", "invalid named capture: `(?P<n`");
        check_refused("(?P<a>)(?P<a>)", "duplicate capture group name: `a`");
        check_refused(r"\1", r"invalid escape sequence: `\1`");
        check_refused(r"\y", r"invalid escape sequence: `\y`");
        check_refused(r"\xé", r"invalid escape sequence: `\xé`");
        check_refused(r"[\y]", r"invalid escape sequence: `\y`");
        check_refused("a\\", "trailing backslash at end of expression: ``");
    }

    proptest! {
        #[test]
        fn whatever_is_read_as_go_reads_it_can_be_compiled(source in r"[a-c.*+?|()\[\]{},0-3^$\\dwsbpLQEx:\-&~!<>=P\n é]{0,12}") {
            if let Ok(translated) = parse::translate(&source) {
                prop_assert!(RegexBuilder::new(&translated).build().is_ok(), "{source:?} as {translated:?}");
            }
        }
    }
}
