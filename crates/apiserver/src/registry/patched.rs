//! Patches out of a body, and what they make of an object.

use api::decode;
use api::field::{FieldError, Path};
use api::status::Status;
use serde_json::Value;

use super::decode::{Decoded, Expected, check_type, conform};
use crate::http::negotiate::PatchType;
use crate::http::options::FieldValidation;

/// A patch.
#[derive(Debug)]
pub(crate) struct Patch {
    ty: PatchType,
    /// The patch with what strict validation says to it alone, or its refusal, which is told when there is something to
    /// patch.
    read: Result<(Value, Vec<String>), Status>,
    validation: FieldValidation,
}

impl Patch {
    /// Reads a patch.
    pub(crate) fn read(ty: PatchType, body: &[u8], validation: FieldValidation) -> Self {
        let is_checked = validation != FieldValidation::Ignore;
        let read = match ty {
            PatchType::Json => api::patch::json::read(body, is_checked),
            PatchType::Merge => api::patch::merge::read(body, is_checked),
            PatchType::Strategic => api::patch::strategic::read(body),
            // A configuration is no change by itself: who owns what decides, which is known elsewhere.
            PatchType::Apply => Err(Status::unsupported_media_type(&["application/apply-patch+yaml"])),
        };
        Self { ty, read, validation }
    }

    /// The object of a type with the patch, checked.
    pub(crate) fn apply(&self, expected: Expected<'_>, object: Value) -> Result<Decoded, Status> {
        let (patch, findings) = self.read.as_ref().map_err(Status::clone)?;
        let (patched, shown) = match self.ty {
            PatchType::Json => (api::patch::json::apply(object, patch)?, None),
            PatchType::Merge => (api::patch::merge::apply(object, patch.clone())?, None),
            _ => (api::patch::strategic::apply(object, patch.clone(), expected.schema)?, Some(patch)),
        };
        check(expected, patched, findings, self.validation, shown)
    }
}

/// Checks what a patch has made as if it had come as a body.
pub(crate) fn check_patched(
    expected: Expected<'_>,
    patched: Value,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    check(expected, patched, &[], validation, None)
}

/// Upstream tells of the patch as of an invalid object without a kind, with the decoder's own words; what it shows is
/// the object or, if `shown` is there, the patch.
fn check(
    expected: Expected<'_>,
    patched: Value,
    before: &[String],
    validation: FieldValidation,
    shown: Option<&Value>,
) -> Result<Decoded, Status> {
    let mut value = patched.clone();
    let found = match expected.custom {
        Some(custom) => conform(expected, custom, &mut value),
        None => decode::check_fields(&mut value, expected.schema),
    };
    let refused = |why: &str| {
        let shown = shown.map_or_else(|| patched.to_string(), api::patch::strategic::shown);
        let error = FieldError::invalid(&Path::new("patch"), shown, why);
        Err(Status::invalid("", "", "", vec![error]))
    };
    let checked = found.and_then(|found| check_type(expected, &mut value).map(|()| found));
    match checked {
        Ok(found) => {
            let found: Vec<String> = before.iter().cloned().chain(found).collect();
            match validation {
                FieldValidation::Strict if !found.is_empty() => {
                    refused(&format!("strict decoding error: {}", found.join(", ")))
                }
                FieldValidation::Warn => Ok(Decoded { value, warnings: found }),
                FieldValidation::Strict | FieldValidation::Ignore => Ok(Decoded { value, warnings: Vec::new() }),
            }
        }
        Err(status) => {
            let handled = decode::cannot_be_handled(expected.kind, expected.version, "").message;
            refused(status.message.strip_prefix(&handled).unwrap_or(&status.message))
        }
    }
}
