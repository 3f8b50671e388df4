//! The server is killed in the middle of rollouts: containers go on serving, nothing acknowledged is lost, the rollout
//! completes, nothing is leaked.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Random;
use skiff_e2e::{Cluster, Kubectl, Layout, http};

const SOON: Duration = Duration::from_secs(60);
const KILLS: usize = 20;

#[test]
fn a_killed_server_comes_back_to_what_it_was() {
    // The moments are drawn anew in each run; a failing run prints its seed, which SKIFF_SEED repeats.
    let seed = std::env::var("SKIFF_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(std::process::id().into());
    eprintln!("SKIFF_SEED={seed}");
    let random = Random::seeded(seed);

    let mut cluster = Cluster::start("kill", Layout::OneProcess);
    cluster.build_hello("1");
    cluster.build_hello("2");
    let kubectl = cluster.kubectl();
    let example = skiff_e2e::workspace().join("examples/hello.yaml");
    kubectl.run(&["apply", "-f", &example.to_string_lossy()]);
    kubectl.run(&["rollout", "status", "deployment/hello", "--timeout=60s"]);

    let (outside, address) = (cluster.machines().second().to_owned(), cluster.node_port(30080));
    let load = http::Load::start(&outside, address, "/version");
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let version = if round % 2 == 0 { "2" } else { "1" };
        let image = format!("web=skiff.local/hello:{version}");
        kubectl.run(&["set", "image", "deployment/hello", &image]);
        let moment = std::time::Instant::now() + Duration::from_millis(random.below(4000));
        let mut count = 0;
        while std::time::Instant::now() < moment {
            let name = format!("mark-{round}-{count}");
            kubectl.run(&["create", "configmap", &name]);
            acknowledged.insert(name);
            count += 1;
        }
        cluster.kill();
        let answered = load.answered();
        testkit::until(SOON, "answers while no server runs", || (load.answered() > answered + 20).then_some(()));
        cluster.start_processes();
        wait_for_rollout(&kubectl);
        assert_all_there(&kubectl, &acknowledged);
    }
    let result = load.finish();
    eprintln!("{} requests answered, {} failed", result.answered, result.failures.len());
    // A pod that was on its way out when the server died can be asked once more before the new server has told the
    // rules of it: a moment, not an outage.
    assert!(result.failures.len() * 1000 < result.answered, "{:?}", result.failures);

    assert_nothing_doubled(&kubectl);
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

fn wait_for_rollout(kubectl: &Kubectl) {
    testkit::until(SOON, "the rollout to complete", || {
        let deployment = kubectl.try_json(&["get", "deployment", "hello"])?;
        let (status, generation) = (&deployment["status"], &deployment["metadata"]["generation"]);
        let complete = status["observedGeneration"] == *generation
            && status["updatedReplicas"] == 3
            && status["replicas"] == 3
            && status["availableReplicas"] == 3;
        complete.then_some(())
    });
}

fn assert_all_there(kubectl: &Kubectl, acknowledged: &BTreeSet<String>) {
    let names = kubectl.run(&["get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"]);
    let there: BTreeSet<String> = names.split_whitespace().map(str::to_owned).collect();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged but gone: {lost:?}");
}

/// One container process a pod runs, and no pod is left that nobody owns.
fn assert_nothing_doubled(kubectl: &Kubectl) {
    let count = |text: String| text.split_whitespace().count();
    testkit::until(SOON, "exactly three pods", || {
        let pods = kubectl.run(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
        (count(pods) == 3).then_some(())
    });
    for pod in kubectl.run(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]).split_whitespace() {
        let processes = kubectl.run(&["exec", pod, "--", "ps"]);
        let servers = processes.lines().filter(|line| line.contains("httpd -f")).count();
        assert_eq!(servers, 1, "{pod}:\n{processes}");
    }
}
