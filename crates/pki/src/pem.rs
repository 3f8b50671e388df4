//! Certificates as PEM text, apart and together again.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::der;

/// The certificates of a text in their order, DER. What stands between them is left out.
pub fn read_certificates(text: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .map_while(Result::ok)
        .map(|certificate| certificate.to_vec())
        .collect()
}

/// Certificates as a text with nothing else in it.
pub fn write_certificates<'a>(certificates: impl IntoIterator<Item = &'a Vec<u8>>) -> String {
    certificates.into_iter().map(|certificate| der::pem("CERTIFICATE", certificate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_certificates_is_left_out() {
        let plain = write_certificates(&[vec![1; 60], vec![2]]);
        assert_eq!(plain.lines().map(str::len).max(), Some(64));
        let remarks = plain.replace("-----BEGIN", "a remark\n-----BEGIN");
        assert_eq!(read_certificates(&remarks), [vec![1; 60], vec![2]]);
        assert_eq!(write_certificates(&read_certificates(&remarks)), plain);
        assert!(read_certificates("nothing").is_empty());
    }
}
