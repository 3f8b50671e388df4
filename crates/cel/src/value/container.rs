//! Lists and maps: parts of documents, or made by the evaluation.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Outcome, Str, Value};
use crate::error::EvalError;
use crate::schema::{Decl, DeclKind, ListKind};

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Part of a document.
    Data {
        /// The elements.
        items: &'a [Json],
        /// Their shape.
        element: &'a Decl,
        /// How the list compares and adds up.
        kind: &'a ListKind,
    },
    /// Made by the evaluation.
    Owned {
        /// The elements.
        items: Arc<Vec<Value<'a>>>,
        /// How the list compares and adds up, if it was made of one of a document.
        kind: &'a ListKind,
    },
}

impl<'a> List<'a> {
    pub(crate) fn owned(values: Vec<Value<'a>>) -> Self {
        Self::Owned { items: Arc::new(values), kind: &ListKind::Atomic }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Data { items, .. } => items.len(),
            Self::Owned { items, .. } => items.len(),
        }
    }

    pub(crate) fn kind(&self) -> &'a ListKind {
        match self {
            Self::Data { kind, .. } | Self::Owned { kind, .. } => kind,
        }
    }

    /// The element at `index`, if there is one.
    pub(crate) fn get(&self, index: usize) -> Option<Outcome<'a>> {
        match self {
            Self::Data { items, element, .. } => items.get(index).map(|item| Value::from_json(item, element)),
            Self::Owned { items, .. } => items.get(index).cloned().map(Ok),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Outcome<'a>> + '_ {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// All elements.
    pub(crate) fn values(&self) -> Result<Vec<Value<'a>>, EvalError> {
        match self {
            Self::Data { .. } => self.iter().collect(),
            Self::Owned { items, .. } => Ok(items.as_ref().clone()),
        }
    }
}

/// A map or an object.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Part of a document.
    Data {
        /// The entries.
        fields: &'a serde_json::Map<String, Json>,
        /// Their shape: of an object, of a map, or unknown.
        decl: &'a Decl,
    },
    /// Made by the evaluation.
    Owned(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

impl<'a> Map<'a> {
    pub(crate) fn owned(entries: BTreeMap<Key<'a>, Value<'a>>) -> Self {
        Self::Owned(Arc::new(entries))
    }

    /// How many entries there are. Of an object only those count that the schema knows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Data { fields, decl } => match &decl.kind {
                DeclKind::Object { .. } => fields.keys().filter(|name| known(decl, name).is_some()).count(),
                _ => fields.len(),
            },
            Self::Owned(entries) => entries.len(),
        }
    }

    /// The value at `key`, if there is one.
    pub(crate) fn get(&self, key: &Value<'a>) -> Result<Option<Value<'a>>, EvalError> {
        match (self, key) {
            (Self::Data { .. }, Value::String(name)) => self.field(name),
            (Self::Data { .. }, _) => Err(EvalError::failed(format!("unsupported key type: {}", key.type_of().name()))),
            (Self::Owned(entries), _) => Ok(Key::lookup(key).and_then(|key| entries.get(&key).cloned())),
        }
    }

    /// The value that `name` selects, if there is one.
    pub(crate) fn field(&self, name: &str) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Self::Data { fields, decl } => {
                let found = match &decl.kind {
                    DeclKind::Object { fields: declared, escaped } => {
                        let json = escaped.get(name).or_else(|| escaped.get(&format!("__{name}__")));
                        json.and_then(|json| Some((fields.get(json)?, &*declared.get(json)?.decl)))
                    }
                    DeclKind::Map { value } => fields.get(name).map(|item| (item, &**value)),
                    _ => fields.get(name).map(|item| (item, *decl)),
                };
                // A null is as good as absent where the schema knows no null.
                let present = found.filter(|(item, decl)| !item.is_null() || admits_null(decl));
                present.map(|(item, decl)| Value::from_json(item, decl)).transpose()
            }
            Self::Owned(entries) => Ok(entries.get(&Key::String(Str::Shared(name.into()))).cloned()),
        }
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Data { fields, decl } => match &decl.kind {
                DeclKind::Object { fields: declared, .. } => {
                    let names = fields.keys().filter_map(|name| declared.get(name)?.escaped.as_deref());
                    names.map(|name| Value::String(Str::Borrowed(name))).collect()
                }
                _ => fields.keys().map(|name| Value::String(Str::Borrowed(name))).collect(),
            },
            Self::Owned(entries) => entries.keys().map(Key::value).collect(),
        }
    }
}

/// The shape of the field that JSON calls `name`, if expressions can see it.
fn known<'a>(decl: &'a Decl, name: &str) -> Option<&'a Decl> {
    match &decl.kind {
        DeclKind::Object { fields, .. } => {
            fields.get(name).filter(|field| field.escaped.is_some()).map(|field| &*field.decl)
        }
        _ => None,
    }
}

fn admits_null(decl: &Decl) -> bool {
    decl.nullable || matches!(decl.kind, DeclKind::Dyn)
}

/// A key of a map. Numbers are one key if they are equal, whatever their types.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// `false` or `true`.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// Text.
    String(Str<'a>),
}

impl<'a> Key<'a> {
    /// The key that a value is in a map literal.
    pub(crate) fn new(value: &Value<'a>) -> Result<Self, EvalError> {
        match value {
            Value::Double(_) => Err(EvalError::failed("unsupported key type: double")),
            value => Self::lookup(value)
                .ok_or_else(|| EvalError::failed(format!("unsupported key type: {}", value.type_of().name()))),
        }
    }

    /// The key that a value finds, if it can find any.
    fn lookup(value: &Value<'a>) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Int(*value)),
            Value::Uint(value) => Some(Self::Uint(*value)),
            Value::String(value) => Some(Self::String(value.clone())),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9.0e18 => Some(Self::Int(*value as i64)),
            _ => None,
        }
    }

    /// The value that the key is.
    pub(crate) fn value(&self) -> Value<'a> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(value) => Value::String(value.clone()),
        }
    }

    fn number(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value)),
            Self::Uint(value) => Some(i128::from(*value)),
            _ => None,
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Bool(_), _) | (_, Self::String(_)) => Ordering::Less,
            (_, Self::Bool(_)) | (Self::String(_), _) => Ordering::Greater,
            (a, b) => a.number().cmp(&b.number()),
        }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::String(value) => write!(f, "{value}"),
        }
    }
}
