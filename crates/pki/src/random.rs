//! The system's random numbers for crates that want a generator.

use ring::rand::{SecureRandom, SystemRandom};
use rsa::rand_core::{TryCryptoRng, TryRng};

/// The system's random numbers for the crate that makes RSA keys.
pub(crate) struct SystemRng(SystemRandom);

impl SystemRng {
    pub(crate) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl TryRng for SystemRng {
    type Error = std::io::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes).map_err(|_| std::io::Error::other("the system has no random numbers"))
    }
}

impl TryCryptoRng for SystemRng {}
