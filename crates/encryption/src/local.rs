//! The ciphers whose keys are in the configuration itself.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::{AesGcm, Nonce, Tag};
use base::Env;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use crypto_secretbox::XSalsa20Poly1305;

/// The sizes of keys that AES takes, in bytes.
pub(crate) const AES_KEYS: &[usize] = &[16, 24, 32];
/// The sizes of keys that secretbox takes, in bytes.
pub(crate) const SECRETBOX_KEYS: &[usize] = &[32];

/// The length of the initialization vector of AES-CBC.
const IV: usize = 16;
/// The length of the nonce of AES-GCM.
const GCM_NONCE: usize = 12;
/// The length of the nonce of secretbox.
const SECRETBOX_NONCE: usize = 24;
/// The length of the tags of AES-GCM and of secretbox.
const TAG: usize = 16;

/// A kind of cipher: the name of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CipherKind {
    AesCbc,
    AesGcm,
    Secretbox,
}

impl CipherKind {
    /// The name of the provider in configurations and prefixes.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AesCbc => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
        }
    }

    /// The sizes of its keys.
    pub(crate) fn key_sizes(self) -> &'static [usize] {
        match self {
            Self::AesCbc | Self::AesGcm => AES_KEYS,
            Self::Secretbox => SECRETBOX_KEYS,
        }
    }
}

/// A cipher with its key.
pub(crate) enum Cipher {
    AesCbc(Vec<u8>),
    AesGcm(Gcm),
    Secretbox(Box<XSalsa20Poly1305>),
}

/// AES-GCM, by the size of its key.
pub(crate) enum Gcm {
    Aes128(Box<AesGcm<Aes128, U12>>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<AesGcm<Aes256, U12>>),
}

/// What was stored is not what this key wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotItsOwn;

impl Cipher {
    /// `None` if the key has a size that the cipher does not take.
    pub(crate) fn new(kind: CipherKind, key: &[u8]) -> Option<Self> {
        if !kind.key_sizes().contains(&key.len()) {
            return None;
        }
        Some(match kind {
            CipherKind::AesCbc => Self::AesCbc(key.to_vec()),
            CipherKind::AesGcm => Self::AesGcm(Gcm::new(key)?),
            CipherKind::Secretbox => Self::Secretbox(Box::new(XSalsa20Poly1305::new_from_slice(key).ok()?)),
        })
    }

    /// Encrypts behind what `out` holds. `bound` is authenticated by AES-GCM; the other two cannot.
    pub(crate) fn seal(&self, plain: &[u8], bound: &[u8], out: &mut Vec<u8>, env: &Env) {
        match self {
            Self::AesCbc(key) => {
                let mut iv = [0; IV];
                env.random().fill(&mut iv);
                out.extend_from_slice(&iv);
                let at = out.len();
                out.extend_from_slice(plain);
                out.resize(at + plain.len() + IV, 0);
                let length = encrypt_cbc(key, &iv, &mut out[at..], plain.len());
                out.truncate(at + length);
            }
            Self::AesGcm(gcm) => gcm.seal(plain, bound, out, env),
            Self::Secretbox(cipher) => {
                let mut nonce = [0; SECRETBOX_NONCE];
                env.random().fill(&mut nonce);
                out.extend_from_slice(&nonce);
                // NaCl puts the tag before the text.
                let at = out.len() + TAG;
                out.resize(at, 0);
                out.extend_from_slice(plain);
                let sealed = cipher.encrypt_in_place_detached((&nonce).into(), b"", &mut out[at..]);
                let tag = sealed.expect("without bound data it cannot fail");
                out[at - TAG..at].copy_from_slice(&tag);
            }
        }
    }

