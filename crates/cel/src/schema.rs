//! What a structural schema says about values, as far as expressions care: types, names of fields, and how large a
//! value can get, which the cost estimate needs.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api::schema::ListType;
use api::structural::{AdditionalProperties, Structural, Type as SchemaType};
use api::validation::names::CEL_WORDS;

use crate::types::Type;

/// The largest request that the API server takes, in bytes.
pub(crate) const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// The declared shape of a value.
#[derive(Clone, Debug)]
pub struct Decl {
    /// The name of the type in messages.
    pub(crate) name: String,
    /// What the value is.
    pub(crate) kind: DeclKind,
    /// The most elements, entries, characters or bytes that a value can have; nothing for scalars.
    pub(crate) max_elements: u64,
    /// The fewest bytes that a value takes in JSON.
    pub(crate) min_size: u64,
    /// Whether the value may be `null`.
    pub(crate) nullable: bool,
}

/// What a declared value is.
#[derive(Clone, Debug)]
pub(crate) enum DeclKind {
    Dyn,
    /// Of a type that no schema can declare.
    Typed(Type),
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Duration,
    Date,
    Timestamp,
    List {
        element: Arc<Decl>,
        kind: ListKind,
    },
    Map {
        value: Arc<Decl>,
    },
    Object {
        fields: BTreeMap<String, Field>,
        escaped: BTreeMap<String, String>,
    },
}

/// A field of an object, under its name in JSON.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// The name in expressions, if it has one.
    pub escaped: Option<String>,
    /// The shape of the value.
    pub decl: Arc<Decl>,
}

/// How lists compare and add up: `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// As a whole: order counts.
    Atomic,
    /// A set of scalars: order does not count.
    Set,
    /// An associative list, with the fields that are the key of an entry.
    Map(Vec<String>),
}

static DYN: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(Decl::simple(DeclKind::Dyn, 0, 1)));
static KEY: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(Decl::simple(DeclKind::String, 0, 2)));
static INT: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(Decl::simple(DeclKind::Int, 0, 1)));

impl Decl {
    fn simple(kind: DeclKind, max_elements: u64, min_size: u64) -> Self {
        Self { name: String::new(), kind, max_elements, min_size, nullable: false }
    }

