//! What the kubelet is told, in whatever role it runs. Names are those of upstream's kubelet.
//!
//! Most of it is also in the file `KubeletConfiguration`: what is given here becomes such a document, which stands over
//! the file. The kubelet judges all of it in one place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{ArgAction, Args};
use kubelet::{ConfigurationSources, GoDuration, KubeletConfiguration};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// The kubelet's files and fields.
#[derive(Args, Clone, Debug)]
pub struct KubeletSettings {
    /// KubeletConfiguration of kubelet.config.k8s.io/v1beta1, over which options stand; also taken by --config
    #[arg(long, env = "SKIFF_KUBELET_CONFIG", value_name = "FILE")]
    pub kubelet_config: Option<PathBuf>,
    /// Directory of drop-ins *.conf, each a KubeletConfiguration, which stand over the file in the order of their names
    #[arg(long, env = "SKIFF_KUBELET_CONFIG_DIR", alias = "config-dir", value_name = "DIR")]
    pub kubelet_config_dir: Option<PathBuf>,
    /// Directory of pods' volumes and all else that the kubelet keeps [default: <data-dir>/kubelet]
    #[arg(long, env = "SKIFF_ROOT_DIR", value_name = "DIR")]
    pub root_dir: Option<PathBuf>,
    /// Label of the node when it registers (may be repeated)
    #[arg(long, env = "SKIFF_NODE_LABELS", value_delimiter = ',', value_parser = label, value_name = "KEY=VALUE")]
    pub node_labels: Vec<(String, String)>,
    /// CredentialProviderConfig that names programs which know credentials for registries
    #[arg(
        long,
        env = "SKIFF_IMAGE_CREDENTIAL_PROVIDER_CONFIG",
        requires = "image_credential_provider_bin_dir",
        value_name = "FILE"
    )]
    pub image_credential_provider_config: Option<PathBuf>,
    /// Directory of those programs
    #[arg(
        long,
        env = "SKIFF_IMAGE_CREDENTIAL_PROVIDER_BIN_DIR",
        requires = "image_credential_provider_config",
        value_name = "DIR"
    )]
    pub image_credential_provider_bin_dir: Option<PathBuf>,
    #[command(flatten)]
    pub flags: KubeletFlags,
}

