//! The Secret that says for what a bootstrap token is good, as kubeadm writes it, and the table of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use pki::BootstrapToken;

use crate::commands::table;
use crate::options::user::TokenCreate;

/// The type of such secrets.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";

const GROUPS: &str = "system:bootstrappers:";
const USAGE: &str = "usage-bootstrap-";

/// The name of a token's secret.
pub fn name(id: &str) -> String {
    format!("bootstrap-token-{id}")
}

/// The secret of a new token.
pub fn secret(token: &BootstrapToken, options: &TokenCreate, now: Timestamp) -> Result<Secret> {
    for group in &options.groups {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let rest = group.strip_prefix(GROUPS).unwrap_or_default();
        let is_right = rest.bytes().all(|byte| plain(byte) || byte == b':' || byte == b'-')
            && rest.bytes().last().is_some_and(plain);
        ensure!(is_right, "the group {group:?} must begin with {GROUPS:?} and go on with a-z, 0-9, : and -");
    }
    let mut data = BTreeMap::from([
        ("token-id".to_owned(), token.id().to_owned()),
        ("token-secret".to_owned(), token.secret().to_owned()),
    ]);
    data.extend(options.usages.iter().map(|usage| (format!("{USAGE}{usage}"), "true".to_owned())));
    if !options.ttl.is_zero() {
        let ttl = SignedDuration::try_from(options.ttl).ok().and_then(|ttl| now.checked_add(ttl).ok());
        let expires = ttl.context("--ttl is too long; 0 makes a token that never ends")?;
        // Whole seconds, as RFC 3339 is written everywhere in the API.
        data.insert("expiration".to_owned(), api::meta::format_time(expires));
    }
    if !options.description.is_empty() {
        data.insert("description".to_owned(), options.description.clone());
    }
    if !options.groups.is_empty() {
        data.insert("auth-extra-groups".to_owned(), options.groups.join(","));
    }
    Ok(Secret {
        metadata: ObjectMeta { name: Some(name(token.id())), ..ObjectMeta::default() },
        type_: Some(TYPE.to_owned()),
        string_data: Some(data),
        ..Secret::default()
    })
}

/// The table of tokens, with kubeadm's columns.
pub fn table(secrets: &[Secret], now: Timestamp) -> String {
    let head = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"].map(str::to_owned);
    let rows: Vec<[String; 6]> = [head].into_iter().chain(secrets.iter().map(|secret| row(secret, now))).collect();
    table::aligned(&rows)
}

fn row(secret: &Secret, now: Timestamp) -> [String; 6] {
    let data = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    let expiration = data("expiration");
    let (ttl, expires) = match expiration.parse::<Timestamp>() {
        _ if expiration.is_empty() => ("<forever>".to_owned(), "<never>".to_owned()),
        Ok(time) if time <= now => ("<expired>".to_owned(), expiration),
        Ok(time) => (api::table::human_duration(time.duration_since(now).as_secs()), expiration),
        Err(_) => ("<invalid>".to_owned(), expiration),
    };
    let usages = secret.data.iter().flatten().filter(|(_, value)| value.0 == b"true");
    let usages: Vec<&str> = usages.filter_map(|(key, _)| key.strip_prefix(USAGE)).collect();
    let token = format!("{}.{}", data("token-id"), data("token-secret"));
    [token, ttl, expires, or_none(usages.join(",")), or_none(data("description")), or_none(data("auth-extra-groups"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(ttl: u64) -> TokenCreate {
        use clap::{Args, FromArgMatches};
        let command = TokenCreate::augment_args(clap::Command::new("create").no_binary_name(true));
        let ttl = format!("--ttl={ttl}s");
        TokenCreate::from_arg_matches(&command.get_matches_from([ttl.as_str()])).expect("options")
    }

    fn made(ttl: u64) -> Secret {
        let token = BootstrapToken::parse("abcdef.0123456789abcdef").expect("a token");
        let secret = secret(&token, &options(ttl), testkit::at(0)).expect("good options");
        // What the server makes of it.
        let data = secret.string_data.iter().flatten();
        let data = data.map(|(key, value)| (key.clone(), k8s_openapi::ByteString(value.clone().into_bytes())));
        Secret { data: Some(data.collect()), ..secret }
    }

    #[track_caller]
    fn check(ttl: u64, now: i64, expected: &str) {
        let table = table(&[made(ttl)], testkit::at(now));
        let row = table.lines().nth(1).expect("a row");
        assert!(row.contains(expected), "{row}");
        assert!(row.starts_with("abcdef.0123456789abcdef   "), "{row}");
        assert!(row.ends_with("<none>        system:bootstrappers:skiff:default-node-token"), "{row}");
    }

    #[test]
    fn a_row_tells_how_long_a_token_is_good() {
        check(3600 * 24, 3600, "23h   2023-11-15T22:13:20Z   authentication,signing");
        check(3600, 3600, "<expired>   ");
        check(0, 0, "<forever>   <never>   ");
    }

    #[test]
    fn groups_are_those_of_joining_machines() {
        let token = BootstrapToken::parse("abcdef.0123456789abcdef").expect("a token");
        for (group, is_good) in [("system:bootstrappers:a:b-1", true), ("system:masters", false), (GROUPS, false)] {
            let options = TokenCreate { groups: vec![group.to_owned()], ..options(0) };
            assert_eq!(secret(&token, &options, testkit::at(0)).is_ok(), is_good, "{group}");
        }
    }
}
