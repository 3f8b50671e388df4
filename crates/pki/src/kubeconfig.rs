//! Files with which kubectl and components find and enter a cluster.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::file::{FileError, write_private};
use crate::issue::KeyPairPem;

/// The kubeconfig without a user that a cluster publishes in `cluster-info`: where it is and whom it trusts.
pub fn cluster_info(server: &str, certificate_authority: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - cluster:\n    \
             certificate-authority-data: {ca}\n    \
             server: {server}\n  \
           name: \"\"\n\
         contexts: []\n\
         current-context: \"\"\n\
         preferences: {{}}\n\
         users: []\n",
        ca = BASE64_STANDARD.encode(certificate_authority),
        server = json!(server),
    )
}

/// What a kubeconfig with one cluster, one user and one context says.
#[derive(Clone, Debug)]
pub struct Kubeconfig<'a> {
    /// The server's URL.
    pub server: &'a str,
    /// The CA that signed the server's certificate, PEM.
    pub certificate_authority: &'a str,
    /// The name under which cluster, user and context are listed.
    pub name: &'a str,
    /// The client certificate and its key.
    pub client: &'a KeyPairPem,
}

impl Kubeconfig<'_> {
    /// The file's text.
    pub fn to_yaml(&self) -> String {
        let name = self.name;
        let encode = |pem: &str| BASE64_STANDARD.encode(pem);
        // A JSON string is a YAML scalar, which quotes whatever the caller named its cluster.
        let quoted = |text: &str| json!(text).to_string();
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: {name}\n  \
               cluster:\n    \
                 server: {server}\n    \
                 certificate-authority-data: {ca}\n\
             contexts:\n\
             - name: {name}\n  \
               context:\n    \
                 cluster: {name}\n    \
                 user: {name}\n\
             current-context: {name}\n\
             preferences: {{}}\n\
             users:\n\
             - name: {name}\n  \
               user:\n    \
                 client-certificate-data: {certificate}\n    \
                 client-key-data: {key}\n",
            name = quoted(name),
            server = quoted(self.server),
            ca = encode(self.certificate_authority),
            certificate = encode(&self.client.certificate),
            key = encode(&self.client.key),
        )
    }

    /// Writes the file, readable by its owner only.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        write_private(path, &self.to_yaml())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_one_context_with_certificates_inside() {
        let client = KeyPairPem { certificate: "CERT".to_owned(), key: "KEY".to_owned() };
        let config = Kubeconfig {
            server: "https://127.0.0.1:6443",
            certificate_authority: "CA",
            name: "default",
            client: &client,
        };
        assert_eq!(
            config.to_yaml(),
            "apiVersion: v1\nkind: Config\nclusters:\n- name: \"default\"\n  cluster:\n    server: \
             \"https://127.0.0.1:6443\"\n    certificate-authority-data: Q0E=\ncontexts:\n- name: \"default\"\n  context:\n    \
             cluster: \"default\"\n    user: \"default\"\ncurrent-context: \"default\"\npreferences: {}\nusers:\n- name: \
             \"default\"\n  user:\n    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZ\n"
        );
    }
}
