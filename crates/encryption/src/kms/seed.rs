//! What encrypts values: a seed, from which every write gets a key of its own.
//!
//! AES-GCM with one key and random nonces wears out; a key that HKDF makes of the seed and 32 random bytes never does,
//! so that one seed may write forever. The random bytes are stored before the nonce.

use base::Env;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};

use super::messages::{AES_GCM_KEY, HKDF_SEED};
use crate::local::{Gcm, NotItsOwn};

/// The length of a seed, of what is mixed into it, and of the keys that it makes.
pub(super) const LENGTH: usize = 32;

/// What a plugin has decrypted.
pub(super) enum Seed {
    /// A key itself: only read.
    Key(Gcm),
    /// Makes keys.
    Seed(Prk),
}

/// The length of the keys, for HKDF.
struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        LENGTH
    }
}

impl Seed {
    /// `None` if the bytes are too few for a seed, or none of the sizes of an AES key.
    pub(super) fn new(source_type: i32, bytes: &[u8]) -> Option<Self> {
        match source_type {
            AES_GCM_KEY => Gcm::new(bytes).map(Self::Key),
            HKDF_SEED => (bytes.len() >= LENGTH).then(|| Self::Seed(Prk::new_less_safe(HKDF_SHA256, bytes))),
            _ => None,
        }
    }

    /// Encrypts behind what `out` holds.
    pub(super) fn seal(&self, plain: &[u8], bound: &[u8], out: &mut Vec<u8>, env: &Env) {
        match self {
            Self::Key(key) => key.seal(plain, bound, out, env),
            Self::Seed(prk) => {
                let mut info = [0; LENGTH];
                env.random().fill(&mut info);
                out.extend_from_slice(&info);
                derive(prk, &info).seal(plain, bound, out, env);
            }
        }
    }

    /// Decrypts what [`Seed::seal`] wrote.
    pub(super) fn open(&self, sealed: &[u8], bound: &[u8]) -> Result<Vec<u8>, NotItsOwn> {
        match self {
            Self::Key(key) => key.open(sealed, bound),
            Self::Seed(prk) => {
                let (info, sealed) = sealed.split_at_checked(LENGTH).ok_or(NotItsOwn)?;
                derive(prk, info).open(sealed, bound)
            }
        }
    }
}

fn derive(prk: &Prk, info: &[u8]) -> Gcm {
    let mut key = [0; LENGTH];
    let info = [info];
    let made = prk.expand(&info, KeyLength).expect("one block of the hash is not too long");
    made.fill(&mut key).expect("the key has the length that was asked for");
    Gcm::new(&key).expect("AES takes 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The third test vector of RFC 5869 stands for the expansion with SHA-256: its key is the first 32 bytes of it.
    #[test]
    fn keys_are_made_by_hkdf() {
        let prk = hex::decode("19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04").expect("hex");
        let Some(Seed::Seed(prk)) = Seed::new(HKDF_SEED, &prk) else { panic!("a seed") };
        let mut key = [0; LENGTH];
        prk.expand(&[b""], KeyLength).expect("short").fill(&mut key).expect("right length");
        assert_eq!(hex::encode(key), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
    }

    #[test]
    fn what_is_written_is_read_and_bound_and_never_the_same() {
        let env = Env::system();
        for (kind, bytes) in [(HKDF_SEED, &[7; 32][..]), (AES_GCM_KEY, &[7; 32]), (AES_GCM_KEY, &[7; 16])] {
            let seed = Seed::new(kind, bytes).expect("it is right");
            let (mut first, mut second) = (Vec::new(), Vec::new());
            seed.seal(b"plain", b"key", &mut first, &env);
            seed.seal(b"plain", b"key", &mut second, &env);
            assert_ne!(first, second);
            assert_eq!(seed.open(&first, b"key"), Ok(b"plain".to_vec()));
            assert_eq!(seed.open(&first, b"other"), Err(NotItsOwn));
            assert_eq!(seed.open(&first[..20], b"key"), Err(NotItsOwn));
        }
        assert!(Seed::new(HKDF_SEED, &[7; 31]).is_none() && Seed::new(AES_GCM_KEY, &[7; 31]).is_none());
        assert!(Seed::new(2, &[7; 32]).is_none());
    }
}
