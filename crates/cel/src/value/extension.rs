//! Values of the libraries' types.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use api::quantity::Quantity;

use super::Value;
use crate::error::EvalError;

/// A value whose functions are outside of this crate, such as the authorizer of admission. Its functions are declared
/// here, so that expressions with them are checked; the call goes to the value.
pub trait Opaque: fmt::Debug + Send + Sync {
    /// The name of the type, one of those that the declared functions take.
    fn type_name(&self) -> &'static str;

    /// Calls the member function `function`. Called once for each call that is evaluated; it may be slow.
    ///
    /// # Errors
    ///
    /// What the expression shall fail with.
    fn call<'a>(&self, function: &str, args: &[Value<'a>]) -> Result<Value<'a>, EvalError>;
}

/// A value of a library's type.
#[derive(Clone, Debug)]
pub enum Extension {
    /// An address.
    Ip(IpAddr),
    /// An address and how many of its bits are the network's.
    Cidr {
        /// The address, as written.
        address: IpAddr,
        /// The length of the prefix.
        prefix: u8,
    },
    /// A URL.
    Url(Url),
    /// A resource quantity.
    Quantity(Quantity),
    /// A semantic version.
    Semver(Semver),
    /// A named format of strings.
    Format(&'static Format),
    /// A value from outside.
    Opaque(Arc<dyn Opaque>),
}

impl Extension {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Ip(_) => "net.IP",
            Self::Cidr { .. } => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Opaque(value) => value.type_name(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Ip(address) | Self::Cidr { address, .. } => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            _ => 1,
        }
    }

    pub(super) fn equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr { address: a, prefix: n }, Self::Cidr { address: b, prefix: m }) => a == b && n == m,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Opaque(a), Self::Opaque(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// The parts of a URL that expressions can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub(crate) scheme: String,
    /// With the port.
    pub(crate) host: String,
    pub(crate) escaped_path: String,
    /// Without the question mark.
    pub(crate) query: String,
}

/// A semantic version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) patch: u64,
    pub(crate) pre: Vec<Identifier>,
}

/// A part of what stands behind the dash of a version. Numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Identifier {
    Number(u64),
    Word(String),
}

impl Semver {
    /// Which of two versions comes first. What is built from them does not matter.
    pub(crate) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        let numbers = (self.major, self.minor, self.patch).cmp(&(other.major, other.minor, other.patch));
        // A version comes after its own previews.
        numbers.then(self.pre.is_empty().cmp(&other.pre.is_empty())).then_with(|| self.pre.cmp(&other.pre))
    }
}

/// A named format of strings.
pub struct Format {
    pub(crate) name: &'static str,
    /// What is wrong with a string; nothing if it has the format.
    pub(crate) validate: fn(&str) -> Vec<String>,
    /// The length of the pattern that the cost is estimated by.
    pub(crate) max_regex_size: u64,
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Format").field("name", &self.name).finish_non_exhaustive()
    }
}
