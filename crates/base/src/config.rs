//! Configuration files: YAML mappings of option names to values, with clear errors for what is unknown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a YAML mapping.
    #[error("configuration file {} is not a YAML mapping of options: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        reason: String,
    },
    /// A key is no option of this command.
    #[error("configuration file {}: unknown option {key:?}{}", path.display(), hint(nearest))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key as written.
        key: String,
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value is a mapping or null, which no option takes.
    #[error("configuration file {}: option {key:?} needs a text, number, boolean or list of them", path.display())]
    UnsupportedValue {
        /// The file.
        path: PathBuf,
        /// The key as written.
        key: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|key| format!("; did you mean {key:?}?")).unwrap_or_default()
}

/// Reads the options of a file: names as on the command line without dashes, each with its values in order.
///
/// `known` are the names that this command takes. A file that does not exist is an error; the caller decides whether a
/// default path may be absent.
pub fn read(path: &Path, known: &[&str]) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text, known)
}

fn parse(path: &Path, text: &str, known: &[&str]) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(BTreeMap::new());
    }
    let entries: BTreeMap<String, Value> = serde_saphyr::from_str(text)
        .map_err(|err| ConfigError::Syntax { path: path.to_owned(), reason: err.to_string() })?;
    let mut options = BTreeMap::new();
    for (key, value) in entries {
        if !known.contains(&key.as_str()) {
            let nearest = nearest(&key, known).map(str::to_owned);
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key, nearest });
        }
        let Some(values) = scalars(&value) else {
            return Err(ConfigError::UnsupportedValue { path: path.to_owned(), key });
        };
        options.insert(key, values);
    }
    Ok(options)
}

fn scalars(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        single => scalar(single).map(|text| vec![text]),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The known name that looks most like `name`, if any looks like it at all.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["data-dir", "node-name", "disable-agent"];

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let err = parse(Path::new("c.yaml"), text, KNOWN).expect_err("the file is wrong");
        assert!(err.to_string().contains(expected), "{err}");
    }

    #[test]
    fn options_keep_their_values() {
        let options = parse(Path::new("c.yaml"), "data-dir: /d\nnode-name: [a, 2]\ndisable-agent: true\n", KNOWN);
        let options = options.expect("the file is right");
        assert_eq!(options["data-dir"], ["/d"]);
        assert_eq!(options["node-name"], ["a", "2"]);
        assert_eq!(options["disable-agent"], ["true"]);
    }

    #[test]
    fn comments_alone_are_an_empty_configuration() {
        assert!(parse(Path::new("c.yaml"), "# nothing\n\n", KNOWN).expect("it is right").is_empty());
    }

    #[test]
    fn wrong_files_say_what_to_do() {
        check_error("data-dri: /d", "did you mean \"data-dir\"?");
        check_error("zzz: 1", "unknown option \"zzz\"");
        check_error("data-dir: {a: b}", "needs a text");
        check_error("data-dir: [", "not a YAML mapping");
    }
}
