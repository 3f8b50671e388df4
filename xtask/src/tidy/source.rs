//! The source tree as the rules see it: files with their text and syntax, crates with their dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One Rust file.
pub(super) struct SourceFile {
    /// Its path, relative to the workspace.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
    /// Its syntax tree.
    pub(super) syntax: syn::File,
}

impl SourceFile {
    /// Whether a program wrote the file.
    pub(super) fn is_generated(&self) -> bool {
        self.text.starts_with("// @generated")
    }

    /// Whether the whole file is test code: in a `tests` folder or a file named for tests.
    pub(super) fn is_test(&self) -> bool {
        let path = Path::new(&self.path);
        path.components().any(|part| part.as_os_str() == "tests")
            || path.file_stem().is_some_and(|stem| {
                let stem = stem.to_string_lossy();
                stem == "tests" || stem.ends_with("_tests") || stem.ends_with("_test")
            })
    }
}

/// One crate of the workspace.
pub(super) struct Package {
    /// The folder's name.
    pub(super) folder: String,
    /// The manifest's path, relative to the workspace.
    pub(super) manifest: String,
    /// Folders of the workspace's crates that it depends on, without those only for tests.
    pub(super) dependencies: Vec<String>,
}

/// All that the rules look at.
pub(super) struct Tree {
    /// Rust files that git tracks or would track.
    pub(super) files: Vec<SourceFile>,
    /// Crates below `crates/`.
    pub(super) packages: Vec<Package>,
}

impl Tree {
    /// Reads the workspace at `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        Ok(Self { files: read_files(root)?, packages: read_packages(root)? })
    }
}

fn read_files(root: &Path) -> Result<Vec<SourceFile>> {
    let listing = output(
        Command::new("git").current_dir(root).args(["ls-files", "-co", "--exclude-standard", "--", "*.rs"]),
    )?;
    let mut files = Vec::new();
    for path in listing.lines().filter(|path| root.join(path).is_file()) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))?;
        let syntax = syn::parse_file(&text).with_context(|| format!("parsing {path}"))?;
        files.push(SourceFile { path: path.to_owned(), text, syntax });
    }
    Ok(files)
}

fn read_packages(root: &Path) -> Result<Vec<Package>> {
    let text = output(Command::new("cargo").current_dir(root).args([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--offline",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("parsing the output of cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let crates = root.join("crates");
    let mut found = Vec::new();
    for package in packages {
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap_or_default());
        let Some(folder) = manifest.parent().and_then(|folder| folder.strip_prefix(&crates).ok()) else { continue };
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let dependencies = dependencies
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["path"].as_str())
            .filter_map(|path| Path::new(path).file_name())
            .map(|folder| folder.to_string_lossy().into_owned());
        found.push(Package {
            folder: folder.to_string_lossy().into_owned(),
            manifest: format!("crates/{}/Cargo.toml", folder.display()),
            dependencies: dependencies.collect(),
        });
    }
    Ok(found)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading what {command:?} printed"))
}
