//! Many short texts of one object, close together: each by itself would cost more for its place than it is long.

use std::collections::BTreeMap;

/// Texts one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    all: Box<str>,
    /// Where each text ends.
    ends: Box<[u32]>,
}

impl Texts {
    pub(super) fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start as usize..self.ends[index] as usize]
    }
}

impl<'a> FromIterator<&'a str> for Texts {
    fn from_iter<T: IntoIterator<Item = &'a str>>(texts: T) -> Self {
        let mut all = String::new();
        let end = |text: &str| {
            all.push_str(text);
            u32::try_from(all.len()).expect("an object is smaller than 4 GB")
        };
        let ends = texts.into_iter().map(end).collect();
        Self { all: all.into(), ends }
    }
}

/// The labels of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(Texts);

impl Labels {
    pub(super) fn new(labels: &BTreeMap<String, String>) -> Self {
        Self(labels.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]).collect())
    }

    /// The value of a label.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        // Objects have few labels.
        let found = (0..self.0.ends.len()).step_by(2).find(|index| self.0.get(*index) == key)?;
        Some(self.0.get(found + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_key_alone() {
        let pairs = [("app", "web"), ("empty", ""), ("web", "app")];
        let labels = Labels::new(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        for (key, value) in pairs {
            assert_eq!(labels.get(key), Some(value));
        }
        assert_eq!((labels.get(""), labels.get("we"), Labels::default().get("app")), (None, None, None));
    }
}
