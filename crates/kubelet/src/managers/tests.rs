//! The managers together, on machines made of files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proptest::prelude::*;
use tempfile::TempDir;
use testkit::pod;

use super::machine::tests::{FOUR_NODES, Shape, TWO_SOCKETS};
use super::topology::{Policy as TopologyPolicy, Scope};
use super::*;

/// Bytes that the node keeps from pods.
const RESERVED_MEMORY: u64 = 64 << 20;

/// A node with its managers.
struct Node {
    dir: TempDir,
    machine: Arc<MachineTopology>,
    settings: Settings,
    managers: Managers,
}

/// A pod that has everything that it asks for: its containers with their CPUs, init containers marked with `init `,
/// sidecars with `sidecar `.
fn guaranteed(name: &str, containers: &[(&str, &str)]) -> Pod {
    let amounts = |cpu: &str| {
        let amounts = [("cpu", cpu), ("memory", "64Mi")];
        let amounts: BTreeMap<String, Quantity> =
            amounts.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).collect();
        ResourceRequirements { requests: Some(amounts.clone()), limits: Some(amounts), ..Default::default() }
    };
    let add = |pod: &mut Pod| {
        let spec = pod.spec.as_mut().expect("a specification");
        for (name, cpu) in containers {
            let (kind, name) = name.split_once(' ').unwrap_or(("", name));
            let restart_policy = (kind == "sidecar").then(|| "Always".to_owned());
            let resources = Some(amounts(cpu));
            let container = Container { name: name.to_owned(), resources, restart_policy, ..Container::default() };
            let init = spec.init_containers.get_or_insert_default();
            if kind.is_empty() { &mut spec.containers } else { init }.push(container);
        }
    };
    pod(name).with(add).build()
}

/// The static CPU manager with options.
fn settings(options: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.cpu.policy = cpu::Policy::Static;
    let options = options.iter().map(|name| ((*name).to_owned(), "true".to_owned())).collect();
    settings.cpu.set_options(&options, |_| true).expect("they are known");
    settings
}

impl Node {
    /// A node that keeps one CPU, which is CPU 0.
    fn new(shape: &Shape, settings: Settings) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = Arc::new(shape.machine());
        let managers = Self::open(&dir, &machine, &settings).expect("they begin");
        Self { dir, machine, settings, managers }
    }

    fn open(dir: &TempDir, machine: &Arc<MachineTopology>, settings: &Settings) -> Result<Managers, ManagersError> {
        Managers::on(
            machine,
            settings,
            Inputs {
                memory: 0,
                reserved_cpu: 500,
                reserved_memory: RESERVED_MEMORY,
                dir: dir.path(),
                further: Vec::new(),
            },
        )
    }

    fn restart(&mut self) {
        self.managers = Self::open(&self.dir, &self.machine, &self.settings).expect("they begin again");
    }

    /// Why the managers do not begin with other settings.
    fn refusal(&self, settings: &Settings) -> String {
        Self::open(&self.dir, &self.machine, settings).err().expect("they do not begin").to_string()
    }

    async fn admit(&self, pod: &Pod) {
        self.managers.admit(pod).await.expect("the pod is let in");
    }

    /// Reason and message of a pod's refusal.
    async fn refuse(&self, pod: &Pod) -> (&'static str, String) {
        let err = self.managers.admit(pod).await.expect_err("the pod is refused");
        (err.reason(), err.to_string())
    }

    async fn release(&self, pod: &Pod) {
        self.managers.release(spec::uid(pod)).await;
    }

    /// The CPUs on which a container runs.
    fn cpus(&self, pod: &Pod, container: &str) -> String {
        self.managers.cpus(spec::uid(pod), container).unwrap_or_default().to_string()
    }

    fn shared(&self) -> String {
        self.managers.cpus("nobody", "nothing").expect("CPUs are managed").to_string()
    }
}

