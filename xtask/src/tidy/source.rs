//! The source tree as the rules see it: files with their text and syntax, crates with their dependencies, the
//! workspace's manifest and the page that explains the dependencies.

use std::path::Path;
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
    /// Reads a file's text.
    pub(super) fn parse(path: &str, text: String) -> Result<Self> {
        let syntax = syn::parse_file(&text).with_context(|| format!("parsing {path}"))?;
        Ok(Self { path: path.to_owned(), text, syntax })
    }

    /// Whether a program wrote the file.
    pub(super) fn is_generated(&self) -> bool {
        self.text.starts_with("// @generated")
    }

    /// Whether the whole file is test code: in a `tests` folder or a file named for tests. A benchmark is none.
    pub(super) fn is_test(&self) -> bool {
        let path = Path::new(&self.path);
        let within = |folder: &str| path.components().any(|part| part.as_os_str() == folder);
        if within("benches") {
            return false;
        }
        within("tests")
            || path.file_stem().is_some_and(|stem| {
                let stem = stem.to_string_lossy();
                stem == "tests" || stem.ends_with("_tests") || stem.ends_with("_test")
            })
    }
}

/// One crate of the workspace.
pub(super) struct Package {
    /// Its folder, relative to the workspace: `crates/api`.
    pub(super) path: String,
    /// What its manifest names.
    pub(super) dependencies: Vec<Dependency>,
}

/// One entry of a crate's manifest.
pub(super) struct Dependency {
    /// Its name there, as in `[workspace.dependencies]`.
    pub(super) name: String,
    /// Whether only tests and benchmarks have it.
    pub(super) dev: bool,
    /// Whether it has to be asked for.
    pub(super) optional: bool,
    /// The folder's name, where it is a crate of the workspace.
    pub(super) folder: Option<String>,
}

impl Package {
    /// The manifest's path, relative to the workspace.
    pub(super) fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.path)
    }

    /// The name of its folder, where that is below `crates/`.
    pub(super) fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")
    }

    /// Folders of the workspace's crates that it depends on, without those only for tests.
    pub(super) fn crates_below(&self) -> impl Iterator<Item = &str> {
        self.dependencies.iter().filter(|dependency| !dependency.dev).filter_map(|one| one.folder.as_deref())
    }
}

/// All that the rules look at.
#[derive(Default)]
pub(super) struct Tree {
    /// Rust files that git tracks or would track.
    pub(super) files: Vec<SourceFile>,
    /// The workspace's crates.
    pub(super) packages: Vec<Package>,
    /// The workspace's manifest.
    pub(super) manifest: String,
    /// What `docs/dependencies.md` says.
    pub(super) dependencies_doc: String,
}

impl Tree {
    /// Reads the workspace at `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
        Ok(Self {
            files: read_files(root)?,
            packages: read_packages(root)?,
            manifest: text("Cargo.toml")?,
            dependencies_doc: text(super::dependencies::DOC)?,
        })
    }
}

fn read_files(root: &Path) -> Result<Vec<SourceFile>> {
    let listing =
        output(Command::new("git").current_dir(root).args(["ls-files", "-co", "--exclude-standard", "--", "*.rs"]))?;
    let paths = listing.lines().filter(|path| root.join(path).is_file());
    paths
        .map(|path| {
            let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))?;
            SourceFile::parse(path, text)
        })
        .collect()
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
    packages.iter().map(|package| read_package(root, package)).collect()
}

fn read_package(root: &Path, package: &Value) -> Result<Package> {
    let manifest = package["manifest_path"].as_str().context("cargo metadata names no manifest")?;
    let folder = Path::new(manifest).parent().context("a manifest has a folder")?;
    let path = folder.strip_prefix(root).with_context(|| format!("{manifest} is outside the workspace"))?;
    let dependencies = package["dependencies"].as_array().into_iter().flatten().map(|dependency| {
        let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap_or_default();
        let folder = dependency["path"].as_str().and_then(|path| Path::new(path).file_name());
        Dependency {
            name: name.to_owned(),
            dev: dependency["kind"] == "dev",
            optional: dependency["optional"] == true,
            folder: folder.map(|folder| folder.to_string_lossy().into_owned()),
        }
    });
    Ok(Package { path: path.to_string_lossy().into_owned(), dependencies: dependencies.collect() })
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading what {command:?} printed"))
}
