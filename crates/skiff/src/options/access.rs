//! Options of authentication and authorization, with upstream's names.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use apiserver::AuthorizationMode;
use clap::{ArgAction, Args};

use super::duration;

/// Who is believed to be whom, and who may do what.
#[derive(Args, Clone, Debug)]
pub struct Access {
    #[command(flatten)]
    pub authorization: Authorization,
    #[command(flatten)]
    pub service_accounts: ServiceAccounts,
    #[command(flatten)]
    pub certificates: CertificateFiles,
    #[command(flatten)]
    pub front_proxies: FrontProxies,
    /// Authorities whose clients are believed beside those of the cluster's own; the file may change meanwhile
    #[arg(long, env = "SKIFF_CLIENT_CA_FILE", value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Let those without credentials ask as system:anonymous, who may read health and version and no more [default: true]
    #[arg(long, env = "SKIFF_ANONYMOUS_AUTH", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub anonymous_auth: Option<bool>,
    /// AuthenticationConfiguration: issuers of OIDC tokens and who may ask as nobody; taken up again when it changes
    #[arg(long, env = "SKIFF_AUTHENTICATION_CONFIG", value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    #[command(flatten)]
    pub oidc: Oidc,
    #[command(flatten)]
    pub token_webhook: TokenWebhook,
    /// File of static tokens: token,user,uid[,"group1,group2"] a line
    #[arg(long, env = "SKIFF_TOKEN_AUTH_FILE", value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Believe bootstrap tokens: Secrets of type bootstrap.kubernetes.io/token in kube-system
    #[arg(long, env = "SKIFF_ENABLE_BOOTSTRAP_TOKEN_AUTH", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "true", value_name = "BOOL")]
    pub enable_bootstrap_token_auth: bool,
}

/// Who may do what.
#[derive(Args, Clone, Debug)]
pub struct Authorization {
    /// Who decides about requests, in this order: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny
    #[arg(
        long,
        env = "SKIFF_AUTHORIZATION_MODE",
        value_delimiter = ',',
        default_value = "Node,RBAC",
        value_name = "MODE"
    )]
    pub authorization_mode: Vec<AuthorizationMode>,
    /// AuthorizationConfiguration in place of modes and --authorization-webhook-*; taken up again when it changes
    #[arg(
        long,
        env = "SKIFF_AUTHORIZATION_CONFIG",
        conflicts_with_all = [
            "authorization_mode",
            "authorization_webhook_config_file",
            "authorization_webhook_version",
            "authorization_webhook_cache_authorized_ttl",
            "authorization_webhook_cache_unauthorized_ttl",
        ],
        value_name = "FILE"
    )]
    pub authorization_config: Option<PathBuf>,
    /// Policies of the mode ABAC, one a line in JSON
    #[arg(long, env = "SKIFF_AUTHORIZATION_POLICY_FILE", value_name = "FILE")]
    pub authorization_policy_file: Option<PathBuf>,
    /// Kubeconfig that names the server which the mode Webhook asks by SubjectAccessReviews
    #[arg(long, env = "SKIFF_AUTHORIZATION_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// Version of those SubjectAccessReviews
    #[arg(long, env = "SKIFF_AUTHORIZATION_WEBHOOK_VERSION", default_value = "v1beta1", value_parser = ["v1", "v1beta1"], value_name = "VERSION")]
    pub authorization_webhook_version: String,
    /// How long it is good that something is allowed
    #[arg(long, env = "SKIFF_AUTHORIZATION_WEBHOOK_CACHE_AUTHORIZED_TTL", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long it is good that something is not allowed
    #[arg(long, env = "SKIFF_AUTHORIZATION_WEBHOOK_CACHE_UNAUTHORIZED_TTL", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
}

