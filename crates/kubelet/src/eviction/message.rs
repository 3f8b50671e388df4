//! What a pod is told that has to go because the node is short of something.

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::observe::{Layout, Observations};
use super::threshold::{Signal, Threshold};
use super::usage::{ContainerUsage, Parts, PodUsage};
use crate::pods::spec;

/// What is said, and the same for programs: annotations of the event.
pub struct Message {
    /// For people.
    pub text: String,
    /// For programs.
    pub annotations: BTreeMap<String, String>,
}

/// The message for a pod. `due` are the thresholds for which pods are ended, the first one is what this is about.
pub fn message(
    pod: &Pod,
    usage: Option<&PodUsage>,
    due: &[Threshold],
    observations: &Observations,
    layout: Layout,
) -> Message {
    let Some(first) = due.first() else { return Message { text: String::new(), annotations: BTreeMap::new() } };
    let resource = first.signal.resource();
    let mut text = format!("The node was low on resource: {resource}. ");
    let of_resource = due.iter().filter(|threshold| threshold.signal.resource() == resource);
    let seen = of_resource.filter_map(|threshold| Some((threshold, observations.get(&threshold.signal)?))).next();
    if let Some((threshold, observation)) = seen {
        let quantity = threshold.value.of(observation.capacity);
        let signal = threshold.signal;
        text.push_str(&format!(
            "Threshold quantity: {}, available: {}. ",
            amount(signal, quantity),
            amount(signal, observation.available)
        ));
    }
    let mut offending: Vec<(String, String)> = Vec::new();
    for container in usage.into_iter().flat_map(|usage| &usage.containers) {
        let all = spec::containers(pod).iter().chain(spec::init_containers(pod));
        let Some(definition) = all.into_iter().find(|definition| definition.name == container.name) else { continue };
        let asked = asked(definition, resource);
        let Some(used) = used(container, first.signal, layout).filter(|used| *used > asked.value()) else { continue };
        let used = Quantity::new(used, Format::BinarySi).to_string();
        let name = &container.name;
        text.push_str(&format!(
            "Container {name} was using {used}, request is {asked}, has larger consumption of {resource}. "
        ));
        offending.push((name.clone(), used));
    }
    let (names, usages): (Vec<String>, Vec<String>) = offending.into_iter().unzip();
    let annotations = BTreeMap::from([
        ("offending_containers".to_owned(), names.join(",")),
        ("offending_containers_usage".to_owned(), usages.join(",")),
        ("starved_resource".to_owned(), resource.to_owned()),
    ]);
    Message { text, annotations }
}

fn amount(signal: Signal, amount: i64) -> Quantity {
    let format = if signal.resource() == "inodes" { Format::DecimalSi } else { Format::BinarySi };
    Quantity::new(amount, format)
}

fn asked(container: &Container, resource: &str) -> Quantity {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let request = requests.and_then(|requests| requests.get(resource));
    request.and_then(|request| Quantity::from_k8s(request).ok()).unwrap_or(Quantity::ZERO)
}

fn used(container: &ContainerUsage, signal: Signal, layout: Layout) -> Option<i64> {
    match signal.resource() {
        "memory" => container.memory,
        "ephemeral-storage" => container.root.map(|_| container.disk(Parts::on(signal, layout)).bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;
    use crate::eviction::observe::Observation;
    use crate::eviction::threshold::Amount;

    #[test]
    fn the_message_says_what_was_short_and_who_took_it() {
        let pod = pod("web").requests(&[("memory", "64Mi")]).build();
        let name = spec::containers(&pod)[0].name.clone();
        let threshold = Threshold {
            signal: Signal::MemoryAvailable,
            value: Amount::Percent(10.0),
            grace: None,
            minimum_reclaim: None,
        };
        let observation = Observation { available: 98_300 << 10, capacity: 1000 << 20 };
        let observations = Observations::from([(Signal::MemoryAvailable, observation)]);
        let container = ContainerUsage { name: name.clone(), memory: Some(100 << 20), ..ContainerUsage::default() };
        let usage = PodUsage { containers: vec![container], ..PodUsage::default() };
        let message = message(&pod, Some(&usage), &[threshold], &observations, Layout::Shared);
        assert_eq!(
            message.text,
            format!(
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 98300Ki. \
                 Container {name} was using 100Mi, request is 64Mi, has larger consumption of memory. "
            )
        );
        assert_eq!(message.annotations["offending_containers"], name);
        assert_eq!(message.annotations["offending_containers_usage"], "100Mi");
        assert_eq!(message.annotations["starved_resource"], "memory");
    }
}
