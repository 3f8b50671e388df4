//! What CustomResourceDefinitions may say: their schemas, printer columns, scale paths and selectable fields.
//!
//! Everything here takes the path at which it stands in the definition: upstream names a schema that all versions
//! share `spec.validation.openAPIV3Schema`, and one that differs `spec.versions[0].schema.openAPIV3Schema`.

mod completeness;
mod defaults;
mod lists;
mod props;
mod root;
mod rules;
mod structure;
mod version;

use serde_json::Value;

use super::schema::Structural;
use crate::field::{ErrorList, FieldError, Path};

pub use version::{printer_column, scale, selectable_fields};

/// What is wrong with an `openAPIV3Schema`; `has_status` says whether its version has a status subresource.
///
/// Whether its rules compile is not looked at; rules of a schema with errors should not be compiled.
#[must_use]
pub fn schema(schema: &Value, path: &Path, has_status: bool) -> ErrorList {
    let mut errors = root::check(schema, path, has_status);
    // What keeps a schema from being a tree is mostly also said in better words.
    let unparsed = match Structural::parse(schema) {
        Ok(tree) => {
            let mut structure = structure::check(&tree, path);
            if structure.is_empty() {
                structure = defaults::check(&tree, path);
            }
            errors.extend(structure);
            None
        }
        Err(err) => Some(FieldError::invalid(path, "", err.to_string())),
    };
    errors.extend(props::check(schema, path));
    if errors.is_empty() {
        errors.extend(unparsed);
    }
    errors
}

#[cfg(test)]
mod tests;
