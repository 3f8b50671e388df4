//! Where a walk over a document is; the text of a path is made only for an error.

use crate::field::Path;

/// A place in a document.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// Where it begins: at the root, or at a path of its own.
    Root(Option<&'a Path>),
    /// A field of an object.
    Field(&'a Place<'a>, &'a str),
    /// A key of a map.
    Key(&'a Place<'a>, &'a str),
    /// An item of a list.
    Item(&'a Place<'a>, usize),
}

impl<'a> Place<'a> {
    /// The place of a field here.
    #[must_use]
    pub fn field(&'a self, name: &'a str) -> Place<'a> {
        Place::Field(self, name)
    }

    /// The place of a key here.
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> Place<'a> {
        Place::Key(self, key)
    }

    /// The place of an item here.
    #[must_use]
    pub fn index(&'a self, index: usize) -> Place<'a> {
        Place::Item(self, index)
    }

    /// The path from where the validation began, as messages have it.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Root(_) => String::new(),
            Place::Field(parent, name) => {
                let mut text = parent.name();
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
                text
            }
            Place::Key(parent, key) => format!("{}[{key}]", parent.name()),
            Place::Item(parent, index) => format!("{}[{index}]", parent.name()),
        }
    }

    /// The whole path.
    #[must_use]
    pub fn path(&self) -> Path {
        let name = self.name();
        match (self.begin(), name.as_str()) {
            (Some(begin), "") => begin.clone(),
            (Some(begin), name) => begin.child(name),
            (None, name) => Path::new(name),
        }
    }

    fn begin(&self) -> Option<&Path> {
        match self {
            Place::Root(path) => *path,
            Place::Field(parent, _) | Place::Key(parent, _) | Place::Item(parent, _) => parent.begin(),
        }
    }

    /// The path of what has none: the alternatives of a schema are said to be where the validation began.
    pub(super) fn begin_path(&self) -> Path {
        self.begin().cloned().unwrap_or_else(|| Path::new(""))
    }
}
