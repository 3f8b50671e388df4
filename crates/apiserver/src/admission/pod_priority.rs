//! Priority: a pod's priority and preemption policy come from its class, or are the defaults.

use api::status::Status;
use serde_json::Value;

use super::documents::Kept;
use super::{Attributes, Handler, Operation, Plugin};

/// Classes that exist in every cluster, whether or not they were created already, with their values.
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

const PREEMPT: &str = "PreemptLowerPriority";

struct Class {
    name: String,
    value: i64,
    preemption: String,
}

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[
        (Operation::Create, Handler::Now(create)),
        (Operation::Update, Handler::Now(update)),
        (Operation::Delete, Handler::Now(delete)),
    ],
    ..Plugin::named("Priority")
};

fn create(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let requested = text("/spec/priorityClassName");
    let class = match requested.as_str() {
        "" => default_class(attributes),
        name => match find(attributes, name) {
            Some(class) => class,
            None => {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(attributes.forbidden(object, why));
            }
        },
    };
    if let Some(given) = object.pointer("/spec/priority").and_then(Value::as_i64).filter(|given| *given != class.value)
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {} from the given PriorityClass name",
            class.value
        );
        return Err(attributes.forbidden(object, why));
    }
    let given = text("/spec/preemptionPolicy");
    if !given.is_empty() && given != class.preemption {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {} from the given PriorityClass name",
            class.preemption
        );
        return Err(attributes.forbidden(object, why));
    }
    let spec = &mut object["spec"];
    if !class.name.is_empty() {
        spec["priorityClassName"] = class.name.into();
    }
    spec["priority"] = class.value.into();
    spec["preemptionPolicy"] = class.preemption.into();
    Ok(())
}

/// An update that leaves the computed fields out keeps them.
fn update(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let Some(old) = attributes.old.filter(|_| attributes.is("", "pods")) else { return Ok(()) };
    for field in ["priority", "preemptionPolicy"] {
        if object["spec"].get(field).is_none() {
            crate::strategy::copy_at(object, old, &["spec", field]);
        }
    }
    Ok(())
}

/// The classes that every cluster has stay.
fn delete(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let is_system = SYSTEM_CLASSES.iter().any(|(name, _)| *name == api::meta::name(object));
    if !is_system || !attributes.is("scheduling.k8s.io", "priorityclasses") {
        return Ok(());
    }
    Err(attributes.forbidden(object, "this is a system priority class and cannot be deleted"))
}

fn find(attributes: &Attributes<'_>, name: &str) -> Option<Class> {
    if let Some(class) = attributes.named(Kept::PriorityClasses, name) {
        return Some(read(&class));
    }
    let (name, value) = SYSTEM_CLASSES.iter().find(|(system, _)| *system == name)?;
    Some(Class { name: (*name).to_owned(), value: *value, preemption: PREEMPT.to_owned() })
}

fn read(class: &Value) -> Class {
    Class {
        name: api::meta::name(class).to_owned(),
        value: class.get("value").and_then(Value::as_i64).unwrap_or(0),
        preemption: class.get("preemptionPolicy").and_then(Value::as_str).unwrap_or(PREEMPT).to_owned(),
    }
}

/// The class marked as the global default (the lowest, if there are several), or priority zero.
fn default_class(attributes: &Attributes<'_>) -> Class {
    let none = Class { name: String::new(), value: 0, preemption: PREEMPT.to_owned() };
    let classes = attributes.all(Kept::PriorityClasses).into_iter();
    let defaults = classes.filter(|class| class.get("globalDefault").and_then(Value::as_bool) == Some(true));
    defaults.map(|class| read(&class)).min_by_key(|class| class.value).unwrap_or(none)
}
