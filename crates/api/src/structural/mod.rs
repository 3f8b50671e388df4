//! Custom resources' schemas: one tree for each version of a CustomResourceDefinition, compiled once, and all that the
//! API server does with it. Pure: no input or output.
//!
//! [`Structural::parse`] compiles an `openAPIV3Schema`. The tree then serves every request:
//!
//! | when | call | does |
//! | --- | --- | --- |
//! | a request or a stored object is decoded | [`Structural::conform`] | metadata in form, unknown fields and nulls out, defaults in; answers unknown fields for strict validation |
//! | an object is validated | [`Structural::validate`] | values, embedded resources, lists of type set and map; ratcheting on updates |
//! | a definition is validated | [`check`] | what its schemas, columns, scale paths and selectable fields may say |
//! | a table is asked for | [`ColumnPrinter`] | the cells of additional printer columns |
//! | OpenAPI documents are made | [`published`] | the schema of the kind, with what every object has |
//! | rules are about to be run | [`unchecked_rules`] | whether errors so far keep rules from being run |
//!
//! The order matters and is upstream's: [`Structural::conform`] after decoding, conversion and patching; validation of
//! the object's own metadata by the strategy; then [`Structural::validate`]; then rules
//! ([`schema::Extensions::validations`] at each node) unless [`unchecked_rules`] says no. A value's path is that of
//! `api::field`; what belongs to the whole object is said to be at `<nil>`, as upstream does.

pub mod check;
mod columns;
pub mod correlate;
mod defaults;
mod embedded;
pub mod field_path;
mod formats;
mod lists;
mod numbers;
mod parse;
mod pattern;
pub mod place;
mod prune;
mod publish;
pub mod schema;
mod validate;
mod whole;

use serde_json::Value;

use crate::field::{ErrorList, ErrorType, FieldError, Path};

pub use columns::ColumnPrinter;
pub use embedded::Malformed;
pub(crate) use formats::is_known as is_known_format;
pub use parse::ParseError;
pub use pattern::Pattern;
pub use publish::{GroupVersionKind, published};
pub use schema::{AdditionalProperties, Extensions, MapType, Structural, Type, ValidationRule, ValueValidation};

impl Structural {
    /// Brings a whole object into the form that its schema gives it: metadata (its own and those of embedded
    /// resources) have only known fields, other unknown fields are pruned, nulls that mean nothing are dropped, what is
    /// not set gets its default, whole numbers have no fraction. Answers the paths of the unknown fields, as strict field validation names them.
    ///
    /// The error is a field of metadata that is not of its type; such a request is bad, not invalid.
    pub fn conform(&self, object: &mut Value, malformed: Malformed) -> Result<Vec<String>, FieldError> {
        let mut unknown = embedded::coerce_own_metadata(object, malformed)?;
        unknown.extend(self.prune(object));
        self.drop_nulls(object);
        unknown.extend(self.coerce_metadata(object, false, malformed)?);
        self.set_defaults(object);
        self.settle_numbers(object);
        Ok(unknown)
    }

    /// Judges a whole object, but for the object's own metadata and rules; `old` is what it was before an update.
    #[must_use]
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        let mut errors = self.validate_values(new, old);
        errors.extend(self.validate_embedded(new));
        // What was stored before these were checked can still be changed.
        if old.is_none_or(|old| self.validate_lists(old).is_empty()) {
            errors.extend(self.validate_lists(new));
        }
        errors
    }
}

/// The error that stands for the rules that are not run because of errors so far; `None` if they can be run.
#[must_use]
pub fn unchecked_rules(errors: &[FieldError]) -> Option<FieldError> {
    let blocks = |error: &FieldError| {
        matches!(
            error.error_type,
            ErrorType::NotSupported
                | ErrorType::Required
                | ErrorType::TooLong
                | ErrorType::TooMany
                | ErrorType::TypeInvalid
        )
    };
    let why = "some validation rules were not checked because the object was invalid; \
               correct the existing errors to complete validation";
    errors.iter().any(blocks).then(|| FieldError::invalid(&Path::new(""), Value::Null, why))
}

#[cfg(test)]
mod tests;
