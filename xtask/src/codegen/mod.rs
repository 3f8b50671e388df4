//! Writes the tables of kinds and types: `cargo xtask codegen`.
//!
//! Reads the sources of `k8s-openapi` (names, types, kinds) and `k8s-pb` (protobuf tags, upstream's markers) from
//! where cargo has put them, adds the [`overrides`] and [`presence`], and writes `crates/api/src/generated`.

mod combine;
mod locate;
mod openapi;
mod overrides;
mod presence;
mod proto;
mod render;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Where the tables go, relative to the workspace.
const OUTPUT: &str = "crates/api/src/generated";

/// Writes the tables, or with `check` fails if they are not what would be written.
pub fn run(root: &Path, check: bool) -> Result<()> {
    let sources = locate::sources(root)?;
    let definitions = openapi::read(&sources.openapi)?;
    let messages = proto::read(&sources.proto)?;
    let (types, report) = combine::types(&definitions, &messages);
    let files = render::files(&definitions, &types)?;

    let output = root.join(OUTPUT);
    if check {
        for (name, text) in &files {
            let path = output.join(name);
            let found = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            if &found != text {
                bail!("{} is out of date: run `cargo xtask codegen`", path.display());
            }
        }
    } else {
        fs::create_dir_all(&output).with_context(|| format!("creating {}", output.display()))?;
        for (name, text) in &files {
            let path = output.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    println!("codegen: {} types, {} fields, {} without a protobuf tag", types.len(), report.fields, report.untagged);
    Ok(())
}
