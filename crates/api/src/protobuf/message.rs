//! The messages of all types: their fields by tag, made once out of the tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use crate::schema::FieldType::{List, Ref, String};
use crate::schema::{self, Field, FieldType, Type, Wire};

/// One message.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Ascending by tag.
    pub(super) nodes: Vec<Node>,
}

/// What a tag of a message leads to.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) tag: u32,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A field of the document.
    Field {
        field: &'static Field,
        /// Which message the field, its elements or its map's values are, if they are of a type of the tables.
        message: Option<usize>,
    },
    /// A message whose fields are fields of the same document.
    Inline(Message),
}

impl Message {
    /// What a tag leads to.
    pub(super) fn node(&self, tag: u32) -> Option<&Node> {
        self.nodes.binary_search_by_key(&tag, |node| node.tag).ok().map(|index| &self.nodes[index])
    }
}

/// All messages.
pub(super) struct Messages {
    by_name: HashMap<&'static str, usize>,
    all: Vec<Message>,
}

/// The type that shows only the metadata of an object.
pub const PARTIAL_OBJECT_METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";

/// The list of them.
pub const PARTIAL_OBJECT_METADATA_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadataList";

/// Types that OpenAPI does not have and that are sent all the same.
static BESIDE_OPENAPI: &[Type] = &[
    Type {
        name: PARTIAL_OBJECT_METADATA,
        atomic: false,
        fields: &[
            Field::new("apiVersion", String, Wire::String, &[]).by_value(),
            Field::new("kind", String, Wire::String, &[]).by_value(),
            Field::new("metadata", Ref("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"), Wire::Message, &[1])
                .always(),
        ],
    },
    Type {
        name: PARTIAL_OBJECT_METADATA_LIST,
        atomic: false,
        fields: &[
            Field::new("apiVersion", String, Wire::String, &[]).by_value(),
            Field::new("items", List(&Ref(PARTIAL_OBJECT_METADATA)), Wire::Message, &[2]).required(),
            Field::new("kind", String, Wire::String, &[]).by_value(),
            Field::new("metadata", Ref(super::LIST_META), Wire::Message, &[1]).always(),
        ],
    },
];

static MESSAGES: LazyLock<Messages> = LazyLock::new(|| {
    let types: Vec<&'static Type> = schema::all_types().chain(BESIDE_OPENAPI).collect();
    let by_name: HashMap<&'static str, usize> = types.iter().enumerate().map(|(index, ty)| (ty.name, index)).collect();
    let all = types.iter().map(|ty| message(ty, &by_name)).collect();
    Messages { by_name, all }
});

impl Messages {
    /// The message of a type.
    pub(super) fn find(type_name: &str) -> Option<&'static Message> {
        MESSAGES.by_name.get(type_name).map(|index| &MESSAGES.all[*index])
    }

    /// The message with a number.
    pub(super) fn get(index: usize) -> &'static Message {
        &MESSAGES.all[index]
    }
}

fn message(ty: &'static Type, by_name: &HashMap<&'static str, usize>) -> Message {
    nodes(ty.fields.iter().map(|field| (field, field.tags)), by_name)
}

/// The message of fields that have these tags left.
fn nodes(
    fields: impl Iterator<Item = (&'static Field, &'static [u32])>,
    by_name: &HashMap<&'static str, usize>,
) -> Message {
    let mut by_tag: BTreeMap<u32, Vec<(&'static Field, &'static [u32])>> = BTreeMap::new();
    for (field, tags) in fields {
        if let Some((tag, rest)) = tags.split_first() {
            by_tag.entry(*tag).or_default().push((field, rest));
        }
    }
    let nodes = by_tag.into_iter().map(|(tag, fields)| {
        let content = match fields.as_slice() {
            [(field, [])] => Content::Field { field, message: referred(&field.ty, by_name) },
            _ => Content::Inline(nodes(fields.into_iter(), by_name)),
        };
        Node { tag, content }
    });
    Message { nodes: nodes.collect() }
}

fn referred(ty: &FieldType, by_name: &HashMap<&'static str, usize>) -> Option<usize> {
    match ty {
        Ref(name) => by_name.get(name).copied(),
        _ => referred(ty.element()?, by_name),
    }
}
