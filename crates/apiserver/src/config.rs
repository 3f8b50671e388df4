//! What an API server is told at its start, typed after upstream's flags.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use api::features::FeatureGates;
use base::Networks;
use edge::ConnectionLimits;
use ipnet::IpNet;

use crate::access::{AuthorizationOptions, OidcFlags, RequestHeaders, TokenWebhookConfig};
use crate::admission::AdmissionPlugins;
use crate::admission::control_config::AdmissionConfiguration;
use crate::audit::AuditConfig;
use crate::certificates::CertificateFiles;
use crate::runtime_config::RuntimeConfig;

/// The options of an API server. Each names the flag of kube-apiserver that it stands for.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--bind-address`: where to listen.
    pub bind_address: IpAddr,
    /// `--secure-port`: 0 takes any free port, which [`crate::ApiServer::local_address`] tells.
    pub secure_port: u16,
    /// `--advertise-address`: the address under which other nodes reach this server; the endpoint of the
    /// `kubernetes` Service. Without it, the bind address unless that is a loopback address, or the address of the
    /// interface with the default route.
    pub advertise_address: Option<IpAddr>,
    /// `--service-cluster-ip-range`: one network, or two of different families of which the first is the primary.
    pub service_cluster_ip_range: Networks,
    /// `--service-node-port-range`.
    pub service_node_port_range: RangeInclusive<u16>,
    /// `--cert-dir`: holds the cluster's authorities (see [`pki::Authorities`]), the key of service account tokens (`sa.key`) unless
    /// another is named, and the certificates that this server issues for itself.
    pub pki_dir: PathBuf,
    /// k3s's `--tls-san`: further host names and addresses for the serving certificate.
    pub tls_sans: Vec<String>,
    /// `--service-account-issuer`: the first issues tokens, tokens of all are believed. There is at least one.
    pub service_account_issuers: Vec<String>,
    /// `--service-account-jwks-uri`: where the discovery document says that the keys are; without it, this server.
    pub service_account_jwks_uri: Option<String>,
    /// `--service-account-signing-key-file`.
    pub service_account_signing_key_file: Option<PathBuf>,
    /// `--service-account-key-file`: further keys whose signatures are good.
    pub service_account_key_files: Vec<PathBuf>,
    /// `--api-audiences`; empty means the issuer.
    pub api_audiences: Vec<String>,
    /// `--service-account-max-token-expiration`.
    pub service_account_max_token_expiration: Duration,
    /// `--service-account-extend-token-expiration`: whether tokens in pods live a year, for clients that read them
    /// once.
    pub service_account_extend_token_expiration: bool,
    /// `--client-ca-file`: authorities whose clients are believed beside those of the cluster's own, taken up again
    /// whenever it changes.
    pub client_ca_file: Option<PathBuf>,
    /// `--token-auth-file`.
    pub token_auth_file: Option<PathBuf>,
    /// `--enable-bootstrap-token-auth`.
    pub bootstrap_token_auth: bool,
    /// `--anonymous-auth`: whether somebody without credentials is `system:anonymous`; the default is that he is, unless
    /// an AuthenticationConfiguration says otherwise.
    pub anonymous_auth: Option<bool>,
    /// `--authentication-config`: an AuthenticationConfiguration, taken up again whenever it changes.
    pub authentication_config: Option<PathBuf>,
    /// `--oidc-*`, where there is no AuthenticationConfiguration.
    pub oidc: Option<OidcFlags>,
    /// `--authentication-token-webhook-*`.
    pub token_webhook: Option<TokenWebhookConfig>,
    /// `--requestheader-*`: which front proxies are believed, and where they say who asks.
    pub request_headers: RequestHeaders,
    /// `--authorization-*`: who decides about requests. Administrators always may, and no mode lets somebody without
    /// credentials do more than read health and version.
    pub authorization: AuthorizationOptions,
    /// `--event-ttl`.
    pub event_ttl: Duration,
    /// `--etcd-compaction-interval`: how much history the datastore keeps for watches and paged lists.
    pub compaction_interval: Duration,
    /// `--max-request-bytes` of the edge: larger bodies are refused.
    pub max_request_bytes: usize,
    /// `--request-timeout`: how long a request that is no watch or connection may take.
    pub request_timeout: Duration,
    /// `--audit-policy-file`, and where the events that it keeps go.
    pub audit: Option<AuditConfig>,
    /// `--enable-priority-and-fairness`: whether the two limits below are shared out by priority levels, or hold alone.
    pub priority_and_fairness: bool,
    /// `--max-requests-inflight`: how many reads are served at once.
    pub max_requests_in_flight: u32,
    /// `--max-mutating-requests-inflight`: how many other requests are served at once.
    pub max_mutating_requests_in_flight: u32,
    /// What a connection may take, `--http2-max-streams-per-connection` among it.
    pub connections: ConnectionLimits,
    /// `--min-request-timeout`: how long a watch without a timeout of its own is kept, at least.
    pub min_request_timeout: Duration,
    /// `--runtime-config`: versions that are served beside the stable ones, or not at all.
    pub runtime_config: RuntimeConfig,
    /// `--feature-gates`: features that are on or off unlike upstream's defaults.
    pub feature_gates: FeatureGates,
    /// `--enable-admission-plugins` and `--disable-admission-plugins`.
    pub admission_plugins: AdmissionPlugins,
    /// What `--admission-control-config-file` says for PodSecurity.
    pub admission: AdmissionConfiguration,
    /// Certificates of others' making.
    pub certificate_files: CertificateFiles,
    /// The authorities in `pki_dir`, where the process has loaded them already.
    pub authorities: Option<pki::Authorities>,
    /// k3s's `--token`: lets nodes ask for certificates. `None` refuses them all.
    pub join_token: Option<pki::JoinToken>,
    /// `--encryption-provider-config`: how objects are encrypted in the datastore. `None` encrypts nothing.
    pub encryption: Option<encryption::Source>,
    /// `--shutdown-delay-duration` and the drain after it: how long requests in flight may take to end.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Upstream's (and, for the address ranges, k3s's) defaults with certificates in `pki_dir`.
    pub fn new(pki_dir: impl Into<PathBuf>) -> Self {
        Self {
            bind_address: IpAddr::from([0, 0, 0, 0]),
            secure_port: 6443,
            advertise_address: None,
            service_cluster_ip_range: IpNet::new_assert(IpAddr::from([10, 43, 0, 0]), 16).into(),
            service_node_port_range: 30000..=32767,
            pki_dir: pki_dir.into(),
            tls_sans: Vec::new(),
            service_account_issuers: vec!["https://kubernetes.default.svc.cluster.local".to_owned()],
            service_account_jwks_uri: None,
            service_account_signing_key_file: None,
            service_account_key_files: Vec::new(),
            api_audiences: Vec::new(),
            service_account_max_token_expiration: Duration::from_secs(1 << 32),
            service_account_extend_token_expiration: true,
            client_ca_file: None,
            token_auth_file: None,
            bootstrap_token_auth: true,
            anonymous_auth: None,
            authentication_config: None,
            oidc: None,
            token_webhook: None,
            request_headers: RequestHeaders::default(),
            authorization: AuthorizationOptions::default(),
            event_ttl: Duration::from_secs(3600),
            compaction_interval: Duration::from_secs(300),
            max_request_bytes: 3 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            audit: None,
            priority_and_fairness: true,
            max_requests_in_flight: 400,
            max_mutating_requests_in_flight: 200,
            connections: ConnectionLimits::default(),
            min_request_timeout: Duration::from_secs(1800),
            runtime_config: RuntimeConfig::default(),
            feature_gates: FeatureGates::default(),
            admission_plugins: AdmissionPlugins::default(),
            admission: AdmissionConfiguration::default(),
            certificate_files: CertificateFiles::default(),
            authorities: None,
            join_token: None,
            encryption: None,
            shutdown_grace: Duration::from_secs(10),
        }
    }

    /// Who issues tokens.
    pub(crate) fn service_account_issuer(&self) -> &str {
        self.service_account_issuers.first().map_or("", String::as_str)
    }

    /// The audiences that this server accepts in tokens and puts into tokens that ask for none.
    pub(crate) fn audiences(&self) -> Vec<String> {
        if self.api_audiences.is_empty() {
            vec![self.service_account_issuer().to_owned()]
        } else {
            self.api_audiences.clone()
        }
    }

    /// The cluster IP of the `kubernetes` Service: the first address of the primary range.
    pub(crate) fn kubernetes_service_ip(&self) -> IpAddr {
        let primary = self.service_cluster_ip_range.primary();
        base::nth_address(&primary, 1).unwrap_or(primary.addr())
    }

    /// The address under which other nodes reach this server.
    pub(crate) fn advertised_address(&self) -> IpAddr {
        self.advertise_address
            .or_else(|| Some(self.bind_address).filter(|address| !address.is_unspecified() && !address.is_loopback()))
            .unwrap_or_else(|| {
                // Connecting a datagram socket sends nothing; it only asks which address the default route would use.
                let (any, far) = match self.service_cluster_ip_range.primary() {
                    IpNet::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
                    IpNet::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
                };
                let probe = std::net::UdpSocket::bind(any).and_then(|socket| {
                    socket.connect(far)?;
                    socket.local_addr()
                });
                probe.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
            })
    }
}