/// Fields of the configuration that are options too. What is not given says nothing.
#[derive(Args, Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeletFlags {
    /// Directory with the manifests of static pods, or one such file [default: <data-dir>/pod-manifests]
    #[arg(long, env = "SKIFF_POD_MANIFEST_PATH", value_name = "PATH")]
    #[serde(rename = "staticPodPath")]
    pub pod_manifest_path: Option<PathBuf>,
    /// Size above which a container's log is rotated [default: 10Mi]
    #[arg(long, env = "SKIFF_CONTAINER_LOG_MAX_SIZE", value_name = "QUANTITY")]
    pub container_log_max_size: Option<String>,
    /// How many files of a container's log are kept, at least 2 [default: 5]
    #[arg(long, env = "SKIFF_CONTAINER_LOG_MAX_FILES", value_name = "COUNT")]
    pub container_log_max_files: Option<i32>,
    /// How many pods the node takes [default: 110]
    #[arg(long, env = "SKIFF_MAX_PODS", value_name = "COUNT")]
    pub max_pods: Option<i32>,
    /// Make the Node if it is not there [default: true]
    #[arg(long, env = "SKIFF_REGISTER_NODE", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub register_node: Option<bool>,
    /// Taint of the node when it registers (may be repeated)
    #[arg(long, env = "SKIFF_REGISTER_WITH_TAINTS", value_delimiter = ',', value_parser = taint, value_name = "KEY=VALUE:EFFECT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub register_with_taints: Vec<Value>,
    /// What a cloud calls the node
    #[arg(long, env = "SKIFF_PROVIDER_ID", value_name = "ID")]
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
    /// What the system keeps for itself, such as cpu=100m,memory=1Gi
    #[arg(long, env = "SKIFF_SYSTEM_RESERVED", value_delimiter = ',', value_parser = pair, value_name = "RESOURCE=QUANTITY")]
    #[serde(serialize_with = "mapping", skip_serializing_if = "Vec::is_empty")]
    pub system_reserved: Vec<(String, String)>,
    /// What the cluster's parts keep for themselves, such as cpu=100m,memory=1Gi
    #[arg(long, env = "SKIFF_KUBE_RESERVED", value_delimiter = ',', value_parser = pair, value_name = "RESOURCE=QUANTITY")]
    #[serde(serialize_with = "mapping", skip_serializing_if = "Vec::is_empty")]
    pub kube_reserved: Vec<(String, String)>,
    /// Cgroup on which --system-reserved is enforced
    #[arg(long, env = "SKIFF_SYSTEM_RESERVED_CGROUP", value_name = "PATH")]
    pub system_reserved_cgroup: Option<String>,
    /// Cgroup on which --kube-reserved is enforced
    #[arg(long, env = "SKIFF_KUBE_RESERVED_CGROUP", value_name = "PATH")]
    pub kube_reserved_cgroup: Option<String>,
    /// On whom the node's parts are enforced: pods, system-reserved, kube-reserved, or none [default: pods]
    #[arg(long, env = "SKIFF_ENFORCE_NODE_ALLOCATABLE", value_delimiter = ',', value_name = "WHO")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enforce_node_allocatable: Vec<String>,
    /// Below what pods are evicted at once, such as memory.available<1Gi,nodefs.available<10%
    #[arg(long, env = "SKIFF_EVICTION_HARD", value_delimiter = ',', value_parser = below, value_name = "SIGNAL<AMOUNT")]
    #[serde(serialize_with = "mapping", skip_serializing_if = "Vec::is_empty")]
    pub eviction_hard: Vec<(String, String)>,
    /// Below what pods are evicted after a while
    #[arg(long, env = "SKIFF_EVICTION_SOFT", value_delimiter = ',', value_parser = below, value_name = "SIGNAL<AMOUNT")]
    #[serde(serialize_with = "mapping", skip_serializing_if = "Vec::is_empty")]
    pub eviction_soft: Vec<(String, String)>,
    /// After what time, such as memory.available=1m30s
    #[arg(long, env = "SKIFF_EVICTION_SOFT_GRACE_PERIOD", value_delimiter = ',', value_parser = pair, value_name = "SIGNAL=DURATION")]
    #[serde(serialize_with = "mapping", skip_serializing_if = "Vec::is_empty")]
    pub eviction_soft_grace_period: Vec<(String, String)>,
    /// How much there has to be beyond a threshold until it is over, such as nodefs.available=500Mi
    #[arg(long, env = "SKIFF_EVICTION_MINIMUM_RECLAIM", value_delimiter = ',', value_parser = pair, value_name = "SIGNAL=AMOUNT")]
    #[serde(serialize_with = "mapping", skip_serializing_if = "Vec::is_empty")]
    pub eviction_minimum_reclaim: Vec<(String, String)>,
    /// How long the node says that it is short after its cause has gone [default: 5m]
    #[arg(long, env = "SKIFF_EVICTION_PRESSURE_TRANSITION_PERIOD", value_name = "DURATION")]
    pub eviction_pressure_transition_period: Option<GoDuration>,
    /// How many seconds a pod may take to stop that is evicted softly [default: 0]
    #[arg(long, env = "SKIFF_EVICTION_MAX_POD_GRACE_PERIOD", value_name = "SECONDS")]
    pub eviction_max_pod_grace_period: Option<i32>,
    /// Have the kernel say when memory is short, where it can [default: false]
    #[arg(long, env = "SKIFF_KERNEL_MEMCG_NOTIFICATION", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub kernel_memcg_notification: Option<bool>,
    /// Refuse to run on a machine that swaps [default: false]
    #[arg(long, env = "SKIFF_FAIL_SWAP_ON", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub fail_swap_on: Option<bool>,
    /// How many processes a pod may have [default: as many as the node]
    #[arg(long, env = "SKIFF_POD_MAX_PIDS", value_name = "COUNT")]
    #[serde(rename = "podPidsLimit")]
    pub pod_max_pids: Option<i64>,
    /// How often the node's status is written though nothing has changed [default: 5m]
    #[arg(long, env = "SKIFF_NODE_STATUS_REPORT_FREQUENCY", value_name = "DURATION")]
    pub node_status_report_frequency: Option<GoDuration>,
    /// Percentage of disk use above which unused images are removed; 100 never removes any [default: 85]
    #[arg(long, env = "SKIFF_IMAGE_GC_HIGH_THRESHOLD", value_name = "PERCENT")]
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold: Option<i32>,
    /// Percentage of disk use down to which unused images are removed [default: 80]
    #[arg(long, env = "SKIFF_IMAGE_GC_LOW_THRESHOLD", value_name = "PERCENT")]
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold: Option<i32>,
    /// Age below which an unused image is kept [default: 2m]
    #[arg(long, env = "SKIFF_MINIMUM_IMAGE_TTL_DURATION", value_name = "DURATION")]
    #[serde(rename = "imageMinimumGCAge")]
    pub minimum_image_ttl_duration: Option<GoDuration>,
    /// Time without use after which an image is removed however much room there is [default: never]
    #[arg(long, env = "SKIFF_IMAGE_MAXIMUM_GC_AGE", value_name = "DURATION")]
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: Option<GoDuration>,
    /// Pull one image at a time [default: true]
    #[arg(long, env = "SKIFF_SERIALIZE_IMAGE_PULLS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub serialize_image_pulls: Option<bool>,
    /// How many images are pulled at a time where not one by one [default: no limit]
    #[arg(long, env = "SKIFF_MAX_PARALLEL_IMAGE_PULLS", value_name = "COUNT")]
    pub max_parallel_image_pulls: Option<i32>,
    /// How many pulls begin in a second; 0 for no limit [default: 5]
    #[arg(long, env = "SKIFF_REGISTRY_QPS", value_name = "COUNT")]
    #[serde(rename = "registryPullQPS")]
    pub registry_qps: Option<i32>,
    /// How many pulls may begin at once after a quiet time [default: 10]
    #[arg(long, env = "SKIFF_REGISTRY_BURST", value_name = "COUNT")]
    pub registry_burst: Option<i32>,
    /// For which images that are on the node a pod needs credentials of its own: NeverVerify,
    /// NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages or AlwaysVerify [default: NeverVerifyPreloadedImages]
    #[arg(long, env = "SKIFF_IMAGE_PULL_CREDENTIALS_VERIFICATION_POLICY", value_name = "POLICY")]
    pub image_pull_credentials_verification_policy: Option<String>,
    /// Images that need none under NeverVerifyAllowlistedImages: names without tags, or beginnings with /* (may be repeated)
    #[arg(long, env = "SKIFF_PRELOADED_IMAGES_VERIFICATION_ALLOWLIST", value_delimiter = ',', value_name = "IMAGE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preloaded_images_verification_allowlist: Vec<String>,
    /// Give containers that name no seccomp profile the runtime's (RuntimeDefault) [default: false]
    #[arg(long, env = "SKIFF_SECCOMP_DEFAULT", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub seccomp_default: Option<bool>,
}

