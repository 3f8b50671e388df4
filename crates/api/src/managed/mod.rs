//! Field management: who has set which field of an object, and server-side apply, which merges by that.
//!
//! A [`Set`] holds the paths of fields; `walk`-like modules make sets out of documents ([`fields`]), compare documents
//! to sets ([`compare`]), merge two documents ([`merge`]) and take paths out of one ([`remove`]). [`Managers`] is
//! `metadata.managedFields` decoded. [`track`] is what a create, update or patch does to it, [`apply()`] what an applied
//! configuration does to the object and to it.

mod adopt;
mod apply;
mod cap;
mod check;
mod compare;
mod conflict;
mod element;
mod fields;
mod items;
mod last_applied;
mod managers;
mod merge;
mod remove;
mod set;
mod shape;
mod update;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use crate::schema;

pub use adopt::{AdoptError, adopt};
pub use apply::{ApplyError, apply};
pub use conflict::Conflicts;
pub use element::Element;
pub use managers::{Manager, Managers, Operation};
pub use set::Set;
pub use shape::{Keyed, Shape};
pub use update::{disown, restore_times, track};

/// How an object looks in another version of its API: the document and its shape there.
pub type Convert<'a> = dyn Fn(&Value, &str) -> Option<(Value, Shape<'a>)> + Sync + 'a;

/// Who writes what kind of object, and when.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// The name of the field manager.
    pub manager: &'a str,
    /// The subresource that is written, or nothing.
    pub subresource: &'a str,
    /// The version of the object.
    pub api_version: &'a str,
    /// The shape of the object in that version; kinds without schema have atomic lists and granular maps.
    pub shape: Shape<'a>,
    /// The fields that this way of writing never sets, whatever the request holds, with all below them.
    pub reset: &'a [&'a [&'a str]],
    /// The time of the write.
    pub now: Timestamp,
    /// The object in other versions, for managers that wrote it in those.
    pub convert: &'a Convert<'a>,
}

impl Write<'_> {
    fn reset_fields(&self) -> Set {
        let mut set = Set::default();
        for path in self.reset {
            set.insert(path.iter().map(|name| Element::field(name)));
        }
        set
    }
}

/// An object of the type as upstream has it before anything is set: what is always written is there.
fn zero(shape: Shape<'_>) -> Arc<Value> {
    static ZEROS: LazyLock<Mutex<HashMap<&'static str, Arc<Value>>>> = LazyLock::new(Mutex::default);
    let empty = || Value::Object(serde_json::Map::new());
    let Shape::Struct(ty) = shape else { return Arc::new(empty()) };
    let mut zeros = ZEROS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = zeros.entry(ty.name).or_insert_with(|| {
        let mut value = empty();
        fill(&mut value, ty, 0);
        Arc::new(value)
    });
    Arc::clone(made)
}

/// Types that require themselves would have no end.
const MAX_ZERO_DEPTH: usize = 8;

fn fill(value: &mut Value, ty: &'static schema::Type, depth: usize) {
    crate::decode::normalize(value, ty.name);
    let Value::Object(values) = value else { return };
    for field in ty.fields.iter().filter(|field| field.always || field.required) {
        if let Some(inner) = field.ty.as_type().filter(|_| depth < MAX_ZERO_DEPTH) {
            let nested = values.entry(field.json).or_insert_with(|| Value::Object(serde_json::Map::new()));
            fill(nested, inner, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests;
