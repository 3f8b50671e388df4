//! AuthenticationConfiguration, and the flags `--oidc-*` that say the same for one issuer.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use pki::jwt::Algorithm;
use serde::Deserialize;

use crate::reload::ConfigFile;

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("invalid authentication configuration: {0}")]
    Malformed(String),
    /// A part of it is wrong.
    #[error("invalid authentication configuration: {path}: {why}")]
    Invalid {
        /// The part.
        path: String,
        /// What is wrong.
        why: String,
    },
}

pub(super) fn invalid(path: impl Into<String>, why: impl ToString) -> ConfigurationError {
    ConfigurationError::Invalid { path: path.into(), why: why.to_string() }
}

/// The flags `--oidc-*`.
#[derive(Clone, Debug, Default)]
pub struct OidcFlags {
    /// `--oidc-issuer-url`.
    pub issuer_url: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--oidc-username-claim`.
    pub username_claim: String,
    /// `--oidc-username-prefix`; `-` is none.
    pub username_prefix: String,
    /// `--oidc-groups-claim`.
    pub groups_claim: String,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-required-claim`.
    pub required_claims: BTreeMap<String, String>,
    /// `--oidc-signing-algs`.
    pub signing_algs: Vec<String>,
}

/// What flags say beside the file.
#[derive(Clone, Debug)]
pub(in super::super) struct Beside {
    /// The issuers of service account tokens, which nobody else can be.
    pub(in super::super) own: Vec<String>,
    /// `--anonymous-auth`, if it is given.
    pub(in super::super) anonymous_auth: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct Configuration {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    pub(super) jwt: Vec<Jwt>,
    pub(super) anonymous: Option<Anonymous>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Jwt {
    pub(super) issuer: IssuerConfig,
    #[serde(default)]
    pub(super) claim_validation_rules: Vec<ClaimRule>,
    pub(super) claim_mappings: Mappings,
    #[serde(default)]
    pub(super) user_validation_rules: Vec<UserRule>,
    /// Only the flags restrict them.
    #[serde(skip)]
    pub(super) algorithms: Option<Vec<Algorithm>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IssuerConfig {
    pub(super) url: String,
    #[serde(rename = "discoveryURL", default)]
    pub(super) discovery_url: String,
    #[serde(default)]
    pub(super) certificate_authority: String,
    #[serde(default)]
    pub(super) audiences: Vec<String>,
    #[serde(default)]
    audience_match_policy: String,
    /// By which way issuers are reached; this server knows one alone.
    #[serde(default)]
    egress_selector_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ClaimRule {
    pub(super) claim: String,
    pub(super) required_value: String,
    pub(super) expression: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserRule {
    pub(super) expression: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Mappings {
    pub(super) username: Mapping,
    pub(super) groups: Mapping,
    pub(super) uid: Mapping,
    pub(super) extra: Vec<Extra>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Mapping {
    pub(super) claim: String,
    pub(super) prefix: Option<String>,
    pub(super) expression: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Extra {
    pub(super) key: String,
    pub(super) value_expression: String,
}

/// Whether somebody without credentials is anybody at all, and for which paths.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Anonymous {
    enabled: bool,
    #[serde(default)]
    conditions: Vec<AnonymousCondition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnonymousCondition {
    path: String,
}

impl Anonymous {
    pub(super) fn allows(&self, path: &str) -> bool {
        self.enabled && (self.conditions.is_empty() || self.conditions.iter().any(|condition| condition.path == path))
    }
}

const GROUP: &str = "apiserver.config.k8s.io";
const KIND: &str = "AuthenticationConfiguration";
const MAX_ISSUERS: usize = 64;

impl Configuration {
    /// Reads a file.
    pub(in super::super) fn load(path: &Path, beside: &Beside) -> Result<(Self, ConfigFile), ConfigurationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigurationError::Read { path: path.to_owned(), source })?;
        Ok((Self::parse(&text, beside)?, ConfigFile::new(path.to_owned(), text, "authentication")))
    }

    /// Reads the text of a file.
    pub(super) fn parse(text: &str, beside: &Beside) -> Result<Self, ConfigurationError> {
        let mut parsed: Self =
            serde_saphyr::from_str(text).map_err(|err| ConfigurationError::Malformed(err.to_string()))?;
        let versions = ["v1", "v1beta1", "v1alpha1"].map(|version| format!("{GROUP}/{version}"));
        if parsed.kind != KIND || !versions.contains(&parsed.api_version) {
            let why = format!("it is a {} {}, not a {KIND} of {GROUP}/v1", parsed.api_version, parsed.kind);
            return Err(ConfigurationError::Malformed(why));
        }
        parsed.validate(&beside.own)?;
        parsed.take_flag(beside.anonymous_auth)?;
        Ok(parsed)
    }

    /// What the flags say.
    pub(in super::super) fn of_flags(flags: Option<&OidcFlags>, beside: &Beside) -> Result<Self, ConfigurationError> {
        let jwt = flags.map(Jwt::of_flags).transpose()?.into_iter().collect();
        let mut configuration = Self { jwt, ..Self::default() };
        configuration.validate(&beside.own)?;
        configuration.take_flag(beside.anonymous_auth)?;
        Ok(configuration)
    }

    /// The flag says whether anybody may ask as nobody, or the file does.
    fn take_flag(&mut self, anonymous_auth: Option<bool>) -> Result<(), ConfigurationError> {
        let Some(enabled) = anonymous_auth else { return Ok(()) };
        if self.anonymous.is_some() {
            return Err(invalid("anonymous", "cannot be set together with the flag --anonymous-auth"));
        }
        self.anonymous = Some(Anonymous { enabled, conditions: Vec::new() });
        Ok(())
    }

    fn validate(&self, own: &[String]) -> Result<(), ConfigurationError> {
        if self.jwt.len() > MAX_ISSUERS {
            return Err(invalid("jwt", format_args!("must have at most {MAX_ISSUERS} items")));
        }
        let (mut urls, mut discovery) = (HashSet::new(), HashSet::new());
        for (index, jwt) in self.jwt.iter().enumerate() {
            let path = format!("jwt[{index}]");
            if !urls.insert(&jwt.issuer.url) {
                return Err(invalid(format!("{path}.issuer.url"), "duplicate value"));
            }
            if !jwt.issuer.discovery_url.is_empty() && !discovery.insert(&jwt.issuer.discovery_url) {
                return Err(invalid(format!("{path}.issuer.discoveryURL"), "duplicate value"));
            }
            if own.contains(&jwt.issuer.url) {
                let why = format!("URL must not overlap with disallowed issuers: [{}]", own.join(" "));
                return Err(invalid(format!("{path}.issuer.url"), why));
            }
            jwt.validate(&path)?;
        }
        let Some(anonymous) = &self.anonymous else { return Ok(()) };
        if !anonymous.enabled && !anonymous.conditions.is_empty() {
            return Err(invalid("anonymous.conditions", "enabled should be set to true when conditions are defined"));
        }
        Ok(())
    }
}

impl Jwt {
    fn of_flags(flags: &OidcFlags) -> Result<Self, ConfigurationError> {
        let ca = flags.ca_file.as_ref().map(|path| {
            std::fs::read_to_string(path).map_err(|source| ConfigurationError::Read { path: path.clone(), source })
        });
        let claim = if flags.username_claim.is_empty() { "sub" } else { &flags.username_claim };
        let prefix = match flags.username_prefix.as_str() {
            "-" => String::new(),
            // Names of one issuer are told from all others, and mail addresses tell themselves.
            "" if claim != "email" => format!("{}#", flags.issuer_url),
            prefix => prefix.to_owned(),
        };
        let groups = match flags.groups_claim.as_str() {
            "" => Mapping::default(),
            claim => Mapping {
                claim: claim.to_owned(),
                prefix: Some(flags.groups_prefix.clone()),
                expression: String::new(),
            },
        };
        let required = flags.required_claims.iter().map(|(claim, value)| ClaimRule {
            claim: claim.clone(),
            required_value: value.clone(),
            ..ClaimRule::default()
        });
        let named: Vec<&str> = flags.signing_algs.iter().map(String::as_str).collect();
        let named = if named.is_empty() { vec!["RS256"] } else { named };
        let algorithms = named.into_iter().map(str::parse).collect::<Result<Vec<Algorithm>, _>>();
        Ok(Self {
            issuer: IssuerConfig {
                url: flags.issuer_url.clone(),
                discovery_url: String::new(),
                certificate_authority: ca.transpose()?.unwrap_or_default(),
                audiences: vec![flags.client_id.clone()],
                audience_match_policy: String::new(),
                egress_selector_type: String::new(),
            },
            claim_validation_rules: required.collect(),
            claim_mappings: Mappings {
                username: Mapping { claim: claim.to_owned(), prefix: Some(prefix), expression: String::new() },
                groups,
                ..Mappings::default()
            },
            user_validation_rules: Vec::new(),
            algorithms: Some(algorithms.map_err(|err| invalid("--oidc-signing-algs", err))?),
        })
    }

    fn validate(&self, path: &str) -> Result<(), ConfigurationError> {
        let IssuerConfig { url, discovery_url, audiences, audience_match_policy: policy, .. } = &self.issuer;
        let https = |field: &str, url: &str| match crate::access::remote::parse_url(url) {
            Ok(parsed) if parsed.query().is_none() && parsed.fragment().is_none() && parsed.username().is_empty() => {
                Ok(())
            }
            Ok(_) => Err(invalid(format!("{path}.issuer.{field}"), "must have no user, query or fragment")),
            Err(err) => Err(invalid(format!("{path}.issuer.{field}"), err)),
        };
        https("url", url)?;
        if !discovery_url.is_empty() {
            https("discoveryURL", discovery_url)?;
            if discovery_url.trim_end_matches('/') == url.trim_end_matches('/') {
                return Err(invalid(format!("{path}.issuer.discoveryURL"), "must be different from url"));
            }
        }
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return Err(invalid(format!("{path}.issuer.audiences"), "at least one audience is required"));
        }
        if audiences.iter().collect::<HashSet<_>>().len() < audiences.len() {
            return Err(invalid(format!("{path}.issuer.audiences"), "duplicate value"));
        }
        if !(policy == "MatchAny" || policy.is_empty() && audiences.len() == 1) {
            let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
            return Err(invalid(format!("{path}.issuer.audienceMatchPolicy"), why));
        }
        if !["", "controlplane", "cluster"].contains(&self.issuer.egress_selector_type.as_str()) {
            let why = "egress selector must be either controlplane or cluster";
            return Err(invalid(format!("{path}.issuer.egressSelectorType"), why));
        }
        let mappings = &self.claim_mappings;
        let place = |field: &str| format!("{path}.claimMappings.{field}");
        for (field, mapping, is_required) in
            [("username", &mappings.username, true), ("groups", &mappings.groups, false), ("uid", &mappings.uid, false)]
        {
            let why = match (mapping.claim.is_empty(), mapping.expression.is_empty()) {
                (true, true) if is_required => "claim or expression is required",
                (false, false) => "claim and expression can't both be set",
                (false, true) if mapping.prefix.is_none() && field != "uid" => {
                    "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
                }
                (true, _) if mapping.prefix.is_some() => "prefix can't be set when claim is not set",
                _ => continue,
            };
            return Err(invalid(place(field), why));
        }
        self.check_email(&place("username.expression"))?;
        let mut keys = HashSet::new();
        for (index, extra) in mappings.extra.iter().enumerate() {
            check_key(&extra.key, &mut keys).map_err(|why| invalid(place(&format!("extra[{index}].key")), why))?;
        }
        Ok(())
    }

    /// An address that its owner has not confirmed is anybody's.
    fn check_email(&self, path: &str) -> Result<(), ConfigurationError> {
        let mentions = |expression: &str, claim: &str| {
            let mut rest = expression;
            while let Some(found) = rest.find(claim) {
                rest = &rest[found + claim.len()..];
                if !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_') {
                    return true;
                }
            }
            false
        };
        let confirmed = |expression: &str| {
            ["claims.email_verified", "claims.?email_verified"].iter().any(|claim| mentions(expression, claim))
        };
        let username = &self.claim_mappings.username.expression;
        let extras = self.claim_mappings.extra.iter().map(|extra| extra.value_expression.as_str());
        let rules = self.claim_validation_rules.iter().map(|rule| rule.expression.as_str());
        let mut all = extras.chain(rules).chain([username.as_str()]);
        if mentions(username, "claims.email") && !all.any(confirmed) {
            let why = "claims.email_verified must be used in claimMappings.username.expression or \
                       claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email \
                       is used in claimMappings.username.expression";
            return Err(invalid(path, why));
        }
        Ok(())
    }
}

/// Keys are a domain and a path, in lower case, and not the cluster's own.
fn check_key<'a>(key: &'a str, known: &mut HashSet<&'a str>) -> Result<(), &'static str> {
    let Some((domain, path)) = key.split_once('/') else {
        return Err("must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    if domain.is_empty() || path.is_empty() {
        return Err("must be a domain-prefixed path (such as \"acme.io/foo\")");
    }
    if key.chars().any(char::is_uppercase) {
        return Err("must be lowercase");
    }
    let is_of = |owner: &str| domain == owner || domain.ends_with(&format!(".{owner}"));
    if is_of("k8s.io") || is_of("kubernetes.io") {
        return Err("k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
    }
    if known.insert(key) { Ok(()) } else { Err("duplicate value") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A good issuer whose part is replaced.
    fn with(part: &str, other: &str) -> String {
        let good = "\
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://issuer.example.com
    audiences: [skiff]
  claimMappings:
    username:
      claim: sub
      prefix: 'oidc:'
    extra:
    - key: example.com/team
      valueExpression: claims.team
anonymous:
  enabled: true
";
        assert!(good.contains(part), "{part}");
        good.replace(part, other)
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(), &str>) {
        let own = vec!["https://kubernetes.default.svc".to_owned()];
        let parsed =
            Configuration::parse(text, &Beside { own, anonymous_auth: None }).map(drop).map_err(|err| err.to_string());
        match expected {
            Ok(()) => assert_eq!(parsed, Ok(())),
            Err(part) => assert!(parsed.as_ref().is_err_and(|err| err.contains(part)), "{parsed:?}"),
        }
    }

    #[test]
    fn wrong_parts_are_named() {
        check(&with("skiff", "skiff"), Ok(()));
        check(&with("config.k8s.io/v1", "config.k8s.io/v2"), Err("not a AuthenticationConfiguration"));
        check(&with("audiences:", "audience:"), Err("audience"));
        check(&with("https://", "http://"), Err("jwt[0].issuer.url: \"http://issuer.example.com\" is no https URL"));
        check(&with("issuer.example.com", "kubernetes.default.svc"), Err("jwt[0].issuer.url: URL must not overlap"));
        check(&with("[skiff]", "[skiff]\n    egressSelectorType: etcd"), Err("jwt[0].issuer.egressSelectorType"));
        check(&with("[skiff]", "[]"), Err("jwt[0].issuer.audiences: at least one"));
        check(&with("[skiff]", "[a, b]"), Err("audienceMatchPolicy must be MatchAny"));
        check(&with("[skiff]", "[a, b]\n    audienceMatchPolicy: MatchAny"), Ok(()));
        check(&with("      prefix: 'oidc:'\n", ""), Err("jwt[0].claimMappings.username: prefix is required"));
        check(&with("claim: sub", "expression: claims.sub"), Err("prefix can't be set when claim is not set"));
        let email = "claim: sub\n      prefix: 'oidc:'";
        check(&with(email, "expression: claims.email"), Err("claims.email_verified must be used"));
        check(&with(email, "expression: 'claims.email_verified ? claims.email : \"\"'"), Ok(()));
        check(&with("example.com/team", "team"), Err("jwt[0].claimMappings.extra[0].key: must be a domain"));
        check(&with("example.com/team", "a.k8s.io/team"), Err("reserved for Kubernetes"));
        check(&with("enabled: true", "enabled: false\n  conditions: [{path: /livez}]"), Err("anonymous.conditions"));
    }
}