impl Authorization {
    fn options(&self) -> apiserver::AuthorizationOptions {
        apiserver::AuthorizationOptions {
            modes: self.authorization_mode.clone(),
            config_file: self.authorization_config.clone(),
            policy_file: self.authorization_policy_file.clone(),
            webhook: self.authorization_webhook_config_file.clone().map(|config_file| {
                apiserver::AuthorizationWebhook {
                    config_file,
                    version: self.authorization_webhook_version.clone(),
                    authorized_ttl: self.authorization_webhook_cache_authorized_ttl,
                    unauthorized_ttl: self.authorization_webhook_cache_unauthorized_ttl,
                }
            }),
        }
    }
}

/// Tokens of service accounts.
#[derive(Args, Clone, Debug)]
pub struct ServiceAccounts {
    /// Issuer of service account tokens; with several, the first issues and all are believed (may be repeated)
    /// [default: https://kubernetes.default.svc.<cluster domain>]
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_ISSUER", value_delimiter = ',', value_name = "URL")]
    pub service_account_issuer: Vec<String>,
    /// Where verifiers find the keys of service account tokens [default: this server]
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_JWKS_URI", value_name = "URL")]
    pub service_account_jwks_uri: Option<String>,
    /// Private key (RSA, P-256 or P-384, PEM) that signs service account tokens [default: one made at the first start]
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_SIGNING_KEY_FILE", value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Further public or private keys whose service account tokens are believed (may be repeated)
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_KEY_FILE", value_delimiter = ',', value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// The longest that a service account token may be valid, such as 24h [default: 2^32 seconds]
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_MAX_TOKEN_EXPIRATION", value_parser = token_lifetime, value_name = "DURATION")]
    pub service_account_max_token_expiration: Option<Duration>,
    /// Let tokens in pods live a year, for clients that read them once
    #[arg(long, env = "SKIFF_SERVICE_ACCOUNT_EXTEND_TOKEN_EXPIRATION", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", default_value = "true", value_name = "BOOL")]
    pub service_account_extend_token_expiration: bool,
    /// Audiences of tokens for this server (may be repeated) [default: the issuer]
    #[arg(long, env = "SKIFF_API_AUDIENCES", value_delimiter = ',', value_name = "NAME")]
    pub api_audiences: Vec<String>,
}

/// Certificates of others' making. The files are read again when they change.
#[derive(Args, Clone, Debug)]
pub struct CertificateFiles {
    /// Serving certificate, with what leads to its authority behind it [default: one that this server issues itself]
    #[arg(long, env = "SKIFF_TLS_CERT_FILE", requires = "tls_private_key_file", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the serving certificate
    #[arg(long, env = "SKIFF_TLS_PRIVATE_KEY_FILE", requires = "tls_cert_file", value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Authorities of the serving certificate, which pods, agents and kubeconfigs are told of before the cluster's own
    #[arg(long, env = "SKIFF_ROOT_CA_FILE", value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,
    /// Certificate that kubelets are shown [default: one that this server issues itself]
    #[arg(long, env = "SKIFF_KUBELET_CLIENT_CERTIFICATE", requires = "kubelet_client_key", value_name = "FILE")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, env = "SKIFF_KUBELET_CLIENT_KEY", requires = "kubelet_client_certificate", value_name = "FILE")]
    pub kubelet_client_key: Option<PathBuf>,
    /// Authorities that kubelets' serving certificates must have [default: they are taken as they are]
    #[arg(long, env = "SKIFF_KUBELET_CERTIFICATE_AUTHORITY", value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,
}

impl CertificateFiles {
    fn files(&self) -> apiserver::CertificateFiles {
        apiserver::CertificateFiles {
            serving: self.tls_cert_file.clone().zip(self.tls_private_key_file.clone()),
            root_ca: self.root_ca_file.clone(),
            to_kubelets: self.kubelet_client_certificate.clone().zip(self.kubelet_client_key.clone()),
            kubelet_ca: self.kubelet_certificate_authority.clone(),
        }
    }
}

