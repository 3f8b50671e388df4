//! Upstream's signers, and what each of them signs.

use std::collections::BTreeSet;

use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use pki::RequestedSubject;

/// The signer of certificates by which kubelets speak to the API server.
pub(crate) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// A signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignerName {
    /// Of clients of the API server.
    Client,
    /// Of kubelets as clients of the API server.
    KubeletClient,
    /// Of the kubelets' own servers.
    KubeletServing,
    /// Of whatever somebody has approved.
    LegacyUnknown,
}

impl SignerName {
    /// The signer that a request is for; none if it is somebody else's.
    pub(super) fn of(spec: &CertificateSigningRequestSpec) -> Option<Self> {
        Some(match spec.signer_name.as_str() {
            "kubernetes.io/kube-apiserver-client" => Self::Client,
            KUBELET_CLIENT => Self::KubeletClient,
            "kubernetes.io/kubelet-serving" => Self::KubeletServing,
            "kubernetes.io/legacy-unknown" => Self::LegacyUnknown,
            _ => return None,
        })
    }

    /// Why it does not sign a request, in upstream's words.
    pub(super) fn check(self, spec: &CertificateSigningRequestSpec, subject: &RequestedSubject) -> Result<(), String> {
        let usages: BTreeSet<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
        match self {
            Self::Client => client_usages(spec),
            Self::KubeletClient => kubelet_client(subject, &usages),
            Self::KubeletServing => kubelet_serving(subject, &usages),
            Self::LegacyUnknown => Ok(()),
        }
    }
}

fn client_usages(spec: &CertificateSigningRequestSpec) -> Result<(), String> {
    let usages = spec.usages.iter().flatten();
    for usage in usages.clone() {
        if !["digital signature", "key encipherment", "client auth"].contains(&usage.as_str()) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    if usages.clone().any(|usage| usage == "client auth") {
        return Ok(());
    }
    Err("missing required usage for client certificate: client auth".to_owned())
}

fn kubelet_client(subject: &RequestedSubject, usages: &BTreeSet<&str>) -> Result<(), String> {
    let names = subject.alternative_names;
    let refuse = |why: &str| Err(why.to_owned());
    if subject.organizations != [NODES] {
        return refuse("subject organization is not system:nodes");
    }
    for (count, kind) in [(names.dns, "DNS"), (names.emails, "Email"), (names.ips, "IP"), (names.uris, "URI")] {
        if count > 0 {
            return Err(format!("{kind} subjectAltNames are not allowed"));
        }
    }
    if !subject.common_name.starts_with(NODE_PREFIX) {
        return refuse("subject common name does not begin with system:node:");
    }
    exactly(usages, "client auth")
}

fn kubelet_serving(subject: &RequestedSubject, usages: &BTreeSet<&str>) -> Result<(), String> {
    let names = subject.alternative_names;
    let refuse = |why: &str| Err(why.to_owned());
    if subject.organizations != [NODES] {
        return refuse("subject organization is not system:nodes");
    }
    if names.dns == 0 && names.ips == 0 {
        return refuse("DNS or IP subjectAltName is required");
    }
    if names.emails > 0 {
        return refuse("Email subjectAltNames are not allowed");
    }
    if names.uris > 0 {
        return refuse("URI subjectAltNames are not allowed");
    }
    exactly(usages, "server auth")?;
    if !subject.common_name.starts_with(NODE_PREFIX) {
        return refuse("subject common name does not begin with system:node:");
    }
    Ok(())
}

/// A kubelet's usages: one, and signing; RSA keys encipher as well.
fn exactly(usages: &BTreeSet<&str>, usage: &str) -> Result<(), String> {
    let without = BTreeSet::from(["digital signature", usage]);
    let with = BTreeSet::from(["digital signature", "key encipherment", usage]);
    if *usages == without || *usages == with {
        return Ok(());
    }
    let wanted: Vec<&str> = with.into_iter().collect();
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

#[cfg(test)]
mod tests {
    use pki::AlternativeNames;

    use super::*;

    struct Case {
        signer: &'static str,
        subject: (&'static str, &'static [&'static str]),
        names: AlternativeNames,
        usages: &'static [&'static str],
    }

    const NO_NAMES: AlternativeNames = AlternativeNames { dns: 0, ips: 0, emails: 0, uris: 0 };

    const CLIENT: Case = Case {
        signer: KUBELET_CLIENT,
        subject: ("system:node:n1", &[NODES]),
        names: NO_NAMES,
        usages: &["digital signature", "client auth"],
    };

    const SERVING: Case = Case {
        signer: "kubernetes.io/kubelet-serving",
        names: AlternativeNames { ips: 1, ..NO_NAMES },
        usages: &["digital signature", "key encipherment", "server auth"],
        ..CLIENT
    };

    #[track_caller]
    fn check(case: &Case, expected: Result<(), &str>) {
        let spec = CertificateSigningRequestSpec {
            signer_name: case.signer.to_owned(),
            usages: Some(case.usages.iter().map(|usage| (*usage).to_owned()).collect()),
            ..CertificateSigningRequestSpec::default()
        };
        let subject = RequestedSubject {
            common_name: case.subject.0.to_owned(),
            organizations: case.subject.1.iter().map(|name| (*name).to_owned()).collect(),
            alternative_names: case.names,
        };
        let signer = SignerName::of(&spec).expect("a signer");
        assert_eq!(signer.check(&spec, &subject), expected.map_err(str::to_owned));
    }

    #[test]
    fn kubelets_get_what_is_theirs_and_no_more() {
        check(&CLIENT, Ok(()));
        check(&Case { usages: &["client auth", "key encipherment", "digital signature"], ..CLIENT }, Ok(()));
        check(
            &Case { subject: ("n1", &[NODES]), ..CLIENT },
            Err("subject common name does not begin with system:node:"),
        );
        let masters = ("system:node:n1", &["system:masters"] as &[_]);
        check(&Case { subject: masters, ..CLIENT }, Err("subject organization is not system:nodes"));
        let both = ("system:node:n1", &[NODES, "system:masters"] as &[_]);
        check(&Case { subject: both, ..CLIENT }, Err("subject organization is not system:nodes"));
        check(&Case { names: SERVING.names, ..CLIENT }, Err("IP subjectAltNames are not allowed"));
        let wrong = Err("usages did not match [client auth digital signature key encipherment]");
        check(&Case { usages: &["client auth"], ..CLIENT }, wrong);
        check(&Case { usages: SERVING.usages, ..CLIENT }, wrong);

        check(&SERVING, Ok(()));
        check(&Case { names: NO_NAMES, ..SERVING }, Err("DNS or IP subjectAltName is required"));
        let uris = AlternativeNames { uris: 1, ..SERVING.names };
        check(&Case { names: uris, ..SERVING }, Err("URI subjectAltNames are not allowed"));
    }

    #[test]
    fn other_clients_choose_their_subject_and_no_other_usage() {
        let other = Case { signer: "kubernetes.io/kube-apiserver-client", subject: ("jane", &["dev"]), ..CLIENT };
        check(&other, Ok(()));
        let server = Case { usages: &["client auth", "server auth"], ..other };
        check(&server, Err("invalid usage for client certificate: server auth"));
        let none = Case { usages: &["digital signature"], ..server };
        check(&none, Err("missing required usage for client certificate: client auth"));
        check(&Case { signer: "kubernetes.io/legacy-unknown", usages: &["cert sign"], ..none }, Ok(()));
        let elsewhere = CertificateSigningRequestSpec { signer_name: "example.com/a".to_owned(), ..Default::default() };
        assert_eq!(SignerName::of(&elsewhere), None);
    }
}