    /// The shape of a value about which nothing is known.
    pub(crate) fn dynamic() -> &'static Arc<Decl> {
        &DYN
    }

    /// The shape of the keys of maps.
    pub(crate) fn key() -> &'static Arc<Decl> {
        &KEY
    }

    /// The shape of an index of a list.
    pub(crate) fn index() -> &'static Arc<Decl> {
        &INT
    }

    /// The shape of values of a type, as far as the type tells.
    pub(crate) fn typed(ty: Type) -> Arc<Self> {
        let longest = MAX_REQUEST_BYTES - 2;
        let decl = match ty {
            Type::Bool => Self::simple(DeclKind::Bool, 0, 4),
            Type::Int => Self::simple(DeclKind::Int, 0, 1),
            Type::String => Self::simple(DeclKind::String, longest, 2),
            Type::Timestamp => Self::simple(DeclKind::Timestamp, 32, 21),
            Type::Object(decl) => return decl,
            Type::Dyn => return Arc::clone(Self::dynamic()),
            Type::List(element) => {
                let element = Self::typed(element.as_ref().clone());
                Self::simple(DeclKind::List { element, kind: ListKind::Atomic }, longest, 2)
            }
            Type::Map(key, value) if matches!(*key, Type::String) => {
                let value = Self::typed(value.as_ref().clone());
                Self::simple(DeclKind::Map { value }, longest, 2)
            }
            other => Self::simple(DeclKind::Typed(other), longest, 1),
        };
        Arc::new(decl)
    }

    /// The shape of values of a type that have at most `max_elements` characters or elements.
    pub(crate) fn bounded(ty: Type, max_elements: u64) -> Arc<Self> {
        Arc::new(Self { max_elements, ..Self::typed(ty).as_ref().clone() })
    }

    /// The shape of a map from texts to such values, with at most `max_elements` entries.
    pub(crate) fn map(value: Arc<Self>, max_elements: u64) -> Arc<Self> {
        Arc::new(Self::simple(DeclKind::Map { value }, max_elements, 2))
    }

    /// The shape of an object with these fields and no others; expressions call them by the same names.
    pub(crate) fn object(name: &str, fields: impl IntoIterator<Item = (String, Arc<Self>)>) -> Arc<Self> {
        Self::object_with(name, fields, |field| Some(field.to_owned()))
    }

    /// The same where expressions have to [`escape`] the names.
    pub(crate) fn object_of_schema(name: &str, fields: impl IntoIterator<Item = (String, Arc<Self>)>) -> Arc<Self> {
        Self::object_with(name, fields, escape)
    }

    fn object_with(
        name: &str,
        fields: impl IntoIterator<Item = (String, Arc<Self>)>,
        called: fn(&str) -> Option<String>,
    ) -> Arc<Self> {
        let (mut declared, mut escaped) = (BTreeMap::new(), BTreeMap::new());
        for (field, decl) in fields {
            let name = called(&field);
            escaped.extend(name.iter().map(|name| (name.clone(), field.clone())));
            declared.insert(field, Field { escaped: name, decl });
        }
        let mut decl = Self::simple(DeclKind::Object { fields: declared, escaped }, 0, 2);
        decl.name = name.to_owned();
        Arc::new(decl)
    }

    /// The shape that a structural schema declares. `root` where it describes a whole resource, whose kind, apiVersion
    /// and name are always known. Nothing where expressions cannot see such values.
    #[must_use]
    pub fn new(schema: &Structural, root: bool) -> Option<Arc<Self>> {
        build(schema, root, "selfType")
    }

    /// The static type of such values.
    #[must_use]
    pub fn type_of(self: &Arc<Self>) -> Type {
        match &self.kind {
            DeclKind::Dyn | DeclKind::IntOrString => Type::Dyn,
            DeclKind::Typed(ty) => ty.clone(),
            DeclKind::Bool => Type::Bool,
            DeclKind::Int => Type::Int,
            DeclKind::Double => Type::Double,
            DeclKind::String => Type::String,
            DeclKind::Bytes => Type::Bytes,
            DeclKind::Duration => Type::Duration,
            DeclKind::Date | DeclKind::Timestamp => Type::Timestamp,
            DeclKind::List { element, .. } => Type::list(element.type_of()),
            DeclKind::Map { value } => Type::map(Type::String, value.type_of()),
            DeclKind::Object { .. } => Type::Object(Arc::clone(self)),
        }
    }

    /// The field that expressions call `name`. A word of the language is escaped, but needs not be.
    pub(crate) fn field(&self, name: &str) -> Option<&Arc<Decl>> {
        match &self.kind {
            DeclKind::Object { fields, escaped } => {
                let json = escaped.get(name).or_else(|| escaped.get(&format!("__{name}__")))?;
                fields.get(json).map(|field| &field.decl)
            }
            _ => None,
        }
    }

    /// The field that documents call `name`.
    pub(crate) fn property(&self, name: &str) -> Option<&Arc<Decl>> {
        match &self.kind {
            DeclKind::Object { fields, .. } => fields.get(name).map(|field| &field.decl),
            _ => None,
        }
    }

    /// The shape of elements of a list or values of a map.
    pub(crate) fn element(&self) -> Option<&Arc<Decl>> {
        match &self.kind {
            DeclKind::List { element, .. } => Some(element),
            DeclKind::Map { value } => Some(value),
            _ => None,
        }
    }
}

/// A bound of a schema; nothing can have fewer elements than none.
fn bound(value: Option<i64>) -> Option<u64> {
    value.map(|value| value.max(0) as u64)
}

