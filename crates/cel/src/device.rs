//! Expressions that select devices for resource claims.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use api::quantity::Quantity;

use crate::error::{CompileError, EvalError};
use crate::library::semver;
use crate::program::{Bindings, Env, Program};
use crate::schema::Decl;
use crate::types::Type;
use crate::value::{Extension, Key, Map, Str, Value};

/// What evaluating a selector for one device may cost.
pub const MAX_COST: u64 = 1_000_000;

/// The bounds of what is published about a device: entries, and the lengths of a driver's name and of a text.
const MAX_ENTRIES: u64 = 32;
const MAX_DRIVER: u64 = 63;
const MAX_TEXT: u64 = 64;

/// `device`: what is published about one, by domain and then by name.
static DEVICE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let by_domain = |value: Arc<Decl>| Decl::map(Decl::map(value, MAX_ENTRIES), MAX_ENTRIES);
    let quantity = Decl::typed(Type::Opaque("kubernetes.Quantity"));
    let fields = [
        ("driver", Decl::bounded(Type::String, MAX_DRIVER)),
        ("attributes", by_domain(Decl::bounded(Type::Dyn, MAX_TEXT))),
        ("capacity", by_domain(quantity)),
    ];
    Decl::object("kubernetes.DRADevice", fields.map(|(name, decl)| (name.to_owned(), decl)))
});

/// Compiles the selector of a device. It must not be able to cost more than [`MAX_COST`].
///
/// # Errors
///
/// The text is no expression, or one that is no condition of a device.
pub fn compile(source: &str) -> Result<Program, CompileError> {
    let program = Env::new().declared("device", DEVICE.type_of(), &DEVICE).compile(source)?;
    match program.result_type() {
        Type::Bool | Type::Dyn => Ok(program),
        other => Err(CompileError::NoSelector { actual: other.declared() }),
    }
}

/// What a driver publishes of a device, beside its name.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The driver.
    pub driver: String,
    /// Attributes by domain and name.
    pub attributes: BTreeMap<String, BTreeMap<String, Attribute>>,
    /// Amounts by domain and name.
    pub capacity: BTreeMap<String, BTreeMap<String, Quantity>>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// A semantic version, as written.
    Version(String),
}

impl Attribute {
    fn value(&self) -> Result<Value<'_>, EvalError> {
        Ok(match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Text(text) => Value::String(Str::Borrowed(text)),
            Self::Version(text) => {
                let version = semver::parse(text).map_err(EvalError::failed)?;
                Value::Extension(Arc::new(Extension::Semver(version)))
            }
        })
    }
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value<'a>)>) -> Value<'a> {
    let entries = entries.into_iter().map(|(name, value)| (Key::String(Str::Borrowed(name)), value));
    Value::Map(Map::owned(entries.collect()))
}

/// Entries by domain; a domain of which nothing is published but that an expression asks for is empty.
fn by_domain<'a, T>(
    domains: &'a BTreeMap<String, BTreeMap<String, T>>,
    asked: &'a [String],
    value: impl Fn(&'a T) -> Result<Value<'a>, EvalError>,
) -> Result<Value<'a>, EvalError> {
    let empty = asked.iter().filter(|domain| !domains.contains_key(*domain));
    let mut all: Vec<(&str, Value<'a>)> = empty.map(|domain| (domain.as_str(), map([]))).collect();
    for (domain, entries) in domains {
        let mut values = Vec::new();
        for (name, entry) in entries {
            values.push((name.as_str(), value(entry)?));
        }
        all.push((domain, map(values)));
    }
    Ok(map(all))
}

/// Whether a device is one of those that an expression selects.
///
/// # Errors
///
/// The expression cannot be evaluated for this device.
pub fn matches(program: &Program, device: &Published) -> Result<bool, EvalError> {
    let mut asked = Vec::new();
    loop {
        let quantity = |amount: &Quantity| Ok(Value::Extension(Arc::new(Extension::Quantity(*amount))));
        let value = map([
            ("driver", Value::String(Str::Borrowed(&device.driver))),
            ("attributes", by_domain(&device.attributes, &asked, Attribute::value)?),
            ("capacity", by_domain(&device.capacity, &asked, quantity)?),
        ]);
        match program.evaluate(&Bindings::new().bind("device", value), MAX_COST).result {
            Ok(Value::Bool(selected)) => return Ok(selected),
            Ok(other) => return Err(EvalError::failed(format!("no bool but {}", other.type_of().name()))),
            // What is asked of a domain without entries is not there, but the domain is.
            Err(EvalError::NoSuchKey(key)) if is_domain(&key) && !asked.contains(&key) => asked.push(key),
            Err(err) => return Err(err),
        }
    }
}

/// Names of attributes are identifiers, those of domains have dots.
fn is_domain(key: &str) -> bool {
    key.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: Result<bool, &str>) {
        let attributes = [
            ("model".to_owned(), Attribute::Text("a100".to_owned())),
            ("cores".to_owned(), Attribute::Int(8)),
            ("ecc".to_owned(), Attribute::Bool(true)),
            ("version".to_owned(), Attribute::Version("1.10.0".to_owned())),
        ];
        let memory = Quantity::parse("40Gi").expect("a quantity");
        let device = Published {
            driver: "gpu.example.com".to_owned(),
            attributes: [("gpu.example.com".to_owned(), attributes.into())].into(),
            capacity: [("gpu.example.com".to_owned(), [("memory".to_owned(), memory)].into())].into(),
        };
        let found = matches(&compile(source).expect("it compiles"), &device).map_err(|err| err.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{source}");
    }

    #[test]
    fn devices_are_selected_by_what_is_published_of_them() {
        check("device.driver == 'gpu.example.com'", Ok(true));
        check("device.attributes['gpu.example.com'].model == 'h100'", Ok(false));
        check("device.attributes['gpu.example.com'].cores >= 8 && device.attributes['gpu.example.com'].ecc", Ok(true));
        check("device.attributes['gpu.example.com'].version.isGreaterThan(semver('1.9.0'))", Ok(true));
        check("device.capacity['gpu.example.com'].memory.compareTo(quantity('32Gi')) > 0", Ok(true));
        check("'x' in device.attributes['other.example.com']", Ok(false));
        check("device.attributes['gpu.example.com'].missing == 1", Err("no such key: missing"));
    }
}
