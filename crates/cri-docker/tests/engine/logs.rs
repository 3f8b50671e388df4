//! Logs.

use std::fs;

use crate::support::{Machine, container, eventually};

/// How many lines are written.
const LINES: usize = 3000;

/// The texts of the whole lines of a stream.
fn lines(log: &str, stream: &str) -> Vec<String> {
    let prefix = format!("{stream} F ");
    let text = |line: &str| line.split_once(' ').and_then(|(_, rest)| rest.strip_prefix(&prefix)).map(str::to_owned);
    log.lines().filter_map(text).collect()
}

pub async fn logs_survive_the_adapter(machine: &mut Machine) {
    let config = machine.pod("logs");
    let id = machine.run_pod(&config).await;
    let script =
        format!("i=0; while [ $i -lt {LINES} ]; do echo $i; echo e$i >&2; i=$((i+1)); done; printf end; sleep 600");
    let main = machine.run((&id, &config), container("main", &script)).await;
    for part in [1, LINES / 4] {
        eventually("some lines", async || (lines(&machine.log("logs", "main"), "stdout").len() >= part).then_some(()))
            .await;
        machine.kill_adapter().await;
        machine.start_adapter().await;
    }
    eventually("all lines", async || {
        let log = machine.log("logs", "main");
        (lines(&log, "stdout").len() >= LINES && lines(&log, "stderr").len() >= LINES).then_some(())
    })
    .await;
    // What comes without an end of line comes when the container ends.
    let request = cri::StopContainerRequest { container_id: main.clone(), timeout: 0 };
    machine.runtime.stop_container(request).await.expect("stopped");
    machine.ended(&main).await;
    let log = machine.log("logs", "main");
    let expected = |prefix: &str| (0..LINES).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>();
    assert_eq!(lines(&log, "stdout"), expected(""), "each once, in order");
    assert_eq!(lines(&log, "stderr"), expected("e"), "each once, in order");
    assert!(log.ends_with(" stdout P end\n"), "{}", &log[log.len() - 80..]);
    machine.remove_pod(&id).await;
}

pub async fn logs_are_rotated(machine: &mut Machine) {
    let config = machine.pod("rotated");
    let id = machine.run_pod(&config).await;
    let main = machine.run((&id, &config), container("main", "echo first; sleep 600")).await;
    let path = machine.path("log/rotated/main.log");
    eventually("the first line", async || machine.log("rotated", "main").contains("first").then_some(())).await;
    fs::rename(&path, path.with_extension("log.20260101-000000")).expect("renamed");
    let request = cri::ReopenContainerLogRequest { container_id: main.clone() };
    machine.runtime.reopen_container_log(request).await.expect("opened anew");
    let say = "echo third >/proc/1/fd/1";
    machine.exec(&main, say).await;
    eventually("the line after", async || machine.log("rotated", "main").contains("third").then_some(())).await;
    assert!(!machine.log("rotated", "main").contains("first"));
    machine.remove_pod(&id).await;
}
