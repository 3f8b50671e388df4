//! Where a configuration comes from: files over defaults, drop-ins over the file, flags over all.
//!
//! The parts are documents until all of them are merged, so that what one of them does not say is not taken for its
//! default. Each is judged by its own, and named where it is wrong.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::defaults::ZERO_IS_SILENCE;
use super::document::{API_VERSION, KIND, KubeletConfiguration};
use super::duration::GoDuration;
use super::validation;

/// The ending of drop-ins' names.
const DROP_IN: &str = "conf";
/// Fields that name files: what is no absolute path starts where the configuration lies.
const PATHS: [&str; 7] = [
    "/authentication/x509/clientCAFile",
    "/podLogsDir",
    "/resolvConf",
    "/staticPodPath",
    "/tlsCertFile",
    "/tlsPrivateKeyFile",
    "/volumePluginDir",
];
/// Fields to which a flag adds. Others it replaces, maps too.
const ADDED_TO_BY_FLAGS: [&str; 3] = ["authentication", "authorization", "featureGates"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What flags say is not what it should be.
    #[error("invalid kubelet flags: {0}")]
    Flags(String),
    /// What came of all of them cannot be.
    #[error("invalid kubelet configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// What a configuration is made of, the weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// What is used where nothing is said, and is not upstream's default.
    pub defaults: Map<String, Value>,
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--config-dir`: the drop-ins `*.conf`, in the order of their names.
    pub dir: Option<PathBuf>,
    /// What flags say.
    pub flags: Map<String, Value>,
}

impl Sources {
    /// Reads, merges and judges them.
    pub fn load(&self) -> Result<KubeletConfiguration, ConfigurationError> {
        let mut merged = Map::new();
        for path in self.files()? {
            add(&mut merged, read(&path)?);
        }
        decode(&Value::Object(self.flags.clone())).map_err(ConfigurationError::Flags)?;
        for key in self.flags.keys().filter(|key| !ADDED_TO_BY_FLAGS.contains(&key.as_str())) {
            merged.remove(key);
        }
        add(&mut merged, self.flags.clone());
        // Whatever is said of a field stands in place of all of its default.
        for (field, value) in &self.defaults {
            merged.entry(field).or_insert_with(|| value.clone());
        }
        complete(&mut merged);
        let configuration =
            decode(&Value::Object(merged)).map_err(|reason| ConfigurationError::Invalid(vec![reason]))?;
        validation::check(&configuration).map_err(ConfigurationError::Invalid)?;
        Ok(configuration)
    }

    fn files(&self) -> Result<Vec<PathBuf>, ConfigurationError> {
        let mut files: Vec<PathBuf> = self.file.iter().cloned().collect();
        if let Some(dir) = &self.dir {
            drop_ins(dir, &mut files)?;
        }
        Ok(files)
    }
}

/// The drop-ins of a directory and those below it.
fn drop_ins(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), ConfigurationError> {
    let fail = |source| ConfigurationError::Read { path: dir.to_owned(), source };
    let mut entries: Vec<_> = std::fs::read_dir(dir).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(fail)?.is_dir() {
            drop_ins(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == DROP_IN) {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a text is a `KubeletConfiguration`, right or wrong.
pub fn is_configuration(text: &str) -> bool {
    let document = serde_saphyr::from_str::<Value>(text);
    document.is_ok_and(|document| document.get("kind").and_then(Value::as_str) == Some(KIND))
}

fn read(path: &Path) -> Result<Map<String, Value>, ConfigurationError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigurationError::Read { path: path.to_owned(), source })?;
    let mut document =
        parse(&text).map_err(|reason| ConfigurationError::Malformed { path: path.to_owned(), reason })?;
    let dir = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    resolve(&mut document, dir.parent().unwrap_or(Path::new("/")));
    match document {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// The fields that a file sets.
fn parse(text: &str) -> Result<Value, String> {
    let mut document: Value = serde_saphyr::from_str(text).map_err(|err| err.to_string())?;
    let fields = document.as_object_mut().ok_or("a mapping of fields is expected")?;
    let (kind, version) = (fields.remove("kind"), fields.remove("apiVersion"));
    let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, version) = (text(&kind), text(&version));
    if (kind.as_str(), version.as_str()) != (KIND, API_VERSION) {
        return Err(format!("kind {KIND} of {API_VERSION} is expected, not {kind:?} of {version:?}"));
    }
    fields.retain(|name, value| !is_silence(name, value));
    decode(&document)?;
    Ok(document)
}

/// Whether a value says as much as none.
fn is_silence(name: &str, value: &Value) -> bool {
    let is_zero = || match value {
        Value::String(text) => text.is_empty() || text.parse() == Ok(GoDuration::ZERO),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    value.is_null() || ZERO_IS_SILENCE.contains(&name) && is_zero()
}

fn resolve(document: &mut Value, dir: &Path) {
    for pointer in PATHS {
        if let Some(Value::String(path)) = document.pointer_mut(pointer)
            && !path.is_empty()
            && !Path::new(path).is_absolute()
        {
            *path = dir.join(&*path).to_string_lossy().into_owned();
        }
    }
}

/// Merges documents: mappings key by key, all else as a whole.
fn add(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => add(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// Sets the fields whose default is another field's value.
fn complete(document: &mut Map<String, Value>) {
    if let Some(frequency) = document.get("nodeStatusUpdateFrequency").cloned() {
        document.entry("nodeStatusReportFrequency").or_insert(frequency);
    }
    if document.get("maxParallelImagePulls").and_then(Value::as_i64).is_some_and(|pulls| pulls > 1) {
        document.entry("serializeImagePulls").or_insert(Value::Bool(false));
    }
}

fn decode(document: &Value) -> Result<KubeletConfiguration, String> {
    serde_path_to_error::deserialize(document).map_err(|err| {
        let (path, message) = (err.path().to_string(), err.inner().to_string());
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
        match unknown {
            Some((field, known)) => unknown_field(&path, field, known),
            None => format!("{path}: {message}"),
        }
    })
}

/// `known` is what is left of serde's message, which names all fields there are.
fn unknown_field(path: &str, field: &str, known: &str) -> String {
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let hint = base::config::nearest(field, &known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    let path = path.strip_suffix(field).unwrap_or(path).trim_end_matches('.');
    let field = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    format!("unknown field {field:?}{hint}")
}

#[cfg(test)]
mod tests;