#[tokio::test]
async fn guaranteed_pods_get_whole_cpus_and_the_others_share_the_rest() {
    let node = Node::new(&TWO_SOCKETS, settings(&[]));
    assert_eq!(node.shared(), "0-15");
    let whole = guaranteed("whole", &[("a", "2"), ("b", "1")]);
    node.admit(&whole).await;
    assert_eq!((node.cpus(&whole, "a").as_str(), node.cpus(&whole, "b").as_str()), ("1,9", "8"));
    assert_eq!(node.shared(), "0,2-7,10-15");
    assert!(node.managers.own_cpus("uid-whole", "a").is_some() && node.managers.has_own_cpus("uid-whole"));
    let part = guaranteed("part", &[("a", "1500m")]);
    let burstable = pod("burstable").requests(&[("cpu", "2")]).build();
    let mut of_pod = guaranteed("of-pod", &[("a", "2")]);
    let spec = of_pod.spec.as_mut().expect("a specification");
    spec.resources.clone_from(&spec.containers[0].resources);
    for (pod, container) in [(&part, "a"), (&burstable, "main"), (&of_pod, "a")] {
        node.admit(pod).await;
        assert_eq!(node.cpus(pod, container), "0,2-7,10-15");
        assert!(!node.managers.has_own_cpus(spec::uid(pod)));
    }
    node.release(&whole).await;
    assert_eq!(node.shared(), "0-15");
}

#[tokio::test]
async fn containers_use_the_cpus_of_init_containers_again_and_those_of_sidecars_not() {
    let node = Node::new(&TWO_SOCKETS, settings(&[]));
    let pod = guaranteed("web", &[("init i", "2"), ("sidecar s", "2"), ("a", "2")]);
    node.admit(&pod).await;
    let cpus = [node.cpus(&pod, "i"), node.cpus(&pod, "s"), node.cpus(&pod, "a")];
    // Upstream, too, lets a sidecar take what an init container before it has left.
    assert_eq!(cpus, ["1,9", "1,9", "2,10"]);
    assert_eq!(node.shared(), "0,3-8,11-15");
}

#[tokio::test]
async fn a_pod_is_refused_in_upstreams_words() {
    let node = Node::new(&TWO_SOCKETS, settings(&[]));
    let message = "Allocate failed due to not enough cpus available to satisfy request: requested=16, available=15, \
                   which is unexpected";
    let large = guaranteed("large", &[("a", "16")]);
    assert_eq!(node.refuse(&large).await, ("UnexpectedAdmissionError", message.to_owned()));
    // What its first container had got is free again.
    assert_eq!(node.refuse(&guaranteed("two", &[("a", "8"), ("b", "8")])).await.0, "UnexpectedAdmissionError");
    assert_eq!(node.shared(), "0-15");

    let node = Node::new(&TWO_SOCKETS, settings(&["full-pcpus-only"]));
    let message = "SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2".to_owned();
    assert_eq!(node.refuse(&guaranteed("odd", &[("a", "3")])).await, ("SMTAlignmentError", message));
    let message = "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 14, requested CPUs = \
                   16, CPUs per core = 2";
    assert_eq!(node.refuse(&large).await, ("SMTAlignmentError", message.to_owned()));
}

#[tokio::test]
async fn the_topology_manager_has_resources_come_from_one_node_where_it_is_told_to() {
    let mut single = settings(&[]);
    single.topology.policy = TopologyPolicy::SingleNumaNode;
    let node = Node::new(&TWO_SOCKETS, single.clone());
    let large = guaranteed("large", &[("a", "9")]);
    let message = "Resources cannot be allocated with Topology locality".to_owned();
    assert_eq!(node.refuse(&large).await, ("TopologyAffinityError", message));
    let two = guaranteed("two", &[("a", "5"), ("b", "5")]);
    node.admit(&two).await;
    assert_eq!((node.cpus(&two, "a").as_str(), node.cpus(&two, "b").as_str()), ("1-2,8-10", "4-6,12-13"));
    node.release(&two).await;
    let whole = guaranteed("whole", &[("a", "8")]);
    node.admit(&whole).await;
    assert_eq!(node.cpus(&whole, "a"), "4-7,12-15");

    single.topology.scope = Scope::Pod;
    let node = Node::new(&TWO_SOCKETS, single);
    assert_eq!(node.refuse(&two).await.0, "TopologyAffinityError");
    let two = guaranteed("two", &[("a", "4"), ("b", "4")]);
    node.admit(&two).await;
    assert_eq!(node.shared(), "0-3,8-11");
}

