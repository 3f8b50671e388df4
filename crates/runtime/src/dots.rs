//! Paths that others wrote, by their text alone: what they say of files is looked up elsewhere.

use std::path::{Component, Path, PathBuf};

/// `path` without `.`, `..` and doubled slashes, from the root on; what leads above the root stays at it.
pub(crate) fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_they_mean() {
        for (path, expected) in [
            ("/data/", "data"),
            ("data", "data"),
            ("//a/./b/../c", "a/c"),
            ("..", ""),
            ("../../a/", "a"),
            ("a/../..", ""),
        ] {
            assert_eq!(without_dots(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