fn build(schema: &Structural, root: bool, name: &str) -> Option<Arc<Decl>> {
    let longest = MAX_REQUEST_BYTES - 2;
    let mut decl = if schema.extensions.int_or_string {
        let max = bound(schema.values.max_length).map_or(longest, |max| max.saturating_mul(4));
        Decl::simple(DeclKind::IntOrString, max, 1)
    } else {
        match &schema.ty {
            Some(SchemaType::Array) => list(schema, name)?,
            Some(SchemaType::Object) => object(schema, root, name)?,
            Some(SchemaType::String) => string(schema),
            Some(SchemaType::Boolean) => Decl::simple(DeclKind::Bool, 0, 4),
            Some(SchemaType::Number) => Decl::simple(DeclKind::Double, 0, 1),
            Some(SchemaType::Integer) => Decl::simple(DeclKind::Int, 0, 1),
            _ => return None,
        }
    };
    decl.name = name.to_owned();
    decl.nullable = schema.nullable;
    Some(Arc::new(decl))
}

fn string(schema: &Structural) -> Decl {
    let longest = MAX_REQUEST_BYTES - 2;
    let max_length = bound(schema.values.max_length);
    match schema.values.format.as_str() {
        "byte" => Decl::simple(DeclKind::Bytes, max_length.unwrap_or(longest), 2),
        "duration" => Decl::simple(DeclKind::Duration, 32, 3),
        "date" => Decl::simple(DeclKind::Date, 12, 12),
        "date-time" => Decl::simple(DeclKind::Timestamp, 32, 21),
        _ => {
            // Lengths are code points in schemas and bytes here.
            let max = max_length.map(|max| max.saturating_mul(4)).or_else(|| longest_of_enum(schema));
            Decl::simple(DeclKind::String, max.unwrap_or(longest), 2)
        }
    }
}

fn longest_of_enum(schema: &Structural) -> Option<u64> {
    let values = schema.values.enumeration.as_ref().filter(|values| !values.is_empty())?;
    let lengths = values.iter().filter_map(|value| value.as_str()).map(|text| text.len() as u64);
    Some(lengths.max().unwrap_or(0))
}

fn list(schema: &Structural, name: &str) -> Option<Decl> {
    let items = schema.items.as_deref()?;
    let element = build(items, items.extensions.embedded_resource, &format!("{name}.@idx"))?;
    let max = bound(schema.values.max_items).unwrap_or((MAX_REQUEST_BYTES - 2) / (element.min_size + 1));
    let kind = match schema.extensions.list_type {
        Some(ListType::Set) => ListKind::Set,
        Some(ListType::Map) => ListKind::Map(schema.extensions.list_map_keys.clone()),
        Some(ListType::Atomic) | None => ListKind::Atomic,
    };
    Some(Decl::simple(DeclKind::List { element, kind }, max, 2))
}

fn object(schema: &Structural, root: bool, name: &str) -> Option<Decl> {
    if let Some(values) = schema.additional_properties.as_ref().and_then(AdditionalProperties::schema) {
        let value = build(values, values.extensions.embedded_resource, &format!("{name}.@elem"))?;
        let max = bound(schema.values.max_properties).unwrap_or((MAX_REQUEST_BYTES - 2) / (value.min_size + 6));
        return Some(Decl::simple(DeclKind::Map { value }, max, 2));
    }
    let meta = if root { object_meta(&schema.properties) } else { BTreeMap::new() };
    let declared = schema.properties.iter().filter(|(property, _)| !meta.contains_key(property.as_str()));
    let mut min_size = 2;
    let (mut fields, mut escaped) = (BTreeMap::new(), BTreeMap::new());
    for (property, field) in declared.chain(&meta) {
        let embedded = field.extensions.embedded_resource;
        let Some(decl) = build(field, embedded, &format!("{name}.{property}")) else { continue };
        // A default fills in what is missing, so it makes no request larger.
        if schema.values.required.contains(property) && field.default.is_none() {
            min_size += property.len() as u64 + decl.min_size + 4;
        }
        let escape = escape(property);
        if let Some(escape) = &escape {
            escaped.insert(escape.clone(), property.clone());
        }
        fields.insert(property.clone(), Field { escaped: escape, decl });
    }
    Some(Decl::simple(DeclKind::Object { fields, escaped }, 0, min_size))
}

