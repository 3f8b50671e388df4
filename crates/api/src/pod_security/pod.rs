//! What controls look at in a pod, and the words in which they name containers.

use serde_json::{Map, Value};

/// A pod, or the template of one.
pub(super) struct Pod<'a> {
    annotations: Option<&'a Map<String, Value>>,
    spec: &'a Value,
}

/// One container of a pod.
#[derive(Clone, Copy)]
pub(super) struct Container<'a>(&'a Value);

/// Finds what is set: `null` is nothing.
fn find<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    value.pointer(pointer).filter(|found| !found.is_null())
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

impl<'a> Pod<'a> {
    pub(super) fn new(pod: &'a Value) -> Self {
        Self { annotations: crate::meta::annotations(pod), spec: pod.get("spec").unwrap_or(&Value::Null) }
    }

    pub(super) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.annotations.into_iter().flatten();
        all.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations?.get(key)?.as_str()
    }

    /// A field of the spec.
    pub(super) fn get(&self, pointer: &str) -> Option<&'a Value> {
        find(self.spec, pointer)
    }

    /// A field of the security context of the pod.
    pub(super) fn context(&self, pointer: &str) -> Option<&'a Value> {
        self.get(&format!("/securityContext{pointer}"))
    }

    /// The entries of a list of the spec.
    pub(super) fn list(&self, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        items(self.get(pointer))
    }

    /// All containers: those that begin, those that stay, those that were added to debug.
    pub(super) fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let spec = self.spec;
        ["/initContainers", "/containers", "/ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| items(spec.pointer(list)))
            .map(Container)
    }

    /// The names of the containers for which something holds.
    pub(super) fn names(&self, holds: impl FnMut(&Container<'a>) -> bool) -> Vec<&'a str> {
        self.containers().filter(holds).map(|container| container.name()).collect()
    }

    pub(super) fn is_windows(&self) -> bool {
        self.get("/os/name").is_some_and(|name| name == "windows")
    }

    /// Whether root in the pod is nobody on its node.
    pub(super) fn has_user_namespace(&self) -> bool {
        self.get("/hostUsers") == Some(&Value::Bool(false))
    }
}

impl<'a> Container<'a> {
    pub(super) fn name(self) -> &'a str {
        self.get("/name").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn get(self, pointer: &str) -> Option<&'a Value> {
        find(self.0, pointer)
    }

    /// A field of the container's security context.
    pub(super) fn context(self, pointer: &str) -> Option<&'a Value> {
        self.get(&format!("/securityContext{pointer}"))
    }

    /// The entries of a list.
    pub(super) fn list(self, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        items(self.get(pointer))
    }
}

/// The word for one or for several.
pub(super) fn plural<'a>(count: usize, one: &'a str, several: &'a str) -> &'a str {
    if count == 1 { one } else { several }
}

/// `"a", "b"`. Upstream does not escape what is in the quotes.
pub(super) fn quoted<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let each = texts.into_iter().map(|text| format!("\"{}\"", text.as_ref()));
    each.collect::<Vec<_>>().join(", ")
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// Who sets something: the pod, containers, or both; `None` if nobody.
pub(super) fn setters(is_pod: bool, names: &[&str]) -> Option<String> {
    match (is_pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".to_owned()),
        (false, names) => Some(containers(names)),
        (true, names) => Some(format!("pod and {}", containers(names))),
    }
}
