use k8s_openapi::api::core::v1::Probe;
use testkit::{Maker, at, pod};

use super::*;

const SECOND: i64 = 1_000_000_000;

/// What the runtime has, built up from words.
#[derive(Default)]
struct Runtime(Observed);

impl Runtime {
    fn sandbox(mut self, attempt: u32, ready: bool) -> Self {
        let ips = vec!["10.42.0.5".to_owned()];
        let created_at = i64::from(attempt) + 1;
        self.0.sandboxes.push(Sandbox { id: format!("s{attempt}"), attempt, ready, ips, created_at });
        self.0.sort();
        self
    }

    fn instance(mut self, pod: &Pod, name: &str, restart_count: u32, state: State, exit_code: i32) -> Self {
        let container = spec::container(pod, name).expect("a container of the pod");
        self.0.containers.push(Instance {
            id: format!("{name}{restart_count}"),
            name: name.to_owned(),
            sandbox_id: self.0.sandboxes.first().map(|sandbox| sandbox.id.clone()).unwrap_or_default(),
            restart_count,
            state,
            created_at: i64::from(restart_count) + 1,
            finished_at: if state == State::Exited { at(0).as_second() * SECOND } else { 0 },
            exit_code,
            hash: names::container_hash(&container),
            ..Instance::default()
        });
        self.0.sort();
        self
    }

    fn running(self, pod: &Pod, name: &str) -> Self {
        self.instance(pod, name, 0, State::Running, 0)
    }

    fn exited(self, pod: &Pod, name: &str, code: i32) -> Self {
        self.instance(pod, name, 0, State::Exited, code)
    }
}

/// A plan in words.
fn words(plan: &Plan) -> String {
    let mut words = Vec::new();
    words.extend(plan.kill_pod.map(|why| match why {
        KillPod::Complete => "kill pod".to_owned(),
        KillPod::SandboxChanged => "kill pod for another sandbox".to_owned(),
    }));
    words.extend(plan.create_sandbox.map(|attempt| format!("sandbox {attempt}")));
    words.extend(plan.kill.iter().map(|kill| format!("kill {} ({}) in {}", kill.id, kill.message, kill.grace)));
    words.extend(plan.start.iter().map(|start| format!("start {}#{}", start.name, start.restart_count)));
    words.extend(plan.waiting.iter().map(|(name, waiting)| format!("{name} waits: {}", waiting.message)));
    words.extend(plan.wake_at.map(|at| format!("wake at {}", at.as_second() - testkit::epoch().as_second())));
    words.join("; ")
}

fn input<'a>(pod: &'a Pod, runtime: &'a Runtime, rest: &'a Rest) -> Input<'a> {
    Input {
        pod,
        observed: &runtime.0,
        status: pod.status.as_ref(),
        probes: &rest.probes,
        back_off: &rest.back_off,
        held: &rest.held,
        restarting: &rest.restarting,
        now: at(1),
    }
}

#[derive(Default)]
struct Rest {
    probes: ProbeResults,
    back_off: BackOff,
    held: BTreeMap<String, Timestamp>,
    restarting: BTreeSet<String>,
}

#[track_caller]
fn check(pod: &Pod, runtime: &Runtime, expected: &str) {
    assert_eq!(words(&plan(&input(pod, runtime, &Rest::default()))), expected);
}

fn web() -> Maker<Pod> {
    pod("web").container("a", "image").container("b", "image")
}

fn sidecar(maker: Maker<Pod>, name: &str) -> Maker<Pod> {
    maker.init_container(name, "image").with(|pod| {
        let inits = pod.spec.as_mut().and_then(|spec| spec.init_containers.as_mut()).expect("made above");
        inits.last_mut().expect("made above").restart_policy = Some("Always".to_owned());
    })
}

#[test]
fn a_new_pod_gets_a_sandbox_and_then_its_containers() {
    let pod = web().build();
    check(&pod, &Runtime::default(), "sandbox 0");
    check(&pod, &Runtime::default().sandbox(0, true), "start a#0; start b#0");
    check(&pod, &Runtime::default().sandbox(0, true).running(&pod, "a"), "start b#0");
    check(&pod, &Runtime::default().sandbox(0, true).running(&pod, "a").running(&pod, "b"), "");
}

#[test]
fn a_lost_sandbox_is_replaced_after_everything_in_it_has_stopped() {
    let pod = web().build();
    check(&pod, &Runtime::default().sandbox(0, false).running(&pod, "a"), "kill pod for another sandbox");
    let lost = Runtime::default().sandbox(0, false).exited(&pod, "a", 137).exited(&pod, "b", 137);
    check(&pod, &lost, "sandbox 1");
    let replaced = Runtime::default().sandbox(0, false).exited(&pod, "a", 137).sandbox(1, true);
    check(&pod, &replaced, "start a#1; start b#0");
    check(&pod, &Runtime::default().sandbox(0, true).sandbox(1, true), "kill pod for another sandbox");
}