/// What the root of a resource has in any case: a kind, an apiVersion and a metadata with name and generateName, and
/// no more of metadata than that. Nothing where the schema says as much.
fn object_meta(properties: &BTreeMap<String, Structural>) -> BTreeMap<String, Structural> {
    let string = || Structural { ty: Some(SchemaType::String), ..Structural::default() };
    let is_string = |schema: Option<&Structural>| schema.is_some_and(|schema| schema.ty == Some(SchemaType::String));
    let metadata_known = properties
        .get("metadata")
        .is_some_and(|metadata| ["name", "generateName"].iter().all(|name| is_string(metadata.properties.get(*name))));
    if is_string(properties.get("kind")) && is_string(properties.get("apiVersion")) && metadata_known {
        return BTreeMap::new();
    }
    let named = ["name", "generateName"].map(|name| (name.to_owned(), string()));
    let metadata =
        Structural { ty: Some(SchemaType::Object), properties: BTreeMap::from(named), ..Structural::default() };
    BTreeMap::from([
        ("kind".to_owned(), string()),
        ("apiVersion".to_owned(), string()),
        ("metadata".to_owned(), metadata),
    ])
}

/// How expressions call the property `name`: signs that no identifier may have are spelled out. Nothing where the
/// property cannot be named.
#[must_use]
pub fn escape(name: &str) -> Option<String> {
    if CEL_WORDS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let first = name.chars().next()?;
    let escaped = name.replace("__", "__underscores__").replace('.', "__dot__").replace('-', "__dash__");
    let escaped = escaped.replace('/', "__slash__");
    let starts_well = first.is_ascii_alphabetic() || matches!(first, '_' | '.' | '-' | '/');
    let all_known = escaped.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (starts_well && all_known).then_some(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decl(schema: serde_json::Value, root: bool) -> Arc<Decl> {
        Decl::new(&Structural::parse(&schema).unwrap(), root).unwrap()
    }

    #[track_caller]
    fn check_escape(name: &str, expected: Option<&str>) {
        assert_eq!(escape(name).as_deref(), expected, "{name}");
    }

    #[test]
    fn names_are_escaped() {
        check_escape("plain", Some("plain"));
        check_escape("a.b-c/d__e", Some("a__dot__b__dash__c__slash__d__underscores__e"));
        check_escape("if", Some("__if__"));
        check_escape("namespace", Some("__namespace__"));
        check_escape("int", Some("int"));
        check_escape("1a", None);
        check_escape("ä", None);
        check_escape("", None);
    }

    #[test]
    fn sizes_follow_the_bounds_of_the_schema() {
        let decl = decl(
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"type": "array", "items": {"type": "string", "maxLength": 10}},
                "b": {"type": "object", "maxProperties": 7, "additionalProperties": {"type": "integer"}},
                "c": {"type": "string", "enum": ["one", "three"]},
                "d": {"x-kubernetes-preserve-unknown-fields": true}}}),
            false,
        );
        assert_eq!(decl.min_size, 2 + 1 + 2 + 4);
        let list = decl.field("a").unwrap();
        assert_eq!(list.max_elements, (MAX_REQUEST_BYTES - 2) / 3);
        assert_eq!(list.element().unwrap().max_elements, 40);
        assert_eq!(decl.field("b").unwrap().max_elements, 7);
        assert_eq!(decl.field("c").unwrap().max_elements, 5);
        assert!(decl.field("d").is_none());
    }

    #[test]
    fn roots_have_kind_and_name() {
        let decl = decl(json!({"type": "object"}), true);
        assert!(decl.field("metadata").unwrap().field("generateName").is_some());
        assert!(decl.field("metadata").unwrap().field("labels").is_none());
    }
}
