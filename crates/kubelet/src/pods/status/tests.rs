use k8s_openapi::api::core::v1::{ContainerRestartRule, PodReadinessGate, Probe};
use serde_json::json;
use testkit::{Maker, at, pod};

use super::*;
use crate::pods::observed::Sandbox;

struct Scene {
    observed: Observed,
    probes: ProbeResults,
    waiting: BTreeMap<String, Waiting>,
    restarting: BTreeSet<String>,
    failure: Option<Failure>,
    ending: bool,
    stopped: bool,
}

fn scene() -> Scene {
    let sandbox = Sandbox { id: "s".into(), ready: true, ips: vec!["10.42.0.5".into()], ..Sandbox::default() };
    Scene {
        observed: Observed { sandboxes: vec![sandbox], containers: Vec::new() },
        probes: ProbeResults::default(),
        waiting: BTreeMap::new(),
        restarting: BTreeSet::new(),
        failure: None,
        ending: false,
        stopped: false,
    }
}

impl Scene {
    /// The sandbox has stopped.
    fn gone(mut self) -> Self {
        self.observed.sandboxes.iter_mut().for_each(|sandbox| sandbox.ready = false);
        self
    }

    fn instance(mut self, name: &str, restart_count: u32, state: State, exit_code: i32) -> Self {
        self.observed.containers.push(Instance {
            id: format!("{name}{restart_count}"),
            name: name.to_owned(),
            sandbox_id: "s".to_owned(),
            restart_count,
            state,
            exit_code,
            created_at: i64::from(restart_count) + 1,
            ..Instance::default()
        });
        self.observed.sort();
        self
    }

    fn running(self, name: &str) -> Self {
        self.instance(name, 0, State::Running, 0)
    }

    fn status(&self, pod: &Pod) -> PodStatus {
        status(&Input {
            pod,
            observed: &self.observed,
            probes: &self.probes,
            waiting: &self.waiting,
            starting: &[],
            restarting: &self.restarting,
            failure: self.failure.as_ref(),
            resizes: &[],
            resources: &|container| {
                let (memory, cpu) = (resources::NodeMemory::default(), resources::CpuQuota::default());
                resources::container_resources(pod, container, &memory, cpu)
            },
            ending: self.ending,
            stopped: self.stopped,
            runtime: "skiff",
            node_ips: &["192.0.2.1".to_owned()],
            now: at(0),
        })
    }
}

fn web() -> Maker<Pod> {
    pod("web").container("a", "image").container("b", "image")
}

fn one() -> Maker<Pod> {
    pod("web").container("a", "image")
}

