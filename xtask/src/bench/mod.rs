//! Measures the areas that have a benchmark: `cargo xtask bench`.
//!
//! A benchmark is a program of the workspace (`harness = false`) that prints each [`Figure`] on a line. The lines are
//! shown as they come, and written together to [`OUTPUT`].

mod figure;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use figure::Figure;

/// Where the figures of a run are written, relative to the workspace.
const OUTPUT: &str = "target/bench.json";

/// One part of the product that is measured. Names of its figures begin with its name and a dot.
struct Area {
    name: &'static str,
    package: &'static str,
    bench: &'static str,
    /// Whether it measures the release binary from outside.
    binary: bool,
}

/// All areas, in the order in which they are measured; one that two programs measure stands here twice.
const AREAS: &[Area] = &[
    Area { name: "store", package: "skiff-store", bench: "writes", binary: false },
    Area { name: "proxy", package: "skiff-proxy", bench: "services", binary: false },
    Area { name: "policies", package: "skiff-cel", bench: "policies", binary: false },
    Area { name: "authorization", package: "skiff-apiserver", bench: "authorization", binary: false },
    Area { name: "fairness", package: "skiff-apiserver", bench: "fairness", binary: false },
    Area { name: "cache", package: "skiff-apiserver", bench: "cache", binary: false },
    Area { name: "node", package: "skiff-runtime", bench: "images", binary: false },
    Area { name: "node", package: "skiff-e2e", bench: "node", binary: true },
    Area { name: "api", package: "skiff-e2e", bench: "api", binary: true },
    Area { name: "cluster", package: "skiff-e2e", bench: "cluster", binary: true },
];

/// Measures one area, or all; an empty name means all.
pub fn run(root: &Path, only: &str) -> Result<()> {
    let areas = select(only)?;
    let mut figures = Vec::new();
    for area in areas {
        figures.extend(measure(root, area).with_context(|| format!("measuring {}", area.name))?);
    }
    let text = serde_json::to_string_pretty(&figures).context("figures are JSON")?;
    let path = root.join(OUTPUT);
    std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

fn select(only: &str) -> Result<Vec<&'static Area>> {
    let areas: Vec<_> = AREAS.iter().filter(|area| only.is_empty() || area.name == only).collect();
    let names: Vec<_> = AREAS.iter().map(|area| area.name).collect();
    ensure!(!areas.is_empty(), "no area is named {only}; there are {}", names.join(", "));
    Ok(areas)
}

fn measure(root: &Path, area: &Area) -> Result<Vec<Figure>> {
    if area.binary {
        let mut build = cargo(root);
        let status = build.args(["build", "--release", "--locked", "-p", "skiff"]).status().context("running cargo")?;
        ensure!(status.success(), "the release binary does not build");
    }
    let mut bench = cargo(root);
    bench.args(["bench", "--locked", "-p", area.package, "--bench", area.bench]).stdout(Stdio::piped());
    let mut child = bench.spawn().context("running cargo")?;
    let output = BufReader::new(child.stdout.take().context("standard output is a pipe")?);
    let mut figures = Vec::new();
    for line in output.lines() {
        let line = line.context("reading what the benchmark prints")?;
        println!("{line}");
        let Some(figure) = Figure::parse(&line).with_context(|| format!("reading the line {line:?}"))? else {
            continue;
        };
        if figure.area() != area.name {
            bail!("the figure {} belongs to another area", figure.name);
        }
        figures.push(figure);
    }
    let status = child.wait().context("waiting for cargo")?;
    ensure!(status.success(), "the benchmark failed: {status}");
    ensure!(!figures.is_empty(), "the benchmark printed no figure");
    Ok(figures)
}

/// The cargo that runs this task, without what it says of this task's package to a program that it runs: build scripts
/// that look at these variables would run again, and most of the workspace be built a second time.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::{AREAS, select};

    #[track_caller]
    fn check(only: &str, expected: Option<&[&str]>) {
        let names = select(only).ok().map(|areas| areas.iter().map(|area| area.name).collect::<Vec<_>>());
        assert_eq!(names.as_deref(), expected);
    }

    #[test]
    fn an_area_is_chosen_by_its_name() {
        check("store", Some(&["store"]));
        check("nothing", None);
        let all: Vec<_> = AREAS.iter().map(|area| area.name).collect();
        check("", Some(&all));
    }
}
