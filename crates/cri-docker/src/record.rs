//! What is kept of sandboxes and containers, in the labels of Docker's containers.
//!
//! One label holds all that CRI wants back. Beside it stand the labels that the kubelet gives, and those by which
//! `cri-dockerd` tells sandboxes from containers, so that `docker ps --filter` finds what it found there.

use std::collections::HashMap;

use cri::{ContainerConfig, ContainerFilter, PodSandboxConfig, PodSandboxFilter, PodSandboxMetadata};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Tells sandboxes from containers.
const KIND: &str = "io.kubernetes.docker.type";

/// The sandbox of a container.
const SANDBOX: &str = "io.kubernetes.sandbox.id";

/// Where a container's log is.
const LOG_PATH: &str = "io.kubernetes.container.logpath";

/// What stands before the names of annotations.
const ANNOTATION: &str = "annotation.";

/// The label that holds the record.
const RECORD: &str = "io.skiff.cri.record";

/// What is kept of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub config: PodSandboxConfig,
    pub runtime_handler: String,
    /// In nanoseconds.
    pub created_at: i64,
}

/// What is kept of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub sandbox: String,
    /// Without what can be large or secret and that nobody asks for again.
    pub config: ContainerConfig,
    /// In nanoseconds.
    pub created_at: i64,
    /// Empty for none.
    pub log_path: String,
    pub image_id: String,
    /// What the kubelet shows as the image's identity.
    pub image_ref: String,
    /// A name that people know the image by.
    pub image_name: String,
}

/// The two kinds of containers.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The value of the label that tells it.
    const KIND: &'static str;

    /// The labels and annotations that it was given, and labels of its own.
    fn given(&self) -> Given<'_>;

    /// All of its labels.
    fn labels(&self) -> HashMap<String, String> {
        let Given { labels, annotations, own } = self.given();
        let mut all = labels.clone();
        all.extend(annotations.iter().map(|(key, value)| (format!("{ANNOTATION}{key}"), value.clone())));
        all.extend(own);
        all.insert(KIND.to_owned(), Self::KIND.to_owned());
        let record = serde_json::to_string(self).expect("a record has texts for keys");
        all.insert(RECORD.to_owned(), record);
        all
    }

    /// What the labels of a container tell; nothing where it is somebody else's.
    fn read(labels: Option<&HashMap<String, String>>) -> Option<Self> {
        let labels = labels?;
        let is_ours = labels.get(KIND).is_some_and(|kind| kind == Self::KIND);
        serde_json::from_str(labels.get(RECORD).filter(|_| is_ours)?).ok()
    }
}

/// What a record is found by.
pub(crate) struct Given<'a> {
    labels: &'a HashMap<String, String>,
    annotations: &'a HashMap<String, String>,
    own: Vec<(String, String)>,
}

impl Record for SandboxRecord {
    const KIND: &'static str = "podsandbox";

    fn given(&self) -> Given<'_> {
        Given { labels: &self.config.labels, annotations: &self.config.annotations, own: Vec::new() }
    }
}

impl Record for ContainerRecord {
    const KIND: &'static str = "container";

    fn given(&self) -> Given<'_> {
        let own = [(SANDBOX, &self.sandbox), (LOG_PATH, &self.log_path)];
        Given {
            labels: &self.config.labels,
            annotations: &self.config.annotations,
            own: own.map(|(key, value)| (key.to_owned(), value.clone())).to_vec(),
        }
    }
}

impl SandboxRecord {
    /// Who the sandbox is.
    pub(crate) fn metadata(&self) -> PodSandboxMetadata {
        self.config.metadata.clone().unwrap_or_default()
    }
}

/// Docker's filters, by their names.
pub(crate) type Filters = HashMap<String, Vec<String>>;

/// All containers of a kind.
pub(crate) fn of_kind<R: Record>() -> Filters {
    HashMap::from([("label".to_owned(), vec![format!("{KIND}={}", R::KIND), RECORD.to_owned()])])
}

fn narrow(filters: &mut Filters, id: &str, selector: &HashMap<String, String>) {
    let labels = filters.entry("label".to_owned()).or_default();
    labels.extend(selector.iter().map(|(key, value)| format!("{key}={value}")));
    if !id.is_empty() {
        filters.insert("id".to_owned(), vec![id.to_owned()]);
    }
}

/// The sandboxes that CRI's filter means; states are for the caller to compare.
pub(crate) fn sandboxes(filter: &PodSandboxFilter) -> Filters {
    let mut filters = of_kind::<SandboxRecord>();
    narrow(&mut filters, &filter.id, &filter.label_selector);
    filters
}

/// The containers that CRI's filter means; states are for the caller to compare.
pub(crate) fn containers(filter: &ContainerFilter) -> Filters {
    let mut filters = of_kind::<ContainerRecord>();
    narrow(&mut filters, &filter.id, &filter.label_selector);
    if !filter.pod_sandbox_id.is_empty() {
        filters.entry("label".to_owned()).or_default().push(format!("{SANDBOX}={}", filter.pod_sandbox_id));
    }
    filters
}

/// The containers of a sandbox.
pub(crate) fn containers_of(sandbox: &str) -> Filters {
    containers(&ContainerFilter { pod_sandbox_id: sandbox.to_owned(), ..ContainerFilter::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_from_labels() {
        let labels = HashMap::from([("io.kubernetes.pod.name".to_owned(), "web".to_owned())]);
        let config = ContainerConfig { labels, tty: true, ..ContainerConfig::default() };
        let record = ContainerRecord { sandbox: "abc".to_owned(), config, created_at: 7, ..Default::default() };
        let mut labels = record.labels();
        assert_eq!(labels["io.kubernetes.pod.name"], "web");
        assert_eq!(labels["io.kubernetes.sandbox.id"], "abc");
        // Docker adds those of the image.
        labels.insert("maintainer".to_owned(), "somebody".to_owned());
        assert_eq!(ContainerRecord::read(Some(&labels)), Some(record));
        assert_eq!(SandboxRecord::read(Some(&labels)), None);
        assert_eq!(ContainerRecord::read(None), None);
    }
}
