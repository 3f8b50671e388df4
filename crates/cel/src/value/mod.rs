//! Values of expressions. Documents are read where they lie: a list or map of a document is a reference to its JSON
//! and to the schema that says how to understand it.

mod compare;
mod container;
mod convert;
mod extension;
mod json;
mod time;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

pub(crate) use compare::{compare, equal};
pub(crate) use container::{Key, List, Map};
pub(crate) use convert::{double_text, to_bool, to_bytes, to_double, to_int, to_string, to_timestamp, to_uint};
pub use extension::Opaque;
pub(crate) use extension::{Extension, Format, Identifier, Semver, Url};
pub(crate) use json::MAX_PARTS;
pub use time::Instant;
pub(crate) use time::{duration_text, parse_duration, parse_rfc3339, timestamp_text};

use crate::error::EvalError;
use crate::types::Type;

/// What evaluation yields.
pub(crate) type Outcome<'a> = Result<Value<'a>, EvalError>;

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Str<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    List(List<'a>),
    /// A map or an object.
    Map(Map<'a>),
    /// An instant.
    Timestamp(Instant),
    /// A length of time, in nanoseconds.
    Duration(i64),
    /// A type.
    Type(Arc<Type>),
    /// A value that may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// An object or a patch that the evaluation made.
    Message(Arc<Message<'a>>),
    /// A value of a library's type.
    Extension(Arc<Extension>),
}

/// An object, a part of one, or an operation of a JSON patch.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The type.
    pub(crate) name: Arc<str>,
    /// The fields that are set.
    pub(crate) fields: BTreeMap<Arc<str>, Value<'a>>,
}

/// Text that is part of a document or of the program, or was made by the evaluation.
#[derive(Clone, Debug)]
pub enum Str<'a> {
    /// Part of a document.
    Borrowed(&'a str),
    /// Made, or a literal.
    Shared(Arc<str>),
}

impl Deref for Str<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl<'a> Value<'a> {
    /// Text that the evaluation made.
    #[must_use]
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::String(Str::Shared(text.into()))
    }

    /// A list that the evaluation made.
    pub(crate) fn list(values: Vec<Value<'a>>) -> Self {
        Self::List(List::owned(values))
    }

    /// A list of texts.
    pub(crate) fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self::list(texts.into_iter().map(Value::text).collect())
    }

    /// An optional that has a value.
    pub(crate) fn some(value: Value<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// A value of a library's type.
    pub(crate) fn extension(extension: Extension) -> Self {
        Self::Extension(Arc::new(extension))
    }

    /// A value whose functions are outside of this crate.
    #[must_use]
    pub fn opaque(value: Arc<dyn Opaque>) -> Self {
        Self::extension(Extension::Opaque(value))
    }

    /// The type of the value. Of containers it tells no more than that they are containers.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::Type(_) => Type::of_type(Type::Dyn),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Message(message) => Type::Message(Arc::clone(&message.name)),
            Self::Extension(extension) => Type::Opaque(extension.type_name()),
        }
    }

    /// Whether a function that declares the parameter type `wanted` takes this value.
    pub(crate) fn fits(&self, wanted: &Type) -> bool {
        match (wanted, self) {
            (Type::Dyn | Type::Param(_) | Type::Error | Type::Var(_), _)
            | (Type::Null, Self::Null)
            | (Type::Bool, Self::Bool(_))
            | (Type::Int, Self::Int(_))
            | (Type::Uint, Self::Uint(_))
            | (Type::Double, Self::Double(_))
            | (Type::String, Self::String(_))
            | (Type::Bytes, Self::Bytes(_))
            | (Type::Timestamp, Self::Timestamp(_))
            | (Type::Duration, Self::Duration(_))
            | (Type::List(_), Self::List(_))
            | (Type::Map(..) | Type::Object(_), Self::Map(_))
            | (Type::Type(_), Self::Type(_))
            | (Type::Optional(_), Self::Optional(_)) => true,
            (Type::Message(name), Self::Message(message)) => *name == message.name,
            (Type::Opaque(name), Self::Extension(extension)) => extension.type_name() == *name,
            _ => false,
        }
    }

    /// What `size()` is, and 1 for what has no size: the measure of costs.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(text) => text.chars().count() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Extension(extension) => extension.size(),
            _ => 1,
        }
    }
}
