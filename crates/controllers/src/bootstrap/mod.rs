//! Bootstrap tokens: their signatures over the cluster's public information, and their end.

pub(crate) mod clean;
pub(crate) mod sign;

use std::time::Duration;

use client::{Informer, Informers, ListSelector};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use pki::BootstrapToken;

/// The namespace of the secrets of tokens.
const NAMESPACE: &str = "kube-system";

/// The secrets of tokens, of any namespace.
fn secrets(informers: &Informers) -> Informer<Secret> {
    informers.filtered(ListSelector::fields("type=bootstrap.kubernetes.io/token"))
}

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

/// How long a token is still good; nothing if it is good without end. A time that cannot be read has passed.
fn time_left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let expiration = text(secret, "expiration").filter(|text| !text.is_empty())?;
    let left = expiration.parse::<Timestamp>().map(|expires| now.duration_until(expires));
    Some(left.ok().and_then(|left| Duration::try_from(left).ok()).unwrap_or_default())
}

/// The token of a secret, if it is named after it and good for signing.
fn signing_token(secret: &Secret, now: Timestamp) -> Option<BootstrapToken> {
    let (id, key) = (text(secret, "token-id")?, text(secret, "token-secret")?);
    let is_good = secret.metadata.name.as_deref() == Some(&format!("bootstrap-token-{id}"))
        && text(secret, "usage-bootstrap-signing") == Some("true")
        && time_left(secret, now).is_none_or(|left| !left.is_zero());
    if is_good { BootstrapToken::new(id, key) } else { None }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use testkit::{at, object};

    use super::*;

    #[track_caller]
    fn check(changes: &[(&str, &str)], signs: bool, left: Option<u64>) {
        let mut data =
            vec![("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
        data.extend(changes);
        let secret = object::<Secret>("kube-system/bootstrap-token-abcdef").with(|secret| {
            let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
            secret.data = Some(data.collect());
        });
        let secret = secret.build();
        assert_eq!(signing_token(&secret, at(0)).is_some(), signs, "{changes:?}");
        assert_eq!(time_left(&secret, at(0)).map(|left| left.as_secs()), left, "{changes:?}");
    }

    #[test]
    fn a_secret_says_whether_and_how_long_its_token_signs() {
        check(&[], true, None);
        check(&[("expiration", "")], true, None);
        check(&[("expiration", &at(60).to_string())], true, Some(60));
        check(&[("expiration", &at(0).to_string())], false, Some(0));
        check(&[("expiration", &at(-5).to_string())], false, Some(0));
        check(&[("expiration", "tomorrow")], false, Some(0));
        check(&[("usage-bootstrap-signing", "false")], false, None);
        check(&[("token-id", "abcdeg")], false, None);
        check(&[("token-secret", "short")], false, None);
    }
}
