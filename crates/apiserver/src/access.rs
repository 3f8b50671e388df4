//! Who makes a request, and whether they may.
//!
//! [`authentication`] turns credentials into an [`Identity`]; [`authorization`] asks a chain of authorizers, of which
//! [`rbac`] and [`node`] are two.

pub(crate) mod attributes;
pub(crate) mod authentication;
mod authorities;
pub(crate) mod authorization;
pub(crate) mod identity;
pub(crate) mod impersonation;
pub(crate) mod node;
pub(crate) mod rbac;
pub(crate) mod remote;
pub(crate) mod shown;

pub use authentication::{AuthenticationError, ConfigurationError, OidcFlags, RequestHeaders, TokenWebhookConfig};
pub(crate) use authorities::Authorities;
pub use authorization::{
    Access, AuthorizationError, AuthorizationMode, AuthorizationOptions, AuthorizationWebhook, DEFAULT_MODES,
    ModeError, PolicyFileError,
};
pub use identity::Identity;
pub(crate) use identity::Peer;
pub use remote::RemoteError;
pub(crate) use shown::ShownCertificates;
