//! Rules on dependencies from outside: each is explained, and none is left over.

use std::collections::BTreeSet;

use super::Complaint;
use super::source::{Package, SourceFile, Tree};

/// The page that says what each dependency is for.
pub(super) const DOC: &str = "docs/dependencies.md";

/// The table in the workspace's manifest that lists them.
const TABLE: &str = "[workspace.dependencies]";

/// One line of the table.
struct Entry<'a> {
    name: &'a str,
    /// Whether it is a crate of the workspace.
    own: bool,
    line: usize,
}

impl Entry<'_> {
    fn complain(&self, message: String) -> Complaint {
        Complaint { file: "Cargo.toml".to_owned(), line: self.line, message }
    }
}

fn entries(manifest: &str) -> impl Iterator<Item = Entry<'_>> {
    let lines = manifest.lines().zip(1..).skip_while(|(line, _)| *line != TABLE).skip(1);
    let table = lines.take_while(|(line, _)| !line.starts_with('['));
    table.filter_map(|(text, line)| {
        let (name, value) = text.split_once('=')?;
        (!name.starts_with('#')).then(|| Entry { name: name.trim(), own: value.contains("path ="), line })
    })
}

/// [`DOC`] names each dependency in code quotes.
pub(super) fn explained(tree: &Tree) -> Vec<Complaint> {
    let unexplained = entries(&tree.manifest)
        .filter(|entry| !entry.own && !tree.dependencies_doc.contains(&format!("`{}`", entry.name)));
    unexplained.map(|entry| entry.complain(format!("{DOC} does not say what {} is for", entry.name))).collect()
}

/// Some crate takes each dependency of the workspace.
pub(super) fn with_user(tree: &Tree) -> Vec<Complaint> {
    let taken: BTreeSet<_> =
        tree.packages.iter().flat_map(|package| &package.dependencies).map(|one| one.name.as_str()).collect();
    let left = entries(&tree.manifest).filter(|entry| !taken.contains(entry.name));
    left.map(|entry| entry.complain(format!("no crate takes {}: remove it", entry.name))).collect()
}

/// What a crate's manifest names, its sources name: for a dependency of tests any source, else those of the crate
/// proper. An optional dependency is left out; nothing may ever build it.
pub(super) fn used(tree: &Tree) -> Vec<Complaint> {
    tree.packages.iter().flat_map(|package| unused(package, &tree.files)).collect()
}

fn unused(package: &Package, files: &[SourceFile]) -> Vec<Complaint> {
    let within =
        |folder: &str, file: &SourceFile| file.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let all: Vec<_> = files.iter().filter(|file| within(&package.path, file)).collect();
    let proper = format!("{}/src", package.path);
    // What a build script makes is not seen here: the script names what that needs.
    let script = format!("{}/build.rs", package.path);
    let mut complaints = Vec::new();
    for dependency in package.dependencies.iter().filter(|one| !one.optional) {
        let import = dependency.name.replace('-', "_");
        let mut sources = all.iter().filter(|file| dependency.dev || within(&proper, file) || file.path == script);
        if !sources.any(|file| names(&file.text, &import)) {
            let message = format!("takes {}, which its sources never name: remove it", dependency.name);
            complaints.push(Complaint { file: package.manifest(), line: 0, message });
        }
    }
    complaints
}

/// Whether code names a crate: at the start of a path, or alone in a `use`.
fn names(text: &str, import: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| {
        line.match_indices(import).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + import.len()..]);
            let begins = !before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
            let relative = before.ends_with("::") && !before.trim_start().ends_with(" ::");
            let in_use = ["use ", "use {"].iter().any(|start| before.ends_with(start));
            begins && !relative && (after.starts_with("::") || in_use && after.starts_with([';', ' ', ',']))
        })
    })
}
