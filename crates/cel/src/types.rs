//! Static types of expressions.

use std::fmt;
use std::sync::Arc;

use crate::schema::Decl;

/// The type of an expression as far as it is known before evaluation.
#[derive(Clone, Debug)]
pub enum Type {
    /// Anything; checked when it is evaluated.
    Dyn,
    /// The type of what is wrong already, so that one mistake is told once.
    Error,
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// A signed integer of 64 bits.
    Int,
    /// An unsigned integer of 64 bits.
    Uint,
    /// A floating-point number of 64 bits.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// An instant.
    Timestamp,
    /// A length of time.
    Duration,
    /// A list of elements of one type.
    List(Arc<Type>),
    /// A map from keys to values.
    Map(Arc<Type>, Arc<Type>),
    /// An object with declared fields.
    Object(Arc<Decl>),
    /// What a mutating policy makes: an object, a part of one, or an operation of a JSON patch.
    Message(Arc<str>),
    /// A type as a value.
    Type(Arc<Type>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// A type of a library, such as `net.IP`.
    Opaque(&'static str),
    /// A type parameter in the signature of a function.
    Param(char),
    /// A type that the checker has yet to find out.
    Var(usize),
}

impl Type {
    /// A list of `element`.
    #[must_use]
    pub fn list(element: Type) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map from `key` to `value`.
    #[must_use]
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// An optional `inner`.
    #[must_use]
    pub fn optional(inner: Type) -> Self {
        Self::Optional(Arc::new(inner))
    }

    /// The type whose values are types.
    #[must_use]
    pub fn of_type(inner: Type) -> Self {
        Self::Type(Arc::new(inner))
    }

    /// Whether everything can be assigned to it and it to everything.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Whether `null` is among its values.
    pub(crate) fn is_nullable(&self) -> bool {
        matches!(
            self,
            Self::Null
                | Self::Object(_)
                | Self::Message(_)
                | Self::Timestamp
                | Self::Duration
                | Self::Opaque(_)
                | Self::Optional(_)
        )
    }

    /// Whether it is the same type, parameters and all.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b))
            | (Self::Optional(a), Self::Optional(b))
            | (Self::Type(a), Self::Type(b)) => a.is(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.is(c) && b.is(d),
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Message(a), Self::Message(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            (Self::Var(a), Self::Var(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// The type as upstream's admission names it, where messages of the checker name it otherwise.
    pub(crate) fn declared(&self) -> String {
        match self {
            Self::Null | Self::Timestamp | Self::Duration => self.name().to_owned(),
            other => other.to_string(),
        }
    }

    /// The name of the type without its parameters, as `type(x)` shows it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Dyn | Self::Var(_) | Self::Param(_) => "dyn",
            Self::Error => "!error!",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Object(decl) => &decl.name,
            Self::Message(name) => name,
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Opaque(name) => name,
        }
    }
}

/// The type as messages show it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Type(inner) => write!(f, "type({inner})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Param(name) => write!(f, "{name}"),
            Self::Var(number) => write!(f, "_var{number}"),
            other => f.write_str(other.name()),
        }
    }
}

/// The type of an operation of a JSON patch.
pub(crate) const JSON_PATCH: &str = "JSONPatch";
/// The type of an object; that of its field `spec` is `Object.spec`.
pub(crate) const OBJECT: &str = "Object";

/// Whether a mutating policy can make values of a type.
pub(crate) fn is_message(name: &str) -> bool {
    name == JSON_PATCH || name == OBJECT || name.strip_prefix(OBJECT).is_some_and(|path| path.starts_with('.'))
}

/// The type of a field of what a mutating policy makes. Nothing is known about the fields of objects.
pub(crate) fn message_field(message: &str, field: &str) -> Option<Type> {
    match (message, field) {
        (JSON_PATCH, "op" | "path" | "from") => Some(Type::String),
        (JSON_PATCH, "value") => Some(Type::Dyn),
        (JSON_PATCH, _) => None,
        _ => Some(Type::Dyn),
    }
}

/// The types of libraries.
const OPAQUE: [&str; 11] = [
    "net.IP",
    "net.CIDR",
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

/// Reads the notation of types in the tables of functions: `map(string, list(T))`.
pub(crate) fn parse(text: &str) -> Option<Type> {
    let text = text.trim();
    if let Some((name, rest)) = text.split_once('(') {
        let inner = rest.strip_suffix(')')?;
        return match name {
            "list" => parse(inner).map(Type::list),
            "optional" => parse(inner).map(Type::optional),
            "type" => parse(inner).map(Type::of_type),
            "map" => {
                let (key, value) = inner.split_once(',')?;
                Some(Type::map(parse(key)?, parse(value)?))
            }
            _ => None,
        };
    }
    Some(match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        _ if text.len() == 1 => Type::Param(text.chars().next()?),
        _ => Type::Opaque(OPAQUE.iter().find(|name| **name == text)?),
    })
}

/// The type that a name denotes in an expression, as `int` in `type(x) == int`.
pub(crate) fn named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::of_type(Type::Dyn),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        _ => Type::Opaque(OPAQUE.iter().find(|known| **known == name)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_shown_as_in_messages() {
        let shown = |text: &str| parse(text).unwrap().to_string();
        assert_eq!(shown("map(string, list(int))"), "map(string, list(int))");
        assert_eq!(shown("optional(net.IP)"), "optional_type(net.IP)");
        assert_eq!(shown("null"), "null");
        assert!(parse("set(int)").is_none());
    }
}