/// What a role says of the kubelet beside the options that all roles have.
#[derive(Clone, Debug, Default)]
pub struct RoleFields {
    /// What counts where nobody says anything.
    pub defaults: Map<String, Value>,
    /// What the role's own options say.
    pub flags: Map<String, Value>,
}

impl RoleFields {
    /// Adds what an option says, or else a default if there is one.
    pub fn add<T: Serialize>(&mut self, field: &str, given: Option<T>, default: Option<T>) -> Result<()> {
        for (value, fields) in [(given, &mut self.flags), (default, &mut self.defaults)] {
            if let Some(value) = value {
                fields.insert(field.to_owned(), serde_json::to_value(value).context("an option has a JSON form")?);
            }
        }
        Ok(())
    }
}

impl KubeletSettings {
    /// Reads the files and puts everything together.
    pub fn load(&self, role: RoleFields) -> Result<KubeletConfiguration> {
        let given = serde_json::to_value(&self.flags).context("options have a JSON form")?;
        let given = given.as_object().cloned().unwrap_or_default();
        let mut flags = role.flags;
        flags.extend(given.into_iter().filter(|(_, value)| !value.is_null()));
        let (file, dir) = (self.kubelet_config.clone(), self.kubelet_config_dir.clone());
        Ok(ConfigurationSources { defaults: role.defaults, file, dir, flags }.load()?)
    }

