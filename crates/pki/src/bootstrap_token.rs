//! Bootstrap tokens: `<id>.<secret>`, with which machines join for a while. A Secret of `kube-system` says which are
//! good and for what.
//!
//! A token also signs: who has it finds out by a signature over the cluster's public information, made by the cluster
//! with the same secret, that it looks at the right cluster. The signature is a JWS (HS256) without its content.

use std::fmt;

use base::Env;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// A bootstrap token.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: String,
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootstrapToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl BootstrapToken {
    /// Reads `<id>.<secret>`: 6 and 16 small letters and digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        Self::new(id, secret)
    }

    /// The token of these parts, if they are of the right form.
    pub fn new(id: &str, secret: &str) -> Option<Self> {
        let has = |text: &str, length| text.len() == length && text.bytes().all(is_plain);
        (has(id, ID_LENGTH) && has(secret, SECRET_LENGTH))
            .then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// A new one.
    pub fn random(env: &Env) -> Self {
        const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let letters = |length: usize| -> String {
            // The bound is the length of the alphabet, so that the remainder fits and no letter is likelier.
            (0..length)
                .map(|_| char::from(LETTERS[usize::try_from(env.random().below(36)).unwrap_or_default()]))
                .collect()
        };
        Self { id: letters(ID_LENGTH), secret: letters(SECRET_LENGTH) }
    }

    /// The part that everybody may know.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The part that nobody else may know.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The whole of it, for the user and the wire.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// A signature over a text.
    pub fn sign(&self, content: &str) -> String {
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": self.id}).to_string());
        let tag = hmac::sign(&self.key(), signed(&header, content).as_bytes());
        format!("{header}..{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// Whether a signature over a text was made with this token.
    pub fn has_signed(&self, content: &str, signature: &str) -> bool {
        let Some((header, tag)) = signature.split_once("..") else { return false };
        let Ok(tag) = BASE64_URL_SAFE_NO_PAD.decode(tag) else { return false };
        hmac::verify(&self.key(), signed(header, content).as_bytes(), &tag).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes())
    }
}

/// What the tag of a JWS is over.
fn signed(header: &str, content: &str) -> String {
    format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(content))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parse(text: &str, expected: Option<(&str, &str)>) {
        let token = BootstrapToken::parse(text);
        assert_eq!(token.as_ref().map(|token| (token.id(), token.secret())), expected, "{text}");
    }

    #[test]
    fn tokens_have_an_id_and_a_secret() {
        check_parse("abcdef.0123456789abcdef", Some(("abcdef", "0123456789abcdef")));
        for wrong in ["", "abcdef", "abcdef.", "abcde.0123456789abcdef", "abcdef.0123456789abcdeF", "a.b.c"] {
            check_parse(wrong, None);
        }
        let made = BootstrapToken::random(&Env::system());
        assert_eq!(BootstrapToken::parse(&made.reveal()), Some(made.clone()));
        assert!(!format!("{made:?}").contains(made.secret()), "no secrets in logs");
    }

    #[test]
    fn a_signature_is_of_one_token_over_one_text() {
        let token = BootstrapToken::parse("abcdef.0123456789abcdef").expect("a token");
        let other = BootstrapToken::parse("abcdef.0123456789abcdee").expect("a token");
        let signature = token.sign("text");
        // The protected header of a JWS that names the key; the content stands elsewhere.
        assert!(signature.starts_with("eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9.."), "{signature}");
        assert!(token.has_signed("text", &signature));
        assert!(!token.has_signed("texts", &signature) && !other.has_signed("text", &signature));
        assert!(!token.has_signed("text", "") && !token.has_signed("text", "a..b"));
    }
}
