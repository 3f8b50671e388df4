//! The API server: Kubernetes' HTTP API over a datastore.
//!
//! A request passes the [edge](edge) (TLS, HTTP), is authenticated and authorized, and is answered by the registry,
//! which serves every verb of every resource from tables of kinds. Reads come from the watch cache, which one watch on
//! the datastore feeds; writes are compare-and-swap transactions. Clients in this process use the same service without
//! a socket ([`ApiServer::service`]).

mod access;
mod admission;
mod aggregation;
mod allocation;
mod audit;
mod bootstrap;
mod cache;
mod certificates;
mod config;
mod connect;
mod convert;
mod definitions;
mod discovery;
mod expressions;
mod features;
mod filters;
mod flowcontrol;
mod handlers;
mod http;
mod https;
mod kinds;
mod maintenance;
mod metrics;
mod openapi;
mod pipeline;
mod printers;
mod registry;
mod reload;
mod rules;
mod runtime_config;
mod server;
mod storage;
mod strategy;
mod token_bucket;
mod tokens;
mod webhook;

pub use access::{
    Access, AuthenticationError, AuthorizationError, AuthorizationMode, AuthorizationOptions, AuthorizationWebhook,
    ConfigurationError, DEFAULT_MODES, Identity, ModeError, OidcFlags, PolicyFileError, RemoteError, RequestHeaders,
    TokenWebhookConfig,
};
pub use admission::control_config::{
    AdmissionConfiguration, AdmissionConfigurationError, load as load_admission_configuration,
};
pub use admission::{AdmissionPlugins, PluginsError, PodSecurityConfiguration};
pub use api::features::{FeatureGates, FeatureGatesError};
pub use audit::{AuditConfig, AuditFormat, AuditLog, AuditPolicy, AuditPolicyError, AuditWebhook, Truncation};
pub use certificates::{AuthoritiesError, CertificateFiles};
pub use config::Config;
pub use edge::ConnectionLimits;
pub use http::body::{Body, BodyError};
pub use pipeline::InProcess;
pub use runtime_config::{RuntimeConfig, RuntimeConfigError};
pub use server::{ApiServer, BuildError, RunError};
pub use webhook::TlsError;