    /// Puts what is not in the configuration, and then that, into the kubelet's own.
    pub fn set(&self, configuration: KubeletConfiguration, config: &mut kubelet::Config) {
        if let Some(dir) = &self.root_dir {
            config.set_root_dir(dir.clone());
        }
        config.node_labels.clone_from(&self.node_labels);
        let programs = (&self.image_credential_provider_config, &self.image_credential_provider_bin_dir);
        config.images.credential_providers =
            if let (Some(config), Some(dir)) = programs { Some((config.clone(), dir.clone())) } else { None };
        config.configure(configuration);
    }
}

fn below(text: &str) -> Result<(String, String), String> {
    let (signal, amount) = text.split_once('<').ok_or("use SIGNAL<AMOUNT")?;
    Ok((signal.trim().to_owned(), amount.trim().to_owned()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("use NAME=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let mut wrong = api::validation::names::qualified_name(key);
    wrong.extend(api::validation::names::label_value(value));
    if wrong.is_empty() { Ok((key.to_owned(), value.to_owned())) } else { Err(wrong.join("; ")) }
}

/// Reads `key=value:effect` or `key:effect`, as upstream's kubelet does.
fn taint(text: &str) -> Result<Value, String> {
    let (what, effect) = text.rsplit_once(':').ok_or("use KEY=VALUE:EFFECT or KEY:EFFECT")?;
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    Ok(serde_json::json!({"key": key, "value": value, "effect": effect}))
}

fn mapping<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    pairs.iter().map(|(key, value)| (key, value)).collect::<BTreeMap<_, _>>().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: KubeletSettings,
    }

    #[track_caller]
    fn check(options: &[&str], expected: Value) {
        let line = Line::try_parse_from([&["kubelet"], options].concat()).expect("options");
        let mut role = RoleFields::default();
        role.add("port", None, Some(7)).expect("a number");
        role.add("address", Some("127.0.0.1"), Some("127.0.0.2")).expect("a text");
        let configuration = line.settings.load(role).expect("a configuration");
        let document = serde_json::to_value(configuration).expect("a document");
        for (field, value) in expected.as_object().expect("expectations") {
            assert_eq!(document.get(field), Some(value), "{field}");
        }
    }

    #[test]
    fn options_are_fields_of_the_configuration() {
        check(&[], json!({"port": 7, "address": "127.0.0.1", "maxPods": 110, "imageGCHighThresholdPercent": 85}));
        let options = [
            "--max-pods=5",
            "--image-gc-high-threshold=100",
            "--serialize-image-pulls=false",
            "--max-parallel-image-pulls=3",
            "--minimum-image-ttl-duration=90s",
            "--seccomp-default",
            "--register-with-taints=a=b:NoSchedule,c:NoExecute",
            "--system-reserved=cpu=100m,memory=1Gi",
        ];
        let fields = json!({
            "maxPods": 5, "imageGCHighThresholdPercent": 100, "maxParallelImagePulls": 3, "imageMinimumGCAge": "1m30s",
            "seccompDefault": true, "serializeImagePulls": false,
            "registerWithTaints": [
                {"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "c", "effect": "NoExecute"},
            ],
            "systemReserved": {"cpu": "100m", "memory": "1Gi"},
        });
        check(&options, fields);
    }

    #[test]
    fn wrong_options_are_refused() {
        for option in ["--node-labels=-a=b", "--register-with-taints=a", "--system-reserved=cpu", "--max-pods=many"] {
            assert!(Line::try_parse_from(["kubelet", option]).is_err(), "{option}");
        }
        let line = Line::try_parse_from(["kubelet", "--image-gc-low-threshold=90"]).expect("options");
        let err = line.settings.load(RoleFields::default()).expect_err("it is wrong");
        assert!(err.to_string().contains("imageGCLowThresholdPercent 90 must be less than"), "{err}");
    }
}
