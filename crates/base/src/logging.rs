//! Tracing set-up for a process.
//!
//! Levels: `error` a person must act; `warn` something failed and will be tried again or was refused; `info` what
//! changed, once; `debug` why. Messages are constant, what varies is a field (`namespace`, `name`, `uid`,
//! `resource_version`, `err`).

use tracing_subscriber::{EnvFilter, fmt};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A filter that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("invalid log filter {filter:?}: {source}; use a level (error, warn, info, debug, trace) or TARGET=LEVEL,...")]
pub struct InvalidFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Sends this process's log lines to standard error. Call it once, in `main`.
pub fn init(filter: &str, format: Format) -> Result<(), InvalidFilter> {
    let parsed = EnvFilter::try_new(filter).map_err(|source| InvalidFilter { filter: filter.to_owned(), source })?;
    let builder = fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    // A second call in one process (tests) keeps the first set-up.
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    };
    Ok(())
}
