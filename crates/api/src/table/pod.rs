//! Pods and pod templates.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, age, containers, count, labels, list, name, number, since, string, string_or};
use super::{AGE, Column, NAME, Printer, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "Pod", columns: POD, cells: pod },
    Printer { group: "", kind: "PodTemplate", columns: POD_TEMPLATE, cells: pod_template },
];

const POD: &[Column] = &[
    NAME,
    text("Ready"),
    text("Status"),
    text("Restarts"),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

const POD_TEMPLATE: &[Column] = &[NAME, text("Containers"), text("Images"), text("Pod Labels")];

fn pod_template(object: &Value, _now: Timestamp) -> Vec<Value> {
    let template = &object["template"];
    let [names, images] = containers(&template["spec"]);
    vec![name(object), names, images, labels(&template["metadata"]["labels"]).into()]
}

fn pod(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut summary = Summary::new(object);
    let initializing = summary.init_containers(object);
    if !initializing || cells::is_true(object, "Initialized") {
        summary.containers(object);
    }
    let phase = string(&status["phase"]);
    if !object["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, since(&last.to_string().into(), now))
        }
        _ => summary.restarts.to_string(),
    };
    let gates = list(&spec["readinessGates"]);
    let open = gates.iter().filter(|gate| cells::is_true(object, string(&gate["conditionType"]))).count();
    let gates = if gates.is_empty() { NONE.to_owned() } else { format!("{open}/{}", gates.len()) };
    vec![
        name(object),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(object, now),
        string_or(&status["podIPs"][0]["ip"], NONE).into(),
        string_or(&spec["nodeName"], NONE).into(),
        string_or(&status["nominatedNodeName"], NONE).into(),
        gates.into(),
    ]
}

/// What the statuses of a pod's containers add up to.
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
    sidecar_restarts: i64,
    last_sidecar_restart: Option<Timestamp>,
}

impl Summary {
    fn new(object: &Value) -> Summary {
        let status = &object["status"];
        let mut reason = string_or(&status["reason"], string(&status["phase"])).to_owned();
        if cells::condition(object, "PodScheduled").is_some_and(|condition| condition["reason"] == "SchedulingGated") {
            reason = "SchedulingGated".to_owned();
        }
        let sidecars = list(&object["spec"]["initContainers"]).iter().filter(|container| is_sidecar(container));
        Summary {
            ready: 0,
            total: count(&object["spec"]["containers"]) + sidecars.count(),
            reason,
            restarts: 0,
            last_restart: None,
            sidecar_restarts: 0,
            last_sidecar_restart: None,
        }
    }

    /// Looks at the init containers up to the first that has not done its part; tells whether there is one.
    fn init_containers(&mut self, object: &Value) -> bool {
        let specs = list(&object["spec"]["initContainers"]);
        for (index, status) in list(&object["status"]["initContainerStatuses"]).iter().enumerate() {
            let sidecar = specs.iter().any(|spec| spec["name"] == status["name"] && is_sidecar(spec));
            let restarts = number(&status["restartCount"]);
            let restarted = cells::time(&status["lastState"]["terminated"]["finishedAt"]);
            self.restarts += restarts;
            self.last_restart = self.last_restart.max(restarted);
            if sidecar {
                self.sidecar_restarts += restarts;
                self.last_sidecar_restart = self.last_sidecar_restart.max(restarted);
            }
            let state = &status["state"];
            let terminated = &state["terminated"];
            if terminated.is_object() && number(&terminated["exitCode"]) == 0 {
                continue;
            }
            if sidecar && status["started"] == true {
                self.ready += usize::from(status["ready"] == true);
                continue;
            }
            let waiting = string(&state["waiting"]["reason"]);
            self.reason = if terminated.is_object() {
                format!("Init:{}", termination(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", specs.len())
            };
            return true;
        }
        false
    }

    fn containers(&mut self, object: &Value) {
        self.restarts = self.sidecar_restarts;
        self.last_restart = self.last_sidecar_restart;
        let mut running = false;
        for status in list(&object["status"]["containerStatuses"]).iter().rev() {
            self.restarts += number(&status["restartCount"]);
            self.last_restart = self.last_restart.max(cells::time(&status["lastState"]["terminated"]["finishedAt"]));
            let state = &status["state"];
            let waiting = string(&state["waiting"]["reason"]);
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if state["terminated"].is_object() {
                self.reason = termination(&state["terminated"]);
            } else if status["ready"] == true && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = cells::is_true(object, "Ready");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

/// Why a container has ended.
fn termination(terminated: &Value) -> String {
    let reason = string(&terminated["reason"]);
    let signal = number(&terminated["signal"]);
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", number(&terminated["exitCode"]))
    }
}