    /// Decrypts what [`Cipher::seal`] wrote.
    pub(crate) fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<Vec<u8>, NotItsOwn> {
        match self {
            Self::AesCbc(key) => {
                let (iv, text) = sealed.split_at_checked(IV).ok_or(NotItsOwn)?;
                let mut text = text.to_vec();
                let length = decrypt_cbc(key, iv, &mut text)?;
                text.truncate(length);
                Ok(text)
            }
            Self::AesGcm(gcm) => gcm.open(sealed, bound),
            Self::Secretbox(cipher) => {
                let (nonce, rest) = sealed.split_at_checked(SECRETBOX_NONCE).ok_or(NotItsOwn)?;
                let (tag, text) = rest.split_at_checked(TAG).ok_or(NotItsOwn)?;
                let mut text = text.to_vec();
                let opened = cipher.decrypt_in_place_detached(nonce.into(), b"", &mut text, tag.into());
                opened.map_err(|_| NotItsOwn)?;
                Ok(text)
            }
        }
    }
}

impl Gcm {
    /// `None` if AES takes no key of that size.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Self::Aes128(Box::new(AesGcm::new_from_slice(key).ok()?)),
            24 => Self::Aes192(Box::new(AesGcm::new_from_slice(key).ok()?)),
            32 => Self::Aes256(Box::new(AesGcm::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    /// Encrypts behind what `out` holds: nonce, text, tag.
    pub(crate) fn seal(&self, plain: &[u8], bound: &[u8], out: &mut Vec<u8>, env: &Env) {
        let mut nonce = [0; GCM_NONCE];
        env.random().fill(&mut nonce);
        out.extend_from_slice(&nonce);
        let at = out.len();
        out.extend_from_slice(plain);
        let (nonce, text) = (Nonce::from(nonce), &mut out[at..]);
        let tag = match self {
            Self::Aes128(cipher) => cipher.encrypt_in_place_detached(&nonce, bound, text),
            Self::Aes192(cipher) => cipher.encrypt_in_place_detached(&nonce, bound, text),
            Self::Aes256(cipher) => cipher.encrypt_in_place_detached(&nonce, bound, text),
        };
        out.extend_from_slice(&tag.expect("objects are shorter than the 64 GB that AES-GCM takes"));
    }

    /// Decrypts what [`Gcm::seal`] wrote.
    pub(crate) fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<Vec<u8>, NotItsOwn> {
        let (nonce, rest) = sealed.split_at_checked(GCM_NONCE).ok_or(NotItsOwn)?;
        let (text, tag) = rest.split_at_checked(rest.len().saturating_sub(TAG)).ok_or(NotItsOwn)?;
        if tag.len() != TAG {
            return Err(NotItsOwn);
        }
        let (nonce, tag, mut text): (&Nonce<U12>, &Tag, _) = (nonce.into(), tag.into(), text.to_vec());
        let opened = match self {
            Self::Aes128(cipher) => cipher.decrypt_in_place_detached(nonce, bound, &mut text, tag),
            Self::Aes192(cipher) => cipher.decrypt_in_place_detached(nonce, bound, &mut text, tag),
            Self::Aes256(cipher) => cipher.decrypt_in_place_detached(nonce, bound, &mut text, tag),
        };
        opened.map_err(|_| NotItsOwn)?;
        Ok(text)
    }
}

/// Encrypts the first `length` bytes of a buffer that has room for the padding; tells how long it became.
fn encrypt_cbc(key: &[u8], iv: &[u8; IV], buffer: &mut [u8], length: usize) -> usize {
    let sealed = match key.len() {
        16 => cbc::Encryptor::<Aes128>::new(key.into(), iv.into()).encrypt_padded_mut::<Pkcs7>(buffer, length),
        24 => cbc::Encryptor::<Aes192>::new(key.into(), iv.into()).encrypt_padded_mut::<Pkcs7>(buffer, length),
        _ => cbc::Encryptor::<Aes256>::new(key.into(), iv.into()).encrypt_padded_mut::<Pkcs7>(buffer, length),
    };
    sealed.expect("the buffer has room for the padding").len()
}

/// Decrypts a buffer; tells how long it is without its padding.
fn decrypt_cbc(key: &[u8], iv: &[u8], buffer: &mut [u8]) -> Result<usize, NotItsOwn> {
    let opened = match key.len() {
        16 => cbc::Decryptor::<Aes128>::new(key.into(), iv.into()).decrypt_padded_mut::<Pkcs7>(buffer),
        24 => cbc::Decryptor::<Aes192>::new(key.into(), iv.into()).decrypt_padded_mut::<Pkcs7>(buffer),
        _ => cbc::Decryptor::<Aes256>::new(key.into(), iv.into()).decrypt_padded_mut::<Pkcs7>(buffer),
    };
    opened.map(|text| text.len()).map_err(|_| NotItsOwn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"{\"apiVersion\":\"v1\",\"kind\":\"Secret\"}";

    #[track_caller]
    fn check_round_trip(kind: CipherKind, key_size: usize) {
        let env = Env::system();
        let cipher = Cipher::new(kind, &vec![7; key_size]).expect("a good size");
        for plain in [&b""[..], b"x", &[1; 16], TEXT, &[9; 100_000]] {
            let mut sealed = b"prefix".to_vec();
            cipher.seal(plain, b"/registry/a", &mut sealed, &env);
            let sealed = sealed.strip_prefix(b"prefix").expect("it is behind what was there");
            assert_eq!(cipher.open(sealed, b"/registry/a").as_deref(), Ok(plain), "{kind:?} {key_size}");
            assert_ne!(cipher.open(sealed, b"/registry/b").is_ok(), kind == CipherKind::AesGcm, "only AES-GCM binds");
            let other = Cipher::new(kind, &vec![8; key_size]).expect("a good size");
            assert_ne!(other.open(sealed, b"/registry/a").as_deref(), Ok(plain), "another key");
            for cut in 0..sealed.len().min(64) {
                assert_ne!(cipher.open(&sealed[..cut], b"/registry/a").as_deref(), Ok(plain), "cut to {cut}");
            }
        }
    }

    #[test]
    fn what_is_sealed_can_be_opened_with_the_same_key_alone() {
        for size in [16, 24, 32] {
            check_round_trip(CipherKind::AesCbc, size);
            check_round_trip(CipherKind::AesGcm, size);
        }
        check_round_trip(CipherKind::Secretbox, 32);
        for (kind, size) in [(CipherKind::AesCbc, 8), (CipherKind::AesGcm, 31), (CipherKind::Secretbox, 16)] {
            assert!(Cipher::new(kind, &vec![7; size]).is_none(), "{kind:?} {size}");
        }
    }

    /// Values under the key 0, 1, 2, … with the nonce 0, 1, 2, …: OpenSSL made those of the AES modes, libsodium reads
    /// that of secretbox.
    #[track_caller]
    fn check_foreign(kind: CipherKind, key_size: u8, sealed: &str) {
        let cipher = Cipher::new(kind, &(0..key_size).collect::<Vec<u8>>()).expect("a good size");
        let opened = cipher.open(&hex::decode(sealed).expect("hexadecimal"), b"/registry/secrets/default/s");
        assert_eq!(opened.as_deref(), Ok(&b"{\"kind\":\"Secret\"}"[..]), "{kind:?}");
    }

    #[test]
    fn values_of_other_implementations_are_read() {
        check_foreign(
            CipherKind::AesCbc,
            32,
            "000102030405060708090a0b0c0d0e0f1e99f42a87db9ef8ab2a289efc82058d9b6df3c3b806157e27663d659124bb7a",
        );
        check_foreign(
            CipherKind::AesGcm,
            32,
            "000102030405060708090a0b3c20bd72ab81e021af12f2e8c38c0c4ffe23c5b37757d3e4abcb34ad8eaa879943",
        );
        check_foreign(
            CipherKind::AesGcm,
            24,
            "000102030405060708090a0b9ddb49f2f7ddeb34f260b9e18dcca85273f25478fd2dd4d8576a71d99c36def522",
        );
        check_foreign(
            CipherKind::Secretbox,
            32,
            "000102030405060708090a0b0c0d0e0f101112131415161704ea051d45311f98b1b8fa426fca41d025dd5326a9ae802a996fea5d1aea3eb\
             52f",
        );
    }
}