fn condition(status: &PodStatus, type_: &str) -> String {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    found.map_or_else(String::new, |condition| {
        let parts = [Some(condition.status.clone()), condition.reason.clone(), condition.message.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    })
}

#[track_caller]
fn check(scene: &Scene, pod: &Pod, phase: &str, ready: &str) {
    let status = scene.status(pod);
    assert_eq!((status.phase.as_deref(), condition(&status, "Ready").as_str()), (Some(phase), ready));
}

#[test]
fn a_pod_is_pending_until_all_its_containers_have_run() {
    check(&scene(), &web().build(), "Pending", "False ContainersNotReady containers with unready status: [a b]");
    check(
        &scene().running("a"),
        &web().build(),
        "Pending",
        "False ContainersNotReady containers with unready status: [b]",
    );
    check(&scene().running("a").running("b"), &web().build(), "Running", "True");
}

#[test]
fn an_end_counts_as_the_restart_policy_says() {
    for (policy, code, phase) in [
        ("Always", 0, "Running"),
        ("OnFailure", 0, "Succeeded"),
        ("OnFailure", 1, "Running"),
        ("Never", 0, "Succeeded"),
        ("Never", 3, "Failed"),
    ] {
        let pod = one().restart_policy(policy).build();
        let status = scene().gone().instance("a", 0, State::Exited, code).status(&pod);
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {code}");
    }
}

#[test]
fn rules_for_exit_codes_keep_a_pod_from_its_end() {
    let restarts = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let rules: Vec<ContainerRestartRule> = serde_json::from_value(restarts).expect("rules");
    for (code, phase) in [(42, "Running"), (1, "Failed"), (0, "Succeeded")] {
        let pod = one().restart_policy("Never").with(|pod| {
            pod.spec.as_mut().expect("there").containers[0].restart_policy_rules = Some(rules.clone());
        });
        let status = scene().gone().instance("a", 0, State::Exited, code).status(&pod.build());
        assert_eq!(status.phase.as_deref(), Some(phase), "{code}");
    }
    for (code, phase) in [(42, "Pending"), (1, "Failed")] {
        let pod = one().restart_policy("Never").init_container("x", "image").with(|pod| {
            let inits = pod.spec.as_mut().and_then(|spec| spec.init_containers.as_mut()).expect("there");
            inits[0].restart_policy_rules = Some(rules.clone());
        });
        let status = scene().gone().instance("x", 0, State::Exited, code).status(&pod.build());
        assert_eq!(status.phase.as_deref(), Some(phase), "{code}");
    }
}

#[test]
fn a_container_that_is_gone_from_the_runtime_has_ended_unseen() {
    let mut pod = one().build();
    pod.status = Some(scene().running("a").status(&pod));
    let mut waits = scene();
    waits.waiting.insert("a".into(), Waiting { reason: "ImagePullBackOff".into(), message: "no image".into() });
    // Once said, it is not counted again.
    for reason in ["ContainerCreating", "ContainerCreating", "ImagePullBackOff"] {
        let scene = if reason == "ContainerCreating" { &scene() } else { &waits };
        let status = scene.status(&pod);
        let container = &status.container_statuses.as_ref().expect("statuses")[0];
        let waiting = container.state.clone().and_then(|state| state.waiting).and_then(|waiting| waiting.reason);
        let last = container.last_state.clone().and_then(|state| state.terminated).expect("an end");
        assert_eq!((waiting.as_deref(), container.restart_count), (Some(reason), 1));
        assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
        assert_eq!(status.phase.as_deref(), Some("Running"));
        pod.status = Some(status);
    }
    let stopped = Scene { ending: true, stopped: true, ..scene().gone() }.status(&pod);
    let state = stopped.container_statuses.expect("statuses").remove(0).state.expect("a state");
    assert_eq!(state.terminated.and_then(|ended| ended.reason).as_deref(), Some("ContainerStatusUnknown"));
}

#[test]
fn only_what_was_due_is_said_to_be_lost() {
    let pod = one().init_container("x", "image").init_container("y", "image").restart_policy("Never").build();
    let lost = |scene: Scene, name: &str| {
        let status = Scene { ending: true, stopped: true, ..scene }.status(&pod);
        let mut all = status.init_container_statuses.into_iter().chain(status.container_statuses).flatten();
        let state = all.find(|status| status.name == name).and_then(|status| status.state).expect("a state");
        state.terminated.and_then(|ended| ended.reason).is_some_and(|reason| reason == "ContainerStatusUnknown")
    };
    let failed = || scene().instance("x", 0, State::Exited, 1);
    assert!(!lost(failed(), "y") && !lost(failed(), "a"));
    let through = || scene().instance("y", 0, State::Exited, 0);
    assert!(lost(through(), "x") && lost(through(), "a"));
}

#[test]
fn a_pod_that_ended_stays_ended() {
    let pod = one().restart_policy("Never").phase("Succeeded").build();
    check(&scene().instance("a", 0, State::Exited, 0), &pod, "Succeeded", "False PodCompleted");
    check(&scene().running("a"), &pod, "Succeeded", "False PodCompleted");
}

#[test]
fn no_end_is_told_before_everything_has_stopped() {
    let pod = |phase: &str| one().restart_policy("Never").phase(phase).build();
    let told = |scene: &Scene, phase: &str| {
        let status = scene.status(&pod(phase));
        let disrupted = !condition(&status, "DisruptionTarget").is_empty();
        (status.phase.expect("a phase"), status.reason, disrupted)
    };
    let phase = |phase: &str| (phase.to_owned(), None, false);
    let through = || scene().instance("a", 0, State::Exited, 0);
    assert_eq!(told(&through(), "Running"), phase("Running"), "its sandbox is still there");
    assert_eq!(told(&through(), "Pending"), phase("Pending"));
    assert_eq!(told(&through().running("sidecar").gone(), "Running"), phase("Running"));
    assert_eq!(told(&through().gone(), "Running"), phase("Succeeded"));
    let restarting = Scene { restarting: BTreeSet::from(["a0".to_owned()]), ..through().gone() };
    assert_eq!(told(&restarting, "Running"), phase("Running"));
    let evicted = |mut scene: Scene| {
        let failure = Failure::new(Failure::EVICTED, "it must go");
        scene.failure = Some(Failure { disruption: Some("the node is low".into()), ..failure });
        scene
    };
    assert_eq!(told(&evicted(scene().running("a")), "Running"), phase("Running"));
    let expected = ("Failed".to_owned(), Some("Evicted".to_owned()), true);
    assert_eq!(told(&evicted(scene().instance("a", 0, State::Exited, 137).gone()), "Running"), expected);
}

#[test]
fn a_crash_loop_shows_why_it_waits_and_how_it_ended() {
    let mut scene = scene().instance("a", 2, State::Exited, 7);
    let waiting = Waiting { reason: "CrashLoopBackOff".into(), message: "back-off 10s".into() };
    scene.waiting.insert("a".into(), waiting);
    let status = scene.status(&one().build());
    let container = &status.container_statuses.expect("statuses")[0];
    let waiting = container.state.as_ref().and_then(|state| state.waiting.clone()).expect("waits");
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.clone()).expect("ended");
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!((ended.exit_code, ended.reason.as_deref(), container.restart_count), (7, Some("Error"), 2));
    assert_eq!((status.phase.as_deref(), container.container_id.as_deref()), (Some("Running"), Some("skiff://a2")));
}