/// Proxies that say in headers who asks.
#[derive(Args, Clone, Debug)]
pub struct FrontProxies {
    /// Authority of the client certificates of front proxies [default: the cluster's own]
    #[arg(long, env = "SKIFF_REQUESTHEADER_CLIENT_CA_FILE", value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies; an empty one allows all of the authority
    #[arg(
        long,
        env = "SKIFF_REQUESTHEADER_ALLOWED_NAMES",
        value_delimiter = ',',
        default_value = "front-proxy-client",
        value_name = "NAME"
    )]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name
    #[arg(
        long,
        env = "SKIFF_REQUESTHEADER_USERNAME_HEADERS",
        value_delimiter = ',',
        default_value = "X-Remote-User",
        value_name = "HEADER"
    )]
    pub requestheader_username_headers: Vec<String>,
    /// Headers with the user's UID
    #[arg(
        long,
        env = "SKIFF_REQUESTHEADER_UID_HEADERS",
        value_delimiter = ',',
        default_value = "X-Remote-Uid",
        value_name = "HEADER"
    )]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups
    #[arg(
        long,
        env = "SKIFF_REQUESTHEADER_GROUP_HEADERS",
        value_delimiter = ',',
        default_value = "X-Remote-Group",
        value_name = "HEADER"
    )]
    pub requestheader_group_headers: Vec<String>,
    /// How the headers begin that say more about the user
    #[arg(
        long,
        env = "SKIFF_REQUESTHEADER_EXTRA_HEADERS_PREFIX",
        value_delimiter = ',',
        default_value = "X-Remote-Extra-",
        value_name = "PREFIX"
    )]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

/// One issuer of OIDC tokens.
#[derive(Args, Clone, Debug)]
pub struct Oidc {
    /// URL of the issuer of OIDC tokens
    #[arg(
        long,
        env = "SKIFF_OIDC_ISSUER_URL",
        requires = "oidc_client_id",
        conflicts_with = "authentication_config",
        value_name = "URL"
    )]
    pub oidc_issuer_url: Option<String>,
    /// Audience of OIDC tokens for this cluster
    #[arg(long, env = "SKIFF_OIDC_CLIENT_ID", requires = "oidc_issuer_url", value_name = "NAME")]
    pub oidc_client_id: Option<String>,
    /// Authority of the issuer's certificate [default: those that the machine trusts]
    #[arg(long, env = "SKIFF_OIDC_CA_FILE", value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// Claim with the user's name
    #[arg(long, env = "SKIFF_OIDC_USERNAME_CLAIM", default_value = "sub", value_name = "CLAIM")]
    pub oidc_username_claim: String,
    /// What names of users begin with; - is nothing [default: the issuer and #, nothing for the claim email]
    #[arg(
        long,
        env = "SKIFF_OIDC_USERNAME_PREFIX",
        default_value = "",
        hide_default_value = true,
        value_name = "TEXT"
    )]
    pub oidc_username_prefix: String,
    /// Claim with the user's groups
    #[arg(long, env = "SKIFF_OIDC_GROUPS_CLAIM", default_value = "", hide_default_value = true, value_name = "CLAIM")]
    pub oidc_groups_claim: String,
    /// What names of groups begin with
    #[arg(long, env = "SKIFF_OIDC_GROUPS_PREFIX", default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub oidc_groups_prefix: String,
    /// A claim that tokens must have with a value (may be repeated)
    #[arg(long, env = "SKIFF_OIDC_REQUIRED_CLAIM", value_delimiter = ',', value_parser = pair, value_name = "CLAIM=VALUE")]
    pub oidc_required_claim: Vec<(String, String)>,
    /// Algorithms that tokens may be signed with
    #[arg(long, env = "SKIFF_OIDC_SIGNING_ALGS", value_delimiter = ',', default_value = "RS256", value_name = "NAME")]
    pub oidc_signing_algs: Vec<String>,
}

