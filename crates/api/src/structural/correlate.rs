//! What a part of a document was before an update.

use serde_json::Value;

use super::schema::Structural;
use crate::schema::ListType;

/// What was there before; nothing if this is a create or the part is new.
#[derive(Clone, Copy)]
pub struct Old<'a>(Option<&'a Value>);

impl<'a> Old<'a> {
    /// The value that was there.
    #[must_use]
    pub fn of(old: Option<&'a Value>) -> Self {
        Self(old)
    }

    /// What was there.
    #[must_use]
    pub fn value(self) -> Option<&'a Value> {
        self.0
    }

    /// Whether the value is as it was; the order of a list of type map does not count.
    #[must_use]
    pub fn is_same(self, new: &Value, schema: &Structural) -> bool {
        self.0.is_some_and(|old| old == new || is_same(old, new, schema))
    }

    /// What the field was.
    #[must_use]
    pub fn field(self, name: &str) -> Old<'a> {
        Old(self.0.and_then(|old| old.get(name)))
    }

    /// What the items were, in a list with this schema.
    #[must_use]
    pub fn items(self, schema: &'a Structural) -> OldItems<'a> {
        let list = self.0.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        OldItems { list, schema }
    }
}

/// The items that a list had.
#[derive(Clone, Copy)]
pub struct OldItems<'a> {
    list: &'a [Value],
    schema: &'a Structural,
}

impl<'a> OldItems<'a> {
    /// What the item was: found by its keys in a list of type map, by its place in a list without a type.
    #[must_use]
    pub fn item(self, index: usize, item: &Value) -> Old<'a> {
        let extensions = &self.schema.extensions;
        Old(match extensions.list_type {
            None => self.list.get(index),
            Some(ListType::Map) => {
                let same_key = |old: &Value, key: &String| old.get(key) == item.get(key);
                self.list.iter().find(|old| extensions.list_map_keys.iter().all(|key| same_key(old, key)))
            }
            Some(ListType::Set | ListType::Atomic) => None,
        })
    }
}

fn is_same(old: &Value, new: &Value, schema: &Structural) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.len() == new.len()
                && new.iter().all(|(name, value)| match (old.get(name), schema.field(name)) {
                    (Some(old), Some(schema)) => old == value || is_same(old, value, schema),
                    (Some(old), None) => old == value,
                    (None, _) => false,
                })
        }
        (Value::Array(old_list), Value::Array(new)) => {
            let Some(item_schema) = &schema.items else { return false };
            let old = Old(Some(old)).items(schema);
            old_list.len() == new.len()
                && new.iter().enumerate().all(|(index, item)| old.item(index, item).is_same(item, item_schema))
        }
        _ => false,
    }
}
