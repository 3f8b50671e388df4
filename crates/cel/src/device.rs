//! Expressions that select devices for resource claims.

use std::sync::{Arc, LazyLock};

use crate::error::CompileError;
use crate::program::{Env, Program};
use crate::schema::Decl;
use crate::types::Type;

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