#[tokio::test]
async fn the_nodes_of_a_socket_are_as_good_as_one_where_sockets_count() {
    // Each of four nodes has eight CPUs, of which a pod takes five: the fifth pod needs two nodes.
    for (options, admitted) in [(&[][..], 4), (&["align-by-socket"], 6)] {
        let mut settings = settings(options);
        settings.topology.policy = TopologyPolicy::Restricted;
        let node = Node::new(&FOUR_NODES, settings);
        for number in 0..admitted {
            node.admit(&guaranteed(&format!("p{number}"), &[("a", "5")])).await;
        }
        assert_eq!(node.refuse(&guaranteed("last", &[("a", "5")])).await.0, "TopologyAffinityError");
    }
}

#[tokio::test]
async fn strictly_reserved_cpus_are_for_nobody() {
    let mut settings = settings(&["strict-cpu-reservation"]);
    settings.cpu.reserved = "0,8".parse().expect("CPUs");
    let node = Node::new(&TWO_SOCKETS, settings);
    assert_eq!(node.shared(), "1-7,9-15");
    let pod = guaranteed("web", &[("a", "14")]);
    node.admit(&pod).await;
    assert_eq!((node.cpus(&pod, "a").as_str(), node.shared().as_str()), ("1-7,9-15", ""));
}

#[tokio::test]
async fn what_was_given_outlives_a_restart_and_other_settings_are_refused() {
    let mut node = Node::new(&TWO_SOCKETS, settings(&[]));
    let (first, second) = (guaranteed("first", &[("a", "2")]), guaranteed("second", &[("a", "3")]));
    node.admit(&first).await;
    node.admit(&second).await;
    let before = (node.cpus(&first, "a"), node.cpus(&second, "a"), node.shared());
    node.restart();
    node.managers.readmit(&first).await;
    node.managers.readmit(&second).await;
    assert_eq!((node.cpus(&first, "a"), node.cpus(&second, "a"), node.shared()), before);
    // Of the second pod nothing was left when the pods became known.
    assert!(!node.managers.is_settled());
    node.managers.settle(|uid| uid == "uid-first").await;
    assert!(node.managers.is_settled());
    assert_eq!(node.cpus(&second, "a"), node.shared());

    let refusal = node.refusal(&Settings::default());
    let words = "could not restore state from checkpoint: configured policy \"none\" differs from state checkpoint policy \
                 \"static\", please drain this node and delete the CPU manager checkpoint file";
    assert!(refusal.contains(words), "{refusal}");
    let mut other = settings(&[]);
    other.cpu.reserved = "1".parse().expect("CPUs");
    let refusal = node.refusal(&other);
    assert!(refusal.contains("not all reserved cpus: \"1\" are present in defaultCpuSet"), "{refusal}");
    other.cpu.reserved = "77".parse().expect("CPUs");
    assert!(node.refusal(&other).contains("unable to reserve the required amount of CPUs"));
    other.cpu.options.across_nodes = true;
    other.cpu.options.across_cores = true;
    assert!(node.refusal(&other).contains("can not be used at the same time"));
}

#[tokio::test]
async fn cpus_of_a_guaranteed_pod_cannot_change_while_it_runs() {
    let (before, after) = (guaranteed("web", &[("a", "2")]), guaranteed("web", &[("a", "3")]));
    let node = Node::new(&TWO_SOCKETS, settings(&[]));
    let message = "Resize is infeasible for Guaranteed Pods alongside CPU Manager policy \"static\"";
    assert_eq!(node.managers.forbids_resize(&before, &after).as_deref(), Some(message));
    assert_eq!(node.managers.forbids_resize(&before, &before), None);
    let node = Node::new(&TWO_SOCKETS, Settings::default());
    assert_eq!(node.managers.forbids_resize(&before, &after), None);
    assert_eq!(node.cpus(&before, "a"), "");
}

/// The static memory manager, whose reservation is on node 0.
fn memory_settings(policy: TopologyPolicy) -> Settings {
    let mut settings = Settings::default();
    settings.topology.policy = policy;
    settings.memory.policy = memory::Policy::Static;
    settings.memory.reserved = BTreeMap::from([(0, BTreeMap::from([("memory".to_owned(), RESERVED_MEMORY)]))]);
    settings
}

