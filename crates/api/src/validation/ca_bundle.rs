//! Bundles of authorities that a client configuration trusts.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is wrong with a bundle, as a document has it; an empty one trusts the system's authorities.
pub(crate) fn problem(bundle: &str) -> Option<String> {
    let pem = BASE64_STANDARD.decode(bundle).unwrap_or_default();
    let certificates: Vec<Pem> =
        Pem::iter_from_buffer(&pem).map_while(Result::ok).filter(|block| block.label == "CERTIFICATE").collect();
    let why = if certificates.is_empty() {
        "data does not contain any valid RSA or ECDSA certificates"
    } else if certificates.iter().any(|block| X509Certificate::from_der(&block.contents).is_err()) {
        "x509: malformed certificate"
    } else {
        return None;
    };
    (!bundle.is_empty()).then(|| format!("unable to load root certificates: {why}"))
}
