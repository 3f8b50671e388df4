//! An object does not collect managers without end: those that updated it longest ago become one.

use std::collections::HashMap;

use super::managers::{Manager, Managers, Operation};

/// How many managers that update are told apart.
const MAX_UPDATERS: usize = 10;

/// The manager that the oldest become, one for each version.
const ANCIENT: &str = "ancient-changes";

/// Merges the managers that updated longest ago until there are few enough.
pub(super) fn limit(managers: &mut Managers) {
    let mut updaters: Vec<(Option<String>, Manager)> = managers
        .0
        .iter()
        .filter(|(manager, _)| manager.operation == Operation::Update)
        .map(|(manager, managed)| (managed.time.clone(), manager.clone()))
        .collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATERS {
        return;
    }
    updaters.sort();
    // A version's first manager stays what it is until there is a second to merge it with.
    let mut first: HashMap<String, Manager> = HashMap::new();
    for (_, manager) in updaters {
        if count <= MAX_UPDATERS {
            return;
        }
        let Some(version) = manager.api_version.clone() else { continue };
        let Some(oldest) = first.get(&version) else {
            first.insert(version, manager);
            continue;
        };
        let ancient = Manager {
            name: ANCIENT.to_owned(),
            operation: Operation::Update,
            api_version: Some(version),
            subresource: String::new(),
        };
        if !managers.0.contains_key(&ancient)
            && let Some(managed) = managers.0.remove(oldest)
        {
            managers.0.insert(ancient.clone(), managed);
        }
        if let Some(managed) = managers.0.remove(&manager) {
            count -= 1;
            let into = managers.0.entry(ancient).or_insert_with(|| managed.clone());
            into.set = into.set.union(&managed.set);
            into.time = managed.time;
        }
    }
}