/// A Guaranteed pod of containers that ask for so many MiB of memory, and of huge pages.
fn with_memory(name: &str, containers: &[(&str, u64, u64)]) -> Pod {
    let cpus: Vec<(&str, &str)> = containers.iter().map(|(name, ..)| (*name, "500m")).collect();
    let mut pod = guaranteed(name, &cpus);
    let spec = pod.spec.as_mut().expect("a specification");
    for (full, memory, huge) in containers {
        let name = full.split_once(' ').map_or(*full, |(_, name)| name);
        let all = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
        let container = all.into_iter().find(|container| container.name == name).expect("it was made");
        let resources = container.resources.as_mut().expect("resources");
        for list in [&mut resources.requests, &mut resources.limits] {
            let list = list.as_mut().expect("amounts");
            list.insert("memory".to_owned(), Quantity(format!("{memory}Mi")));
            if *huge > 0 {
                list.insert("hugepages-2Mi".to_owned(), Quantity(format!("{huge}Mi")));
            }
        }
    }
    pod
}

impl Node {
    fn nodes(&self, pod: &Pod, container: &str) -> Vec<u32> {
        self.managers.memory_nodes(spec::uid(pod), container).into_iter().collect()
    }
}

#[tokio::test]
async fn memory_comes_from_as_few_nodes_as_can_be() {
    // Two nodes of 960 MiB and 64 MiB of huge pages, of the first one 64 MiB reserved.
    let mut node = Node::new(&TWO_SOCKETS, memory_settings(TopologyPolicy::None));
    let first = with_memory("first", &[("a", 600, 0)]);
    let second = with_memory("second", &[("a", 600, 64)]);
    for pod in [&first, &second] {
        node.admit(pod).await;
    }
    assert_eq!((node.nodes(&first, "a"), node.nodes(&second, "a")), (vec![0], vec![1]));
    // What is left on both nodes together would do, but each is used alone.
    let third = with_memory("third", &[("a", 500, 0)]);
    let message = "Allocate failed due to [memorymanager] failed to get the default NUMA affinity, no NUMA nodes with \
                   enough memory is available, which is unexpected";
    assert_eq!(node.refuse(&third).await, ("UnexpectedAdmissionError", message.to_owned()));
    // Huge pages are left on the first node alone.
    let huge = with_memory("huge", &[("a", 100, 2)]);
    node.admit(&huge).await;
    assert_eq!(node.nodes(&huge, "a"), [0]);
    node.restart();
    for pod in [&first, &second, &huge] {
        node.managers.readmit(pod).await;
    }
    assert_eq!((node.nodes(&first, "a"), node.nodes(&second, "a")), (vec![0], vec![1]));
    for pod in [&first, &second, &huge] {
        node.release(pod).await;
    }
    let wide = with_memory("wide", &[("a", 1500, 0)]);
    node.admit(&wide).await;
    assert_eq!(node.nodes(&wide, "a"), [0, 1]);
    // A node that is used together with another one is not used alone.
    let narrow = with_memory("narrow", &[("a", 1, 0)]);
    node.admit(&narrow).await;
    assert_eq!(node.nodes(&narrow, "a"), [0, 1]);
    node.admit(&with_memory("beside", &[("a", 300, 128)])).await;
    node.restart();
    assert_eq!(node.nodes(&wide, "a"), [0, 1]);
    assert!(node.managers.memory_nodes("uid-nobody", "a").is_empty());
}

#[tokio::test]
async fn memory_of_init_containers_is_used_again() {
    let mut node = Node::new(&TWO_SOCKETS, memory_settings(TopologyPolicy::SingleNumaNode));
    let pod = with_memory("web", &[("init i", 800, 0), ("a", 800, 0)]);
    node.admit(&pod).await;
    assert_eq!((node.nodes(&pod, "i"), node.nodes(&pod, "a")), (vec![0], vec![0]));
    node.restart();
    let other = with_memory("other", &[("a", 900, 0)]);
    node.admit(&other).await;
    assert_eq!(node.nodes(&other, "a"), [1]);
    assert_eq!(node.refuse(&with_memory("more", &[("a", 900, 0)])).await.0, "TopologyAffinityError");
    node.release(&pod).await;
    node.release(&other).await;
    node.admit(&with_memory("whole", &[("a", 896, 0)])).await;
}