#[test]
fn a_container_that_is_started_again_has_not_ended() {
    let mut scene = scene().instance("a", 0, State::Exited, 0);
    let state = |scene: &Scene| {
        let status =
            scene.status(&one().restart_policy("OnFailure").build()).container_statuses.expect("statuses").remove(0);
        let ended = |state: ContainerState| state.terminated.map(|ended| ended.exit_code);
        (status.state.and_then(ended), status.last_state.and_then(ended))
    };
    assert_eq!(state(&scene), (Some(0), None));
    scene.restarting.insert("a0".into());
    assert_eq!(state(&scene), (None, Some(0)));
}

#[test]
fn a_container_has_its_resources_and_user_also_when_it_has_ended() {
    let pod = one().with(|pod| {
        let resources = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
        pod.spec.as_mut().expect("there").containers[0].resources = serde_json::from_value(resources).ok();
    });
    let pod = pod.build();
    for (scene, expected) in [
        (scene(), [false; 3]),
        (scene().running("a"), [true; 3]),
        (scene().instance("a", 0, State::Exited, 1), [true; 3]),
    ] {
        let mut scene = scene;
        scene.observed.containers.iter_mut().for_each(|instance| instance.user = Some((1, 2, vec![3])));
        let status = scene.status(&pod).container_statuses.expect("statuses").remove(0);
        let has = [status.resources.is_some(), status.allocated_resources.is_some(), status.user.is_some()];
        assert_eq!(has, expected);
    }
}

#[test]
fn a_mount_says_how_far_down_it_is_read_only() {
    let cases = [
        (false, None, false, None),
        (true, None, false, Some("Disabled")),
        (true, Some("IfPossible"), false, Some("Disabled")),
        (true, Some("IfPossible"), true, Some("Enabled")),
        (true, Some("Enabled"), true, Some("Enabled")),
    ];
    for (read_only, asked, done, said) in cases {
        let mount =
            serde_json::json!({"name": "v", "mountPath": "/v", "readOnly": read_only, "recursiveReadOnly": asked});
        let pod = one().with(|pod| {
            pod.spec.as_mut().expect("there").containers[0].volume_mounts =
                Some(vec![serde_json::from_value(mount).expect("a mount")]);
        });
        let mut scene = scene().running("a");
        scene.observed.containers[0].deep_read_only = done.then(|| "/v".to_owned()).into_iter().collect();
        let status = scene.status(&pod.build());
        let mounts = status.container_statuses.expect("statuses")[0].volume_mounts.clone().expect("mounts");
        assert_eq!(mounts[0].recursive_read_only.as_deref(), said, "{asked:?}");
    }
}

