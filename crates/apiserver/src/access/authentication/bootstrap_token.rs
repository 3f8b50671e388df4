//! Bootstrap tokens: secrets of `kube-system` with which machines join, `<id>.<secret>`.

use base::Env;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use pki::BootstrapToken;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::BOOTSTRAPPERS;
use crate::access::identity::Identity;
use crate::registry::Registry;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

/// Believes bootstrap tokens.
pub(super) struct BootstrapTokens {
    env: Env,
}

impl BootstrapTokens {
    pub(super) fn new(env: Env) -> Self {
        Self { env }
    }

    /// Whose token it is. A token without its secret is nobody's: it may just have been deleted.
    pub(super) async fn authenticate(&self, token: &str, registry: &Registry) -> Result<Option<Identity>, String> {
        let Some(token) = BootstrapToken::parse(token) else { return Ok(None) };
        let name = format!("bootstrap-token-{}", token.id());
        let find = || registry.cached_by("", "v1", "secrets", Some(NAMESPACE), &name);
        let found = match find() {
            Some(found) => Some(found),
            None => {
                registry.fresh().await.map_err(|status| status.message)?;
                find()
            }
        };
        Ok(found.and_then(|found| judge(&found.value(), &token, self.env.now())))
    }
}

/// What a secret says about a token.
fn judge(stored: &Value, token: &BootstrapToken, now: Timestamp) -> Option<Identity> {
    let id = token.id();
    let refused = |why: &str| {
        tracing::debug!(id, why, "bootstrap token refused");
        None
    };
    let data = |key: &str| {
        let bytes = BASE64_STANDARD.decode(stored["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    if stored["type"] != TYPE || !stored["metadata"]["deletionTimestamp"].is_null() {
        return refused("the secret is of another type or about to go");
    }
    // Digests are compared, so that the time taken says nothing about how much was right.
    let kept = data("token-secret").unwrap_or_default();
    if kept.is_empty()
        || Sha256::digest(&kept) != Sha256::digest(token.secret())
        || data("token-id").as_deref() != Some(id)
    {
        return refused("another token");
    }
    if let Some(expiration) = data("expiration").filter(|text| !text.is_empty()) {
        // A time that cannot be read has passed.
        if expiration.parse::<Timestamp>().map_or(true, |expires| expires <= now) {
            return refused("expired");
        }
    }
    if data("usage-bootstrap-authentication").as_deref() != Some("true") {
        return refused("not for authentication");
    }
    let mut groups = vec![BOOTSTRAPPERS.to_owned()];
    for group in data("auth-extra-groups").unwrap_or_default().split(',').filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return refused("a group that is not for bootstrap tokens");
        }
        if !groups.iter().any(|each| each == group) {
            groups.push(group.to_owned());
        }
    }
    Some(Identity { user: format!("system:bootstrap:{id}"), groups, ..Identity::default() })
}

/// Tokens lend groups of joining machines alone: whoever may write them makes himself no administrator.
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_well = rest.bytes().last().is_some_and(plain);
    rest.len() <= 256 && ends_well && rest.bytes().all(|byte| plain(byte) || byte == b':' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let given = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2030-01-01T00:00:00Z"),
            ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
        ];
        for (key, value) in given.iter().chain(changes) {
            data[*key] = BASE64_STANDARD.encode(value).into();
        }
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": TYPE, "data": data})
    }

    #[track_caller]
    fn check(stored: &Value, token: &str, expected: bool) {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let found = BootstrapToken::parse(token).and_then(|token| judge(stored, &token, now));
        assert_eq!(found.is_some(), expected, "{token} {stored}");
        if let Some(found) = found {
            assert_eq!(found.user, "system:bootstrap:abcdef");
            assert!(found.is_in(BOOTSTRAPPERS));
        }
    }

    #[test]
    fn a_secret_says_for_what_and_how_long_its_token_is_good() {
        const GOOD: &str = "abcdef.0123456789abcdef";
        check(&secret(&[]), GOOD, true);
        check(&secret(&[("expiration", "")]), GOOD, true);
        check(&secret(&[]), "abcdef.0123456789abcdee", false);
        check(&secret(&[]), "abcdef.0123456789ABCDEF", false);
        check(&secret(&[]), "abcdef0123456789abcdef", false);
        check(&secret(&[("token-id", "abcdeg")]), GOOD, false);
        check(&secret(&[("expiration", "2025-12-31T23:59:59Z")]), GOOD, false);
        check(&secret(&[("expiration", "tomorrow")]), GOOD, false);
        check(&secret(&[("usage-bootstrap-authentication", "false")]), GOOD, false);
        check(&secret(&[("auth-extra-groups", "system:masters")]), GOOD, false);
        check(&secret(&[("auth-extra-groups", "system:bootstrappers:-")]), GOOD, false);
        let mut other = secret(&[]);
        other["type"] = json!("Opaque");
        check(&other, GOOD, false);
    }
}
