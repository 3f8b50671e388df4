//! Ends pods that have written more to the node's disk than they may: to a volume, as a whole, or in one container.

use std::sync::Arc;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Pod, Volume};

use super::observe::Layout;
use super::usage::{self, Disk, Parts, PodUsage};
use crate::context::Context;
use crate::pods::spec;
use crate::resources::{container_amount, pod_limit_sums};
use crate::volumes;

const RESOURCE: &str = "ephemeral-storage";

/// What a pod has written beyond what it may.
#[derive(Debug, PartialEq, Eq)]
pub struct Excess {
    /// What it has exceeded, as upstream calls that in metrics.
    pub signal: &'static str,
    /// The same for people.
    pub text: String,
}

/// Why a pod has to go because of what it has written, if it has to.
pub async fn excess(context: &Context, pod: &Arc<Pod>, layout: Layout) -> Option<Excess> {
    // Most pods have no limits, and are not measured.
    if has_limited_volumes(pod)
        && let Some(excess) = of_volumes(pod, &usage::volumes(context, pod).await)
    {
        return Some(excess);
    }
    limit(pod)?;
    of_containers(pod, &usage::of_pod(context, pod).await?, layout)
}

fn volume_limit(volume: &Volume) -> Option<(i64, &str)> {
    // What is in memory cannot grow beyond its limit.
    let source = volume.empty_dir.as_ref().filter(|source| source.medium.as_deref().unwrap_or_default().is_empty())?;
    let limit = volumes::size_limit(source).ok().flatten()?;
    Some((limit, source.size_limit.as_ref().map(|limit| limit.0.as_str())?))
}

fn has_limited_volumes(pod: &Pod) -> bool {
    spec::spec(pod).volumes.iter().flatten().any(|volume| volume_limit(volume).is_some())
}

fn of_volumes(pod: &Pod, usages: &[(String, Disk)]) -> Option<Excess> {
    spec::spec(pod).volumes.iter().flatten().find_map(|volume| {
        let (limit, text) = volume_limit(volume)?;
        let (name, used) = usages.iter().find(|(name, _)| *name == volume.name)?;
        let text = || format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{text}\". ");
        (used.bytes > limit).then(|| Excess { signal: "emptydirfs.limit", text: text() })
    })
}

/// What the pod's containers may write together, if any of them is limited.
fn limit(pod: &Pod) -> Option<Quantity> {
    let limit = pod_limit_sums(pod).remove(RESOURCE)?;
    Some(Quantity::new(limit, api::quantity::Format::BinarySi))
}

fn of_containers(pod: &Pod, usage: &PodUsage, layout: Layout) -> Option<Excess> {
    let limit = limit(pod)?;
    let parts = Parts::limited(layout);
    if usage.disk(parts).bytes > limit.value() {
        let text = format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. ");
        return Some(Excess { signal: "ephemeralpodfs.limit", text });
    }
    usage.containers.iter().find_map(|container| {
        let definition = spec::containers(pod).iter().find(|definition| definition.name == container.name)?;
        let limits = definition.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let limit = container_amount(limits, RESOURCE).filter(|limit| *limit > 0)?;
        let text = &limits?.get(RESOURCE)?.0;
        let name = &container.name;
        let text = || format!("Container {name} exceeded its local ephemeral storage limit \"{text}\". ");
        (container.disk(parts).bytes > limit).then(|| Excess { signal: "ephemeralcontainerfs.limit", text: text() })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use testkit::pod;

    use super::*;
    use crate::eviction::usage::ContainerUsage;

    const MI: i64 = 1 << 20;

    /// A pod whose containers have limits, in Mi; 0 for none.
    fn limited(limits: &[i64]) -> Pod {
        let containers = limits.iter().enumerate().map(|(index, limit)| {
            let limits = if *limit > 0 { json!({RESOURCE: format!("{limit}Mi")}) } else { json!({}) };
            json!({"name": format!("c{index}"), "image": "i", "resources": {"limits": limits}})
        });
        let containers: Vec<_> = containers.map(|c| serde_json::from_value(c).expect("a container")).collect();
        pod("web").with(|pod| pod.spec.get_or_insert_default().containers = containers).build()
    }

    /// What containers wrote to their roots and logs, and the pod to its volume; in Mi.
    #[track_caller]
    fn check(limits: &[i64], layout: Layout, containers: &[(i64, i64)], volume: i64, expected: Option<&str>) {
        let disk = |mebibytes: i64| Disk { bytes: mebibytes * MI, inodes: 1 };
        let containers = containers.iter().enumerate().map(|(index, (root, logs))| ContainerUsage {
            name: format!("c{index}"),
            memory: None,
            root: Some(disk(*root)),
            logs: disk(*logs),
        });
        let volumes = vec![("v".to_owned(), disk(volume))];
        let usage = PodUsage { containers: containers.collect(), volumes, ..PodUsage::default() };
        assert_eq!(of_containers(&limited(limits), &usage, layout).map(|excess| excess.text).as_deref(), expected);
    }

    #[test]
    fn containers_and_pods_have_limits_of_what_they_write() {
        check(&[0], Layout::Shared, &[(100, 100)], 100, None);
        check(&[10], Layout::Shared, &[(5, 5)], 0, None);
        let whole = "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ";
        check(&[10], Layout::Shared, &[(5, 5)], 1, Some(whole));
        check(
            &[5, 5],
            Layout::Shared,
            &[(2, 4), (0, 0)],
            0,
            Some("Container c0 exceeded its local ephemeral storage limit \"5Mi\". "),
        );
        // What is written to another disk does not count for this one.
        check(&[10], Layout::ImagesApart, &[(50, 10)], 0, None);
    }

    #[test]
    fn volumes_have_limits_of_their_own() {
        let volumes = json!([
            {"name": "free", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "small", "emptyDir": {"sizeLimit": "1Mi"}},
        ]);
        let volumes = serde_json::from_value(volumes).expect("volumes");
        let pod = pod("web").with(|pod| pod.spec.get_or_insert_default().volumes = Some(volumes)).build();
        let written = |small: i64| {
            let all = [("free", 9 * MI), ("memory", 9 * MI), ("small", small)];
            let all = all.map(|(name, bytes)| (name.to_owned(), Disk { bytes, inodes: 1 }));
            of_volumes(&pod, &all)
        };
        assert_eq!(written(MI), None);
        let text = "Usage of EmptyDir volume \"small\" exceeds the limit \"1Mi\". ".to_owned();
        assert_eq!(written(MI + 1), Some(Excess { signal: "emptydirfs.limit", text }));
    }
}
