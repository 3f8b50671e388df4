//! The calls of CRI against a real Docker Engine, which the test starts in a network namespace of its own.

mod containers;
mod images;
mod logs;
mod pods;
mod refusals;
mod support;

use support::Machine;

/// One Docker Engine for all, for it takes its time to start.
#[test]
fn docker_engine_serves_cri() {
    if let Some(obstacle) = support::obstacle() {
        eprintln!("SKIPPED: {obstacle}");
        return;
    }
    support::enter_namespace();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("tokio starts").block_on(async {
        let mut machine = Machine::start().await;
        pods::the_node_is_described(&mut machine).await;
        images::images_are_pulled_and_removed(&mut machine).await;
        pods::a_pod_is_connected_and_disconnected(&mut machine).await;
        pods::a_shared_process_namespace_has_a_parent_for_orphans(&mut machine).await;
        containers::processes_run_and_are_told_of(&mut machine).await;
        containers::containers_are_confined(&mut machine).await;
        containers::users_have_the_groups_that_are_asked_for(&mut machine).await;
        containers::containers_end_as_they_are_told(&mut machine).await;
        containers::what_happens_is_told(&mut machine).await;
        containers::containers_are_measured_and_limited(&mut machine).await;
        refusals::what_docker_has_not_is_refused(&mut machine).await;
        logs::logs_survive_the_adapter(&mut machine).await;
        logs::logs_are_rotated(&mut machine).await;
        machine.stop().await;
    });
}
