//! Certificates, keys and tokens of a cluster.
//!
//! An [`Authority`] is a certificate authority in a directory; it issues client and server certificates and makes its
//! own successor. [`Authorities`] are those of a cluster. A [`Leaf`] is a certificate that is issued anew in time, a
//! [`Presenter`] shows it in TLS, and a [`Trust`] checks those of others; all three change between two handshakes, without a restart.
//! [`ServiceAccountKeys`] sign and check the tokens of service accounts. A
//! [`JoinToken`] lets a machine find out that it talks to the right cluster and ask for its own certificate.
//! Every file with a secret is written whole, by rename, readable by its owner only.

mod any_peer;
mod authorities;
mod authority;
mod bootstrap_token;
mod clock;
mod der;
mod file;
mod follow;
mod inspect;
mod issue;
mod join;
pub mod jwt;
pub mod kubeconfig;
mod leaf;
mod pem;
mod pod_key;
mod presenter;
mod random;
mod service_account;
mod signing_request;
mod trust;
mod usages;

pub use any_peer::AnyPeer;
pub use authorities::Authorities;
pub use authority::{Authority, AuthorityError};
pub use bootstrap_token::BootstrapToken;
pub use clock::{Clock, tls_client, tls_server};
pub use file::{FileError, write_private};
pub use follow::{AuthoritiesFile, AuthoritiesFileError, FollowedFile, JoinedAuthorities, PairFiles, PairFilesError};
pub use inspect::{CertificateInfo, InspectError, inspect};
pub use issue::{IssueError, IssueRequest, KeyPairPem, Usage};
pub use join::{JoinRole, JoinToken, JoinTokenError};
pub use leaf::{Leaf, LeafError};
pub use pem::{read_certificates, write_certificates};
pub use pod_key::{PodKey, PodKeyError};
pub use presenter::{Presenter, PresenterError};
pub use service_account::{
    BoundObject, Claims, KubernetesClaims, LEGACY_ISSUER, LegacyClaims, ServiceAccountKeys, VerifiedToken, VerifyError,
};
pub use signing_request::{AlternativeNames, RequestedSubject, SignError, SigningRequest};
pub use trust::{Trust, TrustError};