#[test]
fn init_containers_run_one_after_the_other() {
    let pod = web().init_container("x", "image").init_container("y", "image").build();
    let sandbox = || Runtime::default().sandbox(0, true);
    check(&pod, &sandbox(), "start x#0");
    check(&pod, &sandbox().running(&pod, "x"), "");
    check(&pod, &sandbox().exited(&pod, "x", 0), "start y#0");
    check(&pod, &sandbox().exited(&pod, "x", 1), "start x#1");
    check(&pod, &sandbox().exited(&pod, "x", 0).exited(&pod, "y", 0), "start a#0; start b#0");
    // The instances of what is through may be gone.
    check(&pod, &sandbox().running(&pod, "a").running(&pod, "b"), "");
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let pod = web().init_container("x", "image").restart_policy("Never").build();
    check(&pod, &Runtime::default().sandbox(0, true).exited(&pod, "x", 1), "kill pod");
    check(&pod, &Runtime::default().sandbox(0, false).exited(&pod, "x", 1), "");
}

#[test]
fn a_sidecar_is_started_once_it_runs_the_next_follows_and_it_is_kept() {
    let pod = sidecar(web(), "side").init_container("x", "image").build();
    let sandbox = || Runtime::default().sandbox(0, true);
    check(&pod, &sandbox(), "start side#0");
    check(&pod, &sandbox().running(&pod, "side"), "start x#0");
    let later = || sandbox().exited(&pod, "x", 0).running(&pod, "a").running(&pod, "b");
    check(&pod, &later().exited(&pod, "side", 0), "start side#1");
    check(&pod, &later().running(&pod, "side"), "");
}

#[test]
fn a_sidecar_with_a_startup_probe_holds_the_next_until_it_has_started() {
    let pod = sidecar(web(), "side").with(|pod| {
        let inits = pod.spec.as_mut().and_then(|spec| spec.init_containers.as_mut()).expect("there");
        inits[0].startup_probe = Some(Probe::default());
    });
    let pod = pod.build();
    let runtime = Runtime::default().sandbox(0, true).running(&pod, "side");
    check(&pod, &runtime, "");
    let mut rest = Rest::default();
    rest.probes.set("side0", ProbeKind::Startup, Outcome::Success);
    assert_eq!(words(&plan(&input(&pod, &runtime, &rest))), "start a#0; start b#0");
}

#[test]
fn what_ended_is_started_again_as_the_policy_says() {
    for (policy, code, expected) in
        [("Always", 0, "start a#1"), ("OnFailure", 1, "start a#1"), ("OnFailure", 0, ""), ("Never", 1, "")]
    {
        let pod = web().restart_policy(policy).build();
        check(&pod, &Runtime::default().sandbox(0, true).running(&pod, "b").exited(&pod, "a", code), expected);
    }
}

#[test]
fn what_was_made_and_never_started_counts_as_no_restart() {
    let pod = web().build();
    let others = || Runtime::default().sandbox(0, true).running(&pod, "b");
    check(&pod, &others().instance(&pod, "a", 0, State::Created, 0), "start a#0");
    check(&pod, &others().exited(&pod, "a", 1).instance(&pod, "a", 1, State::Created, 0), "start a#1");
}

#[test]
fn a_pod_whose_containers_have_all_ended_is_stopped_with_its_sidecars() {
    let pod = sidecar(web(), "side").restart_policy("Never").build();
    let done = |ready| Runtime::default().sandbox(0, ready).exited(&pod, "a", 0).exited(&pod, "b", 1);
    check(&pod, &done(true).running(&pod, "side"), "kill pod");
    check(&pod, &done(false).exited(&pod, "side", 143), "");
}

#[test]
fn what_ends_again_and_again_waits_longer_and_longer() {
    let pod = web().build();
    let runtime = Runtime::default().sandbox(0, true).running(&pod, "b").exited(&pod, "a", 1);
    let mut rest = Rest::default();
    rest.back_off.next(&back_off_key(&spec::containers(&pod)[0]), at(0), at(0));
    assert_eq!(
        words(&plan(&input(&pod, &runtime, &rest))),
        "a waits: back-off 10s restarting failed container=a pod=web_default(uid-web); wake at 10"
    );
}

#[test]
fn another_image_or_other_resources_start_the_waiting_anew() {
    let pod = web().build();
    let [before, image, resources] = [(), (), ()].map(|()| spec::containers(&pod)[0].clone());
    let resources = Container { resources: serde_json::from_value(json!({"limits": {"cpu": "1"}})).ok(), ..resources };
    let image = Container { image: Some("other".to_owned()), ..image };
    let keys: BTreeSet<String> = [&before, &image, &resources].map(back_off_key).into();
    assert_eq!((keys.len(), back_off_key(&before)), (3, back_off_key(&spec::containers(&pod)[0])));
}

#[test]
fn what_could_not_be_started_is_left_alone_for_a_while() {
    let pod = web().build();
    let mut rest = Rest::default();
    rest.held.insert("a".to_owned(), at(5));
    let runtime = Runtime::default().sandbox(0, true);
    assert_eq!(words(&plan(&input(&pod, &runtime, &rest))), "start b#0; wake at 5");
}

