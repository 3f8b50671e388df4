//! Where a request carries its bearer token: in `Authorization`, or among the subprotocols of a WebSocket, because
//! pages in browsers can set no other header there.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The token, if there is one. One in a subprotocol is taken out.
pub(super) fn token(headers: &mut HeaderMap) -> Result<Option<String>, &'static str> {
    match authorization(headers) {
        Some(token) => Ok(Some(token)),
        None => protocol(headers),
    }
}

fn authorization(headers: &HeaderMap) -> Option<String> {
    let mut words = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split(' ');
    let (scheme, token) = (words.next()?, words.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

fn protocol(headers: &mut HeaderMap) -> Result<Option<String>, &'static str> {
    let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if !headers.get_all(UPGRADE).iter().any(is_websocket) {
        return Ok(None);
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        offered.into_iter().partition(|protocol| protocol.starts_with(PROTOCOL));
    let token = match tokens.as_slice() {
        [] => return Ok(None),
        [single] => single.strip_prefix(PROTOCOL).unwrap_or_default(),
        _ => return Err("multiple base64.bearer.authorization tokens specified"),
    };
    let invalid = "invalid base64.bearer.authorization token encoding";
    let token = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid)?;
    let token = String::from_utf8(token).map_err(|_| invalid)?;
    // The server must choose one of the others: it cannot choose the token.
    if others.is_empty() {
        return Err("missing additional subprotocol");
    }
    let others = HeaderValue::from_str(&others.join(",")).map_err(|_| invalid)?;
    headers.insert(SEC_WEBSOCKET_PROTOCOL, others);
    Ok(Some(token).filter(|token| !token.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&'static str, &'static str)], expected: Result<Option<&str>, &str>, left: Option<&str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let found = token(&mut headers);
        assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().map(|token| *token));
        if let Some(left) = left {
            assert_eq!(headers["sec-websocket-protocol"], left);
        }
    }

    #[test]
    fn a_token_is_in_the_header_or_a_subprotocol() {
        check(&[("authorization", "Bearer abc")], Ok(Some("abc")), None);
        check(&[("authorization", "bearer abc def")], Ok(Some("abc")), None);
        check(&[("authorization", "Basic abc")], Ok(None), None);
        check(&[("authorization", "Bearer ")], Ok(None), None);
        check(&[], Ok(None), None);
        let upgrade = ("upgrade", "websocket");
        let both = "base64url.bearer.authorization.k8s.io.YWJj, v4.channel.k8s.io";
        check(&[upgrade, ("sec-websocket-protocol", both)], Ok(Some("abc")), Some("v4.channel.k8s.io"));
        check(&[("sec-websocket-protocol", both)], Ok(None), Some(both));
        let alone = "base64url.bearer.authorization.k8s.io.YWJj";
        check(&[upgrade, ("sec-websocket-protocol", alone)], Err("missing additional subprotocol"), None);
    }
}
