//! The line on which a benchmark prints what it measured: `bench: NAME VALUE UNIT`, and where something else was
//! measured the same way, `RATIO vs PEER` after it. A ratio says how many times better than the peer the value is.

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// How a line with a figure begins.
const MARK: &str = "bench: ";

/// One measured value.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    /// Area and name: `store.reopen`.
    pub(super) name: String,
    /// The value.
    value: f64,
    /// What it counts.
    unit: String,
    /// How many times better it is than the peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// What it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
}

impl Figure {
    /// Reads a line; nothing where it is no figure's.
    pub(super) fn parse(line: &str) -> Result<Option<Self>> {
        let Some(text) = line.strip_prefix(MARK) else { return Ok(None) };
        let (figure, comparison) = match text.split_once(" vs ") {
            Some((front, peer)) => {
                let (figure, ratio) = front.rsplit_once(' ').context("no ratio before `vs`")?;
                (figure, Some((number(ratio)?, peer.trim().to_owned())))
            }
            None => (text, None),
        };
        let words: Vec<_> = figure.split_whitespace().collect();
        let [name, value, unit] = words[..] else { bail!("not a name, a value and a unit") };
        let (ratio, peer) = comparison.unzip();
        Ok(Some(Self { name: name.to_owned(), value: number(value)?, unit: unit.to_owned(), ratio, peer }))
    }

    /// The first part of the name.
    pub(super) fn area(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }
}

fn number(text: &str) -> Result<f64> {
    text.parse().with_context(|| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let figure = Figure::parse(line).expect("a well-formed line");
        assert_eq!(figure.map(|figure| serde_json::to_string(&figure).expect("JSON")).as_deref(), expected);
    }

    #[test]
    fn figures_are_read() {
        let plain = r#"{"name":"store.reopen","value":1.5,"unit":"ms"}"#;
        check("bench: store.reopen 1.5 ms", Some(plain));
        let compared = r#"{"name":"store.put.w1","value":3000.0,"unit":"ops/s","ratio":2.5,"peer":"etcd 3.4"}"#;
        check("bench: store.put.w1 3000 ops/s 2.5 vs etcd 3.4", Some(compared));
        check("running 0 tests", None);
    }

    #[test]
    fn broken_figures_are_refused() {
        for line in ["bench: store.reopen", "bench: store.reopen x ms", "bench: store.reopen 1 ms fast vs etcd"] {
            Figure::parse(line).expect_err("a broken line");
        }
    }
}