#[test]
fn a_failed_probe_or_another_image_ends_a_container() {
    let both = |pod: &Pod| Runtime::default().sandbox(0, true).running(pod, "a").running(pod, "b");
    for (policy, restart) in [("Always", ", will be restarted"), ("OnFailure", ", will be restarted"), ("Never", "")] {
        let pod = web().restart_policy(policy).build();
        let mut rest = Rest::default();
        rest.probes.set("a0", ProbeKind::Liveness, Outcome::Failure);
        rest.probes.set("b0", ProbeKind::Readiness, Outcome::Failure);
        let plan = plan(&input(&pod, &both(&pod), &rest));
        assert_eq!(words(&plan), format!("kill a0 (Container a failed liveness probe{restart}) in 30"));
        assert_eq!(plan.kill[0].restart, policy != "Never");
        let changed = pod_with_image(&pod, "b", "other");
        check(&changed, &both(&pod), "kill b0 (Container b definition changed, will be restarted) in 30");
    }
    let pod = sidecar(web(), "side").init_container("x", "image").build();
    let mut rest = Rest::default();
    rest.probes.set("side0", ProbeKind::Startup, Outcome::Failure);
    let runtime = || Runtime::default().sandbox(0, true).running(&pod, "side").running(&pod, "x");
    assert_eq!(
        words(&plan(&input(&pod, &runtime(), &rest))),
        "kill side0 (Init container side failed startup probe) in 30"
    );
    check(
        &pod_with_image(&pod, "side", "other"),
        &runtime(),
        "kill side0 (Init container side definition changed) in 30",
    );
    check(&pod_with_image(&pod, "x", "other"), &runtime(), "");
}

#[test]
fn what_was_stopped_to_be_started_again_is_whatever_its_exit_code() {
    for (policy, code) in [("OnFailure", 0), ("Never", 0), ("Never", 137)] {
        let pod = web().restart_policy(policy).build();
        let rest = Rest { restarting: BTreeSet::from(["a0".to_owned()]), ..Rest::default() };
        let ended = |ready| {
            let runtime = Runtime::default().sandbox(0, ready).exited(&pod, "b", 0);
            words(&plan(&input(&pod, &runtime.exited(&pod, "a", code), &rest)))
        };
        assert_eq!([ended(true), ended(false)], ["start a#1", "sandbox 1"], "{policy}");
    }
}

#[test]
fn a_container_that_is_gone_from_the_runtime_is_counted_and_never_runs_twice_where_it_must_not() {
    let running = json!({"running": {}});
    let ended = |code: i32| json!({"terminated": {"exitCode": code}});
    for (policy, state, expected) in [
        ("Always", running.clone(), "start a#3"),
        ("OnFailure", running.clone(), "start a#3"),
        ("Never", running, ""),
        ("Always", ended(0), "start a#3"),
        ("OnFailure", ended(0), ""),
        ("Never", ended(1), ""),
        ("Never", json!({"waiting": {"reason": "ContainerCreating"}}), "start a#3"),
    ] {
        let status = json!({"containerStatuses": [{"name": "a", "containerID": "x://1", "restartCount": 2,
            "image": "", "imageID": "", "ready": true, "state": state}]});
        let maker = web().restart_policy(policy).with(|pod| pod.status = serde_json::from_value(status).ok());
        let pod = maker.build();
        check(&pod, &Runtime::default().sandbox(0, true).running(&pod, "b"), expected);
    }
}

#[test]
fn what_the_runtime_lost_track_of_is_stopped_first() {
    let pod = web().init_container("x", "image").restart_policy("Never").build();
    let lost = Runtime::default().sandbox(0, true).instance(&pod, "x", 0, State::Unknown, 0);
    check(&pod, &lost, "kill x0 (Container is in \"unknown\" state, try killing it before restart) in 30");
}

fn pod_with_image(pod: &Pod, name: &str, image: &str) -> Pod {
    let mut pod = pod.clone();
    let spec = pod.spec.as_mut().expect("there");
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    containers.filter(|c| c.name == name).for_each(|c| c.image = Some(image.to_owned()));
    pod
}

#[test]
fn regular_containers_stop_first_and_sidecars_in_reverse() {
    let pod = sidecar(sidecar(web(), "s1"), "s2").build();
    let mut runtime = Runtime::default().sandbox(0, true);
    for name in ["a", "b", "s1", "s2"] {
        runtime = runtime.running(&pod, name);
    }
    let order = stop_order(&pod, &runtime.0);
    let mut names: Vec<Vec<&str>> = order.iter().map(|list| list.iter().map(|i| i.name.as_str()).collect()).collect();
    names[0].sort_unstable();
    assert_eq!(names, [vec!["a", "b"], vec!["s2"], vec!["s1"]]);
}

#[test]
fn durations_are_printed_as_go_prints_them() {
    for (seconds, expected) in [(10, "10s"), (80, "1m20s"), (300, "5m0s")] {
        assert_eq!(go_duration(std::time::Duration::from_secs(seconds)), expected);
    }
}
