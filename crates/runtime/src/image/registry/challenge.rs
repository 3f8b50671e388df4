//! What a registry says about how to show who one is: the header `WWW-Authenticate`.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One way to show who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In small letters: `basic` or `bearer`, or something that is not spoken here.
    pub scheme: String,
    /// What belongs to it, names in small letters.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// A parameter, if it is there.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// The ways that an answer names.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(parse).collect()
}

/// Reads `Scheme name="value", name=value, Scheme ...`; what comes after something that cannot be read is left out.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            return found;
        }
        let (word, after) = rest.split_at(end);
        let value = after.trim_start();
        match (value.strip_prefix('='), found.last_mut()) {
            (Some(value), Some(challenge)) => {
                let Some((value, after)) = parameter(value.trim_start()) else { return found };
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => {
                found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
                rest = after;
            }
        }
    }
}

/// A value, quoted or not, and what follows it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[position + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &[(&str, &str)])]) {
        let told = parse(text);
        let told: Vec<(&str, Vec<(&str, &str)>)> = told
            .iter()
            .map(|one| {
                (
                    one.scheme.as_str(),
                    one.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
                )
            })
            .collect();
        let expected: Vec<(&str, Vec<(&str, &str)>)> =
            expected.iter().map(|(scheme, parameters)| (*scheme, parameters.to_vec())).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn headers_are_read_as_registries_write_them() {
        check("Basic realm=\"a \\\"b\\\", c\"", &[("basic", &[("realm", "a \"b\", c")])]);
        let bearer = "Bearer realm=\"https://auth.example/token\",service=\"r.io\",scope=\"repository:a/b:pull,push\"";
        let parameters: &[(&str, &str)] =
            &[("realm", "https://auth.example/token"), ("scope", "repository:a/b:pull,push"), ("service", "r.io")];
        check(bearer, &[("bearer", parameters)]);
        check("Negotiate, BASIC Realm=x", &[("negotiate", &[]), ("basic", &[("realm", "x")])]);
        check("Bearer realm=\"open", &[("bearer", &[])]);
        check("=x", &[]);
        check("", &[]);
    }
}
