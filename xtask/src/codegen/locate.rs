//! Finds the sources of the crates that the tables are made of.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The directories to read.
pub struct Sources {
    /// The modules of `k8s-openapi` for the version of the API.
    pub openapi: PathBuf,
    /// The modules of `k8s-pb`.
    pub proto: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// The version of the API, as `k8s-openapi` names its module.
const API_VERSION: &str = "v1_35";

/// Asks cargo where the two crates are.
pub fn sources(root: &Path) -> Result<Sources> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("reading the answer of cargo metadata")?;
    let directory = |name: &str| {
        let package = metadata.packages.iter().find(|package| package.name == name);
        let manifest = package.with_context(|| format!("{name} is not among the dependencies"))?;
        manifest.manifest_path.parent().map(Path::to_owned).context("a manifest without a directory")
    };
    Ok(Sources {
        openapi: directory("k8s-openapi")?.join("src").join(API_VERSION),
        proto: directory("k8s-pb")?.join("src"),
    })
}
