//! The network of a machine: the first file of a directory that describes one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{INVOKED_VERSIONS, SINCE_CHECK};

/// The version of configurations that name none.
const UNNAMED_VERSION: &str = "0.1.0";

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No file describes one.
    #[error("no network is configured in {}", .0.display())]
    None(PathBuf),
    /// The directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file describes none that can be used.
    #[error("network configuration {}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A network and the plugins that make it, as its file has them: plugins are given what is unknown here, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    document: Map<String, Value>,
    name: String,
    version: usize,
    plugins: Vec<Plugin>,
}

/// One plugin of a network, with its part of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plugin(Map<String, Value>);

impl Plugin {
    /// The name of its program.
    pub(super) fn program(&self) -> &str {
        // Checked when it was read.
        self.0.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn config(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether it wants to be told what `capability` names.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.0.get("capabilities").and_then(|all| all.get(capability)).and_then(Value::as_bool).unwrap_or(false)
    }
}

impl Network {
    /// The first network of a directory, by the names of its files. Files that describe none are passed over, but if no
    /// file does, the first of them is what is wrong.
    pub fn first_in(directory: &Path) -> Result<Self, NetworkError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| NetworkError::Read { path, source }
        };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(NetworkError::None(directory.to_owned())),
            Err(err) => return Err(read(directory)(err)),
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| is_configuration(path));
        files.sort();
        let mut wrong = None;
        for path in files {
            let text = fs::read(&path).map_err(read(&path))?;
            match Self::parse(&text) {
                Ok(network) => return Ok(network),
                Err(reason) => drop(wrong.get_or_insert(NetworkError::Invalid { path, reason })),
            }
        }
        Err(wrong.unwrap_or_else(|| NetworkError::None(directory.to_owned())))
    }

    /// Reads a list of plugins, or the configuration of a single one.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Map<String, Value> = serde_json::from_slice(text).map_err(|err| err.to_string())?;
        let name = document.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !is_name(&name) {
            return Err(format!("{name:?} is no name of a network"));
        }
        let version = document.get("cniVersion").and_then(Value::as_str).unwrap_or(UNNAMED_VERSION);
        let version = INVOKED_VERSIONS
            .iter()
            .position(|known| *known == version)
            .ok_or_else(|| format!("version {version:?} is not spoken; these are: {}", INVOKED_VERSIONS.join(", ")))?;
        let plugins = match document.get("plugins") {
            Some(Value::Array(plugins)) if !plugins.is_empty() => plugins.clone(),
            Some(_) => return Err("plugins is no list with a plugin".to_owned()),
            None => vec![Value::Object(document.clone())],
        };
        let plugins = plugins.into_iter().map(|plugin| match plugin {
            Value::Object(plugin) if plugin.get("type").and_then(Value::as_str).is_some_and(is_program) => {
                Ok(Plugin(plugin))
            }
            other => Err(format!("{other} has no type that names a program")),
        });
        Ok(Self { plugins: plugins.collect::<Result<_, _>>()?, document, name, version })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version in which its plugins are asked.
    pub fn version(&self) -> &'static str {
        INVOKED_VERSIONS[self.version]
    }

    pub(super) fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    pub(super) fn document(&self) -> &Map<String, Value> {
        &self.document
    }

    /// Whether plugins are told at the end what they answered at the start.
    pub(super) fn tells_previous(&self) -> bool {
        self.version >= SINCE_CHECK
    }

    /// Whether plugins can be asked if a sandbox is connected.
    pub(super) fn can_check(&self) -> bool {
        // Written as a text by some.
        let disabled = self.document.get("disableCheck");
        self.tells_previous() && !disabled.is_some_and(|flag| *flag == json!(true) || *flag == json!("true"))
    }
}

fn is_configuration(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    end.is_some_and(|end| matches!(end, "conf" | "conflist" | "json")) && path.is_file()
}

/// What the specification lets be a name; it becomes part of a file's.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(inner)
}

/// A program of the plugins' directories, and of no other.
fn is_program(text: &str) -> bool {
    !text.is_empty() && !text.contains('/') && !matches!(text, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str, &[&str]), &str>) {
        let network = Network::parse(text.as_bytes());
        let network = network.as_ref().map_err(String::as_str).map(|network| {
            let programs: Vec<&str> = network.plugins().iter().map(Plugin::program).collect();
            (network.name(), network.version(), programs)
        });
        assert_eq!(network, expected.map(|(name, version, programs)| (name, version, programs.to_vec())));
    }

    #[test]
    fn lists_and_single_plugins_are_read() {
        check(
            r#"{"name": "pods", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}, {"type": "portmap"}]}"#,
            Ok(("pods", "1.0.0", &["bridge", "portmap"])),
        );
        check(r#"{"name": "one", "cniVersion": "0.3.1", "type": "ptp"}"#, Ok(("one", "0.3.1", &["ptp"])));
    }

    #[test]
    fn what_describes_no_network_is_told() {
        let list = |rest: &str| format!(r#"{{"cniVersion": "1.0.0", {rest}}}"#);
        check(&list(r#""type": "ptp""#), Err(r#""" is no name of a network"#));
        check(&list(r#""name": "../x", "type": "ptp""#), Err(r#""../x" is no name of a network"#));
        check(&list(r#""name": "x", "plugins": []"#), Err("plugins is no list with a plugin"));
        let outside = r#"{"type":"../sh"} has no type that names a program"#;
        check(&list(r#""name": "x", "plugins": [{"type":"../sh"}]"#), Err(outside));
        let old = r#"version "0.2.0" is not spoken; these are: 0.3.1, 0.4.0, 1.0.0"#;
        check(r#"{"name": "x", "cniVersion": "0.2.0", "type": "ptp"}"#, Err(old));
    }

    #[test]
    fn the_first_file_that_describes_a_network_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = || Network::first_in(dir.path()).map(|network| network.name().to_owned());
        assert!(matches!(first(), Err(NetworkError::None(_))));
        let put = |file: &str, text: &str| fs::write(dir.path().join(file), text).expect("written");
        put("00-readme.txt", r#"{"name": "text", "cniVersion": "1.0.0", "type": "ptp"}"#);
        put("05-broken.conf", "{");
        assert!(matches!(first(), Err(NetworkError::Invalid { .. })));
        put("20-second.conflist", r#"{"name": "second", "cniVersion": "1.0.0", "type": "ptp"}"#);
        put("10-first.conf", r#"{"name": "first", "cniVersion": "1.0.0", "type": "ptp"}"#);
        assert_eq!(first().expect("a network"), "first");
    }
}
