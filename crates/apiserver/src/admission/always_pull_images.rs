//! AlwaysPullImages: nobody runs an image that is on a node already without the right to pull it.

use api::quota::amounts;
use api::status::Status;
use serde_json::Value;

use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(set)), (Operation::Update, Handler::Now(set))],
    validate: &[(Operation::Create, Handler::Now(check)), (Operation::Update, Handler::Now(check))],
    ..Plugin::off("AlwaysPullImages")
};

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Whether the request is about what a pod runs. An update that changes no image leaves the policies as they are.
fn is_asked(attributes: &Attributes<'_>, pod: &Value) -> bool {
    let is_pod = attributes.is("", "pods") || attributes.is_subresource("", "pods", "ephemeralcontainers");
    is_pod && attributes.old.is_none_or(|old| images(old) != images(pod))
}

fn images(pod: &Value) -> Vec<&Value> {
    let mut images: Vec<&Value> = containers(pod).map(|(_, _, container)| &container["image"]).collect();
    images.sort_unstable_by_key(|image| image.as_str().unwrap_or_default());
    images.dedup();
    images
}

fn containers(pod: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    LISTS.into_iter().flat_map(move |list| {
        amounts::containers(pod, list).enumerate().map(move |(index, container)| (list, index, container))
    })
}

fn set(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if is_asked(attributes, pod) {
        for list in LISTS {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            containers.for_each(|container| container["imagePullPolicy"] = "Always".into());
        }
    }
    Ok(())
}

fn check(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if !is_asked(attributes, pod) {
        return Ok(());
    }
    let wrong = containers(pod).find(|(.., container)| container["imagePullPolicy"] != "Always");
    match wrong {
        None => Ok(()),
        Some((list, index, container)) => {
            let path = api::field::Path::new("spec").child(list).index(index).child("imagePullPolicy");
            let given = container["imagePullPolicy"].clone();
            let error = api::field::FieldError::not_supported(&path, given, &["Always"]);
            Err(attributes.forbidden(pod, error))
        }
    }
}