/// A server that is asked about tokens.
#[derive(Args, Clone, Debug)]
pub struct TokenWebhook {
    /// Kubeconfig that names a server to ask about tokens by TokenReviews
    #[arg(long, env = "SKIFF_AUTHENTICATION_TOKEN_WEBHOOK_CONFIG_FILE", value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of those TokenReviews
    #[arg(long, env = "SKIFF_AUTHENTICATION_TOKEN_WEBHOOK_VERSION", default_value = "v1beta1", value_parser = ["v1", "v1beta1"], value_name = "VERSION")]
    pub authentication_token_webhook_version: String,
    /// How long an answer to them is good
    #[arg(long, env = "SKIFF_AUTHENTICATION_TOKEN_WEBHOOK_CACHE_TTL", default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub authentication_token_webhook_cache_ttl: Duration,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (claim, value) = text.split_once('=').ok_or("use CLAIM=VALUE")?;
    Ok((claim.to_owned(), value.to_owned()))
}

/// Upstream's bounds of the longest lifetime.
fn token_lifetime(text: &str) -> std::result::Result<Duration, String> {
    let lifetime = duration(text)?;
    let bounds = Duration::from_secs(3600)..=Duration::from_secs(1 << 32);
    if bounds.contains(&lifetime) { Ok(lifetime) } else { Err("must be between 1h and 2^32 seconds".to_owned()) }
}

impl Oidc {
    fn flags(&self) -> Option<apiserver::OidcFlags> {
        Some(apiserver::OidcFlags {
            issuer_url: self.oidc_issuer_url.clone()?,
            client_id: self.oidc_client_id.clone()?,
            ca_file: self.oidc_ca_file.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone(),
            required_claims: self.oidc_required_claim.iter().cloned().collect(),
            signing_algs: self.oidc_signing_algs.clone(),
        })
    }
}

impl Access {
    /// Writes the options into the configuration of an API server of a cluster with this domain.
    pub fn apply(&self, config: &mut apiserver::Config, cluster_domain: &str) -> Result<()> {
        config.authorization = self.authorization.options();
        config.client_ca_file.clone_from(&self.client_ca_file);
        config.token_auth_file.clone_from(&self.token_auth_file);
        config.bootstrap_token_auth = self.enable_bootstrap_token_auth;
        config.anonymous_auth = self.anonymous_auth;
        config.authentication_config.clone_from(&self.authentication_config);
        config.oidc = self.oidc.flags();
        config.certificate_files = self.certificates.files();
        let webhook = &self.token_webhook;
        config.token_webhook =
            webhook.authentication_token_webhook_config_file.clone().map(|config_file| apiserver::TokenWebhookConfig {
                config_file,
                version: webhook.authentication_token_webhook_version.clone(),
                cache_ttl: webhook.authentication_token_webhook_cache_ttl,
            });
        let accounts = &self.service_accounts;
        config.service_account_issuers.clone_from(&accounts.service_account_issuer);
        if config.service_account_issuers.is_empty() {
            config.service_account_issuers = vec![format!("https://kubernetes.default.svc.{cluster_domain}")];
        }
        config.service_account_jwks_uri.clone_from(&accounts.service_account_jwks_uri);
        config.service_account_signing_key_file.clone_from(&accounts.service_account_signing_key_file);
        config.service_account_key_files.clone_from(&accounts.service_account_key_file);
        if let Some(max) = accounts.service_account_max_token_expiration {
            config.service_account_max_token_expiration = max;
        }
        config.service_account_extend_token_expiration = accounts.service_account_extend_token_expiration;
        config.api_audiences.clone_from(&accounts.api_audiences);
        let proxies = &self.front_proxies;
        let given = |names: &[String]| names.iter().filter(|name| !name.is_empty()).cloned().collect();
        config.request_headers = apiserver::RequestHeaders {
            client_ca_file: proxies.requestheader_client_ca_file.clone(),
            allowed_names: given(&proxies.requestheader_allowed_names),
            username_headers: given(&proxies.requestheader_username_headers),
            uid_headers: given(&proxies.requestheader_uid_headers),
            group_headers: given(&proxies.requestheader_group_headers),
            extra_headers_prefixes: given(&proxies.requestheader_extra_headers_prefix),
        };
        Ok(())
    }
}
