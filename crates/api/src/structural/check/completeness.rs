//! That everything that `allOf` and its like at the root speak of is also specified outside of them. Upstream lets the
//! branches of fields speak of what they want.

use crate::field::{ErrorList, FieldError, Path};
use crate::structural::schema::{Structural, ValueValidation};

pub(super) fn check(schema: &Structural, path: &Path, errors: &mut ErrorList) {
    branches(&schema.values, schema, path, path, errors);
}

/// `at` is where the structure is, `said` where a branch speaks of it.
fn branches(values: &ValueValidation, schema: &Structural, at: &Path, said: &Path, errors: &mut ErrorList) {
    if let Some(not) = &values.not {
        branch(not, Some(schema), at, &said.child("not"), errors);
    }
    for (name, all) in [("allOf", &values.all_of), ("anyOf", &values.any_of), ("oneOf", &values.one_of)] {
        for (index, one) in all.iter().enumerate() {
            branch(one, Some(schema), at, &said.child(name).index(index), errors);
        }
    }
}

fn branch(branch_schema: &Structural, schema: Option<&Structural>, at: &Path, said: &Path, errors: &mut ErrorList) {
    let Some(schema) = schema else {
        errors.push(FieldError::required(at, format!("because it is defined in {said}")));
        return;
    };
    branches(&branch_schema.values, schema, at, said, errors);
    if let Some(items) = &branch_schema.items {
        branch(items, schema.items.as_deref(), &at.child("items"), &said.child("items"), errors);
    }
    for (name, property) in &branch_schema.properties {
        let (at, said) = (at.child("properties").key(name), said.child("properties").key(name));
        branch(property, schema.properties.get(name), &at, &said, errors);
    }
}
