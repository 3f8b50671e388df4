//! Jobs and cron jobs.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::string_or;
use super::cells::{self, NONE, UNSET, age, containers, count, human_duration, name, number, selector, since, string};
use super::{AGE, Column, NAME, Printer, boolean, integer, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "batch", kind: "CronJob", columns: CRON_JOB, cells: cron_job },
    Printer { group: "batch", kind: "Job", columns: JOB, cells: job },
];

const JOB: &[Column] = &[
    NAME,
    text("Status"),
    text("Completions"),
    text("Duration"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

/// Conditions in the order in which they decide what a job's status is called.
const JOB_STATES: &[(&str, &str)] = &[
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("", "Terminating"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
];

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let deleting = !object["metadata"]["deletionTimestamp"].is_null();
    let state = JOB_STATES.iter().find(|(condition, _)| match *condition {
        "" => deleting,
        condition => cells::is_true(object, condition),
    });
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), number(&spec["parallelism"])) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration = match cells::time(&status["startTime"]) {
        None => String::new(),
        Some(start) => {
            let end = cells::time(&status["completionTime"]).unwrap_or(now);
            human_duration(end.duration_since(start).as_secs())
        }
    };
    let [names, images] = containers(&spec["template"]["spec"]);
    vec![
        name(object),
        state.map_or("Running", |(_, state)| *state).into(),
        completions.into(),
        duration.into(),
        age(object, now),
        names,
        images,
        selector(&spec["selector"]).into(),
    ]
}

const CRON_JOB: &[Column] = &[
    NAME,
    text("Schedule"),
    text("Timezone"),
    boolean("Suspend"),
    integer("Active"),
    text("Last Schedule"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let suspend = match spec["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    };
    let last = &status["lastScheduleTime"];
    let last = if last.is_null() { NONE.to_owned() } else { since(last, now) };
    let job = &spec["jobTemplate"]["spec"];
    let [names, images] = containers(&job["template"]["spec"]);
    vec![
        name(object),
        string(&spec["schedule"]).into(),
        string_or(&spec["timeZone"], NONE).into(),
        suspend.into(),
        count(&status["active"]).into(),
        last.into(),
        age(object, now),
        names,
        images,
        selector(&job["selector"]).into(),
    ]
}
