//! The parameters of requests: names, types and what they mean.

use serde_json::{Value, json};

/// One query parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    name: &'static str,
    ty: &'static str,
    description: &'static str,
}

const fn parameter(name: &'static str, ty: &'static str, description: &'static str) -> Parameter {
    Parameter { name, ty, description }
}

const DRY_RUN: Parameter =
    parameter("dryRun", "string", "process the request in all stages but do not keep the result; the one value is All");
const FIELD_MANAGER: Parameter =
    parameter("fieldManager", "string", "who makes the change, as recorded in metadata.managedFields");
const FIELD_VALIDATION: Parameter = parameter(
    "fieldValidation",
    "string",
    "what to do about unknown and duplicate fields: Ignore them, Warn about them (the default), or be Strict and refuse",
);
const GRACE_PERIOD: Parameter =
    parameter("gracePeriodSeconds", "integer", "seconds until the object is deleted; 0 means at once");
const IGNORE_READ_ERRORS: Parameter = parameter(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "boolean",
    "delete the object even if it cannot be read from the datastore",
);
const ORPHAN_DEPENDENTS: Parameter = parameter("orphanDependents", "boolean", "deprecated: see propagationPolicy");
const PROPAGATION: Parameter =
    parameter("propagationPolicy", "string", "what happens to dependents: Orphan, Background or Foreground");
const BOOKMARKS: Parameter = parameter("allowWatchBookmarks", "boolean", "send events of type BOOKMARK");
const CONTINUE: Parameter = parameter("continue", "string", "where the previous part of the list ended");
const FIELD_SELECTOR: Parameter = parameter("fieldSelector", "string", "only objects with these fields");
const LABEL_SELECTOR: Parameter = parameter("labelSelector", "string", "only objects with these labels");
const LIMIT: Parameter = parameter("limit", "integer", "how many objects at most");
const RESOURCE_VERSION: Parameter =
    parameter("resourceVersion", "string", "how recent the data must be, or from where to watch");
const RESOURCE_VERSION_MATCH: Parameter = parameter("resourceVersionMatch", "string", "how resourceVersion is meant");
const INITIAL_EVENTS: Parameter =
    parameter("sendInitialEvents", "boolean", "start a watch with the objects that exist");
const TIMEOUT: Parameter = parameter("timeoutSeconds", "integer", "when to end the request");
const WATCH: Parameter = parameter("watch", "boolean", "send changes instead of a list");

/// Of every request.
pub(super) const ALWAYS: &[Parameter] = &[parameter("pretty", "string", "whether the answer is indented")];
/// Of creating and replacing.
pub(super) const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
/// Of patching.
pub(super) const PATCH: &[Parameter] = &[
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    parameter("force", "boolean", "take fields over from other managers; for apply patches only"),
];
/// Of deleting one object.
pub(super) const DELETE: &[Parameter] = &[DRY_RUN, GRACE_PERIOD, IGNORE_READ_ERRORS, ORPHAN_DEPENDENTS, PROPAGATION];
/// Of listing and watching.
pub(super) const LIST: &[Parameter] = &[
    BOOKMARKS,
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    INITIAL_EVENTS,
    TIMEOUT,
    WATCH,
];
/// Of deleting what a list selects.
pub(super) const DELETE_COLLECTION: &[Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE_PERIOD,
    IGNORE_READ_ERRORS,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN_DEPENDENTS,
    PROPAGATION,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    INITIAL_EVENTS,
    TIMEOUT,
];

const CONTAINER: Parameter = parameter("container", "string", "which container of the pod is meant");
const STDERR: Parameter = parameter("stderr", "boolean", "send the error output of the process");
const STDIN: Parameter = parameter("stdin", "boolean", "send input to the process");
const STDOUT: Parameter = parameter("stdout", "boolean", "send the output of the process");
const TTY: Parameter = parameter("tty", "boolean", "give the process a terminal");

/// The options of a kind that stands for the query of a connection or of a log.
pub(super) fn of_options(kind: &str) -> &'static [Parameter] {
    match kind {
        "NodeProxyOptions" | "PodProxyOptions" | "ServiceProxyOptions" => {
            const { &[parameter("path", "string", "the path to ask for")] }
        }
        "PodAttachOptions" => const { &[CONTAINER, STDERR, STDIN, STDOUT, TTY] },
        "PodExecOptions" => {
            const { &[parameter("command", "string", "program and arguments"), CONTAINER, STDERR, STDIN, STDOUT, TTY] }
        }
        "PodPortForwardOptions" => const { &[parameter("ports", "integer", "the ports to forward")] },
        "PodLogOptions" => {
            const {
                &[
                    CONTAINER,
                    parameter("follow", "boolean", "send lines as they are written"),
                    parameter(
                        "insecureSkipTLSVerifyBackend",
                        "boolean",
                        "do not verify the certificate of the kubelet that has the log",
                    ),
                    parameter("limitBytes", "integer", "end after so many bytes"),
                    parameter("previous", "boolean", "the log of the container before its last restart"),
                    parameter("sinceSeconds", "integer", "only lines that are at most so old"),
                    parameter("stream", "string", "which output: All, Stdout or Stderr"),
                    parameter("tailLines", "integer", "only so many lines from the end"),
                    parameter("timestamps", "boolean", "start each line with its time"),
                ]
            }
        }
        _ => &[],
    }
}

/// Query parameters as they stand in a document.
pub(super) fn in_query(parameters: &[&[Parameter]]) -> Vec<Value> {
    let all = parameters.iter().flat_map(|parameters| parameters.iter());
    all.map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "description": parameter.description,
            "schema": {"type": parameter.ty, "uniqueItems": true},
        })
    })
    .collect()
}

/// A path parameter as it stands in a document.
pub(super) fn in_path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": {"type": "string", "uniqueItems": true},
    })
}

/// Moves parameters that every operation of a path takes to the path itself, and sorts all by name.
pub(super) fn share(item: &mut serde_json::Map<String, Value>, path_parameters: Vec<Value>) {
    let key = |parameter: &Value| {
        let text = |key: &str| parameter[key].as_str().unwrap_or_default().to_owned();
        (text("name"), text("in"))
    };
    let of = |operation: &Value| operation["parameters"].as_array().cloned().unwrap_or_default();
    let mut common: Option<Vec<Value>> = None;
    for operation in item.values() {
        let own = of(operation);
        common = Some(match common {
            None => own,
            Some(common) => common.into_iter().filter(|parameter| own.contains(parameter)).collect(),
        });
    }
    let common = common.unwrap_or_default();
    for operation in item.values_mut() {
        let mut own = of(operation);
        own.retain(|parameter| !common.contains(parameter));
        own.sort_by_key(key);
        match (own.is_empty(), operation) {
            (true, Value::Object(operation)) => drop(operation.remove("parameters")),
            (_, operation) => operation["parameters"] = own.into(),
        }
    }
    let mut shared: Vec<Value> = path_parameters.into_iter().chain(common).collect();
    if !shared.is_empty() {
        shared.sort_by_key(key);
        item.insert("parameters".to_owned(), shared.into());
    }
}
