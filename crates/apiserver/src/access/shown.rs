//! The certificates that a client has shown for its connection, and what they were found to be: their signatures cost
//! more to verify than most requests to answer, so that a verdict is kept for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use super::identity::Identity;

/// How long a verdict is kept at most. Somebody whose authority is believed no more has it for so long.
const KEPT: Duration = Duration::from_secs(60);

/// What an authority makes of a connection's certificates: whose they are, none of its own business, or what is bad.
pub(crate) type Verdict = Result<Option<Verified>, String>;

/// A certificate that is good.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// Whose it is; without a name, the user is empty.
    pub(crate) identity: Identity,
    /// Until when it is good.
    pub(crate) expires: Timestamp,
}

/// The certificates of one connection.
#[derive(Debug, Default)]
pub(crate) struct ShownCertificates {
    /// DER, the leaf first, not verified yet. None where the client has shown none.
    chain: Vec<CertificateDer<'static>>,
    /// The verdicts of all authorities, and until when they count.
    verdicts: Mutex<Option<(Arc<[Verdict]>, Timestamp)>>,
}

impl ShownCertificates {
    pub(crate) fn new(chain: &[CertificateDer<'_>]) -> Self {
        Self { chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(), ..Self::default() }
    }

    /// The verdicts of all authorities: those that still count, or those that `judge` gives.
    pub(crate) fn verdicts(
        &self,
        now: Timestamp,
        judge: impl FnOnce(&[CertificateDer<'static>]) -> Arc<[Verdict]>,
    ) -> Arc<[Verdict]> {
        let mut kept = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((verdicts, until)) = &*kept
            && now < *until
        {
            return verdicts.clone();
        }
        let verdicts = judge(&self.chain);
        let expiries = verdicts.iter().flatten().flatten().map(|verified| verified.expires);
        let until = expiries.min().into_iter().chain(now.saturating_add(KEPT).ok()).min();
        *kept = until.map(|until| (verdicts.clone(), until));
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(certificates: &ShownCertificates, second: i64, judged: Verdict, expected: &str) {
        let now = Timestamp::from_second(second).expect("a time");
        let verdicts = certificates.verdicts(now, |_| [judged].into());
        let text = match &verdicts[0] {
            Ok(verified) => verified.as_ref().map_or("nobody", |verified| &verified.identity.user),
            Err(why) => why,
        };
        assert_eq!(text, expected);
    }

    fn good(user: &str, expires: i64) -> Verdict {
        let expires = Timestamp::from_second(expires).expect("a time");
        Ok(Some(Verified { identity: Identity::new(user, &[]), expires }))
    }

    #[test]
    fn verdicts_are_kept_for_a_minute_and_no_longer_than_the_certificate_is_good() {
        let certificates = ShownCertificates::default();
        check(&certificates, 0, good("a", 90), "a");
        check(&certificates, 59, good("b", 90), "a");
        check(&certificates, 60, good("b", 90), "b");
        check(&certificates, 89, Err("expired".to_owned()), "b");
        check(&certificates, 90, Err("expired".to_owned()), "expired");
        check(&certificates, 149, Ok(None), "expired");
        check(&certificates, 150, Ok(None), "nobody");
    }
}
