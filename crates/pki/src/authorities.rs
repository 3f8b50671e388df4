//! The authorities of a cluster, each for what it vouches for alone: who takes the key of one does not get the rest.

use std::path::Path;
use std::sync::Arc;

use base::Env;

use crate::authority::{Authority, AuthorityError};
use crate::issue::Usage;

/// The authorities of a cluster in one directory. (The datastore is part of the API server's process: it has no clients
/// and no members of its own, and so no authority.)
#[derive(Clone, Debug)]
pub struct Authorities {
    /// Of servers: the API server, and kubelets that ask it. Whoever comes to the cluster believes this one: join tokens,
    /// kubeconfigs and pods name it.
    pub server: Arc<Authority>,
    /// Of clients: users, the cluster's own parts, nodes. Its certificates say who may do what.
    pub client: Arc<Authority>,
    /// Of the certificate by which extension API servers know this cluster's API server.
    pub front_proxy: Arc<Authority>,
}

impl Authorities {
    /// What their files are called.
    pub const NAMES: [&str; 3] = [Self::SERVER, Self::CLIENT, Self::FRONT_PROXY];
    const SERVER: &str = "ca";
    const CLIENT: &str = "client-ca";
    const FRONT_PROXY: &str = "front-proxy-ca";

    /// Whether a directory holds those of a cluster.
    #[must_use]
    pub fn are_in(dir: &Path) -> bool {
        dir.join(Self::SERVER).with_extension("key").exists()
    }

    /// Those in a directory, made where there are none. Clusters that had one authority for servers and clients keep its
    /// clients: that of clients succeeds it, so that both are believed until the earlier one ends.
    ///
    /// # Errors
    ///
    /// One of them cannot be loaded or made.
    pub fn load_or_create(dir: &Path, env: &Env) -> Result<Self, AuthorityError> {
        let load = |name, usage, before| Authority::load_or_succeed(dir, (name, usage), before, env).map(Arc::new);
        // First, while the other's files say whether there were clients before.
        let client = load(Self::CLIENT, Usage::Client, Some(Self::SERVER))?;
        let server = load(Self::SERVER, Usage::Server, None)?;
        Ok(Self { server, client, front_proxy: load(Self::FRONT_PROXY, Usage::Client, None)? })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&Arc<Authority>; 3] {
        [&self.server, &self.client, &self.front_proxy]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::server::danger::ClientCertVerifier;
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, UnixTime};

    use super::*;
    use crate::{IssueRequest, KeyPairPem, Trust};

    /// A client's certificate of an authority.
    fn client(authority: &Authority) -> KeyPairPem {
        let request = IssueRequest {
            common_name: "jane".to_owned(),
            organizations: vec!["system:masters".to_owned()],
            dns_names: Vec::new(),
            ips: Vec::new(),
            usage: Usage::Client,
            validity: Duration::from_secs(3600),
        };
        authority.issue(&request).expect("issued")
    }

    fn believes(trust: &Trust, pair: &KeyPairPem, env: &Env) -> bool {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
        let seconds = u64::try_from(env.now().as_second()).expect("after 1970");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        trust.verify_client_cert(&chain[0], &chain[1..], now).is_ok()
    }

    #[test]
    fn each_vouches_for_what_is_its_own() {
        let (dir, env) = (tempfile::tempdir().expect("a directory"), Env::system());
        assert!(!Authorities::are_in(dir.path()));
        let authorities = Authorities::load_or_create(dir.path(), &env).expect("made");
        assert!(Authorities::are_in(dir.path()));
        for (index, issuer) in authorities.all().into_iter().enumerate() {
            let shown = client(issuer);
            let believing = authorities.all().map(|authority| believes(&authority.trust(), &shown, &env));
            assert_eq!(believing, [index == 0, index == 1, index == 2], "{}", issuer.name());
        }
        let again = Authorities::load_or_create(dir.path(), &env).expect("loaded");
        let pems = |of: &Authorities| of.all().map(|authority| authority.certificate_pem());
        assert_eq!(pems(&again), pems(&authorities));
    }

    #[test]
    fn who_had_one_for_servers_and_clients_loses_nobody() {
        let (dir, env) = (tempfile::tempdir().expect("a directory"), Env::system());
        let before = Authority::load_or_create(dir.path(), "ca", &env).expect("made");
        let (early, trusting_early) = (client(&before), Trust::new(&before.certificate_pem()).expect("a certificate"));
        let authorities = Authorities::load_or_create(dir.path(), &env).expect("made");
        assert_eq!(authorities.server.certificate_pem(), before.certificate_pem(), "servers stay as they were");
        let late = client(&authorities.client);
        for shown in [&early, &late] {
            assert!(believes(&authorities.client.trust(), shown, &env), "both are believed");
            assert!(believes(&trusting_early, shown, &env), "also by nodes that know the earlier one alone");
        }
        assert!(!believes(&authorities.front_proxy.trust(), &late, &env));
        // From now on they go their own ways.
        authorities.server.rotate().expect("a successor");
        assert!(!believes(&authorities.client.trust(), &client(&authorities.server), &env));
        authorities.client.rotate().expect("a successor");
        let again = Authorities::load_or_create(dir.path(), &env).expect("loaded");
        for shown in [&early, &late, &client(&again.client)] {
            assert!(believes(&again.client.trust(), shown, &env));
        }
    }
}
