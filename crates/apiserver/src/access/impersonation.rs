//! Acting as somebody else: the headers `Impersonate-User`, `-Group`, `-Uid` and `-Extra-*`.
//!
//! Whoever sends them needs the verb `impersonate` on each thing that they name.

use std::collections::BTreeMap;

use api::status::Status;
use http::HeaderMap;

use super::attributes::{Attributes, ResourceAttributes};
use super::identity::{ANONYMOUS, Identity, UNAUTHENTICATED, service_account, unescape_key};
use crate::registry::Registry;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Who is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Requested {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
}

/// The identity that a request is made as: the sender's own, or the one that its headers ask for and that the sender
/// may take. The headers are taken out, so that nothing behind reads them again.
pub(crate) async fn impersonate(
    registry: &Registry,
    sender: Identity,
    headers: &mut HeaderMap,
) -> Result<Identity, Status> {
    let Some(requested) = take(headers)? else { return Ok(sender) };
    let may = async |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let resource = ResourceAttributes { group, resource, subresource, namespace, name, ..Default::default() };
        registry.authorize(&Attributes::of_verb(&sender, "impersonate", resource)).await
    };
    match service_account(&requested.user) {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name).await?,
        None => may("", "users", "", "", &requested.user).await?,
    }
    for group in &requested.groups {
        may("", "groups", "", "", group).await?;
    }
    for (key, values) in &requested.extra {
        for value in values {
            may("authentication.k8s.io", "userextras", key, "", value).await?;
        }
    }
    if !requested.uid.is_empty() {
        may("authentication.k8s.io", "uids", "", "", &requested.uid).await?;
    }
    Ok(requested.identity())
}

impl Requested {
    /// Groups that go with the user are added, unless the request names groups that say otherwise.
    fn identity(self) -> Identity {
        let Self { user, mut groups, uid, extra } = self;
        if groups.is_empty()
            && let Some((namespace, name)) = service_account(&user)
        {
            groups = Identity::service_account(namespace, name).groups;
        }
        let says = |group: &str| groups.iter().any(|each| each == group);
        if user == ANONYMOUS && !says(UNAUTHENTICATED) {
            groups.push(UNAUTHENTICATED.to_owned());
        }
        Identity { user, groups, uid: Some(uid).filter(|uid| !uid.is_empty()), extra }.authenticated()
    }
}

/// Whether a request asks for another identity.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
}

/// Takes the headers out; nothing if there are none.
fn take(headers: &mut HeaderMap) -> Result<Option<Requested>, Status> {
    let names: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    if names.is_empty() {
        return Ok(None);
    }
    let mut requested = Requested::default();
    for name in names {
        let values = headers.get_all(&name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let values: Vec<String> = values.collect();
        match name.as_str() {
            USER => requested.user = values.into_iter().next().unwrap_or_default(),
            GROUP => requested.groups = values,
            UID => requested.uid = values.into_iter().next().unwrap_or_default(),
            other => {
                if let Some(key) = other.strip_prefix(EXTRA) {
                    requested.extra.insert(unescape_key(key), values);
                }
            }
        }
        headers.remove(&name);
    }
    if requested.user.is_empty() {
        if requested == Requested::default() {
            return Ok(None);
        }
        return Err(Status::internal(format_args!("requested {requested:?} without impersonating a user")));
    }
    Ok(Some(requested))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], user: &str, groups: &[&str]) {
        let identity = take(&mut headers(pairs)).expect("good headers").expect("somebody").identity();
        assert_eq!((identity.user.as_str(), identity.groups), (user, groups.iter().map(|g| (*g).to_owned()).collect()));
    }

    #[test]
    fn groups_that_go_with_the_user_are_added() {
        check(&[("impersonate-user", "a")], "a", &["system:authenticated"]);
        check(
            &[("impersonate-user", "a"), ("impersonate-group", "x"), ("impersonate-group", "y")],
            "a",
            &["x", "y", "system:authenticated"],
        );
        let account = "system:serviceaccount:n:s";
        let groups = ["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"];
        check(&[("impersonate-user", account)], account, &groups);
        check(&[("impersonate-user", ANONYMOUS)], ANONYMOUS, &["system:unauthenticated"]);
    }

    #[test]
    fn extra_fields_are_read_and_headers_taken_out() {
        let mut all = headers(&[
            ("impersonate-user", "a"),
            ("impersonate-uid", "u"),
            ("impersonate-extra-example.com%2fscopes", "one"),
            ("impersonate-extra-example.com%2fscopes", "two"),
            ("accept", "x"),
        ]);
        let identity = take(&mut all).expect("good headers").expect("somebody").identity();
        assert_eq!(identity.uid.as_deref(), Some("u"));
        assert_eq!(identity.extra["example.com/scopes"], ["one", "two"]);
        assert_eq!(all.len(), 1);
        assert!(take(&mut headers(&[("impersonate-group", "g")])).is_err());
        assert_eq!(take(&mut headers(&[("accept", "x")])).expect("nothing asked"), None);
    }
}
