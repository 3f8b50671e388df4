//! What a plugin may say, and what may be stored of it: upstream's rules.

use super::VERSION;
use super::messages::{AES_GCM_KEY, Annotations, EncryptedObject, HKDF_SEED, StatusResponse};

/// The most bytes of a key's name.
const MAX_KEY_ID: usize = 1024;
/// The most bytes of an encrypted seed.
const MAX_SOURCE: usize = 1024;
/// The most bytes of all annotations.
const MAX_ANNOTATIONS: usize = 32 * 1024;
/// The versions of the protocol: what plugins said before v1.29 is the same.
const VERSIONS: [&str; 2] = [VERSION, "v2beta1"];

/// What is wrong with a key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongKeyId {
    #[error("it names no key")]
    Empty,
    #[error("the name of its key has {0} bytes, more than {MAX_KEY_ID}")]
    TooLong(usize),
}

/// Judges a key's name.
pub(super) fn key_id(key_id: &str) -> Result<(), WrongKeyId> {
    match key_id.len() {
        0 => Err(WrongKeyId::Empty),
        length if length > MAX_KEY_ID => Err(WrongKeyId::TooLong(length)),
        _ => Ok(()),
    }
}

/// Judges what a plugin says of itself.
pub(super) fn status(status: &StatusResponse) -> Result<(), String> {
    let mut wrong = Vec::new();
    if status.healthz != "ok" {
        wrong.push(format!("it is not ok: {:?}", shown(&status.healthz)));
    }
    if !VERSIONS.contains(&&*status.version) {
        wrong.push(format!("it speaks version {:?}, not {VERSION}", shown(&status.version)));
    }
    wrong.extend(key_id(&status.key_id).err().map(|err| err.to_string()));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// So much of what a plugin says is repeated.
fn shown(text: &str) -> &str {
    let end = text.char_indices().map(|(at, _)| at).nth(256).unwrap_or(text.len());
    &text[..end]
}

/// Judges all of a stored value but its text.
pub(super) fn source(object: &EncryptedObject) -> Result<(), String> {
    if ![AES_GCM_KEY, HKDF_SEED].contains(&object.source_type) {
        return Err(format!("its seed is of the unknown type {}", object.source_type));
    }
    match object.source.len() {
        0 => return Err("the encrypted seed is empty".to_owned()),
        length if length > MAX_SOURCE => {
            return Err(format!("the encrypted seed has {length} bytes, more than {MAX_SOURCE}"));
        }
        _ => {}
    }
    key_id(&object.key_id).map_err(|err| err.to_string())?;
    annotations(&object.annotations)
}

/// Judges a stored value.
pub(super) fn object(object: &EncryptedObject) -> Result<(), String> {
    if object.data.is_empty() {
        return Err("it is damaged: nothing is encrypted".to_owned());
    }
    source(object)
}

fn annotations(annotations: &Annotations) -> Result<(), String> {
    let size: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        return Err(format!("the annotations have {size} bytes, more than {MAX_ANNOTATIONS}"));
    }
    match annotations.keys().find(|name| !is_qualified(name)) {
        Some(name) => Err(format!("the annotation {:?} is not named after a domain", shown(name))),
        None => Ok(()),
    }
}

/// Whether a name is a domain of at least two labels.
fn is_qualified(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> EncryptedObject {
        let annotations = [("local-kek.kms.example.com".to_owned(), b"x".to_vec())].into();
        let (key_id, source) = ("1".to_owned(), vec![1]);
        EncryptedObject { data: vec![1].into(), key_id, source, annotations, source_type: HKDF_SEED }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut EncryptedObject), expected: &str) {
        let mut changed = good();
        change(&mut changed);
        let judged = object(&changed).err().unwrap_or_default();
        assert!(judged.contains(expected) && judged.is_empty() == expected.is_empty(), "{judged}");
    }

    #[test]
    fn stored_values_are_judged_as_upstream_judges_them() {
        check(|_| {}, "");
        check(|object| object.source_type = AES_GCM_KEY, "");
        check(|object| object.source_type = 2, "unknown type 2");
        check(|object| object.data = vec![].into(), "nothing is encrypted");
        check(|object| object.source.clear(), "encrypted seed is empty");
        check(|object| object.source = vec![0; 1024], "");
        check(|object| object.source = vec![0; 1025], "more than 1024");
        check(|object| object.key_id.clear(), "names no key");
        check(|object| object.key_id = "k".repeat(1024), "");
        check(|object| object.key_id = "k".repeat(1025), "has 1025 bytes");
        let annotate = |name: &str, size: usize| {
            let entry = (name.to_owned(), vec![0; size]);
            move |object: &mut EncryptedObject| object.annotations = [entry].into()
        };
        check(annotate("a.b", 32 * 1024 - 3), "");
        check(annotate("a.b", 32 * 1024), "more than 32768");
        for wrong in ["", "panda", "Pan.da", "-a.b", "a..b", "a_b.c"] {
            check(annotate(wrong, 1), "not named after a domain");
        }
    }

    #[test]
    fn what_a_plugin_says_of_itself_is_judged() {
        let said = |version: &str, healthz: &str, key_id: &str| {
            let [version, healthz, key_id] = [version, healthz, key_id].map(str::to_owned);
            status(&StatusResponse { version, healthz, key_id })
        };
        assert_eq!(said("v2", "ok", "1"), Ok(()));
        assert_eq!(said("v2beta1", "ok", "1"), Ok(()));
        let all = said("v1", "tired", "").expect_err("all is wrong");
        assert!(all.contains("\"tired\"") && all.contains("\"v1\"") && all.contains("names no key"), "{all}");
    }
}
