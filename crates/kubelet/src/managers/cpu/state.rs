//! Which CPUs are whose, in memory and in the file `cpu_manager_state`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::checkpoint::Content;
use super::super::cpuset::CpuSet;
use super::super::manager;

/// CPU sets of containers, by UID of the pod and name.
pub type Assignments = BTreeMap<String, BTreeMap<String, CpuSet>>;

/// Which CPUs are whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The CPUs of all containers that have none for themselves.
    pub shared: CpuSet,
    /// The CPUs of the others.
    pub exclusive: Assignments,
}

impl State {
    /// The CPUs that a container has for itself.
    pub fn of(&self, uid: &str, container: &str) -> Option<&CpuSet> {
        self.exclusive.get(uid)?.get(container)
    }

    /// All CPUs that are anybody's own.
    pub fn given(&self) -> CpuSet {
        self.exclusive.values().flat_map(BTreeMap::values).fold(CpuSet::default(), |all, cpus| all.union(cpus))
    }
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StateFile {
    #[serde(rename = "policyName")]
    policy: String,
    #[serde(rename = "defaultCpuSet")]
    shared: CpuSet,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", rename = "entries")]
    exclusive: Assignments,
    checksum: u32,
}

impl manager::State for State {
    const FILE: &'static str = "cpu_manager_state";
    type File = StateFile;

    fn to_file(&self, policy: &str) -> StateFile {
        let State { shared, exclusive } = self.clone();
        StateFile { policy: policy.to_owned(), shared, exclusive, checksum: 0 }
    }

    fn of_file(file: StateFile) -> (String, Self) {
        let StateFile { policy, shared, exclusive, .. } = file;
        (policy, Self { shared, exclusive })
    }

    fn holders(&self) -> Vec<String> {
        self.exclusive.keys().cloned().collect()
    }
}

impl Content for StateFile {
    fn printed(&self) -> String {
        let pairs = |sets: &BTreeMap<String, CpuSet>| {
            sets.iter().map(|(name, set)| format!("{name}:{set}")).collect::<Vec<_>>().join(" ")
        };
        let pods: Vec<String> =
            self.exclusive.iter().map(|(uid, sets)| format!("{uid}:map[{}]", pairs(sets))).collect();
        format!(
            "(*state.CPUManagerCheckpoint){{PolicyName:(string){} DefaultCPUSet:(string){} \
             Entries:(map[string]map[string]string)map[{}] Checksum:(checksum.Checksum)0}}",
            self.policy,
            self.shared,
            pods.join(" ")
        )
    }

    fn checksum(&mut self) -> &mut u32 {
        &mut self.checksum
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::checkpoint::Checkpoint;
    use super::super::super::manager::State as _;
    use super::*;

    /// Files as upstream's kubelet writes them.
    const OF_UPSTREAM: [&str; 3] = [
        r#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#,
        r#"{"policyName":"static","defaultCpuSet":"0,4-27","entries":{"39b37746-7f5e-4064-b8e1-eebd2bfaa003":{"app":"1-3"}},"checksum":3300516549}"#,
        r#"{"policyName":"static","defaultCpuSet":"0,4-8,12-15","entries":{"088fe178-cec9-4eb9-ba3c-cf45cba46371":{"qos-demo-ctr":"1,9"},"681eca58-a216-4ec4-a57b-941cad3c4e0f":{"qos-demo-ctr":"2-3,10-11"}},"checksum":2993692383}"#,
    ];

    #[test]
    fn files_are_read_and_written_as_upstream_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = Checkpoint::new(&dir.path().join("cpu_manager_state"));
        assert!(file.read::<StateFile>().expect("none is fine").is_none());
        for text in OF_UPSTREAM {
            std::fs::write(file.path(), text).expect("written");
            let read: StateFile = file.read().expect("it is whole").expect("it is there");
            let (policy, state) = State::of_file(read);
            file.write(state.to_file(&policy)).expect("written");
            assert_eq!(std::fs::read_to_string(file.path()).expect("read"), text);
        }
        std::fs::write(file.path(), OF_UPSTREAM[1].replace("1-3", "1-2")).expect("written");
        let err = file.read::<StateFile>().expect_err("it was changed");
        assert!(err.to_string().contains("checksum does not match"), "{err}");
    }
}