#[test]
fn containers_wait_for_init_containers() {
    let pod = one().init_container("x", "image").build();
    let status = scene().running("x").status(&pod);
    let state = status.container_statuses.as_ref().and_then(|list| list[0].state.clone()).expect("a state");
    assert_eq!(state.waiting.and_then(|waiting| waiting.reason).as_deref(), Some("PodInitializing"));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(
        condition(&status, "Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [x]"
    );
    let through = scene().instance("x", 0, State::Exited, 0).status(&pod);
    assert_eq!(condition(&through, "Initialized"), "True");
}

#[test]
fn readiness_is_what_its_probe_and_gates_say() {
    let pod = one().with(|pod| {
        let spec = pod.spec.as_mut().expect("there");
        spec.containers[0].readiness_probe = Some(Probe::default());
        spec.readiness_gates = Some(vec![PodReadinessGate { condition_type: "example.org/gate".into() }]);
    });
    let pod = pod.build();
    let mut scene = scene().running("a");
    check(&scene, &pod, "Running", "False ContainersNotReady containers with unready status: [a]");
    scene.probes.set("a0", ProbeKind::Readiness, Outcome::Success);
    check(
        &scene,
        &pod,
        "Running",
        "False ReadinessGatesNotReady corresponding condition of pod readiness gate \"example.org/gate\" does not exist.",
    );
    let gated = Maker::clone(&one()).with(|p| *p = pod.clone()).condition("example.org/gate", "True", 0).build();
    check(&scene, &gated, "Running", "True");
}

#[test]
fn a_refused_pod_has_failed() {
    let mut scene = scene();
    scene.observed = Observed::default();
    scene.failure = Some(Failure::new("OutOfcpu", "Pod was rejected: too much"));
    scene.ending = true;
    scene.stopped = true;
    let mut pod = one().condition("PodScheduled", "True", 0).build();
    // A kubelet that is started anew says the same of a pod that it finds refused.
    for failure in [scene.failure.take(), None] {
        scene.failure = failure;
        let status = scene.status(&pod);
        assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
        assert_eq!(status.container_statuses, None, "clients would show these instead of the reason");
        let conditions = status.conditions.iter().flatten();
        assert_eq!(conditions.map(|condition| condition.type_.as_str()).collect::<Vec<_>>(), ["PodScheduled"]);
        pod.status = Some(status);
    }
}

#[test]
fn an_evicted_pod_says_who_ended_it_and_others_may_say_so_too() {
    let mut scene = scene().gone().instance("a", 0, State::Exited, 137);
    scene.failure =
        Some(Failure { disruption: Some("the node is low".into()), ..Failure::new(Failure::EVICTED, "it must go") });
    let mut pod = one().condition("DisruptionTarget", "True", 0).build();
    let disruptions = |status: &PodStatus| {
        let all = status.conditions.iter().flatten().filter(|condition| condition.type_ == "DisruptionTarget");
        all.map(|condition| condition.reason.clone().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(disruptions(&scene.status(&pod)), ["TerminationByKubelet"]);
    scene.failure = None;
    assert_eq!(disruptions(&scene.status(&pod)), [""]);
    pod.status = None;
    assert_eq!(disruptions(&scene.status(&pod)), [""; 0]);
}

#[test]
fn a_stopped_pod_that_always_restarts_has_failed_or_succeeded() {
    for (code, phase) in [(0, "Succeeded"), (137, "Failed")] {
        let mut scene = scene().gone().instance("a", 0, State::Exited, code);
        scene.ending = true;
        scene.stopped = true;
        assert_eq!(scene.status(&one().build()).phase.as_deref(), Some(phase));
    }
}

#[test]
fn times_of_conditions_change_only_with_the_condition() {
    let mut pod = one().build();
    let first = scene().running("a").status(&pod);
    pod.status = Some(first.clone());
    let mut later = scene().running("a");
    later.observed.containers[0].restart_count = 0;
    let second = later.status(&pod);
    assert_eq!(first, second);
}