#[tokio::test]
async fn memory_settings_that_contradict_the_node_are_refused() {
    let node = Node::new(&TWO_SOCKETS, memory_settings(TopologyPolicy::None));
    let refusal = node.refusal(&Settings::default());
    let words = "configured policy \"None\" differs from state checkpoint policy \"Static\", please drain this node and \
                 delete the memory manager checkpoint file";
    assert!(refusal.contains(words), "{refusal}");
    let mut other = memory_settings(TopologyPolicy::None);
    other.memory.reserved = BTreeMap::from([(1, BTreeMap::from([("memory".to_owned(), RESERVED_MEMORY)]))]);
    assert!(node.refusal(&other).contains("the expected machine state is different from the real one"));
    other.memory.reserved = BTreeMap::from([(1, BTreeMap::from([("memory".to_owned(), 1)]))]);
    let refusal = node.refusal(&other);
    let words = "the total amount \"1\" of type \"memory\" is not equal to the value \"67108864\" determined by Node";
    assert!(refusal.contains(words), "{refusal}");
    other.memory.reserved = BTreeMap::from([(7, BTreeMap::from([("memory".to_owned(), RESERVED_MEMORY)]))]);
    assert!(node.refusal(&other).contains("NUMA node 7, which does not exist"));
    let (before, after) = (with_memory("web", &[("a", 1, 0)]), with_memory("web", &[("a", 2, 0)]));
    let message = "Resize is infeasible for Guaranteed Pods alongside Memory Manager policy \"Static\"";
    assert_eq!(node.managers.forbids_resize(&before, &after).as_deref(), Some(message));
}

#[derive(Clone, Debug)]
enum Step {
    /// A pod of this number comes with containers of so many CPUs.
    Admit(u8, Vec<u32>),
    Release(u8),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..6, prop::collection::vec(1_u32..7, 1..3)).prop_map(|(pod, cpus)| Step::Admit(pod, cpus)),
        2 => (0_u8..6).prop_map(Step::Release),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..20)
}

/// Nobody has what somebody else has, and nothing is lost.
async fn check_sets(node: &Node, pods: &BTreeMap<u8, Pod>) {
    let mut rest = node.shared().parse::<CpuSet>().expect("CPUs");
    assert!("0".parse::<CpuSet>().expect("CPUs").is_subset(&rest), "the reserved CPU is shared: {rest}");
    for pod in pods.values() {
        for container in spec::containers(pod) {
            let own: CpuSet = node.cpus(pod, &container.name).parse().expect("CPUs");
            let wanted = requests::requests(container)["cpu"] / 1000;
            assert_eq!(own.len() as i64, wanted);
            assert!(own.intersection(&rest).is_empty(), "{own} is somebody else's too");
            rest = rest.union(&own);
        }
    }
    assert_eq!(rest, node.machine.cpus());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn no_cpu_is_given_twice(steps in steps(), spread in any::<bool>(), four in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let options: &[&str] = if spread { &["distribute-cpus-across-numa"] } else { &[] };
            let mut node = Node::new(if four { &FOUR_NODES } else { &TWO_SOCKETS }, settings(options));
            let mut pods = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Admit(number, _) if pods.contains_key(&number) => {}
                    Step::Admit(number, cpus) => {
                        let cpus: Vec<(String, String)> =
                            cpus.iter().enumerate().map(|(index, cpus)| (format!("c{index}"), cpus.to_string())).collect();
                        let cpus: Vec<_> = cpus.iter().map(|(name, cpus)| (name.as_str(), cpus.as_str())).collect();
                        let pod = guaranteed(&format!("p{number}"), &cpus);
                        if node.managers.admit(&pod).await.is_ok() {
                            pods.insert(number, pod);
                        }
                    }
                    Step::Release(number) => {
                        if let Some(pod) = pods.remove(&number) {
                            node.release(&pod).await;
                        }
                    }
                    Step::Restart => {
                        node.restart();
                        for pod in pods.values() {
                            node.managers.readmit(pod).await;
                        }
                    }
                }
                check_sets(&node, &pods).await;
            }
        });
    }
}
